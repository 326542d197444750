"""Is our training as fast as Keras's own fit? The textbook networks, both ways, alternating in one run.

    python benchmarks/textbook.py [--rounds 3] [--epochs 2]

Both start from the same arrays in memory and the same seed, use the same optimiser, loss and batch size, and validate
after every epoch on the same pictures. Timed is the training alone, tracing included; import and data are the same.
Printed is the median of each and their ratio: above 1, ours is faster. Needs the data sets (see README).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.models.catalog import build
from iconoclass.run import Run
from iconoclass.training import trainer
from iconoclass.training.learner import prepare
from iconoclass.training.progress import Listener
from iconoclass.training.recipes import complete

CASES = [("fashion_mnist", "mlp"), ("mnist", "convnet-1"), ("fashion_mnist", "convnet-3"), ("cifar10", "convnet-3")]


def train_ours(data: ic.Dataset, model: str, epochs: int) -> tuple[float, float]:
    """Seconds, and validation accuracy after the last epoch."""
    config = complete(ic.Config.of(source=data.config.source, model=model, recipe="textbook", epochs=epochs), data)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "benchmark")
        began = time.perf_counter()
        learner = trainer.train(prepare(data, config), run, Listener())
        return time.perf_counter() - began, learner.history[-1]["val_accuracy"]


def train_with_fit(data: ic.Dataset, model: str, epochs: int) -> tuple[float, float]:
    """The same as every tutorial writes it."""
    train, validation = data.train, data.validation
    x_train, y_train, x_val, y_val = train.pixels, train.labels, validation.pixels, validation.labels
    began = time.perf_counter()
    keras.utils.set_random_seed(0)
    network = build(model, data.image_shape, len(data.class_names))
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = network.fit(x_train, y_train, batch_size=32, epochs=epochs, validation_data=(x_val, y_val), verbose=0)
    return time.perf_counter() - began, history.history["val_accuracy"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    print(f"{'':<26}{'fit, s':>10}{'ours, s':>10}{'ratio':>8}{'fit, val':>10}{'ours, val':>10}")
    for source, model in CASES:
        data = ic.load_dataset(source)
        fit, ours = [], []
        for _ in range(options.rounds):
            fit.append(train_with_fit(data, model, options.epochs))
            ours.append(train_ours(data, model, options.epochs))
        seconds = [statistics.median(time for time, _ in times) for times in (fit, ours)]
        accuracies = [statistics.median(accuracy for _, accuracy in times) for times in (fit, ours)]
        ratio = seconds[0] / seconds[1]
        print(
            f"{source + ' ' + model:<26}{seconds[0]:>10.1f}{seconds[1]:>10.1f}{ratio:>8.2f}"
            f"{accuracies[0]:>10.1%}{accuracies[1]:>10.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
