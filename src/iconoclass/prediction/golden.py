"""ask_golden(): the pictures that are kept beside an exported file, asked again: does it still answer as it did?"""

from __future__ import annotations

import numpy as np

from iconoclass.errors import IntegrityError
from iconoclass.prediction.manifest import Manifest
from iconoclass.prediction.predictor import Predictor


def ask_golden(predictor: Predictor, manifest: Manifest) -> float:
    """By how much a probability of the golden pictures is off at most, compared with when the file was made.

    Raises: IntegrityError, if that is more than the manifest allows, or the class names stand in another order.
    """
    largest = 0.0
    for place, golden in enumerate(manifest.golden, 1):
        [row] = predictor.probabilities(predictor.prepared(golden.picture)[None])
        expected = np.array(golden.probabilities, np.float32)
        if predictor.class_names[expected.argmax()] != golden.class_name:
            what = f"the class names of {manifest.file} stand in another order than when it was made"
            raise IntegrityError(what, hint=f"Golden picture {place} was {golden.class_name}.", code="EXPORT_DIFFERS")
        difference = float(np.abs(row - expected).max()) if row.shape == expected.shape else float("inf")
        largest = max(largest, difference)
        if not difference <= manifest.tolerance:
            what = f"{manifest.file} answers golden picture {place} otherwise than when it was made"
            hint = f"By {difference:.1e}, where {manifest.tolerance:g} is allowed. Export it again, on this machine."
            raise IntegrityError(what, hint=hint, code="EXPORT_DIFFERS")
    return largest
