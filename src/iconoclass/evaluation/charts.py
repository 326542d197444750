"""Charts as SVG inside a page: they take the page's colours, stay sharp on paper, and say in words what they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]] | Sequence[float]
Write = Callable[[float], str]

WIDTH, HEIGHT = 440, 284
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 24, 42
POINTS = 200  # of one line: more than can be told apart at this width


def percent(share: float) -> str:
    return f"{round(100 * share, 1):g}\u00a0%"


@dataclass
class Chart:
    """One pair of axes. low, high: what they span; marks: what has been drawn, as SVG."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_title: str
    y_title: str
    write_x: Write = percent
    write_y: Write = percent
    height: int = HEIGHT
    right: int = RIGHT
    marks: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is on paper."""
        across, down = WIDTH - LEFT - self.right, self.height - TOP - BOTTOM
        low_x, high_x, low_y, high_y = *self.x, *self.y
        return (
            round(LEFT + across * (x - low_x) / ((high_x - low_x) or 1), 1),
            round(TOP + down * (high_y - y) / ((high_y - low_y) or 1), 1),
        )

    def line(self, xs: Floats, ys: Floats, css: str, said: str = "") -> None:
        """A line through the points that are numbers, thinned to what can be seen."""
        points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        if len(points) > POINTS:
            points = [points[at] for at in np.unique(np.linspace(0, len(points) - 1, POINTS).astype(int))]
        path = " ".join("{},{}".format(*self.at(*point)) for point in points)
        self.marks.append(f"<polyline class='{css}' points='{path}'>{_told(said)}</polyline>")

    def dot(self, x: float, y: float, radius: float, css: str, said: str = "") -> None:
        across, down = self.at(x, y)
        self.marks.append(f"<circle class='{css}' cx={across} cy={down} r={radius:.1f}>{_told(said)}</circle>")

    def whisker(self, x: float, low: float, high: float, css: str) -> None:
        across, down = self.at(x, low)
        self.marks.append(f"<line class='{css}' x1={across} y1={down} x2={across} y2={self.at(x, high)[1]} />")

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start", dx: float = 0) -> None:
        across, down = self.at(x, y)
        self.marks.append(
            f"<text class='{css}' x={across + dx:.1f} y={down + 4:.1f} text-anchor={anchor}>{escape(words)}</text>"
        )

    def svg(self, said: str) -> str:
        """The whole chart. said: what it shows, in words, for those who do not see it."""
        return (
            f"<svg class=chart viewBox='0 0 {WIDTH} {self.height}' role=img aria-label='{escape(said)}'>"
            f"{''.join(self._grid())}{''.join(self.marks)}</svg>"
        )

    def _grid(self) -> Iterable[str]:
        bottom, edge = self.height - BOTTOM, WIDTH - self.right
        for value in ticks(*self.y):
            _, y = self.at(self.x[0], value)
            yield f"<line class=rule x1={LEFT} y1={y} x2={edge} y2={y} />"
            yield f"<text class=tick x={LEFT - 7} y={y + 4:.1f} text-anchor=end>{escape(self.write_y(value))}</text>"
        for value in ticks(*self.x):
            x, _ = self.at(value, self.y[0])
            yield f"<text class=tick x={x} y={bottom + 20} text-anchor=middle>{escape(self.write_x(value))}</text>"
        middle = (LEFT + edge) / 2
        yield f"<text class=title x={middle} y={self.height - 5} text-anchor=middle>{escape(self.x_title)}</text>"
        if self.y_title:
            yield f"<text class=title x={LEFT} y=11>{escape(self.y_title)}</text>"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most so many round numbers from low to high.

    >>> ticks(0, 1), ticks(0.83, 0.94)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.85, 0.875, 0.9, 0.925])
    """
    span = high - low
    if not span > 0:
        return [low]
    power = 10 ** math.floor(math.log10(span / most))
    for step in (power * factor for factor in (1, 2, 2.5, 5, 10, 20, 25, 50)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(at * step, 10) for at in range(first, last + 1)]


def _told(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


STYLE = """
.chart { width: 100%; max-width: 520px; height: auto; display: block; overflow: visible; font-size: 12.5px }
.chart text { fill: var(--ink); font-variant-numeric: tabular-nums }
.chart .tick, .chart .title, .chart .quiet-text { fill: var(--muted) }
.chart .rule { stroke: var(--line); stroke-width: 1 }
.chart polyline { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.chart .thin { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 3 4 }
.chart .one { stroke: var(--muted); stroke-width: 1.2; opacity: .45 }
.chart .one:hover { stroke: var(--accent); stroke-width: 3; opacity: 1 }
.chart .training { stroke: var(--training) }
.chart .validation { stroke: var(--validation) }
.chart .third { stroke: var(--third) }
.chart .worst { stroke: var(--wrong) }
.chart .training-text { fill: var(--training) }
.chart .validation-text { fill: var(--validation-text) }
.chart .worst-text { fill: var(--wrong) }
.chart circle { fill: var(--training); stroke: var(--paper); stroke-width: 1 }
.chart circle.validation { fill: var(--validation) }
.chart circle.before { fill: var(--paper); stroke: var(--muted); stroke-width: 1.4 }
.chart line.whisker { stroke: var(--training); stroke-width: 1.4 }
"""
