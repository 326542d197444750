"""train(): a data set and a configuration with nothing left open -> the weights that did best on validation."""

from __future__ import annotations

import contextlib
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
from iconoclass.data.batches import Batches, balanced_weights
from iconoclass.data.dataset import Dataset, Split
from iconoclass.errors import DivergedError
from iconoclass.files import writing
from iconoclass.models.catalog import build
from iconoclass.models.resnet import whiten
from iconoclass.run import History, Run
from iconoclass.training.optimizers import SCHEDULES, build_optimizer
from iconoclass.training.progress import Listener, Now
from iconoclass.training.steps import Step, make_step

Weights = list[npt.NDArray[Any]]


@dataclass
class Learner:
    """What learns, and what there is to tell of it."""

    config: Config
    batches: Batches
    validation: Split
    model: Any
    optimizer: Any
    step: Step
    average: Average | None
    listener: Listener
    history: History = field(default_factory=list)
    best: Weights = field(default_factory=list)
    is_stopped: bool = False


def train(dataset: Dataset, config: Config, run: Run, listener: Listener) -> Learner:
    """Learn until the epochs are over, patience ends or Ctrl-C; keep the best and the last weights in the run.

    config: with nothing left open (`recipes.complete`).
    Returns: the learner; `is_stopped` says that it was Ctrl-C.
    Raises: DivergedError, at the first loss that is no number; the run then keeps the history up to there and, if an
    epoch had ended well, its best weights.
    """
    learner = prepare(dataset, config, listener)
    listener.begins(config.training.epochs or 1, len(learner.batches))
    try:
        with _ctrl_c() as is_asked_to_stop:
            fit(learner, run, is_asked_to_stop)
    except DivergedError:
        # What was learned before it is not lost; the weights as they are now are of no use.
        if learner.best:
            learner.model.set_weights(learner.best)
            keep(learner, dataset, run)
        raise
    finally:
        listener.ends()
    keep(learner, dataset, run)
    return learner


def prepare(dataset: Dataset, config: Config, listener: Listener) -> Learner:
    """Network, optimiser and batches, all from the one seed."""
    training = config.training
    make_deterministic(training.seed)
    classes = len(dataset.class_names)
    model = _build(config, dataset, training.precision)
    whiten(model, dataset.train.sample(5_000).pixels)
    optimizer = build_optimizer(training, model)
    strengths = {name: strength for name, strength in config.augment if strength}
    batches = Batches(
        dataset.train,
        classes,
        training.batch_size or 32,
        training.seed,
        strengths,
        soft=training.one_hot or bool(training.label_smoothing),
        class_weights=balanced_weights(dataset.train.labels, classes) if training.class_weights == "balanced" else None,
    )
    soft = batches.soft or "mixup" in strengths or "cutmix" in strengths
    loss = (
        keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing or 0.0)
        if soft
        else keras.losses.SparseCategoricalCrossentropy()
    )
    average = Average(training.average) if training.average else None
    step = make_step(model, optimizer, loss)
    return Learner(config, batches, dataset.validation, model, optimizer, step, average, listener)


def fit(learner: Learner, run: Run, is_asked_to_stop: Callable[[], bool]) -> None:
    """Epoch after epoch, each judged on validation."""
    training = learner.config.training
    started = time.monotonic()
    for epoch in range(training.epochs or 1):
        now = run_epoch(learner, epoch, started, is_asked_to_stop)
        if now is None:
            learner.is_stopped = True
            return
        last = learner.model.get_weights()
        if not all(np.isfinite(weight).all() for weight in last):
            # The last step of the epoch spoilt the weights after its own loss had been taken.
            raise _diverged(learner, epoch, now.step, math.nan)
        weights = learner.average.weights if learner.average else last
        row = {
            "epoch": epoch + 1,
            "seconds": round(time.monotonic() - started, 3),
            "loss": now.loss,
            "accuracy": now.accuracy,
            **_judge(learner.model, weights, learner.validation),
            "learning_rate": float(learner.optimizer.learning_rate),
        }
        learner.history.append(row)
        run.write_history(learner.history)
        learner.listener.ends_epoch(row, now)
        best = best_epoch(learner.history)
        if best == epoch + 1:
            learner.best = weights
        if training.patience and epoch + 1 - best >= training.patience:
            return


def run_epoch(learner: Learner, epoch: int, started: float, is_asked_to_stop: Callable[[], bool]) -> Now | None:
    """Every step of an epoch. None, if it was broken off."""
    training, steps = learner.config.training, len(learner.batches)
    epochs = training.epochs or 1
    schedule = SCHEDULES[training.schedule or "constant"]
    loss = seen = correct = 0.0
    began, now = time.monotonic(), None
    for number, batch in enumerate(learner.batches.epoch(epoch), start=1):
        share_done = (epoch * steps + number - 1) / (epochs * steps)
        _set_rate(learner.optimizer, (training.lr or 1e-3) * schedule(share_done, learner.history))
        value, hits = learner.step(batch)
        if not math.isfinite(value):
            raise _diverged(learner, epoch, number, value)
        if learner.average and (number % Average.EVERY == 0 or number == steps):
            learner.average.update(learner.model, epoch * steps + number)
        images = len(batch.pixels)
        seen, loss, correct = seen + images, loss + value * images, correct + hits
        rate = seen / (time.monotonic() - began)
        share_done = (epoch * steps + number) / (epochs * steps)
        left = (time.monotonic() - started) * (1 / share_done - 1)
        now = Now(epoch + 1, epochs, number, steps, loss / seen, correct / seen, rate, left)
        learner.listener.moves(now)
        if is_asked_to_stop():
            return None
    return now


def keep(learner: Learner, dataset: Dataset, run: Run) -> None:
    """Write model.keras with the best weights, and the last ones beside it."""
    last = learner.model.get_weights()
    # Saved as a float32 network: one that was trained in bfloat16 would be slow or wrong on other processors.
    model = _build(learner.config, dataset, "float32")
    for path, weights in ((run.last_model_path, last), (run.model_path, learner.best or last)):
        model.set_weights(weights)
        with writing(path) as temporary:
            model.save(temporary)


def best_epoch(history: History) -> int:
    """The epoch, counted from 1, with the highest validation accuracy; among equals the lowest validation loss."""
    return int(max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))["epoch"])


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
    options = config.model.model_dump(exclude={"model"})
    name = config.model.model or "resnet"
    return build(name, dataset.image_shape, len(dataset.class_names), precision=precision, **options)


def _set_rate(optimizer: Any, rate: float) -> None:
    # Assigning costs more than a step of the smallest networks; most schedules of theirs are constant.
    if rate != getattr(optimizer, "_rate_set", None):
        optimizer.learning_rate = rate
        optimizer._rate_set = rate


def _judge(model: Any, weights: Weights, split: Split) -> Mapping[str, float]:
    """Loss (cross-entropy of the true class, unsmoothed) and accuracy of some weights on a split."""
    own = model.get_weights()
    model.set_weights(weights)
    loss = correct = 0.0
    for positions in np.array_split(np.arange(len(split)), -(-len(split) // 512)):
        probabilities = np.asarray(model.predict_on_batch(split.take(positions)))
        labels = split.labels[positions]
        loss -= float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).sum())
        correct += int((probabilities.argmax(-1) == labels).sum())
    model.set_weights(own)
    return {"val_loss": loss / len(split), "val_accuracy": correct / len(split)}


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
