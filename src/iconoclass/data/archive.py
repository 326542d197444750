"""A .zip or .tar of a folder of pictures -> files under names of our own, each counted while it is written.

Python's extraction filters have known bypasses, so nothing is ever extracted under a member's own name.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

from iconoclass.errors import DataError, IntegrityError
from iconoclass.files import cache_folder, make_folder, sha256_of, write_json

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
FOREIGN_SUFFIXES = (".tar.zst", ".zst", ".7z", ".rar")

Members = Generator[tuple[str, IO[bytes]], None, None]

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
    (ARC_CORRUPT, ARC_ENCRYPTED, ARC_FORMAT), if it cannot be read. Nothing is left behind then.
    """
    if archive.name.lower().endswith(FOREIGN_SUFFIXES):
        raise DataError(f"{archive} is of a kind that is not read", hint="Use .zip or .tar.gz.", code="ARC_FORMAT")
    folder = cache_folder("archives") / sha256_of(archive)[:32]
    if not (folder / "names.json").is_file():
        staging = make_folder(folder.with_name(f".{folder.name}.{secrets.token_hex(4)}"))
        try:
            _unpack_into(archive, staging)
            shutil.rmtree(folder, ignore_errors=True)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    names: dict[str, str] = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    return sorted((name, folder / stored) for stored, name in names.items())


def _unpack_into(archive: Path, folder: Path) -> None:
    names: dict[str, str] = {}
    seen: dict[str, str] = {}
    budget = _Budget(archive)
    members = _zip_members if archive.name.lower().endswith(ZIP_SUFFIXES) else _tar_members
    try:
        # Closed at once, also on the way out of an error: the generators hold the archive open.
        with closing(members(archive)) as opened:
            for name, file in opened:
                name = checked_name(name)
                # Two names that differ only in case, or in how an accent is composed, are one file on many systems.
                same = unicodedata.normalize("NFC", name).casefold()
                if same in seen:
                    raise IntegrityError(f"{archive} holds '{name}' and '{seen[same]}'", code="ARC_UNSAFE_NAME")
                seen[same] = name
                stored = f"{len(names):06d}{PurePosixPath(name).suffix[:10] if name.isascii() else ''}"
                with (folder / stored).open("wb") as copy:
                    budget.copy(file, copy, name)
                names[stored] = name
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, UnicodeError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}", code="ARC_CORRUPT") from error
    except RuntimeError as error:  # zipfile says so of encrypted members
        raise DataError(f"{archive} cannot be unpacked: {error}", code="ARC_ENCRYPTED") from error
    write_json(folder / "names.json", names)


def _zip_members(archive: Path) -> Members:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = (member.external_attr >> 16) & 0o170000
            if member.is_dir():
                continue
            if kind not in (0, 0o100000):
                raise IntegrityError(f"'{member.filename}' is a link or a device", code="ARC_UNSAFE_MEMBER")
            with opened.open(member) as file:
                # orig_filename: zipfile itself cuts names at NUL and rewrites separators, which would hide them.
                yield member.orig_filename, file


def _tar_members(archive: Path) -> Members:
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise IntegrityError(f"'{member.name}' is a link, a device or sparse", code="ARC_UNSAFE_MEMBER")
            if file := opened.extractfile(member):
                yield member.name, file


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
        self.total_bytes = self.members = 0

    def copy(self, file: IO[bytes], copy: IO[bytes], name: str) -> None:
        self.members += 1
        member_bytes = 0
        while piece := file.read(1 << 20):
            member_bytes += len(piece)
            self.total_bytes += len(piece)
            ratio = self.total_bytes / max(1, self.packed_bytes)
            if (
                member_bytes > MAX_MEMBER_BYTES
                or self.total_bytes > MAX_TOTAL_BYTES
                or self.members > MAX_MEMBERS
                or (self.total_bytes > RATIO_FROM_BYTES and ratio > MAX_RATIO)
            ):
                raise IntegrityError(f"'{name}' makes the archive unpack to too much: a bomb", code="ARC_BOMB")
            copy.write(piece)
        if self.members > MAX_MEMBERS:
            raise IntegrityError(f"the archive holds over {MAX_MEMBERS} files", code="ARC_BOMB")
