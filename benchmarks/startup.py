"""How long does a person wait for help? `iconoclass --help` and that of every verb, alternating; medians.

    python benchmarks/startup.py [--rounds 5]

Beside them stands an interpreter that does nothing, which is the least that a Python program can take.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from typer.main import get_command

from iconoclass.cli.main import app


def seconds_of(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ours = [sys.executable, "-m", "iconoclass"]
    verbs = sorted(get_command(app).commands)  # type: ignore[attr-defined]
    commands = {"python -c pass": [sys.executable, "-c", "pass"], "iconoclass --help": [*ours, "--help"]}
    commands |= {f"iconoclass {verb} --help": [*ours, verb, "--help"] for verb in verbs}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds_of(command))
    for name, seconds in times.items():
        print(f"{name:<28} {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
