"""Whether confidence is what it claims to be: a temperature fitted on validation, and what shows that it fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iconoclass.intervals import NOT_AVAILABLE, Estimate, wilson

Labels = npt.NDArray[np.int32]
Probabilities = npt.NDArray[np.float32]

# How far from 1 a temperature is believed to be before anything is seen, as a deviation of its logarithm. Two dozen
# validation pictures, all of them right, would else ask for a temperature of nothing.
PRIOR_SPREAD = 0.5
LOWEST, HIGHEST = np.log(0.05), np.log(20.0)


def fit_temperature(labels: Labels, probabilities: Probabilities) -> float:
    """The temperature at which these probabilities best predict these labels; 1.0 of no examples.

    The lowest cross-entropy, summed, plus a weak belief in 1 that a few hundred examples outvote. The sum is convex in
    1 / temperature and has one lowest place in its logarithm, which a golden section finds.
    Source: Guo et al. 2017; the prior is ours.
    """
    if not len(labels):
        return 1.0
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    logits -= logits[np.arange(len(labels)), labels][:, None]

    def cost(log_temperature: float) -> float:
        scaled = logits * np.exp(-log_temperature)
        highest = scaled.max(axis=1)
        loss = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
        return float(loss.sum() + 0.5 * (log_temperature / PRIOR_SPREAD) ** 2)

    low, high, golden = LOWEST, HIGHEST, (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    of_left, of_right = cost(left), cost(right)
    while high - low > 1e-5:
        if of_left < of_right:
            high, right, of_right = right, left, of_left
            left = high - golden * (high - low)
            of_left = cost(left)
        else:
            low, left, of_left = left, right, of_right
            right = low + golden * (high - low)
            of_right = cost(right)
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True)
class Bin:
    """Answers of like confidence. confidence: their mean; accuracy: the share that is right, with its interval."""

    count: int
    confidence: float
    accuracy: Estimate


def reliability(labels: Labels, probabilities: Probabilities, bins: int = 15) -> list[Bin]:
    """The bins of equal width that hold any answers, from the least confident to the most."""
    confidence, is_right = probabilities.max(axis=-1), probabilities.argmax(axis=-1) == labels
    place = np.minimum((confidence.astype(np.float64) * bins).astype(np.int64), bins - 1)
    return [
        Bin(int(inside.sum()), float(confidence[inside].mean()), wilson(int(is_right[inside].sum()), int(inside.sum())))
        for inside in (place == at for at in range(bins))
        if inside.any()
    ]


def calibration_error(labels: Labels, probabilities: Probabilities) -> Estimate:
    """How far confidence and the share that is right lie apart, in 15 bins, on average over the answers.

    Source: Guo et al. 2017; called the expected calibration error there.
    """
    if not len(labels):
        return NOT_AVAILABLE
    bins = reliability(labels, probabilities)
    apart = sum(one.count * abs((one.accuracy.value or 0.0) - one.confidence) for one in bins)
    return Estimate(apart / len(labels))


def coverage(labels: Labels, probabilities: Probabilities) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How accurate the most confident answers are: (share answered, accuracy of those), float64 (n,) each.

    Answers of one confidence are taken in together: no order among them is better than another.
    """
    confidence, is_right = probabilities.max(axis=-1), probabilities.argmax(axis=-1) == labels
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True)) if len(labels) else np.empty(0, np.int64)
    hits = np.cumsum(is_right[order])[last]
    return (last + 1) / max(1, len(labels)), hits / (last + 1)
