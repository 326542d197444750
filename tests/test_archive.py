"""An archive of a folder is as good as the folder; an archive that means harm is refused and leaves nothing behind."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iconoclass.data import archive as module
from iconoclass.data.archive import checked_name, unpack
from iconoclass.data.dataset import load_dataset
from iconoclass.errors import DataError, EnvironmentFault, IconoclassError, IntegrityError

TARS = ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own. Nothing half unpacked is in it afterwards, and nothing was written beside it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ICONOCLASS_CACHE", str(folder))
    before = everything(tmp_path.parent)
    yield folder
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    assert all(path == tmp_path or tmp_path in path.parents for path in everything(tmp_path.parent) - before)


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, content in members.items():
            member = zipfile.ZipInfo("placeholder")
            member.filename, member.compress_type = name, method  # the constructor would mend the name
            opened.writestr(member, content)
    return path


def tarred(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    kind = {"tgz": "gz", "tar": ""}.get(path.suffix[1:], path.suffix[1:])
    with tarfile.open(path, f"w:{kind}") as opened:  # type: ignore[call-overload]
        for member, content in members:
            opened.addfile(member, io.BytesIO(content))
    return path


def file_in_tar(name: str, content: bytes = b"content", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in more.items():
        setattr(member, key, value)
    return member, content


def refused(path: Path, cache: Path) -> IconoclassError:
    """The error that unpacking ends with; nothing of the archive is left in the cache, or anywhere else."""
    with pytest.raises(IconoclassError) as caught:
        unpack(path)
    assert not any((cache / "archives").iterdir())
    return caught.value


def rezipped(folder: Path, path: Path, kind: str) -> Path:
    made = shutil.make_archive(str(path / "made"), kind, folder.parent, folder.name)
    return Path(made)


# --- What an archive is for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "xztar", "bztar"])
def test_an_archive_of_a_folder_is_the_same_data_as_the_folder(photos: Path, tmp_path: Path, kind: str) -> None:
    (photos / "red" / ".DS_Store").write_bytes(b"\0")
    folder, packed = load_dataset(photos, image_size=16), load_dataset(rezipped(photos, tmp_path, kind), image_size=16)
    assert packed.fingerprint == folder.fingerprint
    assert packed.class_names == folder.class_names
    assert packed.train.names == [f"photos/{name}" for name in folder.train.names]
    assert packed.findings is not None
    assert packed.findings["ignored"] == {"hidden or system files": 1}


@pytest.mark.parametrize("wrapper", ["", "one/", "one/two/three/"])
def test_the_layout_is_found_however_deep_it_lies(photos: Path, tmp_path: Path, wrapper: str) -> None:
    """A12."""
    files = {f"{wrapper}{path.relative_to(photos)}": path.read_bytes() for path in photos.rglob("*.*g")}
    assert load_dataset(zipped(tmp_path / "p.zip", files), image_size=16).class_names == ["blue", "red"]


def test_pictures_at_the_root_are_no_classes_and_what_was_found_is_said(photos: Path, tmp_path: Path) -> None:
    """A12."""
    files = {path.name: path.read_bytes() for path in (photos / "red").iterdir()}
    with pytest.raises(DataError, match=r"no pictures in class folders.*20 files in \./.*Expected: CLASS"):
        load_dataset(zipped(tmp_path / "p.zip", files))


def test_an_archive_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {"a/1.png": b"one"})
    first = unpack(path)
    monkeypatch.setattr(module, "_unpack_into", None)
    assert unpack(path) == first
    assert [(name, stored.read_bytes()) for name, stored in first] == [("a/1.png", b"one")]


def test_files_are_kept_under_names_of_our_own_and_known_by_the_archive_s(tmp_path: Path, cache: Path) -> None:
    """A7."""
    names = ["CON/1.png", "nul.jpg", "日本/猫.jpg", "😀/ü.png", "a" * 250 + ".png", "caf\udce9/\udce9.png"]
    path = tarred(tmp_path / "a.tar", *(file_in_tar(name) for name in names))
    files = dict(unpack(path))
    assert set(files) == set(names)
    for stored in files.values():
        assert cache in stored.parents
        assert stored.name.isascii()
        assert len(stored.name) < 20


def test_names_that_are_not_utf8_are_read_as_the_old_code_page(tmp_path: Path) -> None:
    """A7."""
    path = zipped(tmp_path / "a.zip", {"caf_/1.png": b"one"})
    path.write_bytes(path.read_bytes().replace(b"caf_", b"caf\x82"))
    assert [name for name, _ in unpack(path)] == ["café/1.png"]


def test_system_files_are_ignored_and_counted(photos: Path, tmp_path: Path) -> None:
    """A8."""
    files = {str(path.relative_to(photos)): path.read_bytes() for path in photos.rglob("*.*g")}
    odd = dict.fromkeys(["__MACOSX/red/._1.png", "red/.DS_Store", "Thumbs.db", "red/._x.jpg", "inner.zip"], b"\0")
    data = load_dataset(zipped(tmp_path / "p.zip", files | odd), image_size=16)
    assert data.findings is not None
    assert data.findings["ignored"] == {"hidden or system files": 4, ".zip files": 1}


@pytest.mark.parametrize("name", ["a.tar.zst", "a.7z", "a.RAR"])
def test_an_archive_of_another_kind_says_which_are_read(tmp_path: Path, cache: Path, name: str) -> None:
    """A9."""
    (tmp_path / name).write_bytes(b"7z\xbc\xaf\x27\x1c")
    with pytest.raises(DataError, match=r"Use \.zip or \.tar\.gz") as caught:
        load_dataset(tmp_path / name)
    assert (caught.value.code, caught.value.exit_status) == ("ARC_FORMAT", 3)


# --- Names ----------------------------------------------------------------------------------------------------------

UNSAFE = [
    "../x.png",
    "../../x.png",
    "a/../../x.png",
    "a/..",
    "/etc/x.png",
    "//server/x.png",
    "C:\\x.png",
    "C:x.png",
    "a\\..\\x.png",
    "a\0b.png",
    ".",
    "a/./x.png",
    "a//x.png",
    "a/trailing./x.png",
    "a/trailing /x.png",
    "x.png.",
    "\u2024\u2024/x.png",
    "a\u2215x.png",
    "\uff0e\uff0e/x.png",
    "a" * 300 + ".png",
    "",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_could_mean_a_place_outside_is_refused(name: str) -> None:
    """A1."""
    with pytest.raises(IntegrityError) as caught:
        checked_name(name)
    assert (caught.value.code, caught.value.exit_status) == ("ARC_UNSAFE_NAME", 5)


@pytest.mark.parametrize("name", [name for name in UNSAFE if name not in ("", "a/..")])
def test_a_zip_with_an_unsafe_name_is_refused_whole(tmp_path: Path, cache: Path, name: str) -> None:
    """A1."""
    path = zipped(tmp_path / "a.zip", {"ok/1.png": b"one", name: b"two"})
    assert refused(path, cache).code == "ARC_UNSAFE_NAME"


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "C:\\x.png", "a/./../../x.png", "\u2024\u2024/x.png"])
def test_a_tar_with_an_unsafe_name_is_refused_whole(tmp_path: Path, cache: Path, name: str) -> None:
    """A1."""
    path = tarred(tmp_path / "a.tar.gz", file_in_tar("ok/1.png"), file_in_tar(name))
    assert refused(path, cache).code == "ARC_UNSAFE_NAME"


def test_a_leading_dot_slash_and_dots_inside_a_name_are_safe() -> None:
    assert checked_name("./a/b.c..d.png") == "a/b.c..d.png"
    assert checked_name("...a/.hidden") == "...a/.hidden"


@pytest.mark.parametrize(
    "names",
    [
        ("a/1.png", "a/1.png"),
        ("a/1.png", "a/1.PNG"),
        ("Cat/1.png", "cat/2.png"),
        ("x/Cat/a/1.png", "x/cat/b/2.png"),
        ("caf\u00e9/1.png", "cafe\u0301/2.png"),
        ("a/1.png", "a"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_one_on_some_systems_are_refused(tmp_path: Path, cache: Path, names: tuple[str, str]) -> None:
    """A5, A7."""
    path = tarred(tmp_path / "a.tar", *(file_in_tar(name) for name in names))
    assert refused(path, cache).code == "ARC_UNSAFE_NAME"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for name in names:
            opened.writestr(name, b"content")
    assert refused(tmp_path / "a.zip", cache).code == "ARC_UNSAFE_NAME"


# --- Links and devices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_zip_entry_that_is_no_file_is_refused(tmp_path: Path, cache: Path, kind: int) -> None:
    """A2."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        link = zipfile.ZipInfo("a/link")
        link.create_system, link.external_attr = 3, (kind | 0o777) << 16
        opened.writestr(link, str(tmp_path))
        opened.writestr("a/link/x.png", b"through the link")
    assert refused(tmp_path / "a.zip", cache).code == "ARC_UNSAFE_MEMBER"
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
@pytest.mark.parametrize("target", ["1.png", "../../outside", "/etc/passwd"])
def test_a_tar_member_that_is_no_file_is_refused(tmp_path: Path, cache: Path, kind: bytes, target: str) -> None:
    """A3."""
    special = file_in_tar("a/special", b"", type=kind, linkname=target)
    path = tarred(tmp_path / "a.tar", file_in_tar("a/1.png"), special, file_in_tar("a/special2/x.png"))
    error = refused(path, cache)
    assert error.exit_status in (3, 5)
    assert error.code == "ARC_UNSAFE_MEMBER" or kind == tarfile.GNUTYPE_SPARSE


