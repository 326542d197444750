"""Checkpoint: everything that is needed to go on as if nothing had happened.

On disk it is two files: the arrays, and beside them a manifest with all else and the digests of both. The manifest is
named last; arrays without one are what a killed process left behind.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.errors import EnvironmentFault, IntegrityError
from iconoclass.files import sha256_of, write_json, writing
from iconoclass.run import Run
from iconoclass.training.learner import Learner, Position
from iconoclass.training.plan import Budget

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A training at one moment. state: what is no array, ready for JSON."""

    arrays: Arrays
    state: dict[str, Any]

    @classmethod
    def of(cls, learner: Learner) -> Checkpoint:
        average, budget = learner.average, learner.budget
        arrays = {
            # `variables` are all: weights, statistics, and the states of random layers, which a saved model lacks.
            **_numbered("model", learner.model.variables),
            **_numbered("optimizer", learner.optimizer.variables),
            **_numbered("average", average.weights if average else ()),
            **_numbered("best", learner.best),
        }
        state = {
            "at": asdict(learner.at),
            "epochs": learner.epochs,
            "history": learner.history,
            "seconds": learner.seconds,
            "elapsed_s": time.monotonic() - learner.started,
            "plan": vars(learner.plan),
            "average": {"updates": average.updates, "last_step": average.last_step} if average else None,
            "budget": budget.as_json() if budget else None,
            "is_done": learner.is_done,
            "said": learner.said,
            "config": json.loads(learner.config.model_dump_json()),
        }
        return cls(arrays, state)

    def restore(self, learner: Learner, *, extended: bool = False) -> None:
        """Make a fresh learner of the same configuration what this one was.

        extended: its plan has more steps than the one that was saved, and stays.
        """
        for name, variables in (("model", learner.model.variables), ("optimizer", learner.optimizer.variables)):
            for variable, value in zip(variables, self._list(name), strict=True):
                variable.assign(value)
        state = self.state
        learner.best = self._list("best")
        learner.at = Position(**state["at"])
        learner.history, learner.seconds, learner.elapsed_s = state["history"], state["seconds"], state["elapsed_s"]
        learner.said = [(word, text) for word, text in state["said"]]
        if not extended:
            learner.is_done = state["is_done"]
            vars(learner.plan).update(state["plan"])
            if state["budget"]:
                learner.budget = Budget.from_json(state["budget"], time.monotonic())
        if learner.average:
            learner.average.weights = self._list("average")
            vars(learner.average).update(state["average"])

    def _list(self, name: str) -> list[npt.NDArray[Any]]:
        count = sum(key.startswith(f"{name}.") for key in self.arrays)
        return [self.arrays[f"{name}.{number}"] for number in range(count)]


def _numbered(name: str, values: Any) -> Arrays:
    return {f"{name}.{number}": np.array(value) for number, value in enumerate(values)}


# -- on disk -------------------------------------------------------------------------------------------------------


def write(checkpoint: Checkpoint, manifest: Path) -> None:
    """Both files, the manifest last."""
    arrays = _arrays_of(manifest)
    with writing(arrays) as temporary:
        np.savez(temporary, **checkpoint.arrays)  # type: ignore[arg-type]  # its stub takes them for its own options
        digest = sha256_of(temporary)
    digests = {"arrays": digest, "state": _digest(checkpoint.state)}
    write_json(manifest, {"state": checkpoint.state, "sha256": digests})


def read(manifest: Path) -> Checkpoint:
    """Raises: IntegrityError, if either file is damaged or gone."""
    try:
        content = json.loads(manifest.read_bytes())
        state, digests = content["state"], content["sha256"]
        if digests != {"arrays": sha256_of(_arrays_of(manifest)), "state": _digest(state)}:
            raise ValueError("its digest is another")
        with np.load(_arrays_of(manifest), allow_pickle=False) as arrays:
            return Checkpoint({name: arrays[name] for name in arrays.files}, state)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the checkpoint {manifest} is damaged: {error}") from error


