"""serve(): from the command to the last answer: load, listen, say where, watch for new versions, drain, leave."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import logging
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from iconoclass.errors import EnvironmentFault, IconoclassError, Interrupted, Terminated
from iconoclass.process import keep_what_is_there
from iconoclass.serving.access import Access
from iconoclass.serving.api import State, build
from iconoclass.serving.engine import Engine, Lane, Watch
from iconoclass.serving.limits import Limits
from iconoclass.serving.metrics import Metrics
from iconoclass.serving.model import Source
from iconoclass.serving.shedding import Shedder

log = logging.getLogger("iconoclass.serving")

GRACE_S = 0.3  # between "not ready" and the closed door, for requests that are on their way
HUSH_S = 0.2  # between the last connection that is let in and the closed door, for its request
WATCH_S = 1.0

Tell = Callable[[str], None]


def serve(
    path: Path | str,
    *,
    access: Access,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    watch: bool = False,
    tell: Tell = lambda url: None,
) -> None:
    """Serve a run or an exported file until SIGTERM or Ctrl-C, then answer what has been accepted.

    tell: hears the address, once requests are answered. port: 0 takes a free one.
    Raises: EnvironmentFault, if the port is taken; what Network.load raises; Terminated, if not all that had been
    accepted could be answered in time.
    """
    limits = limits or Limits()
    door = _door(host, port)  # before the model: a taken port is told at once
    try:
        source = Source(path)
        stamp = source.stamp
        source.file()  # made now if need be, while Ctrl-C still ends everything at once
        url = f"http://{'localhost' if host == '127.0.0.1' else host}:{door.getsockname()[1]}"
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(source, stamp if watch else None, access, limits, door, lambda: tell(url)))
    except asyncio.CancelledError:
        raise Terminated("stopped before it was ready") from None
    finally:
        door.close()


def _door(host: str, port: int) -> socket.socket:
    """Raises: EnvironmentFault."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio would not turn off Nagle's delay: 40 ms for every answer.
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except (OSError, OverflowError) as error:
        door.close()
        what = f"{host}:{port} cannot be listened at: {getattr(error, 'strerror', None) or error}"
        raise EnvironmentFault(what, hint="Take another with --port, or 0 for any.", code="PORT") from error
    return door


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        return None
    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make


async def _serve(
    source: Source,
    watched: tuple[int, ...] | None,
    access: Access,
    limits: Limits,
    door: socket.socket,
    ready: Callable[[], None],
) -> None:
    """watched: the stamp of what is loaded first; None: new versions are not looked for."""
    _end_at_sigterm(asyncio.current_task())
    metrics = Metrics()
    watch = Watch(metrics.batches.observe, metrics.lost.inc)
    engine = Engine(await Lane.open(source.file(), limits, watch), limits, watch)
    state = State(engine, metrics, source.report)
    server = _Server(state, build(state, access), limits, door)
    tasks = [asyncio.create_task(_when_started(server, ready))]
    if watched is not None:
        tasks.append(asyncio.create_task(_watch(source, state, watched)))
    try:
        await server.serve(sockets=[door])
    finally:
        for task in tasks:
            task.cancel()
        await engine.close()
    server.refuse_dropped()


def _end_at_sigterm(task: asyncio.Task[Any] | None) -> None:
    """Until the server listens, and minds signals itself: nothing is to be answered, only to be put away."""
    loop = asyncio.get_running_loop()
    if task:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, lambda number, _: loop.call_soon_threadsafe(task.cancel))


async def _when_started(server: _Server, ready: Callable[[], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    keep_what_is_there()
    ready()


async def _watch(source: Source, state: State, stamp: tuple[int, ...]) -> None:
    """Load what is new, prove it, and let it answer; what is bad changes nothing."""
    seen = stamp
    while True:
        await asyncio.sleep(WATCH_S)
        now = source.stamp
        if not now or now == seen:
            continue
        await asyncio.sleep(WATCH_S)
        if source.stamp != now:
            continue  # still being written
        seen = now
        await reload(source, state)


async def reload(source: Source, state: State) -> bool:
    """Whether the new version answers from now on."""
    try:
        file = await asyncio.to_thread(source.file)
        lane = await Lane.open(file, state.engine.limits, state.engine.watch)
        model = lane.model
        if model.class_names != state.model.class_names:
            log.warning("the new version has other classes; clients will see them")
    except (IconoclassError, OSError) as error:
        log.error("the new version is not served, the old one stays: %s", error)  # noqa: TRY400 - the message says all
        state.metrics.reloads.labels("refused").inc()
        return False
    state.engine.swap(lane)
    state.metrics.tell_model(model.name, model.version)
    state.metrics.reloads.labels("served").inc()
    return True


def _ignore_callers(door: socket.socket) -> None:
    """Let nobody in any more, and those who stand in the queue before the door all the same; Linux can.

    A closed door resets whoever is still in its queue. Who is not heard tries again a second later, and is refused.
    """
    if sys.platform != "linux":
        return
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    kept = ctypes.create_string_buffer(program, len(program))
    with contextlib.suppress(OSError):  # a kernel that will not: then as elsewhere
        door.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(kept)))


