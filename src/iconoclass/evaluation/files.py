"""evaluate_file(): an exported model and labelled pictures, wherever they come from -> metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.config import Config
from iconoclass.data.dataset import Dataset, Split, open_dataset
from iconoclass.errors import DataError
from iconoclass.evaluation.metrics import score
from iconoclass.prediction.predictor import Predictor


def evaluate_file(path: Path | str, data: Dataset | Path | str, *, offline: bool = False) -> dict[str, Any]:
    """How good an exported model is on labelled pictures: what metrics.json says, for the one part "test".

    data: a data set, or the path of a folder, CSV, .npz or archive. Its test part is judged, if it came with one, else
    all of it.
    Raises: DataError, if it has classes that the model does not know.
    """
    predictor = Predictor.load(path)
    pixels, labels = labelled_pictures(predictor, data, offline)
    return {"test": score(labels, predictor.probabilities(pixels), predictor.class_names)}


def labelled_pictures(
    predictor: Predictor, data: Dataset | Path | str, offline: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Pictures as a model sees them, and their labels in its order of classes.

    Raises: DataError, if there is a class that the model does not know, or none of the size that it takes.
    """
    dataset = data if isinstance(data, Dataset) else opened_for(predictor, str(data), offline)
    _refuse_others(predictor, dataset)
    order = np.array([predictor.class_names.index(name) for name in dataset.class_names], np.int32)
    parts = _parts(dataset)
    pixels = np.concatenate([part.pixels for part in parts])
    return pixels, order[np.concatenate([part.labels for part in parts])]


def _parts(dataset: Dataset) -> list[Split]:
    if not dataset.test_was_drawn:
        return [dataset.test]
    return [dataset.train, dataset.test] if dataset.validates_on_test else list(dataset.splits.values())


def opened_for(predictor: Predictor, source: str, offline: bool = False) -> Dataset:
    """Pictures opened in the size and colour, and by the resize rule, of a model.

    Raises: DataError, if there is a class that the model does not know.
    """
    height, width, channels = predictor.image_shape
    color = "grey" if channels == 1 else "rgb"
    settings = {"image_size": f"{height}x{width}", "resize": predictor.resize_rule, "color": color}
    dataset = open_dataset(Config.of(source=source, **settings).data, offline=offline)
    _refuse_others(predictor, dataset)
    return dataset


def _refuse_others(predictor: Predictor, dataset: Dataset) -> None:
    if dataset.image_shape != predictor.image_shape:
        what = f"{dataset.name} holds pictures of {dataset.image_shape}, where the model takes {predictor.image_shape}"
        raise DataError(what, hint="Give the path of the pictures instead.")
    if unknown := [name for name in dataset.class_names if name not in predictor.class_names]:
        known = ", ".join(predictor.class_names[:20])
        raise DataError(f"the model does not know the class {unknown[0]!r}", hint=f"It knows: {known}.")
