"""Our numbers are the ones that others compute, and what cannot be told is None."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as theirs

from iconoclass.evaluation.metrics import METRICS, confusion_matrix, per_class, score
from iconoclass.intervals import Estimate, paired_difference, wilson

Labels = npt.NDArray[np.int32]
Probabilities = npt.NDArray[np.float32]


def random_answers(classes: int, examples: int, seed: int) -> tuple[Labels, Probabilities]:
    """Answers that are right a little more often than by chance; every class has examples."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, examples - classes)]).astype(np.int32)
    logits = random.normal(size=(examples, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities.astype(np.float32)


def one_hot(answers: list[int], classes: int) -> Probabilities:
    return np.eye(classes, dtype=np.float32)[answers]


answers = pytest.mark.parametrize(
    ("classes", "examples", "seed"), [(2, 50, 0), (3, 7, 1), (10, 1000, 2), (100, 3000, 3)]
)


@answers
def test_our_numbers_are_those_of_scikit_learn(classes: int, examples: int, seed: int) -> None:
    labels, probabilities = random_answers(classes, examples, seed)
    predicted, every = probabilities.argmax(axis=1), list(range(classes))
    ours = score(labels, probabilities, [str(label) for label in every])
    assert ours["examples"] == examples
    assert ours["accuracy"]["value"] == pytest.approx(theirs.accuracy_score(labels, predicted), abs=1e-9)
    assert ours["confusion_matrix"] == theirs.confusion_matrix(labels, predicted, labels=every).tolist()
    for average in ("macro", "weighted"):
        values = theirs.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), values[:3], strict=True):
            assert ours[f"{name}_{average}"]["value"] == pytest.approx(value, abs=1e-9), (name, average)
    for k in (3, 5):
        if classes > k:
            top = theirs.top_k_accuracy_score(labels, probabilities, k=k, labels=every)
            assert ours[f"top_{k}_accuracy"]["value"] == pytest.approx(top, abs=1e-9)


@answers
def test_our_numbers_by_class_are_those_of_scikit_learn(classes: int, examples: int, seed: int) -> None:
    labels, probabilities = random_answers(classes, examples, seed)
    names = [f"class {label}" for label in range(classes)]
    values = theirs.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=list(range(classes)), zero_division=np.nan
    )
    for name, precision, recall, f1, support in zip(names, *values, strict=True):
        row = per_class(labels, probabilities, names)[name]
        assert row["support"] == support
        for ours, value in ((row["precision"], precision), (row["recall"], recall), (row["f1"], f1)):
            if math.isnan(value):
                assert ours["value"] is None
            else:
                assert ours["value"] == pytest.approx(value, abs=1e-9)


@answers
def test_our_cross_entropy_is_that_of_scikit_learn(classes: int, examples: int, seed: int) -> None:
    labels, probabilities = random_answers(classes, examples, seed)
    # In 4096ths, so that the rows sum to 1 in float32 as in float64.
    random, shares = np.random.default_rng(seed), probabilities.astype(np.float64)
    counts = 1 + random.multinomial(4096 - classes, shares / shares.sum(axis=1, keepdims=True))
    exact = (counts / 4096).astype(np.float32)
    ours = METRICS["loss"].score(labels, exact).value
    assert ours == pytest.approx(
        theirs.log_loss(labels, exact.astype(np.float64), labels=list(range(classes))), abs=1e-9
    )


def test_cross_entropy_is_the_mean_of_minus_the_logarithm() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)
    [value] = [METRICS["loss"].score(np.array([0, 1], np.int32), probabilities).value]
    assert value == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, abs=1e-9)


def test_a_probability_of_nothing_does_not_make_the_loss_infinite() -> None:
    value = METRICS["loss"].score(np.array([0], np.int32), one_hot([1], 2)).value
    assert value == pytest.approx(-math.log(1e-7), abs=1e-9)


def test_the_interval_is_wilsons() -> None:
    """8 of 10, by hand: centre (0.8 + z²/20) / (1 + z²/10), half its width z·sqrt(0.016 + z²/400) / (1 + z²/10)."""
    eight = wilson(8, 10)
    assert eight.value == 0.8
    assert eight.low == pytest.approx(0.49016, abs=1e-5)
    assert eight.high == pytest.approx(0.94331, abs=1e-5)
    # Newcombe, Two-sided confidence intervals for the single proportion, Stat. Med. 1998, table I, method 3.
    for hits, trials, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)]:
        estimate = wilson(hits, trials)
        assert (round(estimate.low or 0, 4), round(estimate.high or 0, 4)) == (low, high)


