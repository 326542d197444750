"""Workers: processes that open pictures and ask the model. One that dies or hangs is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from iconoclass.errors import IconoclassError
from iconoclass.serving.batching import DeadlineError
from iconoclass.serving.messages import Message, as_error, packed, received

log = logging.getLogger("iconoclass.serving")

START_S = 120.0  # to open and prove a model
REST_S, LONGEST_REST_S = 0.1, 5.0  # before another try, where one does not even start
LEAVE_S = 2.0
BUFFER = 1 << 20

# -P: no file of the folder that the server was started in is taken for one of Python's or ours.
CHILD = (sys.executable, "-P", "-m", "iconoclass.serving.child")


class WorkerLostError(IconoclassError):
    """The process that was asked is gone. retry_s: when to come back."""

    code = "WORKER"
    retry_s = 1.0

    def __init__(self) -> None:
        super().__init__("the process that was asked about this is gone", hint="Another takes its place: ask again.")


class _Worker:
    """One process, asked one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.hello: dict[str, Any] = {}

    @classmethod
    async def start(cls, command: Sequence[str]) -> _Worker:
        """Raises: what it says instead of hello; WorkerLostError."""
        pipe = asyncio.subprocess.PIPE
        # A session of its own: Ctrl-C in a terminal is for the server, which lets it finish first.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, limit=BUFFER, start_new_session=True
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_S):
                worker.hello, _ = await worker._reply()
            if words := worker.hello.get("error"):
                raise as_error(words)
        except BaseException:
            worker.kill()
            await worker.ended()
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, message: bytes) -> Message:
        """Raises: WorkerLostError."""
        pipe = self._process.stdin
        if pipe is None:
            raise WorkerLostError
        try:
            pipe.write(message)
            await pipe.drain()
        except OSError:
            raise WorkerLostError from None
        return await self._reply()

    async def _reply(self) -> Message:
        pipe = self._process.stdout
        if pipe is None:
            raise WorkerLostError
        try:
            return await received(pipe)
        except (OSError, EOFError, ValueError):
            raise WorkerLostError from None

    async def ended(self) -> None:
        await self._process.wait()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """It leaves when nothing more can come."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(LEAVE_S):
                await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()


class Workers:
    """So many processes of one command.

    lost: is told when one has died or was killed.
    """

    def __init__(self, command: Sequence[str], count: int, lost: Callable[[], None] = lambda: None) -> None:
        self._command, self._count, self._lost = command, count, lost
        # The last one that was busy comes first: its caches are warm.
        self._free: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        self._alive: set[_Worker] = set()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> int:
        return len(self._alive)

    async def start(self) -> dict[str, Any]:
        """What the first says when it is ready. Raises: what it says instead; WorkerLostError."""
        starts = [_Worker.start(self._command) for _ in range(self._count)]
        started = await asyncio.gather(*starts, return_exceptions=True)
        workers = [worker for worker in started if isinstance(worker, _Worker)]
        if len(workers) < self._count:
            await asyncio.gather(*(worker.close() for worker in workers))
            raise next(error for error in started if isinstance(error, BaseException))
        self._keepers = [asyncio.create_task(self._keep(worker)) for worker in workers]
        await asyncio.sleep(0)  # each is there from now on
        return workers[0].hello

    async def ask(self, head: dict[str, Any], body: bytes, seconds: float) -> Message:
        """seconds: to wait for a free one, and then for its answer; one that takes longer is killed.

        Raises: DeadlineError, WorkerLostError.
        """
        message = packed(head, body)
        worker = await self._next(seconds)
        try:
            async with asyncio.timeout(seconds):
                reply = await worker.ask(message)
        except TimeoutError:
            worker.kill()
            raise DeadlineError from None
        except BaseException:
            worker.kill()  # whatever it is still at, nobody must take its answer for one of his own
            raise
        self._free.put_nowait(worker)
        return reply

    async def _next(self, seconds: float) -> _Worker:
        """Raises: DeadlineError."""
        if not self._keepers:  # those that are seldom needed start when they are
            self._keepers = [asyncio.create_task(self._keep()) for _ in range(self._count)]
        try:
            async with asyncio.timeout(seconds):
                while True:
                    worker = await self._free.get()
                    if worker in self._alive and worker.is_alive:
                        return worker
        except TimeoutError:
            raise DeadlineError from None

    async def _keep(self, worker: _Worker | None = None) -> None:
        """One worker after the other in one place."""
        while True:
            worker = worker or await self._started()
            self._alive.add(worker)
            self._free.put_nowait(worker)
            try:
                await worker.ended()
            finally:
                self._alive.discard(worker)
            self._lost()
            worker = None

    async def _started(self) -> _Worker:
        rest_s = REST_S
        while True:
            try:
                return await _Worker.start(self._command)
            except (IconoclassError, OSError, TimeoutError) as error:
                log.error("a worker does not start: %s", error)  # noqa: TRY400 - the message says all
                await asyncio.sleep(rest_s)
                rest_s = min(2 * rest_s, LONGEST_REST_S)

    async def close(self) -> None:
        """End them all; those that are at something finish it first, within limits."""
        alive = list(self._alive)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in alive))
