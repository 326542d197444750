"""`iconoclass check` says what is wrong with pictures in a table, on a page and in two files, and harms nothing."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.cli import main as cli
from iconoclass.errors import DataError, UsageError
from odd_images import corpus
from trouble import encoded, tiles

NAME = "<script>alert(1)<script>\"'&.png"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Given parts, with a leak under a wicked name, a conflict, a bad file and pictures with a private caption."""
    exif = Image.Exif()
    exif[0x010E] = "<img src=x onerror=alert(1)>"
    exif.get_ifd(0x8825)[1] = "N"
    for at, image in enumerate(tiles()):
        home = tmp_path / "photos" / ("train" if at % 4 else "test") / ("a" if at % 8 < 4 else "b")
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{at}.jpg").write_bytes(encoded(image, "JPEG", exif=exif))
    root = tmp_path / "photos"
    (root / "test" / "a" / NAME).write_bytes((root / "train" / "a" / "1.jpg").read_bytes())
    (root / "train" / "b" / "conflict.png").write_bytes(encoded(tiles()[2]))
    (root / "train" / "b" / "empty.jpg").write_bytes(b"")
    return root


def ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["iconoclass", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def test_check_writes_three_files_says_where_and_never_over_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("check", "check-2"):
        status, out, err = ask(monkeypatch, capsys, "check", folder)
        assert status == 0
        assert out.splitlines()[-1] == name
        assert {path.name for path in (tmp_path / name).iterdir()} == {"check.json", "check.html", "decisions.csv"}
        assert f"--decisions {name}/decisions.csv" in err
    assert max(map(len, out.splitlines())) <= 80
    assert "1 pair is in two of the given parts" in out
    assert "\x1b" not in out


def test_in_json_it_prints_what_check_json_holds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = ask(monkeypatch, capsys, "check", folder, "--json", "--output", tmp_path / "x")
    assert json.loads(out) == json.loads((tmp_path / "x" / "check.json").read_text())


def test_with_strict_leaks_and_conflicts_are_exit_status_3_after_all_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F6, F7."""
    status, _, err = ask(monkeypatch, capsys, "check", folder, "--strict")
    assert status == 3
    assert (tmp_path / "check" / "check.html").exists()
    assert "2 faults" in err
    assert "one in" in err
    decisions = tmp_path / "check" / "decisions.csv"
    text = decisions.read_text().replace("train/b/conflict.png,,", "train/b/conflict.png,exclude,")
    decisions.write_text(text)
    assert ask(monkeypatch, capsys, "check", folder, "--strict", "--decisions", decisions)[0] == 0


def test_nothing_is_written_among_the_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(folder.rglob("*"))
    inspection = ic.check(folder)
    with pytest.raises(UsageError, match="nothing is ever written"):
        inspection.save(folder / "train" / "check")
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=r"--output \.\./check"):
        ic.check(".").save()
    assert sorted(folder.rglob("*")) == before


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_its_pictures_without_what_is_said_of_them_and_every_word_escaped(
    folder: Path, tmp_path: Path
) -> None:
    """I20, I22, F11."""
    page = (ic.check(folder).save() / "check.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert NAME in reader.text
    assert not any(word.startswith("on") for _, attributes in reader.tags for word in attributes)
    sources = [attributes["src"] or "" for tag, attributes in reader.tags if tag == "img"]
    assert len(sources) >= 4
    for source in sources:
        content = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "JPEG"
            assert not image.getexif()
            assert max(image.size) <= 168
    assert not re.search(r"(src|href|url\()\s*=?\s*['\"]?(https?:)?//", page)
    assert "onerror" not in page


def test_odd_and_bad_files_are_all_named_and_stop_nothing(folder: Path, tmp_path: Path) -> None:
    """I1-I9 and I19, in a look that refuses nothing."""
    bad = {name: odd for name, odd in corpus().items() if odd.code and name.endswith((".jpg", ".png"))}
    for name, odd in bad.items():
        (folder / "train" / "a" / name).write_bytes(odd.content)
    inspection = ic.check(folder)
    assert {f"train/a/{name}" for name in bad} <= {one["image"] for one in inspection.findings["unreadable"]}
    inspection.save()
    assert all(len(line) <= 80 for line in inspection.table().splitlines())


def test_a_folder_in_which_nothing_can_be_read_is_told_and_not_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "1.png").write_bytes(b"")
    inspection = ic.check(tmp_path / "bad")
    assert "2 files cannot be read" in inspection.table()
    assert (inspection.save() / "check.html").exists()


@pytest.mark.parametrize("source", ["digits", "mnist", "x.npz"])
def test_arrays_are_no_files(source: str) -> None:
    with pytest.raises(DataError, match="comes as arrays"):
        ic.check(source)


def test_an_inspection_shows_itself_in_a_line(folder: Path) -> None:
    assert repr(ic.check(folder)).startswith("Inspection(photos: 32 pictures of 2 classes; ")
