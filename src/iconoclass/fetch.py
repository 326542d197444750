"""A published file -> the same bytes in a folder: downloaded once, its digest checked before anybody can see it.

A download survives what networks do: a mirror that is gone, a cut, a stall, a login page that calls itself the file,
a kill half-way (the next call goes on from there), and a second process that wants the same file at the same time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from iconoclass.errors import DownloadError, EnvironmentFault, UsageError
from iconoclass.files import digest_of, make_folder, sha256_of, try_lock, write_json, write_text, writing

IsIt: TypeAlias = Callable[[Path], bool]
Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Told (file name, bytes that are here, bytes in all or None where nobody knows), at the start and after each piece."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody publishes, and how to know it.

    name: its file name in the cache; what a user who brings it by hand must call it.
    digest: "md5:..." or "sha256:...", as published; None where nobody states one (see `fetch`, is_it).
    urls: http or https; tried in order, all of them give the same bytes.
    size_bytes: where published; a wrong file is then refused before it is read.
    Raises: UsageError, if one of these is not so.

    >>> RemoteFile("mnist.npz", "md5:0123", ("https://example.org/mnist.npz",))
    Traceback (most recent call last):
        ...
    iconoclass.errors.UsageError: error[USAGE]: 'md5:0123' is not "md5:" and 32 or "sha256:" and 64 hexadecimal digits.
    """

    name: str
    digest: str | None
    urls: tuple[str, ...]
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.name in ("", ".", "..") or set(self.name) & set("/\\"):
            raise UsageError(f"'{self.name}' is not a plain file name")
        if self.digest is not None and not re.fullmatch(r"md5:[0-9a-fA-F]{32}|sha256:[0-9a-fA-F]{64}", self.digest):
            raise UsageError(f"""'{self.digest}' is not "md5:" and 32 or "sha256:" and 64 hexadecimal digits""")
        for url in self.urls:
            if not url.lower().startswith(("http://", "https://")):
                raise UsageError(f"'{url}' is not an http or https address")


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    is_it: IsIt | None = None,
    timeout_s: float = 30,
    retries: int = 2,
) -> Path:
    """The file in folder, downloaded if it is not there, its digest checked before it becomes visible under its name.

    A file that is there is hashed each time, so a damaged one is fetched anew instead of trusted. One that is right
    is returned without a connection, and the folder may then be read-only.

    offline: never connect.
    is_it: where no digest is published, tells the file by its content. The digest of the first one that it accepts is
        kept beside it, and from then on is the file's.
    timeout_s: how long a mirror may be silent.
    retries: how often each mirror is asked again after a fault that may pass (a timeout, a cut, a status such as 503),
        going on from where it stopped; a try that brought a megabyte more is not counted.
    Raises: DownloadError, if it is not there and cannot be had; it says why and where to put the file by hand.
        EnvironmentFault, if the disk is full or the folder cannot be used.
    """
    path = folder / file.name
    try:
        known = _Known(file, path, is_it)
        if not known.is_right(path):
            if offline:
                raise _not_had(file, path, "must be downloaded, but downloads are switched off", reasons=[])
            make_folder(folder)
            job = _Job(file, known, _Part(path), progress or _silence, timeout_s, retries)
            with _alone(path, while_waiting=job.tell_size):
                # Whoever held the lock before us may have brought it.
                if not known.is_right(path):
                    _download(job, path)
        known.keep(path)
    except OSError as error:
        # What the network does has become a _MirrorError by now: this is the disk.
        raise EnvironmentFault(f"cannot use {path}: {error.strerror or error}", hint=_ELSEWHERE) from error
    return path


_ELSEWHERE = "Check the disk and the permissions, or choose another folder with ICONOCLASS_CACHE."
_PAUSE_S = 0.5
_PIECE_BYTES = 1 << 16
_PROGRESS_BYTES = 1 << 20


def _silence(name: str, done_bytes: int, total_bytes: int | None) -> None:
    pass


class _Known:
    """How the file is told from others: by the published digest, else by one that was kept, else by its content."""

    def __init__(self, file: RemoteFile, path: Path, is_it: IsIt | None) -> None:
        self.size_bytes, self.is_it = file.size_bytes, is_it
        self.kept = path.with_name(f"{path.name}.sha256")
        self.must_keep = file.digest is None and not self.kept.is_file()
        digest = file.digest
        if digest is None and not self.must_keep:
            digest = f"sha256:{self.kept.read_text(encoding='utf-8').strip()}"
        self.digest = digest

    def is_right(self, path: Path) -> bool:
        if not path.is_file() or self.size_bytes not in (None, path.stat().st_size):
            return False
        if self.digest is None:
            return self.is_it is not None and self.is_it(path)
        algorithm, _, digits = self.digest.partition(":")
        with path.open("rb") as opened:
            return digest_of(opened, algorithm) == digits.lower()

    def keep(self, path: Path) -> None:
        if self.must_keep:
            write_text(self.kept, sha256_of(path) + "\n")


