"""What the proof of an export accepts and what it refuses, on answers that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import iconoclass as ic
from iconoclass.exports.verify import MAX_LOSS, TOLERANCES, Picture, Proof, Rows, compare

CLASSES = 10


def answers(*, best: int, share: float, second: int = 1, rest: float | None = None) -> list[float]:
    """A row in which `best` has that share, `second` the rest, or so much of it, and the others what is left."""
    row = np.zeros(CLASSES)
    row[second] = 1 - share if rest is None else rest
    row[best] = share
    others = [at for at in range(CLASSES) if at not in {best, second}]
    row[others] = max(0.0, 1 - row.sum()) / len(others)
    return row.tolist()


def proof_of(expected: list[list[float]], answered: list[list[float]], labels: list[int], numbers: str) -> Proof:
    pictures = [Picture(str(at), Path(), label) for at, label in enumerate(labels)]
    rows: list[Rows] = [np.array(each, np.float32) for each in (expected, answered)]
    return compare(*rows, pictures, numbers=numbers)


@pytest.mark.parametrize("numbers", TOLERANCES)
def test_a_tie_within_rounding_is_no_disagreement_and_is_counted(numbers: str) -> None:
    """As after one step: the two best classes are as probable, and which comes first is rounding."""
    off = 0.4 * TOLERANCES[numbers]
    expected = [answers(best=0, share=0.2 + off, second=1, rest=0.2)] * 100
    answered = [answers(best=1, share=0.2 + off, second=0, rest=0.2)] * 100
    proof = proof_of(expected, answered, [0] * 100, numbers)
    assert proof.holds
    assert (proof.agreeing, proof.near_ties) == (100, 100)
    assert "100 of them but for a near tie" in proof.verdict
    assert any("In 100 pictures" in note and "Train it longer" in note for note in proof.notes)
    assert (proof.accuracy.value, proof.accuracy_of_run.value) == (0, 1)  # which is not hidden


@pytest.mark.parametrize("numbers", TOLERANCES)
def test_a_file_that_is_sure_where_the_run_is_not_is_no_tie(numbers: str) -> None:
    expected = [answers(best=0, share=0.2001, second=1, rest=0.2)] * 100
    answered = [answers(best=1, share=0.6, second=0, rest=0.2)] * 100
    proof = proof_of(expected, answered, [0] * 100, numbers)
    assert not proof.holds
    assert (proof.agreeing, proof.near_ties) == (0, 0)


def damaged(flips: int, *, lost: int, share: float, pictures: int = 100) -> Proof:
    """An int8 file that answers so many pictures otherwise; so many of them are now wrong, the others were."""
    expected = [answers(best=0, share=share)] * pictures
    answered = [
        answers(best=1 if at < flips else 0, share=share, second=0 if at < flips else 1) for at in range(pictures)
    ]
    labels = [0 if at < lost or at >= flips else 1 for at in range(pictures)]
    return proof_of(expected, answered, labels, "int8")


def test_few_pictures_let_no_bad_file_pass() -> None:
    """By its labels alone it could: a loss of more than a point is not sure."""
    proof = damaged(flips=8, lost=5, share=0.8)
    assert proof.loss.low is not None
    assert proof.loss.low < MAX_LOSS
    assert proof.largest_difference > 0.59
    assert not proof.holds
    assert "by the run's own probabilities its other answers cost 4.8 points of accuracy, where 1 is" in proof.faults[0]


def test_other_answers_where_the_run_itself_is_unsure_cost_little_and_what_they_may_cost_is_said() -> None:
    proof = damaged(flips=8, lost=4, share=0.55)
    assert proof.holds
    assert (proof.agreeing, proof.near_ties) == (92, 0)
    assert proof.expected_loss == pytest.approx(0.008)
    assert any("points of accuracy may be lost: so few pictures cannot tell" in note for note in proof.notes)


def test_a_loss_that_is_sure_is_refused_whatever_the_run_thought() -> None:
    proof = damaged(flips=60, lost=60, share=0.53, pictures=1000)
    assert proof.expected_loss < 0.01
    assert not proof.holds
    assert "points of accuracy are lost" in proof.faults[0]


@pytest.mark.parametrize("numbers", TOLERANCES)
def test_a_file_that_answers_nan_is_refused(numbers: str) -> None:
    expected = [answers(best=0, share=0.9)] * 3
    answered = [*expected[:2], [float("nan")] * CLASSES]
    assert proof_of(expected, answered, [0] * 3, numbers).faults == ["it answers NaN"]


@pytest.mark.parametrize("numbers", TOLERANCES)
def test_nothing_is_proven_without_pictures(numbers: str) -> None:
    nothing: Rows = np.empty((0, CLASSES), np.float32)
    assert not compare(nothing, nothing, [], numbers=numbers).holds


# -- a run of one step ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def barely(tmp_path_factory: pytest.TempPathFactory) -> ic.Run:
    return ic.train("digits", model="convnet-3", epochs=0.01, output=tmp_path_factory.mktemp("barely"))


@pytest.mark.parametrize(("name", "quantize"), [("onnx", None), ("onnx", "int8"), ("litert", "int8")])
def test_a_run_of_one_step_leaves_in_every_number(
    name: str, quantize: str | None, barely: ic.Run, tmp_path: Path
) -> None:
    [made] = ic.export(barely, name, quantize=quantize, output=tmp_path)
    proof = made.proof
    assert proof.agreeing == proof.pictures
    assert (proof.near_ties > proof.pictures / 20) == any("Train it longer" in note for note in proof.notes)
    assert ic.verify(made.path).golden == 4
