"""Are wrong labels found, and what is gained by mending them? One training label in twenty is made wrong on purpose.

    python benchmarks/labels.py fashion_mnist --width 16 --epochs 3 [--seeds 0 1 2] [--share 5%]
    python benchmarks/labels.py ../photos --weights FILE

For each seed three trainings: with the wrong labels, with what `iconoclass labels` suggests done to them, and with the
labels as they came. Labels are made wrong and mended by decisions.csv, as a person would do it; those of validation and
test pictures stay as they came. The last is the most that mending can give back.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import iconoclass as ic
from iconoclass.data.decisions import Decision, write_decisions
from iconoclass.training.progress import Listener

COLUMNS = ("found", "precision", "wrong", "mended", "as they came")


class Outcome(NamedTuple):
    """Shares of 1: of the planted that were found, of what was found the planted; and three test accuracies."""

    found: float
    precision: float
    wrong: float
    mended: float
    clean: float


def planted(data: ic.Dataset, share: float, seed: int) -> dict[str, Decision]:
    """Training pictures, by name, and the wrong class that each is moved to."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(data.train), round(share * len(data.train)), replace=False)
    classes = len(data.class_names)
    others = (data.train.labels[chosen] + random.integers(1, classes, len(chosen))) % classes
    names = [data.train.names[at] for at in chosen]
    return {name: Decision(name, "relabel", data.class_names[other]) for name, other in zip(names, others, strict=True)}


def tried(source: str, share: float, seed: int, settings: dict[str, Any], room: Path) -> Outcome:
    wrong = planted(ic.load_dataset(source), share, seed)

    def trained(decisions: dict[str, Decision]) -> ic.Run:
        path = room / f"{len(list(room.glob('*.csv')))}.csv"
        write_decisions(path, decisions.values())
        return ic.train(source, decisions=str(path), seed=seed, output=room, listener=Listener(), **settings)

    before = trained(wrong)
    learned = ic.load_dataset(source, decisions=before.config.data.decisions)
    # A picture of another class may stand in another part than before.
    there = wrong.keys() & set(learned.train.names)
    found = {decision.image: decision for decision in ic.suspects(before, dataset=learned).decisions()}
    hits = len(found.keys() & there)
    # As it is written: what is left for a person to decide stays wrong, where it is.
    after, clean = trained(wrong | {name: one for name, one in found.items() if one.word}), trained({})
    accuracies = [run.metrics["test"]["accuracy"]["value"] for run in (before, after, clean)]
    return Outcome(hits / len(there), hits / max(1, len(found)), *accuracies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=lambda text: float(text.rstrip("%")) / 100, default=0.05)
    parser.add_argument("--width", type=int)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--weights")
    asked = parser.parse_args()
    settings = {name: getattr(asked, name) for name in ("width", "epochs", "weights") if getattr(asked, name)}
    print(f"{'':<8}" + "".join(f"{column:>14}" for column in COLUMNS))
    outcomes = []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as room:
            outcomes.append(tried(asked.data, asked.share, seed, settings, Path(room)))
        print(f"{f'seed {seed}':<8}" + "".join(f"{value:>14.2%}" for value in outcomes[-1]), flush=True)
    means = [statistics.mean(values) for values in zip(*outcomes, strict=True)]
    print(f"{'mean':<8}" + "".join(f"{value:>14.2%}" for value in means))
    gains = [one.mended - one.wrong for one in outcomes]
    if len(gains) > 1:
        error = statistics.stdev(gains) / len(gains) ** 0.5
        print(f"mending gains {100 * statistics.mean(gains):.2f} points, standard error over seeds {100 * error:.2f}")


if __name__ == "__main__":
    main()
