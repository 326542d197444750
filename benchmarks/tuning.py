"""Does the search find anything, and more than chance does? TPE and random search in equal time, over several seeds.

    python benchmarks/tuning.py [fashion_mnist] [--time 1200] [--seeds 0 1 2] [--output runs/tuning]

Both search with the same seed, the same default and the same time, one after the other. Printed for each: the verdict,
the gain over the default on test with its interval, and the number of trials. A search that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import iconoclass as ic


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
            row = {"sampler": sampler, "seed": seed, "trials": len(searched), "each_s": found["each_s"]}
            print(json.dumps(row | {name: found[name] for name in ("test_accuracy", "gain", "changes", "verdict")}))


if __name__ == "__main__":
    main()
