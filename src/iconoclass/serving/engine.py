"""Engine: the bytes of pictures in, answers out: decoders, queue and model, and how one model follows another.

A model has a lane of its own: whoever has entered a lane is answered by its model, and a new model opens a new lane. So
no batch and no answer ever mixes two versions, and an old model goes when its last answer has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from iconoclass.errors import ImageError
from iconoclass.images.decode import MAX_PIXELS, read_header
from iconoclass.serving.batching import Batcher, BusyError, DeadlineError
from iconoclass.serving.limits import Limits
from iconoclass.serving.model import Answer, Model, Pixels
from iconoclass.serving.worker import Worker

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Answered:
    """What came of a request. model: the one that answered all of it; answers: in order, an error in place of each
    picture that was refused.
    """

    model: Model
    answers: list[Answer | ImageError]


class _Lane:
    """A model and the queue before it."""

    def __init__(self, model: Model, engine: Engine, seen: Callable[[int], None]) -> None:
        self.model, self._engine = model, engine
        limits = engine.limits
        self.batcher: Batcher[Pixels, Answer] = Batcher(self._ask, most=limits.batch, waiting=limits.waiting, seen=seen)

    async def _ask(self, pictures: list[Pixels]) -> list[Answer]:
        return await self._engine.ask_model(self.model, pictures)


class Engine:
    """Everything between a picture's bytes and its answer."""

    def __init__(self, model: Model, limits: Limits, seen: Callable[[int], None] = lambda size: None) -> None:
        self.limits, self._seen = limits, seen
        self._decoders = ThreadPoolExecutor(limits.decoders, thread_name_prefix="decoder")
        self._worker = Worker("model")
        self._lane = _Lane(model, self, seen)
        self._accepted = 0

    @property
    def model(self) -> Model:
        return self._lane.model

    @property
    def accepted(self) -> int:
        """Pictures that are being decoded, waiting or asked about."""
        return self._accepted

    def swap(self, model: Model) -> None:
        """From now on this model answers; what has been accepted is answered by the old one."""
        self._lane = _Lane(model, self, self._seen)

    async def answer(self, pictures: Sequence[bytes], *, seconds: float | None = None) -> Answered:
        """What each picture is. seconds: less time than the limits give, where the client asks for that.

        Raises: BusyError, before anything is decoded; DeadlineError; NaNAnswerError.
        """
        lane = self._lane
        return Answered(lane.model, await self._within(seconds, len(pictures), lane, self._decoded_and_asked, pictures))

    async def ask(self, pixels: Sequence[Pixels], *, seconds: float | None = None) -> Answered:
        """As `answer`, of pixels that are the model's size already."""
        lane = self._lane
        return Answered(lane.model, await self._within(seconds, len(pixels), lane, self._asked, pixels))

    async def _within(
        self,
        seconds: float | None,
        count: int,
        lane: _Lane,
        each: Callable[[_Lane, Any, float], Coroutine[Any, Any, Thing]],
        things: Sequence[Any],
    ) -> list[Thing]:
        """All of a request or nothing: its pictures share one deadline and come in together."""
        if self._accepted + count > self.limits.waiting:
            raise BusyError(self._accepted)
        deadline = asyncio.get_running_loop().time() + min(seconds or self.limits.request_s, self.limits.request_s)
        self._accepted += count
        try:
            if count == 1:  # without the tasks of a group: the usual request is of one picture
                return [await each(lane, things[0], deadline)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each(lane, thing, deadline)) for thing in things]
            return [task.result() for task in tasks]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._accepted -= count

    async def _decoded_and_asked(self, lane: _Lane, picture: bytes, deadline: float) -> Answer | ImageError:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                pixels = await loop.run_in_executor(self._decoders, self._prepared, lane.model, picture)
        except ImageError as error:
            return error
        except TimeoutError:
            raise DeadlineError from None
        return await lane.batcher.answer(pixels, deadline)

    async def ask_model(self, model: Model, pictures: list[Pixels]) -> list[Answer]:
        """Of one batch. A model that hangs is left behind with its thread, and the next batch gets a new one.

        Raises: DeadlineError, NaNAnswerError.
        """
        worker = self._worker
        try:
            # Whoever asked has given up by then.
            async with asyncio.timeout(self.limits.request_s):
                return await worker.do(lambda: model.answer(pictures))
        except TimeoutError:
            worker.close()
            self._worker = Worker("model")
            raise DeadlineError from None

    async def _asked(self, lane: _Lane, pixels: Pixels, deadline: float) -> Answer:
        return await lane.batcher.answer(pixels, deadline)

    def _prepared(self, model: Model, picture: bytes) -> Pixels:
        if self.limits.pixels < MAX_PIXELS:
            header = read_header(picture)
            if header.width * header.height > self.limits.pixels:
                what = (
                    f"the picture has {header.width} x {header.height} pixels, where {self.limits.pixels:,} are allowed"
                )
                raise ImageError(what, hint="Send it smaller.", code="IMG_TOO_MANY_PIXELS")
        return model.prepared(picture)

    def close(self) -> None:
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._worker.close()
