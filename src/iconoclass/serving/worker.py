"""Worker: one thread that does one thing at a time, and is left behind if it hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

Thing = TypeVar("Thing")
_Task = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Worker:
    """A thread of its own. It is a daemon: an executor's threads would keep the process until the last has ended."""

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    async def do(self, function: Callable[[], Thing]) -> Thing:
        """What the function returns, or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Thing] = loop.create_future()
        self._tasks.put((loop, future, function))
        return await future

    def close(self) -> None:
        """End it after what it is doing."""
        self._tasks.put(None)

    def _work(self) -> None:
        while task := self._tasks.get():
            loop, future, function = task
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # it belongs to who has asked
                error = raised
            with contextlib.suppress(RuntimeError):  # nobody is there any more: the loop is closed
                loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
