"""A person decides in decisions.csv; check and train obey, and the files stay as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import iconoclass as ic
from iconoclass.data.dataset import load_dataset
from iconoclass.data.decisions import Decision, read_decisions, write_decisions
from iconoclass.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))


def written(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "decisions.csv"
    path.write_text("\n".join(["image,decision,class_name,reason", *rows]) + "\n", encoding="utf-8")
    return path


def test_excluded_pictures_are_gone_and_relabelled_ones_moved_and_both_are_said(photos: Path, tmp_path: Path) -> None:
    path = written(tmp_path, "red/00.png,exclude,,ugly", "red/01.jpg,relabel,blue,", "red/02.png,,,undecided")
    data = load_dataset(photos, image_size=16, decisions=str(path))
    labels = {
        name: data.class_names[label]
        for split in data.splits.values()
        for name, label in zip(split.names, split.labels, strict=True)
    }
    assert len(labels) == 39
    assert "red/00.png" not in labels
    assert (labels["red/01.jpg"], labels["red/02.png"]) == ("blue", "red")
    assert data.findings is not None
    assert data.findings["excluded"] == [{"image": "red/00.png", "reason": "ugly"}]
    assert data.findings["relabelled"] == [{"image": "red/01.jpg", "from": "red", "to": "blue"}]
    assert "By decisions: 1 excluded, 1 relabelled." in data.notes
    assert (photos / "red" / "00.png").exists()


def test_an_excluded_file_that_cannot_be_read_is_no_longer_counted(photos: Path, tmp_path: Path) -> None:
    (photos / "red" / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of the 41 files"):
        load_dataset(photos, image_size=16, max_bad=0)
    path = written(tmp_path, "red/bad.png,exclude,,")
    data = load_dataset(photos, image_size=16, max_bad=0, decisions=str(path))
    assert data.findings is not None
    assert data.findings["unreadable"] == []


def test_the_suggestions_can_be_trained_with_as_they_are(photos: Path, tmp_path: Path) -> None:
    (photos / "red" / "bad.png").write_bytes(b"")
    (photos / "red" / "=copy().png").write_bytes((photos / "red" / "00.png").read_bytes())
    folder = ic.check(photos).save(tmp_path / "check")
    text = (folder / "decisions.csv").read_text()
    assert "red/bad.png,exclude,,is empty" in text
    assert "a copy of red/" in text
    data = load_dataset(photos, image_size=16, max_bad=0, decisions=str(folder / "decisions.csv"))
    assert sum(map(len, data.splits.values())) == 40


def test_what_was_decided_before_is_kept_by_a_second_check(photos: Path, tmp_path: Path) -> None:
    (photos / "red" / "bad.png").write_bytes(b"")
    path = written(tmp_path, "red/00.png,relabel,blue,mine", "red/bad.png,,,seen")
    decisions = {decision.image: decision for decision in ic.check(photos, decisions=str(path)).decisions}
    assert decisions["red/00.png"] == Decision("red/00.png", "relabel", "blue", "mine")
    assert decisions["red/bad.png"] == Decision("red/bad.png", "", "", "seen")


def test_all_mistakes_are_named_at_once(photos: Path, tmp_path: Path) -> None:
    rows = [
        "red/99.png,exclude,,",
        "red/00.png,exlcude,,",
        "red/01.jpg,relabel,bleu,",
        "red/02.png,relabel,,",
        "red/03.jpg,exclude,,",
        "red/03.jpg,relabel,blue,",
    ]
    with pytest.raises(DataError) as caught:
        load_dataset(photos, image_size=16, decisions=str(written(tmp_path, *rows)))
    said = str(caught.value)
    assert caught.value.exit_status == 3
    assert "has 5 mistakes" in said
    assert "line 2: no picture is called 'red/99.png'" in said
    assert re.search(r"line 3: there is no decision 'exlcude'. Did you mean 'exclude'", said)
    assert re.search(r"line 4: there is no class 'bleu'. Did you mean 'blue'", said)
    assert "line 5: there is no class ''" in said
    assert "line 7: red/03.jpg is decided on twice" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "there is no file"), ("a,b\n", "no column called image or decision or class_name"), ("", "no column")],
)
def test_a_file_that_holds_no_decisions_says_so(photos: Path, tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "decisions.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        load_dataset(photos, image_size=16, decisions=str(tmp_path / "decisions.csv"))


def test_names_that_a_spreadsheet_would_take_for_formulas_come_back_as_they_were(tmp_path: Path) -> None:
    """C8."""
    names = ["=cmd().png", "-x.png", "plain.png", "'quoted.png"]
    write_decisions(tmp_path / "d.csv", [Decision(name, "exclude") for name in names])
    assert "'=cmd().png" in (tmp_path / "d.csv").read_text()
    assert [decision.image for decision in read_decisions(tmp_path / "d.csv", names, ["a"])] == names


def test_a_class_that_a_spreadsheet_would_take_for_a_formula_is_still_that_class(tmp_path: Path) -> None:
    write_decisions(tmp_path / "d.csv", [Decision("a.png", "relabel", "-x")])
    assert "'-x" in (tmp_path / "d.csv").read_text()
    [row] = read_decisions(tmp_path / "d.csv", ["a.png"], ["-x", "y"])
    assert row.class_name == "-x"


def test_pictures_of_an_array_can_be_left_out_and_moved_by_the_names_that_they_have(tmp_path: Path) -> None:
    before = load_dataset("digits")
    gone, moved = before.train.names[0], before.train.names[1]
    write_decisions(tmp_path / "d.csv", [Decision(gone, "exclude"), Decision(moved, "relabel", "7")])
    after = load_dataset("digits", decisions=str(tmp_path / "d.csv"))
    names = [name for part in after.splits.values() for name in part.names]
    assert gone not in names
    assert len(names) == sum(map(len, before.splits.values())) - 1
    [label] = [part.labels[list(part.names).index(moved)] for part in after.splits.values() if moved in part.names]
    assert after.class_names[label] == "7"
    assert "By decisions: 1 excluded, 1 relabelled." in after.notes
    assert after.fingerprint != before.fingerprint


def test_a_decision_on_a_picture_that_an_array_does_not_hold_is_a_mistake(tmp_path: Path) -> None:
    write_decisions(tmp_path / "d.csv", [Decision("train/99999999", "exclude")])
    with pytest.raises(DataError, match="no picture is called 'train/99999999'"):
        load_dataset("digits", decisions=str(tmp_path / "d.csv"))


def test_everything_excluded_is_refused(photos: Path, tmp_path: Path) -> None:
    rows = [f"{path.relative_to(photos)},exclude,," for path in sorted(photos.rglob("*.*"))]
    with pytest.raises(DataError, match=r"all 40 pictures .* are excluded"):
        load_dataset(photos, image_size=16, decisions=str(written(tmp_path, *rows)))


def test_the_file_of_decisions_is_part_of_the_run(photos: Path, tmp_path: Path) -> None:
    """A run can be judged again from elsewhere: the path is kept whole."""
    path = written(tmp_path, "red/00.png,exclude,,")
    data = load_dataset(photos, image_size=16, decisions=str(path))
    assert data.config.decisions == str(path.absolute())
