"""Batcher: a bounded queue in front of something that answers many at once. Adds no delay when nothing is waiting.

What comes while a batch is on its way waits and becomes the next batch. So batches grow with the load by themselves,
and no timer makes a lone request wait for others that may never come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from iconoclass.errors import IconoclassError

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class BusyError(IconoclassError):
    """As many are waiting as may wait. retry_s: when to come back."""

    code = "BUSY"

    def __init__(self, waiting: int, retry_s: float = 1.0) -> None:
        super().__init__(f"{waiting} pictures are waiting already", hint="Come back a little later.")
        self.retry_s = retry_s


class DeadlineError(IconoclassError):
    """No answer in time."""

    code = "DEADLINE"

    def __init__(self) -> None:
        super().__init__("there was no answer in time", hint="Ask again, or about fewer pictures at once.")


@dataclass(frozen=True)
class _Job(Generic[Question, Answer]):
    question: Question
    deadline: float
    answer: asyncio.Future[Answer]


class Batcher(Generic[Question, Answer]):
    """Questions one by one in, batches out.

    ask: answers a batch, one answer a question, in order; it is never called twice at a time.
    most: questions in a batch; waiting: questions that may wait for their turn.
    """

    def __init__(
        self,
        ask: Callable[[list[Question]], Awaitable[list[Answer]]],
        *,
        most: int,
        waiting: int,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._ask, self._most, self._may_wait, self._seen = ask, most, waiting, seen
        self._queue: deque[_Job[Question, Answer]] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def answer(self, question: Question, deadline: float) -> Answer:
        """deadline: on the loop's clock, which no change of the hour moves.

        Raises: BusyError at once, if the queue is full; DeadlineError; what `ask` raises.
        """
        if len(self._queue) >= self._may_wait:
            raise BusyError(len(self._queue))
        loop = asyncio.get_running_loop()
        job: _Job[Question, Answer] = _Job(question, deadline, loop.create_future())
        self._queue.append(job)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        try:
            async with asyncio.timeout_at(deadline):
                return await job.answer
        except TimeoutError:
            raise DeadlineError from None
        finally:
            # A client who has left, or whose time is up, gives the place back at once.
            if not job.answer.done() or job.answer.cancelled():
                self._give_up(job)

    def _give_up(self, job: _Job[Question, Answer]) -> None:
        job.answer.cancel()
        if job in self._queue:
            self._queue.remove(job)

    async def _work(self) -> None:
        while batch := self._next():
            self._seen(len(batch))
            try:
                answers = await self._ask([job.question for job in batch])
            except Exception as error:  # whatever went wrong is told to those whom it concerns; the next batch goes on
                for job in batch:
                    _refuse(job, error)
                continue
            for job, answer in zip(batch, answers, strict=True):
                if not job.answer.done():
                    job.answer.set_result(answer)

    def _next(self) -> list[_Job[Question, Answer]]:
        """The first that still want an answer."""
        now = asyncio.get_running_loop().time()
        batch: list[_Job[Question, Answer]] = []
        while self._queue and len(batch) < self._most:
            job = self._queue.popleft()
            if not job.answer.done() and now < job.deadline:
                batch.append(job)
        return batch


def _refuse(job: _Job[Question, Answer], error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