def test_the_interval_stays_within_0_and_1_and_holds_the_value() -> None:
    for trials in (1, 2, 20, 10_000):
        for hits in {0, 1, trials // 2, trials}:
            estimate = wilson(hits, trials)
            assert estimate.low is not None
            assert estimate.high is not None
            assert 0 <= estimate.low <= hits / trials <= estimate.high <= 1
    assert wilson(0, 20).low == 0
    assert wilson(20, 20).high == 1
    assert round(wilson(0, 20).high or 0, 4) == 0.1611


@pytest.mark.parametrize("name", METRICS)
def test_perfect_and_worst_answers_reach_the_stated_ends(name: str) -> None:
    """Top-k needs the true class at the very end of the order to be at its worst, calibration a wrong one for sure."""
    metric, classes = METRICS[name], 7
    labels = np.arange(classes, dtype=np.int32).repeat(3)
    perfect = one_hot(labels.tolist(), classes)
    assert metric.score(labels, perfect).value == metric.best
    ascending = (np.arange(classes)[None, :] - labels[:, None]) % classes  # the true class has 0, the least
    worst = (ascending / ascending.sum(axis=1, keepdims=True)).astype(np.float32)
    value = metric.score(labels, worst).value
    if metric.worst is None:
        assert value is not None
        assert value > 10
    else:
        certain = metric.score(labels, one_hot(((labels + 1) % classes).tolist(), classes)).value
        assert metric.worst in (value, certain)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_within_its_range_on_random_answers(name: str) -> None:
    for seed in range(5):
        estimate = METRICS[name].score(*random_answers(8, 40, seed))
        assert estimate.value is not None
        ends = [end for end in (METRICS[name].worst, METRICS[name].best) if end is not None]
        assert estimate.value >= min(ends)
        assert len(ends) == 1 or estimate.value <= max(ends)


@pytest.mark.parametrize("name", METRICS)
def test_of_no_examples_nothing_is_told(name: str) -> None:
    """Q3: not 0, not NaN, no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert METRICS[name].score(np.empty(0, np.int32), np.empty((0, 8), np.float32)) == Estimate(None)


def test_a_class_without_examples_has_neither_recall_nor_f1() -> None:
    """Q3: and it does not weigh in any average."""
    labels, probabilities = np.array([0, 0, 1], np.int32), one_hot([0, 1, 1], 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = per_class(labels, probabilities, ["a", "b", "c"])["c"]
        mean = METRICS["recall_macro"].score(labels, probabilities).value
    assert row == {**{key: {"value": None} for key in ("precision", "recall", "f1", "auc")}, "support": 0}
    assert mean == pytest.approx((0.5 + 1) / 2)


def test_a_class_that_was_never_predicted_has_no_precision_but_a_recall_of_0() -> None:
    labels, probabilities = np.array([0, 1], np.int32), one_hot([0, 0], 2)
    row = per_class(labels, probabilities, ["a", "b"])["b"]
    assert row["precision"] == {"value": None}
    assert row["recall"]["value"] == 0
    assert row["f1"]["value"] == 0


def test_a_class_without_examples_that_was_predicted_has_a_precision_of_0() -> None:
    row = per_class(np.array([0], np.int32), one_hot([1], 2), ["a", "b"])["b"]
    assert row["precision"]["value"] == 0, "every time that it was said, it was wrong"
    assert row["recall"] == {"value": None}


def test_rows_are_true_and_columns_are_predicted() -> None:
    matrix = confusion_matrix(np.array([0, 0, 2], np.int32), one_hot([1, 1, 0], 3))
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert matrix.dtype == np.int64


def test_top_3_of_3_classes_is_left_out_rather_than_called_perfect() -> None:
    scores = score(*random_answers(3, 20, 0), ["a", "b", "c"])
    assert not {"top_3_accuracy", "top_5_accuracy"} & scores.keys()
    assert "top_3_accuracy" in score(*random_answers(4, 20, 0), list("abcd"))


def test_the_score_of_an_empty_split_is_json() -> None:
    scores = score(np.empty(0, np.int32), np.empty((0, 2), np.float32), ["a", "b"])
    assert json.loads(json.dumps(scores, allow_nan=False))["accuracy"] == {"value": None}


def test_a_perfect_loss_is_not_written_as_minus_0() -> None:
    assert str(METRICS["loss"].score(np.array([1], np.int32), one_hot([1], 2)).value) == "0.0"


def test_a_paired_difference_keeps_its_promise_where_few_trials_differ() -> None:
    """Of 200 trials drawn again and again, with 3 % lost and 1 % won, the interval holds the true difference."""
    random = np.random.default_rng(0)
    kept = 0
    for lost, won, _ in random.multinomial(200, [0.03, 0.01, 0.96], 2000).tolist():
        estimate = paired_difference(lost, won, 200)
        assert estimate.low <= estimate.value <= estimate.high
        kept += estimate.low <= 0.02 <= estimate.high
    assert 0.94 <= kept / 2000 <= 0.99
    assert paired_difference(0, 0, 0).value is None
