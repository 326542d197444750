"""Every picture is looked at before an hour is spent: what cannot be read is named with its reason and left out."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iconoclass.data import check as module
from iconoclass.data import look
from iconoclass.data.dataset import Dataset, load_dataset
from iconoclass.errors import DataError
from iconoclass.images.decode import IMAGE_SUFFIXES
from iconoclass.images.likeness import look_at
from iconoclass.images.prepare import prepare
from odd_images import corpus

# Those that a folder looks into, by their suffix; others are reported by name without being opened.
ODD = {name: odd for name, odd in corpus().items() if Path(name).suffix.lower() in IMAGE_SUFFIXES or "." not in name}
GOOD = sorted(name for name, odd in ODD.items() if odd.code is None)
BAD = {name: odd.code for name, odd in ODD.items() if odd.code is not None}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def odd_folder(photos: Path) -> Path:
    """The two classes of photos, with every odd picture in one of them, good ones in the other too."""
    for name, odd in ODD.items():
        (photos / "red" / name).write_bytes(odd.content)
    return photos


def load(folder: Path, **settings: Any) -> Dataset:
    return load_dataset(folder, **{"image_size": 16, "max_bad": "60%"} | settings)


def pixels_by_name(data: Dataset) -> dict[str, np.ndarray]:
    return {
        name: image for split in data.splits.values() for name, image in zip(split.names, split.pixels, strict=True)
    }


def unreadable(data: Dataset) -> dict[str, tuple[str, str]]:
    assert data.findings is not None
    return {bad["image"]: (bad["code"], bad["reason"]) for bad in data.findings["unreadable"]}


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    seen: list[bytes] = []

    def counted(content: bytes, *how: Any) -> Any:
        seen.append(content)
        return prepare(content, *how) if how else look_at(content)

    monkeypatch.setattr(module, "prepare", counted)
    monkeypatch.setattr(look, "look_at", counted)
    return seen


# --- What is found --------------------------------------------------------------------------------------------------


def test_every_bad_file_is_named_with_its_code_and_reason_and_every_good_one_is_kept(odd_folder: Path) -> None:
    """I1-I19, in a folder."""
    data = load(odd_folder)
    assert {name: code for name, (code, _) in unreadable(data).items()} == {f"red/{name}": BAD[name] for name in BAD}
    kept = pixels_by_name(data)
    assert {f"red/{name}" for name in GOOD} <= set(kept)
    assert len(kept) == 40 + len(GOOD)
    for name in GOOD:
        upright = prepare(odd_folder / "red" / name, (16, 16, 3), "crop")
        assert np.array_equal(kept[f"red/{name}"], upright), name


def test_a_reason_goes_on_from_the_name_of_the_file(odd_folder: Path) -> None:
    said = unreadable(load(odd_folder))
    assert said["red/empty.jpg"] == ("IMG_EMPTY", "is empty (0 bytes). Copy or download it again.")
    assert said["red/huge_header.png"][1].startswith("has too many pixels: 50000 × 50000")
    for name, (_, reason) in said.items():
        assert re.match(r"(is|has|cannot be) ", reason), name
        assert Path(name).name not in reason
        assert reason.endswith(".")


def test_findings_count_classes_formats_modes_and_sizes(odd_folder: Path) -> None:
    """I14."""
    findings = load(odd_folder).findings
    assert findings is not None
    assert findings["classes"] == {"blue": 20, "red": 20 + len(GOOD)}
    assert findings["images"] == 40 + len(GOOD)
    assert findings["modes"]["CMYK"] >= 2
    assert set(findings["formats"]) >= {"JPEG", "PNG", "GIF", "WEBP", "BMP"}
    low, middle, high = findings["width"]
    assert 1 == low <= middle <= high


def test_more_bad_files_than_allowed_are_refused_and_all_of_them_named(odd_folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(odd_folder, image_size=16)
    assert caught.value.exit_status == 3
    said = str(caught.value)
    for name, code in BAD.items():
        assert f"red/{name} [{code}] " in said
    assert f"{len(BAD)} of the {40 + len(ODD)} files" in said
    share = re.search(r"--max-bad (\d+)%", said)
    assert share
    load(odd_folder, max_bad=f"{share[1]}%")


def test_max_bad_is_a_share_of_the_files_and_0_allows_none(photos: Path) -> None:
    (photos / "red" / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of the 41 files"):
        load(photos, max_bad=0)
    with pytest.raises(DataError, match="1 of the 41 files"):
        load(photos, max_bad=1 / 42)
    assert len(unreadable(load(photos, max_bad=1 / 41))) == 1


def test_a_class_that_loses_all_its_files_is_refused_whatever_is_allowed(photos: Path) -> None:
    for path in (photos / "red").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"no file of red .* can be read") as caught:
        load(photos, max_bad=1)
    assert str(caught.value).count("IMG_TRUNCATED") == 20


def test_a_folder_in_which_nothing_can_be_read_is_refused(photos: Path) -> None:
    for path in photos.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no file of blue, red .* can be read"):
        load(photos, max_bad=1)


def test_a_list_whose_files_are_all_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "labels.csv", max_bad=1)


# --- The second look ------------------------------------------------------------------------------------------------


def test_a_second_look_decodes_nothing_and_says_the_same(odd_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(odd_folder)
    seen = count_decodes(monkeypatch)
    second = load(odd_folder)
    assert seen == []
    assert second.findings == first.findings
    assert second.fingerprint == first.fingerprint
    assert all(np.array_equal(image, pixels_by_name(first)[name]) for name, image in pixels_by_name(second).items())


def test_after_renaming_nothing_is_decoded_and_the_new_names_are_named(
    odd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(odd_folder)
    seen = count_decodes(monkeypatch)
    for path in [*(odd_folder / "red").iterdir(), *(odd_folder / "blue").iterdir()]:
        path.rename(path.with_name(f"new_{path.name}"))
    second = load(odd_folder)
    assert seen == []
    renamed = {name.replace("/", "/new_"): said for name, said in unreadable(first).items()}
    assert unreadable(second) == renamed
    with pytest.raises(DataError) as caught:
        load(odd_folder, max_bad=0)
    assert "red/new_empty.jpg [IMG_EMPTY] is empty" in str(caught.value)
    assert " empty.jpg" not in str(caught.value)


def test_other_settings_decode_anew(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(photos)
    seen = count_decodes(monkeypatch)
    for settings in ({"image_size": 24}, {"resize": "pad"}, {"color": "grey"}):
        load(photos, **settings)
    assert len(seen) == 3 * 40


def test_the_names_in_an_archive_are_the_archive_s_own(odd_folder: Path, tmp_path: Path) -> None:
    import shutil

    path = shutil.make_archive(str(tmp_path / "odd"), "zip", odd_folder)
    said = unreadable(load(Path(path)))
    assert said == unreadable(load(odd_folder))


# --- The user's files -----------------------------------------------------------------------------------------------


def state(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_size, status.st_mtime_ns, status.st_mode, content)
    return found


def test_the_user_s_folder_is_left_as_it_was(odd_folder: Path) -> None:
    before = state(odd_folder)
    load(odd_folder)
    with pytest.raises(DataError):
        load(odd_folder, max_bad=0)
    assert state(odd_folder) == before


def test_a_folder_that_cannot_be_written_works(photos: Path) -> None:
    """F13: even where it could be written, as by root, nothing is."""
    folders = [photos, photos / "red", photos / "blue"]
    before = state(photos)
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert len(pixels_by_name(load(photos))) == 40
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert state(photos) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_left_out_and_named(photos: Path) -> None:
    """F10."""
    (photos / "red" / "00.png").chmod(0)
    assert unreadable(load(photos))["red/00.png"][1].startswith("cannot be opened: permission denied")


# --- Files that change under our eyes -------------------------------------------------------------------------------


def at_the_first_decoding(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    waiting = [happens]

    def decoded(content: bytes, *how: Any) -> np.ndarray:
        if waiting:
            waiting.pop()()
        return prepare(content, *how)

    monkeypatch.setattr(module, "prepare", decoded)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def test_a_file_that_vanishes_before_it_is_read_is_left_out_and_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F9."""
    each = look.each
    monkeypatch.setattr(
        look, "each", lambda *given: ((photos / "red" / "07.jpg").unlink(missing_ok=True), each(*given))[1]
    )
    data = load(photos)
    assert list(unreadable(data)) == ["red/07.jpg"]
    assert unreadable(data)["red/07.jpg"][1].startswith("cannot be opened: no such file")


