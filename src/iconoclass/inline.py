"""What our objects show below a notebook's cell: HTML that stands alone, in light and dark, with its pictures inside.

Notebooks keep such markup for years, mail it and show it on other sites. So it has no script and no style sheet, and
where a site drops the styles as well (GitHub does), tables and pictures are still in their order.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from iconoclass.files import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    Pixels = npt.NDArray[np.uint8]

QUIET = "opacity:.72;font-size:12.5px"
_CLOSE = "text-align:left;padding:1px 0;line-height:0"
SMALL = 64  # pixels; what is not larger is enlarged as it is, without smoothing
SIDE, SIDE_OF_MANY = 84, 48  # pixels on the screen at least: of a picture alone, and of one in a row
WIDE = 860  # pixels on the screen of a plot


@dataclass(frozen=True)
class Shown:
    """Markup that shows itself below a cell; elsewhere it is its words."""

    html: str
    words: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.words


def card(title: str, *parts: str) -> str:
    """A title and what belongs to it. parts: markup; whoever writes them has escaped names."""
    body = "".join(part for part in parts if part)
    return f"<div style='max-width:{WIDE}px;line-height:1.5'><b style='font-size:16px'>{_plain(title)}</b>{body}</div>"


def said(text: str, *, quiet: bool = False) -> str:
    """A line of text."""
    return f"<div{f' style={QUIET!r}' if quiet else ''}>{_plain(text)}</div>" if text else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: the first column to the left, figures to the right."""
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return f"<table style='font-variant-numeric:tabular-nums;margin:8px 0'>{''.join(lines)}</table>"


def strips(header: Sequence[str], rows: Iterable[tuple[Sequence[str], Sequence[Pixels]]]) -> str:
    """A table whose rows end with some pictures side by side, as one."""
    lines = [_row("th", header), *(_row("td", cells, _strip(cells[0], pictures)) for cells, pictures in rows)]
    return f"<table style='font-variant-numeric:tabular-nums;margin:8px 0'>{''.join(lines)}</table>"


def _strip(name: str, pictures: Sequence[Pixels]) -> str:
    return picture(_beside(pictures), name, len(pictures)) if len(pictures) else ""


def _row(kind: str, cells: Sequence[str], more: str = "") -> str:
    sides = ["left", *["right"] * (len(cells) - 1)]
    shown = (
        f"<{kind} style='text-align:{side};padding:2px 14px 2px 0'>{_plain(cell)}</{kind}>"
        for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{''.join(shown)}{f'<td style={_CLOSE!r}>{more}</td>' if more else ''}</tr>"


def gallery(pictures: Sequence[tuple[Pixels, str, str]]) -> str:
    """Pictures with a line and a quiet line below each. pictures: (uint8 (height, width, 1|3), line, quiet line)."""
    shown = (
        f"<div style='display:inline-block;vertical-align:top;width:132px;margin:0 10px 12px 0;font-size:13px;"
        f"overflow-wrap:anywhere'>{picture(pixels, line)}{said(line)}{said(quiet, quiet=True)}</div>"
        for pixels, line, quiet in pictures
    )
    return f"<div style='margin:10px 0 0'>{''.join(shown)}</div>"


def bars(shares: Iterable[tuple[str, float]]) -> str:
    """A bar for each class and its share, in [0, 1]."""
    rows = (
        f"<tr><td style='text-align:left;padding:1px 14px 1px 0'>{_plain(name)}</td>"
        f"<td style='text-align:left;width:200px;padding:1px 14px 1px 0'><div style='height:9px;border-radius:5px;"
        f"background:{'#4a80f0' if at == 0 else 'rgba(128,128,128,.45)'};width:{max(1, round(200 * share))}px'>"
        f"</div></td><td style='padding:1px 0'>{share:.1%}</td></tr>"
        for at, (name, share) in enumerate(shares)
    )
    return f"<table style='font-variant-numeric:tabular-nums;margin:6px 0'>{''.join(rows)}</table>"


def text(lines: str) -> str:
    """Plain text in columns."""
    body = "\n".join(map(_plain, lines.split("\n")))
    return f"<pre style='line-height:1.4;margin:8px 0;background:none'>{body}</pre>"


def picture(pixels: Pixels, words: str, across: int = 1) -> str:
    """A picture as it is, or several side by side; small ones enlarged. pixels: uint8 (height, width, 1|3)."""
    from PIL import Image

    height, width = pixels.shape[:2]
    side = SIDE if across == 1 else SIDE_OF_MANY
    scale = max(1, -(-side // (width // across))) if height <= SMALL else min(1.0, 1.5 * side * across / width)
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    if scale < 1:
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
    look = "image-rendering:pixelated" if scale > 1 else ""
    return _image(image, words, round(width * scale), look, lossless=height <= SMALL)


def plot(path: Path, words: str) -> str:
    """A plot that lies on disk, at a fifth of its bytes."""
    from PIL import Image

    with Image.open(path) as image:
        shown = image.convert("RGB")
    return _image(shown, words, min(WIDE, shown.width), "max-width:100%;border-radius:6px;margin:8px 0")


def _image(image: Image.Image, words: str, width: int, look: str, lossless: bool = False) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=lossless, quality=80, method=4)
    data = base64.b64encode(file.getvalue()).decode()
    return f"<img width={width} style='{look}' alt='{_plain(words)}' src='data:image/webp;base64,{data}'>"


def _plain(text: str) -> str:
    """A name or a text as markup, whatever is in it."""
    return escape(printable(text))


def _beside(pictures: Sequence[Pixels]) -> Pixels:
    import numpy as np

    return np.concatenate(list(pictures), axis=1)
