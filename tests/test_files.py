"""What we write is there whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iconoclass.errors import EnvironmentFault
from iconoclass.files import (
    cache_folder,
    environment_folder,
    exchange,
    make_folder,
    need_room,
    printable,
    sha256_of,
    write_json,
    write_text,
    writing,
)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """M17: whoever looks sees the old file or the new one, never half of one."""
    path = tmp_path / "model.keras"
    path.write_text("old")

    def write_half() -> None:
        with writing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["model.keras"]


def test_until_it_is_whole_a_new_file_is_not_to_be_seen(tmp_path: Path) -> None:
    with writing(tmp_path / "metrics.json") as temporary:
        temporary.write_text("{}")
        assert not (tmp_path / "metrics.json").exists()
        assert temporary.parent == tmp_path, "renaming works only within one file system (D10)"
        assert temporary.suffix == ".json"
    assert left_in(tmp_path) == ["metrics.json"]


def test_a_full_disk_is_said_and_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """D1, D3: the limit of a file's size stands for a full disk; a real one gives another number and the same path."""
    path = tmp_path / "history.csv"
    path.write_text("old")
    code = f"""
import resource
from pathlib import Path
from iconoclass.errors import EnvironmentFault
from iconoclass.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path({str(path)!r}), "x" * 100_000)
except EnvironmentFault as error:
    print(error.exit_status, error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("4 error[ENVIRONMENT]: cannot write ")
    assert "too large" in said
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["history.csv"]


@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="NOT RUN: the system cannot exchange two names")
def test_two_folders_exchange_their_names(tmp_path: Path) -> None:
    """M17: in one step."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name.txt").write_text(name)
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "name.txt").read_text() for name in ("a", "b")] == ["b", "a"]


def test_what_cannot_be_exchanged_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    assert not exchange(tmp_path / "a", tmp_path / "nothing")
    assert left_in(tmp_path) == ["a"]


def test_room_that_is_not_there_is_missed_before_anything_is_written(tmp_path: Path) -> None:
    """D1"""
    need_room(tmp_path, 1 << 20)
    with pytest.raises(EnvironmentFault, match="cannot write"):
        need_room(tmp_path, 1 << 62)
    assert left_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="NOT RUN: needs /dev/full")
def test_a_disk_without_room_is_told_from_other_faults(tmp_path: Path) -> None:
    """D1: ENOSPC itself, as /dev/full gives it."""

    def fill() -> None:
        with writing(tmp_path / "x.txt") as temporary:
            temporary.write_text("")
            with Path("/dev/full").open("w") as full:
                full.write("x")

    with pytest.raises(EnvironmentFault, match="the disk is full"):
        fill()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere/x.txt", "the folder does not exist"),
        ("file/x.txt", "part of the path is a file"),
        ("folder", "a folder of that name"),
    ],
)
def test_what_stands_in_the_way_of_a_file_is_named(tmp_path: Path, path: str, reason: str) -> None:
    """D3."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentFault, match=reason):
        write_text(tmp_path / path, "x")
    assert left_in(tmp_path) == ["file", "folder"]


def test_what_stands_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="a file of that name is in the way"):
        make_folder(tmp_path / "file")
    with pytest.raises(EnvironmentFault, match="part of the path is a file"):
        make_folder(tmp_path / "file" / "inside")
    with pytest.raises(EnvironmentFault, match="the name is too long"):
        make_folder(tmp_path / ("x" * 300))
    assert make_folder(tmp_path / "a" / "b").is_dir()


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "Käse\n")
    assert (tmp_path / "x.txt").read_bytes() == "Käse\n".encode()


def test_names_that_are_no_utf8_are_written_and_json_gives_them_back(tmp_path: Path) -> None:
    """F11: a file's name may hold any bytes."""
    name = os.fsdecode(b"caf\xe9.jpg")
    write_json(tmp_path / "x.json", {"image": name})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"image": name}


def test_json_that_other_programs_could_not_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert left_in(tmp_path) == []


def test_control_signs_in_names_cannot_reach_a_terminal() -> None:
    """F11."""
    assert printable("a\x1b[2J\r\n\x07b") == "a\ufffd[2J\ufffd\ufffd\ufffdb"
    assert printable("Käse 猫") == "Käse 猫"


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "mine"))
    assert cache_folder("pixels", "x") == tmp_path / "mine" / "pixels" / "x"
    assert (tmp_path / "mine" / "pixels" / "x").is_dir()


def test_a_home_that_cannot_be_written_to_stops_nobody_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """L10, D5."""
    (tmp_path / "home").write_text("a file, where no folder can be made by anybody, root included")
    monkeypatch.delenv("ICONOCLASS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders = [cache_folder("pixels"), cache_folder("downloads")]
    assert all(folder.is_dir() and folder.is_relative_to(tmp_path) for folder in folders)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("note: the cache ") == 1
    assert "ICONOCLASS_CACHE" in said.err
    assert str(folders[0].parent) in said.err


def test_a_digest_is_that_of_the_content_from_file_and_from_memory(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "x") == sha256_of(b"abc") == known


def test_a_folder_named_by_the_environment_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICONOCLASS_DATA", raising=False)
    assert environment_folder("ICONOCLASS_DATA") is None
    monkeypatch.setenv("ICONOCLASS_DATA", str(tmp_path))
    assert environment_folder("ICONOCLASS_DATA") == tmp_path
    monkeypatch.setenv("ICONOCLASS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(EnvironmentFault, match="ICONOCLASS_DATA="):
        environment_folder("ICONOCLASS_DATA")


def test_python_lets_a_file_that_grows_too_large_fail_rather_than_die() -> None:
    """What the test of the full disk relies on."""
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
    assert resource.RLIMIT_FSIZE is not None
