"""Model: what is served, as the server knows it; Source: the file that it comes from, made and proven if need be."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.errors import IntegrityError
from iconoclass.prediction.manifest import Golden
from iconoclass.prediction.predictor import model_file
from iconoclass.run import Run

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """Of one picture. probabilities: calibrated, in index order; unknown: why it is probably none of the classes."""

    probabilities: npt.NDArray[np.float32]
    unknown: str | None


@dataclass(frozen=True)
class Explanation:
    """What an answer rests on. attention: float32 (rows, columns), 0 to 1; covers: the part of the picture that it lies
    over, left, top, right, bottom as shares of its sides: what the model sees of it.
    """

    answer: Answer
    attention: npt.NDArray[np.float32]
    covers: tuple[float, float, float, float]


@dataclass(frozen=True)
class Example:
    """A picture of the test part to try. picture: the bytes of a PNG."""

    picture: bytes
    class_name: str

    @property
    def as_url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.picture).decode()


@dataclass(frozen=True)
class Model:
    """What is served: a version, what it answers about, and pictures to try. The network itself is in the workers."""

    name: str
    version: str
    class_names: list[str]
    image_shape: tuple[int, int, int]
    resize_rule: str
    platform: str
    examples: list[Example] = field(default_factory=list)

    @classmethod
    def of(cls, described: dict[str, Any], golden: Sequence[Golden]) -> Model:
        """As a worker describes it, with the pictures of its manifest."""
        shape = tuple(described.pop("image_shape"))
        return cls(**described, image_shape=shape, examples=[Example(each.picture, each.class_name) for each in golden])


# -- which file ------------------------------------------------------------------------------------------------------


class Source:
    """What the user named: a run, or an exported file. Knows the file that is served, makes it, and sees it change."""

    def __init__(self, path: Path | str) -> None:
        path = Path(path).expanduser()
        found = model_file(path)
        self._file = found or path
        self.run = None if found else Run.open(path)

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
        # A run that is judged anew may get another temperature.
        watched = [self.run.model_path, *_if_there(self.run.calibration_path)] if self.run else [self._file]
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
        sources = [run.model_path, *_if_there(run.calibration_path)]
        return any(file.stat().st_mtime < source.stat().st_mtime for source in sources)

    def _export(self) -> None:
        """In a child: TensorFlow takes seconds and half a gigabyte, and stays where it has once been loaded."""
        run = self.run
        if run is None:
            return
        command = [sys.executable, "-m", "iconoclass", "export", str(run.path), "--format", "onnx", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            what, hint = _reason(done.stderr) or (f"its process left with {done.returncode}", "Export it by hand.")
            raise IntegrityError(f"{run.name} could not be exported, and unproven it is not served: {what}", hint=hint)


def _reason(stderr: str) -> tuple[str, str] | None:
    """What is wrong and what to do, as `iconoclass --json` says it in its last line; None, where it does not."""
    try:
        error = json.loads(stderr.strip().splitlines()[-1])["error"]
        return error["message"], error["hint"]
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _if_there(path: Path) -> list[Path]:
    return [path] if path.is_file() else []
