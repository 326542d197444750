"""A picture of a digit as the strokes of a hand: thinned to lines, and the lines walked along."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Place = tuple[int, int]

# Around a pixel, clockwise from above: (row, column).
AROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]


def strokes_of(pixels: npt.NDArray[np.uint8], ink: int = 100) -> list[list[tuple[float, float]]]:
    """Lines that a pen could draw, as (x, y) shares of the side."""
    left = {(int(row), int(column)) for row, column in np.argwhere(thinned(pixels > ink))}
    side, strokes = pixels.shape[0], []
    while left:
        ends = [place for place in left if len(_near(place, left)) == 1]
        walk = _walk(min(ends or left), left)
        left -= set(walk)
        strokes.append([((column + 0.5) / side, (row + 0.5) / side) for row, column in walk])
    return strokes


def thinned(ink: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Lines one pixel wide. Source: Zhang and Suen, Communications of the ACM, 1984."""
    ink = np.pad(ink, 1)
    while True:
        before = ink.copy()
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            around = np.stack([np.roll(ink, (-row, -column), (0, 1)) for row, column in AROUND])
            count = around.sum(axis=0)
            turns = (~around & np.roll(around, -1, axis=0)).sum(axis=0)
            is_edge = (count >= 2) & (count <= 6) & (turns == 1)
            ink &= ~(is_edge & ~around[list(first)].all(axis=0) & ~around[list(second)].all(axis=0))
        if (ink == before).all():
            return ink[1:-1, 1:-1]


def _near(place: Place, places: set[Place]) -> list[Place]:
    return [near for row, column in AROUND if (near := (place[0] + row, place[1] + column)) in places]


def _walk(start: Place, places: set[Place]) -> list[Place]:
    """All that can be reached without lifting the pen; where a line ends, back along it to where another leaves."""
    seen, path, back = {start}, [start], [start]
    while back:
        onward = [near for near in _near(back[-1], places) if near not in seen]
        if onward:
            seen.add(onward[0])
            back.append(onward[0])
        else:
            back.pop()
        if back:
            path.append(back[-1])
    return path
