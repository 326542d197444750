"""A program that trains, judges and can be killed, again and again, without importing Keras each time.

It reads requests, a line of JSON each: {"run": PATH, "settings": {...} or null to go on with it, "die": POINT or null}.
There is a checkpoint a step, and no plots are drawn. It says "begun" after each step. A request may also name a "plant"
or ask it to "sleep".
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import iconoclass as ic
from forking import obey, say
from iconoclass import files
from iconoclass.backend import keras  # noqa: F401 - seconds, which the children need not spend
from iconoclass.evaluation import evaluator
from iconoclass.evaluation.report import Report
from iconoclass.files import make_folder
from iconoclass.run import Run
from iconoclass.training import checkpoint, trainer, transfer  # noqa: F401
from iconoclass.training.progress import Listener, Now


class Saying(Listener):
    def __init__(self, sleeps: bool) -> None:
        self.sleeps = sleeps

    def moves(self, now: Now) -> None:
        say("begun")
        if self.sleeps and now.step == 8:
            asleep = os.getpid()
            if not os.fork():  # somebody must wake it up
                time.sleep(1)
                os.kill(asleep, signal.SIGCONT)
                os._exit(0)
            os.kill(asleep, signal.SIGSTOP)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def at(holder: Any, name: str, times: int = 1, when: Callable[..., bool] = lambda *_: True, after: bool = False) -> Any:
    """What plants death into a function: it comes at the so-manieth call of which `when` is true, before or after."""

    def plant() -> None:
        before, left = getattr(holder, name), [times]

        def mortal(*arguments: Any, **options: Any) -> Any:
            if when(*arguments):
                left[0] -= 1
            if left[0] == 0 and not after:
                die()
            result = before(*arguments, **options)
            if left[0] == 0:
                die()
            return result

        setattr(holder, name, mortal)

    return plant


def named(name: str, times: int = 1, *, after: bool = False) -> Any:
    """Death before, or after, a file of that name or suffix takes its place."""
    return at(Path, "replace", times, lambda _, to: to.name == name or to.suffix == name, after)


def _torn() -> None:
    """Death with half of a checkpoint's arrays written."""
    savez, left = np.savez, [5]

    def torn(path: Path, **arrays: Any) -> None:
        left[0] -= 1
        savez(path, **arrays)
        if left[0] == 0:
            os.truncate(path, path.stat().st_size // 2)
            die()

    checkpoint.np.savez = torn


# Where a child can be told to die.
POINTS: dict[str, Callable[[], None]] = {
    "before the data are described": named("dataset.json"),
    "before the environment is described": named("environment.json"),
    "before the first step": at(trainer, "_set_rate"),
    "in the middle of a step": at(trainer, "_set_rate", 9),
    "with half of the arrays written": _torn,
    "before the arrays have their name": named(".npz", 5),
    "between the arrays and the manifest": named(".npz", 5, after=True),
    "after a manifest has its name": at(
        Path, "replace", 5, lambda path, to: to.suffix == ".json" and to.parent.name == "checkpoints", after=True
    ),
    "while old checkpoints are removed": at(Path, "unlink", 3, lambda path, *_: path.suffix == ".json", after=True),
    "after the first epoch, before it is judged": at(trainer, "_judge"),
    "before the history has its name": named("history.csv", 2),
    "before the model has its name": named("model.keras"),
    "between the model and the end of the training": named("model.keras", after=True),
    "while it is judged": at(evaluator, "_judged", 2),
    "before the predictions have their name": named("predictions.csv"),
    "before it is said to be complete": named("run.json"),
}


# -- bugs that can be planted --------------------------------------------------------------------------------------


def _forget_seeds() -> None:
    restore = checkpoint.Checkpoint.restore

    def forgetful(self: Any, learner: Any, **options: Any) -> None:
        seeds = [(variable, np.array(variable)) for variable in learner.model.variables if "seed" in variable.path]
        restore(self, learner, **options)
        for variable, value in seeds:
            variable.assign(value)

    checkpoint.Checkpoint.restore = forgetful  # type: ignore[method-assign]


def _write_in_place() -> None:
    @contextlib.contextmanager
    def writing(path: Path) -> Iterator[Path]:
        yield path

    files.writing = checkpoint.writing = writing
    Run.next_checkpoint = property(lambda self: make_folder(self.path / "checkpoints") / "000001.json")  # type: ignore


def _name_the_manifest_first() -> None:
    def write(found: Any, manifest: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            aside = Path(folder) / manifest.name
            whole(found, aside)
            aside.replace(manifest)
            shutil.move(aside.with_suffix(".npz"), manifest.with_suffix(".npz"))

    whole = checkpoint.write
    checkpoint.write = write


@dataclass(frozen=True)
class Plant:
    """A bug, and the kind of training and the moment of death that show it."""

    sow: Callable[[], None]
    kind: str
    found_at: str


FAST, TEXTBOOK = "fast, with averaged weights", "textbook, with dropout and augmentation"
PLANTS = {
    "a random layer's state is forgotten": Plant(_forget_seeds, TEXTBOOK, "in the middle of a step"),
    "a checkpoint is written in place": Plant(_write_in_place, FAST, "with half of the arrays written"),
    "the manifest is there before the arrays": Plant(_name_the_manifest_first, FAST, "after a manifest has its name"),
}


def work(request: dict[str, Any]) -> None:
    Report.plots = lambda self: iter(())  # type: ignore[method-assign]  # the same each time, and most of the time
    checkpoint.Checkpoints.SHARE = float("inf")
    if request.get("plant"):
        PLANTS[request["plant"]].sow()
    if request["die"]:
        POINTS[request["die"]]()
    listener = Saying(request.get("sleep", False))
    path, settings = Path(request["run"]), request["settings"]
    if settings is None:
        ic.resume(path, listener=listener)
    else:
        ic.train(output=path.parent, name=path.name, listener=listener, checkpoint_s=0, **settings)


if __name__ == "__main__":
    obey(work)
