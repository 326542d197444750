"""A .zip or .tar of a folder of pictures -> files under names of our own, each counted while it is written.

Python's extraction filters have known bypasses, so nothing is ever extracted under a member's own name.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import secrets
import shutil
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from iconoclass.errors import DataError, EnvironmentFault, IntegrityError
from iconoclass.files import cache_folder, make_folder, sha256_of, sweep, write_text

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
FOREIGN_SUFFIXES = (".tar.zst", ".zst", ".7z", ".rar")


class Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


Members = Generator[tuple[str, Readable], None, None]

MAX_MEMBERS = 200_000
MAX_MEMBER_BYTES = 200 << 20
MAX_TOTAL_BYTES = 20 << 30
MAX_RATIO, RATIO_FROM_BYTES = 100, 10 << 20


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ZIP_SUFFIXES + TAR_SUFFIXES + FOREIGN_SUFFIXES)


def unpack(archive: Path) -> list[tuple[str, Path]]:
    """Every regular file of an archive as (name inside it, path in the user's cache), sorted by name.

    Unpacked once; the cache is keyed by the archive's content.
    Raises: IntegrityError (ARC_UNSAFE_NAME, ARC_UNSAFE_MEMBER, ARC_BOMB), if it is refused as unsafe; DataError
    (ARC_CORRUPT, ARC_ENCRYPTED, ARC_FORMAT), if it cannot be read; EnvironmentFault, if the disk is full or the like.
    Nothing is left behind then.
    """
    if archive.name.lower().endswith(FOREIGN_SUFFIXES):
        raise DataError(f"{archive} is of a kind that is not read", hint="Use .zip or .tar.gz.", code="ARC_FORMAT")
    try:
        folder = cache_folder("archives") / sha256_of(archive)[:32]
        if not (folder / "names.json").is_file():
            _unpack_to(archive, folder)
    except OSError as error:
        raise EnvironmentFault(f"{archive} cannot be unpacked into the cache: {error}") from error
    names: dict[str, str] = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    return sorted((name, folder / stored) for stored, name in names.items())


def _unpack_to(archive: Path, folder: Path) -> None:
    sweep(folder.parent)
    staging = make_folder(folder.with_name(f".{folder.name}.{secrets.token_hex(4)}"))
    try:
        names = _unpack_into(archive, staging)
        # In ASCII: names out of a tar may hold bytes that are no text.
        write_text(staging / "names.json", json.dumps(names))
        try:
            staging.rename(folder)
        except OSError:
            # Another process was faster, with the same content: the key says so.
            if not (folder / "names.json").is_file():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack_into(archive: Path, folder: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    seen: dict[str, str] = {}
    budget = _Budget(archive)
    members = _zip_members if archive.name.lower().endswith(ZIP_SUFFIXES) else _tar_members
    try:
        # Closed at once, also on the way out of an error: the generators hold the archive open.
        with closing(members(archive, budget)) as opened:
            for name, file in opened:
                name = checked_name(name)
                _refuse_a_clash(name, seen)
                stored = f"{len(names):06d}{PurePosixPath(name).suffix[:10] if name.isascii() else ''}"
                with (folder / stored).open("wb") as copy:
                    budget.copy(file, copy, name)
                names[stored] = name
    except _CORRUPT as error:
        raise DataError(f"{archive} cannot be unpacked: {error}", hint="Pack it anew.", code="ARC_CORRUPT") from error
    except RuntimeError as error:  # zipfile says so of encrypted members
        hint = "Unpack it, or pack it without a password."
        raise DataError(f"{archive} cannot be unpacked: {error}", hint=hint, code="ARC_ENCRYPTED") from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 say so of bad bytes; the system gives a number
            raise DataError(f"{archive} cannot be unpacked: {error}", code="ARC_CORRUPT") from error
        raise
    return names


_CORRUPT = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, ValueError, OverflowError),
)


def _refuse_a_clash(name: str, seen: dict[str, str]) -> None:
    """Raises: IntegrityError, if the name or a folder of it was seen before in another spelling, or the name at all.

    Two names that differ only in case, or in how an accent is composed, are one file on many systems.
    """
    for part in [*map(str, PurePosixPath(name).parents[:-1]), name]:
        before = seen.get(same := unicodedata.normalize("NFC", part).casefold())
        if before is not None and (before != part or part == name):
            hint = "Give them different names, or leave one out."
            raise IntegrityError(f"the archive holds {before!r} and {part!r}", hint=hint, code="ARC_UNSAFE_NAME")
        seen[same] = part


def _zip_members(archive: Path, budget: _Budget) -> Members:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = (member.external_attr >> 16) & 0o170000
            if member.is_dir():
                continue
            if kind not in (0, 0o100000):
                raise IntegrityError(f"{member.filename!r} is a link or a device", code="ARC_UNSAFE_MEMBER")
            with opened.open(member) as file:
                # orig_filename: zipfile itself cuts names at NUL and rewrites separators, which would hide them.
                yield member.orig_filename, _Counted(file, budget)


def _tar_members(archive: Path, budget: _Budget) -> Members:
    with _decompressed(archive) as stream:
        # Counted below tarfile, for its headers may unpack to as much as any file.
        counted = _Counted(stream, budget)
        for member in (tar := tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|", bufsize=1 << 20)):  # noqa: SIM115
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise IntegrityError(f"{member.name!r} is a link, a device or sparse", code="ARC_UNSAFE_MEMBER")
            if file := tar.extractfile(member):
                yield member.name, file
        # tarfile takes a file that was cut between two members for a whole one.
        if counted.last_block.strip(b"\0"):
            raise EOFError("it is cut short")
        while counted.read(1 << 20):  # up to the checksum at the end of a .gz or .xz
            pass


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        begins = file.read(6)
    openers: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    opener = next((opener for magic, opener in openers.items() if begins.startswith(magic)), open)
    return cast(IO[bytes], opener(archive, "rb"))


class _Counted:
    """A stream whose bytes are counted as they come out."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self.stream, self.budget = stream, budget
        self.last_block = b""

    def read(self, count: int, /) -> bytes:
        piece = self.stream.read(count)
        self.budget.unpack(len(piece))
        self.last_block = piece[-512:] or self.last_block
        return piece


def checked_name(name: str) -> str:
    """The member's name with '/' between parts.

    Raises: IntegrityError, if it could mean a place outside the archive on any system.
    """
    parts = name.removeprefix("./").split("/")
    unsafe = (
        name.startswith("/")
        or re.match(r"[A-Za-z]:", name)
        or any(character in name for character in "\\\0\u2024\u2025\u2026\u2044\u2215\uff0e\uff0f")
        or any(part in {"", ".", ".."} or part != part.rstrip(". ") for part in parts)
        or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts)
    )
    if unsafe:
        raise IntegrityError(
            f"a member's name is unsafe: {name[:80]!r}", hint="Pack the folder anew.", code="ARC_UNSAFE_NAME"
        )
    return "/".join(parts)