def _not_had(file: RemoteFile, path: Path, why: str, reasons: list[str]) -> DownloadError:
    damaged = " (the copy that is there is damaged)" if path.exists() else ""
    size = f", {file.size_bytes} bytes" if file.size_bytes is not None else ""
    lines = [
        *(["The reasons:", *reasons] if reasons else ["It is published at:", *(f"  {url}" for url in file.urls)]),
        *([f"The file wanted has the digest {file.digest}{size}."] if file.digest else []),
        "Try again when the network allows it, or bring the file yourself and put it exactly here:",
        f"  {path.absolute()}",
    ]
    return DownloadError(f"{file.name} {why}{damaged}", hint="\n".join(lines))


# What is said of a mirror ---------------------------------------------------------------------------------------------


class _MirrorError(Exception):
    """One mirror does not give the file; another may."""


class _TransientError(_MirrorError):
    """Asked again, it may."""


class _WrongBytesError(_MirrorError):
    """What has come is not the beginning, or not the whole, of the file."""


# Too Early and Too Many Requests say by their names that they pass.
_PASSING_STATUSES = {408, 425, 429, *range(500, 600)}


def _mirror_error(error: Exception, timeout_s: float) -> _MirrorError:
    """A network's exception, as what it means for this mirror and in words for the user."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return _status_error(error.code, error.reason)
    if isinstance(error, urllib.error.URLError):
        if not isinstance(error.reason, Exception):
            return _MirrorError(str(error.reason))
        error = error.reason
    if isinstance(error, TimeoutError):
        return _TransientError(f"nothing came for {timeout_s:g} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _MirrorError(f"its certificate is not trusted: {error.verify_message}")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # An address that cannot be: the one that a redirect named.
    is_nonsense = isinstance(error, (ValueError, http.client.InvalidURL))
    return _MirrorError(reason) if is_nonsense else _TransientError(reason)


def _status_error(status: int, reason: str) -> _MirrorError:
    if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return _WrongBytesError("its file is shorter than what had already come")
    kind = _TransientError if status in _PASSING_STATUSES else _MirrorError
    return kind(f"HTTP {status} {reason}".rstrip())


# What has come so far -------------------------------------------------------------------------------------------------


class _Part:
    """The bytes that have come, beside the final name, and which version of which mirror's file they began with."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.part")
        self.origin = path.with_name(f".{path.name}.part.json")

    def size_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, url: str, validator: str | None) -> None:
        # In this order: bytes of one version must never lie beside the validator of another.
        self.path.write_bytes(b"")
        write_json(self.origin, {"url": url, "validator": validator})

    def validator(self, url: str) -> str | None:
        """What names the version that this mirror gave; None, if the part is another mirror's or nothing is known."""
        try:
            origin = json.loads(self.origin.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        is_known = isinstance(origin, dict) and origin.get("url") == url and isinstance(origin.get("validator"), str)
        return origin["validator"] if is_known else None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def move_to(self, path: Path) -> None:
        # On the disk before it is renamed; else a power cut could leave the name without the bytes.
        with self.path.open("r+b") as opened:
            os.fsync(opened.fileno())
        self.path.replace(path)
        self.remove()


@dataclass(frozen=True)
class _Job:
    file: RemoteFile
    known: _Known
    part: _Part
    progress: Progress
    timeout_s: float
    retries: int

    def tell_size(self) -> None:
        self.progress(self.file.name, self.part.size_bytes(), self.file.size_bytes)


# Mirrors, tries, one request ------------------------------------------------------------------------------------------


def _download(job: _Job, path: Path) -> None:
    """The file under path, from the first mirror that gives it.

    Raises: DownloadError, if none does.
    """
    with writing(path) as whole:
        # A kill may have come between the last byte and the renaming.
        if not job.known.is_right(job.part.path):
            _complete_from_any(job, path)
        job.part.move_to(whole)


def _complete_from_any(job: _Job, path: Path) -> None:
    reasons = []
    for url in job.file.urls:
        try:
            _complete(job, url)
        except _MirrorError as error:
            reasons.append(f"  {url}\n    {error}")
        else:
            return
    raise _not_had(job.file, path, "could not be downloaded", reasons)


def _complete(job: _Job, url: str) -> None:
    """The part, made whole and right by this mirror.

    Raises: _MirrorError, if it cannot.
    """
    is_fresh = job.part.size_bytes() == 0
    try:
        _receive_with_retries(job, url)
    except _WrongBytesError:
        job.part.remove()
        if is_fresh:
            raise
        # The wrong half may be the one that an earlier call or another mirror left: once more, from the first byte.
        _complete(job, url)


def _receive_with_retries(job: _Job, url: str) -> None:
    failed, best_bytes = 0, job.part.size_bytes()
    while True:
        try:
            return _receive(job, url)
        except _TransientError as error:
            # A slow server that cuts a long download every few minutes gives the file in the end: that is no failure.
            # Only what goes beyond the best so far counts, or a server that always starts at 0 would never end.
            failed += 1
            if job.part.size_bytes() >= best_bytes + _PROGRESS_BYTES:
                failed, best_bytes = 0, job.part.size_bytes()
            if failed > job.retries:
                raise _MirrorError(f"{error} (try {failed} of {job.retries + 1})") from error
            time.sleep(_PAUSE_S * 2 ** max(failed - 1, 0))


def _receive(job: _Job, url: str) -> None:
    """One request: the bytes that are missing, and the proof that they make the file."""
    here_bytes = job.part.size_bytes()
    with _answer(job, url, here_bytes) as response:
        start_bytes = _start_bytes(response, here_bytes)
        total_bytes = _total_bytes(response, start_bytes)
        kind = response.headers.get_content_type()
        # Before the part is touched: a login page must not cost what had come from a good mirror.
        if job.file.size_bytes is not None and total_bytes not in (None, job.file.size_bytes):
            raise _MirrorError(f"offers {total_bytes} bytes of {kind}, which is not the file")
        if start_bytes == 0:
            job.part.begin(url, _validator(response))
        _copy(job, response, total_bytes)
    if not job.known.is_right(job.part.path):
        what = "whose digest is not the file's" if job.known.digest else "which are not the file"
        raise _WrongBytesError(f"sent {job.part.size_bytes()} bytes of {kind}, {what}")


def _answer(job: _Job, url: str, here_bytes: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "iconoclass"})
    if here_bytes:
        request.add_header("Range", f"bytes={here_bytes}-")
        if validator := job.part.validator(url):
            request.add_header("If-Range", validator)
    with _as_mirror_errors(job):
        response: http.client.HTTPResponse = _opener().open(request, timeout=job.timeout_s)
    return response


