"""A run is a folder that is never overwritten, and that says what it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from iconoclass.config import Config
from iconoclass.errors import EnvironmentFault, RunError, UsageError
from iconoclass.run import Run, readable, spreadsheet_safe


def made(output: Path, name: str = "digits-mlp") -> Run:
    run = Run.create(output, name)
    run.write_config(Config.of(source="digits"))
    return run


def test_a_second_run_of_one_name_gets_a_number_and_the_first_is_left_alone(tmp_path: Path) -> None:
    """L3."""
    first = made(tmp_path)
    before = {path: path.read_bytes() for path in first.path.iterdir()}
    assert [made(tmp_path).name, made(tmp_path).name] == ["digits-mlp-2", "digits-mlp-3"]
    assert {path: path.read_bytes() for path in first.path.iterdir()} == before


def test_a_file_of_the_runs_name_is_left_alone_too(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert Run.create(tmp_path, "mine").name == "mine-2"
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../a",
        "/a",
        "a\\b",
        "C:a",
        "-a",
        "a*",
        "a\nb",
        "a\x1b[2J",
        "a\0",
        " a",
        "a ",
        "x" * 300,
        "<a>",
    ],
)
def test_what_is_no_plain_name_of_a_folder_is_refused_before_anything_is_made(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a run cannot be named"):
        Run.create(tmp_path / "runs", name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a", "Käse 2", "v1.2", "猫", "a-b_c"])
def test_plain_names_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    assert Run.create(tmp_path, name).path == tmp_path / name


def test_where_no_folder_can_be_made_the_reason_is_named(tmp_path: Path) -> None:
    """D3."""
    (tmp_path / "runs").write_text("")
    with pytest.raises(EnvironmentFault, match="a file of that name is in the way"):
        Run.create(tmp_path / "runs", "x")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    run = made(tmp_path)
    rows = [
        {"epoch": 1, "seconds": 0.5, "loss": 2.25, "val_accuracy": 0.1},
        {"epoch": 2, "seconds": 1.0, "loss": 1.0625, "val_accuracy": 0.30000000000000004},
    ]
    run.write_history(rows)
    run.write_dataset({"class_names": ["Käse", "猫"]})
    run.write_metrics({"test": {"accuracy": {"value": 0.5}}})
    again = Run.open(run.path)
    assert again.history == rows, "to the last bit"
    assert isinstance(again.history[0]["epoch"], int)
    assert again.class_names == ["Käse", "猫"]
    assert again.metrics["test"]["accuracy"]["value"] == 0.5
    assert again.config == Config.of(source="digits")


def test_a_run_is_complete_only_when_its_last_file_is_written(tmp_path: Path) -> None:
    run = made(tmp_path)
    assert not run.is_complete
    assert run.history == []
    run.finish({"seconds": 1.5})
    assert run.is_complete
    assert run.summary["state"] == "complete"


def test_what_a_stopped_run_does_not_have_is_named(tmp_path: Path) -> None:
    run = made(tmp_path)
    with pytest.raises(RunError, match=r"has no metrics\.json\. The training was stopped"):
        _ = run.metrics


def test_a_damaged_file_of_a_run_is_named(tmp_path: Path) -> None:
    run = made(tmp_path)
    (run.path / "dataset.json").write_text('{"class_names": [')
    with pytest.raises(RunError, match=r"dataset\.json cannot be read"):
        _ = run.dataset


def test_the_one_run_inside_a_folder_is_found_and_of_several_all_are_named(tmp_path: Path) -> None:
    first = made(tmp_path)
    assert Run.open(tmp_path).path == first.path
    made(tmp_path)
    with pytest.raises(RunError, match="holds several runs") as caught:
        Run.open(tmp_path)
    assert "digits-mlp-2" in caught.value.hint


def test_a_misspelt_run_suggests_the_nearest(tmp_path: Path) -> None:
    made(tmp_path)
    made(tmp_path, "cifar10-resnet")
    with pytest.raises(RunError, match=r"there is no run .*digit-mlp\. Did you mean '.*digits-mlp'\?"):
        Run.open(tmp_path / "digit-mlp")
    with pytest.raises(RunError, match=r"There are: .*cifar10-resnet, .*digits-mlp"):
        Run.open(tmp_path / "xyz")


def test_a_file_of_a_run_is_told_from_the_run(tmp_path: Path) -> None:
    run = made(tmp_path)
    with pytest.raises(RunError, match="Did you mean the run that it lies in"):
        Run.open(run.path / "config.toml")


def test_where_there_are_no_runs_one_is_told_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    for path in (tmp_path / "nowhere" / "deep", tmp_path / "empty", tmp_path / "empty" / "inside"):
        with pytest.raises(RunError, match="`iconoclass train` makes one"):
            Run.open(path)


FORMULAS = ["=cmd()", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"]


def test_no_cell_of_ours_is_a_formula(tmp_path: Path) -> None:
    """C8: names of files and classes come from other people."""
    run = made(tmp_path)
    run.write_predictions(["split", *FORMULAS], [["test", *FORMULAS], ["test", -0.5, *FORMULAS[1:]]])
    with run.predictions_path.open(encoding="utf-8", newline="") as file:
        header, row, numbers = csv.reader(file)
    for cells in (header, row):
        assert cells[1:] == [f"'{formula}" for formula in FORMULAS]
    assert numbers[1] == "-0.5", "a number is no formula"


def test_text_that_is_no_formula_is_left_as_it_is() -> None:
    assert [spreadsheet_safe(cell) for cell in ("cat", "", "a=b", 3, None)] == ["cat", "", "a=b", 3, None]


def test_commas_quotes_and_line_breaks_in_names_come_back(tmp_path: Path) -> None:
    """F11."""
    run, names = made(tmp_path), ['a,"b"\nc.jpg', "x;y", "ä", "a\rb"]
    run.write_splits([(name, "cat", "test", "", "0" * 64) for name in names])
    with (run.path / "splits.csv").open(encoding="utf-8", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == names


def test_json_in_a_run_is_for_people_too(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.write_dataset({"class_names": ["Käse"]})
    text = (run.path / "dataset.json").read_text(encoding="utf-8")
    assert "Käse" in text
    assert text.endswith("}\n")
    assert json.loads(text)


def test_a_path_is_shown_as_one_would_type_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert readable(tmp_path / "runs" / "x") == "runs/x"
    assert readable(Path("/etc")) == "/etc"


def test_rows_go_to_the_file_as_they_come_and_none_are_left_where_they_break_off(tmp_path: Path) -> None:
    run = made(tmp_path)

    def rows() -> Iterator[tuple[str, ...]]:
        yield from [("x" * 1000, "cat", "test", "", "0" * 64)] * 100
        assert any(path.name.startswith(".splits.") and path.stat().st_size > 50_000 for path in run.path.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.write_splits(rows())
    assert [path.name for path in run.path.iterdir()] == ["config.toml"]
