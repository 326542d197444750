"""An export can be killed anywhere: what was there is whole until the new one is, and no half one is taken for it."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import iconoclass as ic
from forking import Mortal
from iconoclass.errors import IconoclassError, UsageError
from iconoclass.exports.delivery import Export
from iconoclass.prediction.predictor import model_file
from iconoclass.run import Run
from iconoclass.serving.model import Source
from leaving import POINTS

KILLS = 8
FIRST = {
    "with half of the model written",
    "between the manifest and the proof",
    "before it takes its place",
    "before the old one is removed",
}


class Exports(Mortal):
    """tests/leaving.py at work."""

    def leave(
        self,
        run: Run,
        output: Path,
        name: str = "onnx",
        die: str | None = None,
        kill_s: float | None = None,
        **more: bool,
    ) -> int:
        request = {"run": str(run.path), "format": name, "output": str(output), "die": die, **more}
        return self.ask(request, kill_s)


@pytest.fixture(scope="module")
def exports() -> Iterator[Exports]:
    exports = Exports("leaving.py")
    yield exports
    exports.end()


def check_that_nothing_confuses(output: Path) -> None:
    """Under every name is a whole export or nothing; what else was left is hidden, and refused or whole."""
    for folder in output.iterdir():
        if folder.name.startswith("."):
            # It has no manifest yet, or all that the manifest names: a half file is never asked.
            if model_file(folder):
                assert ic.verify(folder).golden == 4
            for file in folder.glob("model.*"):
                with contextlib.suppress(IconoclassError):
                    ic.Predictor.load(file)
        else:
            assert ic.verify(folder).golden == 4
            assert Source(folder).file() == model_file(folder)
            assert ic.Predictor.load(folder).class_names == [str(digit) for digit in range(10)]
    with pytest.raises(UsageError, match="no exported model"):
        ic.verify(output)


def test_an_export_that_is_killed_leaves_the_old_one_whole_and_no_half_one(
    exports: Exports, run: Run, exported: dict[str, Export], tmp_path: Path
) -> None:
    """M17: at every point, what was left of all of them lying about."""
    shutil.copytree(exported["onnx"].folder, tmp_path / "onnx")
    for point in POINTS:
        assert exports.leave(run, tmp_path, die=point) == -signal.SIGKILL, point
        assert ic.verify(tmp_path / "onnx").golden == 4, point
    check_that_nothing_confuses(tmp_path)
    assert exports.leave(run, tmp_path) == 0
    assert (tmp_path / "onnx" / "model.onnx").read_bytes() == exported["onnx"].path.read_bytes()


def test_a_first_export_that_is_killed_is_not_there(
    exports: Exports, run: Run, exported: dict[str, Export], tmp_path: Path
) -> None:
    """M17."""
    *before, last = [point for point in POINTS if point in FIRST]
    for point in before:
        assert exports.leave(run, tmp_path, die=point) == -signal.SIGKILL, point
        assert not (tmp_path / "onnx").exists(), point
    assert exports.leave(run, tmp_path, die=last) == -signal.SIGKILL
    assert ic.verify(tmp_path / "onnx").golden == 4
    check_that_nothing_confuses(tmp_path)


def test_an_export_that_is_killed_at_any_moment_leaves_the_old_one_whole(
    exports: Exports, run: Run, exported: dict[str, Export], tmp_path: Path
) -> None:
    """M17: in every format, over an older one."""
    shutil.copytree(exported["onnx"].folder.parent, tmp_path / "all")
    moments, killed = random.Random(7), 0
    for at in range(KILLS):
        name = list(exported)[at % len(exported)]
        status = exports.leave(run, tmp_path / "all", name, kill_s=moments.uniform(0, 1.5))
        assert status in {0, -signal.SIGKILL}
        killed += status != 0
        assert ic.verify(tmp_path / "all" / name).golden == 4
    assert killed >= KILLS / 2, "most of them were to be killed"
    assert {path.name for path in (tmp_path / "all").iterdir() if path.name[0] != "."} == set(exported)
    check_that_nothing_confuses(tmp_path / "all")


def test_where_folders_cannot_exchange_their_names_a_killed_export_still_leaves_no_half_one(
    exports: Exports, run: Run, exported: dict[str, Export], tmp_path: Path
) -> None:
    """M17."""
    shutil.copytree(exported["onnx"].folder, tmp_path / "onnx")
    assert exports.leave(run, tmp_path, die="between two names", exchanges=False) == -signal.SIGKILL
    check_that_nothing_confuses(tmp_path)
    assert exports.leave(run, tmp_path, exchanges=False) == 0
    assert ic.verify(tmp_path / "onnx").golden == 4
    check_that_nothing_confuses(tmp_path)


@pytest.mark.parametrize("name", ["h5", "saved_model", "onnx"])
def test_a_disk_without_room_is_said_and_the_old_export_stays(
    name: str, exports: Exports, run: Run, exported: dict[str, Export], tmp_path: Path
) -> None:
    """M17: before HDF5, which falls over it, and TensorFlow, which speaks of what is out of range."""
    shutil.copytree(exported[name].folder, tmp_path / name)
    assert exports.leave(run, tmp_path, name, full=True) == 4
    assert [path.name for path in tmp_path.iterdir()] == [name]
    check_that_nothing_confuses(tmp_path)
