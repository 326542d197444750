"""Which epoch's weights should be kept, where few pictures validate? The best by them, the latest near it, or the last?

    python benchmarks/keeping.py [--data cifar10] [--width 32] [--epochs 10] [--seed 0] [--draws 400]

Trains once on seven tenths of the training part. The other three tenths judge every epoch; of them, parts of 100, 300,
1,000 and 3,000 pictures are drawn at random, an epoch is chosen on each part by each rule, and what the rule loses on
the pictures that were not drawn is compared with keeping the last epoch. The test part is not looked at.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt

import iconoclass as ic
from iconoclass.config import Config, TrainingConfig
from iconoclass.run import Run
from iconoclass.training import trainer
from iconoclass.training.learner import prepare
from iconoclass.training.progress import Listener
from iconoclass.training.recipes import complete

PARTS = (100, 300, 1_000, 3_000)
RULES = {"the best": "constant", "the latest near the best": "linear"}  # by the schedule that has the rule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=400)
    asked = parser.parse_args()
    is_right = trained(asked.data, asked.width, asked.epochs, asked.seed)
    print("accuracy after each epoch:", *(f"{share:.2%}" for share in is_right.mean(axis=1)))
    print("points lost against the last epoch, mean over the draws:")
    random = np.random.default_rng(asked.seed)
    for images in PARTS:
        lost = {rule: [] for rule in RULES}
        for _ in range(asked.draws):
            drawn = np.zeros(is_right.shape[1], bool)
            drawn[random.choice(len(drawn), images, replace=False)] = True
            true = is_right[:, ~drawn].mean(axis=1)
            for rule, schedule in RULES.items():
                lost[rule].append(true[-1] - true[chosen(is_right[:, drawn].mean(axis=1), schedule, images)])
        print(f"{images:5,} validate:", *(f"{rule} {100 * np.mean(each):.2f}  " for rule, each in lost.items()))


def trained(data: str, width: int, epochs: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which validation pictures were right after each epoch: bool (epochs, pictures)."""
    dataset = ic.load_dataset(data, validation_split=0.3)
    config = complete(Config.of(source=data, width=width, epochs=epochs, seed=seed, checkpoint_s=1e6), dataset)
    learner, is_right, judged = prepare(dataset, config), [], trainer.judged

    def watched(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> dict[str, float]:
        is_right.append(probabilities.argmax(axis=-1) == labels)
        return judged(probabilities, labels)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(trainer, "judged", watched):
        trainer.train(learner, Run.create(Path(folder), data), Listener())
    return np.array(is_right)


def chosen(accuracies: npt.NDArray[np.float64], schedule: str, images: int) -> int:
    training = TrainingConfig(schedule=schedule, monitor="accuracy")
    rows = [{"epoch": at + 1, "val_accuracy": value, "val_loss": 0.0} for at, value in enumerate(accuracies.tolist())]
    return max(at for at in range(len(rows)) if trainer.is_to_be_kept(rows[: at + 1], training, images))


if __name__ == "__main__":
    main()
