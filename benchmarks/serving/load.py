"""A load generator: raw sockets in one thread, connections kept open, pictures in turn.

python benchmarks/serving/load.py http://localhost:8000/predict PICTURES... --connections 16 --seconds 10
python benchmarks/serving/load.py http://localhost:8000/predict PICTURES... --rate 500 --seconds 10

Closed loop: each connection asks again as soon as it has its answer. Open loop (--rate): requests are due at random
times, whether or not earlier ones have been answered, and a latency counts from when its request was due.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
OVERTIME_S = 15.0  # what is under way at the end may still be answered


@dataclass
class Seen:
    """What came of one request. picture: which; seconds: from when it was sent or due; status: 0 if the line broke."""

    picture: int
    at: float
    seconds: float
    status: int
    body: bytes


@dataclass
class Load:
    """All that was seen, in the order of the answers."""

    took: float
    seen: list[Seen] = field(default_factory=list)

    def of(self, *statuses: int) -> list[Seen]:
        return [one for one in self.seen if one.status in statuses]

    def summary(self) -> dict[str, float | int]:
        good, refused = self.of(200), self.of(429, 503)
        counts = Counter(one.status for one in self.seen)
        return {
            "per_second": round(len(good) / self.took, 1),
            **_percentiles("", good),
            "refused": len(refused),
            **(_percentiles("refused_", refused) if refused else {}),
            "broken": counts[0],
            "other": sum(count for status, count in counts.items() if status not in (0, 200, 429, 503)),
        }


def _percentiles(name: str, seen: list[Seen]) -> dict[str, float]:
    found = np.percentile([one.seconds for one in seen] or [float("nan")], [50, 99]) * 1000
    return {f"{name}p50_ms": round(float(found[0]), 2), f"{name}p99_ms": round(float(found[1]), 2)}


class _Line:
    """A connection, and the request that is under way on it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.picture, self.began = 0, 0.0
        self.is_open, self.is_asked = True, False

    def ask(self, picture: int, request: bytes, began: float) -> None:
        self.picture, self.began, self.received = picture, began, b""
        self.is_asked = True
        self.socket.sendall(request)

    def answer(self) -> tuple[int, bytes] | None:
        """Status and body, once all is there; status 0 where the line broke."""
        try:
            part = self.socket.recv(1 << 18)
        except OSError:
            return 0, b""
        if not part:
            return 0, b""
        self.received += part
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = _LENGTH.search(head)
        is_whole = len(body) >= int(length[1]) if length else body.endswith(_LAST_CHUNK)
        return (int(head[9:12]), body) if is_whole else None


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of Python's garbage: to look through a million answers takes a second, in which none that
    comes is seen. There are no cycles here that it would find.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Generator:
    """Asks one address about pictures, whole requests ready to be sent."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes]) -> None:
        self.address, self.requests = address, requests
        self._lines: dict[int, _Line] = {}
        self._poll = select.epoll()

    @_uncollected()
    def closed(self, connections: int, seconds: float) -> Load:
        """So many connections, each of which asks again as soon as it has its answer."""
        began = time.perf_counter()
        until, load, turn = began + seconds, Load(seconds), 0
        for _ in range(connections):
            self._ask(self._open(), turn := turn + 1, time.perf_counter())
        busy = connections
        while busy and time.perf_counter() < until + OVERTIME_S:
            for line in self._answered(load, began, 1.0):
                if time.perf_counter() < until:
                    self._ask(line, turn := turn + 1, time.perf_counter())
                else:
                    busy -= 1
        self.close()
        load.seen = [one for one in load.seen if one.at <= seconds]  # what came in overtime is not in the rate
        return load

    @_uncollected()
    def opened(self, rate: float, seconds: float, connections: int = 900, seed: int = 0) -> Load:
        """Requests due at random times, so many a second on average. connections: at most, above them they wait."""
        gaps = np.random.default_rng(seed).exponential(1 / rate, round(rate * seconds))
        due, began = np.cumsum(gaps), time.perf_counter()
        load, sent, idle = Load(seconds), 0, [self._open() for _ in range(16)]
        while len(load.seen) < len(due) and time.perf_counter() < began + seconds + OVERTIME_S:
            now = time.perf_counter() - began
            idle = [line for line in idle if line.is_open]
            while sent < len(due) and due[sent] <= now and (idle or len(self._lines) < connections):
                self._ask(idle.pop() if idle else self._open(), sent, began + due[sent])
                sent += 1
            idle_for = max(0.0, due[sent] - now) if sent < len(due) else 0.5
            idle += self._answered(load, began, min(idle_for, 0.5) if idle or len(self._lines) < connections else 0.5)
        load.seen += [Seen(line.picture, seconds, seconds, 0, b"") for line in self._lines.values() if line not in idle]
        self.close()
        return load

    def close(self) -> None:
        for line in self._lines.values():
            line.socket.close()
        self._lines = {}

    def _open(self) -> _Line:
        line = _Line(self.address)
        self._lines[line.socket.fileno()] = line
        self._poll.register(line.socket, select.EPOLLIN)
        return line

    def _ask(self, line: _Line, turn: int, began: float) -> None:
        picture = turn % len(self.requests)
        line.ask(picture, self.requests[picture], began)

    def _answered(self, load: Load, start: float, wait_s: float) -> Iterator[_Line]:
        """The lines that have had their answer; a broken one is replaced."""
        for number, _ in self._poll.poll(wait_s):
            line = self._lines[number]
            answer = line.answer()
            if answer is None:
                continue
            if answer[0] == 0:
                del self._lines[number]
                line.socket.close()
                line.is_open = False
            if line.is_asked:  # else the server has closed a connection that has long been idle, as it may
                line.is_asked = False
                now = time.perf_counter()
                load.seen.append(Seen(line.picture, now - start, now - line.began, *answer))
                yield line if line.is_open else self._open()


def request_for(url: str, picture: bytes, *, form: bool = False, headers: str = "") -> bytes:
    """A whole HTTP request about one picture: as the body, or as a form with the field `file`."""
    parts, kind = urlsplit(url), "application/octet-stream"
    if form:
        kind = "multipart/form-data; boundary=B"
        start = (
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        )
        picture = start + picture + b"\r\n--B--\r\n"
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}Content-Type: {kind}\r\nContent-Length: "
    return f"{head}{len(picture)}\r\n\r\n".encode() + picture


def generator(url: str, pictures: Sequence[bytes], *, form: bool = False) -> Generator:
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    return Generator(address, [request_for(url, picture, form=form) for picture in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, help="open loop: requests a second")
    given = parser.parse_args()
    asking = generator(given.url, [path.read_bytes() for path in given.pictures])
    load = asking.opened(given.rate, given.seconds) if given.rate else asking.closed(given.connections, given.seconds)
    print(json.dumps(load.summary()))


if __name__ == "__main__":
    main()
