"""train(): a data set and a configuration with nothing left open -> weights, chosen on validation among the epochs'."""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.backend import is_out_of_memory
from iconoclass.config import TrainingConfig
from iconoclass.data.batches import Batch, at_once
from iconoclass.errors import DivergedError, EnvironmentFault
from iconoclass.files import writing
from iconoclass.intervals import wilson
from iconoclass.run import History, Run
from iconoclass.training.checkpoint import Checkpoints
from iconoclass.training.learner import Average, Learner, Position, Weights
from iconoclass.training.optimizers import FALLING, SCHEDULES
from iconoclass.training.progress import Listener, Now


def train(learner: Learner, run: Run, listener: Listener) -> Learner:
    """Learn until the plan is done, patience ends or Ctrl-C; keep the best and the last weights in the run.

    A learner that has been restored from a checkpoint goes on from its very step.

    Returns: the learner; `is_stopped` says that Ctrl-C or SIGTERM ended it.
    Raises: DivergedError, at the first loss that is no number; the run then has the history up to there and, if an
    epoch had ended well, what was kept so far. EnvironmentFault, if the memory or, twice in a row, the disk is full.
    """
    try:
        if learner.plan.steps and not learner.is_done:
            listener.begins(learner.epochs, len(learner.batches))
            with stopping(learner) as is_asked_to_stop:
                fit(learner, run, listener, is_asked_to_stop)
    except DivergedError:
        # What was learned before it is not lost; the weights as they are now are of no use.
        if learner.best:
            learner.model.set_weights(learner.best)
            keep(learner, run)
        raise
    finally:
        listener.ends()
    listener.tells(account(learner))
    keep(learner, run)
    return learner


def fit(learner: Learner, run: Run, listener: Listener, is_asked_to_stop: Callable[[], bool]) -> None:
    """Epoch after epoch, each judged on validation, and a checkpoint after each and every half a minute."""
    checkpoints = Checkpoints(run, learner.config.training.checkpoint_s, listener.tells)
    learner.started = time.monotonic() - learner.elapsed_s
    if learner.budget:
        learner.budget.begin()
    while not (learner.is_done or learner.is_stopped):
        now = run_epoch(learner, listener, checkpoints, is_asked_to_stop)
        row = None if now is None else _judge_epoch(learner, now, is_asked_to_stop)
        if now and row:
            listener.ends_epoch(row, now)
            learner.is_done = _is_done(learner, row, now)
            learner.at = Position(learner.at.epoch + 1)
        else:
            learner.is_stopped = True
        if learner.plan.changes:
            learner.config = learner.config.with_settings(epochs=round(learner.plan.steps / len(learner.batches), 6))
        checkpoints.ends_epoch(learner)


def _is_done(learner: Learner, row: Mapping[str, float], now: Now) -> bool:
    """Is the plan fulfilled, the target reached, or patience at its end?"""
    training, epoch = learner.config.training, learner.at.epoch
    best = best_epoch(learner.history, training.monitor)
    is_patient = not training.patience or epoch + 1 - best < training.patience
    sure = wilson(round(row["val_accuracy"] * len(learner.dataset.validation)), len(learner.dataset.validation))
    is_reached = training.target is not None and (sure.low or 0.0) > training.target
    return is_reached or not is_patient or epoch * len(learner.batches) + now.step >= learner.plan.steps


def run_epoch(
    learner: Learner, listener: Listener, checkpoints: Checkpoints, is_asked_to_stop: Callable[[], bool]
) -> Now | None:
    """Every step that an epoch has left, or those that the plan has left for it. None, if it was broken off."""
    plan, at, before = learner.plan, learner.at, learner.at.epoch * len(learner.batches)
    began, images_before = time.monotonic(), at.images
    batches = learner.batches.epoch(at.epoch, at.step)
    # The last one may be done already: it was broken off before it was judged.
    while at.step < (steps := min(len(learner.batches), plan.steps - before)):
        try:
            batch = _timed(learner, "input", lambda: next(batches))
        except Exception as error:
            error.add_note(f"in epoch {at.epoch + 1}, step {at.step + 1}")
            raise
        _take_step(learner, batch, before)
        if learner.budget:
            learner.budget.watch(plan, before + at.step)
            steps = min(len(learner.batches), plan.steps - before)
        if learner.average and (at.step % Average.EVERY == 0 or at.step >= steps):
            learner.average.update(learner.model, before + at.step)
        listener.moves(_now(learner, steps, images_before, began))
        if at.step < steps:
            if is_asked_to_stop():
                return None
            checkpoints.offer(learner)
    return _now(learner, steps, images_before, began)


