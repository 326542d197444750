"""Areas and curves are those of scikit-learn, and intervals keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from iconoclass.evaluation import ranking
from iconoclass.intervals import wilson


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("examples", [20, 3000])
def test_areas_are_those_of_scikit_learn(examples: int, ties: bool) -> None:
    random = np.random.default_rng(examples)
    is_class = random.random(examples) < 0.3
    scores = random.normal(size=examples) + is_class
    scores = np.round(scores) if ties else scores
    area = ranking.auc(is_class, scores)
    assert area.value == pytest.approx(theirs.roc_auc_score(is_class, scores), abs=1e-9)
    assert area.low <= area.value <= area.high
    precision = ranking.average_precision(is_class, scores).value
    assert precision == pytest.approx(theirs.average_precision_score(is_class, scores), abs=1e-9)


def test_curves_go_through_the_points_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    is_class = random.random(500) < 0.5
    scores = np.round(random.normal(size=500) + is_class, 1)
    alarms, hits, _ = theirs.roc_curve(is_class, scores, drop_intermediate=False)
    ours = ranking.roc(is_class, scores)
    assert ours is not None
    assert ours[0] == pytest.approx(alarms)
    assert ours[1] == pytest.approx(hits)


def test_of_one_class_alone_there_is_nothing_to_tell() -> None:
    for is_class in (np.zeros(5, bool), np.ones(5, bool), np.empty(0, bool)):
        assert ranking.auc(is_class, np.arange(len(is_class)) * 1.0).value is None
        assert ranking.roc(is_class, np.arange(len(is_class)) * 1.0) is None
    assert ranking.average_precision(np.zeros(5, bool), np.arange(5.0)).value is None


def test_the_95_percent_intervals_cover_the_truth_in_93_to_97_percent_of_2000_simulated_tests() -> None:
    """Of test parts of 100, 400 and 2,000 pictures, at accuracies from 60 to 98 %; each alone, with its own chance."""
    random = np.random.default_rng(0)
    covered = []
    for examples in (100, 400, 2000):
        for truth in (0.6, 0.8, 0.9, 0.95, 0.98):
            hits = random.binomial(examples, truth, 2000)
            known = {count: wilson(int(count), examples) for count in np.unique(hits)}
            covered.append(np.mean([known[count].low <= truth <= known[count].high for count in hits]))
    assert 0.93 <= np.mean(covered) <= 0.97
    assert min(covered) > 0.92
    assert max(covered) < 0.98


def test_the_intervals_are_those_of_scipy() -> None:
    from scipy.stats import binomtest

    for hits, trials in ((0, 7), (3, 7), (91, 100), (9_250, 10_000), (10_000, 10_000)):
        theirs_ = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
        ours = wilson(hits, trials)
        assert (ours.low, ours.high) == pytest.approx((theirs_.low, theirs_.high), abs=1e-6)
