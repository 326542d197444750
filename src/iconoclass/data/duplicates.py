"""Which pictures are the same to the eye, though not byte for byte; and which were taken in one burst.

Every two pictures are compared by their coarse numbers, as products of blocks of a matrix: the time grows with the
square of their number, the memory does not. What passes is compared in detail. Above MOST pictures the search is left
out, and the findings say so: of a million it would take hours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iconoclass.images.likeness import (
    LEVELS,
    MIDDLE,
    Coarse,
    Floats,
    Thumbnails,
    have_other_colours,
    likeness,
)

VERSION = 1  # of what is found; raised when the search changes
MOST = 200_000
BLOCK = 1024  # pictures of one side of a matrix of products
BATCH = 128  # pairs compared in detail at once
REFERENCES = 1000
NEIGHBOURS = 20  # candidates that a picture is compared with in detail
LEAST_COARSE = 0.7
FLAT = 8  # levels between the darkest and the brightest: below this there is nothing to compare

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pairs:
    """Pictures that look the same. first, second: int64 (n,), positions; likeness: float32 (n,); is_mirrored: bool."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    likeness: Floats
    is_mirrored: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)


def near_duplicates(
    thumbnails: Thumbnails, facts: npt.NDArray[np.void], positions: npt.NDArray[np.int64], tell: Tell | None = None
) -> Pairs:
    """The pairs among some pictures that are one picture, encoded, sized, cropped by some 5 %, mirrored or lit anew.

    positions: of the pictures that are compared, each content once.
    """
    has_detail = facts["brightest"][positions].astype(int) - facts["darkest"][positions] >= FLAT
    positions = positions[has_detail]
    whole, middle = (_in_blocks(thumbnails, positions, share) for share in (1, MIDDLE))
    crowding = _crowding(whole)
    none = np.zeros(0, np.int64)
    found = [(none, none), *_candidates(whole, middle, crowding, tell)]
    first, second = (np.concatenate(parts) for parts in zip(*found, strict=True))
    is_mirrored = np.concatenate([whole[one].is_mirrored(whole[other]) for one, other in found])
    compared = _compared(thumbnails, facts, positions[first], positions[second], is_mirrored, tell)
    levels = _levels(facts, positions[first], positions[second])
    least = least_likeness(np.maximum(crowding[first], crowding[second]), levels)
    is_same = compared >= least
    return Pairs(positions[first[is_same]], positions[second[is_same]], compared[is_same], is_mirrored[is_same])


def least_likeness(crowding: Floats, levels: npt.NDArray[np.int64]) -> Floats:
    """From which likeness on two pictures are one: more is asked where many pictures look alike, or show little detail.

    A photograph is like no other; but two digits "1", of two hands, are as alike as two prints of a photograph.
    """
    # Measured, so that of 3,000 handwritten digits hardly two are taken for one (docs/decisions.md).
    at = np.searchsorted(LEVELS, levels)
    asked = 1 - np.array([0.09, 0.13, 0.3])[at] * (1 - crowding)
    return np.asarray(np.clip(asked, 0.8, np.array([0.992, 0.99, 0.99])[at]), np.float32)