def test_a_file_that_vanishes_between_scan_and_decoding_is_left_out_and_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F9."""
    at_the_first_decoding(monkeypatch, (photos / "red" / "19.jpg").unlink)
    data = load(photos)
    assert list(unreadable(data)) == ["red/19.jpg"]
    assert unreadable(data)["red/19.jpg"][0] == "IMG_UNREADABLE"
    assert len(pixels_by_name(data)) == 39


def test_a_file_that_changes_between_scan_and_decoding_is_read_anew(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F9: what the cache keeps under a digest is what that digest is of."""
    target, other = photos / "red" / "18.png", photos / "blue" / "00.png"
    before = target.read_bytes()
    at_the_first_decoding(monkeypatch, lambda: target.write_bytes(other.read_bytes()))
    images = pixels_by_name(load(photos))
    assert np.array_equal(images["red/18.png"], images["blue/00.png"])
    target.write_bytes(before)
    monkeypatch.undo()
    images = pixels_by_name(load(photos))
    assert np.array_equal(images["red/18.png"], prepare(target, (16, 16, 3), "crop"))


def test_a_file_that_never_stops_changing_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F9."""
    written = iter(range(10_000))

    def decoded(content: bytes, *how: Any) -> np.ndarray:
        with (photos / "red" / "02.png").open("ab") as file:
            file.write(str(next(written)).encode())
        return prepare(content, *how)

    monkeypatch.setattr(module, "prepare", decoded)
    with pytest.raises(DataError, match=r"change while they are read: 02\.png"):
        load(photos)


def test_a_pipe_in_a_list_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "labels.csv").write_text("path,label\npipe.png,cat\n")
    with pytest.raises(DataError, match="not a regular file"):
        load(tmp_path / "labels.csv", max_bad=1)


# --- One size for all -----------------------------------------------------------------------------------------------


def test_small_pictures_of_one_size_keep_it_and_others_share_a_square(photos: Path, tmp_path: Path) -> None:
    from PIL import Image

    assert load_dataset(photos).image_shape[0] == load_dataset(photos).image_shape[1] <= 96
    for at, name in enumerate(["a", "b"] * 4):
        (tmp_path / "same" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 12), at).save(tmp_path / "same" / name / f"{at}.png")
    assert load_dataset(tmp_path / "same").image_shape == (12, 20, 1)


def test_progress_is_told_up_to_the_end(photos: Path) -> None:
    told: list[tuple[str, int, int]] = []
    load_dataset(photos, image_size=16, tell=lambda *what: told.append(what))
    assert {doing for doing, _, _ in told} == {"Reading", "Looking at", "Comparing", "Decoding"}
    assert all(done == total == 40 for _, done, total in told)


# --- Strict ---------------------------------------------------------------------------------------------------------


def test_with_strict_a_file_that_changes_or_vanishes_is_an_error(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F9."""
    at_the_first_decoding(monkeypatch, (photos / "red" / "19.jpg").unlink)
    with pytest.raises(DataError, match=r"change while they are read: 19\.jpg") as caught:
        load(photos, strict=True)
    assert caught.value.exit_status == 3
    (photos / "labels.csv").write_text("path,label\n" + "".join(f"red/{at:02d}.png,a\n" for at in range(0, 20, 2)))
    (photos / "red" / "00.png").unlink()
    with pytest.raises(DataError, match=r"red/00\.png: vanished"):
        load(photos / "labels.csv", strict=True)


