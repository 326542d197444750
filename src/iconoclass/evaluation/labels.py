"""suspects(): training pictures whose label is likely wrong, judged by models that have not seen them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass import inline
from iconoclass.data.dataset import Dataset, Split, open_dataset
from iconoclass.data.decisions import Decision, write_decisions
from iconoclass.data.split import keys_of, learned_and_held
from iconoclass.errors import DataError
from iconoclass.evaluation.evaluator import refuse_other_pictures
from iconoclass.files import printable
from iconoclass.prediction.predictor import BATCH, Predictor
from iconoclass.run import Run
from iconoclass.training.logistic import class_shares, regress

FOLDS = 5
# Of the regression, on features of one common scale, the weakest regularisation last; with MANY pictures it is idle.
STRENGTHS = (0.0003, 0.003, 0.03, 0.3)
MANY = 5_000
# A suspect whose label gets less than this is relabelled. Of those that get more, most of Fashion-MNIST's are doubtful
# and right (docs/judging.md).
SURE = 0.02

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating[Any]]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Suspect:
    """A training picture whose label is likely wrong. label, other: given, and what it seems to be; shares of both."""

    at: int
    image: str
    label: str
    other: str
    label_share: float
    other_share: float

    @property
    def is_sure(self) -> bool:
        """Whether the label that was given is all but impossible."""
        return self.label_share < SURE


def confident_mislabels(labels: Labels, probabilities: Floats) -> tuple[Positions, Positions]:
    """Which examples are likely of another class, the surest first, and of which: int64 (suspects,) each.

    probabilities: float (n, classes), of models that have not seen the example. A class is believed of an example where
    its probability is at least the mean that it has on examples labelled so; of those believed, the likeliest counts.
    What share of a class is believed to be another says how many of its examples are taken for that one: those with the
    widest margin over the given class, as far as they have one.
    Source: Northcutt, Jiang and Chuang, Confident learning, JAIR 2021: pruning by the noise rates that the calibrated
    confident joint estimates.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = probabilities[np.arange(len(labels)), labels]
    usual = np.bincount(labels, weights=own, minlength=classes) / np.maximum(counts, 1)
    usual[counts == 0] = np.inf
    is_believed = probabilities >= usual
    believed = np.where(is_believed, probabilities, -1.0).argmax(axis=1)
    sure = is_believed.any(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[sure], believed[sure]), 1)
    expected = np.rint(joint * (counts / np.maximum(joint.sum(axis=1), 1))[:, None]).astype(int)
    np.fill_diagonal(expected, 0)

    margins = probabilities - own[:, None]
    others = np.zeros(len(labels), np.int64)
    widest = np.zeros(len(labels))
    for given, other in np.argwhere(expected):
        examples = np.flatnonzero(labels == given)
        taken = examples[np.argsort(-margins[examples, other], kind="stable")[: expected[given, other]]]
        better = taken[margins[taken, other] > widest[taken]]
        others[better], widest[better] = other, margins[better, other]
    found = np.flatnonzero(widest > 0)
    found = found[np.argsort(-widest[found], kind="stable")]
    return found, others[found]


