"""AUGMENTATIONS: a batch of pixels in, a batch out; every draw is a pure function of (seed, epoch, example index).

So an epoch looks the same whether or not the epochs before it were run, in whatever batches, on whatever machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]
Soft = npt.NDArray[np.float32]


class Draws:
    """Random numbers for the examples of a batch, one row each.

    A counter-based generator: the finaliser of SplitMix64 (Steele, Lea & Flood 2014) over (seed, epoch, index,
    purpose). NumPy's generators are streams, whose n-th number depends on how many were drawn before it.
    """

    def __init__(self, seed: int, epoch: int, indices: npt.NDArray[np.integer[Any]]) -> None:
        self.seed, self.epoch, self.indices = seed, epoch, indices

    def __len__(self) -> int:
        return len(self.indices)

    def uniform(self, purpose: str, *, every_epoch: bool = True) -> npt.NDArray[np.float64]:
        """float64 (batch,) in [0, 1); the same in all epochs if not every_epoch."""
        epoch = self.epoch + 1 if every_epoch else 0
        state = np.array(_mixed(_mixed(self.seed ^ zlib.crc32(purpose.encode()) << 32) ^ epoch), np.uint64)
        bits = _mix(state ^ _mix(self.indices.astype(np.uint64) + _GOLDEN))
        # As many bits as a float64 holds: rounded from 64, the largest would become 1.
        return (bits >> np.uint64(11)).astype(np.float64) / 2.0**53

    def between(self, purpose: str, low: float, high: float) -> npt.NDArray[np.float64]:
        return low + (high - low) * self.uniform(purpose)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _mixed(number: int) -> int:
    return int(_mix(np.array([number % 2**64], np.uint64) + _GOLDEN)[0])


# -- one image at a time -------------------------------------------------------------------------------------------


def flip(pixels: Pixels, strength: float, draws: Draws) -> Pixels:
    """Left and right exchanged in a share `strength` of the images.

    At 0.5 each image is mirrored every other epoch, starting at random, which learns faster than a coin toss.
    Source: Jordan, arXiv 2404.00498, section 3.6; here for any share, as a rotation of the unit interval.
    """
    turns = (draws.uniform("flip", every_epoch=False) + draws.epoch * strength) % 1.0
    mirrored = turns < strength
    result = pixels.copy()
    result[mirrored] = pixels[mirrored, :, ::-1]
    return result


def shift(pixels: Pixels, strength: float, draws: Draws) -> Pixels:
    """Moved by whole pixels, up to `strength` of the side each way; the border is filled by reflection."""
    height, width = pixels.shape[1:3]
    most_down, most_right = round(height * strength), round(width * strength)
    if most_down == most_right == 0:
        return pixels
    down = np.floor(draws.between("shift down", 0, 2 * most_down + 1)).astype(int)
    right = np.floor(draws.between("shift right", 0, 2 * most_right + 1)).astype(int)
    padded = np.pad(pixels, ((0, 0), (most_down,) * 2, (most_right,) * 2, (0, 0)), mode="reflect")
    result = np.empty_like(pixels)
    # One slice for all images that move alike: far fewer steps than images, and no index arrays as large as the batch.
    moves = down * (2 * most_right + 1) + right
    for move in np.unique(moves):
        top, left = divmod(int(move), 2 * most_right + 1)
        alike = moves == move
        result[alike] = padded[alike, top : top + height, left : left + width]
    return result


def rotate(pixels: Pixels, strength: float, draws: Draws) -> Pixels:
    """Turned about the centre by up to `strength` degrees either way; bilinear, reflected at the border."""
    angle = np.deg2rad(draws.between("rotate", -strength, strength))
    return _warp(pixels, np.cos(angle), np.sin(angle))


def zoom(pixels: Pixels, strength: float, draws: Draws) -> Pixels:
    """Scaled about the centre by a factor from 1 - strength to 1 + strength; bilinear, reflected at the border."""
    scale = 1.0 / draws.between("zoom", 1.0 - strength, 1.0 + strength)
    return _warp(pixels, scale, np.zeros_like(scale))


def brightness(pixels: Pixels, strength: float, draws: Draws) -> Pixels:
    """Multiplied by a factor from 1 - strength to 1 + strength."""
    return _scaled(pixels, draws.between("brightness", 1.0 - strength, 1.0 + strength), 0.0)


def contrast(pixels: Pixels, strength: float, draws: Draws) -> Pixels:
    """Distances from the image's mean multiplied by a factor from 1 - strength to 1 + strength."""
    mean = pixels.mean(axis=(1, 2, 3), dtype=np.float32)
    return _scaled(pixels, draws.between("contrast", 1.0 - strength, 1.0 + strength), mean[:, None, None, None])


def cutout(pixels: Pixels, strength: float, draws: Draws) -> Pixels:
    """A rectangle with `strength` of the sides, anywhere in the image, filled with the image's mean colour.

    Source: DeVries & Taylor, arXiv 1708.04552.
    """
    holes = _rectangles(pixels.shape, np.full(len(draws), strength), draws, "cutout")
    mean = np.rint(pixels.mean(axis=(1, 2), dtype=np.float32)).astype(np.uint8)
    return np.where(holes, mean[:, None, None, :], pixels)


