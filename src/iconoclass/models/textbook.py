"""The networks that every tutorial teaches, written out layer by layer, and the regularised one that mends them."""

from __future__ import annotations

from typing import Any

from iconoclass.backend import keras

layers = keras.layers

Shape = tuple[int, int, int]


def mlp(shape: Shape, classes: int, *, dropout: float = 0.2) -> Any:
    """One hidden layer of 128. Source: the Fashion-MNIST tutorial of tensorflow.org."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            *_dropout(dropout),
            _probabilities(classes),
        ],
        name="mlp",
    )


def convnet_1(shape: Shape, classes: int, *, dropout: float = 0.0) -> Any:
    """One convolution of 32 filters, pooled, and a dense layer of 64: the usual first network for MNIST."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            *_dropout(dropout),
            _probabilities(classes),
        ],
        name="convnet-1",
    )


def convnet_3(shape: Shape, classes: int, *, dropout: float = 0.0) -> Any:
    """Three convolutions of 32, 64 and 64 filters. Source: the CNN tutorial of tensorflow.org."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            # Padded only where 3 x 3 would no longer fit, as with the 8 x 8 digits.
            layers.Conv2D(64, 3, activation="relu", padding="valid" if min(shape[:2]) >= 18 else "same"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu", padding="valid" if min(shape[:2]) >= 18 else "same"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            *_dropout(dropout),
            _probabilities(classes),
        ],
        name="convnet-3",
    )


def convnet(shape: Shape, classes: int, *, width: int = 24, dropout: float = 0.3) -> Any:
    """Pairs of convolutions, `width` filters wide and doubling, with batch norm and pooling, until 4 pixels."""
    inputs = keras.Input(shape)
    x = layers.Rescaling(1 / 255)(inputs)
    side, filters = min(shape[:2]), width
    while side >= 4:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
        side, filters = side // 2, min(2 * filters, 8 * width)
    x = layers.GlobalAveragePooling2D()(x)
    for layer in _dropout(dropout):
        x = layer(x)
    return keras.Model(inputs, _probabilities(classes)(x), name="convnet")


def _dropout(rate: float) -> list[Any]:
    return [layers.Dropout(rate)] if rate else []


def _probabilities(classes: int) -> Any:
    # In float32 whatever the rest computes in: probabilities in bfloat16 have two digits.
    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")
