"""How well scores tell one class from the rest, at every threshold: ROC and precision-recall, and the areas below."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.intervals import NOT_AVAILABLE, Estimate, auc_interval

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.floating[Any]]


def steps(is_class: npt.NDArray[np.bool_], scores: Scores) -> tuple[Floats, Floats]:
    """Hits and false alarms at every threshold, from the highest score to the lowest: float64 (thresholds,) each."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order]) != 0), len(scores) - 1) if len(scores) else np.empty(0, int)
    hits = np.cumsum(is_class[order])[last].astype(np.float64)
    return hits, last + 1 - hits


def roc(is_class: npt.NDArray[np.bool_], scores: Scores) -> tuple[Floats, Floats] | None:
    """(false alarm rate, hit rate), from (0, 0) to (1, 1); None where there is nothing to tell apart."""
    positives = int(is_class.sum())
    negatives = len(is_class) - positives
    if not positives or not negatives:
        return None
    hits, alarms = steps(is_class, scores)
    return np.append(0.0, alarms / negatives), np.append(0.0, hits / positives)


def precision_recall(is_class: npt.NDArray[np.bool_], scores: Scores) -> tuple[Floats, Floats] | None:
    """(recall, precision), from the highest threshold to the lowest; None where no example is of the class."""
    if not is_class.any():
        return None
    hits, alarms = steps(is_class, scores)
    return hits / is_class.sum(), hits / (hits + alarms)


def auc(is_class: npt.NDArray[np.bool_], scores: Scores) -> Estimate:
    """The area below the ROC curve, with its interval: the chance that one of the class scores higher than another."""
    curve = roc(is_class, scores)
    if curve is None:
        return NOT_AVAILABLE
    alarms, hits = curve
    area = float(np.sum(np.diff(alarms) * (hits[1:] + hits[:-1]) / 2))
    positives = int(is_class.sum())
    return auc_interval(min(1.0, area), positives, len(is_class) - positives)


def average_precision(is_class: npt.NDArray[np.bool_], scores: Scores) -> Estimate:
    """The precision at each threshold, weighed by the recall that it gains; not interpolated, as in scikit-learn."""
    curve = precision_recall(is_class, scores)
    if curve is None:
        return NOT_AVAILABLE
    recall, precision = curve
    return Estimate(float(np.sum(np.diff(np.append(0.0, recall)) * precision)))