def test_what_is_unpacked_is_neither_executable_nor_setuid(tmp_path: Path) -> None:
    """A3."""
    path = tarred(tmp_path / "a.tar", file_in_tar("a/1.png", mode=0o6777, uid=0, mtime=0))
    [(_, stored)] = unpack(path)
    assert stored.stat().st_mode & 0o6111 == 0


# --- Bombs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MAX_MEMBERS": 50,
        "MAX_MEMBER_BYTES": 300_000,
        "MAX_TOTAL_BYTES": 1_000_000,
        "RATIO_FROM_BYTES": 100_000,
    }.items():
        monkeypatch.setattr(module, name, value)


INCOMPRESSIBLE = os.urandom(250_000)
BOMBS: dict[str, dict[str, bytes]] = {
    "one huge member": {"a.png": INCOMPRESSIBLE + INCOMPRESSIBLE},
    "too much in all": {f"{at}.png": INCOMPRESSIBLE[at:] for at in range(5)},
    "a ratio over 100": {f"{at}.png": bytes(50_000) for at in range(10)},
    "too many members": {f"{at}.png": b"" for at in range(51)},
}


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path, cache: Path, kind: str, bomb: str) -> None:
    """A4."""
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zipped(path, BOMBS[bomb])
    else:
        tarred(path, *(file_in_tar(name, content) for name, content in BOMBS[bomb].items()))
    error = refused(path, cache)
    assert (error.code, error.exit_status) == ("ARC_BOMB", 5)


