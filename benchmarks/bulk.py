"""What does bulk prediction cost? CIFAR-10's pictures again and again, as PNG files, asked about in several ways.

    python benchmarks/bulk.py MODEL [--pictures 200000] [--folder /tmp/bulk] [--ways plain,local,one,two,killed]

plain: `Predictor.stream` over the files, as `predict` does; local: `predict --output`; one, two: on a Ray cluster with
so many workers of a core each; killed: two workers, of which one is killed every ten seconds. All but plain are given a
core for each worker by ICONOCLASS_CORES; plain and local get one. Printed for each: seconds, pictures a second from
start to end, how many rows are missing or double, and the most memory that the largest process at work held in the
first quarter of the time and in all; for plain and local also the processor's time for a picture, which other work on
the machine changes less. For Linux; needs the data set under $ICONOCLASS_DATA.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

import iconoclass as ic

PLAIN = """
import sys
from pathlib import Path
from iconoclass.bulk.listing import pictures_in
from iconoclass.prediction.predictor import Predictor
predictor = Predictor.load(sys.argv[1])
print(sum(1 for _ in predictor.stream(Path(picture.place) for picture in pictures_in([sys.argv[2]]))))
"""
BULK = """
import json, sys
import iconoclass as ic
ic.predict_all(sys.argv[1], [sys.argv[2]], sys.argv[3], **json.loads(sys.argv[4]))
"""
WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "local": {},
    "one": {"cluster": "local", "workers": 1},
    "two": {"cluster": "local", "workers": 2},
    "killed": {"cluster": "local", "workers": 2},
}


def write_pictures(folder: Path, count: int) -> None:
    """So many PNG files, a thousand to a folder."""
    if (folder / "done").is_file():
        return
    train = ic.load_dataset("cifar10").train
    for first in range(0, count, 1000):
        part = folder / f"{first // 1000:04d}"
        part.mkdir(parents=True, exist_ok=True)
        for at, pixels in enumerate(train.take(np.arange(first, first + 1000) % len(train))):
            Image.fromarray(pixels).save(part / f"{at:04d}.png", compress_level=1)
    (folder / "done").touch()


def run(way: str, model: Path, folder: Path, count: int) -> dict[str, object]:
    output = folder.with_name(f"{folder.name}-out.parquet")
    output.unlink(missing_ok=True)
    shutil.rmtree(f"{output}.parts", ignore_errors=True)
    code, more = (PLAIN, []) if way == "plain" else (BULK, [str(output), json.dumps(WAYS[way])])
    environment = {**os.environ, "ICONOCLASS_CORES": "2" if way in ("two", "killed") else "1"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model), str(folder), *more], env=environment, stdout=subprocess.DEVNULL
    )
    held, kills, cpu_s = watch(process, way == "killed")
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{way} failed with {process.returncode}")
    found: dict[str, object] = {"way": way, "seconds": round(seconds, 1), "pictures_s": round(count / seconds)}
    if way != "plain":
        from pyarrow import parquet

        names = parquet.read_table(output, columns=["image"])["image"].to_pylist()
        found |= {"missing": count - len(set(names)), "double": len(names) - len(set(names))}
    if way in ("plain", "local"):
        found |= {"cpu_ms": round(1000 * cpu_s / count, 3)}
    found |= {"mb_in_the_first_quarter": max(held[: len(held) // 4], default=0), "mb": max(held)}
    return found | ({"kills": kills} if way == "killed" else {})


def watch(process: subprocess.Popen[bytes], kills_workers: bool) -> tuple[list[int], int, float]:
    """MB of the largest process at work, twice a second; workers killed; seconds of the processor for the command."""
    held, kills, last, cpu_s = [], 0, time.monotonic(), 0.0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):  # it has just ended
            cpu_s = sum(watched.cpu_times()[:2])
            held.append(max(one.memory_info().rss for one in (watched, *at_work(watched))) // 1_000_000)
        if kills_workers and time.monotonic() - last > 10 and (workers := list(at_work(watched))):
            random.choice(workers).kill()
            kills, last = kills + 1, time.monotonic()
        time.sleep(0.5)
    return held, kills, cpu_s


def at_work(command: psutil.Process) -> Iterator[psutil.Process]:
    for process in command.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "ray::work" in " ".join(process.cmdline()):
                yield process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bulk"))
    parser.add_argument("--ways", default=",".join(WAYS))
    asked = parser.parse_args()
    write_pictures(asked.folder, asked.pictures)
    for way in asked.ways.split(","):
        print(json.dumps(run(way, asked.model, asked.folder, asked.pictures)), flush=True)


if __name__ == "__main__":
    main()
