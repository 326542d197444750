"""The three data sets as their authors distribute them -> NumPy arrays, and the clock by which every opponent is timed.

Shared by all opponents, so that none of them gains or loses by its reader: the files lie in
$ICONOCLASS_DATA/mnist, /fashion_mnist and /cifar10.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

DATA = ("mnist", "fashion_mnist", "cifar10")


class Pictures(NamedTuple):
    """Pixels: uint8 (pictures, height, width, channels). Labels: int64 (pictures,)."""

    train_pixels: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_pixels: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]


def read(name: str, limit: int | None = None) -> Pictures:
    """The data set; with a limit only its first so many pictures for training and for testing."""
    folder = Path(os.environ["ICONOCLASS_DATA"]) / name
    parts = _read_cifar10(folder) if name == "cifar10" else _read_idx(folder)
    return Pictures(*(part[:limit] for part in parts))


def _read_idx(folder: Path) -> Pictures:
    train, test = (
        (
            np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16),
            np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8),
        )
        for part in ("train", "t10k")
    )
    return Pictures(
        train[0].reshape(-1, 28, 28, 1), train[1].astype(np.int64),
        test[0].reshape(-1, 28, 28, 1), test[1].astype(np.int64),
    )  # fmt: skip


def _read_cifar10(folder: Path) -> Pictures:
    """Unpacked once and kept: ours reads decoded pixels from its cache, and no opponent is to wait longer for them."""
    kept = _cache() / "cifar10.npz"
    if not kept.exists():
        _unpack_cifar10(folder, kept)
    with np.load(kept) as arrays:
        return Pictures(*(arrays[field] for field in Pictures._fields))


def _unpack_cifar10(folder: Path, kept: Path) -> None:
    packed = next(path for path in sorted(folder.glob("*.tar.*")))
    with tarfile.open(packed) as archive:
        files = {Path(member.name).name: member for member in archive.getmembers()}
        names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
        records = [archive.extractfile(files[name]).read() for name in names]  # type: ignore[union-attr]
    rows = np.frombuffer(b"".join(records), np.uint8).reshape(60_000, 1 + 3072)
    pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = rows[:, 0].astype(np.int64)
    arrays = Pictures(pixels[:50_000], labels[:50_000], pixels[50_000:], labels[50_000:])
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.ascontiguousarray(array) for name, array in arrays._asdict().items()})
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(kept)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iconoclass-opponents"


def options(parser: argparse.ArgumentParser, epochs: int) -> argparse.Namespace:
    """What every opponent can be asked."""
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--limit", type=int, help="only so many pictures of each part, to try the script")
    return parser.parse_args()


class Clock:
    """Seconds since the process was started, imports included; it stands still while the opponent is judged."""

    def __init__(self) -> None:
        self.began = _process_began()
        self.judging = 0.0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        paused = time.monotonic()
        yield
        self.judging += time.monotonic() - paused

    def seconds(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.began - self.judging

    def tell(self, epoch: int, accuracy: float, **more: Any) -> None:
        """One JSON line on stdout."""
        row = {"epoch": epoch, "seconds": round(self.seconds(), 3), "accuracy": round(float(accuracy), 5), **more}
        print(json.dumps(row), flush=True)


def _process_began() -> float:
    """When Linux made this process, in seconds since the machine was started."""
    # The command's name stands in brackets and may hold blanks: fields are counted after it.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