@pytest.mark.usefixtures("low_limits")
def test_a_tar_whose_headers_unpack_to_too_much_is_stopped(tmp_path: Path, cache: Path) -> None:
    """A4: a header may be as long as it says, and is read into memory before anything of it is seen."""
    header = file_in_tar("a/1.png", pax_headers={"comment": "x" * 2_000_000})
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as opened:
        opened.addfile(header[0], io.BytesIO(header[1]))
    assert refused(tmp_path / "a.tar.gz", cache).code == "ARC_BOMB"


@pytest.mark.usefixtures("low_limits")
def test_a_zip_whose_entries_all_point_at_the_same_bytes_is_stopped(tmp_path: Path, cache: Path) -> None:
    """A4: quoted overlap; each entry is small, and they are many."""
    path = zipped(tmp_path / "a.zip", {"a0.png": bytes(200_000)})
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    entry, count = content[start : content.index(b"PK\5\6")], 9
    entries = b"".join(entry.replace(b"a0.png", f"a{at}.png".encode()) for at in range(count))
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(entries), start, 0)
    path.write_bytes(content[:start] + entries + end)
    assert refused(path, cache).code in {"ARC_BOMB", "ARC_CORRUPT"}


def test_archives_inside_an_archive_are_not_opened(tmp_path: Path) -> None:
    """A4."""
    inner = zipped(tmp_path / "inner.zip", {"../../x": b"x"}).read_bytes()
    [(name, stored)] = unpack(zipped(tmp_path / "a.zip", {"a/inner.zip": inner}))
    assert name == "a/inner.zip"
    assert stored.read_bytes() == inner


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("said", [1, 100_000, 0xFFFFFFFE])
def test_a_directory_that_lies_about_a_size_gains_nothing(tmp_path: Path, cache: Path, said: int) -> None:
    """A5: too little is cut off and fails its checksum; too much is not believed."""
    path = zipped(tmp_path / "a.zip", {"a/1.png": bytes(200_000)})
    content = path.read_bytes()
    at = content.index(b"PK\1\2") + 24
    path.write_bytes(content[:at] + struct.pack("<I", said) + content[at + 4 :])
    if said > 200_000:
        assert refused(path, cache).code in {"ARC_BOMB", "ARC_CORRUPT"}
    else:
        assert refused(path, cache).code == "ARC_CORRUPT"


