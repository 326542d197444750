"""Network: a proven file, opened, asked about its golden pictures, and warm. It lives in a worker's process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.errors import IconoclassError, UsageError
from iconoclass.evaluation.attention import Map, in_few, looked_at
from iconoclass.files import sha256_of
from iconoclass.prediction.golden import ask_golden
from iconoclass.prediction.manifest import manifest_beside
from iconoclass.prediction.predictor import Predictor
from iconoclass.serving.model import Answer, Pixels

SERVED = {".onnx": "onnx_onnxv1", ".tflite": "litert_tflite"}  # what runs without TensorFlow, as /v2 calls it
PART = 8  # hidden pictures asked about at once: what a runtime has once needed for many photographs, it keeps
WARM_UP = 3  # first answers of a runtime are slow: it plans its memory


class Network:
    """A predictor and the version that it is of."""

    def __init__(self, predictor: Predictor, file: Path) -> None:
        self._predictor, self._file = predictor, file
        self.image_shape, self.resize_rule = predictor.image_shape, predictor.resize_rule

    @classmethod
    def load(cls, file: Path) -> Network:
        """Open, prove and warm up.

        Raises: IntegrityError, if it no longer answers as it did when it was made; whatever Predictor.load raises.
        """
        if file.suffix.lower() not in SERVED:
            raise UsageError(f"{file} would need TensorFlow to be served", hint="Export the run: --format onnx.")
        # A worker for each core: threads inside one would take turns with the other workers.
        network = cls(Predictor.load(file, threads=1), file)
        if manifest := manifest_beside(file):
            ask_golden(network._predictor, manifest)
        network._warm_up()
        return network

    def _warm_up(self) -> None:
        blank = np.zeros(self.image_shape, np.uint8)
        for _ in range(WARM_UP):
            self.answers([blank])

    def described(self) -> dict[str, Any]:
        """What the server must know of it."""
        card = self._predictor.card
        return {
            "name": (card.run if card else "") or self._file.stem,
            "version": sha256_of(self._file)[:12],
            "class_names": self._predictor.class_names,
            "image_shape": list(self.image_shape),
            "resize_rule": self.resize_rule,
            "platform": SERVED[self._file.suffix.lower()],
        }

    def answers(self, pictures: Sequence[Pixels]) -> list[Answer | IconoclassError]:
        """Of each picture, in order; an error for those that get NaN: no label is better than a made-up one."""
        if not pictures:
            return []
        found = self._predictor.probabilities(np.stack(pictures))
        are_numbers = np.isfinite(found.sum(axis=1))
        doubts = iter(self._predictor.certainty.doubts(found[are_numbers], None, self._predictor.unknown_rate))
        return [
            Answer(row, next(doubts)) if is_number else _no_number()
            for row, is_number in zip(found, are_numbers, strict=True)
        ]

    def explained(self, pixels: Pixels) -> tuple[Answer, Map] | IconoclassError:
        """Of one picture the answer and what it rests on, as `explain` finds it, in few rows and columns."""
        [answer] = self.answers([pixels])
        if isinstance(answer, IconoclassError):
            return answer
        attention = in_few(looked_at(self._asked_in_parts, pixels, int(answer.probabilities.argmax())))
        return (answer, attention) if np.isfinite(attention).all() else _no_number()

    def _asked_in_parts(self, pictures: Pixels) -> npt.NDArray[np.float32]:
        parts = range(0, len(pictures), PART)
        return np.concatenate([self._predictor.probabilities(pictures[at : at + PART]) for at in parts])


def _no_number() -> IconoclassError:
    return IconoclassError("the answer is no number", code="MODEL_NAN")
