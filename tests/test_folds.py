"""Every picture is judged once, by a model that has not seen it or its like; and naive splits claim too much."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.data.split import folds, learned_and_held
from iconoclass.errors import UsageError
from iconoclass.training.progress import Listener


def test_folds_keep_groups_whole_and_classes_even() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3, dtype=np.int32), [300, 100, 20])
    keys = [f"{label}-{group}" for label, group in zip(labels, random.integers(0, 60, len(labels)), strict=True)]
    found = folds(labels, keys, 5, 0, "folds")
    fold_of = dict(zip(keys, found.tolist(), strict=True))
    assert [fold_of[key] for key in keys] == found.tolist(), "a group was divided"
    counts = np.array([np.bincount(labels[found == fold], minlength=3) for fold in range(5)])
    assert (np.abs(counts - [60, 20, 4]) <= [6, 3, 2]).all(), counts


def test_folds_are_those_of_the_pictures_whatever_their_order() -> None:
    labels = np.arange(40, dtype=np.int32) % 2
    keys = [str(number) for number in range(40)]
    order = np.random.default_rng(1).permutation(40)
    there = folds(labels[order], [keys[at] for at in order], 4, 7, "folds")
    assert (folds(labels, keys, 4, 7, "folds")[order] == there).mean() > 0.6, "only ties may fall otherwise"
    again = folds(labels, keys, 4, 7, "folds")
    assert np.array_equal(again, folds(labels, keys, 4, 7, "folds"))
    assert not np.array_equal(again, folds(labels, keys, 4, 8, "folds")), "another seed, other folds"


def test_each_picture_is_judged_in_one_fold_and_a_given_test_part_in_none() -> None:
    parts = [ic.load_dataset("digits", fold=f"{number}/3") for number in (1, 2, 3)]
    judged = [name for part in parts for name in part.test.names]
    assert len(judged) == len(set(judged))
    whole = ic.load_dataset("digits")
    if whole.test_was_drawn:
        assert len(judged) == sum(map(len, whole.splits.values()))
    for part in parts:
        assert not set(part.test.sha256) & set(part.train.sha256)


def test_every_example_is_held_out_once_and_every_class_is_always_learned() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), [30, 20, 6])
    keys = [f"{label}-{number // 2}" for number, label in enumerate(labels)]  # pairs that belong together
    found = learned_and_held(labels, keys, 5, 0, "x")
    assert len(found) == 3, "as many folds as the smallest class has pairs"
    assert np.array_equal(np.sort(np.concatenate([held for _, held in found])), np.arange(len(labels)))
    for learned, held in found:
        assert not {keys[at] for at in learned} & {keys[at] for at in held}
        assert set(labels[learned]) == {0, 1, 2}


def test_a_class_of_one_group_leaves_no_folds() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1], np.int32)
    assert learned_and_held(labels, ["a", "b", "c", "d", "d", "d"], 5, 0, "x") == []


def test_a_fold_that_is_none_is_refused() -> None:
    for wrong in ("3/2", "0/5", "1/1", "x"):
        with pytest.raises(UsageError, match="2/5"):
            ic.load_dataset("digits", fold=wrong)


def test_cross_validation_judges_all_and_keeps_every_run(tmp_path: Path) -> None:
    found = ic.cross_validate("digits", 2, model="resnet", width=4, epochs=1, output=tmp_path, listener=Listener())
    assert [run.name for run in found.runs] == ["fold-1", "fold-2"]
    written = json.loads((found.path / "folds.json").read_text())
    examples = [row["examples"] for row in written["folds"]]
    pooled = sum(row["accuracy"]["value"] * row["examples"] for row in written["folds"]) / sum(examples)
    assert written["accuracy"]["value"] == pytest.approx(pooled)
    assert written["accuracy"]["low"] < pooled < written["accuracy"]["high"]
    assert f"{sum(examples):,}" in found.table().splitlines()[-1]
    with pytest.raises(UsageError, match="2 to 100"):
        ic.cross_validate("digits", 1, output=tmp_path)


@pytest.fixture
def twins(tmp_path: Path) -> Path:
    """Noise that has nothing to do with its class, each picture five times over: only who has seen it can know."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "twins" / name).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            for copy in range(5):
                Image.fromarray(pixels).save(tmp_path / "twins" / name / f"{number}-{'abcde'[copy]}.png")
    return tmp_path / "twins"


def test_a_naive_split_claims_what_an_honest_one_does_not(twins: Path, tmp_path: Path) -> None:
    run = ic.train(
        twins, model="resnet", width=8, epochs=40, compare_naive=True, output=tmp_path / "runs", listener=Listener()
    )
    naive = run.summary["naive"]
    assert (run.path.parent / naive["run"]).is_dir()
    assert naive["test_accuracy"]["value"] > 0.9
    assert run.summary["test_accuracy"]["value"] < 0.8


def test_where_the_test_part_was_given_there_is_no_split_to_compare(tmp_path: Path) -> None:
    pixels, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
    pixels += np.arange(40, dtype=np.uint8)[:, None, None]
    path = tmp_path / "given.npz"
    np.savez(path, x_train=pixels[:30], y_train=labels[:30], x_test=pixels[30:], y_test=labels[30:])
    with pytest.raises(UsageError, match="its own test part"):
        ic.train(path, compare_naive=True, output=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
