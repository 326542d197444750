"""Look at every picture once, before an hour is spent on them: what cannot be read is named and left out."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from iconoclass.config import DataConfig
from iconoclass.data.folder import Example, Found
from iconoclass.data.store import Array, key_of, stored
from iconoclass.errors import DataError, ImageError
from iconoclass.files import sha256_of
from iconoclass.images.decode import Header, decode, read_header
from iconoclass.images.resize import resize

LARGEST_SIDE = 96  # pixels; without a backbone, more detail costs time and teaches little
Item = TypeVar("Item")
Result = TypeVar("Result")
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Checked:
    """examples: the readable ones; pixels: uint8 (examples, height, width, channels), in the same order; sha256: of
    each file; findings: what check.json says.
    """

    examples: list[Example]
    pixels: Array
    rows: Array
    sha256: list[str]
    findings: dict[str, Any]


def check(found: Found, config: DataConfig, where: str, tell: Tell | None = None) -> Checked:
    """Every picture decoded to one size into the user's cache; a second look at the same content maps it from there.

    Raises: DataError, if more than `max_bad` of the files cannot be read or a class loses all of its files.
    """
    examples = found.examples
    digests = _over_all(_digest, [example.path for example in examples], "Reading", tell)
    labels = [digest or "unreadable" for digest in digests]
    key = key_of("pictures", labels, config.image_size, config.resize, config.color)

    def make(folder: Path) -> dict[str, Any]:
        return _decode_all(examples, config, folder, tell)

    arrays, facts = stored(key, make)
    bad = {int(row): reason for row, *reason in facts["bad"]}
    rows = np.array([row for row in range(len(examples)) if row not in bad], np.int64)
    findings = _findings(found, bad, facts)
    _refuse_if_too_bad(found, bad, config.max_bad, where)
    kept = [examples[row] for row in rows]
    return Checked(kept, arrays["pixels"], rows, [labels[row] for row in rows], findings)


def _decode_all(examples: Sequence[Example], config: DataConfig, folder: Path, tell: Tell | None) -> dict[str, Any]:
    bad: list[tuple[int, str, str]] = []
    headers = _over_all(_or_error(read_header), [example.path for example in examples], "Looking at", tell)
    good = [header for header in headers if isinstance(header, Header)]
    channels = {"grey": 1, "rgb": 3}.get(config.color or "", 1 if all(header.is_grey for header in good) else 3)
    height, width = config.image_size or _natural_size(good)

    def read(path: Path) -> Array:
        return resize(decode(path, channels), height, width, config.resize)

    shape = (len(examples), height, width, channels)
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    for row, result in enumerate(_each(_or_error(read), [example.path for example in examples], "Decoding", tell)):
        if isinstance(result, ImageError):
            bad.append((row, result.code, str(result)))
        else:
            pixels[row] = result
    pixels.flush()
    del pixels  # Windows does not rename a folder that holds a mapped file
    return {"bad": bad, "pictures": _picture_facts(good, examples), "image_size": [height, width]}


def _natural_size(headers: Sequence[Header]) -> tuple[int, int]:
    """The size that all pictures share, if it is small; else a square of the usual short side, at most LARGEST_SIDE."""
    sizes = {(header.height, header.width) for header in headers}
    if len(sizes) == 1 and min(size := next(iter(sizes))) >= 8 and max(size) <= LARGEST_SIDE:
        return size
    side = statistics.median(min(header.height, header.width) for header in headers) if headers else LARGEST_SIDE
    side = int(min(LARGEST_SIDE, max(8, side)))
    return side, side


def _picture_facts(headers: Sequence[Header], examples: Sequence[Example]) -> dict[str, Any]:
    if not headers:
        return {}
    widths, heights = [header.width for header in headers], [header.height for header in headers]
    return {
        "formats": dict(Counter(header.format for header in headers).most_common()),
        "modes": dict(Counter(header.mode for header in headers).most_common()),
        "width": [min(widths), int(statistics.median(widths)), max(widths)],
        "height": [min(heights), int(statistics.median(heights)), max(heights)],
    }


def _findings(found: Found, bad: dict[int, list[str]], facts: dict[str, Any]) -> dict[str, Any]:
    """What check.json says. Names come from this look, not from the cache, which knows content only."""
    unreadable = [
        {"image": found.examples[row].name, "code": code, "reason": reason} for row, (code, reason) in bad.items()
    ]
    good = Counter(example.class_name for row, example in enumerate(found.examples) if row not in bad)
    return {
        "images": len(found.examples) - len(bad),
        "classes": dict(sorted(good.items())),
        "unreadable": unreadable,
        "left_out": [{"image": name, "reason": reason} for name, reason in found.left_out],
        "ignored": found.ignored,
        **facts["pictures"],
    }


def _refuse_if_too_bad(found: Found, bad: dict[int, list[str]], max_bad: float, where: str) -> None:
    total = len(found.examples)
    listed = [f"{found.examples[row].name}: {reason}" for row, (_, reason) in bad.items()]
    shown = "\n  ".join([*listed[:50], *([f"... and {len(listed) - 50} more"] if len(listed) > 50 else [])])
    if len(bad) > max_bad * total:
        hint = f"Mend or remove them, or allow them to be left out: --max-bad {_enough(len(bad) / total)}"
        raise DataError(f"{len(bad)} of the {total} files in {where} cannot be read:\n  {shown}\n", hint=hint)
    alive = {example.class_name for row, example in enumerate(found.examples) if row not in bad}
    if dead := {example.class_name for example in found.examples} - alive:
        raise DataError(f"no file of {', '.join(sorted(dead))} in {where} can be read:\n  {shown}\n")


def _enough(share: float) -> str:
    return f"{min(100, int(share * 100) + 1)}%"


# -- how -----------------------------------------------------------------------------------------------------------


def _digest(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None  # what is wrong with it is said when it is decoded


def _or_error(function: Callable[[Path], Result]) -> Callable[[Path], Result | ImageError]:
    def attempt(path: Path) -> Result | ImageError:
        try:
            return function(path)
        except ImageError as error:
            return error

    return attempt


def _over_all(function: Callable[[Item], Result], items: Sequence[Item], doing: str, tell: Tell | None) -> list[Result]:
    return list(_each(function, items, doing, tell))


def _each(function: Callable[[Item], Result], items: Sequence[Item], doing: str, tell: Tell | None) -> Iterator[Result]:
    """The results in order, worked out on all cores: Pillow and hashlib let go of the interpreter while they work."""
    block = 256  # so that what waits in memory stays small
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), block):
            yield from pool.map(function, items[start : start + block])
            if tell:
                tell(doing, min(start + block, len(items)), len(items))
