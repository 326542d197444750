"""METRICS: labels and probabilities in, a number with its interval out. What cannot be told is None, never 0 or NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.evaluation.calibration import Labels, Probabilities, calibration_error
from iconoclass.evaluation.ranking import auc
from iconoclass.intervals import NOT_AVAILABLE, Estimate, wilson

# -- one number for all examples -----------------------------------------------------------------------------------


def accuracy(labels: Labels, probabilities: Probabilities) -> Estimate:
    """Share of images whose most probable class is the true one."""
    return wilson(int((probabilities.argmax(-1) == labels).sum()), len(labels))


def top_accuracy(k: int) -> Callable[[Labels, Probabilities], Estimate]:
    """Share of images whose true class is among the k most probable; None where there are no more than k classes."""

    def top(labels: Labels, probabilities: Probabilities) -> Estimate:
        if probabilities.shape[1] <= k:
            return NOT_AVAILABLE
        best = np.argpartition(-probabilities, k - 1, axis=-1)[:, :k]
        return wilson(int((best == labels[:, None]).any(-1).sum()), len(labels))

    return top


def loss(labels: Labels, probabilities: Probabilities) -> Estimate:
    """Cross-entropy: the mean of -ln(probability of the true class), which is held at 1e-7 at least, as in Keras."""
    if not len(labels):
        return NOT_AVAILABLE
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Estimate(float(-np.log(np.maximum(true, 1e-7)).mean()) + 0.0)  # + 0.0: never -0.0


def averaged(of: str, weighted: bool) -> Callable[[Labels, Probabilities], Estimate]:
    """Precision, recall or F1 averaged over the classes that have examples; each alike, or by its number of examples.

    As in scikit-learn, the precision of a class that was never predicted counts 0 in the average.
    """

    def average(labels: Labels, probabilities: Probabilities) -> Estimate:
        matrix = confusion_matrix(labels, probabilities)
        support = matrix.sum(axis=1)
        present = support > 0
        if not present.any():
            return NOT_AVAILABLE
        values = np.nan_to_num(_by_class(matrix)[of])[present]
        weights = support[present] if weighted else None
        return Estimate(float(np.average(values, weights=weights)))

    return average


# -- by class ------------------------------------------------------------------------------------------------------


def confusion_matrix(labels: Labels, probabilities: Probabilities) -> npt.NDArray[np.int64]:
    """int64 (classes, classes): how many images of each true class (row) were taken for each class (column)."""
    classes = probabilities.shape[1]
    cells = labels.astype(np.int64) * classes + probabilities.argmax(-1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def per_class(labels: Labels, probabilities: Probabilities, class_names: list[str]) -> dict[str, dict[str, Any]]:
    """Precision and recall with their intervals, F1, area under the ROC curve and number of examples of every class."""
    matrix = confusion_matrix(labels, probabilities)
    by_class = _by_class(matrix)
    return {
        name: {
            "precision": wilson(int(matrix[index, index]), int(matrix[:, index].sum())).as_json(),
            "recall": wilson(int(matrix[index, index]), int(matrix[index].sum())).as_json(),
            "f1": Estimate(_or_none(by_class["f1"][index])).as_json(),
            "auc": auc(labels == index, probabilities[:, index]).as_json(),
            "support": int(matrix[index].sum()),
        }
        for index, name in enumerate(class_names)
    }


def _by_class(matrix: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """float64 (classes,) each; NaN where a class was never predicted (precision) or has no examples (recall, F1)."""
    right, predicted, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    return {
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, support),
        "f1": np.where(support > 0, _ratio(2 * right, predicted + support), np.nan),
    }


def _ratio(top: npt.NDArray[np.int64], bottom: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    ratio = np.full(len(top), np.nan)
    np.divide(top, bottom, out=ratio, where=bottom > 0)
    return ratio


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


@dataclass(frozen=True)
class Metric:
    """worst, best: the ends of its range, None where it has none."""

    score: Callable[[Labels, Probabilities], Estimate]
    worst: float | None
    best: float


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, worst=0, best=1),
    "top_3_accuracy": Metric(top_accuracy(3), worst=0, best=1),
    "top_5_accuracy": Metric(top_accuracy(5), worst=0, best=1),
    "loss": Metric(loss, worst=None, best=0),
    "calibration_error": Metric(calibration_error, worst=1, best=0),
    "precision_macro": Metric(averaged("precision", weighted=False), worst=0, best=1),
    "recall_macro": Metric(averaged("recall", weighted=False), worst=0, best=1),
    "f1_macro": Metric(averaged("f1", weighted=False), worst=0, best=1),
    "precision_weighted": Metric(averaged("precision", weighted=True), worst=0, best=1),
    "recall_weighted": Metric(averaged("recall", weighted=True), worst=0, best=1),
    "f1_weighted": Metric(averaged("f1", weighted=True), worst=0, best=1),
}


def score(labels: Labels, probabilities: Probabilities, class_names: list[str]) -> dict[str, Any]:
    """Every metric of a split, ready for JSON; those that cannot be told for so few classes are left out."""
    estimates = {name: metric.score(labels, probabilities) for name, metric in METRICS.items()}
    return {
        "examples": len(labels),
        **{
            name: estimate.as_json()
            for name, estimate in estimates.items()
            if estimate.value is not None or not name.startswith("top_")
        },
        "per_class": per_class(labels, probabilities, class_names),
        "confusion_matrix": confusion_matrix(labels, probabilities).tolist(),
    }
