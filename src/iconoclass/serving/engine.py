"""Engine: the bytes of pictures in, answers out: queue, workers and model, and how one model follows another.

A model has a lane of its own: whoever has entered a lane is answered by its model, and a new model opens a new lane. So
no batch and no answer ever mixes two versions, and an old model goes when its last answer has gone.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from iconoclass.errors import IconoclassError, ImageError
from iconoclass.images.decode import claimed_pixels
from iconoclass.prediction.manifest import MANIFEST, Manifest, manifest_beside
from iconoclass.serving.batching import Batcher, BusyError
from iconoclass.serving.limits import Limits
from iconoclass.serving.messages import APART, Message, as_error
from iconoclass.serving.model import Answer, Explanation, Model, Pixels
from iconoclass.serving.worker import CHILD, Workers

# Larger pictures are opened apart, so that nobody waits in a batch for a picture that takes a second.
QUICK_BYTES, QUICK_PIXELS = 256 << 10, 1 << 20


@dataclass(slots=True)
class Answered:
    """What came of a request. model: the one that answered all of it; answers: in order, an error in place of each
    picture that was refused.
    """

    model: Model
    answers: list[Answer | ImageError]


@dataclass(frozen=True)
class Explained:
    """Likewise of a picture that was to be explained."""

    model: Model
    explanation: Explanation


@dataclass
class Watch:
    """Who is told what happens inside. batch: how many pictures were asked about at once; lost: a worker is."""

    batch: Callable[[int], None] = lambda size: None
    lost: Callable[[], None] = lambda: None


@dataclass(slots=True)
class _Question:
    """A picture's file, or the pixels of one."""

    content: bytes
    are_pixels: bool = False


class Lane:
    """A model, the queue before it, and the workers behind it. What is explained waits in a queue of its own, for a
    worker of its own: it takes hundreds of answers.
    """

    def __init__(
        self, model: Model, workers: Workers, explainer: Workers, limits: Limits, watch: Watch, folder: Path
    ) -> None:
        self.model, self.workers, self._limits, self._folder = model, workers, limits, folder
        self._explainer = explainer
        self.accepted = 0
        self.batcher: Batcher[_Question, Answer | IconoclassError] = Batcher(
            self._ask, most=limits.batch, waiting=limits.waiting, at_once=limits.workers, seen=watch.batch
        )
        self.explaining: Batcher[bytes, Explanation | IconoclassError] = Batcher(
            self._explain, most=1, waiting=limits.explanations
        )

    @classmethod
    async def open(cls, file: Path, limits: Limits, watch: Watch | None = None, child: Sequence[str] = CHILD) -> Lane:
        """Workers that have opened, proven and warmed up a file.

        Raises: what Network.load raises; WorkerLostError.
        """
        watch = watch or Watch()
        # A worker that takes another's place must open the same file, whatever has become of it meanwhile.
        folder = Path(tempfile.mkdtemp(prefix="iconoclass-"))
        try:
            copy, manifest = await asyncio.to_thread(_copied, file, folder)
            workers = Workers([*child, str(copy)], limits.workers, watch.lost)
            described = await workers.start()
            explainer = Workers([*child, str(copy), APART], 1, watch.lost)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        model = Model.of(described, manifest.golden if manifest else [])
        return cls(model, workers, explainer, limits, watch, folder)

    async def _ask(self, questions: list[_Question]) -> list[Answer | IconoclassError]:
        head = {
            "do": "answer",
            "sizes": [len(question.content) for question in questions],
            "are_pixels": [question.are_pixels for question in questions],
            "pixels": self._limits.pixels,
        }
        body = b"".join(question.content for question in questions)
        return self._answers(await self.workers.ask(head, body, self._limits.request_s))

    def _answers(self, message: Message) -> list[Answer | IconoclassError]:
        head, body = message
        rows = iter(np.frombuffer(body, np.float32).reshape(-1, len(self.model.class_names)))
        return [as_error(told) if isinstance(told, dict) else Answer(next(rows), told) for told in head["told"]]

    async def _explain(self, pictures: list[bytes]) -> list[Explanation | IconoclassError]:
        """pictures: one."""
        [picture] = pictures
        asked = {"do": "explain", "pixels": self._limits.pixels}
        head, body = await self._explainer.ask(asked, picture, self._limits.request_s)
        if "error" in head:
            return [as_error(head["error"])]
        numbers, classes = np.frombuffer(body, np.float32), len(self.model.class_names)
        answer = Answer(numbers[:classes], head["unknown"])
        return [Explanation(answer, numbers[classes:].reshape(head["size"]), tuple(head["covers"]))]

    async def close(self) -> None:
        await asyncio.gather(self.workers.close(), self._explainer.close())
        shutil.rmtree(self._folder, ignore_errors=True)