def test_of_two_directories_only_one_is_believed_and_it_is_the_last(tmp_path: Path, cache: Path) -> None:
    """A5: an archive behind another one."""
    first = zipped(tmp_path / "first.zip", {"a/first.png": b"1"}).read_bytes()
    second = zipped(tmp_path / "second.zip", {"a/second.png": b"2"}).read_bytes()
    (tmp_path / "both.zip").write_bytes(first + second)
    assert [name for name, _ in unpack(tmp_path / "both.zip")] == ["a/second.png"]


# --- Damage ---------------------------------------------------------------------------------------------------------


def encrypted(content: bytes) -> bytes:
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.index(magic) + offset
        content = content[:at] + bytes([content[at] | 1]) + content[at + 1 :]
    return content


def of_unknown_method(content: bytes) -> bytes:
    for magic, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = content.index(magic) + offset
        content = content[:at] + b"\x63\0" + content[at + 2 :]
    return content


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (encrypted, "ARC_ENCRYPTED"),
        (of_unknown_method, "ARC_CORRUPT"),
        (lambda content: content[: len(content) // 2], "ARC_CORRUPT"),
        (lambda content: content[:-30], "ARC_CORRUPT"),
        (lambda content: flipped(content, 2000), "ARC_CORRUPT"),
        (lambda content: flipped(content, content.index(b"PK\1\2") + 16), "ARC_CORRUPT"),
        (lambda content: b"", "ARC_CORRUPT"),
        (lambda content: b"<html>", "ARC_CORRUPT"),
    ],
)
def test_a_zip_that_is_locked_or_damaged_is_refused(
    tmp_path: Path, cache: Path, damage: Callable[[bytes], bytes], code: str
) -> None:
    """A6."""
    path = zipped(tmp_path / "a.zip", {"a/1.png": INCOMPRESSIBLE[:9000], "a/2.png": b"two"})
    path.write_bytes(damage(path.read_bytes()))
    error = refused(path, cache)
    assert (error.code, error.exit_status) == (code, 3)
    assert "a.zip" in str(error)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_a_zip_of_any_method_is_read_and_its_damage_seen(tmp_path: Path, cache: Path, method: int) -> None:
    """A6."""
    path = zipped(tmp_path / "a.zip", {"a/1.png": INCOMPRESSIBLE[:9000]}, method)
    assert unpack(path)[0][1].read_bytes() == INCOMPRESSIBLE[:9000]
    shutil.rmtree(cache)
    path.write_bytes(flipped(path.read_bytes(), 3000))
    assert refused(path, cache).code == "ARC_CORRUPT"