def _opener() -> urllib.request.OpenerDirector:
    """What opens http and https and nothing else: urlopen would follow a redirect to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@contextlib.contextmanager
def _as_mirror_errors(job: _Job) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _mirror_error(error, job.timeout_s) from error


def _start_bytes(response: http.client.HTTPResponse, here_bytes: int) -> int:
    """Where in the file the answer begins: at the missing bytes, or at 0 where the whole file is sent again."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    if not response.headers.get("Content-Range", "").startswith(f"bytes {here_bytes}-"):
        raise _WrongBytesError("sent another range than the one it was asked for")
    return here_bytes


def _total_bytes(response: http.client.HTTPResponse, start_bytes: int) -> int | None:
    """How long the server says that the whole file is."""
    in_all = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    if start_bytes and in_all:
        return int(in_all[1])
    length = response.headers.get("Content-Length", "")
    return start_bytes + int(length) if length.isdecimal() else None


def _validator(response: http.client.HTTPResponse) -> str | None:
    # A weak ETag (W/"...") promises like meaning, not like bytes: RFC 9110 forbids it in If-Range.
    etag: str | None = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _copy(job: _Job, response: http.client.HTTPResponse, total_bytes: int | None) -> None:
    """The answer's bytes, behind those that are in the part.

    Raises: _TransientError, if it ends too early; _WrongBytesError, if it goes on too long.
    """
    done_bytes = job.part.size_bytes()
    most_bytes = job.file.size_bytes or sys.maxsize
    with job.part.path.open("ab") as part:
        job.progress(job.file.name, done_bytes, total_bytes)
        while piece := _next_piece(job, response):
            part.write(piece)
            done_bytes += len(piece)
            if done_bytes > most_bytes:
                raise _WrongBytesError(f"sent more than the file's {most_bytes} bytes")
            job.progress(job.file.name, done_bytes, total_bytes)
    # http.client ends a body that is shorter than its Content-Length without a word.
    if total_bytes is not None and done_bytes < total_bytes:
        raise _TransientError(f"the connection was cut after {done_bytes} of {total_bytes} bytes")


def _next_piece(job: _Job, response: http.client.HTTPResponse) -> bytes:
    with _as_mirror_errors(job):
        return response.read(_PIECE_BYTES)


# One process at a time ------------------------------------------------------------------------------------------------

_POLL_S = 0.1


@contextlib.contextmanager
def _alone(path: Path, *, while_waiting: Callable[[], None]) -> Iterator[None]:
    """A block that one process or thread at a time is in, for this path.

    The system frees the lock when its holder ends, however it ends. The empty lock file stays: removing it would let a
    third process lock a new one while a second still waits for the old.
    """
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        while not try_lock(lock):
            while_waiting()
            time.sleep(_POLL_S)
        yield
