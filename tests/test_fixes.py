"""train --compare-decisions: what each kind of decision is worth."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.data.decisions import Decision, write_decisions
from iconoclass.errors import UsageError
from iconoclass.evaluation.report import summary
from iconoclass.run import Run
from iconoclass.training.progress import Listener


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 digits as files; every third 3 is called an 8."""
    folder = tmp_path_factory.mktemp("digits") / "photos"
    train = ic.load_dataset("digits").train
    for at, (pixels, label) in enumerate(zip(train.pixels[:600, ..., 0], train.labels[:600].tolist(), strict=True)):
        named = 8 if label == 3 and at % 3 == 0 else label
        (folder / str(named)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / str(named) / f"{at}-{label}.png")
    return folder


def decided(photos: Path) -> list[Decision]:
    """The eights that are a 3 are relabelled, or, every fourth of them, left out."""
    wrong = sorted(path.relative_to(photos).as_posix() for path in photos.glob("8/*-3.png"))
    return [Decision(name, "relabel", "3") if at % 4 else Decision(name, "exclude") for at, name in enumerate(wrong)]


def said(run: Run) -> dict[str, tuple[str, str]]:
    """Of each test picture its class and the answer."""
    with run.predictions_path.open(encoding="utf-8", newline="") as file:
        return {row["image"]: (row["true"], row["predicted"]) for row in csv.DictReader(file) if row["split"] == "test"}


def test_each_kind_is_told_by_what_it_alone_gains_on_the_pictures_that_all_were_tested_on(
    photos: Path, tmp_path: Path
) -> None:
    rows = decided(photos)
    write_decisions(tmp_path / "decisions.csv", [*rows, Decision("1/nobody-has-decided.png", "")])
    run = ic.train(
        photos, decisions=str(tmp_path / "decisions.csv"), compare_decisions=True, model="resnet", width=8, epochs=3,
        output=tmp_path / "runs", name="fixed", listener=Listener(),
    )  # fmt: skip
    found = {row["decisions"]: row for row in run.summary["decisions"]}
    assert {word: row["pictures"] for word, row in found.items()} == {
        "exclude": sum(row.word == "exclude" for row in rows),
        "relabel": sum(row.word == "relabel" for row in rows),
        "all": len(rows),
    }
    assert {row["run"] for row in found.values()} == {"fixed-exclude", "fixed-relabel", "fixed"}
    true = {image: label for image, (label, _) in said(run).items()}
    without = said(Run.open(tmp_path / "runs" / "fixed-undecided"))
    assert {without[image][0] for image in true.keys() & without.keys() if image.endswith("-3.png")} >= {"3"}
    for row in found.values():
        other = said(Run.open(tmp_path / "runs" / row["run"]))
        both = true.keys() & without.keys() & other.keys()
        right = [np.mean([answers[image][1] == true[image] for image in both]) for answers in (without, other)]
        assert row["examples"] == len(both)
        assert row["gain"]["value"] == pytest.approx(right[1] - right[0])
    assert f"decisions, relabel ({found['relabel']['pictures']}): " in summary(run)
    assert [look["by"] for look in run.looks] == ["train", "decisions"]


def test_where_only_one_kind_was_decided_on_the_run_itself_is_that_training(photos: Path, tmp_path: Path) -> None:
    write_decisions(tmp_path / "decisions.csv", [row for row in decided(photos) if row.word == "relabel"])
    run = ic.train(
        photos, decisions=str(tmp_path / "decisions.csv"), compare_decisions=True, model="mlp", epochs=1,
        output=tmp_path / "runs", listener=Listener(),
    )  # fmt: skip
    assert [(row["decisions"], row["run"]) for row in run.summary["decisions"]] == [("relabel", run.name)]
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_where_nothing_was_decided_there_is_nothing_to_compare(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no decisions"):
        ic.train(photos, compare_decisions=True, output=tmp_path / "runs")
    write_decisions(tmp_path / "decisions.csv", [Decision("8/1-8.png", "")])
    with pytest.raises(UsageError, match="decides nothing yet"):
        ic.train(photos, decisions=str(tmp_path / "decisions.csv"), compare_decisions=True, output=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