# --- Unchanged files ------------------------------------------------------------------------------------------------


def settle(folder: Path) -> None:
    """Let all files look as if they had been left alone for an hour."""
    for path in folder.rglob("*.*"):
        os.utime(path, (1e9, 1e9))


def test_unchanged_files_are_not_read_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(photos)
    monkeypatch.setattr(look, "SETTLED_S", -1)  # the time of status cannot be set back by hand
    first = load(photos)
    monkeypatch.setattr(look, "digest_of_file", None)
    assert load(photos).fingerprint == first.fingerprint


@pytest.mark.parametrize("is_size_kept", [True, False])
def test_a_changed_file_is_noticed_though_its_times_were_set_back(
    photos: Path, monkeypatch: pytest.MonkeyPatch, is_size_kept: bool
) -> None:
    settle(photos)
    monkeypatch.setattr(look, "SETTLED_S", -1)
    before = load(photos)
    target = photos / "red" / "00.png"
    content = target.read_bytes()
    # A byte behind the end of the picture is no part of it.
    target.write_bytes(content[:-1] + b"x" if is_size_kept else content + b"x")
    os.utime(target, (1e9, 1e9))
    after = load(photos)
    assert after.fingerprint != before.fingerprint


def test_a_file_that_was_just_written_is_not_trusted(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(photos)
    read: list[Path] = []
    monkeypatch.setattr(look, "digest_of_file", lambda path: (read.append(path), look.sha256_of(path))[1])
    load(photos)
    assert len(read) == 40
