"""RUNTIMES: what can open a model file and be asked for probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from iconoclass.errors import IntegrityError, RunError, pick

# uint8 (batch, height, width, channels) in; float32 (batch, classes) out, rows summing to 1.
Runtime = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def open_model(path: Path) -> Runtime:
    """The runtime for a file, told by its suffix.

    Raises: RunError, if there is no such file; IntegrityError, if it cannot be loaded.
    """
    if not path.is_file():
        raise RunError(f"there is no model {path}", hint="Was the training stopped before its first epoch ended?")
    return pick(RUNTIMES, path.suffix, "kind of model file")(path)


def _keras(path: Path) -> Runtime:
    from iconoclass.backend import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    # Keras lets through whatever its parsers of zip, JSON and HDF5 raise on damaged bytes.
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise IntegrityError(f"{path} cannot be loaded: {first_line}") from error
    return lambda pixels: np.asarray(model.predict_on_batch(pixels), np.float32)


RUNTIMES: dict[str, Callable[[Path], Runtime]] = {".keras": _keras}