def newest(run: Run, tell: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
    """The newest one that is whole; damaged ones that are newer are set aside, under names that end in .broken.

    Returns: None, if none was ever written. Raises: IntegrityError, if all are damaged; then nothing is touched.
    """
    damaged: list[Path] = []
    for manifest in reversed(run.checkpoints):
        try:
            found = read(manifest)
        except IntegrityError as error:
            damaged.append(manifest)
            tell(f"{error.what}; set aside")
            continue
        for path in [file for one in damaged for file in (one, _arrays_of(one)) if file.exists()]:
            path.rename(path.with_name(path.name + ".broken"))
        return found
    if damaged:
        names = ", ".join(str(path) for path in damaged)
        raise IntegrityError(
            f"every checkpoint of {run.name} is damaged: {names}",
            hint=f"Nothing was touched. Train anew: iconoclass train --config {run.config_path}",
        )
    return None


def refuse_if_too_full(run: Run, learner: Learner) -> None:
    """Raises: EnvironmentFault, with numbers, if the disk has not the room that this training will need."""
    weights = sum(weight.nbytes for weight in learner.model.get_weights())
    state = sum(np.asarray(variable).nbytes for variable in learner.optimizer.variables)
    # A checkpoint holds the weights, the best, perhaps an average of them, and the optimiser's state; for a moment
    # there is one more than is kept. And two models, predictions, plots.
    each = state + (3 if learner.average else 2) * weights
    needed = (Checkpoints.KEPT + 1) * each + 2 * weights + 20_000_000
    free = shutil.disk_usage(run.path).free
    if free < needed:
        what = f"this training will need {needed / 1e6:,.0f} MB in {run.path}, and {free / 1e6:,.0f} MB are free"
        raise EnvironmentFault(what, hint="Make room, or choose another folder with --output.")


class Checkpoints:
    """Writes one every so many seconds and at the end of an epoch, as often as costs little, and keeps the last two.
    Of a team only the first writes.

    tell: hears, in a line, that the disk is full or gone. The training goes on; the second time in a row it ends.
    """

    SHARE = 0.02  # of the time of a training, which all of its checkpoints may cost; docs/resuming.md measures it
    KEPT = 2  # should the last be damaged, there is the one before

    def __init__(self, run: Run, every_s: float, tell: Callable[[str], None]) -> None:
        self.run, self.every_s, self.tell = run, every_s, tell
        self.cost_s = 0.0
        self.has_failed = False
        self.last = time.monotonic()

    def offer(self, learner: Learner) -> None:
        """Told after each step: writes one, if it is time."""
        if learner.team.rank == 0 and time.monotonic() - self.last >= max(self.every_s, self.cost_s / self.SHARE):
            self.write(learner)

    def ends_epoch(self, learner: Learner) -> None:
        """Told when an epoch has been judged, and when the training was stopped: then there is always one."""
        if learner.team.rank:
            return
        is_last = learner.is_done or learner.is_stopped
        if is_last or time.monotonic() - self.last >= self.cost_s / self.SHARE:
            self.write(learner, is_last=is_last)
        # After the checkpoint: nobody shall have read of an epoch that a resumed run has yet to learn.
        if learner.history:
            self._or_warn(lambda: self.run.write_history(learner.history), "the history")

    def write(self, learner: Learner, *, is_last: bool = False) -> None:
        """Raises: EnvironmentFault, if it cannot, and could not the last time or there will be no next one."""
        began = time.monotonic()
        wrote = self._or_warn(lambda: write(Checkpoint.of(learner), self.run.next_checkpoint), "a checkpoint", is_last)
        self.has_failed = not wrote
        self.last = time.monotonic()
        self.cost_s = self.last - began
        learner.seconds["checkpoints"] += self.cost_s
        if wrote:
            self._prune()

    def _or_warn(self, work: Callable[[], None], what: str, is_last: bool = False) -> bool:
        try:
            work()
        except EnvironmentFault as fault:
            if what == "a checkpoint" and (self.has_failed or is_last):
                raise
            self.tell(f"note: {what} was not kept, and will be tried again: {fault.what}")
            return False
        return True

    def _prune(self) -> None:
        kept = self.run.checkpoints
        for manifest in kept[: -self.KEPT]:
            with contextlib.suppress(OSError):
                manifest.unlink()  # first, so that it never stands there without its arrays
        whole = {_arrays_of(manifest) for manifest in kept[-self.KEPT :]}
        for path in set(kept[-1].parent.glob("*.npz")) - whole:
            with contextlib.suppress(OSError):
                path.unlink()


def _arrays_of(manifest: Path) -> Path:
    return manifest.with_suffix(".npz")


def _digest(state: dict[str, Any]) -> str:
    # Through JSON and back: then a tuple is a list on either side.
    return sha256_of(json.dumps(json.loads(json.dumps(state)), sort_keys=True).encode())
