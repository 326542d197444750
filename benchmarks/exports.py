"""Every network in every format: proven, its largest difference, its size, and images a second.

    python benchmarks/exports.py run [--models resnet ...] [--formats onnx ...] [--numbers int8 ...] [--data digits]
    python benchmarks/exports.py start MODEL.onnx PICTURE
    python benchmarks/exports.py report

`run` trains each network for a moment, exports it, and appends a line a file to results/exports.jsonl. Backbones begin
with random weights, mobilenetv2 with those of --weights FILE; what is measured does not depend on how good they are.
`start` times `predict` from a cold start. `report` writes the tables of docs/exports.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import iconoclass as ic
from iconoclass.backend import keras, processor_name
from iconoclass.errors import IconoclassError
from iconoclass.exports.catalog import EXPORTERS
from iconoclass.exports.verify import TOLERANCES
from iconoclass.models.catalog import MODELS
from iconoclass.models.pretrained import BACKBONES, LOGITS
from speed import write_between_markers

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "exports.jsonl"
DOCS = HERE.parent / "docs"

Row = dict[str, Any]


def run(asked: argparse.Namespace) -> None:
    for model in asked.models:
        with tempfile.TemporaryDirectory() as room:
            trained = _trained(model, asked, Path(room))
            for name in asked.formats:
                for numbers in set(EXPORTERS[name].numbers) & set(asked.numbers):
                    keep({**_exported(trained, name, numbers, Path(room)), "model": model, "format": name})


def _trained(model: str, asked: argparse.Namespace, room: Path) -> ic.Run:
    settings: Row = {"model": model, "output": room, "listener": Silent()}
    if model not in BACKBONES:
        return ic.train(asked.data, epochs=asked.epochs, **settings)
    if model == "mobilenetv2" and asked.weights:
        return ic.train(asked.photos, weights=asked.weights, **settings)
    trained = ic.train(asked.photos, weights="none", recipe="fast", epochs=1, image_size=96, **settings)
    _enliven(trained, ic.load_dataset(asked.photos, image_size=96).train.sample(64).pixels)
    return trained


def _enliven(trained: ic.Run, pixels: Any) -> None:
    """Scales, statistics and logits as after a long training: untrained, a deep network gives every picture the same
    answer, and a file that answers otherwise could not be told.
    """
    model = keras.saving.load_model(trained.model_path, compile=False)
    random = np.random.default_rng(0)
    for variable in model.weights:
        if variable.path.endswith("gamma") and len(variable.shape):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    norms = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum, layer.trainable = 0.0, True  # the statistics of these pictures become those of the layer
    model(pixels, training=True)
    last = model.get_layer(LOGITS)
    kernel, bias = last.get_weights()
    logits = keras.Model(model.inputs, last.output).predict(pixels, verbose=0)
    scale = 2.0 / logits.std(axis=0)
    last.set_weights([kernel * scale, (bias - logits.mean(axis=0)) * scale])
    model.save(trained.model_path)
    ic.evaluate(trained)


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else [layer]


class Silent:
    """Hears of the training, and says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def _exported(trained: ic.Run, name: str, numbers: str, room: Path) -> Row:
    quantize = None if numbers == "float32" else numbers
    try:
        [made] = ic.export(trained, name, quantize=quantize, output=room / "exports")
    except IconoclassError as error:
        return {"numbers": numbers, "refused": str(error)}
    proof = made.proof.as_json()
    golden = ic.verify(made.path)
    return {
        "numbers": numbers,
        "verified": golden.golden,
        **{
            key: proof[key]
            for key in ("holds", "pictures", "agreeing", "near_ties", "largest_difference", "expected_loss", "speed")
        },
        "loss": proof["loss_of_accuracy"],
        "accuracy": proof["accuracy"],
        "image_shape": list(ic.Predictor.load(made.path).image_shape),
    }


def keep(row: Row) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"processor": processor_name(), "cores": os.cpu_count(), "day": time.strftime("%Y-%m-%d")}
    with RESULTS.open("a") as file:
        file.write(json.dumps({**row, "machine": machine}) + "\n")
    print(row.get("model"), row.get("format"), row.get("numbers"), row.get("refused") or row.get("largest_difference"))


