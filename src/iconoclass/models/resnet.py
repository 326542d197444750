"""The small residual net that is our default for small images: wide enough to be accurate, early enough to be fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.backend import keras

layers = keras.layers

WHITENING, KERNEL = "whitening", "kernel"  # layers are found by these names to be initialised
# The last layers', whatever the rest computes in: bfloat16 cannot tell close answers apart (docs/speed.md).
PRECISION_OF_LOGITS = "float32"


def resnet(shape: tuple[int, int, int], classes: int, *, width: int = 24, dropout: float = 0.0) -> Any:
    """A fixed whitening convolution, then blocks of two convolutions, the second one residual.

    Small images are bound by their first, large layers: the first block is narrow, the others have four times its
    filters; and each block pools right after its first convolution, so that all but one run on a quarter of the pixels.
    Source: Jordan, arXiv 2404.00498; Page, How to train your ResNet (2018-19). Departures: ReLU for GELU (a sixth
    faster here), a skip around the second convolution, as many blocks as the image has room for.
    """
    inputs = keras.Input(shape)
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(2 * 4 * shape[2], 2, use_bias=True, name=WHITENING)(x)
    x = layers.ReLU()(x)
    filters, side, block = width, min(shape[:2]) - 1, 1
    while side >= 4:
        x = _block(x, filters, block)
        filters, side, block = 4 * width, side // 2, block + 1
    x = layers.GlobalMaxPooling2D()(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    x = layers.Dense(classes, use_bias=False, dtype=PRECISION_OF_LOGITS, name="logits")(x)
    # Without batch norm before them the first logits would be large and the first steps wasted.
    x = layers.Rescaling(1 / 9, dtype=PRECISION_OF_LOGITS)(x)
    return keras.Model(inputs, layers.Softmax(dtype="float32", name="probabilities")(x), name="resnet")


def _block(x: Any, filters: int, number: int) -> Any:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{KERNEL}_{number}a")(x)
    x = layers.MaxPooling2D(2)(x)
    x = _normalised(x)
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{KERNEL}_{number}b")(x)
    return layers.Add()([x, _normalised(y)])


def _normalised(x: Any) -> Any:
    # Momentum 0.6: the statistics must follow a network that learns in a few hundred steps.
    x = layers.BatchNormalization(momentum=0.6, epsilon=1e-5, scale=False)(x)
    return layers.ReLU()(x)


def initialise(model: Any, pixels: npt.NDArray[np.uint8]) -> None:
    """Give the network, if it is one of ours, a start that knows what pictures look like; else leave it as it is.

    pixels: uint8 (images, height, width, channels); 1,000 are enough: a million patches.
    """
    names = [layer.name for layer in model.layers]
    if WHITENING not in names:
        return
    _whiten(model.get_layer(WHITENING), pixels)
    for name in names:
        if name.startswith(KERNEL):
            _pass_through(model.get_layer(name))


def _whiten(layer: Any, pixels: npt.NDArray[np.uint8]) -> None:
    """Set a 2 x 2 convolution to the eigenvectors of the pictures' patches, and keep it fixed.

    Each direction stands twice, with both signs, because the ReLU after it keeps one side only.
    """
    scaled = pixels.astype(np.float32) / 127.5 - 1
    height, width = scaled.shape[1] - 1, scaled.shape[2] - 1
    corners = [scaled[:, dy : dy + height, dx : dx + width] for dy in (0, 1) for dx in (0, 1)]
    patches = np.stack(corners, axis=3).reshape(-1, 4 * scaled.shape[-1])
    covariance = patches.T @ patches / len(patches)
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    kernel = vectors / np.sqrt(values + 5e-4)
    kernel = np.concatenate([kernel, -kernel], axis=1).reshape(2, 2, scaled.shape[-1], -1)
    layer.set_weights([kernel.astype(np.float32), np.zeros(kernel.shape[-1], np.float32)])
    layer.trainable = False


def _pass_through(layer: Any) -> None:
    """Let each filter, as far as there are inputs, begin as the one that hands its input on."""
    [kernel] = layer.get_weights()
    height, width, inputs, outputs = kernel.shape
    passed = np.arange(min(inputs, outputs))
    kernel[..., passed] = 0
    kernel[height // 2, width // 2, passed, passed] = 1
    layer.set_weights([kernel])
