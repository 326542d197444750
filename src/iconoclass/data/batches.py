"""Batches whose order and augmentation are pure functions of (seed, epoch), whatever was run before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.data.dataset import Split
from iconoclass.images.augment import MIXES, Draws, augment

# Images made ready at once: enough that NumPy's calls cost nothing beside its work, few enough to stay in the cache.
BLOCK = 512


@dataclass(frozen=True)
class Batch:
    """pixels: uint8 (batch, height, width, channels); targets: int32 (batch,) labels, or float32 (batch, classes);
    weights: float32 (batch,).
    """

    pixels: npt.NDArray[np.uint8]
    targets: npt.NDArray[Any]
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batches:
    """The training part, epoch by epoch.

    strengths: of augmentations, by name. class_weights: float32 (classes,), or None where all weigh alike.
    soft: targets as rows of probabilities; mixing augmentations need them.
    """

    split: Split
    classes: int
    batch_size: int
    seed: int
    strengths: Mapping[str, float]
    soft: bool = False
    class_weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Steps an epoch."""
        return -(-len(self.split) // self.batch_size)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """int64 (n,): the positions of the split in the order in which that epoch visits them."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.split))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Batches of equal size, give or take one image: a last batch of a few would upset batch norm."""
        batches = np.array_split(self.order(epoch), len(self))
        together = max(1, BLOCK // self.batch_size)
        blocks = [batches[at : at + together] for at in range(0, len(batches), together)]
        # One block ahead, in another thread: the network never waits for pictures.
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(self._block, blocks[0], epoch)
            for following in [*blocks[1:], None]:
                ready = waiting.result()
                if following is not None:
                    waiting = ahead.submit(self._block, following, epoch)
                yield from ready

    def _block(self, batches: list[npt.NDArray[np.int64]], epoch: int) -> list[Batch]:
        positions = np.concatenate(batches)
        labels = self.split.labels[positions]
        soft = self.soft or any(self.strengths.get(name) for name in MIXES)
        targets = np.eye(self.classes, dtype=np.float32)[labels] if soft else labels
        draws = Draws(self.seed, epoch, positions)
        pixels, targets = augment(self.split.take(positions), targets, self.strengths, draws)
        weights = np.ones(len(positions), np.float32) if self.class_weights is None else self.class_weights[labels]
        ends = np.cumsum([len(batch) for batch in batches])
        return [
            Batch(pixels[end - len(batch) : end], targets[end - len(batch) : end], weights[end - len(batch) : end])
            for end, batch in zip(ends, batches, strict=True)
        ]


def balanced_weights(labels: npt.NDArray[np.int32], classes: int) -> npt.NDArray[np.float32]:
    """float32 (classes,): the weight that makes every class count alike; their mean over examples is 1."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)
