"""A budget is turned into steps, and a size, by measuring; what it decided can be repeated without it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import iconoclass as ic
from iconoclass.config import Config
from iconoclass.data.dataset import Dataset
from iconoclass.errors import UsageError
from iconoclass.run import Run
from iconoclass.training import pace, trainer
from iconoclass.training.learner import prepare
from iconoclass.training.pace import SIZES, measure, prepare_within
from iconoclass.training.plan import Budget, Plan
from iconoclass.training.progress import Listener
from iconoclass.training.recipes import complete


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return ic.load_dataset("digits")


def test_measuring_leaves_no_trace(digits: Dataset) -> None:
    config = complete(Config.of(source="digits", model="mlp"), digits)
    learner = prepare(digits, config)
    before = [np.array(variable) for variable in (*learner.model.variables, *learner.optimizer.variables)]
    found = measure(learner, seconds=0.1)
    after = [np.array(variable) for variable in (*learner.model.variables, *learner.optimizer.variables)]
    assert all(map(np.array_equal, before, after))
    assert found.step_s > 0
    assert found.asked_image_s > 0


def test_what_a_budget_decided_gives_the_same_model_without_it(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "LOW", 0.0)  # whatever this machine is doing meanwhile, the plan stays
    monkeypatch.setattr(Budget, "HIGH", np.inf)
    asked = Config.of(source="digits", width=8, budget=3600)
    learner, said = prepare_within(asked, digits, time.monotonic(), images_at_end=500)
    assert "images/s" in said
    assert learner.config.training.budget is None, "config.toml says what was decided"
    few = 2 * len(learner.batches) + 3
    learner.plan = Plan(few)
    learner.config = learner.config.with_settings(epochs=round(few / len(learner.batches), 6))
    trainer.train(learner, Run.create(tmp_path, "budget"), Listener())

    again = prepare(digits, complete(learner.config, digits))
    assert again.plan.steps == few
    trainer.train(again, Run.create(tmp_path, "epochs"), Listener())
    assert all(map(np.array_equal, learner.best, again.best))
    assert [row["epoch"] for row in again.history] == [1, 2, 3], "the third epoch was broken off"


def test_a_budget_that_leaves_no_time_for_training_is_refused_with_one_that_does(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="too short") as caught:
        prepare_within(Config.of(source="digits", model="mlp", budget=0.5), digits, time.monotonic(), 500)
    assert "--budget" in caught.value.hint


def test_more_time_buys_a_larger_network_and_never_a_smaller_one(digits: Dataset) -> None:
    learner = prepare(digits, complete(Config.of(source="digits", width=16), digits))
    each = len(learner.batches)
    widths = []
    for seconds in (0.01, 1, 10, 100, 1_000, 10_000):
        budget = Budget(seconds + 12, 0.0, 0.1, 0.1, 5.0, each, clock=lambda: 5.0)
        widths.append(pace._paying(budget, learner, 16))
    assert widths == sorted(widths)
    assert widths[0] == min(SIZES)
    assert widths[-1] == max(SIZES)


def test_budget_and_epochs_exclude_each_other(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        complete(Config.of(source="digits", budget="90s", epochs=3), digits)


def test_the_size_follows_what_sizes_cost_on_the_processor(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where wide networks are cheap, one is chosen sooner; each way as it was found better in equal time."""
    learner = prepare(digits, complete(Config.of(source="digits", width=16), digits))

    def chosen(epochs: float, width: int) -> int:
        left = epochs * len(learner.batches) + 0.5
        budget = Budget(left / Budget.AIM, 0.0, 1.0, 0.0, 0.0, len(learner.batches), clock=lambda: 0.0)
        return pace._paying(budget, learner, width)

    monkeypatch.setattr(pace, "processor_has_tiles", lambda: False)
    assert [chosen(3, 16), chosen(2.9, 32), chosen(14, 64)] == [16, 32, 64]
    monkeypatch.setattr(pace, "processor_has_tiles", lambda: True)
    assert [chosen(6, 16), chosen(2.9, 32), chosen(12, 64)] == [32, 32, 64]