class _Budget:
    """What an archive may grow to. Sizes are counted as they come out: what the archive says of itself may be a lie."""

    def __init__(self, archive: Path) -> None:
        self.packed_bytes = archive.stat().st_size
        self.unpacked_bytes = self.members = 0

    def unpack(self, count: int) -> None:
        """Raises: IntegrityError, if so many bytes more are too many."""
        self.unpacked_bytes += count
        ratio = self.unpacked_bytes / max(1, self.packed_bytes)
        if self.unpacked_bytes > MAX_TOTAL_BYTES or (self.unpacked_bytes > RATIO_FROM_BYTES and ratio > MAX_RATIO):
            what = f"the archive unpacks to over {self.unpacked_bytes:,} bytes: a bomb"
            raise IntegrityError(what, code="ARC_BOMB")

    def copy(self, file: Readable, copy: IO[bytes], name: str) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise IntegrityError(f"the archive holds over {MAX_MEMBERS} files", code="ARC_BOMB")
        member_bytes = 0
        while piece := file.read(1 << 20):
            member_bytes += len(piece)
            if member_bytes > MAX_MEMBER_BYTES:
                raise IntegrityError(f"{name!r} unpacks to over {MAX_MEMBER_BYTES} bytes: a bomb", code="ARC_BOMB")
            copy.write(piece)
