"""Who is held out depends on what the pictures are, and on nothing else."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from iconoclass.data.split import held_out, keys_of

SEEDS = range(30)


def some_labels(seed: int, smallest: int = 2, largest: int = 60) -> np.ndarray:
    """int32 (n,): three classes of any sizes, in any order."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(smallest, largest, 3)
    return generator.permutation(np.repeat(np.arange(3, dtype=np.int32), sizes))


def names(count: int, prefix: object = "") -> list[str]:
    return [f"{prefix}-{at}" for at in range(count)]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.5, 0.9])
def test_every_class_gives_its_share_to_within_one_example(share: float) -> None:
    for seed in SEEDS:
        labels = some_labels(seed)
        held = held_out(labels, names(len(labels)), share, seed, "test")
        for label in range(3):
            count, given = np.sum(labels == label), np.sum(held[labels == label])
            assert abs(given - share * count) <= 1
            assert 1 <= given <= count - 1


def test_the_split_does_not_depend_on_the_order_of_the_examples() -> None:
    for seed in SEEDS:
        labels = some_labels(seed)
        keys = [f"{at % 50}-{label}" for at, label in enumerate(labels)]
        order = np.random.default_rng(seed).permutation(len(labels))
        held = held_out(labels, keys, 0.2, 0, "test")
        again = held_out(labels[order], [keys[at] for at in order], 0.2, 0, "test")
        assert np.array_equal(held[order], again)


def test_the_split_of_these_ten_pictures_is_the_same_for_ever() -> None:
    """Runs are compared over years: what was held out once must be held out by later releases."""
    held = held_out(np.array([0, 1] * 5, np.int32), names(10, "picture"), 0.4, 0, "test")
    assert np.flatnonzero(held).tolist() == PINNED


PINNED = [0, 1, 4, 7]


def test_identical_files_land_in_the_same_split() -> None:
    for seed in SEEDS:
        labels = some_labels(seed)
        digests = [f"{label}-{at % 20}" for at, label in enumerate(labels)]
        held = held_out(labels, keys_of([""] * len(labels), digests), 0.2, seed, "test")
        sides: dict[str, set[bool]] = {}
        for digest, side in zip(digests, held, strict=True):
            sides.setdefault(digest, set()).add(bool(side))
        assert all(len(side) == 1 for side in sides.values())


def test_groups_never_straddle_even_if_they_share_a_picture_or_hold_several_classes() -> None:
    for seed in SEEDS:
        labels = some_labels(seed, 20)
        choose = random.Random(seed)
        groups = [choose.choice(["", *names(15, "patient")]) for _ in labels]
        digests = [f"picture-{choose.randrange(200)}" for _ in labels]
        held = held_out(labels, keys_of(groups, digests), 0.2, seed, "test")
        for kind in (groups, digests):
            for word in set(kind) - {""}:
                assert len({bool(held[at]) for at, other in enumerate(kind) if other == word}) == 1


def test_copies_of_a_picture_join_the_groups_that_they_are_in() -> None:
    assert keys_of(["", "a", "b", ""], ["1", "1", "2", "3"]) == ["a", "a", "b", "3"]
    assert len(set(keys_of(["a", "b", "c"], ["1", "1", "2"]))) == 2


def test_a_group_keeps_its_key_when_it_grows() -> None:
    assert keys_of(["g", "g"], ["z", "a"]) == ["g", "g"]
    assert set(keys_of(["g", "g", "g"], ["z", "a", "0"])) == {"g"}


def test_a_class_with_two_keys_or_more_is_on_both_sides_however_large_they_are() -> None:
    for seed in SEEDS:
        choose = random.Random(seed)
        labels, keys = [], []
        for label in range(4):
            for group in range(choose.randint(2, 6)):
                size = choose.choice([1, 3, 10, 40])
                labels += [label] * size
                keys += [f"{label}-{group}"] * size
        array = np.array(labels, np.int32)
        held = held_out(array, keys, choose.choice([0.05, 0.2, 0.9]), seed, "test")
        for label in range(4):
            assert set(held[array == label].tolist()) == {True, False}


def test_a_class_of_one_key_is_left_to_learn_from() -> None:
    labels = np.array([0, 0, 0, 1, 1], np.int32)
    held = held_out(labels, ["a", "a", "a", "b", "c"], 0.5, 0, "test")
    assert not held[:3].any()
    assert held[3:].sum() == 1


def test_the_share_of_groups_is_close_to_the_one_asked_for() -> None:
    """Ten patients of 2 to 20 pictures: none is taken that would overshoot the share by more than half of itself."""
    for seed in SEEDS:
        sizes = np.random.default_rng(seed).integers(2, 21, 10)
        keys = [f"patient-{at}" for at, size in enumerate(sizes) for _ in range(size)]
        held = held_out(np.zeros(len(keys), np.int32), keys, 0.3, seed, "test")
        assert abs(held.sum() - 0.3 * len(keys)) <= max(sizes) / 2 + 1


@pytest.mark.parametrize(("count", "most"), [(50, 0.08), (100, 0.05), (1000, 0.02)])
def test_nearly_every_picture_keeps_its_split_when_a_fifth_more_join(count: int, most: float) -> None:
    """Only those at the edge move; on average 1.3 % of 100 a class, 0.4 % of 1,000."""
    moved = []
    for seed in range(20):
        labels = np.arange(count * 12 // 5, dtype=np.int32) % 2
        keys = names(len(labels), seed)
        old = held_out(labels[: 2 * count], keys[: 2 * count], 0.2, 0, "test")
        new = held_out(labels, keys, 0.2, 0, "test")
        moved.append(np.mean(old != new[: 2 * count]))
    assert max(moved) <= most
    assert np.mean(moved) <= most / 2.5


def test_nothing_moves_in_a_class_when_another_class_grows() -> None:
    labels = np.array([0] * 40 + [1] * 40 + [1] * 60, np.int32)
    keys = names(140)
    old, new = held_out(labels[:80], keys[:80], 0.2, 0, "test"), held_out(labels, keys, 0.2, 0, "test")
    assert np.array_equal(old[:40], new[:40])


def test_another_seed_or_purpose_holds_out_others() -> None:
    labels = np.zeros(200, np.int32)
    first = held_out(labels, names(200), 0.2, 0, "test")
    for other in (held_out(labels, names(200), 0.2, 1, "test"), held_out(labels, names(200), 0.2, 0, "validation")):
        assert 20 <= np.sum(first & ~other) <= 40


@pytest.mark.parametrize(
    ("grouped", "count", "digest"), [(False, 601, "2e6baf1e0a6efae3"), (True, 600, "759727e02c503759")]
)
def test_the_split_of_these_three_thousand_pictures_with_copies_is_the_same_for_ever(
    grouped: bool, count: int, digest: str
) -> None:
    """As the first release made it, with copies under several classes and groups that share pictures."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 3000).astype(np.int32)
    contents = [
        hashlib.sha256(number.to_bytes(2, "big")).hexdigest() for number in generator.integers(0, 2500, 3000).tolist()
    ]
    groups = [f"patient {number}" if number < 40 and grouped else "" for number in generator.integers(0, 80, 3000)]
    held = held_out(labels, keys_of(groups, contents), 0.2, 0, "test")
    assert held.sum() == count
    assert hashlib.sha256(held.tobytes()).hexdigest()[:16] == digest


def test_nothing_is_held_out_of_nothing() -> None:
    assert held_out(np.array([], np.int32), [], 0.2, 0, "test").tolist() == []
