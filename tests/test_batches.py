"""What a training sees in an epoch is a pure function of (seed, epoch), whatever was run before it or beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from iconoclass.data.batches import BLOCK, Batch, Batches, balanced_weights
from iconoclass.data.dataset import Split
from iconoclass.images.augment import AUGMENTATIONS

USUAL = {"flip": 0.5, "shift": 0.1, "rotate": 15.0, "zoom": 0.1, "brightness": 0.3, "contrast": 0.3, "cutout": 0.3}
CLASSES = 3


def split_of(count: int) -> Split:
    """Random 8 x 8 pictures whose first pixel says which one they are, in a larger array."""
    random = np.random.default_rng(0)
    source = random.integers(0, 256, (count + 10, 8, 8, 3), np.uint8)
    rows = random.permutation(count + 10)[:count]
    source[:, 0, 0, 0], source[:, 0, 0, 1] = np.divmod(np.arange(count + 10), 256)
    labels = random.integers(0, CLASSES, count).astype(np.int32)
    return Split(source, rows, labels, [str(row) for row in rows], [str(row) for row in rows], [""] * count)


def batches_of(count: int = 100, batch_size: int = 16, seed: int = 0, **settings: Any) -> Batches:
    return Batches(split_of(count), CLASSES, batch_size, seed, **{"strengths": {}} | settings)


def told(epoch: list[Batch]) -> str:
    """A digest of all that an epoch holds."""
    return hashlib.sha256(
        b"".join(b.pixels.tobytes() + b.targets.tobytes() + b.weights.tobytes() for b in epoch)
    ).hexdigest()


def rows_in(epoch: list[Batch]) -> list[int]:
    pixels = np.concatenate([batch.pixels for batch in epoch]).astype(int)
    return (pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 0, 1]).tolist()


@pytest.mark.parametrize("strengths", [{}, USUAL, {"mixup": 0.4, "cutmix": 1.0}])
def test_an_epoch_is_the_same_whether_or_not_others_were_run_before(strengths: dict[str, float]) -> None:
    one, other = batches_of(strengths=strengths), batches_of(strengths=strengths)
    in_turn = [told(list(one.epoch(epoch))) for epoch in range(4)]
    assert told(list(other.epoch(3))) == in_turn[3]
    assert told(list(one.epoch(3))) == in_turn[3]
    assert len(set(in_turn)) == 4


def test_an_epoch_is_the_same_in_another_process() -> None:
    code = (
        "from test_batches import batches_of, told, USUAL\n"
        "print(told(list(batches_of(strengths=USUAL, seed=5).epoch(2))))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=__file__.rpartition("/")[0]
    ).stdout.strip()
    assert said == told(list(batches_of(strengths=USUAL, seed=5).epoch(2)))


def test_another_seed_gives_another_order_and_other_augmentation() -> None:
    assert batches_of(seed=0).order(0).tolist() != batches_of(seed=1).order(0).tolist()
    assert batches_of(seed=0).order(1).tolist() != batches_of(seed=1).order(0).tolist()
    assert told(list(batches_of(seed=0, strengths=USUAL).epoch(0))) != told(
        list(batches_of(seed=1, strengths=USUAL).epoch(0))
    )


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 100, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("batch_size", [1, 16, 33, 1000])
def test_every_example_comes_once_an_epoch_in_batches_of_nearly_one_size(count: int, batch_size: int) -> None:
    batches = batches_of(count, batch_size)
    epoch = list(batches.epoch(0))
    sizes = {len(batch.pixels) for batch in epoch}
    assert len(epoch) == len(batches)
    assert max(sizes) - min(sizes) <= 1
    assert 1 <= min(sizes) <= max(sizes) <= batch_size
    assert sorted(rows_in(epoch)) == sorted(batches.split.rows.tolist())
    assert rows_in(epoch) == batches.split.rows[batches.order(0)].tolist()


def test_pictures_keep_their_labels() -> None:
    batches = batches_of()
    epoch = list(batches.epoch(0))
    labels = dict(zip(batches.split.rows.tolist(), batches.split.labels.tolist(), strict=True))
    assert [labels[row] for row in rows_in(epoch)] == np.concatenate([batch.targets for batch in epoch]).tolist()
    assert {batch.targets.dtype for batch in epoch} == {np.dtype(np.int32)}
    assert {batch.pixels.dtype for batch in epoch} == {np.dtype(np.uint8)}


def test_one_hot_targets_are_the_labels() -> None:
    hard, soft = list(batches_of().epoch(0)), list(batches_of(soft=True).epoch(0))
    for one, other in zip(hard, soft, strict=True):
        assert other.targets.dtype == np.float32
        assert other.targets.shape == (len(one.targets), CLASSES)
        assert np.array_equal(other.targets.argmax(1), one.targets)
        assert np.array_equal(np.sort(other.targets, 1), np.tile([0, 0, 1], (len(one.targets), 1)))
        assert np.array_equal(other.pixels, one.pixels)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixing_makes_rows_of_probabilities_unasked(mix: str) -> None:
    for batch in batches_of(strengths={mix: 1.0}).epoch(0):
        assert batch.targets.shape[1] == CLASSES
        assert batch.targets.sum(1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_augmentation_of_an_example_does_not_depend_on_its_batch(name: str) -> None:
    def by_row(batch_size: int) -> dict[int, np.ndarray]:
        plain = batches_of(90, batch_size)
        changed = batches_of(90, batch_size, strengths={name: USUAL[name]})
        rows = rows_in(list(plain.epoch(1)))
        return dict(zip(rows, np.concatenate([batch.pixels for batch in changed.epoch(1)]), strict=True))

    one, other = by_row(7), by_row(64)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[row], other[row]) for row in one)


def test_the_array_of_pictures_is_never_written_to() -> None:
    batches = batches_of(strengths=USUAL | {"mixup": 0.4})
    before = batches.split.source.copy()
    batches.split.source.setflags(write=False)
    list(batches.epoch(0))
    assert np.array_equal(batches.split.source, before)


def test_drawn_alike_every_class_is_shown_as_often_and_each_epoch_others() -> None:
    labels = np.array([0] * 30 + [1] * 7 + [2] * 3, np.int32)
    batches = batches_of(draws_alike=True)
    batches = dataclasses.replace(batches, split=dataclasses.replace(split_of(40), labels=labels))
    first, second = batches.order(0), batches.order(1)
    assert np.array_equal(first, batches.order(0))
    assert not np.array_equal(first, second)
    assert len(first) == 40
    assert np.bincount(labels[first % 40]).tolist() == [13, 13, 14]
    assert sum(len(batch.pixels) for batch in batches.epoch(0)) == 40
    assert len(np.unique(first)) == 40, "an image that is shown again is shown with other draws"
    assert set(first[labels[first % 40] == 2] % 40) == {37, 38, 39}, "all of a rare class, before any twice"


def test_balanced_weights_have_mean_1_and_make_every_class_count_alike() -> None:
    labels = np.repeat([0, 1, 2], [80, 15, 5]).astype(np.int32)
    weights = balanced_weights(labels, 3)
    assert weights.dtype == np.float32
    assert weights[labels].mean() == pytest.approx(1)
    assert weights[0] < weights[1] < weights[2]
    assert weights * [80, 15, 5] == pytest.approx(100 / 3)
    assert balanced_weights(np.array([0, 1, 1], np.int32), 3)[[0, 1, 1]].mean() == pytest.approx(1)


def test_a_batch_carries_the_weight_of_each_example_s_class() -> None:
    weights = np.array([0.5, 1.0, 3.0], np.float32)
    for batch in batches_of(class_weights=weights).epoch(0):
        assert np.array_equal(batch.weights, weights[batch.targets])
    assert all((batch.weights == 1).all() for batch in batches_of().epoch(0))


def test_leaving_an_epoch_half_way_leaves_no_thread_behind() -> None:
    import threading

    epoch = batches_of(3 * BLOCK).epoch(0)
    next(epoch)
    epoch.close()
    for thread in threading.enumerate():
        if thread.name == "batches":  # it ends with the block that it is at
            thread.join(timeout=30)
            assert not thread.is_alive()


@pytest.mark.parametrize("strengths", [{}, USUAL, {"mixup": 0.4, "cutmix": 1.0}])
@pytest.mark.parametrize("done", [1, 7, 9, 30, 31])
def test_an_epoch_taken_up_in_the_middle_goes_on_as_if_it_had_not_been_left(
    done: int, strengths: dict[str, float]
) -> None:
    """Those that are mixed with each other stay together."""
    batches = batches_of(3 * BLOCK, batch_size=50, strengths=strengths)
    assert len(batches) == 31
    assert told(list(batches.epoch(2, done))) == told(list(batches.epoch(2))[done:])
