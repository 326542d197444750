"""One step of learning: what it does to a network is what Keras would do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.data.batches import Batch
from iconoclass.models.catalog import build
from iconoclass.models.resnet import WHITENING, initialise
from iconoclass.training import steps
from iconoclass.training.steps import make_step


@pytest.fixture
def batch() -> Batch:
    some = ic.load_dataset("digits").train.sample(48)
    return Batch(some.pixels, np.eye(10, dtype=np.float32)[some.labels], np.ones(48, np.float32))


def network(*, is_one_frozen: bool = False) -> Any:
    """A small one, always with the same weights; its first batch norm may be frozen."""
    keras.utils.set_random_seed(3)
    model = build("resnet", (8, 8, 1), 10, precision="float32", width=8)
    norms_of(model)[0].trainable = not is_one_frozen
    return model


def norms_of(model: Any) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def step_of_keras(model: Any, batch: Batch) -> None:
    """The same by Keras's own layers, one after the other and as they are."""
    with tf.GradientTape() as tape:
        value = keras.losses.CategoricalCrossentropy()(batch.targets, model(batch.pixels, training=True))
    keras.optimizers.SGD(0.1).apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)


@pytest.mark.parametrize("is_one_frozen", [False, True], ids=["all learn", "one is frozen"])
def test_batch_norm_in_one_operation_learns_and_remembers_what_that_of_keras_does(
    batch: Batch, is_one_frozen: bool
) -> None:
    ours, theirs = network(is_one_frozen=is_one_frozen), network(is_one_frozen=is_one_frozen)
    fixed = {id(weight) for weight in norms_of(ours)[0].weights} if is_one_frozen else set()
    before = ours.get_weights()
    step = make_step(ours, keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy())
    step.learn(step.copy(batch))
    step_of_keras(theirs, batch)
    for weight, old, mine, other in zip(ours.weights, before, ours.get_weights(), theirs.get_weights(), strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-5), weight.path
        assert np.array_equal(mine, old) == (id(weight) in fixed), weight.path


def whitening_biases_after_a_step(precision: str) -> Any:
    keras.utils.set_random_seed(3)
    model = build("resnet", (32, 32, 3), 10, precision=precision, width=16)
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (512, 8, 8, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    pixels = coarse // 2 + random.integers(0, 128, coarse.shape, np.uint8)
    initialise(model, pixels)
    whitening = model.get_layer(WHITENING)
    whitening.trainable, whitening.kernel.trainable = True, False
    targets = np.eye(10, dtype=np.float32)[np.arange(512) % 10]
    step = make_step(model, keras.optimizers.SGD(1.0), keras.losses.CategoricalCrossentropy())
    step.learn(step.copy(Batch(pixels, targets, np.ones(512, np.float32))))
    return np.array(whitening.bias)


def test_biases_of_convolutions_learn_in_bfloat16_about_what_they_learn_in_float32() -> None:
    """TensorFlow's own gradient of `bias_add` loses most of a sum of half a million numbers."""
    exact, found = whitening_biases_after_a_step("float32"), whitening_biases_after_a_step("bfloat16")
    assert np.linalg.norm(found - exact) < 0.5 * np.linalg.norm(exact)


def kernels_after_a_step(monkeypatch: pytest.MonkeyPatch, *, has_tiles: bool) -> list[Any]:
    """Of a network whose last two blocks see maps of 7 and 3 pixels, through 64 channels; 50 pictures are not
    divisible by how many maps lie side by side.
    """
    monkeypatch.setattr(steps, "processor_has_tiles", lambda: has_tiles)
    keras.utils.set_random_seed(3)
    model = build("resnet", (32, 32, 3), 10, precision="bfloat16", width=16)
    pixels = np.random.default_rng(5).integers(0, 256, (50, 32, 32, 3), np.uint8)
    initialise(model, pixels)
    targets = np.eye(10, dtype=np.float32)[np.arange(50) % 10]
    before = [np.array(variable) for variable in model.trainable_variables]
    step = make_step(model, keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy())
    step.learn(step.copy(Batch(pixels, targets, np.ones(50, np.float32))))
    return [np.array(variable) - old for variable, old in zip(model.trainable_variables, before, strict=True)]


def test_maps_side_by_side_teach_a_kernel_what_one_after_the_other_do(monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out = []
    plain = steps._with_laid_out_gradient
    monkeypatch.setattr(steps, "_with_laid_out_gradient", lambda tf: laid_out.append(1) or plain(tf))
    usual = kernels_after_a_step(monkeypatch, has_tiles=False)
    assert not laid_out
    found = kernels_after_a_step(monkeypatch, has_tiles=True)
    assert len(laid_out) == 3  # two on 7 x 7 and one on 3 x 3; the first of the second block sees 15 x 15
    for learned, other in zip(found, usual, strict=True):
        assert np.linalg.norm(learned - other) < 0.02 * np.linalg.norm(other)


def test_the_layers_are_keras_own_again_after_a_step(batch: Batch) -> None:
    model = network()
    step = make_step(model, keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy())
    step.learn(step.copy(batch))
    assert norms_of(model)
    assert not any("call" in vars(layer) for layer in model.layers)
