"""train(): a data set and a configuration with nothing left open -> the weights that did best on validation."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.backend import keras, make_deterministic
from iconoclass.config import Config
from iconoclass.data.batches import Batches, at_once, balanced_weights
from iconoclass.data.dataset import Dataset, Split
from iconoclass.errors import DivergedError
from iconoclass.files import writing
from iconoclass.intervals import wilson
from iconoclass.models.catalog import build, with_mirrored_views
from iconoclass.models.pretrained import thaw
from iconoclass.models.resnet import initialise
from iconoclass.models.weights import are_wanted, find, load
from iconoclass.run import History, Run
from iconoclass.training.optimizers import SCHEDULES, build_optimizer
from iconoclass.training.plan import Budget, Plan
from iconoclass.training.progress import Listener, Now
from iconoclass.training.steps import Step, make_step

Weights = list[npt.NDArray[Any]]

PARTS = ("compute", "input", "copy", "validation")  # what the time of a training goes into


@dataclass
class Learner:
    """What learns, and what there is to tell of it.

    model: what is trained, perhaps in bfloat16; kept: the float32 network that is saved with its weights, for on other
    processors bfloat16 would be slow or wrong. seconds: what the time of training went into. said: what was found out
    before the first epoch, in words.
    """

    config: Config
    dataset: Dataset
    batches: Batches
    model: Any
    kept: Any
    optimizer: Any
    step: Step
    plan: Plan
    average: Average | None
    budget: Budget | None = None
    history: History = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    best: Weights = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    is_stopped: bool = False

    @property
    def epochs(self) -> int:
        """Passes over the training part, of which the last may be broken off."""
        return -(-self.plan.steps // len(self.batches))


def prepare(dataset: Dataset, config: Config) -> Learner:
    """Network, optimiser and batches, all from the one seed. config: with nothing left open (`recipes.complete`)."""
    training = config.training
    make_deterministic(training.seed)
    model = _build(config, dataset, training.precision)
    initialise(model, dataset.train.sample(1_000).pixels)
    if are_wanted(config):
        load(model, find(config, offline=True))
    rates = thaw(model, _unfrozen(config)) if training.recipe == "transfer" else {}
    optimizer = build_optimizer(training, model, rates)
    batches = _batches(dataset, config)
    loss = (
        keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing or 0.0)
        if batches.soft
        else keras.losses.SparseCategoricalCrossentropy()
    )
    kept = _build(config, dataset, "float32")
    if are_wanted(config):
        kept.set_weights(model.get_weights())
    if config.model.views == "mirrored":
        kept = with_mirrored_views(kept)
    average = Average(training.average) if training.average else None
    step = make_step(model, optimizer, loss)
    return Learner(config, dataset, batches, model, kept, optimizer, step, _plan(batches, config), average)


def change(learner: Learner, config: Config) -> None:
    """Another configuration for the same network, before it has learned anything: epochs, batches, rate, pictures."""
    learner.config = config
    learner.batches = _batches(learner.dataset, config)
    learner.plan = _plan(learner.batches, config)


def _batches(dataset: Dataset, config: Config) -> Batches:
    training, classes = config.training, len(dataset.class_names)
    strengths = {name: strength for name, strength in config.augment if strength}
    mixes = "mixup" in strengths or "cutmix" in strengths
    return Batches(
        dataset.train,
        classes,
        training.batch_size or 32,
        training.seed,
        strengths,
        soft=training.one_hot or bool(training.label_smoothing) or mixes,
        class_weights=balanced_weights(dataset.train.labels, classes) if training.balance == "weights" else None,
        draws_alike=training.balance == "sampler",
    )


def _plan(batches: Batches, config: Config) -> Plan:
    epochs = config.training.epochs
    return Plan(max(1, round(epochs * len(batches))) if epochs else 0)


def _unfrozen(config: Config) -> float:
    """The share of a backbone that learns: none of it, where only the head is fitted."""
    training = config.training
    return training.unfreeze or 0.0 if training.epochs or training.budget else 0.0


def train(learner: Learner, run: Run, listener: Listener) -> Learner:
    """Learn until the plan is done, patience ends or Ctrl-C; keep the best and the last weights in the run.

    Returns: the learner; `is_stopped` says that it was Ctrl-C.
    Raises: DivergedError, at the first loss that is no number; the run then keeps the history up to there and, if an
    epoch had ended well, its best weights.
    """
    if learner.history:
        run.write_history(learner.history)
    try:
        if learner.plan.steps:
            listener.begins(learner.epochs, len(learner.batches))
            with _ctrl_c() as is_asked_to_stop:
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
    if learner.plan.changes:
        learner.config = learner.config.with_settings(epochs=round(learner.plan.steps / len(learner.batches), 6))
    keep(learner, run)
    return learner


def fit(learner: Learner, run: Run, listener: Listener, is_asked_to_stop: Callable[[], bool]) -> None:
    """Epoch after epoch, each judged on validation."""
    training = learner.config.training
    started = time.monotonic()
    if learner.budget:
        learner.budget.begin()
    for epoch in itertools.count():
        now = run_epoch(learner, epoch, started, listener, is_asked_to_stop)
        if now is None:
            learner.is_stopped = True
            return
        row = _judge_epoch(learner, now, started)
        run.write_history(learner.history)
        listener.ends_epoch(row, now)
        best = best_epoch(learner.history, training.monitor)
        is_patient = not training.patience or epoch + 1 - best < training.patience
        sure = wilson(round(row["val_accuracy"] * len(learner.dataset.validation)), len(learner.dataset.validation))
        is_reached = training.target is not None and (sure.low or 0.0) > training.target
        if is_reached or not is_patient or epoch * len(learner.batches) + now.step >= learner.plan.steps:
            return


def run_epoch(
    learner: Learner, epoch: int, started: float, listener: Listener, is_asked_to_stop: Callable[[], bool]
) -> Now | None:
    """Every step of an epoch, or those that the plan has left for it. None, if it was broken off."""
    training, plan, before = learner.config.training, learner.plan, epoch * len(learner.batches)
    schedule = SCHEDULES[training.schedule or "constant"]
    loss = seen = correct = 0.0
    began, number = time.monotonic(), 0
    batches = learner.batches.epoch(epoch)
    while True:
        number += 1
        batch = _timed(learner, "input", lambda: next(batches))
        _set_rate(learner.optimizer, (training.lr or 1e-3) * schedule(plan.share(before + number - 1), learner.history))
        tensors = _timed(learner, "copy", learner.step.copy, batch)
        value, hits = _timed(learner, "compute", learner.step.learn, tensors)
        if not math.isfinite(value):
            raise _diverged(learner, epoch, number, value)
        if learner.budget:
            learner.budget.watch(plan, before + number)
        steps = min(len(learner.batches), plan.steps - before)
        if learner.average and (number % Average.EVERY == 0 or number == steps):
            learner.average.update(learner.model, before + number)
        images = len(batch.pixels)
        seen, loss, correct = seen + images, loss + value * images, correct + hits
        clock = time.monotonic()
        left = (clock - started) * (1 / plan.share(before + number) - 1)
        speed = seen / (clock - began)
        now = Now(epoch + 1, learner.epochs, number, steps, loss / seen, correct / seen, speed, left)
        listener.moves(now)
        if is_asked_to_stop():
            return None
        if number >= steps:
            return now


def _timed(learner: Learner, part: str, work: Callable[..., Any], *arguments: Any) -> Any:
    began = time.perf_counter()
    result = work(*arguments)
    learner.seconds[part] += time.perf_counter() - began
    return result


def _judge_epoch(learner: Learner, now: Now, started: float) -> Mapping[str, float]:
    """The epoch's row in the history; its weights are remembered if they are the best so far."""
    last = learner.model.get_weights()
    if not all(np.isfinite(weight).all() for weight in last):
        # The last step of the epoch spoilt the weights after its own loss had been taken.
        raise _diverged(learner, now.epoch - 1, now.step, math.nan)
    weights = learner.average.weights if learner.average else last
    began = time.perf_counter()
    on_validation = _timed(learner, "validation", _judge, learner.model, weights, learner.dataset.validation)
    if learner.budget:
        learner.budget.judged(time.perf_counter() - began)
    row = {
        "epoch": now.epoch,
        "seconds": round(time.monotonic() - started, 3),
        "loss": now.loss,
        "accuracy": now.accuracy,
        **{f"val_{name}": value for name, value in on_validation.items()},
        "learning_rate": float(learner.optimizer.learning_rate),
    }
    learner.history.append(row)
    if best_epoch(learner.history, learner.config.training.monitor) == now.epoch:
        learner.best = weights
    return row


