"""A file or its bytes -> the pixels that a model sees. Training, judging and asking all come through here."""

from __future__ import annotations

from pathlib import Path

from iconoclass.images.decode import decode
from iconoclass.images.resize import Pixels, resize


def prepare(source: Path | bytes, shape: tuple[int, int, int], how: str) -> Pixels:
    """The picture, decoded and brought to a model's size and colour.

    shape: (height, width, channels); how: a word of RESIZES.
    Returns: uint8 of that shape in [0, 255].
    Raises: ImageError, if the picture is refused.
    """
    height, width, channels = shape
    return resize(decode(source, channels, at_least=(height, width)), height, width, how)
