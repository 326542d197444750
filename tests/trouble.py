"""Real pictures, and what happens to pictures: copied, encoded anew, shrunk, cropped, mirrored, lit otherwise."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.datasets import load_sample_images

TILE = 96  # pixels


@functools.cache
def tiles() -> list[Image.Image]:
    """30 squares cut from the two photographs that come with scikit-learn: those with most detail, none overlapping."""
    squares = [
        Image.fromarray(np.ascontiguousarray(photo[top : top + TILE, left : left + TILE]))
        for photo in load_sample_images().images
        for top in range(0, photo.shape[0] - TILE + 1, TILE)
        for left in range(0, photo.shape[1] - TILE + 1, TILE)
    ]
    detail = [np.subtract(*map(np.int16, _at_two_scales(square))).std() for square in squares]
    return [squares[at] for at in sorted(np.argsort(detail)[-30:])]


def _at_two_scales(square: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Without its grain, which a clear sky has too; and without its shapes."""
    return tuple(square.convert("L").filter(ImageFilter.GaussianBlur(radius)) for radius in (2, 8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _jpeg(image: Image.Image, quality: int = 60) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality)))


def _cropped(image: Image.Image, left: float, top: float, keep: float = 0.95) -> Image.Image:
    wide, high = image.size
    box = (left * wide, top * high, (left + keep) * wide, (top + keep) * high)
    return image.crop(tuple(map(round, box)))


def _mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded anew": _jpeg,
    "shrunk": lambda image: image.resize((round(image.width * 0.7), round(image.height * 0.7))),
    "enlarged": lambda image: image.resize((image.width * 2, image.height * 2)),
    "cropped at the top left": lambda image: _cropped(image, 0.05, 0.05),
    "cropped at the right": lambda image: _cropped(image, 0, 0.02),
    "mirrored": _mirrored,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "all at once": lambda image: _jpeg(ImageEnhance.Brightness(_cropped(_mirrored(image), 0.02, 0.03)).enhance(1.1)),
}
