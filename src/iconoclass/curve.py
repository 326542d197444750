"""Learning curve: the same training on more and more of the pictures, and what the next ones would be worth."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass import inline, pipeline
from iconoclass.config import Config
from iconoclass.data.dataset import Dataset, open_dataset
from iconoclass.errors import UsageError
from iconoclass.files import new_folder, write_json
from iconoclass.intervals import Estimate, share
from iconoclass.models import weights
from iconoclass.run import Run

LEAST = 0.1  # of the training part: the smallest sample
NEXT = 100  # pictures of each class, whose worth is told
DRAWS = 2_000
FEWEST = 2  # of a class in any sample

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Runs on growing samples, all judged on the same test pictures. path: of the folder that holds them."""

    path: Path
    runs: list[Run]

    @property
    def sizes(self) -> list[int]:
        return [sum(run.dataset["counts"]["train"].values()) for run in self.runs]

    def worth(self, of_each_class: int = NEXT) -> Estimate:
        """By how much accuracy would rise with so many more pictures of each class, and the 95 % interval of that.

        A power law through the errors (Hestness et al. 2017), extended; the interval from drawing the test parts' hits
        anew. It knows the chance of the test part, not that of another sample or seed.
        """
        sizes, tests = np.array(self.sizes, float), np.array([run.metrics["test"]["examples"] for run in self.runs])
        rates = np.array([run.metrics["test"]["accuracy"]["value"] for run in self.runs])
        more = sizes[-1] + of_each_class * len(self.runs[-1].class_names)
        drawn = np.random.default_rng(0).binomial(tests, rates, (DRAWS, len(tests)))
        gains = _gain(sizes, np.concatenate([(rates * tests)[None], drawn]), tests, more)
        low, high = np.quantile(gains[1:], (0.025, 0.975))
        return Estimate(float(gains[0]), float(low), float(high))

    def as_json(self) -> dict[str, Any]:
        """What curve.json says."""
        rows = [
            {"run": run.name, "train": size, "accuracy": run.metrics["test"]["accuracy"]}
            for run, size in zip(self.runs, self.sizes, strict=True)
        ]
        return {"points": rows, "next": {"of_each_class": NEXT, "gain": self.worth().as_json()}}

    def _repr_html_(self) -> str:
        return inline.text(self.table())

    def table(self) -> str:
        """A line a sample, and what more pictures would be worth."""
        lines = [f"{'learned from':>12}  test accuracy"]
        lines += [f"{row['train']:>12,}  {share(row['accuracy'])}" for row in self.as_json()["points"]]
        gain = self.worth()
        low, high = (100 * (end or 0.0) for end in (gain.low, gain.high))
        said = f"{NEXT} more pictures of each class: about {100 * (gain.value or 0.0):+.1f} points"
        return "\n".join([*lines, "", f"{said} ({low:+.1f} to {high:+.1f})"])


def _gain(sizes: Floats, hits: Floats, tests: npt.NDArray[np.int64], more: float) -> Floats:
    """What a power law through each row of hits gains from the last size to `more`: float64 (rows,), 0 at the least."""
    errors = np.log((tests - hits + 0.5) / (tests + 1))  # + 0.5: no error at all has a logarithm too
    x = np.log(sizes)
    slopes = ((errors - errors.mean(axis=1, keepdims=True)) @ (x - x.mean())) / np.square(x - x.mean()).sum()
    slopes = np.minimum(slopes, 0.0)  # more pictures do no harm
    at_last = errors.mean(axis=1) + slopes * (x[-1] - x.mean())
    gained: Floats = np.exp(at_last) * (1 - np.exp(slopes * (np.log(more) - x[-1])))
    return gained


def learning_curve(
    data: Dataset | Path | str,
    points: int = 4,
    *,
    output: Path | str = "runs",
    name: str | None = None,
    offline: bool = False,
    began: float | None = None,
    **rest: Any,
) -> Curve:
    """Train on `points` samples of the training part, from a tenth to all of it, and judge each on the same test part.

    Each sample holds the smaller ones. rest: as for `train`. The runs are in a folder of their own inside `output`,
    with curve.json beside them.
    Raises: as `train`; UsageError, if points is out of range or the classes are too small to be sampled.
    """
    if not 3 <= points <= 20:
        raise UsageError(f"points must be 3 to 20. Received: points={points}")
    keys = {key: value for key, value in rest.items() if value is not None}
    listening = {key: keys.pop(key) for key in ("listener", "say", "tell", "progress") if key in keys}
    whole = data if isinstance(data, Dataset) else _opened(str(data), keys, offline)
    trained = {key: value for key, value in keys.items() if key not in type(whole.config).model_fields}
    folder = new_folder(Path(output) / (name or f"{whole.name}-curve"))
    runs: list[Run] = []
    for part in np.geomspace(LEAST, 1.0, points):
        sample = _sample(whole, float(part))
        runs.append(
            pipeline.train(
                sample, output=folder, name=f"train-{len(sample.train)}", offline=offline, **listening,
                began=began if not runs else time.monotonic(), **trained,
            )
        )  # fmt: skip
    found = Curve(folder, runs)
    write_json(folder / "curve.json", found.as_json())
    return found


def _opened(source: str, settings: dict[str, Any], offline: bool) -> Dataset:
    asked = weights.decide(Config.of(source=source, **settings), None)
    return open_dataset(asked.data, offline=offline, for_backbone=weights.wants_backbone(asked))


def _sample(whole: Dataset, part: float) -> Dataset:
    """The data set with so large a share of each class to learn from; a larger share holds a smaller one."""
    labels, random = whole.train.labels, np.random.default_rng(0)
    chosen = []
    for label in np.unique(labels):
        order = random.permutation(np.flatnonzero(labels == label))
        if len(order) < FEWEST:
            raise UsageError(
                f"{whole.class_names[label]} has {len(order)} training pictures: no sample of it is smaller"
            )
        chosen.append(order[: max(FEWEST, round(part * len(order)))])
    return replace(whole, train=whole.train.only(np.sort(np.concatenate(chosen))))