def _copied(file: Path, folder: Path) -> tuple[Path, Manifest | None]:
    """The file and its manifest in a folder of their own."""
    for each in (file, file.parent / MANIFEST):
        if each.is_file():
            shutil.copyfile(each, folder / each.name)
    return folder / file.name, manifest_beside(folder / file.name)


@dataclass
class Engine:
    """Everything between a picture's bytes and its answer. lane: that of the model which answers from now on."""

    lane: Lane
    limits: Limits
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        self._openers = Workers(CHILD, self.limits.workers, self.watch.lost)
        self._old: set[Lane] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def model(self) -> Model:
        return self.lane.model

    @property
    def accepted(self) -> int:
        """Pictures that are being opened, waiting or asked about."""
        return self.lane.accepted + sum([lane.accepted for lane in self._old])

    @property
    def workers(self) -> int:
        """Processes that can be asked about the model."""
        return self.lane.workers.alive

    def swap(self, lane: Lane) -> None:
        """From now on this one answers; what has been accepted is answered by the old one, which then goes."""
        old, self.lane = self.lane, lane
        self._old.add(old)
        self._close_if_left(old)

    def _close_if_left(self, lane: Lane) -> None:
        if lane in self._old and not lane.accepted:
            self._old.discard(lane)
            task = asyncio.create_task(lane.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def answer(self, pictures: Sequence[bytes]) -> Answered:
        """What each picture is.

        Raises: BusyError, before anything is opened; DeadlineError; WorkerLostError; IconoclassError, for NaN.
        """
        return await self._all([_Question(picture) for picture in pictures])

    async def ask(self, pixels: Sequence[Pixels]) -> Answered:
        """As `answer`, of pixels that are the model's size already."""
        return await self._all([_Question(each.tobytes(), are_pixels=True) for each in pixels])

    async def explain(self, picture: bytes) -> Explained:
        """What a picture is, and what that rests on.

        Raises: ImageError, if the picture is refused; else as `answer`.
        """
        lane, deadline = self._enter(1)
        try:
            found = await lane.explaining.answer(picture, deadline)
        finally:
            self._leave(lane, 1)
        if isinstance(found, IconoclassError):
            raise found
        return Explained(lane.model, found)

    async def _all(self, questions: list[_Question]) -> Answered:
        """All of a request or nothing: its pictures share one deadline and come in together."""
        lane, deadline = self._enter(len(questions))
        try:
            if len(questions) == 1:  # without the tasks of a group: the usual request is of one picture
                return Answered(lane.model, [await self._one(lane, questions[0], deadline)])
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._one(lane, question, deadline)) for question in questions]
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            return Answered(lane.model, [task.result() for task in tasks])
        finally:
            self._leave(lane, len(questions))

    def _enter(self, count: int) -> tuple[Lane, float]:
        """The lane of so many pictures, which stays open until they leave it, and when their answers are due.

        Raises: BusyError.
        """
        lane, accepted = self.lane, self.accepted
        if accepted + count > self.limits.waiting:
            raise BusyError(f"{accepted} pictures are waiting already")
        lane.accepted += count
        return lane, asyncio.get_running_loop().time() + self.limits.request_s

    def _leave(self, lane: Lane, count: int) -> None:
        lane.accepted -= count
        if self._old:
            self._close_if_left(lane)

    async def _one(self, lane: Lane, question: _Question, deadline: float) -> Answer | ImageError:
        if not question.are_pixels and _is_large(question.content):
            opened = await self._opened(lane.model, question.content, deadline)
            if isinstance(opened, ImageError):
                return opened
            question = opened
        answer = await lane.batcher.answer(question, deadline)
        if isinstance(answer, IconoclassError) and not isinstance(answer, ImageError):
            raise answer
        return answer

    async def _opened(self, model: Model, picture: bytes, deadline: float) -> _Question | ImageError:
        shape = {"shape": model.image_shape, "resize": model.resize_rule, "pixels": self.limits.pixels}
        seconds = deadline - asyncio.get_running_loop().time()
        head, pixels = await self._openers.ask({"do": "open", **shape}, picture, seconds)
        error = as_error(head["error"]) if "error" in head else None
        return error if isinstance(error, ImageError) else _Question(pixels, are_pixels=True)

    async def close(self) -> None:
        await asyncio.gather(self._openers.close(), *(lane.close() for lane in (self.lane, *self._old)))
        await asyncio.gather(*self._closing)


def _is_large(picture: bytes) -> bool:
    if len(picture) > QUICK_BYTES:
        return True
    try:
        return claimed_pixels(picture) > QUICK_PIXELS
    except ImageError:
        return False  # whoever opens it says what is wrong with it
