"""Look at every picture once, before an hour is spent on them: what cannot be read is named and left out."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from iconoclass.config import DataConfig
from iconoclass.data.folder import Example, Found
from iconoclass.data.store import Array, key_of, stored
from iconoclass.errors import DataError, ImageError
from iconoclass.files import sha256_of
from iconoclass.images.decode import Header, decode, read_header
from iconoclass.images.resize import resize

LOOKS = 3  # at files that change under our eyes
LARGEST_SIDE = 96  # pixels; without a backbone, more detail costs time and teaches little
Item = TypeVar("Item")
Result = TypeVar("Result")
Tell = Callable[[str, int, int], None]
File = tuple[Path, str]  # where it is, and the SHA-256 of what it held


class Refusal(NamedTuple):
    """Why a picture is not read. The reason goes on where a file's name ends: "is empty (0 bytes)."."""

    code: str
    reason: str


@dataclass(frozen=True)
class Checked:
    """examples: the readable ones; pixels: uint8 (files, height, width, channels); rows: where in it each example is;
    sha256: of each example's file; findings: what check.json says.
    """

    examples: list[Example]
    pixels: Array
    rows: Array
    sha256: list[str]
    findings: dict[str, Any]


def check(found: Found, config: DataConfig, where: str, tell: Tell | None = None) -> Checked:
    """Every picture decoded to one size into the user's cache; a second look at the same content maps it from there.

    A file that changes or vanishes meanwhile makes us look again, so that what is kept is what the digests say.
    Raises: DataError, if more than `max_bad` of the files cannot be read or a class loses all of its files.
    """
    changed = Path()
    for _ in range(LOOKS):
        try:
            return _look(found, config, where, tell)
        except _ChangedError as error:
            changed = error.args[0]
    raise DataError(
        f"files in {where} change while they are read: {changed.name}", hint="Wait until they are all there."
    )


def _look(found: Found, config: DataConfig, where: str, tell: Tell | None) -> Checked:
    paths = [example.path for example in found.examples]
    digests = _over_all(_digest, paths, "Reading", tell)
    opened = [(row, path, digest) for row, (path, digest) in enumerate(zip(paths, digests, strict=True)) if digest]
    bad = {row: _why_unopened(paths[row]) for row, digest in enumerate(digests) if not digest}
    if not opened:
        _refuse_if_too_bad(found, bad, config.max_bad, where)
    rows, files = [row for row, _, _ in opened], [(path, digest) for _, path, digest in opened]
    digests = [digest for _, digest in files]
    # Two looks, each kept: the second one by what the first has decided, so that a run which names the size finds it.
    _, seen = stored(key_of("headers", digests), lambda _: _measure(files, tell))
    height, width = config.image_size or seen["image_size"]
    channels = {"grey": 1, "rgb": 3}.get(config.color or "", seen["channels"])
    shape = (height, width, channels)
    key = key_of("pictures", digests, shape, config.resize)
    arrays, facts = stored(key, lambda folder: _decode_all(files, shape, config.resize, folder, tell))
    bad |= {rows[at]: Refusal(code, reason) for at, code, reason in facts["bad"]}
    _refuse_if_too_bad(found, bad, config.max_bad, where)
    kept = [(at, row) for at, row in enumerate(rows) if row not in bad]
    return Checked(
        examples=[found.examples[row] for _, row in kept],
        pixels=arrays["pixels"],
        rows=np.array([at for at, _ in kept], np.int64),
        sha256=[files[at][1] for at, _ in kept],
        findings=_findings(found, bad, seen["pictures"]),
    )


def _measure(files: Sequence[File], tell: Tell | None) -> dict[str, Any]:
    """What the headers say: the size and the channels that suit all pictures, and their formats, modes and sizes."""
    headers = [header for header in _over_all(_header, files, "Looking at", tell) if header]
    channels = 1 if all(header.is_grey for header in headers) else 3
    return {"image_size": _natural_size(headers), "channels": channels, "pictures": _picture_facts(headers)}


def _decode_all(
    files: Sequence[File], shape: tuple[int, int, int], how: str, folder: Path, tell: Tell | None
) -> dict[str, Any]:
    bad: list[tuple[int, str, str]] = []
    height, width, channels = shape

    def read(path: Path) -> Array:
        return resize(decode(path, channels), height, width, how)

    pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(files), *shape))
    for row, result in enumerate(_each(_or_refusal(read), files, "Decoding", tell)):
        if isinstance(result, Refusal):
            bad.append((row, *result))
        else:
            pixels[row] = result
    pixels.flush()
    del pixels  # Windows does not rename a folder that holds a mapped file
    return {"bad": bad}


