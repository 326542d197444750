"""What do two workers that learn together gain? The same training by one core and by two workers of a core each.

    python benchmarks/parallel.py [--data fashion_mnist] [--width 8] [--batch-size 256] [--epochs 4] [--seeds 3]

Printed for each seed: the test accuracy, the pictures a second of the fastest epoch but the first, and the processor's
time for a picture from the second epoch to the last but one, of all workers together. Then the means, the difference
with its deviation, and how efficient two workers are, by the fastest epoch of all seeds, which other work on the
machine has met least: of twice one worker, and of two trainings side by side that have nothing to do with each other,
which is as much as two cores of this machine can do. For Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import psutil

import iconoclass as ic
from iconoclass.training.progress import Listener, Now


@dataclass
class Result:
    """One training. cpu_ms: for a picture, of all that learn it."""

    accuracy: float
    images_per_s: float
    cpu_ms: float


class Measures(Listener):
    """The pace of every epoch, and what all processes that learn have used until it ended."""

    def __init__(self) -> None:
        self.used: list[float] = []
        self.paces: list[float] = []

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        self.paces.append(now.images_per_s)
        if now.epoch < now.epochs:  # after the last one some workers have ended already
            self.used.append(sum(map(_seconds, _learning())))

    @property
    def epoch_cpu_s(self) -> float:
        return (self.used[-1] - self.used[0]) / (len(self.used) - 1)


def _learning() -> list[psutil.Process]:
    """Ray's workers that learn; without any, this process."""
    return [one for one in psutil.Process().children(recursive=True) if _is_worker(one)] or [psutil.Process()]


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it has just ended
        return any("ray::Worker" in word for word in process.cmdline())
    return False


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(asked: argparse.Namespace, workers: int, seed: int, core: int) -> Result:
    """One training, in this process and on as many cores as there are workers, from that one on."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[core : core + workers])
    settings = {"model": "resnet", "width": asked.width, "batch_size": asked.batch_size, "epochs": asked.epochs}
    heard = Measures()
    with tempfile.TemporaryDirectory() as folder:
        run = ic.train(asked.data, workers=workers, seed=seed, output=folder, listener=heard, **settings)
        accuracy, images = run.summary["test_accuracy"]["value"], sum(run.dataset["counts"]["train"].values())
    return Result(accuracy, max(heard.paces[1:]), 1e3 * heard.epoch_cpu_s / images)


def measured(workers: int, seed: int, core: int = 0) -> Result:
    """The same in a process of its own."""
    asked = [sys.executable, *sys.argv, "--only", str(workers), str(seed), str(core)]
    told = subprocess.run(asked, stdout=subprocess.PIPE, check=True, text=True).stdout
    result = Result(**json.loads(told.splitlines()[-1]))
    print(f"{workers} workers, seed {seed}, from core {core}: {result}", flush=True)
    return result


def side_by_side(seed: int) -> float:
    """Pictures a second of two trainings of a core each that do not know of each other."""
    with ThreadPoolExecutor() as at_once:
        return sum(result.images_per_s for result in at_once.map(lambda core: measured(1, seed, core), (0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4, help="3 or more")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", type=int, nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(asdict(measure(asked, *asked.only))))
        return
    # In turns, so that what else the machine does meets both alike.
    pairs = [[measured(workers, seed) for workers in (1, 2)] for seed in range(asked.seeds)]
    apart = [side_by_side(seed) for seed in range(asked.seeds)]
    one, two = zip(*pairs, strict=True)
    for name in ("accuracy", "images_per_s", "cpu_ms"):
        values = [statistics.mean(getattr(result, name) for result in results) for results in (one, two)]
        print(f"{name:<14} one {values[0]:.4f}, two {values[1]:.4f}")
    gained = [after.accuracy - before.accuracy for before, after in pairs]
    print(f"difference     {statistics.mean(gained):+.4f}, deviation over seeds {statistics.stdev(gained):.4f}")
    alone, together = (max(result.images_per_s for result in results) for results in (one, two))
    print(
        f"fastest        one {alone:,.0f}, two {together:,.0f}, two that are apart {max(apart):,.0f} pictures a second"
    )
    print(f"efficiency     {together / alone / 2:.0%} of twice one, {together / max(apart):.0%} of two apart")


if __name__ == "__main__":
    main()