def _take_step(learner: Learner, batch: Batch, before: int) -> None:
    """before: steps in the epochs before this one. Raises: DivergedError; EnvironmentFault, if the memory is full."""
    training, at = learner.config.training, learner.at
    share = learner.plan.share(before + at.step)
    rate = (training.lr or 1e-3) * SCHEDULES[training.schedule or "constant"](share, learner.history)
    _set_rate(learner.optimizer, rate)
    try:
        tensors = _timed(learner, "copy", learner.step.copy, batch)
        loss, hits = _timed(learner, "compute", learner.step.learn, tensors)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        what = f"there is not enough memory for batches of {batch.images} pictures"
        raise EnvironmentFault(what, hint=f"Try --batch-size {max(1, batch.images // 2)}.", code="MEMORY") from error
    if not math.isfinite(loss):
        raise _diverged(learner, at.epoch, at.step + 1, loss)
    images = batch.images
    at.step, at.images = at.step + 1, at.images + images
    at.loss, at.correct = at.loss + loss * images, at.correct + hits


def _now(learner: Learner, steps: int, images_before: int, began: float) -> Now:
    """images_before: of this epoch, when it was taken up at `began`."""
    at, clock = learner.at, time.monotonic()
    done = learner.plan.share(at.epoch * len(learner.batches) + at.step)
    left = (clock - learner.started) * (1 / done - 1)
    speed = (at.images - images_before) / (clock - began)
    loss, accuracy = at.loss / at.images, at.correct / at.images
    return Now(at.epoch + 1, learner.epochs, at.step, steps, loss, accuracy, speed, left)


def _timed(learner: Learner, part: str, work: Callable[..., Any], *arguments: Any) -> Any:
    began = time.perf_counter()
    result = work(*arguments)
    learner.seconds[part] += time.perf_counter() - began
    return result


def _judge_epoch(
    learner: Learner, now: Now, is_asked_to_stop: Callable[[], bool] = lambda: False
) -> Mapping[str, float] | None:
    """The epoch's row in the history; its weights are remembered if they are the best so far. None, if broken off."""
    last = learner.model.get_weights()
    if not all(np.isfinite(weight).all() for weight in last):
        # The last step of the epoch spoilt the weights after its own loss had been taken.
        raise _diverged(learner, now.epoch - 1, now.step, math.nan)
    weights = learner.average.weights if learner.average else last
    began = time.perf_counter()
    on_validation = _timed(learner, "validation", _judge, learner, weights, is_asked_to_stop)
    if on_validation is None:
        return None
    if learner.budget:
        learner.budget.judged(time.perf_counter() - began)
    row = {
        "epoch": now.epoch,
        "seconds": round(time.monotonic() - learner.started, 3),
        "loss": now.loss,
        "accuracy": now.accuracy,
        **{f"val_{name}": value for name, value in on_validation.items()},
        "learning_rate": float(learner.optimizer.learning_rate),
    }
    learner.history.append(row)
    row["kept"] = float(is_to_be_kept(learner.history, learner.config.training, len(learner.dataset.validation)))
    if row["kept"]:
        learner.best = weights
    return row


def keep(learner: Learner, run: Run) -> None:
    """Write model.keras with what is to be kept, the last weights beside it, the history; of a team, the first does."""
    if learner.team.rank:
        return
    last = learner.model.get_weights()
    best = learner.best or last
    _save(learner, last, run.last_model_path)
    if all(map(np.array_equal, best, last)):
        with writing(run.model_path) as temporary:  # sooner than to save a backbone again
            shutil.copyfile(run.last_model_path, temporary)
    else:
        _save(learner, best, run.model_path)
    if learner.history:
        run.write_history(learner.history)


