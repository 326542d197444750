"""Pace: how fast this machine trains a network, measured in its first seconds; and what a budget buys at that pace."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from iconoclass.backend import as_function, processor_has_tiles
from iconoclass.config import Config
from iconoclass.data.batches import Batch, at_once
from iconoclass.data.dataset import Dataset, Tell
from iconoclass.errors import UsageError
from iconoclass.models.views import VIEWS
from iconoclass.training.learner import Learner, change, prepare
from iconoclass.training.plan import Budget, Plan
from iconoclass.training.recipes import complete
from iconoclass.training.transfer import Eye, learn_head

# Widths of `resnet` among which a budget chooses. All are multiples of 16: with 8 filters a step takes nearly as long
# as with 16, and with 24 as with 32.
SIZES = (16, 32, 48, 64, 96)
# A bound for few pictures: an hour's budget is not to be spent on showing the same 500 ten thousand times.
MOST_EPOCHS = 200
MOST_TUNING_EPOCHS = 20  # of a pretrained network, which has less to learn
# What comes after the last step beside the asking: files, tables, drawings. Seconds on a 2-core AMD EPYC; scaled by how
# fast this machine runs Python.
FINISH_S, ROW_S, PYTHON_S = 4.2, 25e-6, 0.0125
# For a backbone: opening the kept model; compiling a step; fitting the head, for an example, feature and class.
REOPEN_S, COMPILE_S, HEAD_S = 4.0, 8.0, 2e-7


@dataclass(frozen=True)
class Pace:
    """Seconds: of one training step; of asking the training network, and the kept one, about one image."""

    step_s: float
    judged_image_s: float
    asked_image_s: float


def prepare_within(
    asked: Config, dataset: Dataset, began: float, images_at_end: int | None, tell: Tell | None = None
) -> tuple[Learner, str]:
    """A learner whose plan, and size where that is left open, fills the budget; and what was chosen, in a line.

    asked: with a budget. began: the time.monotonic() from which it counts. images_at_end: how many are judged after
    the training; None, if the budget is for learning alone: then it counts from the first step to the last.
    Raises: UsageError, if the budget is too short for any training.
    """
    if complete(asked, dataset).training.recipe == "transfer":
        return _transfer_within(asked, dataset, began, images_at_end, tell)
    is_free = asked.model.model in (None, "auto") and asked.model.width is None
    width = _guess(asked, dataset, began) if is_free else None
    learner, budget = _measured(asked, width, dataset, began, images_at_end)
    has_shrunk = False
    # Up or down to the size that pays; once down, never up again.
    while width and (better := _paying(budget, learner, width)) != width and not (has_shrunk and better > width):
        has_shrunk, width = better < width, better
        learner, budget = _measured(asked, width, dataset, began, images_at_end)
    learner.budget = budget
    _fill(learner, asked, width)
    return learner, _said(learner, width)


def _transfer_within(
    asked: Config, dataset: Dataset, began: float, images_at_end: int | None, tell: Tell | None
) -> tuple[Learner, str]:
    """The head first; then, if there is time for an epoch at least, as many as there is time for."""
    seconds = asked.training.budget or 0.0
    learner = prepare(dataset, complete(asked, dataset))
    eye = Eye(learner)
    image_s = _seconds_an_image(eye.ask, dataset.train.sample(eye.at_once).pixels)
    views = len(VIEWS[asked.model.views])
    slower = _python_s() / PYTHON_S
    finish_s = _finish_s(images_at_end, views * image_s, slower, REOPEN_S)
    head_s = slower * HEAD_S * len(dataset.train) * eye.features_each * len(dataset.class_names)
    looks_s = image_s * (2 * len(dataset.train) + views * len(dataset.validation))
    least_s = looks_s + head_s
    _refuse_if_too_short(seconds, time.monotonic() - began, finish_s, least_s, 1.2 * least_s, dataset)
    learn_head(learner, eye, tell)
    if images_at_end is None:
        began = time.monotonic()

    def left_s() -> float:
        return began + Budget.AIM * seconds - time.monotonic() - finish_s

    # Learning costs three times looking, at the least; and before it can be measured it is compiled.
    epoch_s = 3 * image_s * len(dataset.train)
    if left_s() > slower * COMPILE_S + 2 * epoch_s:
        pace = measure(learner, seconds=min(3.0, max(0.5, 0.01 * seconds)))
        judge_s = len(dataset.validation) * pace.judged_image_s
        learner.budget = Budget(seconds, began, pace.step_s, judge_s, finish_s, len(learner.batches))
        epoch_s = pace.step_s * len(learner.batches) + judge_s
    if learner.budget and left_s() > epoch_s:
        _fill(learner, asked, None, MOST_TUNING_EPOCHS)
        return learner, _said(learner, None)
    learner.budget = None
    change(learner, complete(asked.with_settings(budget=None), dataset))
    return learner, f"{seconds:g} s: the head alone; for an epoch of the backbone's top there is no time"


def _refuse_if_too_short(
    seconds: float, spent_s: float, finish_s: float, least_s: float, enough_s: float, dataset: Dataset
) -> None:
    """least_s: of training, without which there is no model; enough_s: with which one is worth having.

    Raises: UsageError, with a budget that would do.
    """
    if Budget.AIM * seconds < spent_s + finish_s + least_s:
        least = 5 * round((spent_s + finish_s + enough_s) / Budget.AIM / 5 + 1)
        raise UsageError(
            f"a budget of {seconds:g} s is too short for {dataset.name} here: starting took {spent_s:.0f} s, "
            f"the least training will take about {least_s:.0f} s, and judging {finish_s:.0f} s",
            hint=f"Try --budget {least}s",
        )


def _fill(learner: Learner, asked: Config, width: int | None, most_epochs: int = MOST_EPOCHS) -> None:
    """Give the learner as many epochs as its budget buys, and what the recipe makes of so many."""
    budget, before = learner.budget, len(learner.batches)
    if budget is None:
        return
    epochs = min(most_epochs, budget.steps() / before)
    chosen = {"width": width} if width else {}
    decided = complete(asked.with_settings(epochs=epochs, budget=None, **chosen), learner.dataset)
    change(learner, decided)
    each = len(learner.batches)
    # Larger batches, where so many epochs have them, take longer in proportion.
    budget.step_s *= before / each
    budget.epoch_steps, budget.most_steps = each, most_epochs * each
    learner.plan = Plan(budget.steps())
    learner.config = decided.with_settings(epochs=round(learner.plan.steps / each, 6))


def measure(learner: Learner, seconds: float) -> Pace:
    """The pace of a learner, watched for about so many seconds; its weights are afterwards what they were."""
    state = [(variable, np.array(variable)) for variable in (*learner.model.variables, *learner.optimizer.variables)]
    batches = _endless(learner)
    for _ in range(2):  # the first builds the graph, the second still looks for the fastest way to compute it
        learner.step.learn(learner.step.copy(next(batches)))
    began, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - began < seconds:
        learner.step.learn(learner.step.copy(next(batches)))
        steps += 1
    step_s = (time.perf_counter() - began) / steps
    batches.close()
    for variable, value in state:
        variable.assign(value)
    some = learner.dataset.validation.sample(at_once(learner.dataset.image_shape)).pixels
    return Pace(step_s, _seconds_an_image(learner.ask, some), _seconds_an_image(as_function(learner.kept), some))


def _endless(learner: Learner) -> Generator[Batch]:
    for epoch in itertools.count():
        yield from learner.batches.epoch(epoch)


def _seconds_an_image(ask: Callable[[Any], Any], pixels: Any) -> float:
    ask(pixels)  # builds the graph
    return _best_s(2, lambda: ask(pixels)) / len(pixels)


def _measured(
    asked: Config, width: int | None, dataset: Dataset, began: float, images_at_end: int | None
) -> tuple[Learner, Budget]:
    seconds = asked.training.budget or 0.0
    learner = prepare(dataset, complete(asked.with_settings(width=width) if width else asked, dataset))
    pace = measure(learner, seconds=min(3.0, max(0.5, 0.01 * seconds)))
    slower = _python_s() / PYTHON_S
    finish_s = _finish_s(images_at_end, pace.asked_image_s, slower)
    judge_s = len(dataset.validation) * pace.judged_image_s
    if images_at_end is None:
        began = time.monotonic()
    budget = Budget(seconds, began, pace.step_s, judge_s, finish_s, len(learner.batches))
    least_s, enough_s = (judge_s + steps * pace.step_s for steps in (5, 100))
    _refuse_if_too_short(seconds, time.monotonic() - began, finish_s, least_s, enough_s, dataset)
    return learner, budget


def _finish_s(images_at_end: int | None, image_s: float, slower: float, more_s: float = 0.0) -> float:
    """Seconds from the last step to the judged model. slower: than the machine on which the constants were taken."""
    if images_at_end is None:
        return 0.0
    return images_at_end * (image_s + slower * ROW_S) + slower * (FINISH_S + more_s)


def _python_s() -> float:
    """Seconds that this machine needs for a little plain Python."""
    return _best_s(5, lambda: sum(number * number for number in range(200_000)))


def _best_s(times: int, work: Callable[[], Any]) -> float:
    """Seconds of the fastest of so many: the others were held up by something else."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _cost(width: int) -> float:
    """Seconds for a 32 x 32 image in a `resnet` of that width, on two cores: a part that is the same for all, memory
    traffic that grows with the width, arithmetic that grows with its square. Fitted to widths 16 to 96 on an AMD EPYC
    and on an Intel Xeon, which differ in arithmetic alone: the latter has tiles (docs/speed.md).
    """
    same, traffic, arithmetic = 5.9e-5, 1.8e-6, 1.4e-7 if processor_has_tiles() else 4.4e-7
    return same + width * (traffic + width * arithmetic)