def start(asked: argparse.Namespace) -> None:
    """Wall seconds and peak memory of `iconoclass predict FILE PICTURE`, median of five fresh processes."""
    command = [sys.executable, "-m", "iconoclass", "predict", str(asked.file), str(asked.picture)]
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    # A process begins with the memory of the one that starts it: so a small one starts it.
    counted = subprocess.run([sys.executable, "-c", _COUNT, *command], check=True, capture_output=True, text=True)
    peak = int(counted.stdout.splitlines()[-1]) / 1024
    keep({"start": asked.file.suffix, "seconds": round(statistics.median(seconds), 3), "peak_mb": round(peak)})


_COUNT = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def report(asked: argparse.Namespace) -> None:
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    files = list({(row["model"], row["format"], row["numbers"]): row for row in rows if "model" in row}.values())
    whole = [row for row in files if row["numbers"] == "float32"]
    small = [row for row in files if row["numbers"] != "float32"]
    machine = rows[-1]["machine"]
    measured = (
        f"Measured on {machine['processor']}, {machine['cores']} cores, {machine['day']}. Small networks are asked "
        "about digits of 8 pixels, mobilenetv2 about photographs of 224 with weights of ImageNet. The other backbones "
        "have weights made up so that each picture gets another answer, at 96 pixels: what int8 costs a trained one, "
        "these do not tell."
    )
    parts = ["### float32", _table(whole), "### Smaller numbers", _small_table(small), *_starts(rows), measured]
    text = "\n\n".join(parts)
    print(text)
    write_between_markers(DOCS / "exports.md", "exports", text)


HEAD = "| network | format | pictures alike | largest difference | MB | images/s, 1 | images/s, 32 |"


def _table(rows: list[Row]) -> str:
    return "\n".join([HEAD, "|---|---|---|---|---|---|---|", *(_line(row) for row in rows)])


def _line(row: Row) -> str:
    if "refused" in row:
        return f"| {row['model']} | {row['format']} | refused | | | | |"
    speed = row["speed"]
    one, many = (f"{speed['images_per_second'][batch]:,.0f}" for batch in ("1", "32"))
    alike = f"{row['agreeing']:,} of {row['pictures']:,}"
    size = f"{speed['bytes'] / 1e6:.2f}"
    return f"| {row['model']} | {row['format']} | {alike} | {row['largest_difference']:.1e} | {size} | {one} | {many} |"


def _small_table(rows: list[Row]) -> str:
    head = "| network | format | accuracy lost, points | times smaller | times as fast, 1 | times as fast, 32 |"
    return "\n".join([head, "|---|---|---|---|---|---|", *(_small_line(row) for row in rows)])


def _small_line(row: Row) -> str:
    name = f"{row['format']} {row['numbers']}"
    if "refused" in row:
        return f"| {row['model']} | {name} | refused: too much | | | |"
    speed, loss = row["speed"], row["loss"]
    plain = speed["float32"]
    faster = [speed["images_per_second"][batch] / plain["images_per_second"][batch] for batch in ("1", "32")]
    lost = f"{100 * loss['value']:.1f} ({100 * loss['low']:.1f} to {100 * loss['high']:.1f})"
    smaller = plain["bytes"] / speed["bytes"]
    return f"| {row['model']} | {name} | {lost} | {smaller:.1f} | {faster[0]:.2f} | {faster[1]:.2f} |"


def _starts(rows: list[Row]) -> list[str]:
    starts = {row["start"]: row for row in rows if "start" in row}
    return [
        f"`iconoclass predict model{suffix} PICTURE` from a cold start: {row['seconds']:.2f} s, {row['peak_mb']} MB."
        for suffix, row in starts.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    running = verbs.add_parser("run")
    running.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    running.add_argument("--formats", nargs="+", default=list(EXPORTERS), choices=list(EXPORTERS))
    running.add_argument("--numbers", nargs="+", default=list(TOLERANCES), choices=list(TOLERANCES))
    running.add_argument("--data", default="digits")
    photos = Path(os.environ.get("ICONOCLASS_DATA", "data")) / "cats_dogs"
    running.add_argument("--photos", default=str(photos), help="what backbones are trained on")
    running.add_argument("--weights", help="of mobilenetv2; the alpha is told by the file")
    running.add_argument("--epochs", type=float, default=6)
    running.set_defaults(act=run)
    starting = verbs.add_parser("start")
    starting.add_argument("file", type=Path)
    starting.add_argument("picture", type=Path)
    starting.set_defaults(act=start)
    verbs.add_parser("report").set_defaults(act=report)
    asked = parser.parse_args()
    asked.act(asked)


if __name__ == "__main__":
    main()
