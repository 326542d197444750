"""The formats in which the famous data sets are distributed are read as they are meant, or refused by name."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iconoclass.data.catalog import DATASETS, find
from iconoclass.data.readers import CIFAR10, CIFAR100, IDX, IDX_NAMES, read_npz
from iconoclass.errors import DataError, IntegrityError

RANDOM = np.random.default_rng(0)
NAMES = tuple("0123456789")


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_arrays() -> list[NDArray[np.uint8]]:
    shapes = [(6, 4, 5), (6,), (3, 4, 5), (3,)]
    return [RANDOM.integers(0, 10 if len(shape) == 1 else 256, shape, np.uint8) for shape in shapes]


def write_idx(folder: Path, arrays: list[NDArray[np.uint8]], suffix: str = "") -> list[Path]:
    for name, array in zip(IDX_NAMES, arrays, strict=True):
        content = idx(array)
        (folder / (name + suffix)).write_bytes(gzip.compress(content) if suffix == ".gz" else content)
    return IDX.find(folder)


# --- IDX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_packed_or_plain(tmp_path: Path, suffix: str) -> None:
    given = idx_arrays()
    arrays = IDX.read(write_idx(tmp_path, given, suffix), NAMES)
    assert np.array_equal(arrays.train_pixels, given[0][..., None])
    assert np.array_equal(arrays.train_labels, given[1])
    assert np.array_equal(arrays.test_pixels, given[2][..., None])
    assert np.array_equal(arrays.test_labels, given[3])
    assert arrays.train_pixels.dtype == np.uint8
    assert arrays.train_labels.dtype == np.int32


def test_a_folder_that_lacks_one_of_the_four_files_is_not_taken(tmp_path: Path) -> None:
    paths = write_idx(tmp_path, idx_arrays())
    paths[2].unlink()
    assert IDX.find(tmp_path) == []


def test_names_with_a_dot_for_a_dash_are_found_too(tmp_path: Path) -> None:
    for path in write_idx(tmp_path, idx_arrays()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(IDX.find(tmp_path)) == 4


DAMAGE = {
    "wrong magic": lambda content: b"\0\0\x0d" + content[3:],
    "wrong number of dimensions": lambda content: content[:3] + b"\x02" + content[4:],
    "cut in the header": lambda content: content[:9],
    "cut to two bytes": lambda content: content[:2],
    "nothing": lambda content: b"",
    "cut in the pixels": lambda content: content[:-1],
    "a byte too many": lambda content: content + b"\0",
    "sizes that overflow": lambda content: content[:4] + b"\xff" * 12 + content[16:],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_idx_file_is_refused_by_name(tmp_path: Path, which: int, damage: str) -> None:
    path = write_idx(tmp_path, idx_arrays())[which]
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(IntegrityError, match=path.name) as caught:
        IDX.read(IDX.find(tmp_path), NAMES)
    assert caught.value.exit_status == 5


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"x" + b, lambda b: b[:15] + b"\xff" + b[16:]]
)
def test_a_damaged_gz_file_is_refused_by_name(tmp_path: Path, damage) -> None:
    path = write_idx(tmp_path, idx_arrays(), ".gz")[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(IntegrityError, match=path.name):
        IDX.read(IDX.find(tmp_path), NAMES)


def test_labels_that_do_not_fit_the_images_or_the_classes_are_refused(tmp_path: Path) -> None:
    for labels in (np.zeros(5, np.uint8), np.full(6, 10, np.uint8)):
        paths = write_idx(tmp_path, [idx_arrays()[0], labels, *idx_arrays()[2:]])
        with pytest.raises(IntegrityError, match=paths[1].name):
            IDX.read(paths, NAMES)


# --- CIFAR ----------------------------------------------------------------------------------------------------------


def cifar_rows(count: int, label_bytes: int, classes: int) -> tuple[bytes, NDArray[np.uint8], NDArray[np.uint8]]:
    """(file content, pixels, labels); the label before the last one is always 7."""
    pixels = RANDOM.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = RANDOM.integers(0, classes, count, np.uint8)
    planes = pixels.transpose(0, 3, 1, 2).reshape(count, 3072)
    coarse = np.full((count, label_bytes - 1), 7, np.uint8)
    return np.hstack([coarse, labels[:, None], planes]).tobytes(), pixels, labels


def cifar10() -> tuple[dict[str, bytes], list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]]:
    batches = [cifar_rows(3, 1, 10) for _ in range(6)]
    names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    files = {name: batch[0] for name, batch in zip(names, batches, strict=True)}
    files["batches.meta.txt"] = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"
    return files | {"readme.html": b"<html>"}, [batch[1:] for batch in batches]


def write_tar(path: Path, folder: str, files: dict[str, bytes]) -> None:
    with tarfile.open(path, f"w:{path.suffix[1:]}") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("form", ["tar.gz", "tar.xz", "unpacked", "unpacked without its folder"])
def test_cifar10_is_read_packed_and_unpacked(tmp_path: Path, form: str) -> None:
    files, batches = cifar10()
    if form.startswith("tar"):
        write_tar(tmp_path / f"cifar-10-binary.{form}", "cifar-10-batches-bin", files)
    else:
        folder = tmp_path if form.endswith("folder") else tmp_path / "cifar-10-batches-bin"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    arrays = CIFAR10.read(CIFAR10.find(tmp_path), ())
    assert arrays.class_names[0] == "airplane"
    assert len(arrays.class_names) == 10
    assert np.array_equal(arrays.train_pixels, np.concatenate([pixels for pixels, _ in batches[:5]]))
    assert np.array_equal(arrays.train_labels, np.concatenate([labels for _, labels in batches[:5]]))
    assert np.array_equal(arrays.test_pixels, batches[5][0])
    assert np.array_equal(arrays.test_labels, batches[5][1])
    assert arrays.train_pixels.flags.c_contiguous


def test_cifar100_is_read_by_its_fine_labels(tmp_path: Path) -> None:
    (train, _, train_labels), (test, _, test_labels) = cifar_rows(5, 2, 100), cifar_rows(4, 2, 100)
    fine = "\n".join(f"fine_{n}" for n in range(100)).encode()
    files = {"train.bin": train, "test.bin": test, "fine_label_names.txt": fine, "coarse_label_names.txt": b"a\nb"}
    write_tar(tmp_path / "cifar-100-binary.tar.gz", "cifar-100-binary", files)
    arrays = CIFAR100.read(CIFAR100.find(tmp_path), ())
    assert arrays.class_names[99] == "fine_99"
    assert np.array_equal(arrays.train_labels, train_labels)
    assert np.array_equal(arrays.test_labels, test_labels)


def test_a_damaged_cifar_archive_is_refused_by_name(tmp_path: Path) -> None:
    files, _ = cifar10()
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_tar(path, "cifar-10-batches-bin", files)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (
        whole[:middle],
        b"<html>" + whole,
        whole[:middle] + bytes(64) + whole[middle + 64 :],
        whole[:-8] + b"\0" * 8,
    ):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=path.name):
            CIFAR10.read([path], ())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data_batch_3.bin", lambda content: content[:-1]),
        ("data_batch_3.bin", lambda content: b""),
        ("test_batch.bin", lambda content: b"\x0a" + content[1:]),
        ("batches.meta.txt", lambda content: b"\xff\xfe"),
        ("batches.meta.txt", lambda content: b""),
    ],
)
def test_a_damaged_cifar_batch_is_refused_by_name(tmp_path: Path, name: str, change) -> None:
    files, _ = cifar10()
    files[name] = change(files[name])
    for member, content in files.items():
        (tmp_path / member).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        CIFAR10.read(CIFAR10.find(tmp_path), ())


def test_a_cifar_archive_that_lacks_a_batch_says_which(tmp_path: Path) -> None:
    files, _ = cifar10()
    del files["data_batch_4.bin"]
    write_tar(tmp_path / "cifar-10-binary.tar.xz", "cifar-10-batches-bin", files)
    with pytest.raises(IntegrityError, match=r"lacks data_batch_4\.bin"):
        CIFAR10.read(CIFAR10.find(tmp_path), ())


# --- .npz -----------------------------------------------------------------------------------------------------------

GREY = RANDOM.integers(0, 256, (6, 9, 10), np.uint8)
COLOUR = RANDOM.integers(0, 256, (4, 9, 10, 3), np.uint8)
NUMBERS = np.array([3, 10, 3, 10, 3, 1])


def saved(folder: Path, **arrays) -> Path:
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def test_an_npz_of_grey_images_without_a_channel_is_read(tmp_path: Path) -> None:
    arrays = read_npz(saved(tmp_path, x_train=GREY, y_train=NUMBERS), tmp_path)
    assert np.array_equal(arrays.train_pixels, GREY[..., None])
    assert arrays.class_names == ("1", "3", "10"), "numbers sort as numbers"
    assert arrays.train_labels.tolist() == [1, 2, 1, 2, 1, 0]
    assert arrays.test_pixels is None


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_an_npz_of_colour_images_labelled_with_words_is_read(tmp_path: Path, dtype: str) -> None:
    words = np.array(["dog", "cat", "dog", "cat"]).astype(dtype)
    arrays = read_npz(
        saved(tmp_path, x_train=COLOUR, y_train=words[:, None], x_test=COLOUR[:2], y_test=words[:2]), tmp_path
    )
    assert arrays.class_names == ("cat", "dog")
    assert arrays.train_labels.tolist() == [1, 0, 1, 0]
    assert arrays.test_labels is not None
    assert arrays.test_labels.tolist() == [1, 0]


REFUSED = {
    "x_train": {"y_train": NUMBERS},
    "x_train, y_train, x_test": {"x_train": GREY, "y_train": NUMBERS, "x_test": GREY},
    "float32": {"x_train": GREY.astype(np.float32) / 255, "y_train": NUMBERS},
    "int64": {"x_train": GREY.astype(np.int64), "y_train": NUMBERS},
    "shape": {"x_train": GREY[..., None].repeat(2, -1), "y_train": NUMBERS},
    "plain arrays": {"x_train": GREY, "y_train": np.array(["a", 1, None] * 2, object)},
    "one whole number": {"x_train": GREY, "y_train": np.eye(6, dtype=int)},
    "float64": {"x_train": GREY, "y_train": np.full(6, np.nan)},
    "bool": {"x_train": GREY, "y_train": np.array([True, False] * 3)},
    r"\(5,\)": {"x_train": GREY, "y_train": NUMBERS[:5]},
    "different shapes": {"x_train": GREY, "y_train": NUMBERS, "x_test": GREY[:, 1:], "y_test": NUMBERS},
    "words": {"x_train": GREY, "y_train": NUMBERS, "x_test": GREY, "y_test": NUMBERS.astype(str)},
    r"\(0, 9, 10, 1\)": {"x_train": GREY[:0], "y_train": NUMBERS[:0]},
}


@pytest.mark.parametrize("said", REFUSED)
def test_an_npz_that_is_not_images_and_labels_is_refused_and_says_why(tmp_path: Path, said: str) -> None:
    """M10: object arrays hold pickles, which are never opened."""
    with pytest.raises(DataError, match=said) as caught:
        read_npz(saved(tmp_path, **REFUSED[said]), tmp_path)
    assert "own.npz" in str(caught.value)


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=GREY, y_train=NUMBERS)
    whole = path.read_bytes()
    np.save(tmp_path / "single.npy", GREY)
    huge = whole.replace(b"(6, 9, 10)", b"(6, 9" + b"9" * 4 + b")")
    for damaged in (
        b"",
        whole[:100],
        whole[: len(whole) // 2],
        b"x" * 100,
        (tmp_path / "single.npy").read_bytes(),
        huge,
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"own\.npz"):
            read_npz(path, tmp_path)


# --- The real ones --------------------------------------------------------------------------------------------------


@pytest.mark.datasets
@pytest.mark.parametrize(
    ("name", "count", "shape"),
    [("mnist", 60_000, (28, 28, 1)), ("fashion_mnist", 60_000, (28, 28, 1)), ("cifar10", 50_000, (32, 32, 3))],
)
def test_the_real_data_sets_are_whole(big_data: Path, name: str, count: int, shape: tuple[int, int, int]) -> None:
    arrays = DATASETS[name].reader.read(find(name, big_data / name), DATASETS[name].class_names)
    assert arrays.test_pixels is not None
    assert arrays.test_labels is not None
    assert arrays.train_pixels.shape == (count, *shape)
    assert arrays.test_pixels.shape == (10_000, *shape)
    assert arrays.train_pixels.dtype == arrays.test_pixels.dtype == np.uint8
    assert len(arrays.class_names) == 10
    assert set(arrays.train_labels.tolist()) == set(range(10))
    tested = np.bincount(arrays.test_labels, minlength=10)
    # MNIST's own test part holds from 892 fives to 1,135 ones; the other two are balanced exactly.
    assert tested.tolist() == [1000] * 10 or (name == "mnist" and 892 == tested.min() <= tested.max() == 1135)