# A filter for SO_ATTACH_FILTER (26), in the kernel's words (code, jump if true, jump if false, value): the flags of a
# TCP header; of them SYN and ACK; is it SYN alone? Then drop it, else let it pass whole.
_DROP_SYN = [(0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]


# -- what uvicorn does otherwise -------------------------------------------------------------------------------------


class _Lingering:
    """A connection, closed in two steps while part of a request is on its way: first our side alone. What is closed
    with something unread is reset, and the answer may be lost with it (RFC 9112, 9.6).

    awaited_s: how long the other side may go on; 0, if nothing of a request is on its way.
    """

    def __init__(self, transport: Any, awaited_s: Callable[[], float]) -> None:
        self._transport, self._awaited_s = transport, awaited_s
        self.write = transport.write  # each answer needs it twice
        self.is_half_closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.is_half_closed or bool(self._transport.is_closing())

    def close(self) -> None:
        if self.is_closing() or not self._awaited_s():
            self._transport.close()
            return
        self.is_half_closed = True
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(self._awaited_s(), self._transport.close)


class _Impatient(HttpToolsProtocol):
    """A connection whose headers do not come is closed: uvicorn would wait for them for ever. Where a body does not
    come, whoever waits for its first part is told that it is empty so far. Who is refused while he sends may finish,
    in the time that he had, and reads why.

    Most requests come whole, in one go: these need no timer. Where nobody more may wait, they are told so at once.
    """

    shedder: Shedder
    headers_s = body_s = 10.0
    _is_within = False  # a request
    _awaited_s = 0.0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_Lingering(transport, lambda: self._awaited_s))  # type: ignore[arg-type]
        self._await(self.headers_s)
        self._set_timer()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_half_closed:  # type: ignore[attr-defined]
            return
        is_next = not self._is_within and (self.cycle is None or self.cycle.response_complete)
        if is_next and not self.flow.write_paused and (refusal := self._refusal(data)):
            self._refuse(refusal)
            return
        super().data_received(data)
        self._set_timer()

    def _refusal(self, data: bytes) -> bytes | None:
        return self.shedder.refusal(data, self.server_state.default_headers)

    def _refuse(self, refusal: bytes) -> None:
        """As an answer of the application's: the connection stays open for the next request, for a while."""
        self._await(0.0)
        self._unset_keepalive_if_required()
        self.transport.write(refusal)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        self._is_within = True
        super().on_message_begin()
        self._await(self.headers_s)

    def on_headers_complete(self) -> None:
        self._await(self.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_within = False
        self._await(0.0)
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(0.0)
        super().connection_lost(exc)

    def _await(self, seconds: float) -> None:
        self._awaited_s = seconds
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _set_timer(self) -> None:
        if self._awaited_s and not self._waiting:
            self._waiting = self.loop.call_later(self._awaited_s, self._give_up)

    def _give_up(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            self.cycle.message_event.set()
        else:
            self._leave()

    def shutdown(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            super().shutdown()
        else:
            self._leave()

    def _leave(self) -> None:
        """Now, whatever is on its way."""
        self._await(0.0)
        self.transport.close()


class _Server(uvicorn.Server):
    """First "not ready", then the closed door; a second signal does not wait."""

    def __init__(self, state: State, app: Any, limits: Limits, door: socket.socket) -> None:
        own = {"shedder": Shedder(state), "headers_s": limits.headers_s, "body_s": limits.body_s}
        protocol = type("_Connection", (_Impatient,), own)
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=limits.connections,
                timeout_graceful_shutdown=int(limits.drain_s) or 1,
            )
        )
        self.state = state
        self._door = door
        self._signals = 0
        self._dropped = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but that the process then leaves as we say, not killed by the signal."""
        loop = asyncio.get_running_loop()
        before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not the main thread
                before[number] = signal.signal(number, lambda number, _: loop.call_soon_threadsafe(self.leave, number))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def leave(self, number: int = signal.SIGTERM) -> None:
        self._signals += 1
        self.state.is_ready = False
        if self._signals > 1:
            self._dropped = self.state.engine.accepted
            self.should_exit = self.force_exit = True
            return
        asyncio.get_running_loop().call_later(GRACE_S, self._let_nobody_in)

    def _let_nobody_in(self) -> None:
        _ignore_callers(self._door)
        asyncio.get_running_loop().call_later(HUSH_S, self._close)

    def _close(self) -> None:
        self.should_exit = True

    async def _wait_tasks_to_complete(self) -> None:
        try:
            await super()._wait_tasks_to_complete()
        except asyncio.CancelledError:
            self._dropped = self.state.engine.accepted
            raise

    def refuse_dropped(self) -> None:
        """Raises: Terminated, if accepted pictures have no answer; Interrupted, if somebody did not want to wait."""
        if self._dropped:
            raise Terminated(f"stopped with {self._dropped} pictures unanswered")
        if self.force_exit:
            raise Interrupted("stopped")
