"""The proof: a model file is asked about the user's own pictures, and must answer as the run does.

What is compared is what is shipped: the pictures come from their files, through the file's own reading, size and resize
rule, and the answers are compared by class name.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from iconoclass.data.catalog import DATASETS
from iconoclass.data.dataset import Dataset, examples_of
from iconoclass.errors import IconoclassError, IntegrityError
from iconoclass.files import sha256_of
from iconoclass.images.prepare import prepare
from iconoclass.images.resize import RESIZES
from iconoclass.intervals import Estimate, paired_difference, wilson
from iconoclass.prediction.predictor import Predictor
from iconoclass.prediction.runtimes import Runtime, open_model

Rows = npt.NDArray[np.float32]  # (pictures, classes): probabilities
Pixels = npt.NDArray[np.uint8]

MOST_PICTURES = 1_000
# How far a probability may be off by rounding alone, by what the numbers are kept in.
TOLERANCES = {"float32": 1e-4, "float16": 0.02, "int8": 0.02}
MAX_LOSS = 0.01  # of accuracy, where numbers were made smaller
MANY_TIES = 0.05  # share of the pictures
EXPLAINED = 0.2  # a cause is named if with it the answers differ by less than this share of what they differ by without


@dataclass(frozen=True)
class Picture:
    """A test picture. source: its file, or the bytes of one; label: index of its class."""

    name: str
    source: Path | bytes
    label: int


def pictures_of(dataset: Dataset, at_most: int = MOST_PICTURES, part: str = "test") -> list[Picture]:
    """Pictures of the test part, evenly spread: from the user's own files where there are such, else as PNG."""
    split = dataset.splits[part].sample(at_most)
    paths = _paths(dataset)
    own = {
        name: paths[name]
        for name, digest in zip(split.names, split.sha256, strict=True)
        if name in paths and sha256_of(paths[name]) == digest
    }
    pixels = split.pixels
    return [
        Picture(name, own.get(name) or as_png(image), label)
        for name, image, label in zip(split.names, pixels, split.labels.tolist(), strict=True)
    ]


def _paths(dataset: Dataset) -> dict[str, Path]:
    source = dataset.config.source
    if source in DATASETS or source.endswith(".npz"):
        return {}
    return {example.name: example.path for example in examples_of(dataset.config).examples}


