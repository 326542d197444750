"""evaluate(): a run and its data -> probabilities, computed once, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from iconoclass.data.dataset import Dataset, Split, open_dataset
from iconoclass.errors import DataError
from iconoclass.evaluation.report import Judged, Report
from iconoclass.prediction.predictor import BATCH, Predictor
from iconoclass.run import Run

TRAIN_SAMPLE = 5_000


def evaluate(
    run: Run | Path | str,
    *,
    dataset: Dataset | None = None,
    offline: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Report:
    """Judge a run on test, validation and train (a sample of at most 5,000), and write it into the run's folder.

    dataset: the run's own, if it is at hand; else it is opened again, without a connection if offline.
    Raises: RunError, if there is nothing to judge; DataError, if the pictures are no longer those of the run.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    predictor = Predictor.load(run.path)
    dataset = dataset or open_dataset(run.config.data, offline=offline)
    if dataset.fingerprint != run.dataset["fingerprint"]:
        raise DataError(
            f"the pictures of {dataset.config.source} are not those that {run.name} was trained on",
            hint="Some were added, changed or removed since: train again, or bring back the old ones.",
        )
    judged = {name: _judge(predictor, dataset.splits[name], name) for name in ("test", "validation", "train")}
    report = Report(run, dataset, judged)
    report.save(tell)
    return report


def _judge(predictor: Predictor, split: Split, name: str) -> Judged:
    asked = split.sample(TRAIN_SAMPLE) if name == "train" else split
    batches = (np.arange(at, min(at + BATCH, len(asked))) for at in range(0, len(asked) or 1, BATCH))
    answers = np.concatenate([predictor.probabilities(asked.take(batch)) for batch in batches])
    return Judged(asked, answers, len(split) if len(asked) < len(split) else None)