def judged_by_others(features: Floats, split: Split, classes: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Probabilities of each example by models that have learned neither it nor what seems mislabelled: float64
    (n, classes). Wrong labels blur what is learned from them, so what a first look suspects is left out of a second.
    Raises: DataError, where there are no folds in which every class is learned.
    """
    shares = out_of_sample(features, split, classes, seed)
    trusted = np.ones(len(split), bool)
    trusted[confident_mislabels(split.labels, shares)[0]] = False
    return shares if trusted.all() else out_of_sample(features, split, classes, seed, trusted)


def out_of_sample(
    features: Floats, split: Split, classes: int, seed: int = 0, trusted: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """Probabilities of each example by a logistic regression on the features of the other folds: float64 (n, classes).

    Of the strengths of regularisation the one whose loss on the folds is lowest. What belongs together is in one fold.
    trusted: bool (n,), the only ones to learn from and to choose by, all of them if not given.
    Raises: DataError, where there are no folds in which every class is learned.
    """
    trusted = np.ones(len(split), bool) if trusted is None else trusted
    scaled = features - features.mean(axis=0)
    scaled = scaled / (scaled.std() or 1.0)
    folds = learned_and_held(split.labels, keys_of(split.groups, split.sha256), FOLDS, seed, "labels")
    if not folds:
        what = "a class has training pictures of one group only: no others can say whether its labels are right"
        raise DataError(what, hint="Add pictures to it.")
    folds = [(_without(learned, trusted, split.labels), held) for learned, held in folds]
    tried = STRENGTHS if len(split) <= MANY else STRENGTHS[-1:]
    found = [_by_folds(scaled, split.labels, folds, classes, strength) for strength in tried]
    own = [shares[np.arange(len(split)), split.labels][trusted] for shares in found]
    return found[int(np.argmin([-np.log(np.maximum(shares, 1e-7)).mean() for shares in own]))]


def _without(learned: Positions, trusted: npt.NDArray[np.bool_], labels: Labels) -> Positions:
    """Those of them that are trusted, unless a class would have none."""
    kept = learned[trusted[learned]]
    return kept if len(np.unique(labels[kept])) == len(np.unique(labels[learned])) else learned


def _by_folds(
    features: Floats, labels: Labels, folds: list[tuple[Positions, Positions]], classes: int, strength: float
) -> npt.NDArray[np.float64]:
    """The share of a class that a fold has not seen is 0."""
    found = np.zeros((len(labels), classes))
    for learned, held in folds:
        seen, places = np.unique(labels[learned], return_inverse=True)
        linear = regress(features[learned], places, len(seen), strength, steps=200)
        found[np.ix_(held, seen)] = class_shares(features[held], linear)
    return found


@dataclass(frozen=True)
class Suspects:
    """What was found in the training part of a run, the surest first. examples: how many were looked at."""

    run: Run
    examples: int
    found: list[Suspect]

    def _repr_html_(self) -> str:
        return inline.text(self.table())

    def table(self, most: int = 30) -> str:
        """What was found, as plain text."""
        share = len(self.found) / max(1, self.examples)
        lines = [f"{len(self.found):,} of {self.examples:,} training labels are likely wrong ({share:.1%})", ""]
        lines += [
            f"{printable(one.image)}: {printable(one.label)} {one.label_share:.0%}, "
            f"rather {printable(one.other)} {one.other_share:.0%}"
            for one in self.found[:most]
        ]
        return "\n".join([*lines, *([f"... and {len(self.found) - most:,} more"] if len(self.found) > most else [])])

    def as_json(self) -> dict[str, Any]:
        rows = [
            {key: value for key, value in vars(one).items() if key != "at"} | {"position": one.at} for one in self.found
        ]
        return {"examples": self.examples, "suspects": rows}

    def decisions(self) -> list[Decision]:
        """Relabel, where the label that was given is all but impossible; the others are left for a person to decide."""
        return [
            Decision(
                one.image,
                "relabel" if one.is_sure else "",
                one.other if one.is_sure else "",
                f"{one.label} {one.label_share:.0%}, rather {one.other} {one.other_share:.0%}, "
                "by models that have not seen it",
            )
            for one in self.found
        ]

    def write(self, path: Path | str) -> Path:
        """Write a decisions.csv, for `train --decisions`. The pictures stay as they are."""
        write_decisions(Path(path), self.decisions())
        return Path(path)


def suspects(
    run: Run | Path | str,
    *,
    dataset: Dataset | None = None,
    offline: bool = False,
    tell: Callable[[str, int, int], None] | None = None,
) -> Suspects:
    """Training pictures of a run whose label is likely wrong; kept with the run, for its report.

    The features are those of the run's network, which has learned from these labels; what judges a picture on them has
    not. A network that knows its training pictures by heart hides its wrong labels: a pretrained backbone, or few
    epochs, show them best.
    Raises: DataError, if the pictures are no longer those of the run.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    predictor = Predictor.load(run.path)
    dataset = dataset or open_dataset(run.config.data, offline=offline)
    refuse_other_pictures(run, dataset)
    train, names = dataset.train, dataset.class_names
    shares = judged_by_others(_features(predictor, train, tell), train, len(names))
    found = [
        Suspect(
            int(at),
            train.names[at],
            names[train.labels[at]],
            names[other],
            float(shares[at, train.labels[at]]),
            float(shares[at, other]),
        )
        for at, other in zip(*confident_mislabels(train.labels, shares), strict=True)
    ]
    answer = Suspects(run, len(train), found)
    run.write_suspects(answer.as_json())
    return answer


def _features(predictor: Predictor, split: Split, tell: Callable[[str, int, int], None] | None) -> Floats:
    parts = []
    for at in range(0, len(split), BATCH):
        raw, features = predictor.look(split.take(np.arange(at, min(at + BATCH, len(split)))))
        parts.append(raw if features is None else features)
        if tell:
            tell("Looking at", min(at + BATCH, len(split)), len(split))
    return np.concatenate(parts)
