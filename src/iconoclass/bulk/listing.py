"""Which pictures there are: in folders, files, archives, lists and object stores, one after the other."""

from __future__ import annotations

import functools
import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from iconoclass.data.archive import is_archive, unpack
from iconoclass.errors import DataError, ImageError
from iconoclass.images.decode import IMAGE_SUFFIXES, MAX_BYTES


class Picture(NamedTuple):
    """name: what it is called in the results; place: the path or the address where its bytes are."""

    name: str
    place: str


def pictures_in(paths: Iterable[str]) -> Iterator[Picture]:
    """The pictures that were meant, as they are found: never more of them in memory than one folder has.

    paths: files, folders, which are looked through, globs, archives, addresses such as s3://bucket/folder, and - for a
    list on stdin.
    Raises: DataError, if a path leads to no picture.
    """
    for text in paths:
        count = 0
        for picture in _pictures(text):
            count += 1
            yield picture
        if not count:
            raise DataError(f"no pictures in: {text}", hint=f"Looked for: {', '.join(sorted(IMAGE_SUFFIXES))}.")


def _pictures(text: str) -> Iterator[Picture]:
    if text == "-":
        return (_at(line) for line in map(str.strip, sys.stdin) if line)
    if "://" in text:
        return _stored(text)
    path = Path(text).expanduser()
    if path.is_dir():
        return _within(path)
    if path.is_file() and is_archive(path):
        return (Picture(f"{text}/{name}", str(file)) for name, file in unpack(path) if _is_picture(name))
    if path.exists() or not glob.has_magic(text):
        return iter([_at(text)])
    names = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
    return (_at(name) for name in names if Path(name).is_file())


def _at(text: str) -> Picture:
    return Picture(text, text if "://" in text else str(Path(text).expanduser().absolute()))


def _within(folder: Path) -> Iterator[Picture]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        place = Path(parent).absolute()
        # As text: a Path for each picture would cost as much as a tenth of asking about it.
        for name in sorted(filter(_is_picture, files)):
            yield Picture(f"{parent}{os.sep}{name}", f"{place}{os.sep}{name}")


def _is_picture(name: str) -> bool:
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


# -- object stores -------------------------------------------------------------------------------------------------


def _stored(address: str) -> Iterator[Picture]:
    """Raises: DataError, if the store cannot be listed."""
    from pyarrow import fs

    parts = urlsplit(address)
    try:
        files = _store(parts.scheme, parts.netloc)
        path = _path(address)
        entry = files.get_file_info(path)
        found = [entry] if entry.is_file else files.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, ValueError) as error:
        raise DataError(f"{address} cannot be listed: {error}") from error
    root = address.removesuffix("/")[: -len(path)] if address.rstrip("/").endswith(path) else ""
    for info in sorted(found, key=lambda info: str(info.path)):
        if info.is_file and (_is_picture(info.path) or info.path == path):
            yield _at(f"{root}{info.path}")


@functools.lru_cache(maxsize=16)
def _store(scheme: str, host: str) -> Any:
    from pyarrow import fs

    return fs.FileSystem.from_uri(f"{scheme}://{host}/")[0]


def _path(address: str) -> str:
    """Where pyarrow looks in the store: the bucket is a part of it; of files it is the path."""
    parts = urlsplit(address)
    return f"{parts.netloc}{parts.path}".rstrip("/") if parts.netloc else parts.path.rstrip("/")


def read(place: str) -> Path | bytes:
    """What `Predictor` takes: the path, or for an address the bytes that are there.

    Raises: ImageError, if they cannot be had or are too many.
    """
    if "://" not in place:
        return Path(place)
    parts = urlsplit(place)
    try:
        with _store(parts.scheme, parts.netloc).open_input_file(_path(place)) as file:
            if file.size() > MAX_BYTES:
                raise ImageError(f"{place} has {file.size():,} bytes, at most {MAX_BYTES:,} are read")
            return bytes(file.read())
    except OSError as error:
        raise ImageError(f"{place} cannot be read: {error}", code="IMG_UNREADABLE") from error
