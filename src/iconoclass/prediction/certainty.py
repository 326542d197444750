"""How sure an answer is: probabilities that mean what they say, and pictures that are none of the classes."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.errors import IntegrityError
from iconoclass.files import writing
from iconoclass.run import Run

Floats = npt.NDArray[np.floating[Any]]

UNKNOWN_RATE = 0.05  # share of pictures of the classes that may be called unknown
NEIGHBOURS = 5  # distance is that to the fifth nearest training picture
ROWS = 1024  # pictures that are compared at once

_NONE = np.empty(0, np.float64)


def temper(probabilities: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Probabilities as if the last layer's logits had been divided by the temperature: the order of classes stays.

    probabilities: float32 (batch, classes). Returns: the same shape; rows sum to 1.
    Source: Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    if temperature == 1.0 or not probabilities.size:
        return probabilities
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    tempered: npt.NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return tempered


@dataclass(frozen=True)
class Known:
    """Training pictures as the network sees them. features: float32 (n, features), of length 1; at: their positions."""

    features: npt.NDArray[np.float32]
    at: npt.NDArray[np.int64]

    @classmethod
    def of(cls, features: Floats, at: npt.NDArray[np.int64]) -> Known:
        return cls(_unit(features), at)

    def distances(self, features: Floats) -> npt.NDArray[np.float64]:
        """How far each picture lies from what the network has learned from: float64 (batch,), 0 to 2.

        Source: Sun et al., Out-of-distribution detection with deep nearest neighbors, ICML 2022.
        """
        rank = min(NEIGHBOURS, len(self.features))
        found = [
            np.partition(self._alike(features[at : at + ROWS]), -rank, axis=1)[:, -rank]
            for at in range(0, len(features), ROWS)
        ]
        alike = np.concatenate(found).astype(np.float64) if found else _NONE
        apart: npt.NDArray[np.float64] = np.sqrt(np.maximum(2 - 2 * alike, 0))
        return apart

    def nearest(self, features: Floats, count: int) -> npt.NDArray[np.int64]:
        """Positions in the training part of the pictures most like each of these: int64 (batch, count)."""
        return self.at[np.argsort(-self._alike(features), axis=1, kind="stable")[:, :count]]

    def _alike(self, features: Floats) -> npt.NDArray[np.float32]:
        """Cosines: float32 (batch, n)."""
        alike: npt.NDArray[np.float32] = _unit(features) @ self.features.T
        return alike


def _unit(features: Floats) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(features.astype(np.float32), axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (features / np.maximum(length, 1e-9)).astype(np.float32)
    return unit


@dataclass(frozen=True)
class Certainty:
    """What a run knows about its own answers.

    temperature: of its probabilities; known: what new pictures are compared with, if the network says its features;
    confidences, distances: of the validation pictures, after calibration; least: the confidence below which a picture
    is unknown, where that is known and they are not.
    """

    temperature: float = 1.0
    known: Known | None = None
    confidences: npt.NDArray[np.float64] = field(default_factory=lambda: _NONE)
    distances: npt.NDArray[np.float64] = field(default_factory=lambda: _NONE)
    least: float | None = None

    @classmethod
    def read(cls, run: Run) -> Certainty:
        """That of a run; of one that was judged before there was any, one that changes nothing.

        Raises: IntegrityError, if its file is damaged.
        """
        path = run.features_path
        if not path.is_file():
            return cls(run.temperature)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
                known = Known(held["features"].astype(np.float32), held["at"])
                return cls(run.temperature, known, held["confidences"], held["distances"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            hint = "Judge the run again: iconoclass evaluate RUN"
            raise IntegrityError(f"{path} cannot be read: {error}", hint=hint) from error

    def write(self, path: Path) -> None:
        if self.known is None:
            return
        with writing(path) as temporary:
            np.savez(
                temporary,
                features=self.known.features.astype(np.float16),
                at=self.known.at,
                confidences=self.confidences,
                distances=self.distances,
            )

    def limits(self, rate: float) -> tuple[float, float]:
        """(confidence below which, distance above which) a picture is unknown, so that at most `rate` of the pictures
        of the classes are, on average over validation parts; -inf and inf where there are too few pictures to say.

        Each of the two has half of the rate; where the pictures do not suffice for halves, distance has all of it.
        Source: split conformal prediction, Vovk et al. 2005.
        """
        if self.least is not None:
            return (self.least if rate else -math.inf), math.inf
        if _rank(len(self.distances), rate / 2) and _rank(len(self.confidences), rate / 2):
            return -_limit(-self.confidences, rate / 2), _limit(self.distances, rate / 2)
        if len(self.distances):
            return -math.inf, _limit(self.distances, rate)
        return -_limit(-self.confidences, rate), math.inf

    def doubts(
        self, probabilities: npt.NDArray[np.float32], features: npt.NDArray[np.float32] | None, rate: float
    ) -> list[str | None]:
        """Why each picture is probably none of the classes; None where it may well be one.

        probabilities: calibrated. features: where the runtime says them.
        """
        least, most = self.limits(rate)
        far = self.distances_of(features, len(probabilities)) > most
        unsure = probabilities.max(axis=-1, initial=0.0) < least
        return [_doubt(*pair) for pair in zip(far.tolist(), unsure.tolist(), strict=True)]

    def distances_of(self, features: npt.NDArray[np.float32] | None, count: int) -> npt.NDArray[np.float64]:
        """float64 (count,); -inf, which is near, where nothing is known."""
        if features is None or self.known is None:
            return np.full(count, -np.inf)
        return self.known.distances(features)


def _doubt(is_far: bool, is_unsure: bool) -> str | None:
    said = ["unlike the training pictures"] * is_far + ["no class is likely enough"] * is_unsure
    return ", ".join(said) or None


def _rank(count: int, rate: float) -> int:
    """Which of so many values is exceeded by a new one of their kind with a chance of at most `rate`; 0: none is."""
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    return rank if 0 < rank <= count else 0


def _limit(values: npt.NDArray[np.float64], rate: float) -> float:
    rank = _rank(len(values), rate)
    return float(np.sort(values)[rank - 1]) if rank else math.inf
