"""Estimate: a number and the interval in which it lies. What cannot be told is None, never 0 or NaN."""

from __future__ import annotations

import math
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
