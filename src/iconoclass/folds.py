"""Cross-validation: one training a fold, each judged on pictures that it has not seen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iconoclass import inline, pipeline
from iconoclass.config import MOST_FOLDS
from iconoclass.data.dataset import Dataset
from iconoclass.errors import UsageError
from iconoclass.files import new_folder, write_json
from iconoclass.intervals import Estimate, share, wilson
from iconoclass.run import Run


@dataclass(frozen=True)
class Folds:
    """Runs of one training, each judged on another fold. path: of the folder that holds them."""

    path: Path
    runs: list[Run]

    @property
    def accuracy(self) -> Estimate:
        """Of all pictures, each judged once by a model that had not seen it."""
        judged = [run.metrics["test"] for run in self.runs]
        examples = sum(one["examples"] for one in judged)
        return wilson(round(sum(one["accuracy"]["value"] * one["examples"] for one in judged)), examples)

    def as_json(self) -> dict[str, Any]:
        """What folds.json says."""
        rows = [
            {"run": run.name, "examples": run.metrics["test"]["examples"]}
            | {name: run.metrics["test"][name] for name in ("accuracy", "f1_macro", "loss")}
            for run in self.runs
        ]
        return {"accuracy": self.accuracy.as_json(), "folds": rows}

    def _repr_html_(self) -> str:
        return inline.text(self.table())

    def table(self) -> str:
        """A line a fold, and one for all."""
        rows = self.as_json()["folds"]
        lines = [f"{'fold':<10} {'pictures':>8}  {'accuracy':<22} macro F1"]
        lines += [
            f"{row['run']:<10} {row['examples']:>8,}  {share(row['accuracy']):<22} {row['f1_macro']['value']:.3f}"
            for row in rows
        ]
        examples = sum(row["examples"] for row in rows)
        return "\n".join([*lines, f"{'all':<10} {examples:>8,}  {share(self.accuracy.as_json())}"])


def cross_validate(
    data: Path | str | None,
    folds: int = 5,
    *,
    output: Path | str = "runs",
    name: str | None = None,
    began: float | None = None,
    **rest: Any,
) -> Folds:
    """Train once for each fold of the pictures, and judge it on that fold: how good is such a model, and how sure?

    folds: 2 to 100, stratified; what belongs together is in one fold. A budget is that of each training. rest: as for
    `train`. The runs are in a folder of their own inside `output`, with folds.json beside them.
    Raises: as `train`; UsageError, if folds is out of range or the data set is open already.
    """
    if isinstance(data, Dataset):
        raise UsageError("the data set is already divided: give its name or path, so that folds can be drawn")
    if not 2 <= folds <= MOST_FOLDS:
        raise UsageError(f"folds must be 2 to {MOST_FOLDS}. Received: folds={folds}")
    folder = new_folder(Path(output) / (name or f"{Path(data or 'digits').stem or 'images'}-folds"))
    runs = []
    for number in range(1, folds + 1):
        settings = {**rest, "output": folder, "name": f"fold-{number}", "fold": f"{number}/{folds}"}
        runs.append(pipeline.train(data, began=began if number == 1 else time.monotonic(), **settings))
    found = Folds(folder, runs)
    write_json(folder / "folds.json", found.as_json())
    return found
