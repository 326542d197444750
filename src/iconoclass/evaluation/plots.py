"""The pictures of a report: curves, confusion matrix, predictions, mistakes, samples, augmentations.

Every function returns a `matplotlib.figure.Figure` that belongs to nobody: no pyplot, no backend chosen, no setting of
the user's changed. `save` writes one. To add a picture, write a function under `_on_paper` that fills a `_Sheet`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from iconoclass.files import make_folder, writing
from iconoclass.run import kept_row

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]
Weight = Literal["normal", "bold"]
Arguments = ParamSpec("Arguments")

STYLE = Path(__file__).with_name("iconoclass.mplstyle")
DPI = 144
INK, MUTED, LINE, QUIET = "#1b1f24", "#5b6472", "#e3e6eb", "#eef0f3"
RIGHT, WRONG = "#1a7f5a", "#b8400e"
TRAINING, VALIDATION = "#0072b2", "#e69f00"
# The orange that makes a good line is too light for letters on white (2.1:1); this one has 5.6:1.
VALIDATION_TEXT = "#8a5f00"
# Cividis from light to dark, begun on paper: no errors leave no mark, and the most are the darkest.
ERRORS = LinearSegmentedColormap.from_list(
    "errors", ["#ffffff", "#f6ecc0", "#dccb77", "#a59c74", "#6c6e72", "#35456c", "#00224e"]
)

MARGIN, GAP = 24, 10
WIDTH, HEIGHT = 1152, 648  # 8 x 4.5 in
# 84 px on a screen of 96 dpi are 126 of ours.
SEEN = 84 * DPI // 96
TITLE, BODY, SMALL, CAPTION = 12.5, 9.0, 8.0, 7.4


# Saving, and the paper that everything is drawn on.


def save(figure: Figure, path: Path) -> Path:
    """The figure as a file, whole or not at all; the suffix chooses the format (.png, .svg, .pdf).

    Raises: EnvironmentFault, if the disk is full or the folder cannot be written.
    """
    make_folder(path.parent)
    with matplotlib.style.context(_style()), writing(path) as temporary:
        figure.savefig(temporary)
    return path


def _style() -> list[Any]:
    # "default" first: a user's dark theme or LaTeX fonts would otherwise leak into our pictures.
    return ["default", STYLE, {"font.family": list(_families())}]


def _on_paper(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with matplotlib.style.context(_style()):
            figure = draw(*args, **kwargs)
            # Ticks are made at the first drawing, from the settings of that moment: let it be ours.
            figure.draw_without_rendering()
            return figure

    return drawn


class _Sheet:
    """Paper under a title, measured in pixels from the top left: enlarged pictures must lie on whole ones."""

    def __init__(self, title: str, subtitle: str, *, body: float = 0, width: float = WIDTH, least: float = 0) -> None:
        self.width = math.ceil(max(width, WIDTH))
        room = self.width - 2 * MARGIN
        heading = [(line, TITLE, INK, 34) for line in _wrap(title, room, TITLE, "bold")]
        below = [(line, BODY, MUTED, 26) for line in _wrap(subtitle, room, BODY)]
        # Where the body begins.
        self.top = MARGIN + 34 * len(heading) + 26 * len(below) + 18
        self.height = math.ceil(max(self.top + body + MARGIN, least))
        self.figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI)
        FigureCanvasAgg(self.figure)
        self.paper = self.figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
        self.paper.set_axis_off()
        self.paper.set_autoscale_on(False)
        y = MARGIN
        for line, size, colour, pitch in heading + below:
            self.write(MARGIN, y, line, size=size, colour=colour, weight="bold" if size == TITLE else "normal")
            y += pitch

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = BODY,
        colour: str = INK,
        weight: Weight = "normal",
        ha: Literal["left", "center", "right"] = "left",
    ) -> None:
        # The baseline, not the top, is what the eye compares between neighbours: "acorn" and "Tulip" stand level.
        baseline = y + size * DPI / 72 * 0.95
        self.paper.text(x, baseline, _plain(text), size=size, color=colour, weight=weight, ha=ha, va="baseline")

    def picture(self, x: float, y: float, pixels: npt.NDArray[Any], frame: _Frame) -> None:
        """pixels: (height, width, 1|3), in [0, 255]."""
        self.paper.imshow(
            _displayable(pixels),
            interpolation=frame.interpolation,
            extent=(x, x + frame.width, y + frame.height, y),
            aspect="auto",
        )

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.paper.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="none"))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.figure.add_axes(
            (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        )


class _Frame:
    """How large pictures of one shape are shown in a box: small ones by whole factors and without smoothing."""

    def __init__(self, images: npt.NDArray[Any], box: int) -> None:
        height, width = images.shape[1:3]
        longest = max(height, width, 1)
        small = longest <= 64
        factor = max(math.ceil(SEEN / longest), box // longest) if small else max(SEEN, box) / longest
        self.width: int = max(1, round(width * factor))
        self.height: int = max(1, round(height * factor))
        # What a picture and its caption may take; portraits get no narrower captions than landscapes.
        self.cell: int = max(self.width, self.height)
        self.interpolation = "nearest" if small else "auto"


def _box(columns: int, room: float) -> int:
    """The side of each of so many boxes in a row of that room."""
    return max(SEEN, math.floor((room - GAP * (columns - 1)) / columns))


def _displayable(pixels: npt.NDArray[Any]) -> Images:
    whole = pixels if pixels.dtype == np.uint8 else np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    # Grey as RGB: a colour map would round every other level down by one.
    return np.repeat(whole, 3, axis=-1) if whole.shape[-1] == 1 else whole


# Letters: what can be drawn, how wide it is, and where it is cut.


@cache
def _families() -> tuple[str, ...]:
    """DejaVu Sans, and after it what this machine has for the scripts that it lacks."""
    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in installed))


_OTHER_SCRIPTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR",
    "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic",
    "WenQuanYi Micro Hei", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS", "Noto Emoji",
)  # fmt: skip


@cache
def _drawable() -> frozenset[int]:
    """The code points that the fonts have in both weights."""
    weights = [
        {point for family in _families() for point in get_font(findfont(_font(9, weight, family))).get_charmap()}
        for weight in ("normal", "bold")
    ]
    return frozenset(weights[0] & weights[1])


def _font(size: float, weight: str, *families: str) -> FontProperties:
    return FontProperties(family=list(families or _families()), size=size, weight=weight)


def _plain(text: str) -> str:
    """The text on one line, □ in place of what no font can draw: matplotlib would warn, and show the same."""
    if text.isascii() and text.isprintable():
        return text
    # macOS spells folder names decomposed (e + ´); joined, they are in the font.
    one_line = " ".join(unicodedata.normalize("NFC", text).split())
    # Joiners, direction marks and variation selectors (FE00-FE0F) are invisible at best.
    seen = (c for c in one_line if unicodedata.category(c) not in ("Cc", "Cf") and not 0xFE00 <= ord(c) <= 0xFE0F)
    return "".join(c if ord(c) in _drawable() else "□" for c in seen)


@cache
def _ruler() -> Any:
    renderer: Any = RendererAgg  # matplotlib gives it no types
    return renderer(1, 1, DPI)


@lru_cache(maxsize=8192)
def _length(text: str, size: float, weight: Weight = "normal") -> float:
    """The width of a drawn text, in pixels."""
    return float(_ruler().get_text_width_height_descent(_plain(text), _font(size, weight), ismath=False)[0])


def _shorten(
    name: str, room: float, size: float = BODY, weight: Weight = "normal", before: str = "", after: str = ""
) -> str:
    """The name between two parts that are never cut, or as much of its beginning as fits, with an ellipsis."""

    def fits(part: str) -> bool:
        # Measured whole: a blank at the end of a part has no width of its own.
        return _length(before + part + after, size, weight) <= room

    name = _plain(name)
    if fits(name):
        return before + name + after
    kept, cut = 0, len(name)
    while cut - kept > 1:
        middle = (kept + cut) // 2
        if fits(name[:middle].rstrip() + "…"):
            kept = middle
        else:
            cut = middle
    return before + name[:kept].rstrip() + "…" + after


def _wrap(text: str, room: float, size: float, weight: Weight = "normal", most: int = 2) -> list[str]:
    """The text in at most so many lines, broken between words."""
    lines: list[str] = []
    words = _plain(text).split()
    while words and len(lines) < most - 1:
        line = words.pop(0)
        while words and _length(f"{line} {words[0]}", size, weight) <= room:
            line += " " + words.pop(0)
        lines.append(_shorten(line, room, size, weight))
    return [*lines, _shorten(" ".join(words), room, size, weight)] if words else lines


def _percent(share: float, digits: int = 0) -> str:
    """The share in per cent; what is not quite all, or not quite none, does not round to it.

    >>> _percent(0.926, 1), _percent(0.9999), _percent(0.0001), _percent(1.0)
    ('92.6 %', '>99 %', '<1 %', '100 %')
    """
    step = 10.0**-digits
    shown = round(100 * share, digits)
    if share < 1 and shown >= 100:
        return f">{100 - step:.{digits}f} %"
    if share > 0 and shown <= 0:
        return f"<{step:.{digits}f} %"
    return f"{shown:.{digits}f} %"


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count:,} times"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _sentences(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


# Curves.


@_on_paper
def curves(history: Sequence[Mapping[str, float]], monitor: str = "val_accuracy", note: str = "") -> Figure:
    """Loss and accuracy by epoch, training and validation, with the epoch marked whose weights were kept.

    history: rows with epoch, loss, accuracy, and where there was a validation split val_loss, val_accuracy.
    monitor: the column that is named; where no row says that it was `kept`, the best by it is marked, the first of
    equals.
    note: goes below the title, such as the name of the run.
    """
    if not history:
        return _nothing("No epoch has ended yet", note, "Loss and accuracy will be drawn after the first.")
    column = monitor if monitor in _columns(history) else monitor.removeprefix("val_")
    best = _best_row(history, column)
    kept = best if (said := kept_row(history)) is None else said
    sheet = _Sheet(
        _verdict(history, column, best, kept), _sentences("Loss and accuracy after each epoch", note), least=HEIGHT
    )
    top = sheet.top + 30
    for x, name, title in ((84, "loss", "Loss"), (656, "accuracy", "Accuracy")):
        axes = sheet.axes(x, top, 380, sheet.height - top - 70)
        sheet.write(x - 60, sheet.top - 6, title)
        _draw_curves(axes, history, name)
        if kept is not None:
            _mark_kept(axes, history, kept, column if column.endswith(name) else "")
    return sheet.figure


def _columns(history: Sequence[Mapping[str, float]]) -> set[str]:
    return {key for row in history for key in row}


def _column(history: Sequence[Mapping[str, float]], name: str) -> Floats:
    """One number an epoch; NaN where there is none, and where training ran into infinity."""
    values = np.array([row.get(name, math.nan) for row in history], dtype=float)
    values[~np.isfinite(values)] = np.nan
    return values


def _best_row(history: Sequence[Mapping[str, float]], column: str) -> int | None:
    values = _column(history, column)
    if np.isnan(values).all():
        return None
    return int(np.nanargmin(values) if column.endswith("loss") else np.nanargmax(values))


def _verdict(history: Sequence[Mapping[str, float]], column: str, best: int | None, kept: int | None) -> str:
    if best is None or kept is None:
        return f"{len(history)} epochs" if len(history) != 1 else "1 epoch"
    lowest = column.endswith("loss")
    what = ("Validation " if column.startswith("val_") else "Training ") + column.removeprefix("val_").replace("_", " ")
    value, epoch = _written(column, history[kept][column]), int(history[kept]["epoch"])
    if len(history) == 1:
        return f"{what} {'after one epoch' if epoch else 'of the head'}: {value}"
    if history[kept][column] != history[best][column]:
        return f"{what} of the kept epoch, {epoch}: {value}"
    if kept == len(history) - 1:
        return f"{what} is {'lowest' if lowest else 'highest'} at the last epoch, {epoch}: {value}"
    return f"{what} {'is lowest' if lowest else 'peaks'} at epoch {epoch}: {value}"


def _written(column: str, value: float) -> str:
    return f"{value:.3g}" if column.endswith("loss") else _percent(value, 1)


def _draw_curves(axes: Axes, history: Sequence[Mapping[str, float]], name: str) -> None:
    epochs = _column(history, "epoch")
    ends: list[tuple[str, str, float, float]] = []
    for column, word, colour, text_colour in (
        (name, "training", TRAINING, TRAINING),
        ("val_" + name, "validation", VALIDATION, VALIDATION_TEXT),
    ):
        values = _column(history, column)
        known = np.flatnonzero(~np.isnan(values))
        if known.size:
            marker = "o" if len(epochs) <= 12 else None
            axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, clip_on=False)
            ends.append((word, text_colour, float(epochs[known[-1]]), float(values[known[-1]])))
    _set_limits(axes, epochs, name)
    _label_ends(axes, ends)
    if not ends:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, color=MUTED, ha="center", va="center")


def _set_limits(axes: Axes, epochs: Floats, name: str) -> None:
    axes.set_xlabel("Epoch", loc="left")
    first, last = float(np.nanmin(epochs)), float(np.nanmax(epochs))
    axes.set_xticks(_epoch_ticks(round(first), round(last)))
    axes.set_xlim((first - 0.5, last + 0.5) if first == last else (first - (last - first) * 0.03, last))
    # matplotlib's own choice would depend on the font size of whoever draws the figure last.
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    if name == "accuracy":
        low, high = axes.get_ylim()
        high = min(high, 1.0)
        axes.set_ylim(max(0.0, min(low, high - 0.02)), high)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g} %"))


def _epoch_ticks(first: int, last: int) -> list[int]:
    """The first epoch and round ones after it, as in 1, 20, 40, 60, 80, 100."""
    steps = (unit * 10**power for power in range(9) for unit in (1, 2, 5))
    step = next(step for step in steps if last - first <= 8 * step)
    return [first, *(tick for tick in range(0, last + 1, step) if tick > first and tick - first >= step / 2)]


def _label_ends(axes: Axes, ends: list[tuple[str, str, float, float]]) -> None:
    """The name of each line at its end; names that would touch are pushed apart."""
    heights = [float(axes.transData.transform((x, y))[1]) for _, _, x, y in ends]
    places = list(heights)
    least = 24.0
    if len(ends) == 2 and abs(heights[0] - heights[1]) < least:
        middle, up = sum(heights) / 2, 1 if heights[0] >= heights[1] else -1
        places = [middle + up * least / 2, middle - up * least / 2]
    for (word, colour, x, y), height, place in zip(ends, heights, places, strict=True):
        axes.annotate(
            word, (x, y), xytext=(8, (place - height) * 72 / DPI), textcoords="offset points",
            color=colour, va="center", annotation_clip=False,
        )  # fmt: skip


def _mark_kept(axes: Axes, history: Sequence[Mapping[str, float]], kept: int, column: str) -> None:
    """A dotted line at the kept epoch; on the monitored column also a ring and its value."""
    epoch = float(history[kept]["epoch"])
    alone = len(history) == 1
    drawn = list(axes.lines)
    if not alone:
        axes.axvline(epoch, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=1, clip_on=False)
    if not column:
        return
    value = float(history[kept][column])
    colour = VALIDATION if column.startswith("val_") else TRAINING
    ring: dict[str, Any] = {
        "markersize": 7.5,
        "markerfacecolor": "white",
        "markeredgecolor": colour,
        "markeredgewidth": 2,
    }
    axes.plot([epoch], [value], "o", clip_on=False, **ring)
    if not alone:
        text = f"epoch {int(epoch)}: {_written(column, value)}"
        x, y, ha = _free_place(axes, drawn, (epoch, value), text)
        # On paper, so that no grid line strikes it through.
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(x, y, text, transform=None, ha=ha, va="center", bbox=paper)


def _free_place(
    axes: Axes, drawn: list[Line2D], ring: tuple[float, float], text: str
) -> tuple[float, float, Literal["left", "right"]]:
    """Where beside the dotted line a text is near its ring and clear of the curves: x and y in pixels, alignment."""
    x, ring_y = (float(place) for place in axes.transData.transform(ring))
    box, long = axes.bbox, _length(text, BODY)
    curve = np.concatenate([line.get_transform().transform(_dense(line.get_xydata())) for line in drawn])
    sides: list[tuple[Literal["left", "right"], float]] = [("left", x + 12), ("right", x - 12 - long)]
    places = []
    for y in np.linspace(box.y0 + 16, box.y1 - 16, 40):
        for ha, left in sides:
            aside = np.maximum(np.maximum(left - curve[:, 0], curve[:, 0] - left - long), 0)
            apart = np.maximum(np.abs(curve[:, 1] - y) - 12, 0)
            inside = left >= box.x0 - 4 and left + long <= box.x1 + 4
            clear = min(float(np.hypot(aside, apart).min()), 18.0)
            places.append((inside, clear, -abs(y - ring_y), float(y), ha))
    *_, y, ha = max(places)
    return x + (12 if ha == "left" else -12), y, ha


def _dense(points: Any) -> Floats:
    """Points along a line of (x, y), close enough that no text slips between them."""
    xy = np.asarray(points, dtype=float)
    xy = np.compress(~np.isnan(xy).any(axis=1), xy, axis=0)
    if len(xy) < 2:
        return xy
    steps = np.linspace(0, len(xy) - 1, max(400, len(xy)))
    x, y = (np.interp(steps, np.arange(len(xy)), xy[:, axis]) for axis in (0, 1))
    dense: Floats = np.column_stack([x, y])
    return dense


# The confusion matrix.


def confusion_matrix(
    matrix: npt.NDArray[np.integer[Any]], class_names: list[str], normalised: bool, note: str = ""
) -> Figure:
    """What was taken for what: rows are true classes, columns predicted ones, colour the share of the row.

    The diagonal is left pale, for the errors are the news. Above 20 classes the cells carry no text, and the most
    confused pairs stand beside them.

    matrix: int (classes, classes), images counted.
    normalised: the cells say per cent of their row instead of counts.
    """
    # Before our style is in force: seaborn keeps the settings that it finds for the user's seaborn.reset_orig().
    _seaborn_heatmap()
    few = len(class_names) <= 20
    title = _matrix_verdict(matrix, class_names)
    subtitle = _sentences(
        "Rows: true class; columns: predicted",
        ("cells: % of the row" if normalised else "cells: images") if few else "",
        "colour: errors as a share of the row",
        _without_examples(matrix),
        note,
    )
    if few:
        texts = _cell_texts(matrix, normalised)
        return _draw_matrix_with_text(matrix, texts, class_names, title, subtitle)
    return _draw_matrix_with_pairs(matrix, class_names, title, subtitle)


def _without_examples(matrix: Labels) -> str:
    empty = int((matrix.sum(axis=1) == 0).sum())
    return f"{empty} {'class has' if empty == 1 else 'classes have'} no examples" if empty else ""


def _matrix_verdict(matrix: Labels, class_names: list[str]) -> str:
    total, right = int(matrix.sum()), int(np.trace(matrix))
    if not total:
        return "No images were judged"
    if right == total:
        return f"All {_images(total)} are right" if total > 1 else "The one image is right"
    true, predicted, count = _most_confused(matrix, 1)[0]
    return (
        f"{_percent(right / total, 1)} of {_images(total)} are right; "
        f"worst: {class_names[true]} → {class_names[predicted]}, {_times(count)}"
    )


def _most_confused(matrix: Labels, most: int) -> list[tuple[int, int, int]]:
    """(true, predicted, count) of the most frequent errors, most first; equals in index order."""
    errors = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    pairs = ((int(i), int(j), int(errors[i, j])) for i, j in zip(*np.unravel_index(order, errors.shape), strict=True))
    return [pair for pair in pairs if pair[2]]


def _shares(matrix: Labels) -> Floats:
    """Each row over its sum, float (classes, classes); NaN where a class has no examples."""
    totals = matrix.sum(axis=1, keepdims=True).astype(float)
    totals[totals == 0] = np.nan
    return np.asarray(matrix / totals)


@_on_paper
def _draw_matrix_with_text(
    matrix: Labels, texts: npt.NDArray[np.str_], class_names: list[str], title: str, subtitle: str
) -> Figure:
    classes = len(class_names)
    cell = min(132, max(36, 720 // classes)) if classes > 3 else 400 // max(classes, 1)
    side = cell * classes
    names = [_shorten(name, 190) for name in class_names]
    longest = max((_length(name, BODY) for name in names), default=0)
    upright = longest <= cell - 8
    below = 30 if upright else longest * math.sin(math.pi / 4) + 26
    left = MARGIN + 34 + longest + 10
    sheet = _Sheet(title, subtitle, body=side + below + 36, width=left + side + 160, least=HEIGHT)
    axes = sheet.axes(left, sheet.top, side, side)
    scale = sheet.axes(left + side + 28, sheet.top, 14, max(min(side, 320), 160))
    size = _largest_size(texts, cell - 6)
    shares = _shares(matrix)
    _heat(axes, scale, shares, annot=texts, fmt="", annot_kws={"size": size}, linewidths=0.8, linecolor=QUIET)
    for text in axes.texts:
        column, row = (int(middle) for middle in text.get_position())
        text.set_color(_legible_on(axes.collections[0].to_rgba(shares[row, column])))
    for i in range(classes):
        if matrix[i].any():
            _fill(axes, i, i, 1, QUIET)
            axes.text(i + 0.5, i + 0.5, texts[i, i], size=size, color=MUTED, ha="center", va="center")
        else:
            _fill(axes, 0, i, classes, "white")
            axes.text(0.2, i + 0.5, "no examples", size=min(size, SMALL), color=MUTED, va="center")
    axes.set_xticks(
        np.arange(classes) + 0.5, names, size=BODY, color=INK,
        rotation=0 if upright else 45, ha="center" if upright else "right", rotation_mode="anchor",
    )  # fmt: skip
    axes.set_yticks(np.arange(classes) + 0.5, names, size=BODY, color=INK)
    axes.tick_params(length=0, pad=5)
    sheet.write(left + side / 2, sheet.top + side + below + 6, "Predicted class", colour=MUTED, ha="center")
    sheet.paper.text(
        MARGIN + 12, sheet.top + side / 2, "True class", color=MUTED, rotation=90, ha="center", va="center"
    )
    if sheet.width - MARGIN - left - side >= 560:
        _list_pairs(sheet, left + side + 160, matrix, class_names)
    return sheet.figure


def _cell_texts(matrix: Labels, normalised: bool) -> npt.NDArray[np.str_]:
    """Counts or per cent, blank where there is nothing."""
    shares = _shares(matrix)
    # A class without examples has no shares, and its row stays blank.
    texts = [
        [(_percent(share).removesuffix(" %") if normalised else str(count)) if count else "" for count, share in row]
        for row in (zip(counts, parts, strict=True) for counts, parts in zip(matrix, shares, strict=True))
    ]
    return np.array(texts, dtype=np.str_).reshape(matrix.shape)


def _largest_size(texts: npt.NDArray[np.str_], room: float) -> float:
    longest = max((_length(text, SMALL) for text in texts.flat), default=0)
    return min(BODY, SMALL * room / longest) if longest else BODY


def _legible_on(colour: Any) -> str:
    """Black or white, whichever has at least 4.5:1 on an RGB colour in [0, 1].

    Source: WCAG 2.2, relative luminance; at 0.179 both have the same contrast.
    """
    light = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return "black" if np.dot(light, (0.2126, 0.7152, 0.0722)) > 0.179 else "white"


def _fill(axes: Axes, x: int, y: int, width: int, colour: str) -> None:
    axes.add_patch(Rectangle((x, y), width, 1, facecolor=colour, edgecolor=QUIET, linewidth=0.8))


def _heat(axes: Axes, scale: Axes, shares: Floats, **drawing: Any) -> None:
    """The errors as colours; the diagonal and the classes without examples are left out."""
    hidden = np.eye(len(shares), dtype=bool) | np.isnan(shares)
    most = float(np.max(shares, where=~hidden, initial=0.0)) or 0.01
    _seaborn_heatmap()(
        np.where(hidden, 0.0, shares), mask=hidden, cmap=ERRORS, vmin=0, vmax=most, square=True, ax=axes,
        cbar_ax=scale, xticklabels=False, yticklabels=False, **drawing,
    )  # fmt: skip
    axes.grid(False)
    scale.grid(False)
    scale.yaxis.set_major_locator(MaxNLocator(nbins=4))
    scale.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g} %"))
    scale.tick_params(length=0)


def _seaborn_heatmap() -> Callable[..., Axes]:
    # Imported late: with pandas it takes a second, which the other pictures need not wait for.
    from seaborn.matrix import heatmap

    return heatmap  # type: ignore[no-any-return]


@_on_paper
def _draw_matrix_with_pairs(matrix: Labels, class_names: list[str], title: str, subtitle: str) -> Figure:
    classes = len(class_names)
    cell = max(1, 560 // classes)
    side = cell * classes if classes <= 560 else 560
    named = cell >= 14
    names = [_shorten(name, 130, 6.5) for name in class_names] if named else []
    longest = max((_length(name, 6.5) for name in names), default=0)
    left = MARGIN + 34 + longest + (8 if named else 0)
    sheet = _Sheet(title, subtitle, body=max(side + longest + 50, 560), width=left + side + 540)
    axes = sheet.axes(left, sheet.top, side, side)
    scale = sheet.axes(left + side + 20, sheet.top, 12, 200)
    shares = _shares(matrix)
    _heat(axes, scale, shares)
    for i in range(classes):
        axes.add_patch(Rectangle((i, i), 1, 1, facecolor=LINE, edgecolor="none"))
    axes.add_patch(Rectangle((0, 0), classes, classes, facecolor="none", edgecolor=LINE, linewidth=0.8, clip_on=False))
    if named:
        axes.set_xticks(np.arange(classes) + 0.5, names, size=6.5, color=INK, rotation=90)
        axes.set_yticks(np.arange(classes) + 0.5, names, size=6.5, color=INK)
        axes.tick_params(length=0, pad=3)
    below = sheet.top + side + longest + 14
    order = "" if named else f", {classes} in index order"
    sheet.write(left + side / 2, below, "Predicted class" + order, colour=MUTED, ha="center")
    sheet.paper.text(
        MARGIN + 12, sheet.top + side / 2, "True class" + order, color=MUTED, rotation=90, ha="center", va="center"
    )
    _list_pairs(sheet, left + side + 130, matrix, class_names)
    return sheet.figure


def _list_pairs(sheet: _Sheet, x: float, matrix: Labels, class_names: list[str]) -> None:
    room = sheet.width - MARGIN - x
    pairs = _most_confused(matrix, 10)
    totals = matrix.sum(axis=1)
    sheet.write(x, sheet.top - 4, "Most confused: true → predicted" if pairs else "No errors", colour=MUTED)
    for row, (true, predicted, count) in enumerate(pairs):
        y = sheet.top + 36 + row * 53
        number = f"{count:,} of {totals[true]:,}"
        sheet.write(x + room, y, number, size=SMALL, colour=MUTED, ha="right")
        space = room - _length(number, SMALL) - 14
        sheet.write(x, y, _arrow(class_names[true], class_names[predicted], space), size=SMALL)
        sheet.bar(x, y + 24, room, 7, QUIET)
        sheet.bar(x, y + 24, room * count / pairs[0][2], 7, WRONG)


def _arrow(true: str, predicted: str, room: float, size: float = SMALL) -> str:
    """'true → predicted', each shortened to half of the room if both do not fit."""
    whole = f"{true} → {predicted}"
    if _length(whole, size) <= room:
        return whole
    space = room - _length("n → n", size) + _length("nn", size)
    short = min(_length(true, size), _length(predicted, size), space / 2)
    first, second = (_shorten(name, max(space - short, space / 2), size) for name in (true, predicted))
    return f"{first} → {second}"


# Sheets of pictures.


@_on_paper
def predictions_grid(
    images: Images,
    true: Labels,
    predicted: Labels,
    confidence: Floats,
    class_names: list[str],
    title: str,
    subtitle: str = "",
    columns: int = 8,
) -> Figure:
    """Pictures with what they are and what the model took them for: ✓ cat 93 %, ✗ cat → dog 93 %.

    images: uint8 (images, height, width, 1|3). true, predicted: int (images,). confidence: float (images,), in [0, 1].
    """
    if not len(images):
        return _nothing(title, subtitle, "No images to show.")
    frame = _Frame(images, _box(columns, WIDTH - 2 * MARGIN))
    cases = list(zip(true.tolist(), predicted.tolist(), confidence.tolist(), strict=True))
    captions = _captions(cases, class_names, frame.cell + GAP - 6)
    rows = [range(first, min(first + columns, len(images))) for first in range(0, len(images), columns)]
    heights = [frame.height + 24 + 22 * max(len(captions[i]) for i in row) for row in rows]
    sheet = _Sheet(title, subtitle, body=sum(heights) - 14, width=_row_width(columns, frame))
    y = sheet.top
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            x = MARGIN + column * (frame.cell + GAP)
            sheet.picture(x, y, images[i], frame)
            colour = RIGHT if true[i] == predicted[i] else WRONG
            for number, line in enumerate(captions[i]):
                sheet.write(x, y + frame.height + 6 + 22 * number, line, size=CAPTION, colour=colour)
        y += height
    return sheet.figure


def _row_width(columns: int, frame: _Frame, left: float = 0) -> float:
    return 2 * MARGIN + left + columns * (frame.cell + GAP) - GAP


def _nothing(title: str, subtitle: str, why: str) -> Figure:
    sheet = _Sheet(title, subtitle, body=60)
    sheet.write(MARGIN, sheet.top, why, colour=MUTED)
    return sheet.figure


def _captions(cases: list[tuple[int, int, float]], class_names: list[str], room: float) -> list[list[str]]:
    """The lines under each picture; the wrong ones of a sheet are broken alike, all in one line or all in two."""
    sure = [" " + _percent(confidence) for _, _, confidence in cases]
    wrong = [
        f"✗ {class_names[t]} → {class_names[p]}{part}" for (t, p, _), part in zip(cases, sure, strict=True) if t != p
    ]
    one_line = all(_length(line, CAPTION) <= room for line in wrong)

    def lines(true: int, predicted: int, part: str) -> list[str]:
        if true == predicted:
            return [_shorten(class_names[true], room, CAPTION, before="✓ ", after=part)]
        if one_line:
            return [f"✗ {class_names[true]} → {class_names[predicted]}{part}"]
        return [
            _shorten(class_names[true], room, CAPTION, before="✗ "),
            _shorten(class_names[predicted], room, CAPTION, before="→ ", after=part),
        ]

    return [lines(t, p, part) for (t, p, _), part in zip(cases, sure, strict=True)]


@_on_paper
def confused_pairs(
    take: Callable[[npt.NDArray[np.int64]], Images],
    true: Labels,
    predicted: Labels,
    confidence: Floats,
    class_names: list[str],
    pairs: int = 5,
    per_pair: int = 6,
) -> Figure:
    """The most frequent mistakes, a row each: the pair of classes, how often, and the most confident examples.

    take: the pictures at some positions, uint8 (positions, height, width, 1|3): only those that are shown are read.
    true, predicted: int (images,). confidence: float (images,), in [0, 1].
    """
    matrix = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
    np.add.at(matrix, (true, predicted), 1)
    confused = _most_confused(matrix, pairs)
    if not confused:
        return _nothing("No mistakes", "", f"All {_images(len(true))} are right." if len(true) else "No images.")
    left = 230
    frame = _Frame(take(np.arange(1)), _box(per_pair, WIDTH - 2 * MARGIN - left))
    pitch = max(frame.height + 34, 92) + 16
    first, second, count = confused[0]
    sheet = _Sheet(
        f"Most frequent mistake: {class_names[first]} taken for {class_names[second]}, {_times(count)}",
        "True class → predicted class; the most confident mistakes first, confidence below",
        body=pitch * len(confused) - 16,
        width=_row_width(per_pair, frame, left),
    )
    for row, (t, p, count) in enumerate(confused):
        y = sheet.top + row * pitch
        _write_pair(sheet, y, class_names[t], class_names[p], count, left - 20)
        which = np.flatnonzero((true == t) & (predicted == p))
        surest = which[np.argsort(-confidence[which], kind="stable")][:per_pair]
        for column, (i, pixels) in enumerate(zip(surest, take(surest), strict=True)):
            x = MARGIN + left + column * (frame.cell + GAP)
            sheet.picture(x, y, pixels, frame)
            sheet.write(x, y + frame.height + 6, f"✗ {_percent(float(confidence[i]))}", size=CAPTION, colour=WRONG)
    return sheet.figure


def _write_pair(sheet: _Sheet, y: float, true: str, predicted: str, count: int, room: float) -> None:
    lines = [f"{true} → {predicted}"]
    if _length(lines[0], BODY) > room:
        lines = [_shorten(true, room), _shorten(predicted, room, before="→ ")]
    for number, line in enumerate(lines):
        sheet.write(MARGIN, y + 26 * number, line)
    sheet.write(MARGIN, y + 26 * len(lines) + 2, _times(count), size=SMALL, colour=MUTED)


@_on_paper
def samples(images: Images, labels: Labels, class_names: list[str]) -> Figure:
    """A few pictures of each class, in two columns of classes; the first ten, and how many more there are.

    images: uint8 (images, height, width, 1|3). labels: int (images,).
    """
    shown = class_names[:10]
    across = 4
    down = 3 if len(shown) <= 2 else 2 if len(shown) <= 4 else 1
    frame = _Frame(images, _box(across, (WIDTH - 2 * MARGIN - 2 * GAP - 20) / 2)) if len(images) else None
    if frame is None:
        return _nothing("No pictures", "", "The dataset holds no images.")
    block = across * (frame.cell + GAP) - GAP + 40
    pitch = 34 + down * (frame.height + GAP) + 14
    more = len(class_names) - len(shown)
    sheet = _Sheet(
        f"What the {len(class_names)} classes look like" if len(class_names) != 1 else "What the one class looks like",
        f"Up to {across * down} pictures of each class, the first in the dataset",
        body=math.ceil(len(shown) / 2) * pitch - 14 + (40 if more else 0),
        width=2 * MARGIN + 2 * block - 40,
    )
    for i, name in enumerate(shown):
        x, y = MARGIN + i % 2 * block, sheet.top + i // 2 * pitch
        sheet.write(x, y, _shorten(name, block - 40))
        _show_block(sheet, x, y + 34, images[np.flatnonzero(labels == i)[: across * down]], frame, across)
    if more:
        sheet.write(MARGIN, sheet.height - MARGIN - 26, f"… and {more:,} more", colour=MUTED)
    return sheet.figure


def _show_block(sheet: _Sheet, x: float, y: float, images: Images, frame: _Frame, across: int) -> None:
    if not len(images):
        sheet.write(x, y, "no pictures", size=SMALL, colour=MUTED)
    for i, pixels in enumerate(images):
        sheet.picture(x + i % across * (frame.cell + GAP), y + i // across * (frame.height + GAP), pixels, frame)


@_on_paper
def augmentations(rows: list[tuple[str, Images]], title: str, subtitle: str) -> Figure:
    """What each augmentation does to the same pictures, a row each; the first row are the originals.

    rows: (name, images); images uint8, or float in [0, 255], (images, height, width, 1|3).
        A line break in a name sets what follows it, such as the strength, in muted type below.
    """
    rows = [(name, images) for name, images in rows if len(images)]
    if not rows:
        return _nothing(title, subtitle, "No images to show.")
    left = 200
    columns = max(len(images) for _, images in rows)
    box = _box(columns, WIDTH - 2 * MARGIN - left)
    frames = [_Frame(images, box) for _, images in rows]
    widest = max(frames, key=lambda frame: frame.cell)
    apart = 20
    sheet = _Sheet(
        title,
        subtitle,
        body=sum(frame.height + GAP for frame in frames) - GAP + apart,
        width=_row_width(columns, widest, left),
    )
    for y, (name, images), frame in zip(_tops(sheet.top, frames, apart), rows, frames, strict=True):
        word, _, strength = name.partition("\n")
        sheet.write(MARGIN, y, _shorten(word, left - 20))
        sheet.write(MARGIN, y + 27, _shorten(strength, left - 20, SMALL), size=SMALL, colour=MUTED)
        for column, pixels in enumerate(images):
            sheet.picture(MARGIN + left + column * (widest.cell + GAP), y, pixels, frame)
    return sheet.figure


@_on_paper
def explanations(rows: list[tuple[list[str], Images]], title: str, subtitle: str) -> Figure:
    """Pictures side by side, a row for each answer, with its lines of text to the left; the first line is the answer.

    rows: (lines, images); images uint8 (images, height, width, 3), the same number and size in each row.
    """
    left = 240
    columns = max(len(images) for _, images in rows)
    frame = _Frame(rows[0][1], _box(columns, WIDTH - 2 * MARGIN - left))
    pitch = max(frame.height, 27 * max(len(lines) for lines, _ in rows)) + 2 * GAP
    sheet = _Sheet(title, subtitle, body=pitch * len(rows), width=_row_width(columns, frame, left))
    for row, (lines, images) in enumerate(rows):
        y = sheet.top + row * pitch
        for at, line in enumerate(lines):
            size, colour = (BODY, INK) if at == 0 else (SMALL, MUTED)
            sheet.write(MARGIN, y + 27 * at, _shorten(line, left - 20, size), size=size, colour=colour)
        for column, pixels in enumerate(images):
            sheet.picture(MARGIN + left + column * (frame.cell + GAP), y, pixels, frame)
    return sheet.figure


def _tops(top: float, frames: Sequence[_Frame], apart: float) -> Iterator[float]:
    """Where each row begins; the originals stand a little apart from what was made of them."""
    for row, frame in enumerate(frames):
        yield top
        top += frame.height + GAP + (apart if row == 0 else 0)
