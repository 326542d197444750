"""Batches whose order and augmentation are pure functions of (seed, epoch), whatever was run before."""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.data.dataset import Split
from iconoclass.errors import EnvironmentFault
from iconoclass.images.augment import MIXES, Draws, augment

# Images made ready at once: enough that NumPy's calls cost nothing beside its work, few enough to stay in the cache.
BLOCK = 512
# Of large images, no more of them than have so many pixels: what a network makes of them must fit into memory.
BLOCK_PIXELS = 512 * 64 * 64

# The next block is ready in a fraction of a second; on a busy network folder it may take a minute.
PATIENCE_S = 300.0


def at_once(shape: tuple[int, ...]) -> int:
    """How many images (height, width, channels) are worked on together."""
    return max(16, min(BLOCK, BLOCK_PIXELS // (shape[0] * shape[1])))


@dataclass(frozen=True)
class Batch:
    """pixels: uint8 (batch, height, width, channels); targets: int32 (batch,) labels, or float32 (batch, classes);
    weights: float32 (batch,). others: how many more images there are in it, which other workers have.
    """

    pixels: npt.NDArray[np.uint8]
    targets: npt.NDArray[Any]
    weights: npt.NDArray[np.float32]
    others: int = 0

    @property
    def images(self) -> int:
        return len(self.pixels) + self.others


@dataclass(frozen=True)
class Batches:
    """The training part, epoch by epoch.

    strengths: of augmentations, by name. class_weights: float32 (classes,), or None where all weigh alike.
    draws_alike: an epoch shows as many images of each class, some of them several times, others not.
    soft: targets as rows of probabilities; mixing augmentations need them. slice_of: which slice of each batch is
    wanted, and of how many; its weights are such that the mean over all slices is that of the whole batch.
    """

    split: Split
    classes: int
    batch_size: int
    seed: int
    strengths: Mapping[str, float]
    soft: bool = False
    class_weights: npt.NDArray[np.float32] | None = None
    draws_alike: bool = False
    slice_of: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        """Steps an epoch."""
        return -(-len(self.split) // self.batch_size)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """int64 (n,): the positions of the split in the order in which that epoch visits them.

        A position that is visited again has n more, each time: it is the same image with other draws.
        """
        random = np.random.default_rng([self.seed, epoch])
        return _alike(self.split.labels, random) if self.draws_alike else random.permutation(len(self.split))

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Batches of equal size, give or take one image: a last batch of a few would upset batch norm.

        done: so many are left out at the beginning.
        """
        batches = np.array_split(self.order(epoch), len(self))
        together = max(1, at_once(self.split.source.shape[1:]) // self.batch_size)
        # The block with the first batch that is wanted is made whole: its images are mixed with each other.
        skipped, left_out = divmod(done, together)
        blocks = [batches[at : at + together] for at in range(skipped * together, len(batches), together)]
        # One block ahead, in another thread: the network never waits for pictures.
        waiting = _begun(self._block, blocks[0], epoch)
        for following in [*blocks[1:], None]:
            ready = _awaited(waiting)
            if following is not None:
                waiting = _begun(self._block, following, epoch)
            yield from ready[left_out:]
            left_out = 0

    def _block(self, batches: list[npt.NDArray[np.int64]], epoch: int) -> list[Batch]:
        which, parts = self.slice_of
        sizes = [len(batch) for batch in batches]
        batches = [np.array_split(batch, parts)[which] for batch in batches]
        visits = np.concatenate(batches)
        positions = visits % len(self.split)
        labels = self.split.labels[positions]
        soft = self.soft or any(self.strengths.get(name) for name in MIXES)
        targets = np.eye(self.classes, dtype=np.float32)[labels] if soft else labels
        draws = Draws(self.seed, epoch, visits)
        pixels, targets = augment(self.split.take(positions), targets, self.strengths, draws)
        weights = np.ones(len(positions), np.float32) if self.class_weights is None else self.class_weights[labels]
        made, at = [], 0
        for batch, size in zip(batches, sizes, strict=True):
            mine, at = slice(at, at + len(batch)), at + len(batch)
            weigh = np.float32(parts * len(batch) / size)
            made.append(Batch(pixels[mine], targets[mine], weights[mine] * weigh, size - len(batch)))
        return made


def _begun(work: Callable[..., list[Batch]], *arguments: Any) -> Future[list[Batch]]:
    """What another thread is at. It ends with the program: one that hangs on a dead disk holds nobody up."""
    future: Future[list[Batch]] = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="batches").start()
    return future


def _awaited(future: Future[list[Batch]]) -> list[Batch]:
    """Raises: EnvironmentFault, if it does not come; where each thread stands then is on stderr."""
    try:
        return future.result(PATIENCE_S)
    except TimeoutError:
        if future.done():  # the work's own error
            raise
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        what = f"no pictures have come for {PATIENCE_S:.0f} s"
        raise EnvironmentFault(
            what, hint="Is the disk with the cache still there? ICONOCLASS_CACHE names another."
        ) from None


def _alike(labels: npt.NDArray[np.int32], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Visits, as many as there are labels and of each class as many, give or take one; see `Batches.order`."""
    classes, count = np.unique(labels), len(labels)
    drawn = []
    for place, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        wanted = (count + place) // len(classes)
        rounds = range(-(-wanted // len(members)))
        drawn.append(np.concatenate([random.permutation(members) + again * count for again in rounds])[:wanted])
    return random.permutation(np.concatenate(drawn))


def are_unequal(labels: npt.NDArray[np.int32]) -> bool:
    """Whether the largest class has more than twice the examples of the smallest."""
    counts = np.unique(labels, return_counts=True)[1]
    return bool(counts.max() > 2 * counts.min())


def balanced_weights(labels: npt.NDArray[np.int32], classes: int) -> npt.NDArray[np.float32]:
    """float32 (classes,): the weight that makes every class count alike; their mean over examples is 1."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)
