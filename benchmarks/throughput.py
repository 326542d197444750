"""Training throughput of the same network: ours against plain PyTorch in bfloat16, channels last; alternating.

    python benchmarks/throughput.py [--torch-python PATH] [--widths 16 32 64] [--rounds 3]

Each measurement is a process of its own, a few seconds of steps on batches that are there already; printed are medians
in pictures a second, and the ratio. Ours includes the Muon update, theirs a fused SGD, which is cheaper.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

OURS = """
import sys, time
import numpy as np
import iconoclass as ic
from iconoclass.config import Config
from iconoclass.data.batches import Batch
from iconoclass.models.catalog import build
from iconoclass.training.optimizers import build_optimizer
from iconoclass.training.steps import make_step
from iconoclass.backend import keras, processor_has_bfloat16
width, seconds, size = int(sys.argv[1]), float(sys.argv[2]), 512
precision = "bfloat16" if processor_has_bfloat16() else "float32"
model = build("resnet", (32, 32, 3), 10, precision=precision, width=width)
model.get_layer("whitening").trainable = False
settings = Config.of(source="x", optimizer="muon", lr=0.01, momentum=0.6)
step = make_step(model, build_optimizer(settings.training, model), keras.losses.CategoricalCrossentropy())
random = np.random.default_rng(0)
pixels = random.integers(0, 256, (size, 32, 32, 3), np.uint8)
batch = Batch(pixels, np.eye(10, dtype=np.float32)[random.integers(0, 10, size)], np.ones(size, np.float32))
for _ in range(3):
    step.learn(step.copy(batch))
began, steps = time.perf_counter(), 0
while time.perf_counter() - began < seconds:
    step.learn(step.copy(batch))
    steps += 1
print(steps * size / (time.perf_counter() - began))
"""
THEIRS = Path(__file__).parent / "opponents" / "torch_step.py"


def images_a_second(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has PyTorch")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    asked = parser.parse_args()
    print("| width | ours, pictures/s | PyTorch | ours / PyTorch |\n|---|---|---|---|")
    for width in asked.widths:
        ours, theirs = [], []
        for _ in range(asked.rounds):
            ours.append(images_a_second([sys.executable, "-c", OURS, str(width), str(asked.seconds)]))
            options = ["--width", str(width), "--seconds", str(asked.seconds)]
            theirs.append(images_a_second([asked.torch_python, str(THEIRS), *options]))
        mine, other = statistics.median(ours), statistics.median(theirs)
        print(f"| {width} | {mine:,.0f} | {other:,.0f} | {mine / other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
