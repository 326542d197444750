"""gain(): how much better one training is than another, from runs of both over several seeds."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from iconoclass.intervals import Z_95, Estimate

Hits = npt.NDArray[np.bool_]


def gain(first: Hits, second: Hits) -> Estimate:
    """The second training's mean accuracy less the first one's, with its 95 % interval: for other pictures, and for
    other seeds, of which there are usually few.

    first, second: bool (seeds, pictures), whether a run is right about a picture; the same pictures in the same order.
    The interval's half is the root of the squares of two: that of the seeds, by Student's t with the variances of both
    trainings pooled, and that of the pictures, whose differences are paired. With one seed it speaks of pictures only.
    Source: Zou and Donner, Construction of confidence limits about effect measures: a general approach, Statistics in
    Medicine 2008, for a sum of two.
    """
    from scipy.special import stdtrit

    seeds, pictures = first.shape
    differences = second.mean(axis=0) - first.mean(axis=0)
    value = float(differences.mean())
    of_pictures = Z_95**2 * float(differences.var(ddof=1)) / pictures
    of_seeds = 0.0
    if seeds > 1:
        variance = float(first.mean(axis=1).var(ddof=1) + second.mean(axis=1).var(ddof=1)) / seeds
        of_seeds = float(stdtrit(2 * (seeds - 1), 0.975)) ** 2 * variance
    half = math.sqrt(of_pictures + of_seeds)
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half))
