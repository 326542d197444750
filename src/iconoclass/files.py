"""The files we write: whole or not at all, and where the user's cache is."""

from __future__ import annotations

import contextlib
import errno
import functools
import getpass
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from iconoclass.errors import EnvironmentFault


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and is removed when it does not.

    Whoever looks at `path` sees the old file or the new one, never half of one.
    Raises: EnvironmentFault, if the disk is full or the folder cannot be written.
    """
    # The suffix stays last: writers such as keras.Model.save choose the format by it.
    temporary = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        with explained(path):
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # what stood in its way must not hide behind this
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """What the system refuses inside the block, in our words.

    Raises: EnvironmentFault, if the disk is full or `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _REASONS:
            raise EnvironmentFault(f"cannot write {path}: {_REASONS[error.errno]}", hint=_HINT) from error
        raise


_HINT = "Make room or choose another folder (--output for runs, ICONOCLASS_CACHE for the cache)."
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "the folder does not exist",
    errno.ENOTDIR: "part of the path is a file",
    errno.EISDIR: "a folder of that name is in the way",
    errno.EEXIST: "a file of that name is in the way",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the device reports an error",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.EFBIG: "the file would be too large",
}


@contextlib.contextmanager
def writing_text(path: Path) -> Iterator[IO[str]]:
    """`writing`, for text that comes piece by piece."""
    # A name from disk may hold bytes that are no UTF-8. As \udcff they stay legible, and JSON reads them back.
    with (
        writing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        yield file


def write_text(path: Path, text: str) -> None:
    with writing_text(path) as file:
        file.write(text)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def printable(text: str) -> str:
    r"""Text from a file's or a folder's name that cannot move the cursor or colour the terminal.

    >>> printable("cat\x1b[31m.jpg")
    'cat\ufffd[31m.jpg'
    """
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def make_folder(path: Path) -> Path:
    """The folder, made if it was not there.

    Raises: EnvironmentFault, if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, str(error.strerror or error))
        raise EnvironmentFault(f"cannot make the folder {path}: {reason}", hint=_HINT) from error
    return path


def new_folder(path: Path) -> Path:
    """A folder of that name, or with -2, -3, ... behind it: nothing that is there is ever written over.

    Raises: EnvironmentFault, if it cannot be made.
    """
    make_folder(path.parent)
    number = 1
    while True:
        free = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            free.mkdir()
        except FileExistsError:
            number += 1
        except OSError:
            make_folder(free)  # says what stands in the way
            raise
        else:
            return free


STALE_S = 24 * 3600


def sweep(folder: Path) -> None:
    """Remove the hidden staging folders that nobody has written to for a day: a killed process left them."""
    for staging in folder.glob(".*"):
        with contextlib.suppress(OSError):  # another process was faster
            newest = max(path.stat().st_mtime for path in (staging, *staging.iterdir()))
            if time.time() - newest > STALE_S:
                shutil.rmtree(staging)


def cache_folder(*parts: str) -> Path:
    """A folder in the user's cache: $ICONOCLASS_CACHE, else the platform's own; a temporary one, with a notice on
    stderr, where that cannot be written, so that a read-only home stops nobody.
    """
    import platformdirs

    named = os.environ.get("ICONOCLASS_CACHE")
    root = Path(named).expanduser() if named else platformdirs.user_cache_path("iconoclass")
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable", str(root))
    except OSError as error:
        root = _temporary_cache(root, _REASONS.get(error.errno or 0, str(error)))
    return make_folder(root.joinpath(*parts))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def need_room(folder: Path, size: int) -> None:
    """Find out whether so many bytes can be written, before it is left to a library that crashes where they cannot.

    Raises: EnvironmentFault.
    """
    with explained(folder), tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # this file system cannot reserve
                    raise


_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # of Linux and, the second, of macOS


def exchange(one: Path, other: Path) -> bool:
    """Give two files or folders each other's names, in one step: whoever looks sees the one or the other under a name,
    and never neither. False, and nothing done, where the system or the file system cannot.
    """
    import ctypes

    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_WORKING_FOLDER, names[0], _AT_WORKING_FOLDER, names[1], _EXCHANGE)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _EXCHANGE)
    else:
        return False
    return not failed


def cache_contents() -> dict[str, tuple[int, int]]:
    """What the user's cache holds, by kind: the number of files and their bytes."""
    return {
        kind.name: (sum(path.is_file() for path in kind.rglob("*")), size_of(kind))
        for kind in sorted(cache_folder().iterdir())
    }


def clear_cache(kinds: Sequence[str]) -> None:
    """Remove some kinds of what the user's cache holds; what is needed of it is made or fetched again."""
    for kind in kinds:
        doomed = cache_folder() / f".{kind}.{secrets.token_hex(4)}"
        # Under another name first: whoever opens it meanwhile finds all of it or nothing.
        (cache_folder() / kind).rename(doomed)
        shutil.rmtree(doomed)


@functools.cache  # said once a process
def _temporary_cache(wanted: Path, reason: str) -> Path:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        user = str(os.getuid())
    # One a user: on a shared machine nobody must read, or fall over, what another one has put there.
    root = Path(tempfile.gettempdir()) / f"iconoclass-cache-{user}"
    print(
        f"note: the cache {wanted} cannot be written ({reason}); using {root}. ICONOCLASS_CACHE names another.",
        file=sys.stderr,
    )
    return root


def sha256_of(source: Path | bytes) -> str:
    """SHA-256 of a file or of bytes, as 64 hexadecimal digits."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return digest_of(file, "sha256")


def digest_of(file: IO[bytes], algorithm: str) -> str:
    """The digest of an open file, read to its end in pieces; algorithm is a name that hashlib knows."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def environment_folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is not set.

    Raises: EnvironmentFault, if it names no folder.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise EnvironmentFault(f"{variable}={value} is not a folder", hint=f"Correct or unset {variable}.")
    return folder


if sys.platform == "win32":
    import msvcrt

    def try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    # Some network file systems have no locks. Going on without one is safe, as the digest decides; only less thrifty.
    _NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}

    def try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True
