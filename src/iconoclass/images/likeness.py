"""What a picture looks like in a few kilobytes, and how alike two of them are: whatever their size, brightness or side.

Likeness is told in two steps. `Coarse` makes a few numbers of each picture whose products find candidates among many;
`likeness` lays two thumbnails over each other, as a small crop would have moved them, and compares their detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from iconoclass.images.decode import Header, decode, read_header
from iconoclass.images.resize import resize

Thumbnails = npt.NDArray[np.uint8]  # (n, SIDE, SIDE), grey
Floats = npt.NDArray[np.float32]

SIDE = 64
COLOUR_SIDE = 8
FACTS_SIDE = 128  # pixels on which light and sharpness are measured

# What is kept of one picture beside its thumbnail. colour: Cb and Cr, 0 for grey. darkest, brightest: the 1st and 99th
# percentile of luma; sharpness: mean absolute Laplacian over the standard deviation. taken: NaN where unknown.
FACTS = np.dtype(
    [
        ("format", "S4"),
        ("mode", "S8"),
        ("width", "i4"),
        ("height", "i4"),
        ("bytes", "i8"),
        ("taken", "f8"),
        ("brightness", "f4"),
        ("darkest", "u1"),
        ("brightest", "u1"),
        ("sharpness", "f4"),
        ("colour", "i1", (2, COLOUR_SIDE, COLOUR_SIDE)),
    ]
)


def look_at(content: bytes) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
    """What is kept of a picture: a record of FACTS, and its thumbnail: grey, squashed, uint8 (SIDE, SIDE).

    Raises: ImageError, if the picture is refused.
    """
    header = read_header(content)
    pixels = decode(content, 3, at_least=(FACTS_SIDE, FACTS_SIDE))
    sides = min(FACTS_SIDE, pixels.shape[0]), min(FACTS_SIDE, pixels.shape[1])
    luma, *colour = Image.fromarray(resize(pixels, *sides, "squash")).convert("YCbCr").split()
    levels = np.asarray(luma)
    cells = [np.asarray(part.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX), np.int16) for part in colour]
    thumbnail = luma.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _facts(header, len(content), levels, np.stack(cells) - 128), np.asarray(thumbnail)


def _facts(
    header: Header, size_bytes: int, levels: npt.NDArray[np.uint8], colour: npt.NDArray[np.int16]
) -> npt.NDArray[np.void]:
    shares = np.cumsum(np.bincount(levels.ravel(), minlength=256)) / levels.size
    darkest, brightest = np.searchsorted(shares, (0.01, 0.99))
    facts = np.zeros((), FACTS)
    facts["format"], facts["mode"] = header.format.encode(), header.mode.encode()
    facts["width"], facts["height"], facts["bytes"] = header.width, header.height, size_bytes
    facts["taken"] = np.nan if header.taken is None else header.taken
    facts["brightness"], facts["darkest"], facts["brightest"] = levels.mean() / 255, darkest, brightest
    facts["sharpness"], facts["colour"] = _sharpness(levels), np.clip(colour, -128, 127)
    return facts


def _sharpness(levels: npt.NDArray[np.uint8]) -> float:
    if min(levels.shape) < 3:
        return 0.0
    light = levels.astype(np.float32)
    inner = 4 * light[1:-1, 1:-1] - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    return float(np.abs(inner).mean() / max(1.0, light.std()))


# --- Candidates -----------------------------------------------------------------------------------------------------

FREQUENCIES = 8
# A crop of 5 % is halfway between the whole picture and its middle; each is compared with the other.
MIDDLE = 0.925


@dataclass(frozen=True)
class Coarse:
    """The lowest frequencies of many pictures, as unit vectors; those that a mirror turns round stand apart.

    even, odd: float32 (n, k): the product of two pictures' vectors is the sum over both; mirrored, the difference.
    """

    even: Floats
    odd: Floats

    @classmethod
    def of(cls, thumbnails: Thumbnails, share: float = 1) -> Coarse:
        """share: of the side, in the middle, that is looked at."""
        place = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) / share
        waves = np.cos(np.pi * np.outer(np.arange(FREQUENCIES), place + 0.5)) * (np.abs(place) < 0.5)
        waves = waves.astype(np.float32)
        # Natural pictures have amplitudes that fall with frequency: weighted so, all say as much.
        weights = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES]).astype(np.float32)
        heard = waves @ thumbnails.astype(np.float32) @ waves.T * weights
        heard /= np.maximum(np.linalg.norm(heard, axis=(1, 2), keepdims=True), 1e-6)
        shape = len(thumbnails), FREQUENCIES * FREQUENCIES // 2
        return cls(heard[:, :, 0::2].reshape(shape), heard[:, :, 1::2].reshape(shape))

    def __getitem__(self, at: slice | npt.NDArray[np.integer]) -> Coarse:
        return Coarse(self.even[at], self.odd[at])

    def products(self, other: Coarse) -> Floats:
        """float32 (n, m) in [-1, 1]: the larger of both products, plain and mirrored."""
        products: Floats = self.odd @ other.odd.T
        np.abs(products, out=products)
        products += self.even @ other.even.T
        return products

    def pairwise(self, other: Coarse) -> Floats:
        """float32 (n,) in [-1, 1]: the product of each picture and its counterpart, the way round that they are."""
        products = (np.einsum("ij,ij->i", *pair) for pair in ((self.even, other.even), (self.odd, other.odd)))
        return np.asarray(sum(products), np.float32)

    def is_mirrored(self, other: Coarse) -> npt.NDArray[np.bool_]:
        """Is each picture more like its counterpart's mirror image? bool (n,)."""
        return np.asarray(np.einsum("ij,ij->i", self.odd, other.odd) < 0)


