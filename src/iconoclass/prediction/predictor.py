"""Predictor: a trained model that is asked about images, from wherever they come."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from iconoclass import inline
from iconoclass.errors import DataError, ImageError, ImageShapeError, IntegrityError, RunError, UsageError
from iconoclass.images.prepare import prepare
from iconoclass.prediction.card import LABELS, Card
from iconoclass.prediction.certainty import UNKNOWN_RATE, Certainty, temper
from iconoclass.prediction.manifest import MANIFEST, read_checked
from iconoclass.prediction.runtimes import RUNTIMES, Runtime, SeesFeatures, open_model
from iconoclass.prediction.vetting import SAVED_MODEL, UNSAFE, kind_of, vet_kind
from iconoclass.run import Run

ImageLike = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]

_FOREIGN = "It is not the model that was written there."

BATCH = 256  # images asked about at once: enough to keep the processor busy, little enough for any memory
BATCH_PIXELS = 256 * 96 * 96  # of larger images fewer


@dataclass(frozen=True)
class Prediction:
    """What one image is. image: its path, or its place among those that were asked about.

    confidence: the probability of class_name; probabilities: one for every class name, in index order. unknown: why the
    image is probably none of the classes, if it is; class_name is then the one that it is most like.
    """

    image: str
    class_name: str
    confidence: float
    probabilities: dict[str, float]
    unknown: str | None = None

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes, the most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    def _repr_html_(self) -> str:
        """Its five likeliest classes as bars, for a notebook."""
        return inline.card(self._line(), inline.said(self.image, quiet=True), inline.bars(self.top()))

    def _line(self) -> str:
        """The answer in a line; of an unknown picture also why."""
        answer = f"{self.class_name} {self.confidence:.0%}"
        return f"unknown ({self.unknown}); most like {answer}" if self.unknown else answer


class Predictions(list[Prediction]):
    """Answers in the order of the images. In a notebook the first ones show themselves with their pictures."""

    SHOWN = 24

    def __init__(self, answers: Iterable[Prediction], images: Sequence[ImageLike], predictor: Predictor) -> None:
        super().__init__(answers)
        self._images = images
        self._predictor = predictor

    def _repr_html_(self) -> str:
        """A gallery: each picture as the model saw it, with the answer."""
        seen = [(self._predictor.prepared(image), answer) for image, answer in zip(self._images, self, strict=False)]
        more = len(self) - len(seen)
        return inline.card(
            f"{len(self):,} picture{'' if len(self) == 1 else 's'}",
            inline.gallery([(pixels, answer._line(), Path(answer.image).name) for pixels, answer in seen]),
            inline.said(f"and {more:,} more" if more else "", quiet=True),
        )


@dataclass(frozen=True)
class Refusal:
    """An image that could not be read, and why."""

    image: str
    error: ImageError


class Predictor:
    """A trained model with all that it needs to be asked: size, colour, resize rule and class names."""

    def __init__(
        self,
        runtime: Runtime,
        class_names: list[str],
        image_shape: tuple[int, int, int],
        resize_rule: str,
        certainty: Certainty | None = None,
        unknown_rate: float = UNKNOWN_RATE,
    ) -> None:
        self._runtime = runtime
        self.class_names = class_names
        self.image_shape = image_shape
        self.resize_rule = resize_rule
        self.certainty = certainty or Certainty()
        self.unknown_rate = unknown_rate
        self.batch = max(1, min(BATCH, BATCH_PIXELS // (image_shape[0] * image_shape[1])))
        self.card: Card | None = None  # what an exported file says about itself

    @classmethod
    def load(cls, path: Path | str, *, unknown_rate: float = UNKNOWN_RATE, threads: int | None = None) -> Predictor:
        """The predictor of a run's folder, or of an exported file: .onnx, .tflite, .keras, .h5, a SavedModel.

        unknown_rate: share of the pictures of the classes that may be called unknown, 0 to 0.5; 0 calls none so. In
        an exported file the limit stands, and is one of confidence alone. threads: that an exported file is asked
        with; default: one for each core.
        Raises: RunError, if it is no run or has no model; IntegrityError, if the model was changed, is not safe to
        load, or cannot be loaded; EnvironmentFault, if what runs it is not installed; UsageError, if the rate is out of
        range.
        """
        if not 0 <= unknown_rate <= 0.5:
            raise UsageError(f"unknown_rate must be 0 to 0.5. Received: unknown_rate={unknown_rate}")
        if file := model_file(Path(path).expanduser()):
            return cls._of_file(file, unknown_rate, threads)
        run = Run.open(path)
        height, width = run.dataset["image_size"]
        shape = (height, width, run.dataset["channels"])
        known = Certainty.read(run)
        predictor = cls(open_model(run.model_path), run.class_names, shape, run.dataset["resize"], known, unknown_rate)
        predictor._try(run.model_path)
        return predictor

    @classmethod
    def _of_file(cls, path: Path, unknown_rate: float, threads: int | None) -> Predictor:
        vet_kind(path)
        card = read_checked(path)
        if card is None:
            if (path.parent / LABELS).is_file() or path.suffix in {".keras", ".h5"}:
                hint = f"To use a network from elsewhere: iconoclass import {path}"
            else:
                hint = "`iconoclass export` makes files that do."
            raise RunError(f"{path} does not say what its classes are, nor how pictures are read for it", hint=hint)
        # Its temperature is inside the network. Of its features nothing is said, so that confidence alone decides.
        certainty = Certainty(least=card.threshold)
        shape = card.image_shape
        runtime = open_model(path, threads)
        predictor = cls(runtime, card.class_names, shape, card.resize, certainty, unknown_rate)
        predictor.card = card
        predictor._try(path)
        return predictor

    def _try(self, path: Path) -> None:
        """Ask about a blank picture: a model that is not this run's, or that holds NaN, is found out here.

        Raises: IntegrityError.
        """
        try:
            [row] = self._runtime(np.zeros((1, *self.image_shape), np.uint8))
        # ONNX Runtime and TensorFlow have exceptions of their own, which are no more than this.
        except Exception as error:
            raise IntegrityError(f"{path} does not take images of {self.image_shape}", hint=_FOREIGN) from error
        if row.shape != (len(self.class_names),):
            what = f"{path} answers for {row.size} classes, where there are {len(self.class_names)} class names"
            raise IntegrityError(what, hint=_FOREIGN)
        if not np.isfinite(row).all():
            raise IntegrityError(f"{path} answers NaN", hint="Its weights are damaged: train again.")

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probability that each image is of each class, calibrated.

        pixels: uint8 (batch, height, width, channels) of just the model's size, in [0, 255].
        Returns: float32 (batch, classes); rows sum to 1.
        Raises: ImageShapeError, if shape or dtype is another than the run was trained on.
        """
        parts = [self._runtime(some) for some in self._batches(pixels)]
        return temper(np.concatenate([self._no_answers, *parts]), self.certainty.temperature)

    def look(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """The network's own probabilities, before calibration, and its features: float32 (batch, features), or None
        where the runtime does not say them.

        pixels, Raises: as for `probabilities`.
        """
        if not isinstance(self._runtime, SeesFeatures):
            return np.concatenate([self._no_answers, *map(self._runtime, self._batches(pixels))]), None
        looks = [self._runtime.look(some) for some in self._batches(pixels)]
        features = np.concatenate([seen for _, seen in looks]) if looks else np.empty((0, 0), np.float32)
        return np.concatenate([self._no_answers, *(answers for answers, _ in looks)]), features

    @property
    def _no_answers(self) -> npt.NDArray[np.float32]:
        return np.empty((0, len(self.class_names)), np.float32)

    def _batches(self, pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != self.image_shape:
            raise ImageShapeError(
                f"pixels must be uint8 (batch, {', '.join(map(str, self.image_shape))}). "
                f"Received: {pixels.dtype} {pixels.shape}",
                hint="predict() takes images of any size.",
            )
        return (pixels[at : at + self.batch] for at in range(0, len(pixels), self.batch))

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> Predictions:
        """What each image is, in the order given: a list, which a notebook shows as a gallery.

        images: one or more paths, bytes of image files, PIL images, or uint8 arrays (height, width[, channels]) of
        any size; or one uint8 array (batch, height, width, channels).
        Raises: DataError, naming every image that cannot be read. `stream` goes on past them.
        """
        each = iter(_each(images))
        first = list(itertools.islice(each, Predictions.SHOWN))
        answers = list(self.stream(itertools.chain(first, each)))
        if refused := [answer for answer in answers if isinstance(answer, Refusal)]:
            if len(answers) == 1:
                raise refused[0].error
            listed = "\n  ".join(f"{answer.image}: {answer.error}" for answer in refused)
            raise DataError(f"{len(refused)} of {len(answers)} images cannot be read:\n  {listed}")
        return Predictions((answer for answer in answers if isinstance(answer, Prediction)), first, self)

    def stream(self, images: ImageLike | Iterable[ImageLike]) -> Iterator[Prediction | Refusal]:
        """As `predict`, one answer after the other in the order given; a Refusal for what cannot be read."""
        waiting: list[tuple[str, npt.NDArray[np.uint8] | ImageError]] = []
        for place, image in enumerate(_each(images)):
            name = str(image) if isinstance(image, (str, Path)) else str(place)
            try:
                waiting.append((name, self.prepared(image)))
            except ImageError as error:
                waiting.append((name, error))
            if len(waiting) == BATCH:
                yield from self._answers(waiting)
                waiting = []
        yield from self._answers(waiting)

    def _answers(self, waiting: list[tuple[str, npt.NDArray[np.uint8] | ImageError]]) -> Iterator[Prediction | Refusal]:
        readable = [pixels for _, pixels in waiting if not isinstance(pixels, ImageError)]
        answers = iter(self._rows(np.stack(readable)) if readable else [])
        for name, pixels in waiting:
            if isinstance(pixels, ImageError):
                yield Refusal(name, pixels)
            else:
                shares, doubt = next(answers)
                row = dict(zip(self.class_names, shares, strict=True))
                best = max(row, key=lambda class_name: row[class_name])
                yield Prediction(name, best, row[best], row, doubt)

    def _rows(self, pixels: npt.NDArray[np.uint8]) -> Iterator[tuple[list[float], str | None]]:
        """Of each image its probabilities, and why it is unknown, if it is."""
        raw, features = self.look(pixels)
        found = temper(raw, self.certainty.temperature)
        yield from zip(found.tolist(), self.certainty.doubts(found, features, self.unknown_rate), strict=True)

    def prepared(self, image: ImageLike) -> npt.NDArray[np.uint8]:
        """uint8 of the model's shape, by the same decoding and resizing as in training."""
        return prepare(_file_of(image), self.image_shape, self.resize_rule)


def model_file(path: Path) -> Path | None:
    """The model file that is meant by a path: itself, or the one in the folder of an export; None, if it is none."""
    if path.is_file():
        return path if kind_of(path) in {*RUNTIMES, *UNSAFE} and not _is_of_a_run(path) else None
    if kind_of(path) == SAVED_MODEL:
        return path
    if (path / MANIFEST).is_file():
        files = [file for file in sorted(path.iterdir()) if kind_of(file) in RUNTIMES]
        return files[0] if len(files) == 1 else None
    return None


def _is_of_a_run(path: Path) -> bool:
    return Run.is_at(path.parent) and Run(path.parent).model_path == path


def _each(images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images)
    if isinstance(images, (str, Path, bytes, Image.Image, np.ndarray)):
        return [images]
    return images


def _file_of(image: Any) -> Path | bytes:
    """What `decode` takes. Pictures from memory pass through PNG, which loses nothing: one path for all of them."""
    if isinstance(image, (str, Path)):
        return Path(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, np.ndarray):
        image = _picture_of(image)
    if isinstance(image, Image.Image):
        if image.mode in {"F", "I"}:
            hint = "Give the file itself, or its pixels as uint8."
            raise ImageShapeError(f"a PIL image of mode {image.mode} does not say its range", hint=hint)
        file = io.BytesIO()
        plain = image if image.mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else image.convert("RGB")
        plain.save(file, "PNG", compress_level=0, exif=image.getexif())
        return file.getvalue()
    hint = "Allowed: a path, bytes of an image file, a PIL image, a uint8 array."
    raise ImageShapeError(f"an image cannot be a {type(image).__name__}", hint=hint)


def _picture_of(array: npt.NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise ImageShapeError(
            f"an array must be uint8 (height, width[, 1, 3 or 4]). Received: {array.dtype} {array.shape}",
            hint="For floats in [0, 1]: (array * 255).round().astype('uint8').",
        )
    return Image.fromarray(np.ascontiguousarray(array))
