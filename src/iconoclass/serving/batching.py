"""Batcher: a bounded queue in front of something that answers many at once. Adds no delay when nothing is waiting.

What comes while a batch is on its way waits and becomes the next one. So batches grow with the load by themselves, and
no timer makes a lone request wait for others that may never come. What a question costs is measured all the time: where
it is much, batches are small and several under way at once; where it is little, a few large ones are cheaper for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from iconoclass.errors import IconoclassError

BATCH_S = 0.02  # a batch holds no more questions than take about so long together
WORTH_S = 0.001  # of work must wait for another batch to start beside those that are under way
PATIENCE_S = 0.02  # after which one starts all the same: those may hang
FIRST_GUESS_S, LEARNING = 0.005, 0.2  # what a question costs before any was asked; how fast a new measurement counts

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class BusyError(IconoclassError):
    """As much is waiting as may wait. retry_s: when to come back."""

    code = "BUSY"

    def __init__(self, what: str, retry_s: float = 1.0) -> None:
        super().__init__(what, hint="Come back a little later.")
        self.retry_s = retry_s


class DeadlineError(IconoclassError):
    """No answer in time."""

    code = "DEADLINE"

    def __init__(self) -> None:
        super().__init__("there was no answer in time", hint="Ask again, or about fewer pictures at once.")


@dataclass(eq=False, slots=True)
class _Job(Generic[Question, Answer]):
    question: Question
    deadline: float
    answer: asyncio.Future[Answer]


class Batcher(Generic[Question, Answer]):
    """Questions one by one in, batches out.

    ask: answers a batch, one answer a question, in order. most: questions in a batch; waiting: questions that may wait
    for their turn; at_once: batches under way at the same time.
    """

    def __init__(
        self,
        ask: Callable[[list[Question]], Awaitable[list[Answer]]],
        *,
        most: int,
        waiting: int,
        at_once: int = 1,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._ask, self._most, self._may_wait, self._at_once, self._seen = ask, most, waiting, at_once, seen
        self._queue: deque[_Job[Question, Answer]] = deque()
        self._batches, self._under_way = 0, set[asyncio.Task[None]]()  # the tasks are kept lest they be collected
        self._each_s, self._started = FIRST_GUESS_S, 0.0
        self._asked, self._alarm = set[_Job[Question, Answer]](), _Alarm(self._end_overdue)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def answer(self, question: Question, deadline: float) -> Answer:
        """deadline: on the loop's clock, which no change of the hour moves.

        Raises: BusyError at once, if the queue is full; DeadlineError; what `ask` raises.
        """
        if len(self._queue) >= self._may_wait:
            raise BusyError(f"{len(self._queue)} pictures are waiting already")
        loop = asyncio.get_running_loop()
        job: _Job[Question, Answer] = _Job(question, deadline, loop.create_future())
        self._queue.append(job)
        self._asked.add(job)
        self._alarm.set(deadline)
        if self._is_worth_a_batch(loop.time()):
            task = loop.create_task(self._work())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            self._batches += 1
        try:
            return await job.answer
        except BaseException:
            # A client who has left, or whose time is up, gives the place back at once.
            with contextlib.suppress(ValueError):
                self._queue.remove(job)
            raise
        finally:
            self._asked.discard(job)

    def _end_overdue(self, now: float) -> float | None:
        """Whoever has waited until now is told so. When the next one is due, if there is one."""
        for job in self._asked:
            if job.deadline <= now and not job.answer.done():
                job.answer.set_exception(DeadlineError())
        return min((job.deadline for job in self._asked if job.deadline > now), default=None)

    def _is_worth_a_batch(self, now: float) -> bool:
        if not self._batches:
            return True
        is_due = len(self._queue) * self._each_s > WORTH_S or now - self._started > PATIENCE_S
        return self._batches < self._at_once and is_due

    async def _work(self) -> None:
        try:
            while batch := self._next():
                self._seen(len(batch))
                await self._settle(batch)
        finally:
            # Counted down here and not when the task has ended: whoever asks in between would wait for nobody.
            self._batches -= 1

    async def _settle(self, batch: list[_Job[Question, Answer]]) -> None:
        loop = asyncio.get_running_loop()
        began = self._started = loop.time()
        try:
            answers = await self._ask([job.question for job in batch])
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers to {len(batch)} questions")
        except Exception as error:  # whatever went wrong is told to those whom it concerns; the next batch goes on
            for job in batch:
                _refuse(job, error)
            return
        self._each_s += LEARNING * ((loop.time() - began) / len(batch) - self._each_s)
        for job, answer in zip(batch, answers, strict=True):
            if not job.answer.done():
                job.answer.set_result(answer)

    def _next(self) -> list[_Job[Question, Answer]]:
        """The first that still want an answer."""
        now = asyncio.get_running_loop().time()
        most = max(1, min(self._most, int(BATCH_S / max(self._each_s, 1e-6))))
        batch: list[_Job[Question, Answer]] = []
        while self._queue and len(batch) < most:
            job = self._queue.popleft()
            if not job.answer.done() and now < job.deadline:
                batch.append(job)
        return batch


def _refuse(job: _Job[Question, Answer], error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)


class _Alarm:
    """One timer for all that wait: one each would take as long as the rest of the waiting.

    ring: is told the time, and says when next; None: nobody is waiting.
    """

    def __init__(self, ring: Callable[[float], float | None]) -> None:
        self._ring = ring
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring then, or before."""
        if at >= self._at:
            return
        if self._timer:
            self._timer.cancel()
        self._at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._rung)

    def _rung(self) -> None:
        self._at, self._timer = math.inf, None
        following = self._ring(asyncio.get_running_loop().time())
        if following is not None:
            self.set(following)