@pytest.mark.parametrize("kind", TARS)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_tar_cut_short_is_refused_not_read_in_part(tmp_path: Path, cache: Path, kind: str, part: float) -> None:
    """A6."""
    members = [file_in_tar(f"a/{at}.png", INCOMPRESSIBLE[at * 9000 :][:9000]) for at in range(8)]
    path = tarred(tmp_path / f"a.{kind}", *members)
    assert len(unpack(path)) == 8
    shutil.rmtree(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    error = refused(path, cache)
    assert (error.code, error.exit_status) == ("ARC_CORRUPT", 3)


def test_a_tar_cut_between_two_members_is_refused(tmp_path: Path, cache: Path) -> None:
    """A6: Python's tarfile takes it for whole."""
    path = tarred(tmp_path / "a.tar", *(file_in_tar(f"a/{at}.png", b"x" * 512) for at in range(4)))
    for blocks in (2, 4, 5, 6):
        path.write_bytes((whole := path.read_bytes())[: blocks * 512])
        assert refused(path, cache).code == "ARC_CORRUPT"
        path.write_bytes(whole)
    path.write_bytes(path.read_bytes()[: 4 * 512 + 100])
    assert refused(path, cache).code == "ARC_CORRUPT"


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.bz2"])
def test_a_flipped_bit_anywhere_in_a_packed_tar_is_seen(tmp_path: Path, cache: Path, kind: str) -> None:
    """A6."""
    path = tarred(tmp_path / f"a.{kind}", file_in_tar("a/1.png", INCOMPRESSIBLE[:9000]))
    whole = path.read_bytes()
    for at in range(600, len(whole), len(whole) // 7):
        path.write_bytes(flipped(whole, at))
        assert refused(path, cache).code == "ARC_CORRUPT"


def test_the_checksum_behind_the_last_member_is_read_too(tmp_path: Path, cache: Path) -> None:
    """A6: this tar ends with a piece that is read, so that nothing else would make us look behind it."""
    path = tarred(tmp_path / "a.tar.gz", file_in_tar("a/1.png", bytes(5 * 2**20 - 3 * 512)))
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, len(whole) - 8))
    assert refused(path, cache).code == "ARC_CORRUPT"


def test_a_full_disk_while_unpacking_leaves_nothing_behind(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A10."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = zipped(tmp_path / "a.zip", {"a/1.png": b"one"})
    monkeypatch.setattr(module._Budget, "copy", full)
    error = refused(path, cache)
    assert isinstance(error, EnvironmentFault)
    assert error.exit_status == 4


def test_an_interrupt_while_unpacking_leaves_nothing_behind(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A11."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Budget, "copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        unpack(zipped(tmp_path / "a.zip", {"a/1.png": b"one"}))
    assert not any((cache / "archives").iterdir())


def test_what_a_killed_process_left_is_never_used_and_swept_at_the_next_start(tmp_path: Path, cache: Path) -> None:
    """A11: after a day, since until then another process may be at work on it."""
    stale, fresh = (cache / "archives" / f".{name}" for name in ("stale", "fresh"))
    for folder in (stale, fresh):
        folder.mkdir(parents=True)
        (folder / "000000.png").write_bytes(b"half")
    for path in (stale / "000000.png", stale):
        os.utime(path, (1e9, 1e9))
    [(name, path)] = unpack(zipped(tmp_path / "a.zip", {"a/1.png": b"one"}))
    assert (name, path.read_bytes()) == ("a/1.png", b"one")
    assert not stale.exists()
    assert fresh.exists()
    shutil.rmtree(fresh)
