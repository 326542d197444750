"""Learner: the network that learns, and all that changes while it does. prepare(): made from one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from iconoclass.backend import as_function, keras, make_deterministic
from iconoclass.config import Config
from iconoclass.data.batches import Batches, balanced_weights
from iconoclass.data.dataset import Dataset
from iconoclass.models.catalog import build
from iconoclass.models.pretrained import forget_frozen, thaw
from iconoclass.models.resnet import initialise
from iconoclass.models.views import with_views
from iconoclass.models.weights import are_wanted, find, load
from iconoclass.run import History
from iconoclass.training.optimizers import build_optimizer
from iconoclass.training.plan import Budget, Plan
from iconoclass.training.steps import Step, make_step
from iconoclass.training.team import Team, mine

Weights = list[npt.NDArray[Any]]

PARTS = ("compute", "input", "copy", "validation", "checkpoints")  # what the time of a training goes into


@dataclass
class Position:
    """Where a training is: the epoch, from 0, and how many of its steps are done; and sums over the images of those."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss: float = 0.0
    correct: float = 0.0


@dataclass
class Learner:
    """What learns, and what there is to tell of it.

    model: what is trained, perhaps in bfloat16; ask: the same as a function of pixels; kept: the float32 network that
    is saved with its weights, for on other processors bfloat16 would be slow or wrong; the same network, where only its
    last layer is fitted. seconds: what the time of training went into. said: what was found out before the first epoch,
    in words. at: where it is; elapsed_s: how long it had been trained when it was taken up again, and started: the
    time.monotonic() at which it would have begun without the break; stopped_by: which signal.
    team: who learns the same in other processes.
    """

    config: Config
    dataset: Dataset
    batches: Batches
    model: Any
    ask: Callable[[Any], Any]
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
    at: Position = field(default_factory=Position)
    elapsed_s: float = 0.0
    started: float = 0.0
    is_done: bool = False
    is_stopped: bool = False
    stopped_by: int = 0
    team: Team = field(default_factory=mine)

    @property
    def epochs(self) -> int:
        """Passes over the training part, of which the last may be broken off."""
        return -(-self.plan.steps // len(self.batches))


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


def prepare(dataset: Dataset, config: Config) -> Learner:
    """Network, optimiser and batches, all from the one seed. config: with nothing left open (`recipes.complete`)."""
    training = config.training
    make_deterministic(training.seed)
    learns = not _fits_head_only(config)
    model = _build(config, dataset, training.precision if learns else "float32")
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
    if learns:
        kept = _build(config, dataset, "float32")
        if are_wanted(config):
            kept.set_weights(model.get_weights())
    else:
        kept = model
        forget_frozen(kept)
    kept = with_views(kept, config.model.views)
    average = Average(training.average) if training.average else None
    step = make_step(model, optimizer, loss)
    return Learner(
        config, dataset, batches, model, as_function(model), kept, optimizer, step, _plan(batches, config), average
    )


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
        slice_of=(mine().rank, mine().size),
    )


def _plan(batches: Batches, config: Config) -> Plan:
    epochs = config.training.epochs
    return Plan(max(1, round(epochs * len(batches))) if epochs else 0)


def _unfrozen(config: Config) -> float:
    """The share of a backbone that learns."""
    return 0.0 if _fits_head_only(config) else config.training.unfreeze or 0.0


def _fits_head_only(config: Config) -> bool:
    """Whether nothing is to be learned step by step, so that one network is enough."""
    training = config.training
    return training.recipe == "transfer" and not (training.epochs or training.budget)


def _build(config: Config, dataset: Dataset, precision: str) -> Any:
    options = config.model.model_dump(exclude={"model", "views", "weights"})
    name = config.model.model or "resnet"
    return build(name, dataset.image_shape, len(dataset.class_names), precision=precision, **options)