def as_png(pixels: Pixels) -> bytes:
    """uint8 (height, width, 1 or 3) as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


# -- the comparison --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """What came of asking a file and the run about the same pictures.

    agreeing: pictures with the same most probable class; near_ties: those of them where the file chose another class,
    and both find the two as probable but for twice the tolerance: rounding decides there, and neither answer is the
    better one. loss: of accuracy, paired, near ties left out; expected_loss: the same without labels, by how much more
    probable than the file's answer the run's own was to the run, on average; mean_difference: of the probability
    that differs most.
    """

    pictures: int
    from_files: int
    agreeing: int
    near_ties: int
    largest_difference: float
    mean_difference: float
    accuracy: Estimate
    accuracy_of_run: Estimate
    loss: Estimate
    expected_loss: float
    numbers: str
    tolerance: float
    max_loss: float
    cause: str = ""
    layer: str = ""
    notes: list[str] = field(default_factory=list)
    speed: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """What is not as it must be, in words; empty, if the proof holds.

        float32: every picture alike, within the tolerance. Else: no more accuracy is lost than is allowed, neither
        surely, by the labels, nor by what the run itself makes of the pictures that get another answer.
        """
        if not self.pictures:
            return ["there is no picture to ask about"]
        if not math.isfinite(self.largest_difference):
            return ["it answers NaN"]
        found, points = [], f"where {100 * self.max_loss:g} {'is' if self.max_loss == 0.01 else 'are'} allowed"
        if self.numbers == "float32":
            if self.agreeing < self.pictures:
                found.append(f"{self.pictures - self.agreeing:,} pictures get another answer")
            if self.largest_difference > self.tolerance:
                found.append(
                    f"probabilities differ by {written(self.largest_difference)}, where {self.tolerance:g} is allowed"
                )
            return found
        if self.loss.low is not None and self.loss.low > self.max_loss:
            found.append(
                f"{100 * self.loss.low:.1f} to {100 * (self.loss.high or 0):.1f} points of accuracy are lost, {points}"
            )
        if self.expected_loss > self.max_loss:
            lost = f"{100 * self.expected_loss:.1f} points of accuracy"
            found.append(f"by the run's own probabilities its other answers cost {lost}, {points}")
        return found

    @property
    def verdict(self) -> str:
        alike = f"{self.agreeing:,} of {self.pictures:,} pictures have the same answer"
        ties = f", {self.near_ties:,} of them but for a near tie" if self.near_ties else ""
        return f"{alike}{ties}; probabilities differ by {written(self.largest_difference)} at most"

    def as_json(self) -> dict[str, Any]:
        is_float = self.numbers == "float32"
        return {
            "holds": self.holds,
            "pictures": self.pictures,
            "from_files": self.from_files,
            "agreeing": self.agreeing,
            "near_ties": self.near_ties,
            "largest_difference": self.largest_difference,
            "mean_difference": self.mean_difference,
            "accuracy": self.accuracy.as_json(),
            "accuracy_of_run": self.accuracy_of_run.as_json(),
            "loss_of_accuracy": self.loss.as_json(),
            "expected_loss": self.expected_loss,
            "numbers": self.numbers,
            "tie_within": 2 * self.tolerance,
            "allowed": {"difference": self.tolerance} if is_float else {"loss": self.max_loss},
            **({"cause": self.cause} if self.cause else {}),
            **({"layer": self.layer} if self.layer else {}),
            "notes": self.notes,
            "speed": self.speed,
        }


def written(difference: float) -> str:
    """A difference of probabilities, legible.

    >>> written(0.0534), written(2.9e-7)
    ('0.053', '2.9e-07')
    """
    return f"{difference:.3f}" if difference >= 1e-3 else f"{difference:.1e}"


def compare(
    expected: Rows,
    answered: Rows,
    pictures: Sequence[Picture],
    *,
    numbers: str = "float32",
    max_loss: float = MAX_LOSS,
    notes: Sequence[str] = (),
) -> Proof:
    """The run's answers and the file's, both by the run's order of classes."""
    labels = np.array([picture.label for picture in pictures])
    ours, theirs = expected.argmax(-1), answered.argmax(-1)
    rows, tolerance = np.arange(len(labels)), TOLERANCES[numbers]
    given_up = expected[rows, ours] - expected[rows, theirs]
    gained = answered[rows, theirs] - answered[rows, ours]
    is_tie = (ours != theirs) & (np.maximum(given_up, gained) <= 2 * tolerance)
    differences = np.abs(expected - answered).max(-1)
    right, still_right = ours == labels, theirs == labels
    lost, won = int((right & ~still_right & ~is_tie).sum()), int((~right & still_right & ~is_tie).sum())
    loss, near_ties = paired_difference(lost, won, len(labels)), int(is_tie.sum())
    return Proof(
        pictures=len(labels),
        from_files=sum(isinstance(picture.source, Path) for picture in pictures),
        agreeing=int(((ours == theirs) | is_tie).sum()),
        near_ties=near_ties,
        largest_difference=float(differences.max(initial=0.0)),
        mean_difference=float(differences.sum()) / max(1, len(labels)),
        accuracy=wilson(int(still_right.sum()), len(labels)),
        accuracy_of_run=wilson(int(right.sum()), len(labels)),
        loss=loss,
        expected_loss=float(given_up.sum()) / max(1, len(labels)),
        numbers=numbers,
        tolerance=tolerance,
        max_loss=max_loss,
        notes=[
            *notes,
            *_reservations(len(labels), near_ties, 2 * tolerance, None if numbers == "float32" else loss, max_loss),
        ],
    )


def _reservations(
    pictures: int, near_ties: int, within: float, loss: Estimate | None, max_loss: float
) -> Iterator[str]:
    """What the figures do not say of themselves. loss: None, if nothing may be lost."""
    if near_ties > MANY_TIES * pictures:
        yield (
            f"In {near_ties:,} pictures run and file find two classes as probable, within {within:g}, and each names "
            "another one: the run is hardly sure of anything. Train it longer."
        )
    if loss and (loss.high or 0.0) > max_loss:
        yield f"Up to {100 * (loss.high or 0.0):.1f} points of accuracy may be lost: so few pictures cannot tell."


def by_name(predictor: Predictor, pictures: Sequence[Picture], class_names: list[str]) -> Rows:
    """Probabilities from picture files, in the order of the given class names.

    Raises: DataError, if a picture can no longer be read; IntegrityError, if the names are others.
    """
    if set(predictor.class_names) != set(class_names):
        missing = sorted(set(class_names) ^ set(predictor.class_names))
        raise IntegrityError(f"the class names are not those of the run: {missing[0]!r} is in one of them only")
    order = [predictor.class_names.index(name) for name in class_names]
    return ask(predictor, pictures)[:, order]


def ask(predictor: Predictor, pictures: Sequence[Picture]) -> Rows:
    """Probabilities from picture files, in the predictor's own order of classes."""
    return predictor.probabilities(np.stack([predictor.prepared(picture.source) for picture in pictures]))


