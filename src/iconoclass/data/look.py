"""Every file looked at once, and what was seen kept by content: a second look at unchanged files is near instant."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from iconoclass.data import duplicates
from iconoclass.data.duplicates import Pairs, Tell
from iconoclass.data.store import Array, key_of, stored
from iconoclass.errors import EnvironmentFault, ImageError
from iconoclass.files import cache_folder, sha256_of, write_text
from iconoclass.images.decode import read_bytes
from iconoclass.images.likeness import FACTS, SIDE, look_at

Item = TypeVar("Item")
Result = TypeVar("Result")
File = tuple[Path, str]  # where it is, and the SHA-256 of what it held


class Refusal(NamedTuple):
    """Why a picture is not read. The reason goes on where a file's name ends: "is empty (0 bytes)."."""

    code: str
    reason: str


class ChangedError(Exception):
    """A file, its argument, is no longer what it was when its digest was taken."""


@dataclass(frozen=True)
class Looked:
    """What was seen of some files.

    rows: of those that could be opened, their places among all; files: their paths and digests; thumbnails, facts: what
    `likeness.look_at` says of each; bad: by place among all, why a file cannot be read.
    """

    rows: list[int]
    files: list[File]
    thumbnails: Array
    facts: Array
    bad: dict[int, Refusal]
    tell: Tell | None = None

    @cached_property
    def digests(self) -> list[str]:
        return [digest for _, digest in self.files]

    @cached_property
    def pairs(self) -> Pairs:
        """Different contents that look the same, as places in `files`; searched for when first asked."""
        arrays, _ = stored(key_of("alike", duplicates.VERSION, self.digests), self._search)
        return Pairs(*(arrays[name] for name in ("first", "second", "likeness", "is_mirrored")))

    def _search(self, folder: Path) -> dict[str, Any]:
        good = [at for at, row in enumerate(self.rows) if row not in self.bad]
        once = sorted({self.digests[at]: at for at in reversed(good)}.values())
        pairs = duplicates.near_duplicates(self.thumbnails, self.facts, np.array(once, np.int64), self.tell)
        for name, array in vars(pairs).items():
            np.save(folder / f"{name}.npy", array)
        return {}


def look(paths: Sequence[Path], where: str, tell: Tell | None = None) -> Looked:
    """What is to be seen of files. where: what they belong to, so that their digests are found again.

    Raises: ChangedError, if a file changes meanwhile.
    """
    digests = _digests_of(paths, where, tell)
    opened = [row for row, digest in enumerate(digests) if digest]
    files = [(paths[row], digests[row] or "") for row in opened]
    bad = {row: _why_unopened(paths[row]) for row, digest in enumerate(digests) if not digest}
    key = key_of("looks", [digest for _, digest in files])
    arrays, facts = stored(key, lambda folder: _look_at_all(files, folder, tell))
    bad |= {opened[at]: Refusal(code, reason) for at, code, reason in facts["bad"]}
    return Looked(opened, files, arrays["thumbnails"], arrays["facts"], bad, tell)


def _look_at_all(files: Sequence[File], folder: Path, tell: Tell | None) -> dict[str, Any]:
    bad: list[tuple[int, str, str]] = []
    facts = np.zeros(len(files), FACTS)
    shape = (len(files), SIDE, SIDE)
    thumbnails = np.lib.format.open_memmap(folder / "thumbnails.npy", mode="w+", dtype=np.uint8, shape=shape)
    for at, result in enumerate(each(or_refusal(look_at), files, "Looking at", tell)):
        if isinstance(result, Refusal):
            bad.append((at, *result))
        else:
            facts[at], thumbnails[at] = result
    thumbnails.flush()
    del thumbnails  # Windows does not rename a folder that holds a mapped file
    np.save(folder / "facts.npy", facts)
    return {"bad": bad}


# -- digests -------------------------------------------------------------------------------------------------------

