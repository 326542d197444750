"""One trial: a run that is learned and judged on validation only, from wherever it stands."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from iconoclass import pipeline, resuming
from iconoclass.data.dataset import Dataset
from iconoclass.errors import EnvironmentFault, IconoclassError, Interrupted
from iconoclass.models import weights
from iconoclass.run import Run, kept_row
from iconoclass.training.progress import Listener, Now
from iconoclass.tuning.search import MOST_ATTEMPTS, Job, Search

if TYPE_CHECKING:
    from iconoclass.training.learner import Learner

Say = Callable[[str], None]


class Reports(Listener):
    """Tells the study after each epoch how far the trial has come, and stops it where there is no hope."""

    def __init__(self, search: Search, job: Job, learner: Learner, say: Say) -> None:
        self.search, self.job, self.learner, self.say = search, job, learner, say
        self.is_hopeless = False

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        reached = max(row[self.search.monitor] for row in self.learner.history)
        self.say(f"trial {self.job.number}: epoch {now.epoch} of {now.epochs}, validation {reached:.1%}")
        if self.search.report(self.job, reached, row["seconds"]):
            self.is_hopeless = self.learner.is_stopped = True


def try_out(search: Search, job: Job, dataset: Dataset, say: Say) -> None:
    """Learn a trial, and tell the study what became of it.

    A trial that cannot be learned is told as failed, with the reason. What is no fault of its own is raised, and the
    trial can be gone on with: Interrupted, and EnvironmentFault, where the disk is full.
    """
    began = time.monotonic()
    if job.attempt > MOST_ATTEMPTS:
        search.tell_failed(job, f"it has ended its process {MOST_ATTEMPTS} times", {"seconds": 0.0})
        return
    try:
        learner, is_hopeless = _learn(search, job, dataset, began, say)
    except Interrupted:
        raise
    except Exception as error:
        if isinstance(error, EnvironmentFault) and error.code != "MEMORY":
            raise
        reason = error.what if isinstance(error, IconoclassError) else f"{type(error).__name__}: {error}"
        search.tell_failed(job, reason, {"seconds": round(time.monotonic() - began, 1)})
        return
    kept = learner.history[kept_row(learner.history) or 0]
    facts = {
        "seconds": round(learner.elapsed_s + time.monotonic() - began, 1),
        "epochs": len([row for row in learner.history if row["epoch"]]),
        "loss": kept["val_loss"],
        "accuracy": kept["val_accuracy"],
    }
    search.tell(job, kept[search.monitor], facts, is_hopeless=is_hopeless)
    search.run_of(job.trial).note_end("given up" if is_hopeless else "tried", f"a trial of {search.folder.name}")


def _learn(search: Search, job: Job, dataset: Dataset, began: float, say: Say) -> tuple[Learner, bool]:
    """The learner at its end, and whether it was given up. Raises: Interrupted, after Ctrl-C; as `train`."""
    from iconoclass.backend import keras

    run = search.run_of(job.trial)
    if not run.is_described:  # a process died before it knew what it was going to do
        shutil.rmtree(run.path, ignore_errors=True)
    keras.backend.clear_session()  # what earlier trials have left in memory
    with run.locked():
        learner = _learner(run, job, dataset, began, say)
        reports = Reports(search, job, learner, say)
        pipeline.learn(learner, run, reports)
    if learner.is_stopped and not reports.is_hopeless:
        stopped = pipeline.broken_off(learner, run)
        raise type(stopped)(f"stopped in trial {job.number}", hint="The same command goes on.")
    return learner, reports.is_hopeless


def _learner(run: Run, job: Job, dataset: Dataset, began: float, say: Say) -> Learner:
    """What the trial has learned so far; nothing yet, where no run was described."""
    if run.is_described:
        return resuming.take_up(run, dataset, force=True)
    asked = weights.decide(job.config, dataset.are_photos)
    learner, _ = pipeline.get_ready(asked, dataset, began, None, say)
    pipeline.describe(run, learner.config, dataset)
    return learner
