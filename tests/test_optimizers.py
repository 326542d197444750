"""How far a step goes: the schedules' ends, and who is spared the weight decay."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.config import Config, TrainingConfig
from iconoclass.errors import UsageError
from iconoclass.models.catalog import build
from iconoclass.run import Run
from iconoclass.training.learner import prepare
from iconoclass.training.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    build_optimizer,
    cosine,
    linear,
    orthogonal,
    plateau,
    triangular,
)
from iconoclass.training.progress import Listener
from iconoclass.training.recipes import complete
from iconoclass.training.trainer import train


def losses(*values: float) -> list[dict[str, float]]:
    return [{"val_loss": value} for value in values]


def settings(**given: float | str) -> TrainingConfig:
    return Config.of(source="digits", **{"lr": 0.01, "optimizer": "sgd", **given}).training


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_stays_between_nothing_and_the_highest_rate(name: str) -> None:
    for done in np.linspace(0, 1, 101):
        assert 0 <= SCHEDULES[name](float(done), losses(1, 2, 2, 2, 2)) <= 1


def test_the_schedules_begin_peak_and_end_where_they_say() -> None:
    assert SCHEDULES["constant"](0.0, []) == SCHEDULES["constant"](1.0, []) == 1
    assert [cosine(done, []) for done in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [linear(done, []) for done in (0, 0.25, 1)] == pytest.approx([1, 0.75, 0])
    assert [triangular(done, []) for done in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0.2, 0.6, 1, 0.525, 0.05])


@pytest.mark.parametrize("name", ["cosine", "linear", "triangular"])
def test_after_its_peak_a_schedule_only_falls_and_without_jumps(name: str) -> None:
    values = [SCHEDULES[name](done / 1000, []) for done in range(1001)]
    peak = int(np.argmax(values))
    assert all(later <= earlier for earlier, later in itertools.pairwise(values[peak:]))
    assert max(abs(later - earlier) for earlier, later in itertools.pairwise(values)) < 0.01


@pytest.mark.parametrize(
    ("history", "share"),
    [
        ([], 1),
        ([3, 2, 1], 1),
        ([1, 1, 1], 1),  # two without a lower loss
        ([1, 1, 1, 1], 0.5),  # three
        ([1, 2, 2, 0.5, 2, 2], 1),  # a lower one between them starts the count anew
        ([1, 2, 2, 2, 2, 2], 0.5),
        ([1, 2, 2, 2, 2, 2, 2], 0.25),
        ([1, 2, 2, 2, 0.5, 0.4], 0.5),  # what was halved stays halved
    ],
)
def test_the_plateau_is_seen_in_the_history_alone(history: list[float], share: float) -> None:
    assert plateau(0.3, losses(*history)) == share
    assert plateau(0.9, losses(*history)) == share, "how much is done plays no part"


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"muon"}))  # which holds the norm of its kernels
def test_weight_decay_shrinks_kernels_and_spares_biases_and_batch_norm(name: str) -> None:
    model = build("convnet", (8, 8, 1), 3)
    optimizer = build_optimizer(settings(optimizer=name, weight_decay=0.5), model)
    before = [np.array(variable) for variable in model.trainable_variables]
    nothing = [keras.ops.zeros_like(variable) for variable in model.trainable_variables]
    optimizer.apply(nothing, model.trainable_variables)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        expected = old * (1 - 0.5 * 0.01) if len(variable.shape) > 1 else old
        assert np.allclose(np.array(variable), expected, atol=1e-6), variable.path
    assert any(len(variable.shape) == 1 for variable in model.trainable_variables)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_weight_decay_nothing_shrinks(name: str) -> None:
    model = build("mlp", (8, 8, 1), 3)
    optimizer = build_optimizer(settings(optimizer=name, weight_decay=0.0), model)
    before = model.get_weights()
    optimizer.apply([keras.ops.zeros_like(variable) for variable in model.trainable_variables])
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("shape", [(36, 8), (8, 36), (16, 16)])
def test_an_orthogonal_update_moves_all_directions_about_alike(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    found = np.array(orthogonal(keras.ops.convert_to_tensor(matrix)))
    strengths = np.diag(left.T @ found @ right.T)
    assert values.max() / values.min() > 1.5, "the matrix itself does not"
    assert np.allclose(found, left @ np.diag(strengths) @ right, atol=1e-3), "the directions are those of the matrix"
    assert (strengths > 0.25).all()
    assert (strengths < 1.3).all()


def test_muon_holds_the_norm_of_kernels_and_moves_them_by_a_share_of_it() -> None:
    model = build("resnet", (8, 8, 1), 3, width=8)
    optimizer = build_optimizer(settings(optimizer="muon", lr=0.1, momentum=0.6), model)
    kernels = [variable for variable in model.trainable_variables if len(variable.shape) == 4]
    random = np.random.default_rng(0)
    for _ in range(3):
        gradients = [random.normal(size=variable.shape).astype(np.float32) for variable in model.trainable_variables]
        before = [np.array(kernel) for kernel in kernels]
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], model.trainable_variables)
    assert kernels
    for kernel, old in zip(kernels, before, strict=True):
        held = math.sqrt(old.shape[-1])
        step = np.array(kernel) - old * held / np.linalg.norm(old)
        assert 0.04 * held < np.linalg.norm(step) < 0.13 * held


def changes_of_biases(batch_size: int, gradient: float) -> list[Any]:
    """What one step of Muon at a rate of 0.1 takes off all biases, where each of their gradients is the same."""
    model = build("resnet", (8, 8, 1), 3, width=8)
    optimizer = build_optimizer(settings(optimizer="muon", lr=0.1, momentum=0.6, batch_size=batch_size), model)
    gradients = [gradient * keras.ops.ones_like(variable) for variable in model.trainable_variables]
    biases = [variable for variable in model.trainable_variables if len(variable.shape) == 1]
    before = [np.array(bias) for bias in biases]
    optimizer.apply(gradients, model.trainable_variables)
    return [old - np.array(bias) for bias, old in zip(biases, before, strict=True)]


@pytest.mark.parametrize("batch_size", [16, 512])
def test_with_muon_biases_learn_at_a_rate_that_grows_with_the_batch(batch_size: int) -> None:
    changes = changes_of_biases(batch_size, 1e-3)
    assert changes
    for change in changes:
        assert change == pytest.approx(0.1 * 0.22 * batch_size * 1.85e-3, rel=1e-5)


def test_with_muon_no_bias_leaps() -> None:
    """The first steps of MNIST threw some a thousand standard deviations away, where they stayed."""
    for sign in (1, -1):
        assert all(change == pytest.approx(sign * 0.1 * 0.3) for change in changes_of_biases(512, sign * 100.0))


def test_settings_reach_the_optimizer() -> None:
    optimizer = build_optimizer(settings(momentum=0.75, lr=0.125), build("mlp", (8, 8, 1), 3))
    assert float(optimizer.learning_rate) == 0.125
    assert optimizer.momentum == 0.75
    assert optimizer.nesterov


def test_an_optimizer_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no optimizer 'adm'. Did you mean 'adam'".replace(".", r"\.")):
        build_optimizer(settings(optimizer="adm"), build("mlp", (8, 8, 1), 3))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_trains_with_every_schedule(optimizer: str, schedule: str, tmp_path: Path) -> None:
    """Two epochs on the digits."""
    data = ic.load_dataset("digits")
    config = complete(Config.of(source="digits", model="mlp", optimizer=optimizer, schedule=schedule, epochs=2), data)
    first, second = train(prepare(data, config), Run.create(tmp_path, "x"), Listener()).history
    assert second["loss"] < first["loss"]
    assert math.isfinite(second["val_loss"])
    lr = config.training.lr or 0
    assert 0 <= second["learning_rate"] <= lr * 1.0001
    assert (second["learning_rate"] < lr * 0.999) == (schedule in {"cosine", "linear", "triangular"})