# A file that is written to again within one tick of the file system's clock keeps its times. So a digest is trusted
# only if the file had been left alone for so long when it was taken.
SETTLED_S = 3


def _digests_of(paths: Sequence[Path], where: str, tell: Tell | None) -> list[str | None]:
    """The SHA-256 of every file; None of those that cannot be opened.

    A file is not read again if device, inode, size, and the times of its last change of content and of status are
    those that it had when it was last read. That trusts the file system's clock: the time of status cannot be set by
    hand, as that of content can. Whatever is decoded is read and its digest taken anew.
    """
    kept = cache_folder("digests") / f"{key_of('digests', str(Path(where).absolute()))}.json"
    known = _known(kept)
    begun_ns = time.time_ns()
    stamps = [_stamp(path) for path in paths]
    names = [os.fspath(path) for path in paths]
    found = [
        known.get(name, ([], ""))[1] if stamp == known.get(name, ([], ""))[0] else ""
        for name, stamp in zip(names, stamps, strict=True)
    ]
    new = [at for at, digest in enumerate(found) if not digest]
    digests: list[str | None] = [*found]
    for at, digest in zip(new, each(digest_of_file, [paths[at] for at in new], "Reading", tell), strict=True):
        digests[at] = digest
    if tell and not new:
        tell("Reading", len(paths), len(paths))
    settled_ns = begun_ns - SETTLED_S * 10**9
    trusted = {
        name: (stamp, digest)
        for name, stamp, digest in zip(names, stamps, digests, strict=True)
        if digest and stamp and max(stamp[3:]) < settled_ns
    }
    if trusted != known:
        _keep(kept, trusted)
    return digests


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return []
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _known(path: Path) -> dict[str, tuple[list[int], str]]:
    try:
        return {name: (stamp, digest) for name, (stamp, digest) in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # not there, or damaged
        return {}


def _keep(path: Path, known: dict[str, tuple[list[int], str]]) -> None:
    with contextlib.suppress(EnvironmentFault):  # a full disk costs the next look its speed, and this one nothing
        write_text(path, json.dumps(known))


def digest_of_file(path: Path) -> str | None:
    """None, if the file cannot be opened; a pipe is not tried, which would wait for ever."""
    try:
        return sha256_of(path) if path.is_file() else None
    except (OSError, ValueError):
        return None


# -- how -----------------------------------------------------------------------------------------------------------


def _why_unopened(path: Path) -> Refusal:
    try:
        read_bytes(path)
    except ImageError as error:
        return _refusal(error, path)
    raise ChangedError(path)


def or_refusal(function: Callable[[bytes], Result]) -> Callable[[File], Result | Refusal]:
    """The function of a file's content, or why it cannot be read.

    The function raises ChangedError, if the content is not that of the digest.
    """

    def attempt(file: File) -> Result | Refusal:
        path, digest = file
        try:
            content = read_bytes(path)
        except ImageError as error:
            if digest_of_file(path) != digest:
                raise ChangedError(path) from error
            return _refusal(error, path)
        if sha256_of(content) != digest:
            raise ChangedError(path)
        try:
            return function(content)
        except ImageError as error:
            return _refusal(error, path)

    return attempt


def _refusal(error: ImageError, path: Path) -> Refusal:
    """Why, without the file's name: the same content may come back under another one."""
    name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in path.name)
    what = error.what.removeprefix(name).removeprefix("the data").strip()
    return Refusal(error.code, f"{what}. {error.hint}".strip())


def each(function: Callable[[Item], Result], items: Sequence[Item], doing: str, tell: Tell | None) -> Iterator[Result]:
    """The results in order, worked out on all cores: Pillow and hashlib let go of the interpreter while they work."""
    block = 256  # so that what waits in memory stays small
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), block):
            yield from pool.map(function, items[start : start + block])
            if tell:
                tell(doing, min(start + block, len(items)), len(items))
