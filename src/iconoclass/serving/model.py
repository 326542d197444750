"""Model: a proven file, opened, asked about its golden pictures, and warm; without TensorFlow in this process."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from iconoclass.errors import IconoclassError, IntegrityError, UsageError
from iconoclass.files import sha256_of
from iconoclass.images.prepare import prepare
from iconoclass.prediction.manifest import Golden, Manifest, manifest_beside
from iconoclass.prediction.predictor import Predictor, model_file
from iconoclass.run import Run

SERVED = {".onnx", ".tflite"}  # what runs without TensorFlow
WARM_UP = 3  # first answers of a runtime are slow: it plans its memory

Pixels = npt.NDArray[np.uint8]


class NaNAnswerError(IconoclassError):
    """The network answered NaN: no label is better than a made-up one."""

    code = "MODEL_NAN"

    def __init__(self) -> None:
        super().__init__("the network's answer is not a number")


@dataclass(frozen=True)
class Answer:
    """Of one picture. probabilities: calibrated, in index order; unknown: why it is probably none of the classes."""

    probabilities: npt.NDArray[np.float32]
    unknown: str | None

    @property
    def best(self) -> int:
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class Example:
    """A picture of the test part to try. picture: the bytes of a PNG."""

    picture: bytes
    class_name: str

    @property
    def as_url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.picture).decode()


class Model:
    """What is served: a predictor, the version it is of, and pictures to try."""

    def __init__(self, predictor: Predictor, name: str, version: str, golden: list[Golden]) -> None:
        self.predictor, self.name, self.version = predictor, name, version
        self.examples = [Example(each.picture, each.class_name) for each in golden]

    @classmethod
    def load(cls, file: Path) -> Model:
        """Open, prove and warm up.

        Raises: IntegrityError, if it no longer answers as it did when it was made; whatever Predictor.load raises.
        """
        if file.suffix.lower() not in SERVED:
            raise UsageError(f"{file} would need TensorFlow to be served", hint="Export the run: --format onnx.")
        predictor = Predictor.load(file)
        manifest = manifest_beside(file)
        name = (predictor.card.run if predictor.card else "") or file.stem
        model = cls(predictor, name, sha256_of(file)[:12], manifest.golden if manifest else [])
        model._prove(file, manifest)
        model._warm_up()
        return model

    def _prove(self, file: Path, manifest: Manifest | None) -> None:
        for golden in manifest.golden if manifest else []:
            [answer] = self.answer([self.prepared(golden.picture)])
            apart = np.abs(answer.probabilities - np.array(golden.probabilities, np.float32)).max()
            if manifest and apart > manifest.tolerance:
                what = f"{file} answers a golden picture otherwise than when it was made: by {apart:.2g}"
                raise IntegrityError(what, hint="Export it again.", code="EXPORT_DIFFERS")

    def _warm_up(self) -> None:
        blank = np.zeros(self.predictor.image_shape, np.uint8)
        for _ in range(WARM_UP):
            self.answer([blank])

    @property
    def class_names(self) -> list[str]:
        return self.predictor.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.predictor.image_shape

    def prepared(self, picture: bytes) -> Pixels:
        """The bytes of a file as the network's pixels. Raises: ImageError."""
        return prepare(picture, self.image_shape, self.predictor.resize_rule)

    def answer(self, pictures: list[Pixels]) -> list[Answer]:
        """Raises: NaNAnswerError."""
        found = self.predictor.probabilities(np.stack(pictures))
        if not np.isfinite(found).all():
            raise NaNAnswerError
        doubts = self.predictor.certainty.doubts(found, None, self.predictor.unknown_rate)
        return [Answer(row, doubt) for row, doubt in zip(found, doubts, strict=True)]


# -- which file ------------------------------------------------------------------------------------------------------


class Source:
    """What the user named: a run, or an exported file. Knows the file that is served, makes it, and sees it change."""

    def __init__(self, path: Path | str) -> None:
        path = Path(path).expanduser()
        self._file = model_file(path)
        self.run = None if self._file else Run.open(path)

    @property
    def report(self) -> Path | None:
        """report.html of the run, where there is one."""
        return self.run.report_path if self.run and self.run.report_path.is_file() else None

    @property
    def _exported(self) -> Path | None:
        return model_file(self.run.exports_folder / "onnx") if self.run else self._file

    @property
    def stamp(self) -> tuple[int, ...]:
        """Changes when there is something new to load; empty while it is being written."""
        watched = [self.run.model_path] if self.run else [self._file] if self._file else []
        try:
            stats = [path.stat() for path in watched]
        except OSError:
            return ()
        return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size, stat.st_ino))

    def file(self) -> Path:
        """The file to serve; of a run the ONNX export, made and proven first if there is none of this very run yet.

        Raises: IntegrityError and others, as `export` does.
        """
        if self._exported is None or (self.run and self._is_outdated(self.run, self._exported)):
            self._export()
        if self._exported is None:
            raise IntegrityError("the export left no file", hint="Export it by hand: iconoclass export.")
        return self._exported

    def _is_outdated(self, run: Run, file: Path) -> bool:
        return file.stat().st_mtime < run.model_path.stat().st_mtime

    def _export(self) -> None:
        """In a child: TensorFlow takes seconds and half a gigabyte, and stays where it has once been loaded."""
        run = self.run
        if run is None:
            return
        command = [sys.executable, "-m", "iconoclass", "export", str(run.path), "--format", "onnx"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            what = said[-1] if said else f"it left with {done.returncode}"
            raise IntegrityError(f"{run.name} could not be exported: {what}", hint="Nothing is served unproven.")

    def load(self) -> tuple[Model, float]:
        """The model, and the seconds that it took."""
        began = time.monotonic()
        return Model.load(self.file()), time.monotonic() - began
