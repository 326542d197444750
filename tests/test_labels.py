"""Planted wrong labels are found, and what is found can be given to train."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.evaluation.labels import (
    Suspect,
    Suspects,
    confident_mislabels,
    judged_by_others,
    out_of_sample,
    suspects,
)
from iconoclass.run import Run


def test_the_surest_mislabel_comes_first_and_doubtful_ones_are_left_alone() -> None:
    """Class 0 is usually given 0.9, class 1 usually 0.8."""
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.85, 0.15], [0.2, 0.8], [0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    labels = np.array([0, 0, 0, 1, 1, 1, 0], np.int32)
    found, other = confident_mislabels(labels, probabilities)
    assert found.tolist() == [5, 6]
    assert other.tolist() == [0, 1]
    found, _ = confident_mislabels(np.array([0, 0, 1], np.int32), np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]))
    assert not len(found)


def test_as_many_are_taken_for_a_class_as_the_share_believed_to_be_of_it_says() -> None:
    """Class 0 is usually given 0.607. Of the six of it that anything is believed of, two are believed to be of class 1;
    so three of its nine are taken for it, the last by its margin alone.
    """
    own = np.array([0.95, 0.95, 0.95, 0.95, 0.02, 0.04, 0.4, 0.6, 0.6])
    probabilities = np.array([*np.stack([own, 1 - own], axis=1), [0.06, 0.94], [0.06, 0.94]])
    labels = np.array([0] * 9 + [1, 1], np.int32)
    found, other = confident_mislabels(labels, probabilities)
    assert found.tolist() == [4, 5, 6]
    assert other.tolist() == [1, 1, 1]
    sure = np.delete(np.arange(11), 6)
    assert confident_mislabels(labels[sure], probabilities[sure])[0].tolist() == [4, 5]


def test_what_is_suspected_is_not_learned_from_unless_a_class_would_be_lost() -> None:
    train = ic.load_dataset("digits").train.sample(300)
    features = train.pixels.reshape(300, -1) / 16.0
    wrong = np.arange(0, 300, 8)
    labels = train.labels.copy()
    labels[wrong] = (labels[wrong] + 3) % 10
    planted = dataclasses.replace(train, labels=labels)
    once, again = out_of_sample(features, planted, 10), judged_by_others(features, planted, 10)
    rest = np.setdiff1d(np.arange(300), wrong)
    assert again[rest, labels[rest]].mean() > once[rest, labels[rest]].mean() + 0.02
    all_of_one = labels != 4
    assert (out_of_sample(features, planted, 10, trusted=all_of_one) > 0).all()


def test_each_example_is_judged_by_a_model_that_has_not_seen_it() -> None:
    """On features that say nothing, whoever had seen the labels would know some of them by heart."""
    train = ic.load_dataset("digits").train.sample(400)
    noise = np.random.default_rng(0).normal(size=(400, 100))
    shares = out_of_sample(noise, train, 10)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert (shares.argmax(axis=1) == train.labels).mean() < 0.2


@pytest.fixture(scope="session")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, set[str], Path]:
    """600 digits as files, one in twenty in a wrong folder; a run on them, and the names of those."""
    folder = tmp_path_factory.mktemp("mislabelled")
    data, random, wrong = ic.load_dataset("digits"), np.random.default_rng(1), set()
    for at, (pixels, label) in enumerate(zip(data.train.pixels[:600], data.train.labels[:600].tolist(), strict=True)):
        named = label
        if random.random() < 0.05:
            named = int((label + random.integers(1, 10)) % 10)
            wrong.add(f"{named}/{at}.png")
        (folder / "photos" / str(named)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(folder / "photos" / str(named) / f"{at}.png")
    run = ic.train(folder / "photos", model="resnet", width=8, epochs=4, output=folder)
    return run, wrong, folder


def test_most_planted_wrong_labels_are_found_and_most_that_is_found_is_wrong(
    mislabelled: tuple[Run, set[str], Path],
) -> None:
    run, wrong, folder = mislabelled
    data = ic.load_dataset(folder / "photos")
    there = wrong & set(data.train.names)
    suspected = suspects(run).found
    found = [one.image for one in suspected]
    assert len(there & set(found)) >= 0.6 * len(there), "with 480 pictures and four epochs"
    assert len(there & set(found)) >= 0.5 * len(found)
    margins = [one.other_share - one.label_share for one in suspected]
    assert margins == sorted(margins, reverse=True)
    assert run.suspects["examples"] == len(data.train)


def test_what_is_found_can_be_given_to_train_and_leaves_the_files_alone(
    mislabelled: tuple[Run, set[str], Path], tmp_path: Path
) -> None:
    run, _, folder = mislabelled
    before = {path: path.read_bytes() for path in (folder / "photos").rglob("*.png")}
    found = suspects(run)
    path = found.write(tmp_path / "decisions.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [one.image for one in found.found]
    assert {row["decision"] for row in rows} == {"relabel", ""}, "nothing that may be right is thrown away"
    moved = {row["image"]: row["class_name"] for row in rows if row["decision"] == "relabel"}
    data = ic.load_dataset(folder / "photos", decisions=str(path))
    said = {entry["image"]: entry["to"] for entry in data.findings["relabelled"]}
    assert said == moved
    assert {path: path.read_bytes() for path in (folder / "photos").rglob("*.png")} == before


def test_what_is_found_among_arrays_can_be_given_to_train_too(run: Run, tmp_path: Path) -> None:
    train = ic.load_dataset("digits").train
    (moved, left), was = train.names[:2], train.labels[1]
    found = Suspects(run, 2, [Suspect(0, moved, "1", "7", 0.01, 0.95), Suspect(1, left, "1", "7", 0.03, 0.97)])
    data = ic.load_dataset("digits", decisions=str(found.write(tmp_path / "decisions.csv")))
    now = dict(zip(data.train.names, data.train.labels, strict=True))
    assert data.class_names[now[moved]] == "7"
    assert now[left] == was, "whose label is not all but impossible stays, until a person decides"
