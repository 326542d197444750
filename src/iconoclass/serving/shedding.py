"""Shedding: requests that are refused before they are read with care, since nobody more may wait.

To read one with care, and to tell it then that all places are taken, costs nearly as much as to answer it. Under a
flood that would be most of what the server does.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from iconoclass.serving.batching import BusyError
from iconoclass.serving.guard import HEADERS
from iconoclass.serving.problems import problem

if TYPE_CHECKING:
    from iconoclass.serving.api import State

ROUTE = "/predict"
_START = re.compile(rb"POST /predict(\?\S*)? HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-request-id: *([A-Za-z0-9._-]{1,64})\r\n", re.IGNORECASE)
# Who says one of these wants more than an answer, or says twice how long his request is.
_MORE = re.compile(
    rb"\r\n(transfer-encoding|expect|upgrade|connection:[^\r]*close)|content-length.*content-length",
    re.DOTALL | re.IGNORECASE,
)


class Shedder:
    """Knows when all places are taken, and the whole answer to whoever asks then."""

    def __init__(self, state: State) -> None:
        self._state, self._most = state, state.engine.limits.waiting
        self._coming = 0  # let in since the routes last had their turn: they have taken no place yet
        marked = problem(BusyError(f"{self._most} pictures are waiting already"), "{id}")
        self._before, self._after = bytes(marked.body).split(b"{id}")
        told = [header for header in marked.raw_headers if header[0] != b"content-length"]
        self._head = b"HTTP/1.1 429 Too Many Requests\r\n" + _lines([*told, *HEADERS])

    def refusal(self, data: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """What to write to who has sent this, at the beginning of a request; None: let him in.

        Refused is only what is a whole request for predictions and nothing else. Keys are not asked for: that costs
        more, and nobody learns anything from being told to come back. headers: of every answer.
        """
        if not _START.match(data):
            return None
        if self._state.is_ready and self._state.engine.accepted + self._coming >= self._most:
            head = _head_of_whole(data)
            return self._refused(head, headers) if head else None
        if not self._coming:
            asyncio.get_running_loop().call_soon(self._have_come)
        self._coming += 1
        return None

    def _have_come(self) -> None:
        self._coming = 0

    def _refused(self, head: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        began = time.perf_counter()
        given = _ID.search(head)
        name = given[1] if given else secrets.token_hex(8).encode()
        body = self._before + name + self._after
        own = (b"x-request-id", name), (b"content-length", b"%d" % len(body))
        answer = b"".join([self._head, _lines([*headers, *own]), b"\r\n", body])
        self._state.metrics.shed.inc()
        self._state.metrics.count(ROUTE, 429, time.perf_counter() - began)
        return answer


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def _head_of_whole(data: bytes) -> bytes | None:
    """First line and headers, if this is one request from its first byte to its last, whose length is said once."""
    end = data.find(b"\r\n\r\n")
    head = data[: end + 2]
    length = _LENGTH.search(head)
    if length is None or end + 4 + int(length[1]) != len(data) or _MORE.search(head):
        return None
    return head
