"""What a network looked at: how much its answer rests on each place of a picture, found by hiding places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]
Ask = Callable[[Pixels], npt.NDArray[np.float32]]

# Windows that hide part of a picture: their side as a share of the picture's, and how many across it.
FINE = ((1 / 4, 9), (1 / 7, 13))
COARSE = ((1 / 4, 8),)
MISTAKES = 12  # of a report that are looked into
ASKED = MISTAKES * (1 + 8 * 8)  # how often the network is asked for them
SENT = 32  # rows and columns of a map that goes through a network: windows are coarser


def looked_at(ask: Ask, pixels: Pixels, label: int, windows: tuple[tuple[float, int], ...] = FINE) -> Map:
    """How much the answer rests on each place of a picture: float32 (height, width), 0 to 1.

    A window is moved over the picture and blurs what lies below it; the log-odds that the class loses are laid to the
    window's pixels, and the mean over all windows taken. It needs answers only: no gradient, and so any network that
    can be asked. All 0 where nothing that is hidden makes the class less likely.
    ask: uint8 (batch, height, width, channels) -> probabilities. pixels: uint8 (height, width, channels).
    Source: Zeiler and Fergus, ECCV 2014; departures: blurred instead of grey, log-odds, several sizes.
    """
    blurred, found = _blurred(pixels), np.zeros(pixels.shape[:2], np.float64)
    whole = _log_odds(ask(pixels[None]), label)[0]
    for share, across in windows:
        masks = _masks(pixels.shape[:2], share, across)
        hidden = np.where(masks[..., None], blurred, pixels)
        lost = whole - _log_odds(ask(hidden), label)
        spread = np.tensordot(lost, masks.astype(np.float64), axes=1) / np.maximum(masks.sum(axis=0), 1)
        found += np.maximum(spread, 0) / max(spread.max(), 1e-9)
    highest = found.max()
    return (found / highest if highest > 0 else found).astype(np.float32)


def _masks(size: tuple[int, ...], share: float, across: int) -> npt.NDArray[np.bool_]:
    """Bool (windows, height, width): each window where it hides; together they reach every edge."""
    height, width = size
    sides = [max(1, round(share * side)) for side in (height, width)]
    ys, xs = (
        np.unique(np.linspace(0, side - window, min(across, side - window + 1)).round().astype(int))
        for side, window in zip((height, width), sides, strict=True)
    )
    rows, columns = np.arange(height), np.arange(width)
    down = (rows >= ys[:, None]) & (rows < ys[:, None] + sides[0])
    right = (columns >= xs[:, None]) & (columns < xs[:, None] + sides[1])
    return (down[:, None, :, None] & right[None, :, None, :]).reshape(-1, height, width)


def _blurred(pixels: Pixels) -> Pixels:
    """The picture without anything that could be recognised in a window of it."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(max(pixels.shape[:2]) / 6)))
    return soft.reshape(pixels.shape)


def _log_odds(probabilities: npt.NDArray[np.float32], label: int) -> npt.NDArray[np.float64]:
    share = np.clip(probabilities[:, label].astype(np.float64), 1e-7, 1 - 1e-7)
    odds: npt.NDArray[np.float64] = np.log(share / (1 - share))
    return odds


def in_few(attention: Map, most: int = SENT) -> Map:
    """The map in at most so many rows and columns, each the mean of what it stands for; itself, if it has no more."""
    rows, columns = (min(side, most) for side in attention.shape)
    return np.asarray(Image.fromarray(attention).resize((columns, rows), Image.Resampling.BOX), np.float32)


def over(pixels: Pixels, attention: Map) -> Pixels:
    """The picture in grey with what was looked at in colour: uint8 (height, width, 3)."""
    from matplotlib import colormaps

    grey = pixels.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    warm = 255 * colormaps["cividis"](0.25 + 0.75 * attention)[..., :3]
    weight = (0.15 + 0.65 * attention)[..., None]
    mixed: Pixels = np.rint((1 - weight) * grey + weight * warm).astype(np.uint8)
    return mixed


def of_mistakes(ask: Ask, pixels: Pixels, predicted: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """What the network looked at in some pictures, coarsely and fast: float32 (n, height, width)."""
    found = [looked_at(ask, one, int(label), COARSE) for one, label in zip(pixels, predicted, strict=True)]
    return np.stack(found) if found else np.empty((0, *pixels.shape[1:3]), np.float32)
