"""Ours and its rivals, asked in turn about the same small pictures: answers a second and latencies.

    python benchmarks/serving/compare.py RUN PICTURES --rivals .rivals/bin/python [--only FastAPI] [--rounds 2]

RUN is a trained run whose ONNX export exists, PICTURES a folder. Of each server the best number of connections counts
whose p99 is at most 50 ms. Appends a line a server to benchmarks/results/serving.jsonl.
The rivals' environment: python -m venv .rivals; .rivals/bin/pip install -r benchmarks/serving/rivals/requirements.txt
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from load import generator
from records import record
from servers import Server, ours, rivals, running

from iconoclass.run import Run

CONNECTIONS = (1, 16, 64, 128)
MOST_P99_MS = 50.0
PORT = 8400


def measured(server: Server, port: int, pictures: list[bytes], seconds: float) -> dict[int, dict[str, Any]]:
    """Connections -> what a closed loop saw."""
    with running(server, port, pictures[0]) as run:
        asking = generator(run.url, pictures, form=server.form)
        asking.closed(4, 1.0)  # warm
        return {
            count: generator(run.url, pictures, form=server.form).closed(count, seconds).summary()
            for count in CONNECTIONS
        }


def best_of(rounds: list[dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """Medians over rounds of the best number of connections; one that keeps the bound if any does."""
    middle = {
        count: {
            key: statistics.median(each[count][key] for each in rounds)
            for key in ("per_second", "p50_ms", "p99_ms", "broken", "other", "refused")
        }
        for count in CONNECTIONS
    }
    within = [count for count in CONNECTIONS if middle[count]["p99_ms"] <= MOST_P99_MS] or list(CONNECTIONS[:1])
    best = max(within, key=lambda count: middle[count]["per_second"])
    return {"connections": best, **middle[best], "alone_p50_ms": middle[1]["p50_ms"], "all": middle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rivals", type=Path, help="Python of their environment")
    parser.add_argument("--only", default="", help="the rivals whose names hold this")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4)
    given = parser.parse_args()
    run = Run.open(given.run)
    onnx = run.exports_folder / "onnx" / "model.onnx"
    pictures = [path.read_bytes() for path in sorted(given.pictures.iterdir())[:100]]
    servers = [ours(onnx)]
    others = rivals(given.rivals.absolute(), onnx, run.model_path, run.class_names) if given.rivals else []
    servers += [server for server in others if given.only in server.name]
    seen: dict[str, list[dict[int, dict[str, Any]]]] = {server.name: [] for server in servers}
    for at in range(given.rounds):
        for place, server in enumerate(servers):
            seen[server.name].append(measured(server, PORT + at * 10 + place, pictures, given.seconds))
            print(server.name, json.dumps(seen[server.name][-1]), flush=True)
    own = best_of(seen["iconoclass"])["per_second"]
    for name, rounds in seen.items():
        row = best_of(rounds)
        times = own / row["per_second"]
        print(
            f"{name:<36} {row['per_second']:>8.1f}/s  p50 {row['p50_ms']:6.1f}  p99 {row['p99_ms']:6.1f} ms"
            f"  at {row['connections']:>2}; alone {row['alone_p50_ms']:6.2f} ms; ours: {times:.2f} times"
        )
        record("compare", {"server": name, "rounds": given.rounds, "seconds": given.seconds, **row})


if __name__ == "__main__":
    main()
