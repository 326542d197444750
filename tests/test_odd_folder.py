"""Real photos with every kind of odd and bad file among them load, and each file that is left out is named with why."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from iconoclass.data.dataset import Dataset, load_dataset
from iconoclass.images.decode import IMAGE_SUFFIXES, UNREAD_SUFFIXES, decode
from iconoclass.images.resize import resize
from odd_images import corpus

pytestmark = pytest.mark.datasets

SETTINGS = {"image_size": 64, "max_bad": "75%"}
SYSTEM_FILES = (".DS_Store", "Thumbs.db", "._cat.1.jpg")


@pytest.fixture
def pets(big_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve cats and twelve dogs to learn from, and as many to be judged by."""
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for path in sorted((big_data / "cats_dogs" / part / name).iterdir())[:12]:
                shutil.copyfile(path, folder / path.name)
    return tmp_path / "pets"


def plant(pets: Path) -> None:
    """The corpus among the cats; links, a pipe, empty folders and what systems leave about elsewhere."""
    cats = pets / "train" / "cat"
    for name, odd in corpus().items():
        (cats / name).write_bytes(odd.content)
    (cats / "loop").symlink_to(pets)
    (cats / "out.jpg").symlink_to("/etc/hostname")
    (cats / "nowhere.jpg").symlink_to("gone.jpg")
    os.mkfifo(cats / "pipe.jpg")
    (pets / "train" / "bird").mkdir()
    (pets / "cover.jpg").write_bytes(corpus()["plain.jpg"].content)
    (cats / "not-utf8-\udce9.jpg").write_bytes(b"")
    (cats / "two\nlines.jpg").write_bytes(b"")
    for name in SYSTEM_FILES:
        (cats / name).write_bytes(b"\0")
    (cats / "notes.txt").write_text("a cat")


def pixels_by_name(data: Dataset) -> dict[str, np.ndarray]:
    return {
        name: image for split in data.splits.values() for name, image in zip(split.names, split.pixels, strict=True)
    }


def test_odd_and_bad_files_among_good_ones_change_nothing_for_the_good_ones(pets: Path) -> None:
    before = {name: image.copy() for name, image in pixels_by_name(load_dataset(pets, **SETTINGS)).items()}
    assert len(before) == 48
    plant(pets)
    after = pixels_by_name(load_dataset(pets, **SETTINGS))
    for name, image in before.items():
        assert np.array_equal(after[name], image), name
    read = {name for name, odd in corpus().items() if odd.code is None}
    assert set(after) - set(before) == {f"train/cat/{name}" for name in read}
    for name in read:
        path = pets / "train" / "cat" / name
        assert np.array_equal(after[f"train/cat/{name}"], resize(decode(path, 3), 64, 64, "crop")), name


def test_every_file_that_is_left_out_is_named_with_why(pets: Path) -> None:
    plant(pets)
    findings = load_dataset(pets, **SETTINGS).findings
    assert findings is not None
    unreadable = {bad["image"]: (bad["code"], bad["reason"]) for bad in findings["unreadable"]}
    left_out = {left["image"]: left["reason"] for left in findings["left_out"]}
    by_suffix = {name: Path(name).suffix.lower() for name in corpus()}
    expected = {
        f"train/cat/{name}": odd.code
        for name, odd in corpus().items()
        if odd.code and (by_suffix[name] in IMAGE_SUFFIXES or not by_suffix[name])
    }
    expected |= {r"train/cat/not-utf8-\udce9.jpg": "IMG_EMPTY", r"train/cat/two\nlines.jpg": "IMG_EMPTY"}
    assert {name: code for name, (code, _) in unreadable.items()} == expected
    assert len(expected) >= 20
    assert len(set(expected.values())) >= 7
    reported = {f"train/cat/{name}" for name in corpus() if by_suffix[name] in UNREAD_SUFFIXES}
    reported |= {f"train/cat/{name}" for name in ("loop", "out.jpg", "nowhere.jpg", "pipe.jpg")}
    assert set(left_out) == reported | {"train/bird/", "cover.jpg"}
    assert all(reason for reason in left_out.values())
    assert findings["ignored"]["hidden or system files"] == len(SYSTEM_FILES)
    assert findings["ignored"][".txt files"] == 1
    assert re.search(r"50000 × 50000", unreadable["train/cat/huge_header.png"][1])
    assert "HTML" in unreadable["train/cat/page.jpg"][1]
    # Between them, the three lists hold every file that is not used.
    everything = {path for path in pets.rglob("*") if not path.is_dir() or path.is_symlink()}
    used = len(pixels_by_name(load_dataset(pets, **SETTINGS)))
    ignored = sum(findings["ignored"].values())
    assert len(everything) == used + len(unreadable) + len(left_out) - len(["train/bird/"]) + ignored