# --- Detail ---------------------------------------------------------------------------------------------------------

LEVELS = (16, 32, 64)  # sides, from coarse to fine
STEPS = 2  # of the alignment on each level
BLUR = 3.0  # pixels; what remains without it is detail
MOST_CUT = 0.15  # of the half side: beyond it two pictures are not laid over each other


def likeness(first: Thumbnails, second: Thumbnails, level: int) -> Floats:
    """float32 (n,): the correlation of detail of n pairs, the first ones cut and shifted so that they match best.

    level: one of LEVELS: the side at which detail is compared, no more than the smaller picture has.
    """
    place = np.zeros((len(first), 2, 2), np.float32)  # of each pair, for height and width: shift, and scale less 1
    sides = [side for side in LEVELS if side <= level]
    for side in sides:
        ours, theirs = _shrunk(first, side), _shrunk(second, side)
        for _ in range(STEPS if side < SIDE else 0):
            place = _aligned(ours, theirs, place)
    moved, is_inside = _moved(ours, place)
    smooth = _smoothing(sides[-1])
    return _correlation(moved - smooth @ moved @ smooth.T, theirs - smooth @ theirs @ smooth.T, is_inside)


def _shrunk(thumbnails: Thumbnails, side: int) -> Floats:
    """Of that side, with mean 0 and variance 1: so brightness and contrast make no difference."""
    count, step = len(thumbnails), SIDE // side
    light = thumbnails.reshape(count, side, step, side, step).mean((2, 4), dtype=np.float32)
    light -= light.mean((1, 2), keepdims=True)
    return np.asarray(light / np.maximum(light.std((1, 2), keepdims=True), 1e-3))


def _positions(side: int) -> Floats:
    return ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)


def _moved(light: Floats, place: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The pictures cut and shifted, and which pixels of the result come from inside."""
    side = light.shape[1]
    positions = _positions(side)
    wanted = positions * (1 + place[:, :, 1:]) + place[:, :, :1]
    is_inside = np.abs(wanted) <= 1 - 0.99 / side
    steps = np.clip((wanted + 1) / 2 * side - 0.5, 0, side - 1)
    # Linear interpolation as a matrix for each direction: a crop is separable.
    rows, columns = (
        np.maximum(0, 1 - np.abs(steps[:, at, :, None] - np.arange(side, dtype=np.float32))) for at in (0, 1)
    )
    return rows @ light @ columns.transpose(0, 2, 1), is_inside[:, 0, :, None] & is_inside[:, 1, None, :]


def _aligned(ours: Floats, theirs: Floats, place: Floats) -> Floats:
    """A better place, by one step of least squares on the slopes. Source: Lucas and Kanade, IJCAI 1981; ours knows
    shift and scale of each direction, contrast and brightness.
    """
    count, side, _ = ours.shape
    moved, is_inside = _moved(ours, place)
    down, right = (slope * (side / 2) for slope in np.gradient(moved, axis=(1, 2)))
    positions = _positions(side)
    causes = (
        np.stack([down, down * positions[:, None], right, right * positions, moved, np.ones_like(moved)], axis=1)
        * is_inside[:, None]
    )
    causes = causes.reshape(count, 6, -1)
    normal = causes @ causes.transpose(0, 2, 1)
    # A little of the identity: on a picture without slopes in one direction nothing can be said of it.
    normal += 1e-4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(6, dtype=np.float32)
    answers = np.linalg.solve(normal, causes @ (theirs * is_inside).reshape(count, -1, 1))[:, :, 0]
    contrast = np.maximum(answers[:, 4], 0.2)
    better = place + (answers[:, :4] / contrast[:, None]).reshape(count, 2, 2)
    return np.clip(better, -MOST_CUT, MOST_CUT).astype(np.float32)


def _smoothing(side: int) -> Floats:
    steps = np.arange(side)
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / BLUR) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _correlation(first: npt.NDArray[Any], second: npt.NDArray[Any], weights: npt.NDArray[np.bool_]) -> Floats:
    counts = np.maximum(1, weights.sum((1, 2), keepdims=True))
    first, second = (
        (part - (part * weights).sum((1, 2), keepdims=True) / counts) * weights for part in (first, second)
    )
    energies = (first * first).sum((1, 2)) * (second * second).sum((1, 2))
    return np.asarray((first * second).sum((1, 2)) / np.sqrt(np.maximum(energies, 1e-6)), np.float32)


LEAST_COLOUR = 6.0  # levels of Cb and Cr: below this a picture has none to speak of


def have_other_colours(first: npt.NDArray[np.int8], second: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Are the pairs coloured, and differently? A grey copy has no other colours. bool (n,).

    first, second: int8 (n, 2, COLOUR_SIDE, COLOUR_SIDE).
    """
    count = len(first)
    ours, theirs = (part.reshape(count, -1).astype(np.float32) for part in (first, second))
    strengths = np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)
    least = LEAST_COLOUR * np.sqrt(ours.shape[1])
    cosine = np.einsum("ij,ij->i", ours, theirs) / np.maximum(strengths[0] * strengths[1], 1e-6)
    return np.asarray((np.minimum(*strengths) > least) & (cosine < 0.5))
