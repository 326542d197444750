"""Every network of the table takes raw pixels, gives probabilities, learns, and is what it says it is.

Backbones, which take larger pictures and more time, have tests of their own in test_pretrained.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iconoclass.backend import keras, make_deterministic
from iconoclass.errors import UsageError
from iconoclass.models.catalog import MODELS, build, listing
from iconoclass.models.pretrained import BACKBONES
from iconoclass.models.resnet import WHITENING, initialise
from iconoclass.models.views import with_views

SHAPES = [(28, 28, 1), (32, 32, 3), (8, 8, 1), (96, 64, 3)]

every_model = pytest.mark.parametrize("name", [name for name in MODELS if name not in BACKBONES])


def pictures(count: int, shape: tuple[int, int, int], seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def smooth_pictures(count: int, shape: tuple[int, int, int]) -> Any:
    """Noise whose neighbouring pixels resemble each other, as in photographs."""
    noise = np.random.default_rng(0).normal(size=(count, *shape))
    smooth = noise + np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2) + np.roll(noise, (1, 1), axis=(1, 2))
    return np.clip(128 + 30 * smooth, 0, 255).astype(np.uint8)


def kinds(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model.layers if type(layer).__name__ != "InputLayer"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_model
def test_every_network_is_built_at_every_size_and_gives_probabilities(name: str, shape: tuple[int, int, int]) -> None:
    model = build(name, shape, 7)
    answers = np.asarray(model(pictures(3, shape), training=False))
    assert answers.shape == (3, 7)
    assert answers.dtype == np.float32
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert (answers >= 0).all()


@every_model
def test_every_network_saves_and_reloads_alike(name: str, tmp_path: Path) -> None:
    model, asked = build(name, (16, 16, 3), 4), pictures(5, (16, 16, 3))
    initialise(model, asked)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert np.array_equal(np.asarray(model(asked, training=False)), np.asarray(again(asked, training=False)))


@every_model
def test_every_network_is_made_of_stock_layers_only(name: str) -> None:
    for layer in build(name, (16, 16, 3), 4).layers:
        assert type(layer).__module__.startswith("keras."), layer


@every_model
def test_every_network_learns_16_images_by_heart(name: str) -> None:
    """What cannot learn 16 images does not learn at all: a gradient is cut, or an activation dead."""
    make_deterministic(0)
    asked, labels = smooth_pictures(16, (12, 12, 1)), np.arange(16) % 4
    model = build(name, (12, 12, 1), 4, dropout=0.0)
    initialise(model, asked)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    for _ in range(80):
        model.train_on_batch(asked, labels)
    # With batch norm as in training: its averages need longer than 80 steps to follow.
    assert (np.asarray(model(asked, training=True)).argmax(axis=1) == labels).all()


@every_model
def test_every_option_that_is_listed_changes_the_network(name: str) -> None:
    plain = build(name, (16, 16, 1), 4)
    assert MODELS[name].options == list(MODELS[name].defaults)
    for option in MODELS[name].options:
        changed = build(name, (16, 16, 1), 4, **{option: {"width": 12, "dropout": 0.45}[option]})
        assert changed.get_config() != plain.get_config(), option
        if option == "width":
            assert changed.count_params() != plain.count_params()
        else:
            assert 0.45 in [layer.rate for layer in changed.layers if isinstance(layer, keras.layers.Dropout)]


@every_model
def test_an_option_that_is_not_chosen_has_its_default(name: str) -> None:
    chosen = build(name, (16, 16, 1), 4, **MODELS[name].defaults)
    assert kinds(chosen) == kinds(build(name, (16, 16, 1), 4, width=None, dropout=None))


def test_an_option_that_a_network_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the model .mlp. has no option .width.\. It has: dropout"):
        build("mlp", (8, 8, 1), 2, width=16)
    with pytest.raises(UsageError, match=r"there is no model .resnt.\. Did you mean .resnet."):
        build("resnt", (8, 8, 1), 2)


# -- the textbook networks are those of the textbooks --------------------------------------------------------------


def test_mlp_is_the_network_of_the_fashion_mnist_tutorial_layer_for_layer() -> None:
    model = build("mlp", (28, 28, 1), 10)
    assert kinds(model) == ["Rescaling", "Flatten", "Dense", "Dropout", "Dense"]
    assert [layer.count_params() for layer in model.layers] == [0, 0, 784 * 128 + 128, 0, 128 * 10 + 10]
    assert model.count_params() == 101_770
    assert model.layers[3].rate == 0.2
    assert [layer.activation.__name__ for layer in model.layers if hasattr(layer, "units")] == ["relu", "softmax"]


def test_convnet_1_is_the_usual_first_network_for_mnist_layer_for_layer() -> None:
    model = build("convnet-1", (28, 28, 1), 10)
    assert kinds(model) == ["Rescaling", "Conv2D", "MaxPooling2D", "Flatten", "Dense", "Dense"]
    assert [layer.count_params() for layer in model.layers if layer.count_params()] == [
        320,  # 9 x 32 + 32
        346_176,  # 13 x 13 x 32 x 64 + 64
        650,
    ]
    assert model.count_params() == 347_146


@pytest.mark.parametrize(("shape", "parameters"), [((28, 28, 1), 93_322), ((32, 32, 3), 122_570)])
def test_convnet_3_is_the_network_of_the_cnn_tutorial_layer_for_layer(
    shape: tuple[int, int, int], parameters: int
) -> None:
    model = build("convnet-3", shape, 10)
    convolutions = ["Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Conv2D"]
    assert kinds(model) == ["Rescaling", *convolutions, "Flatten", "Dense", "Dense"]
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(layer.filters, layer.kernel_size, layer.padding) for layer in layers] == [
        (filters, (3, 3), "valid") for filters in (32, 64, 64)
    ]
    side = {28: 3, 32: 4}[shape[0]]
    flat = side * side * 64
    assert model.count_params() == sum([9 * shape[2] * 32 + 32, 18_496, 36_928, flat * 64 + 64, 650]) == parameters


def test_the_listing_tells_the_parameters_and_options_of_every_network() -> None:
    rows = {row["name"]: row for row in listing()}
    assert rows.keys() == MODELS.keys()
    assert rows["mlp"]["parameters"] == {"28x28x1": 101_770, "32x32x3": 394_634}
    assert all(row["purpose"] and row["source"] and row["recipe"] for row in rows.values())


# -- whitening -----------------------------------------------------------------------------------------------------


def test_whitening_whitens() -> None:
    """The first 12 of its 24 outputs have a covariance of about the identity; the other 12 are their negatives."""
    pixels = smooth_pictures(60, (16, 16, 3))
    model = build("resnet", (16, 16, 3), 4)
    initialise(model, pixels)
    first = keras.Model(model.inputs[0], model.get_layer(WHITENING).output)
    outputs = np.asarray(first(pixels, training=False)).reshape(-1, 24)
    assert np.array_equal(outputs[:, 12:], -outputs[:, :12])
    covariance = outputs[:, :12].T @ outputs[:, :12] / len(outputs)
    # A little less than 1 where the data hardly vary: there the divisor is held up, so that noise is not blown up.
    assert np.allclose(covariance, np.eye(12), atol=0.06)
    scaled = pixels.astype(np.float32) / 127.5 - 1
    assert np.abs(np.corrcoef(scaled[:, :-1].reshape(-1), scaled[:, 1:].reshape(-1))[0, 1]) > 0.3, (
        "there was work to do"
    )


def test_whitening_is_not_changed_by_training() -> None:
    pixels = smooth_pictures(16, (12, 12, 1))
    model = build("resnet", (12, 12, 1), 4, width=8)
    initialise(model, pixels)
    before = [weight.copy() for weight in model.get_layer(WHITENING).get_weights()]
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", jit_compile=False)
    model.train_on_batch(pixels, np.arange(16) % 4)
    assert all(map(np.array_equal, before, model.get_layer(WHITENING).get_weights()))


def test_networks_without_a_whitening_layer_are_left_alone() -> None:
    model = build("mlp", (8, 8, 1), 2)
    before = model.get_weights()
    initialise(model, pictures(4, (8, 8, 1)))
    assert all(map(np.array_equal, before, model.get_weights()))


# -- precision -----------------------------------------------------------------------------------------------------


@every_model
def test_in_bfloat16_weights_and_probabilities_stay_float32(name: str) -> None:
    model = build(name, (16, 16, 1), 4, precision="bfloat16")
    assert {layer.compute_dtype for layer in model.layers if hasattr(layer, "kernel")} >= {"bfloat16"}
    assert {layer.compute_dtype for layer in model.layers if layer.output.shape == (None, 4)} == {"float32"}
    assert {str(keras.backend.standardize_dtype(weight.dtype)) for weight in model.weights} == {"float32"}
    assert np.asarray(model(pictures(2, (16, 16, 1)), training=False)).dtype == np.float32


def test_building_leaves_the_global_precision_as_it_was_even_when_it_fails() -> None:
    before = keras.config.dtype_policy()
    build("mlp", (8, 8, 1), 2, precision="bfloat16")
    assert keras.config.dtype_policy() is before
    with pytest.raises(ValueError, match=r"dropout|rate"):
        build("mlp", (8, 8, 1), 2, precision="bfloat16", dropout=7)
    assert keras.config.dtype_policy() is before


# -- views ---------------------------------------------------------------------------------------------------------


def test_mirrored_views_are_the_mean_of_a_picture_and_its_mirror_image_in_a_plain_keras_model(tmp_path: Path) -> None:
    model = build("resnet", (16, 16, 3), 4, width=8)
    pixels = pictures(6, (16, 16, 3))
    both = with_views(model, "mirrored")
    once, mirrored = np.array(model(pixels)), np.array(model(pixels[:, :, ::-1]))
    assert not np.allclose(once, mirrored, atol=1e-4)
    assert np.allclose(np.array(both(pixels)), (once + mirrored) / 2, atol=1e-6)
    assert [weight.shape for weight in both.get_weights()] == [weight.shape for weight in model.get_weights()]
    both.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    assert np.allclose(np.array(again(pixels)), np.array(both(pixels)), atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 12, 3), (1, 2, 1)])
def test_shifted_views_are_the_mean_of_six_looks_whose_border_is_reflected(shape: tuple[int, int, int]) -> None:
    model = build("mlp", shape, 4)
    pixels = pictures(6, shape)
    looks = []
    for each in (pixels, pixels[:, :, ::-1]):
        padded = np.pad(each, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
        looks += [each, padded[:, :-2, :-2], padded[:, 2:, 2:]]
    answers = [np.array(model(look)) for look in looks]
    assert np.array(with_views(model, "shifted")(pixels)) == pytest.approx(np.mean(answers, axis=0), abs=1e-6)
