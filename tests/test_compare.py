"""Two runs are told apart only where the pictures say so, and the numbers are those that others compute."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

import iconoclass as ic
from iconoclass.errors import DataError, RunError, UsageError, WorseError
from iconoclass.evaluation.compare import compare, difference, mcnemar
from iconoclass.run import Run


@pytest.fixture(scope="session")
def weaker(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A dense network on the same digits, stopped early."""
    return ic.train("digits", model="mlp", epochs=1, output=tmp_path_factory.mktemp("weaker"), name="weaker")


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (0, 5), (5, 0), (7, 7), (30, 11), (400, 351), (1500, 1300)])
def test_the_p_of_mcnemar_is_that_of_scipys_exact_binomial_test(fixed: int, broken: int) -> None:
    expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    assert mcnemar(fixed, broken) == pytest.approx(expected, rel=1e-9)


def test_the_interval_on_the_difference_is_that_of_a_bootstrap_over_single_pictures() -> None:
    random = np.random.default_rng(0)
    gains = np.repeat([1, -1, 0], [60, 30, 410])
    drawn = random.choice(gains, (4000, 500)).mean(axis=1)
    found = difference(60, 30, 500)
    assert found.value == pytest.approx(0.06)
    assert found.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.004)
    assert found.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.004)
    assert difference(0, 0, 0).value is None


def test_a_run_is_equal_to_itself(run: Run) -> None:
    [pair] = compare(run, run).pairs
    assert pair.outcome == "equal"
    assert "equal" in pair.verdict()
    assert (pair.p, pair.difference.value, pair.fixed, pair.broken) == (1.0, 0.0, [], [])


def test_a_stronger_network_is_better_and_the_weaker_one_is_worse(run: Run, weaker: Run) -> None:
    [pair] = compare(weaker, run).pairs
    assert pair.outcome == "better"
    assert pair.p < 1e-6
    assert pair.difference.low > 0
    accuracy, other = pair.accuracies
    assert accuracy.value == weaker.metrics["test"]["accuracy"]["value"]
    assert other.value == run.metrics["test"]["accuracy"]["value"]
    assert len(pair.fixed) - len(pair.broken) == round((other.value - accuracy.value) * len(pair.images))
    with pytest.raises(WorseError, match="worse than"):
        compare(run, weaker).refuse_worse()
    compare(weaker, run).refuse_worse()


def test_each_look_at_the_test_part_is_in_the_ledger(run: Run, weaker: Run) -> None:
    before = len(weaker.looks)
    compare(weaker, run)
    assert weaker.looks[0]["by"] == "train"
    assert len(weaker.looks) == before + 1
    assert weaker.looks[-1]["by"] == "compare"


def test_runs_on_other_pictures_or_without_a_judgement_are_not_compared(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    text = (other / "splits.csv").read_text(encoding="utf-8")
    (other / "splits.csv").write_text(text.replace(",test,", ",train,"), encoding="utf-8")
    with pytest.raises(DataError, match="not tested on the same pictures"):
        compare(run, other)
    (other / "predictions.csv").unlink()
    with pytest.raises(RunError, match="has not been judged"):
        compare(run, other)
    with pytest.raises(UsageError, match="two runs or more"):
        compare(run)


def test_runs_that_do_not_agree_what_is_on_a_picture_are_not_compared(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    lines = (other / "predictions.csv").read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    cells[2] = "9" if cells[2] != "9" else "8"
    (other / "predictions.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]), encoding="utf-8")
    with pytest.raises(DataError, match="do not agree what is on 1 pictures"):
        compare(run, other)


def test_the_command_writes_a_page_fails_where_it_is_asked_to_and_loads_no_network(
    run: Run, weaker: Run, tmp_path: Path
) -> None:
    code = (
        "import sys; from iconoclass.cli.main import main\n"
        f"sys.argv = ['iconoclass', 'compare', {str(run.path)!r}, {str(weaker.path)!r}, '--fail-if-worse']\n"
        "try:\n    main()\nfinally:\n    print('LOADED', *sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 7, answer.stderr
    assert f"weaker is worse than {run.name}" in answer.stdout
    assert not {"tensorflow", "keras"} & set(answer.stdout.split("LOADED ")[1].split())
    found = json.loads((tmp_path / "compare" / "compare.json").read_text(encoding="utf-8"))
    assert found[0]["outcome"] == "worse"
    page = (tmp_path / "compare" / "compare.html").read_text(encoding="utf-8")
    assert page.count("<figure class=case") == min(120, len(found[0]["fixed"])) + min(120, len(found[0]["broken"]))