def _natural_size(headers: Sequence[Header]) -> tuple[int, int]:
    """The size that all pictures share, if it is small; else a square of the usual short side, at most LARGEST_SIDE."""
    sizes = {(header.height, header.width) for header in headers}
    if len(sizes) == 1 and min(size := next(iter(sizes))) >= 8 and max(size) <= LARGEST_SIDE:
        return size
    side = statistics.median(min(header.height, header.width) for header in headers) if headers else LARGEST_SIDE
    side = int(min(LARGEST_SIDE, max(8, side)))
    return side, side


def _picture_facts(headers: Sequence[Header]) -> dict[str, Any]:
    if not headers:
        return {}
    widths, heights = [header.width for header in headers], [header.height for header in headers]
    return {
        "formats": dict(Counter(header.format for header in headers).most_common()),
        "modes": dict(Counter(header.mode for header in headers).most_common()),
        "width": [min(widths), int(statistics.median(widths)), max(widths)],
        "height": [min(heights), int(statistics.median(heights)), max(heights)],
    }


def _findings(found: Found, bad: dict[int, Refusal], pictures: dict[str, Any]) -> dict[str, Any]:
    """What check.json says. Names come from this look, not from the cache, which knows content only."""
    unreadable = [
        {"image": found.examples[row].name, "code": refusal.code, "reason": refusal.reason}
        for row, refusal in sorted(bad.items())
    ]
    good = Counter(example.class_name for row, example in enumerate(found.examples) if row not in bad)
    return {
        "images": len(found.examples) - len(bad),
        "classes": dict(sorted(good.items())),
        "unreadable": unreadable,
        "left_out": [{"image": name, "reason": reason} for name, reason in found.left_out],
        "ignored": found.ignored,
        **pictures,
    }


def _refuse_if_too_bad(found: Found, bad: dict[int, Refusal], max_bad: float, where: str) -> None:
    total = len(found.examples)
    listed = [f"{found.examples[row].name} [{code}] {reason}" for row, (code, reason) in sorted(bad.items())]
    shown = "\n  ".join([*listed[:1000], *([f"... and {len(listed) - 1000} more"] if len(listed) > 1000 else [])])
    if len(bad) > max_bad * total:
        hint = f"Mend or remove them, or allow them to be left out: --max-bad {_enough(len(bad) / total)}"
        raise DataError(f"{len(bad)} of the {total} files in {where} cannot be read:\n  {shown}\n", hint=hint)
    alive = {example.class_name for row, example in enumerate(found.examples) if row not in bad}
    if dead := {example.class_name for example in found.examples} - alive:
        raise DataError(f"no file of {', '.join(sorted(dead))} in {where} can be read:\n  {shown}\n")


def _enough(share: float) -> str:
    return f"{min(100, int(share * 100) + 1)}%"


# -- how -----------------------------------------------------------------------------------------------------------


class _ChangedError(Exception):
    """A file, its argument, is no longer what it was when its digest was taken."""


def _digest(path: Path) -> str | None:
    """None, if the file cannot be opened; a pipe is not tried, which would wait for ever."""
    try:
        return sha256_of(path) if path.is_file() else None
    except OSError:
        return None


def _header(file: File) -> Header | None:
    try:
        return read_header(file[0])
    except ImageError:
        return None  # why is said when it is decoded


def _why_unopened(path: Path) -> Refusal:
    try:
        read_header(path)
    except ImageError as error:
        return _refusal(error, path)
    raise _ChangedError(path)


def _or_refusal(function: Callable[[Path], Result]) -> Callable[[File], Result | Refusal]:
    def attempt(file: File) -> Result | Refusal:
        path, digest = file
        result: Result | Refusal
        try:
            result = function(path)
        except ImageError as error:
            result = _refusal(error, path)
        if _digest(path) != digest:
            raise _ChangedError(path)
        return result

    return attempt


def _refusal(error: ImageError, path: Path) -> Refusal:
    """Why, without the file's name: the same content may come back under another one."""
    name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in path.name)
    return Refusal(error.code, f"{error.what.removeprefix(name).strip()}. {error.hint}".strip())


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