def _levels(
    facts: npt.NDArray[np.void], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """One of LEVELS for each pair: the side on which its detail is compared."""
    sides = np.minimum(facts["width"], facts["height"])
    finest = np.minimum(sides[first], sides[second])
    # A little enlargement adds no detail that could tell two pictures apart: 28 pixels are compared on 32.
    return np.select([finest >= 56, finest >= 26], LEVELS[:0:-1], LEVELS[0])


def _in_blocks(thumbnails: Thumbnails, positions: npt.NDArray[np.int64], share: float) -> Coarse:
    blocks = [Coarse.of(thumbnails[positions[at : at + BLOCK]], share) for at in range(0, len(positions), BLOCK)]
    blocks = blocks or [Coarse.of(thumbnails[:0], share)]
    return Coarse(np.concatenate([block.even for block in blocks]), np.concatenate([block.odd for block in blocks]))


def _crowding(whole: Coarse) -> Floats:
    """float32 (n,): how alike the fourth nearest of some thousand pictures is to each one, itself among them."""
    count = len(whole.even)
    if count < 5:
        return np.zeros(count, np.float32)
    references = whole[np.unique(np.linspace(0, count - 1, REFERENCES).astype(np.int64))]
    blocks = [whole[at : at + BLOCK].products(references) for at in range(0, count, BLOCK)]
    return np.concatenate([np.partition(block, -5, axis=1)[:, -5] for block in blocks])


def _candidates(
    whole: Coarse, middle: Coarse, crowding: Floats, tell: Tell | None
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs that are worth a closer look, first < second: the best ones of each picture."""
    count = len(crowding)
    # A cropped copy is a little less alike to its original than this to itself.
    least = np.clip(crowding - 0.03, LEAST_COARSE, 0.9)
    for top in range(0, count, BLOCK):
        rows = slice(top, top + BLOCK)
        pairs = []
        for left in range(top, count, BLOCK):
            columns = slice(left, left + BLOCK)
            products = whole[rows].products(whole[columns])
            np.maximum(products, whole[rows].products(middle[columns]), out=products)
            np.maximum(products, middle[rows].products(whole[columns]), out=products)
            one, other = np.nonzero(products >= np.maximum(least[rows, None], least[None, columns]))
            is_upper = one + top < other + left
            one, other = one[is_upper], other[is_upper]
            pairs.append((one + top, other + left, products[one, other]))
        yield _best(*(np.concatenate(column) for column in zip(*pairs, strict=True)))
        if tell:
            tell("Comparing", min(top + BLOCK, count), count)


def _best(
    one: npt.NDArray[np.int64], other: npt.NDArray[np.int64], products: Floats
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The NEIGHBOURS best pairs of every first picture."""
    order = np.lexsort((-products, one))
    one, other = one[order], other[order]
    is_near = np.arange(len(one)) - np.searchsorted(one, one) < NEIGHBOURS
    return one[is_near], other[is_near]


def _compared(
    thumbnails: Thumbnails,
    facts: npt.NDArray[np.void],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    is_mirrored: npt.NDArray[np.bool_],
    tell: Tell | None,
) -> Floats:
    """float32 (n,): the likeness of each pair; 0 where their colours differ."""
    result = np.zeros(len(first), np.float32)
    level = _levels(facts, first, second)
    order = np.argsort(level, kind="stable")
    edges = np.searchsorted(level[order], LEVELS)
    batches = [
        order[at : min(at + BATCH, end)]
        for start, end in zip(edges, [*edges[1:], len(order)], strict=True)
        for at in range(start, end, BATCH)
    ]

    def compare(batch: npt.NDArray[np.int64]) -> None:
        one, other, flip = first[batch], second[batch], is_mirrored[batch]
        theirs, colours = thumbnails[other], facts["colour"][other]
        theirs[flip], colours[flip] = theirs[flip][..., ::-1], colours[flip][..., ::-1]
        alike = likeness(thumbnails[one], theirs, int(level[batch[0]]))
        result[batch] = np.where(have_other_colours(facts["colour"][one], colours), 0, alike)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(compare, batches), 1):
            if tell:
                tell("Comparing in detail", min(done * BATCH, len(first)), len(first))
    return result


# --- Bursts ---------------------------------------------------------------------------------------------------------

APART_S = 1.5  # from one picture of a burst to the next; EXIF often has whole seconds only
LEAST_IN_BURST = 0.75
_NUMBERED = re.compile(r"(.*?)(\d+)\D*")


def bursts(
    names: Sequence[str],
    classes: Sequence[str],
    taken: npt.NDArray[np.float64],
    thumbnails: Thumbnails,
    positions: npt.NDArray[np.int64],
) -> list[tuple[int, int]]:
    """Pairs of places: pictures whose names count on, taken within a second or so, or looking like one scene.

    taken: in seconds, NaN where unknown; positions: where in the thumbnails each picture is.
    Numbers that count on prove nothing by themselves, as in cat.1.jpg, cat.2.jpg. Without times, two neighbours must
    look more alike than any two pictures of their class that lie far apart.
    """
    pairs = _neighbours(names, classes)
    if not len(pairs):
        return []
    first, second = pairs.T
    seconds = np.abs(taken[second] - taken[first])
    is_one = seconds <= APART_S
    unknown = np.flatnonzero(np.isnan(seconds))
    of_class = np.unique([classes[at] for at in first[unknown]], return_inverse=True)[1]
    coarse = _in_blocks(thumbnails, positions if len(unknown) else positions[:0], 1)
    for one_class in range(of_class.max(initial=-1) + 1):
        at = unknown[of_class == one_class]
        alike = coarse[first[at]].pairwise(coarse[second[at]])
        far = coarse[first[at]].pairwise(coarse[np.roll(second[at], len(at) // 2)]) if len(at) >= 8 else np.ones(1)
        is_one[at] = alike >= max(LEAST_IN_BURST, far.max())
    return [(int(one), int(other)) for one, other in pairs[is_one]]


def _neighbours(names: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64 (n, 2): pictures of one class whose names differ by one in their last number, and in nothing else."""
    numbered: dict[tuple[str, str, int], list[int]] = {}
    for at, (name, class_name) in enumerate(zip(names, classes, strict=True)):
        if found := _NUMBERED.fullmatch(name.rpartition("/")[2].rpartition(".")[0]):
            numbered.setdefault((class_name, found[1], int(found[2][-15:])), []).append(at)
    pairs = [
        (one, other)
        for (class_name, prefix, number), ones in numbered.items()
        # The same name in many folders tells of no camera that counts.
        for others in [numbered.get((class_name, prefix, number + 1), [])]
        if len(ones) * len(others) <= 4
        for one in ones
        for other in others
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)
