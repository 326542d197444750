"""Estimate: a number and the interval in which it lies. What cannot be told is None, never 0 or NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number, and where known the 95 % interval that it lies in. None: it cannot be told from these examples."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | None]:
        return {"value": self.value} if self.low is None else {"value": self.value, "low": self.low, "high": self.high}


NOT_AVAILABLE = Estimate(None)


def wilson(hits: int, trials: int) -> Estimate:
    """The share of hits with its 95 % interval; None of zero trials.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927. It keeps its
    promise also near 0 and 1, where the usual interval does not.
    """
    if trials == 0:
        return NOT_AVAILABLE
    share, z2 = hits / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # At 0 and 1 rounding must not push the end of the interval past the value.
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def paired_difference(only_first: int, only_second: int, trials: int) -> Estimate:
    """How much larger the first share is than the second, of the same trials, with its 95 % interval.

    only_first, only_second: trials that only the one, or only the other, has hit.
    Source: Agresti & Min, Simple improved confidence intervals for comparing matched proportions, Statistics in
    Medicine 2005: half an observation is added to each of the four cells. The value itself is left as it was seen.

    >>> paired_difference(0, 0, 1000).low < 0 < paired_difference(0, 0, 1000).high
    True
    """
    if trials == 0:
        return NOT_AVAILABLE
    first, second, all_of_them = only_first + 0.5, only_second + 0.5, trials + 2
    centre = (first - second) / all_of_them
    half = Z_95 * math.sqrt((first + second) / all_of_them - centre**2) / math.sqrt(all_of_them)
    return Estimate((only_first - only_second) / trials, max(-1.0, centre - half), min(1.0, centre + half))


def auc_interval(auc: float, positives: int, negatives: int) -> Estimate:
    """An area under the ROC curve with its 95 % interval, which is honest near 1 and for few examples.

    Source: Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, Part 2,
    Statistics in Medicine 2006, method 5: those areas from which the one seen is within 1.96 standard errors.
    """
    if not positives or not negatives:
        return NOT_AVAILABLE
    half = (positives + negatives) / 2 - 1

    def is_near(area: float) -> bool:
        spread = 1 + half * ((1 - area) / (2 - area) + area / (1 + area))
        return abs(auc - area) <= Z_95 * math.sqrt(area * (1 - area) * spread / (positives * negatives))

    def end(outside: float) -> float:
        inside = auc
        for _ in range(40):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if is_near(middle) else (inside, middle)
        return inside

    return Estimate(auc, end(0.0), end(1.0))


# -- as text -------------------------------------------------------------------------------------------------------

# Makes the intervals step back where the terminal can; takes text and gives text.
Style = Callable[[str], str]


def share(estimate: Mapping[str, float | None], quiet: Style = str) -> str:
    """A share and its interval, in percent: " 95.0% 88.8-97.8"."""
    text = f"{percent(estimate['value']):>6}"
    low, high = estimate.get("low"), estimate.get("high")
    return text if low is None or high is None else f"{text} {quiet(f'{100 * low:.1f}-{100 * high:.1f}')}"


def percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"