def _error(width: int, epochs: float) -> float:
    """The share of pictures that a width gets wrong after so many epochs, in some unit. Set by hand after CIFAR-10's
    validation part, widths 16 to 64, 1 to 8 epochs; and after which of two widths was better in equal time
    (docs/speed.md).
    """
    return float(width**-0.19 * (1 + 4 / width) * epochs**-0.1 * (1 + 0.6 / epochs))


def _paying(budget: Budget, learner: Learner, width: int) -> int:
    """The size that makes the most of the time, to judge by the pace of one width."""
    epochs = budget.steps() / len(learner.batches)
    return min(SIZES, key=lambda size: _error(size, epochs * _cost(width) / _cost(size)))


def _guess(asked: Config, dataset: Dataset, began: float) -> int:
    """Where to begin looking: what would pay on two cores. A wrong guess costs seconds, not the budget."""
    left = Budget.AIM * (asked.training.budget or 0.0) - (time.monotonic() - began) - 2 * FINISH_S
    height, channel_width, _ = dataset.image_shape
    images = max(1.0, left) * 1024 / (height * channel_width)
    return min(SIZES, key=lambda size: _error(size, images / (len(dataset.train) * _cost(size))))


def _said(learner: Learner, width: int | None) -> str:
    budget, each = learner.budget, len(learner.batches)
    if budget is None:
        return ""
    epochs = learner.plan.steps / each
    speed = len(learner.dataset.train) / each / budget.step_s
    said = f"{budget.seconds:g} s: {epochs:.3g} epochs at {speed:,.0f} images/s"
    if learner.plan.steps == budget.most_steps:
        return f"{said}; more would do no good"
    larger = [size for size in SIZES if width and size > width]
    if larger:
        fewer = epochs * _cost(width or 0) / _cost(larger[0])
        said += f"; width {larger[0]} would get {fewer:.2g}, too few to be better"
    return said
