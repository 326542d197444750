"""evaluate(): a run and its data -> probabilities, computed once, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from iconoclass.data.dataset import Dataset, Split, open_dataset
from iconoclass.errors import DataError
from iconoclass.evaluation import page
from iconoclass.evaluation.attention import MISTAKES, of_mistakes
from iconoclass.evaluation.calibration import fit_temperature
from iconoclass.evaluation.report import Judged, Maps, Report
from iconoclass.files import writing
from iconoclass.prediction.certainty import Certainty, Known, temper
from iconoclass.prediction.predictor import BATCH, Predictor
from iconoclass.run import Run

TRAIN_SAMPLE = 5_000


def evaluate(
    run: Run | Path | str,
    *,
    dataset: Dataset | None = None,
    offline: bool = False,
    tell: Callable[[str], None] | None = None,
    by: str = "evaluate",
) -> Report:
    """Judge a run on test, validation and train (a sample of at most 5,000), and write it into the run's folder.

    dataset: the run's own, if it is at hand; else it is opened again, without a connection if offline. by: who looks at
    the test part, for the run's ledger.
    Raises: RunError, if there is nothing to judge; DataError, if the pictures are no longer those of the run.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if "imported_from" in run.dataset:
        raise DataError(f"{run.name} was imported without pictures", hint="Give labelled ones: --data DIR.")
    predictor = Predictor.load(run.path)
    dataset = dataset or open_dataset(run.config.data, offline=offline)
    refuse_other_pictures(run, dataset)
    seen = {name: _look(predictor, dataset.splits[name], name) for name in ("test", "validation", "train")}
    certainty = _certainty(seen["validation"], seen["train"], dataset)
    judged = {name: _judged(part, certainty) for name, part in seen.items()}
    certainty.write(run.features_path)
    run.note_look(by)
    report = Report(run, dataset, judged, certainty, _look_at_mistakes(run, predictor, judged["test"]))
    report.save(tell)
    if tell:
        tell("report.html")
    page.save(report)
    return report


def _look_at_mistakes(run: Run, predictor: Predictor, test: Judged) -> Maps:
    """What the network looked at in its worst mistakes; kept with the run, so that the page can be made again."""
    worst = test.worst(MISTAKES)
    maps = of_mistakes(predictor.probabilities, test.split.take(worst), test.predicted[worst])
    with writing(run.maps_path) as temporary:
        np.savez(temporary, at=worst, maps=maps.astype(np.float16))
    return dict(zip(worst.tolist(), maps, strict=True))


def _kept_maps(run: Run) -> Maps:
    if not run.maps_path.is_file():
        return {}
    with np.load(run.maps_path, allow_pickle=False) as held:
        return dict(zip(held["at"].tolist(), held["maps"].astype(np.float32), strict=True))


def reopen(run: Run | Path | str, *, offline: bool = False) -> Report:
    """The report of a run that has been judged, from its files: the network is not asked again.

    Raises: RunError, if it has not been judged; DataError, if the pictures are no longer those of the run.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    answers: dict[str, list[list[str]]] = {"test": [], "validation": [], "train": []}
    for part, *_, row in ((cells[0], cells[5:]) for cells in run.predictions):
        answers[part].append(row)
    dataset = open_dataset(run.config.data, offline=offline)
    refuse_other_pictures(run, dataset)
    certainty = Certainty.read(run)
    judged = {name: _read(name, dataset, rows, certainty.temperature) for name, rows in answers.items()}
    return Report(run, dataset, judged, certainty, _kept_maps(run))


def _read(name: str, dataset: Dataset, rows: list[list[str]], temperature: float) -> Judged:
    split = dataset.splits[name]
    asked = split.sample(TRAIN_SAMPLE) if name == "train" else split
    probabilities = np.array(rows, np.float32).reshape(len(asked), len(dataset.class_names))
    raw = temper(probabilities, 1 / temperature)
    return Judged(asked, probabilities, len(split) if len(asked) < len(split) else None, raw)


def refuse_other_pictures(run: Run, dataset: Dataset, advice: str = "train again, or bring back the old ones") -> None:
    """Raises: DataError, if the data set is no longer the one that the run was trained on."""
    if dataset.fingerprint != run.dataset["fingerprint"]:
        raise DataError(
            f"the pictures of {dataset.config.source} are not those that {run.name} was trained on",
            hint=f"Some were added, changed or removed since: {advice}.",
        )


@dataclass(frozen=True)
class _Seen:
    """A split as the network sees it, before calibration. features: None where the runtime does not say them."""

    split: Split
    raw: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None
    sampled_from: int | None


def _look(predictor: Predictor, split: Split, name: str) -> _Seen:
    asked = split.sample(TRAIN_SAMPLE) if name == "train" else split
    batches = (np.arange(at, min(at + BATCH, len(asked))) for at in range(0, len(asked) or 1, BATCH))
    answers, features = zip(*(predictor.look(asked.take(batch)) for batch in batches), strict=True)
    told = [some for some in features if some is not None]
    seen = np.concatenate(told) if len(told) == len(answers) else None
    return _Seen(asked, np.concatenate(answers), seen, len(split) if len(asked) < len(split) else None)


def _certainty(validation: _Seen, train: _Seen, dataset: Dataset) -> Certainty:
    """What validation says of the network's confidence, and what its training pictures look like to it."""
    temperature = fit_temperature(validation.split.labels, validation.raw)
    confidences = temper(validation.raw, temperature).max(axis=-1, initial=0.0).astype(np.float64)
    if train.features is None or validation.features is None:
        return Certainty(temperature, confidences=confidences)
    at = dataset.train.positions_of_sample(TRAIN_SAMPLE)
    # As they will be read again: in half precision.
    known = Known(Known.of(train.features, at).features.astype(np.float16).astype(np.float32), at)
    return Certainty(temperature, known, confidences, known.distances(validation.features))


def _judged(seen: _Seen, certainty: Certainty) -> Judged:
    probabilities = temper(seen.raw, certainty.temperature)
    return Judged(seen.split, probabilities, seen.sampled_from, seen.raw, seen.features)
