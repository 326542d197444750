"""`iconoclass runs` and `iconoclass cache`: what there is, what became of it, and making room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from iconoclass import files
from iconoclass.cli import main as cli
from iconoclass.config import Config
from iconoclass.errors import RunError
from iconoclass.files import size_of, write_json
from iconoclass.run import Run
from iconoclass.runs import listed, remove

ACCURACY = {"value": 0.991, "low": 0.982, "high": 0.996}


def make(folder: Path, name: str, age_s: float = 0, **state: Any) -> Run:
    run = Run.create(folder, name)
    run.write_config(Config.of(source="digits"))
    if state.get("complete"):
        run.finish({"seconds": 3.0, "test_accuracy": ACCURACY})
    if state.get("diverged"):
        run.note_end("diverged", "the loss became nan")
    if "epoch" in state:
        at = {"at": {"epoch": state["epoch"]}, "epochs": 20, "is_done": state["epoch"] == 20}
        write_json(run.next_checkpoint, {"state": at, "sha256": {}})
    for path in (run.path, run.path / "config.toml"):
        os.utime(path, (time.time() - age_s,) * 2)
    return run


@pytest.fixture
def several(tmp_path: Path) -> Path:
    make(tmp_path, "whole", 90_000 * 3, complete=True)
    make(tmp_path, "half", 600, epoch=6)
    make(tmp_path, "learned", 7_300, epoch=20)
    make(tmp_path, "spoilt", 300, diverged=True)
    make(tmp_path / "folds", "fold-1", 200, complete=True)
    make(tmp_path, "fresh", 100)
    (tmp_path / "no run").mkdir()
    return tmp_path


def test_each_run_is_listed_with_what_became_of_it_the_youngest_first(several: Path) -> None:
    found = [(each.run.name, each.state, each.where, each.accuracy) for each in listed(several)]
    assert found == [
        ("fresh", "stopped", "no checkpoint yet", None),
        ("fold-1", "complete", "", ACCURACY),
        ("spoilt", "diverged", "no checkpoint yet", None),
        ("half", "stopped", "epoch 7 of 20", None),
        ("learned", "stopped", "not judged", None),
        ("whole", "complete", "", ACCURACY),
    ]


def test_a_run_that_is_being_trained_is_running_and_cannot_be_removed(several: Path) -> None:
    half = Run(several / "half")
    with half.locked():
        assert {each.run.name: each.state for each in listed(several)}["half"] == "running"
        with pytest.raises(RunError, match=r"being trained right now: .*half"):
            remove([Run(several / "whole"), half])
    assert half.path.exists()
    assert (several / "whole").exists()


def test_removing_says_what_it_frees_and_leaves_the_others(several: Path) -> None:
    before = size_of(several)
    freed = remove([Run(several / "half"), Run(several / "whole")])
    assert freed == before - size_of(several) > 0
    assert sorted(path.name for path in several.iterdir()) == ["folds", "fresh", "learned", "no run", "spoilt"]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "iconoclass", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_the_table_and_its_json_say_the_same(several: Path) -> None:
    table = call("runs", "--output", str(several))
    lines = table.stdout.splitlines()
    assert len(lines) == 6
    assert max(map(len, lines)) <= 80 + len(str(several))
    assert "complete" in lines[-1]
    assert "3 days  99.1% 98.2-99.6" in lines[-1]
    assert "next: iconoclass resume" in table.stderr
    rows = json.loads(call("runs", "--output", str(several), "--json").stdout)
    assert [row["state"] for row in rows] == ["stopped", "complete", "diverged", "stopped", "stopped", "complete"]
    assert rows[-1]["test_accuracy"] == ACCURACY


def test_listing_runs_imports_neither_tensorflow_nor_numpy(several: Path) -> None:
    code = "import sys, pathlib, iconoclass.runs as r; r.listed(pathlib.Path(sys.argv[1])); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code, str(several)], capture_output=True, text=True, check=True)
    assert not set(answer.stdout.split()) & {"tensorflow", "keras", "numpy"}


def test_nothing_is_removed_unasked(several: Path) -> None:
    refused = call("runs", "rm", str(several / "half"))
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert (several / "half").exists()
    done = call("runs", "rm", str(several / "half"), "--yes")
    assert done.returncode == 0
    assert done.stdout.endswith("MB freed\n")
    assert not (several / "half").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    answer = call("runs", "--output", str(tmp_path / "runs"))
    assert answer.returncode == 3
    assert "there is no folder" in answer.stderr


def test_the_cache_is_listed_and_cleared_by_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path))
    for kind, size in (("pixels", 3_000_000), ("downloads", 1_000_000)):
        (files.cache_folder(kind, "deep") / "x").write_bytes(bytes(size))
    monkeypatch.setattr(sys, "argv", ["iconoclass", "cache"])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    assert "pixels               1 files       3.0 MB" in out
    assert str(tmp_path) in out
    monkeypatch.setattr(sys, "argv", ["iconoclass", "cache", "clear", "pixels", "--yes"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out == "3.0 MB freed\n"
    assert files.cache_contents() == {"downloads": (1, 1_000_000)}
    monkeypatch.setattr(sys, "argv", ["iconoclass", "cache", "clear", "pixel", "--yes"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "pixel" in capsys.readouterr().err
