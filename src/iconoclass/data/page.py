"""check.html: what was found, on one page with its pictures. It needs no network, and every word of it is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from iconoclass.data.findings import Remark, remarks
from iconoclass.errors import ImageError
from iconoclass.images.decode import decode
from iconoclass.pages import document, figures

SETS = 12  # of each finding that are shown with pictures
PICTURES = 6  # of one set
SIDE = 168  # pixels: twice what is seen, for screens of high density
ROWS = 50  # of a list of files

ADVICE = {
    "unreadable": "Mend them or leave them out: decisions.csv suggests so.",
    "leaks": "Whoever is judged on a picture must not have learned it. Leave one of the two out.",
    "conflicts": "At most one of the two classes is right. Decide in decisions.csv: exclude, or relabel.",
    "small_classes": "What is said of them rests on a few pictures. Take more, or join classes.",
    "shortcuts": "A network may learn this instead of what is shown. Take pictures of all classes in the same way. "
    "AUC: the chance that a picture of the class has more (or less) of it than another one; 0.5 says nothing.",
    "exact_copies": "Copies stay together when the parts are drawn. decisions.csv suggests to keep the first of each.",
    "near_duplicates": "One picture, encoded, sized, cropped, mirrored or lit anew. They stay together.",
    "bursts": "Taken one right after the other. They stay together.",
    "blank": "There is nothing to learn from them.",
    "imbalance": "Rare classes weigh more in training, unless --balance none is said. Take more of them, if you can.",
}


@dataclass(frozen=True)
class _Figure:
    """Pictures that are shown side by side. names: image and what is said below it."""

    names: list[tuple[str, str]]
    caption: str = ""


def page(title: str, findings: dict[str, Any], paths: dict[str, Path]) -> str:
    """The whole page. paths: where the pictures are, by name."""
    said = remarks(findings)
    troubles = sum(remark.is_trouble for remark in said)
    verdict = (
        f"{troubles} {'thing' if troubles == 1 else 'things'} to look at before training."
        if troubles
        else "Nothing was found that would mislead who learns from these pictures."
    )
    body = [
        f"<h1>{escape(title)}</h1><p class=verdict>{escape(verdict)}</p>",
        _figures(findings, troubles),
        _classes(findings["classes"]),
        *(_section(remark, findings, paths) for remark in said),
        _files(findings),
        _next(findings),
    ]
    return document(title, "\n".join(body), style=_STYLE)


def _figures(findings: dict[str, Any], troubles: int) -> str:
    counted = {
        "pictures": f"{findings['images']:,}",
        "classes": f"{len(findings['classes']):,}",
        "cannot be read": f"{len(findings['unreadable']):,}",
        "to look at": f"{troubles}",
    }
    if "width" in findings:
        counted["usual size"] = f"{findings['width'][1]} × {findings['height'][1]}"
    return figures({word: (value, "") for word, value in counted.items()})


def _classes(classes: dict[str, int]) -> str:
    longest = max(classes.values(), default=1)
    rows = "".join(
        f"<tr><th>{escape(name)}<td class=number>{count:,}<td><i style='width:{100 * count / longest:.1f}%'></i>"
        for name, count in classes.items()
    )
    return f"<h2>Classes</h2><table class=bars>{rows}</table>"


def _section(remark: Remark, findings: dict[str, Any], paths: dict[str, Path]) -> str:
    mark = "<span class=wrong>✗</span>" if remark.is_trouble else "<span class=muted>·</span>"
    head = f"<h2>{mark} {escape(remark.text[0].upper() + remark.text[1:])}</h2>"
    advice = f"<p>{escape(ADVICE[remark.key])}</p>" if remark.key in ADVICE else ""
    sets = list(_sets(remark.key, findings))
    if not sets:
        return head + advice + _list(remark.examples)
    shown = "".join(_figure(figure, paths) for figure in sets[:SETS])
    more = f"<p class=muted>… and {len(sets) - SETS:,} more in check.json.</p>" if len(sets) > SETS else ""
    return f"{head}{advice}<div class=sets>{shown}</div>{more}"


def _sets(key: str, findings: dict[str, Any]) -> Iterator[_Figure]:
    """What of a finding is shown with pictures."""
    if key in {"leaks", "conflicts"}:
        for entry in findings[key]:
            words = entry["splits" if key == "leaks" else "classes"]
            yield _Figure(list(zip(entry["images"], words, strict=True)), _kind(entry))
    elif key == "near_duplicates":
        for entry in findings[key]:
            yield _Figure([(name, "") for name in entry["images"]], _kind(entry))
    elif key == "exact_copies":
        for entry in findings[key]:
            yield _Figure([(name, "") for name in entry["images"]])
    elif key == "bursts":
        for names in findings[key]:
            yield _Figure([(name, "") for name in names])
    elif key in {"blank", "dark", "bright", "blurred", "tiny"}:
        for name in findings[key]:
            yield _Figure([(name, "")])


def _kind(entry: dict[str, Any]) -> str:
    if entry["kind"] == "near":
        return f"{entry['likeness']:.2f} alike{', mirrored' if entry['mirrored'] else ''}"
    return {"exact": "the same file", "burst": "one burst"}[entry["kind"]]


def _figure(figure: _Figure, paths: dict[str, Path]) -> str:
    pictures = "".join(
        f"<div>{_thumbnail(paths.get(name))}<span title='{escape(name)}'>{escape(name).replace('/', '/<wbr>')}</span>"
        f"{f'<em>{escape(word)}</em>' if word else ''}</div>"
        for name, word in figure.names[:PICTURES]
    )
    hidden = len(figure.names) - PICTURES
    caption = ", ".join(filter(None, [figure.caption, f"{hidden} more" if hidden > 0 else ""]))
    return f"<figure><div>{pictures}</div>{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"


def _thumbnail(path: Path | None) -> str:
    """The picture encoded anew: of what a file holds beside its pixels, nothing gets onto the page."""
    try:
        pixels = decode(path, 3, at_least=(SIDE, SIDE)) if path else None
    except ImageError:
        pixels = None
    if pixels is None:
        return "<div class=gone>not there</div>"
    image, file = Image.fromarray(pixels), BytesIO()
    is_small = max(image.size) <= 64
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    image.save(file, "JPEG", quality=82)
    content = base64.b64encode(file.getvalue()).decode()
    return f"<img{' class=small' if is_small else ''} alt='' src='data:image/jpeg;base64,{content}'>"


def _files(findings: dict[str, Any]) -> str:
    rows = {
        "formats": _counts(findings.get("formats", {})),
        "modes": _counts(findings.get("modes", {})),
        "width": _spread(findings.get("width")),
        "height": _spread(findings.get("height")),
        "width : height": _spread(findings.get("aspect_ratio")),
        "given parts": _counts(findings["splits"]),
        "ignored": _counts(findings["ignored"]),
    }
    cells = "".join(f"<tr><th>{word}<td>{escape(text)}" for word, text in rows.items() if text)
    left_out = _list([f"{left['image']}: {left['reason']}" for left in findings["left_out"]])
    title = f"<h2>{len(findings['left_out']):,} files that are not used</h2>" if left_out else ""
    return f"<h2>Files</h2><table>{cells}</table>{title}{left_out}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in counts.items())


def _spread(values: list[float] | None) -> str:
    return f"{values[0]:g} to {values[2]:g}, in the middle {values[1]:g}" if values else ""


def _list(texts: list[str]) -> str:
    more = f"<li class=muted>… and {len(texts) - ROWS:,} more in check.json" if len(texts) > ROWS else ""
    return f"<ul>{''.join(f'<li>{escape(text)}' for text in texts[:ROWS])}{more}</ul>" if texts else ""


def _next(findings: dict[str, Any]) -> str:
    decided = [f"{len(findings[word]):,} {word}" for word in ("excluded", "relabelled") if findings[word]]
    before = f"<p>By earlier decisions: {', '.join(decided)}.</p>" if decided else ""
    return f"<h2>What to do</h2>{before}{_WHAT_TO_DO}"


_WHAT_TO_DO = """
<p>Read decisions.csv, which lies beside this page. In its column <code>decision</code> leave, write or remove
<code>exclude</code>, or <code>relabel</code> with a class in the next column. Your files stay as they are. Then:</p>
<pre>iconoclass train DATA --decisions decisions.csv</pre>
"""

_STYLE = """
.bars { width: 100%; max-width: 720px }
.bars th { color: var(--ink); width: 1%; max-width: 280px; overflow: hidden; text-overflow: ellipsis }
.bars .number { text-align: right; width: 1%; padding-right: 14px; color: var(--muted) }
.bars i { display: block; height: 12px; border-radius: 3px; background: var(--training); min-width: 2px }
.sets { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start }
figure { margin: 0; padding: 12px; background: var(--raised); border-radius: 10px; max-width: 100% }
figure > div { display: flex; flex-wrap: wrap; gap: 12px }
figure > div > div { width: 112px; font-size: 12.5px; line-height: 1.35 }
figure span, figure em { display: block; font-style: normal; overflow-wrap: anywhere }
figure span { color: var(--muted); margin-top: 6px; max-height: 4.1em; overflow: hidden }
figcaption { color: var(--muted); font-size: 12.5px; margin-top: 8px }
img, .gone { width: 112px; height: 112px; object-fit: contain; border-radius: 4px; background: var(--paper) }
img.small { image-rendering: pixelated }
.gone { display: grid; place-items: center; color: var(--muted) }
@media print { figure { break-inside: avoid } }
"""
