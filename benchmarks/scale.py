"""What do more pictures cost? Synthetic data sets of a thousand to a million pictures, each in processes of its own.

    python benchmarks/scale.py [1000 10000 100000 1000000] [--model mlp] [--width N] [--epochs 2] [--batch-size 512]
    python benchmarks/scale.py cifar10 [--epochs 2]

Printed, for each size: seconds to open it for the first time and again, seconds an epoch (the last one, validation
included) and seconds of the whole command; then the most memory that a process held: resident, with the pictures that
the system has mapped from disk and may drop at any time, and without them ("own"), which is what it cannot do without.
With a name such as cifar10: the same for a training with default settings and an empty cache. For Linux; a million
pictures need 10 GB in the folder for temporary files ($TMPDIR).
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES, SIDE, PIECE = 10, 32, 10_000
OPEN = """
import sys, time
from iconoclass.data.dataset import load_dataset
began = time.perf_counter()
load_dataset(sys.argv[1])
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Cost:
    """seconds: of the whole process; resident, own: the most it held, in MB; said: what it printed."""

    seconds: float
    resident: float
    own: float
    said: str


def cost_of(command: list[str], cache: Path) -> Cost:
    """Run a command of Python's to its end."""
    began, own = time.perf_counter(), [0]
    environment = {**os.environ, "ICONOCLASS_CACHE": str(cache)}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=said, stderr=said)
        watching = threading.Thread(target=_watch, args=(process.pid, own))
        watching.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        watching.join()
        said.seek(0)
        text = said.read()
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{text}")
    return Cost(seconds, usage.ru_maxrss / 1e3, own[0] / 1e3, text)


def _watch(pid: int, own: list[int]) -> None:
    """Keep the most memory, in kB, that the process has had beside files mapped from disk."""
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        rows = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
        if not rows:  # it has ended
            return
        own[0] = max(own[0], int(rows[0]))
        time.sleep(0.01)


def make(path: Path, count: int) -> None:
    """An .npz of noise with a brighter bar whose place is the class, written piece by piece."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, count).astype(np.uint8)
    bars = np.zeros((CLASSES, SIDE, SIDE, 3), np.uint8)
    for label in range(CLASSES):
        bars[label, :, 3 * label : 3 * label + 3] = 60
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("y_train.npy", "w") as member:
            np.lib.format.write_array(member, labels)
        with archive.open("x_train.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE, 3)}
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, count, PIECE):
                some = labels[start : start + PIECE]
                member.write(bars[some] + random.integers(0, 196, (len(some), SIDE, SIDE, 3), np.uint8))


def seconds_an_epoch(folder: Path) -> float:
    """Of the last epoch, which traces and compiles nothing; of the only one, where there is but one."""
    [history] = folder.rglob("history.csv")
    with history.open(encoding="utf-8") as file:
        ends = [0.0, *(float(row["seconds"]) for row in csv.DictReader(file))]
    return ends[-1] - ends[-2]


def train(source: str, settings: list[str], folder: Path, cache: Path) -> tuple[Cost, float]:
    """What a training costs, and its seconds an epoch."""
    command = ["-m", "iconoclass", "train", source, *settings, "--output", str(folder / "runs")]
    return cost_of(command, cache), seconds_an_epoch(folder / "runs")


def row_of(count: int, settings: list[str]) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, cache = folder / "synthetic.npz", folder / "cache"
        make(path, count)
        first, again = (cost_of(["-c", OPEN, str(path)], cache) for _ in range(2))
        training, epoch = train(str(path), settings, folder, cache)
    return (
        f"{count:>10,}{float(first.said):>9.2f}{float(again.said):>9.2f}"
        f"{epoch:>9.2f}{1e3 * epoch / count:>11.4f}{training.seconds:>9.1f}"
        f"{first.own:>12.0f}{again.own:>12.0f}{training.own:>12.0f}{training.resident:>12.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["1000", "10000", "100000", "1000000"])
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--width")
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--batch-size", default="512")
    options = parser.parse_args()
    settings = ["--model", options.model, "--epochs", options.epochs, "--batch-size", options.batch_size]
    settings += ["--width", options.width] if options.width else []
    sizes = [int(word) for word in options.what if word.isdecimal()]
    for source in (word for word in options.what if not word.isdecimal()):
        with tempfile.TemporaryDirectory() as name:
            cost, epoch = train(source, ["--epochs", options.epochs], Path(name), Path(name) / "cache")
        print(f"{source}: {cost.seconds:.1f} s, {epoch:.1f} s an epoch; {cost.resident:.0f} MB, own {cost.own:.0f} MB")
    if sizes:
        print(f"{'':>10}{'seconds to':>18}{'':>28}{' MB of its own to':>37}{'resident':>12}")
        print(f"{'images':>10}{'open':>9}{'again':>9}{'epoch':>9}{'per 1,000':>11}{'train':>9}", end="")
        print(f"{'open':>12}{'again':>12}{'train':>12}{'train':>12}")
    for count in sizes:
        print(row_of(count, settings), flush=True)


if __name__ == "__main__":
    main()
