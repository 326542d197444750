"""The formats in which the famous data sets are distributed -> Arrays."""

from __future__ import annotations

import errno
import gzip
import lzma
import math
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.errors import DataError, IntegrityError


@dataclass(frozen=True)
class Arrays:
    """A data set in memory.

    train_pixels, test_pixels: uint8 (n, height, width, channels), RGB or grey, in [0, 255].
    train_labels, test_labels: int32 (n,), indices into class_names. Without a test part both test arrays are None.
    """

    train_pixels: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int32]
    test_pixels: npt.NDArray[np.uint8] | None
    test_labels: npt.NDArray[np.int32] | None
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Reader:
    """find: the files of a data set in a folder, in order; empty if one is missing. read: those files -> Arrays."""

    find: Callable[[Path], list[Path]]
    read: Callable[[list[Path], tuple[str, ...]], Arrays]


# -- IDX: MNIST and Fashion-MNIST ----------------------------------------------------------------------------------

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find_idx(folder: Path) -> list[Path]:
    # Some unpackers turn "train-images-idx3-ubyte" into "train-images.idx3-ubyte".
    found = [_first(folder, [name + ".gz", name, name.replace("-idx", ".idx")]) for name in IDX_NAMES]
    return [path for path in found if path] if all(found) else []


def read_idx(paths: list[Path], class_names: tuple[str, ...]) -> Arrays:
    train_pixels, train_labels, test_pixels, test_labels = (
        parse_idx(_unpacked(path), path, dimensions) for path, dimensions in zip(paths, (3, 1, 3, 1), strict=True)
    )
    _check_labels(train_labels, len(train_pixels), class_names, paths[1])
    _check_labels(test_labels, len(test_pixels), class_names, paths[3])
    return Arrays(
        train_pixels[..., None],
        train_labels.astype(np.int32),
        test_pixels[..., None],
        test_labels.astype(np.int32),
        class_names,
    )


