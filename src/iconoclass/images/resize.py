"""Pixels brought to a model's height and width: one implementation for training, judging and serving."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iconoclass.errors import pick

Pixels = NDArray[np.uint8]


def resize(pixels: Pixels, height: int, width: int, how: str) -> Pixels:
    """The picture in another size, smoothed where it shrinks; the same array, if it has that size already.

    pixels: uint8 (any height, any width, channels), 1 or 3 channels, in [0, 255].
    how: a word of RESIZES. "crop" fills the size and loses what reaches over, the same on both sides; "pad" keeps all
    of the picture, its middle in the middle, with black around it; "squash" keeps all of it and stretches.
    Returns: uint8 (height, width, channels) in [0, 255].
    Raises: UsageError, if there is no such way.
    """
    way = pick(RESIZES, how, "way to resize")
    return pixels if pixels.shape[:2] == (height, width) else way(pixels, height, width)


def crop(pixels: Pixels, height: int, width: int) -> Pixels:
    old_height, old_width = pixels.shape[:2]
    scale = max(height / old_height, width / old_width)
    # The cut is made in the old picture: to scale all of a thin strip and then cut it would need memory without bound.
    box_height, box_width = min(height / scale, old_height), min(width / scale, old_width)
    top, left = (old_height - box_height) / 2, (old_width - box_width) / 2
    return _scaled(pixels, height, width, (left, top, left + box_width, top + box_height))


def pad(pixels: Pixels, height: int, width: int) -> Pixels:
    old_height, old_width, channels = pixels.shape
    scale = min(height / old_height, width / old_width)
    # A strip keeps one row or column of pixels, however thin it becomes.
    inner_height, inner_width = max(1, round(old_height * scale)), max(1, round(old_width * scale))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    padded = np.zeros((height, width, channels), np.uint8)
    padded[top : top + inner_height, left : left + inner_width] = squash(pixels, inner_height, inner_width)
    return padded


def squash(pixels: Pixels, height: int, width: int) -> Pixels:
    return _scaled(pixels, height, width, None)


def _scaled(pixels: Pixels, height: int, width: int, box: tuple[float, float, float, float] | None) -> Pixels:
    channels = pixels.shape[2]
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    # Pillow widens its filter as it shrinks. Without a reducing_gap the result is exact and alike in every release.
    image = image.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=None)
    return np.array(image, dtype=np.uint8).reshape(height, width, channels)


def covered(size: tuple[int, int], target: tuple[int, int], how: str) -> tuple[float, float, float, float]:
    """Which part of a picture its resized one shows: left, top, right and bottom as shares of its width and height.

    Below 0 and above 1 where there is black around it. size, target: (height, width), before and after.
    """
    if how == "squash":
        return 0.0, 0.0, 1.0, 1.0
    down, across = target[0] / size[0], target[1] / size[1]
    scale = max(down, across) if how == "crop" else min(down, across)
    left, top = (1 - across / scale) / 2, (1 - down / scale) / 2
    return left, top, 1 - left, 1 - top


RESIZES: dict[str, Callable[[Pixels, int, int], Pixels]] = {"crop": crop, "pad": pad, "squash": squash}