def keep(learner: Learner, run: Run) -> None:
    """Write model.keras with the best weights, and the last ones beside it."""
    last = learner.model.get_weights()
    for path, weights in ((run.last_model_path, last), (run.model_path, learner.best or last)):
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


class Average:
    """An exponential average of all weights, batch norm's statistics among them, taken every few steps.

    decay: a step. While there is less to average over than it asks for, the last tenth of the training counts most.
    Source: Polyak & Juditsky 1992, in the exponential form of most of today's trainings.
    """

    EVERY = 20  # steps, and at the end of an epoch; more often changes little but the time it takes

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = self.last_step = 0
        self.weights: Weights = []

    def update(self, model: Any, step: int) -> None:
        """step: how many have been taken since the training began."""
        news = model.get_weights()
        keep = min(self.decay ** (step - self.last_step), self.updates / (self.updates + 9))
        self.weights = [keep * old + (1 - keep) * new for old, new in zip(self.weights or news, news, strict=True)]
        self.updates, self.last_step = self.updates + 1, step


def _build(config: Config, dataset: Dataset, precision: str) -> Any:
    options = config.model.model_dump(exclude={"model", "views", "weights"})
    name = config.model.model or "resnet"
    return build(name, dataset.image_shape, len(dataset.class_names), precision=precision, **options)


def _set_rate(optimizer: Any, rate: float) -> None:
    # Assigning costs more than a step of the smallest networks; most schedules of theirs are constant.
    if rate != getattr(optimizer, "_rate_set", None):
        optimizer.learning_rate = rate
        optimizer._rate_set = rate


def _judge(model: Any, weights: Weights, split: Split) -> dict[str, float]:
    """What some weights make of a split."""
    own = model.get_weights()
    model.set_weights(weights)
    pieces = np.array_split(np.arange(len(split)), -(-len(split) // at_once(split.source.shape[1:])))
    probabilities = np.concatenate([np.asarray(model.predict_on_batch(split.take(piece))) for piece in pieces])
    model.set_weights(own)
    return judged(probabilities, split.labels)


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
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C lets the step finish, the second one stops at once."""
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