def parse_idx(content: bytes, path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, of so many dimensions.

    Raises: IntegrityError, if the header is another or the length does not fit it.
    Source of the format: the MNIST page of LeCun, Cortes and Burges.
    """
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < start:
        what = f"an IDX file of unsigned bytes in {dimensions} dimensions"
        raise IntegrityError(f"{path} is not {what}", hint="Fetch it again.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) - start != math.prod(shape):
        raise IntegrityError(
            f"{path} should hold {shape} bytes and holds {len(content) - start}", hint="Fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


# -- CIFAR: binary batches in an archive or unpacked ---------------------------------------------------------------


@dataclass(frozen=True)
class _Cifar:
    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    label_bytes: int
    names: str


_CIFAR10 = _Cifar(
    "cifar-10-binary",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
    "test_batch.bin",
    1,
    "batches.meta.txt",
)
_CIFAR100 = _Cifar("cifar-100-binary", "cifar-100-binary", ("train.bin",), "test.bin", 2, "fine_label_names.txt")


def _cifar_reader(layout: _Cifar) -> Reader:
    members = (*layout.train, layout.test, layout.names)

    def find(folder: Path) -> list[Path]:
        for unpacked in (folder / layout.folder, folder):
            if all((unpacked / member).is_file() for member in members):
                return [unpacked / member for member in members]
        archive = _first(folder, [f"{layout.archive}.tar{suffix}" for suffix in (".gz", ".xz", ".bz2", "")])
        return [archive] if archive else []

    def read(paths: list[Path], _: tuple[str, ...]) -> Arrays:
        content = _tar_members(paths[0], members) if len(paths) == 1 else [path.read_bytes() for path in paths]
        # Of an archive the file to name is the archive itself.
        where = paths * len(members) if len(paths) == 1 else paths
        names = _class_names(content[-1], where[-1])
        parts = [_parse_cifar(*part, layout.label_bytes, names) for part in zip(content[:-1], where[:-1], strict=True)]
        pixels, labels = [np.concatenate(kind[:-1]) for kind in zip(*parts, strict=True)]
        return Arrays(pixels, labels, *parts[-1], names)

    return Reader(find, read)


def _class_names(content: bytes, path: Path) -> tuple[str, ...]:
    names = tuple(content.decode("ascii", "replace").split())
    if len(names) < 2 or not all(name.isascii() for name in names):
        raise IntegrityError(f"{path} does not hold the names of classes", hint="Fetch it again.")
    return names


def _parse_cifar(
    content: bytes, path: Path, label_bytes: int, names: Sequence[str]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    row = label_bytes + 3072
    if not content or len(content) % row:
        raise IntegrityError(f"{path} does not hold whole CIFAR rows of {row} bytes", hint="Fetch it again.")
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    planes = rows[:, label_bytes:].reshape(-1, 3, 32, 32)
    # The last label byte is the fine label of CIFAR-100, and the only one of CIFAR-10.
    labels = rows[:, label_bytes - 1].astype(np.int32)
    _check_labels(labels, len(planes), names, path)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _tar_members(archive: Path, names: Sequence[str]) -> list[bytes]:
    """The members of those base names. Nothing is written to disk, so no member can escape."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name in names and member.isreg() and member.size < 1 << 28:
                    file = tar.extractfile(member)
                    found[name] = file.read() if file else b""
            # The checksum of a .gz or .xz stands behind the last member.
            while tar.fileobj and tar.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise IntegrityError(f"{archive} cannot be unpacked: {error}", hint="Fetch it again.") from error
    if missing := [name for name in names if name not in found]:
        raise IntegrityError(f"{archive} lacks {', '.join(missing)}", hint="Fetch it again.")
    return [found[name] for name in names]


# -- the digits that ship with scikit-learn ------------------------------------------------------------------------


def read_digits(_: list[Path], class_names: tuple[str, ...]) -> Arrays:
    """1,797 digits of 8 x 8 pixels; their 17 grey levels are spread over [0, 255]. There is no test part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return Arrays(pixels, digits.target.astype(np.int32), None, None, class_names)


# -- .npz ----------------------------------------------------------------------------------------------------------


def read_npz(path: Path, room: Path) -> Arrays:
    """x_train, y_train and, if there, x_test, y_test of an .npz file; labels may be numbers or words.

    room: a folder into which the arrays are unpacked; they are mapped from there, whatever their size.
    Raises: DataError, if an array is missing or has another shape or dtype than images and labels have.
    """
    try:
        # Opened here: NumPy leaves a file open that turns out to be no zip.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            held = list(file)
            wanted = [name for name in ("x_train", "y_train", "x_test", "y_test") if name in held]
            arrays = {name: _mapped(file.zip, name, room) for name in wanted}
    # A single array under this name has no `with`: TypeError. Sizes that a header invents: MemoryError.
    except (OSError, ValueError, EOFError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: {error}") from None
    missing = [name for name in ("x_train", "y_train") if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        hint = "It needs x_train, y_train and either both or none of x_test, y_test."
        raise DataError(f"{path} holds {', '.join(held) or 'nothing'}", hint=hint)
    for part in ("train", "test") if "x_test" in arrays else ("train",):
        arrays[f"x_{part}"] = _checked_pixels(arrays[f"x_{part}"], f"{path}: x_{part}")
        arrays[f"y_{part}"] = _checked_labels(arrays[f"y_{part}"], len(arrays[f"x_{part}"]), f"{path}: y_{part}")
    shapes = {arrays[name].shape[1:] for name in arrays if name.startswith("x_")}
    if len(shapes) > 1:
        raise DataError(f"{path}: x_train and x_test hold images of different shapes: {shapes}")
    if len({arrays[name].dtype.kind == "U" for name in arrays if name.startswith("y_")}) > 1:
        raise DataError(f"{path}: the labels of one part are words, those of the other are numbers")
    names = np.unique(np.concatenate([arrays[name] for name in arrays if name.startswith("y_")]))
    labels = {name: np.searchsorted(names, arrays[name]).astype(np.int32) for name in arrays if name.startswith("y_")}
    return Arrays(
        arrays["x_train"],
        labels["y_train"],
        arrays.get("x_test"),
        labels.get("y_test"),
        tuple(map(str, names.tolist())),
    )


def _mapped(archive: zipfile.ZipFile, name: str, room: Path) -> npt.NDArray[Any]:
    member, path = name if name in archive.namelist() else f"{name}.npy", room / name
    with archive.open(member) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def _checked_pixels(pixels: npt.NDArray[np.uint8], where: str) -> npt.NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        hint = "Save pixels as uint8 in [0, 255]; only the model scales. For floats in [0, 1]: (x * 255).round()."
        raise DataError(f"{where} is {pixels.dtype}", hint=hint)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3) or not len(pixels):
        hint = "Allowed: (images, height, width), (images, height, width, 1) or (images, height, width, 3)."
        raise DataError(f"{where} has shape {pixels.shape}", hint=hint)
    return pixels


def _checked_labels(labels: npt.NDArray[np.generic], count: int, where: str) -> npt.NDArray[np.generic]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "iuUS":
        hint = f"It needs one whole number or word an image: shape ({count},)."
        raise DataError(f"{where} has shape {labels.shape} and dtype {labels.dtype}", hint=hint)
    return labels.astype(str) if labels.dtype.kind == "S" else labels


# -- how -----------------------------------------------------------------------------------------------------------


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _check_labels(labels: npt.NDArray[np.integer[Any]], count: int, names: Sequence[str], path: Path) -> None:
    if len(labels) != count or (count and labels.max() >= len(names)):
        most = labels.max(initial=0)
        raise IntegrityError(
            f"{path} holds {len(labels)} labels up to {most}, for {count} images of {len(names)} classes",
            hint="Fetch it again.",
        )


def _unpacked(path: Path) -> bytes:
    unpack = {".gz": gzip.decompress}.get(path.suffix, bytes)
    try:
        return unpack(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise IntegrityError(f"{path} cannot be unpacked: {error}", hint="Fetch it again.") from error


IDX = Reader(find_idx, read_idx)
CIFAR10 = _cifar_reader(_CIFAR10)
CIFAR100 = _cifar_reader(_CIFAR100)
DIGITS = Reader(lambda _: [], read_digits)
