"""What is each ingredient of the `fast` recipe worth? Every one on and off, in turn, seed by seed.

    python benchmarks/ablation.py run [--data cifar10] [--seeds 0 1 2] [--epochs 2] [--width 24] [--only NAME ...]
    python benchmarks/ablation.py report

`run` trains each variant on four fifths of the training part and judges it on the other fifth (10,000 pictures of
CIFAR-10); the test part is not looked at. Each result is appended to results/ablation.jsonl, and what is there is not
run again. `report` writes the tables into docs/speed.md. Time is that of the training steps alone. Rows with a `base`
are older: they were measured against a recipe that had what that word says.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.config import Config
from iconoclass.models import resnet
from iconoclass.run import Run
from iconoclass.training import optimizers, steps, trainer
from iconoclass.training.learner import prepare
from iconoclass.training.progress import Listener
from iconoclass.training.recipes import complete
from speed import DOCS, HERE, write_between_markers

RESULTS = HERE / "results" / "ablation.jsonl"
BASE = "fast, as it is"

Row = dict[str, Any]


def nothing(*_: Any) -> None:
    pass


# What is asked for by a setting, and what has to be taken out of the code because nobody else should want to.
SETTINGS: dict[str, dict[str, Any]] = {
    BASE: {},
    "Nesterov SGD, triangular, instead of Muon": {
        **{"optimizer": "sgd", "schedule": "triangular", "lr": 1.2, "momentum": 0.85, "weight_decay": 5e-3}
    },
    "cosine schedule instead of linear": {"schedule": "cosine"},
    "Muon at half the rate": {"lr": 0.12},
    "Muon at 1.5 times the rate": {"lr": 0.36},
    "batches of 256": {"batch_size": 256},
    "batches of 1,024": {"batch_size": 1024},
    "no label smoothing": {"label_smoothing": 0.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "mirrored, from the first epoch on": {"flip": 0.5},
    "shifted, from the first epoch on": {"shift": 0.0625},
    "cutout 0.25 as well": {"cutout": 0.25},
    "averaged weights (0.99) as well": {"average": 0.99},
    "mirrored views as well": {"views": "mirrored"},
    "float32": {"precision": "float32"},
}
PATCHES: dict[str, Any] = {
    "batch norm as Keras computes it": mock.patch.object(steps, "_can_be_fused", return_value=False),
    "gradients of kernels map by map": mock.patch.object(steps, "processor_has_tiles", return_value=False),
    "logits in bfloat16": mock.patch.object(resnet, "PRECISION_OF_LOGITS", None),
    "no whitening": mock.patch.object(resnet, "_whiten", nothing),
    "random kernels, not identity-like": mock.patch.object(resnet, "_pass_through", nothing),
    "biases without a bound": mock.patch.object(optimizers.Muon, "VECTOR_STRIDE", float("inf")),
    "biases 64 times as slow": mock.patch.object(optimizers.Muon, "VECTOR_RATE", optimizers.Muon.VECTOR_RATE / 64),
    "biases 512 times as slow": mock.patch.object(optimizers.Muon, "VECTOR_RATE", optimizers.Muon.VECTOR_RATE / 512),
}
VARIANTS = [*SETTINGS, *PATCHES]


def run(asked: argparse.Namespace) -> None:
    data = ic.load_dataset(asked.data, validation_split=0.2)
    there = {key_of(row) for row in results() if "base" not in row}
    for seed in asked.seeds:
        for name in asked.only or VARIANTS:
            row = {"variant": name, "data": asked.data, "seed": seed, "epochs": asked.epochs, "width": asked.width}
            if key_of(row) in there:
                continue
            row |= train(data, name, asked.width, asked.epochs, seed)
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"seed {seed}  {row['accuracy']:.2%}  {row['seconds']:6.1f} s  {name}", flush=True)


def train(data: ic.Dataset, name: str, width: int, epochs: int, seed: int) -> Row:
    """Validation accuracy of the model that would be kept, and seconds of training steps."""
    settings = {"model": "resnet", "width": width, "epochs": epochs, "seed": seed, **SETTINGS.get(name, {})}
    keras.backend.clear_session()
    with PATCHES.get(name, contextlib.nullcontext()), tempfile.TemporaryDirectory() as folder:
        learner = prepare(data, complete(Config.of(source=data.config.source, **settings), data))
        trainer.train(learner, Run.create(Path(folder), "x"), Listener())
        if learner.is_stopped:  # by a signal: a training that was broken off is no result
            raise SystemExit("stopped")
        pixels, labels = data.validation.pixels, data.validation.labels
        parts = np.array_split(np.arange(len(labels)), -(-len(labels) // 500))
        right = [
            (np.asarray(learner.kept.predict_on_batch(pixels[part])).argmax(-1) == labels[part]).sum() for part in parts
        ]
    seconds = sum(learner.seconds[part] for part in ("input", "copy", "compute"))
    return {"accuracy": float(sum(right)) / len(labels), "seconds": round(seconds, 2)}


def key_of(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("variant", "data", "seed", "epochs", "width"))


def results() -> list[Row]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [json.loads(line) for line in lines]


def report(_: argparse.Namespace) -> None:
    rows = results()
    if not rows:
        raise SystemExit(f"No results in {RESULTS}: python benchmarks/ablation.py run")
    parts = []
    for data, epochs, width, base in sorted({group_of(row) for row in rows}, key=lambda group: group[::-1]):
        same = [row for row in rows if group_of(row) == (data, epochs, width, base)]
        older = f" Measured against an older recipe: {base}." if base else ""
        parts.append(f"{data}, width {width}, {epochs:g} epochs; validation part of 20 %.{older}\n\n{table(same)}")
    text = "\n\n".join(parts)
    print(text)
    write_between_markers(DOCS / "speed.md", "ablation", text)


def group_of(row: Row) -> tuple[str, float, int, str]:
    return row["data"], row["epochs"], row["width"], row.get("base", "")


def table(rows: Sequence[Row]) -> str:
    base = {row["seed"]: row for row in rows if row["variant"] == BASE}
    lines = [
        "| variant | accuracy, mean | against `fast`, seed by seed | time of steps | seeds |",
        "|---|---|---|---|---|",
    ]
    for name in [*VARIANTS, *sorted({row["variant"] for row in rows} - set(VARIANTS))]:
        same = [row for row in rows if row["variant"] == name and row["seed"] in base]
        if not same:
            continue
        mean = statistics.mean(row["accuracy"] for row in same)
        gains = [100 * (row["accuracy"] - base[row["seed"]]["accuracy"]) for row in same]
        times = statistics.median(row["seconds"] / base[row["seed"]]["seconds"] for row in same)
        against = "" if name == BASE else f"{statistics.mean(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})"
        lines.append(f"| {name} | {mean:.2%} | {against} | x {times:.2f} | {len(same)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="measure, and keep what is measured")
    running.add_argument("--data", choices=["mnist", "fashion_mnist", "cifar10"], default="cifar10")
    running.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    running.add_argument("--epochs", type=float, default=2)
    running.add_argument("--width", type=int, default=24)
    running.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help="these variants")
    running.set_defaults(do=run)
    commands.add_parser("report", help="the table of what was measured").set_defaults(do=report)
    asked = parser.parse_args()
    asked.do(asked)


if __name__ == "__main__":
    main()
