"""Does the search find anything, and more than chance does? TPE and random search in equal time, over several seeds.

    python benchmarks/tuning.py [fashion_mnist] [--time 1200] [--seeds 0 1 2] [--output runs/tuning]

Both search with the same seed, the same default and the same time, one after the other. Printed for each, and kept in
results/tuning.jsonl: the verdict, the gain over the default on test with its interval, and the number of trials. A
search that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import iconoclass as ic
from iconoclass.backend import processor_name

TOLD = ("each_s", "test_accuracy", "gain", "changes", "verdict")
RESULTS = Path(__file__).parent / "results" / "tuning.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="fashion_mnist")
    parser.add_argument("--time", type=float, default=1200.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/tuning"))
    asked = parser.parse_args()
    for seed in asked.seeds:
        for sampler in ("tpe", "random"):
            name = f"{Path(asked.data).name}-{sampler}-{seed}"
            written = asked.output / name / "tune.json"
            if not written.is_file():
                ic.tune(
                    asked.data,
                    time_s=asked.time,
                    sampler=sampler,
                    seed=seed,
                    output=asked.output,
                    name=name,
                    hear=print,
                )
            found = json.loads(written.read_text(encoding="utf-8"))
            searched = [trial for trial in found["trials"] if "repeats" not in trial]
            row = {"data": asked.data, "time_s": asked.time, "sampler": sampler, "seed": seed}
            row |= {"trials": len(searched)} | {name: found[name] for name in TOLD}
            keep(row)


def keep(row: dict[str, Any]) -> None:
    machine = {"processor": processor_name(), "cores": os.cpu_count(), "day": time.strftime("%Y-%m-%d")}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "machine": machine}) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