def _save(learner: Learner, weights: Weights, path: Path) -> None:
    learner.kept.set_weights(weights)
    with writing(path) as temporary:
        learner.kept.save(temporary)


def account(learner: Learner) -> str:
    """What the time of a training went into, in a line."""
    total = sum(learner.seconds.values()) or 1.0
    shares = ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in learner.seconds.items() if seconds)
    times = "once" if learner.plan.changes == 1 else f"{learner.plan.changes} times"
    changed = f"; plan changed {times} to keep to the budget" if learner.plan.changes else ""
    return f"trained for {total:.0f} s: {shares}{changed}"


def best_epoch(history: History, monitor: str = "accuracy") -> int:
    """The epoch with the highest validation accuracy, or macro F1; among equals the lowest validation loss.

    Counted from 1; 0 is the head on features of a frozen backbone.
    """
    return int(max(history, key=lambda row: (row[f"val_{monitor}"], -row["val_loss"]))["epoch"])


def is_to_be_kept(history: History, training: TrainingConfig, images: int) -> bool:
    """Whether the weights after the newest epoch take the place of those that were kept before.

    They do if they are the best. Where the rate falls, each epoch is better trained than the one before, and one that
    was better on a few validation pictures was mostly lucky: there the newest are kept if they are behind the best by
    less than a standard error (Breiman et al., Classification and Regression Trees, 1984), and ahead of a head's alone.
    images: of validation.
    """
    newest, column = history[-1], f"val_{training.monitor}"
    is_best = best_epoch(history, training.monitor) == newest["epoch"]
    if is_best or training.schedule not in FALLING:
        return is_best
    highest = max(row[column] for row in history)
    share = (highest * images + 1) / (images + 2)  # none of a few pictures wrong is not certainty
    least = highest - math.sqrt(share * (1 - share) / images)
    is_behind_head = not history[0]["epoch"] and newest[column] <= history[0][column]
    return newest[column] >= least and not is_behind_head


def _set_rate(optimizer: Any, rate: float) -> None:
    # Assigning costs more than a step of the smallest networks; most schedules of theirs are constant.
    if rate != getattr(optimizer, "_rate_set", None):
        optimizer.learning_rate = rate
        optimizer._rate_set = rate


def _judge(learner: Learner, weights: Weights, is_asked_to_stop: Callable[[], bool]) -> dict[str, float] | None:
    """What some weights make of validation, of which each of a team asks about a part. None, if asked to stop."""
    split, team = learner.dataset.validation, learner.team
    own = learner.model.get_weights()
    learner.model.set_weights(weights)
    places = np.array_split(np.arange(len(split)), team.size)[team.rank]
    pieces = np.array_split(places, -(-len(places) // at_once(split.source.shape[1:])))
    answers = [learner.ask(split.take(piece)) for piece in pieces if not is_asked_to_stop()]
    learner.model.set_weights(own)
    return judged(team.gather(np.concatenate(answers)), split.labels) if len(answers) == len(pieces) else None


def judged(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> dict[str, float]:
    """Loss (cross-entropy of the true class, unsmoothed), accuracy, and the mean F1 of the classes that there are."""
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean()
    predicted, classes = probabilities.argmax(-1), probabilities.shape[-1]
    true = np.bincount(labels, minlength=classes)
    found = np.bincount(predicted, minlength=classes)
    right = np.bincount(labels[predicted == labels], minlength=classes)
    f1 = 2 * right[true > 0] / (true + found)[true > 0]
    return {"loss": float(loss), "accuracy": float((predicted == labels).mean()), "macro_f1": float(f1.mean())}


def _diverged(learner: Learner, epoch: int, step: int, value: float) -> DivergedError:
    rate = float(learner.optimizer.learning_rate)
    return DivergedError(
        f"the loss became {value} in epoch {epoch + 1}, step {step}, at a learning rate of {rate:.3g}",
        hint=f"Try a lower one: --lr {(learner.config.training.lr or rate) / 10:.2g}",
    )


@contextlib.contextmanager
def stopping(learner: Learner) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM lets the step finish, the second one stops at once. In another thread than the main
    one there are no signals; there `is_stopped` is set from outside.
    """
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        learner.stopped_by = number
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: learner.is_stopped
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