# -- two images and their labels at a time -------------------------------------------------------------------------


def mixup(pixels: Pixels, targets: Soft, strength: float, draws: Draws) -> tuple[Pixels, Soft]:
    """Each image blended with its neighbour in the batch, labels alike, by a share drawn from Beta(strength, strength).

    Source: Zhang et al., arXiv 1710.09412.
    """
    share = betaincinv(strength, strength, draws.uniform("mixup")).astype(np.float32)
    mixed = pixels + share[:, None, None, None] * (np.roll(pixels, 1, axis=0).astype(np.float32) - pixels)
    return _to_uint8(mixed), targets + share[:, None] * (np.roll(targets, 1, axis=0) - targets)


def cutmix(pixels: Pixels, targets: Soft, strength: float, draws: Draws) -> tuple[Pixels, Soft]:
    """A rectangle of the neighbour in the batch, its area drawn from Beta(strength, strength); labels by true area.

    Source: Yun et al., arXiv 1905.04899.
    """
    side = np.sqrt(betaincinv(strength, strength, draws.uniform("cutmix")))
    patch = _rectangles(pixels.shape, side, draws, "cutmix")
    share = patch.mean(axis=(1, 2, 3), dtype=np.float32)[:, None]
    return np.where(patch, np.roll(pixels, 1, axis=0), pixels), targets + share * (
        np.roll(targets, 1, axis=0) - targets
    )


# -- how -----------------------------------------------------------------------------------------------------------


def _to_uint8(pixels: Floats) -> Pixels:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _scaled(pixels: Pixels, factor: Floats, about: Floats | float) -> Pixels:
    return _to_uint8((pixels - np.float32(about)) * factor.astype(np.float32)[:, None, None, None] + about)


def _rectangles(shape: tuple[int, ...], side: Floats, draws: Draws, purpose: str) -> npt.NDArray[np.bool_]:
    """Bool (batch, height, width, 1): true inside a rectangle with `side` of each side, which lies wholly inside."""
    inside = []
    for axis, pixels in (("down", shape[1]), ("right", shape[2])):
        length = np.rint(side * pixels)
        start = np.floor(draws.uniform(f"{purpose} {axis}") * (pixels - length + 1))
        place = np.arange(pixels)
        inside.append((place >= start[:, None]) & (place < (start + length)[:, None]))
    down, right = inside
    result: npt.NDArray[np.bool_] = down[:, :, None, None] & right[:, None, :, None]
    return result


def _warp(pixels: Pixels, along: Floats, across: Floats) -> Pixels:
    """The images seen through the matrix [[along, -across], [across, along]] about their centres."""
    batch, height, width = pixels.shape[:3]
    down = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[None, :, None]
    right = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, None, :]
    a, b = (part.astype(np.float32)[:, None, None] for part in (along, across))
    y = _reflected(a * down - b * right + (height - 1) / 2, height)
    x = _reflected(b * down + a * right + (width - 1) / 2, width)
    top, left = np.minimum(y.astype(np.int32), height - 2), np.minimum(x.astype(np.int32), width - 2)
    below, beside = (y - top)[..., None], (x - left)[..., None]
    flat = pixels.reshape(batch * height * width, -1)
    corner = (np.arange(batch, dtype=np.int32)[:, None, None] * height + top) * width + left
    upper = flat[corner] * (1 - beside) + flat[corner + 1] * beside
    lower = flat[corner + width] * (1 - beside) + flat[corner + width + 1] * beside
    return _to_uint8(upper * (1 - below) + lower * below)


def _reflected(place: Floats, side: int) -> Floats:
    """Coordinates folded back into [0, side - 1] at both ends."""
    folded = np.abs(place) % (2 * (side - 1))
    return np.asarray(np.minimum(folded, 2 * (side - 1) - folded))


Augmentation = Callable[[Pixels, float, Draws], Pixels]
Mix = Callable[[Pixels, Soft, float, Draws], tuple[Pixels, Soft]]

# In the order in which they are applied.
AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": flip,
    "shift": shift,
    "rotate": rotate,
    "zoom": zoom,
    "brightness": brightness,
    "contrast": contrast,
    "cutout": cutout,
}
MIXES: dict[str, Mix] = {
    "mixup": mixup,
    "cutmix": cutmix,
}


def augment(
    pixels: Pixels, targets: npt.NDArray[Any], strengths: Mapping[str, float], draws: Draws
) -> tuple[Pixels, npt.NDArray[Any]]:
    """The batch after every augmentation whose strength is above 0.

    pixels: uint8 (batch, height, width, channels); targets: float32 (batch, classes), or labels where nothing mixes.
    Returns: the same shapes and dtypes. At strength 0 the very same arrays.
    """
    for name, change in AUGMENTATIONS.items():
        if strength := strengths.get(name, 0.0):
            pixels = change(pixels, strength, draws)
    for name, mix in MIXES.items():
        if strength := strengths.get(name, 0.0):
            pixels, targets = mix(pixels, targets, strength, draws)
    return pixels, targets
