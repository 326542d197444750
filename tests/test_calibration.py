"""Confidence means what it says: the temperature that planted it is found, and the bins are those of the formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from iconoclass.evaluation.calibration import calibration_error, coverage, fit_temperature, reliability
from iconoclass.prediction.certainty import temper
from iconoclass.run import Run

Answers = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


def honest_answers(examples: int, classes: int = 5, seed: int = 0) -> Answers:
    """Labels drawn from the very probabilities that are given: calibrated by construction."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2.5, size=(examples, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > random.random((examples, 1))).argmax(axis=1)
    return labels.astype(np.int32), probabilities.astype(np.float32)


@pytest.mark.parametrize("planted", [0.4, 1.0, 2.5])
def test_a_planted_temperature_is_found(planted: float) -> None:
    labels, honest = honest_answers(20_000)
    assert fit_temperature(labels, temper(honest, 1 / planted)) == pytest.approx(planted, rel=0.04)


def test_the_fitted_temperature_is_where_the_loss_is_lowest() -> None:
    from scipy.optimize import minimize_scalar

    labels, honest = honest_answers(3_000)
    spread = temper(honest, 0.6)

    def cost(log_temperature: float) -> float:
        true = temper(spread, float(np.exp(log_temperature)))[np.arange(len(labels)), labels].astype(np.float64)
        return float(-np.log(true).sum() + 0.5 * (log_temperature / 0.5) ** 2)

    best = minimize_scalar(cost, bounds=(-2, 2), method="bounded", options={"xatol": 1e-7})
    assert np.log(fit_temperature(labels, spread)) == pytest.approx(best.x, abs=2e-3)


def test_a_temperature_leaves_every_answer_and_its_order_as_it_was() -> None:
    _, honest = honest_answers(500)
    for temperature in (0.3, 0.9, 3.0):
        tempered = temper(honest, temperature)
        assert (np.argsort(tempered, axis=1) == np.argsort(honest, axis=1)).all()
        assert tempered.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_a_temperature_divides_the_logits_and_back_again() -> None:
    logits = np.array([[3.0, -1.0, 0.5]])
    once = np.exp(logits) / np.exp(logits).sum()
    halved = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert temper(once.astype(np.float32), 2.0) == pytest.approx(halved, abs=1e-6)
    assert temper(temper(once.astype(np.float32), 2.0), 0.5) == pytest.approx(once, abs=1e-6)


def test_probabilities_of_nothing_and_of_certainty_stay_numbers() -> None:
    certain = np.array([[1.0, 0.0, 0.0]], np.float32)
    for temperature in (0.05, 0.5, 20.0):
        assert np.isfinite(temper(certain, temperature)).all()
    assert temper(np.empty((0, 3), np.float32), 2.0).shape == (0, 3)


def test_two_dozen_right_answers_do_not_ask_for_certainty() -> None:
    labels = np.arange(24, dtype=np.int32) % 2
    probabilities = np.where(np.eye(2)[labels] > 0, 0.9, 0.1).astype(np.float32)
    assert 0.2 < fit_temperature(labels, probabilities) < 1
    assert fit_temperature(labels[:0], probabilities[:0]) == pytest.approx(1)


def test_the_calibration_error_is_that_of_the_formula() -> None:
    """Four answers of 0.75, two of them right; two of 0.95, both right: (4 * 0.25 + 2 * 0.05) / 6."""
    labels = np.array([0, 0, 1, 1, 0, 0], np.int32)
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.95, 0.05]] * 2, np.float32)
    assert calibration_error(labels, probabilities).value == pytest.approx(1.1 / 6, abs=1e-6)


def test_honest_answers_have_no_calibration_error_to_speak_of_and_their_bins_lie_on_the_line() -> None:
    labels, honest = honest_answers(20_000)
    error = calibration_error(labels, honest).value
    assert error is not None
    assert error < 0.01
    inside = [one.accuracy.low <= one.confidence <= one.accuracy.high for one in reliability(labels, honest)]
    assert sum(inside) >= len(inside) - 2
    assert calibration_error(labels[:0], honest[:0]).value is None


def test_bins_hold_every_answer_once_also_those_that_are_certain() -> None:
    labels, honest = honest_answers(999)
    certain = np.concatenate([honest, np.eye(5, dtype=np.float32)])
    bins = reliability(np.append(labels, np.arange(5)).astype(np.int32), certain)
    assert sum(one.count for one in bins) == 1004


def test_coverage_ends_at_the_accuracy_of_all_and_takes_equals_together() -> None:
    labels = np.array([0, 1, 0, 0], np.int32)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]], np.float32)
    answered, right = coverage(labels, probabilities)
    assert answered.tolist() == [0.25, 0.75, 1.0]
    assert right.tolist() == pytest.approx([1.0, 2 / 3, 0.75])
    assert [len(part) for part in coverage(labels[:0], probabilities[:0])] == [0, 0]


def test_a_run_says_its_temperature_and_its_numbers_before_and_after(run: Run) -> None:
    assert run.temperature != 1.0
    assert run.calibration["examples"] == run.metrics["validation"]["examples"]
    validation = run.metrics["validation"]
    assert validation["loss"]["value"] < validation["uncalibrated"]["loss"]["value"]


def test_a_run_from_before_there_was_calibration_answers_as_its_network_does(run: Run, tmp_path) -> None:
    import shutil

    import iconoclass as ic

    old = tmp_path / "old"
    shutil.copytree(run.path, old)
    for name in ("calibration.json", "features.npz", "looks.csv"):
        (old / name).unlink()
    pixels = ic.load_dataset("digits").test.pixels[:20]
    before, after = ic.Predictor.load(old), ic.Predictor.load(run.path)
    assert temper(before.probabilities(pixels), run.temperature) == pytest.approx(after.probabilities(pixels), abs=1e-5)
    assert all(answer.unknown is None for answer in before.predict(pixels))