class PlainKeras:
    """A Keras file that is asked in another process, in which there is no Iconoclass."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, pixels: Pixels) -> Rows:
        with tempfile.TemporaryDirectory() as room:
            asked, answered = Path(room) / "pixels.npy", Path(room) / "answers.npy"
            np.save(asked, pixels)
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            command = [sys.executable, "-I", "-c", _PLAIN_KERAS, str(self.path.absolute()), str(asked), str(answered)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
                raise IntegrityError(f"{self.path} does not open in plain Keras: {last}")
            rows: Rows = np.load(answered, allow_pickle=False)
            return rows


_PLAIN_KERAS = """
import sys
sys.modules["iconoclass"] = None
import keras, numpy
model = keras.models.load_model(sys.argv[1], compile=False)
pixels = numpy.load(sys.argv[2], allow_pickle=False)
numpy.save(sys.argv[3], model.predict(pixels, batch_size=64, verbose=0).astype("float32"))
"""


# -- why they differ -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Suspect:
    """What is known when the answers differ. ask: the run's network, of pixels of any dtype; raw: the file's answers in
    the file's own order of classes.
    """

    ask: Callable[[npt.NDArray[Any]], Rows]
    expected: Rows
    answered: Rows
    raw: Rows
    pictures: Sequence[Picture]
    shape: tuple[int, int, int]
    resize: str

    def pixels(self, rule: str | None = None) -> Pixels:
        return np.stack([prepare(picture.source, self.shape, rule or self.resize) for picture in self.pictures])


def cause_of(suspect: Suspect) -> str:
    """Which of the usual faults explains the file's answers; empty, if none does."""
    without = float(np.abs(suspect.expected - suspect.answered).mean())
    found = []
    for cause, explain in CAUSES.items():
        for expected, answered in explain(suspect):
            found.append((float(np.abs(expected - answered).mean()), cause))
    difference, cause = min(found, default=(without, ""))
    return cause if difference < EXPLAINED * without else ""


Explained = list[tuple[Rows, Rows]]


def _other_names(suspect: Suspect) -> Explained:
    return [(suspect.expected, suspect.raw)]


def _other_colours(suspect: Suspect) -> Explained:
    return [(suspect.ask(suspect.pixels()[..., ::-1]), suspect.answered)] if suspect.shape[2] == 3 else []


def _scaled_twice(suspect: Suspect) -> Explained:
    pixels = suspect.pixels().astype(np.float32)
    return [(suspect.ask(scaled), suspect.answered) for scaled in (pixels / 255, pixels / 127.5 - 1)]


def _not_scaled(suspect: Suspect) -> Explained:
    pixels = suspect.pixels().astype(np.float32)
    return [(suspect.ask(scaled), suspect.answered) for scaled in (pixels * 255, (pixels + 1) * 127.5)]


def _other_resize(suspect: Suspect) -> Explained:
    others = [rule for rule in RESIZES if rule != suspect.resize]
    return [(suspect.ask(suspect.pixels(rule)), suspect.answered) for rule in others]


def _turned(suspect: Suspect) -> Explained:
    pixels = suspect.pixels()
    return [(suspect.ask(pixels[:, ::-1]), suspect.answered), (suspect.ask(pixels[:, :, ::-1]), suspect.answered)]


CAUSES: dict[str, Callable[[Suspect], Explained]] = {
    "its class names stand in another order": _other_names,
    "it takes red for blue": _other_colours,
    "it scales the pixels twice": _scaled_twice,
    "it does not scale the pixels": _not_scaled,
    "it resizes pictures by another rule": _other_resize,
    "it sees pictures mirrored or upside down": _turned,
}


def parting_layer(network: Any, write: Callable[[Any, Path], None], suffix: str, pixels: Pixels, allowed: float) -> str:
    """The first layer whose output differs between Keras and a file of the network up to it; empty, if none does.

    write: the exporter; pixels: a few pictures; allowed: relative to the largest number in the output.
    """
    from iconoclass.backend import keras
    from iconoclass.exports.network import steps

    taken = steps(network)

    def parts_at(place: int) -> bool:
        prefix = keras.Model(network.inputs, taken[place].output)
        expected = np.asarray(prefix.predict_on_batch(pixels), np.float32)
        with tempfile.TemporaryDirectory() as room:
            path = Path(room) / f"prefix{suffix}"
            write(prefix, path)
            answered = open_model(path)(pixels)
        if answered.shape != expected.shape or not np.isfinite(answered).all():
            return True
        return bool(np.abs(answered - expected).max() > allowed * max(1e-6, float(np.abs(expected).max())))

    low, high = 0, len(taken) - 1
    with contextlib.suppress(IconoclassError):
        if not parts_at(high):
            return ""
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if parts_at(middle) else (middle + 1, high)
    return str(taken[low].layer.name)


# -- how fast --------------------------------------------------------------------------------------------------------


def images_per_second(runtime: Runtime, pixels: Pixels, seconds: float = 0.4) -> dict[str, float]:
    """Of the file on this machine, by batch size; the best of the rounds that fit into the time."""
    speeds = {}
    for batch in (1, 32):
        asked = np.resize(pixels, (batch, *pixels.shape[1:]))
        runtime(asked)  # the first one makes room
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            runtime(asked)
            best = min(best, time.perf_counter() - began)
        speeds[str(batch)] = round(batch / best, 1)
    return speeds
