"""A learning curve holds each sample in the next, and finds the law that was planted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import iconoclass as ic
from iconoclass.cli.main import app
from iconoclass.curve import Curve, _gain, _sample
from iconoclass.errors import UsageError
from iconoclass.run import Run


def test_each_sample_holds_the_smaller_ones_and_the_shares_of_the_classes() -> None:
    data = ic.load_dataset("digits")
    small, large = _sample(data, 0.2), _sample(data, 0.6)
    assert set(small.train.names) < set(large.train.names) < set(data.train.names)
    counts, whole = (np.bincount(some.train.labels) for some in (large, data))
    assert counts / whole == pytest.approx(0.6, abs=0.01)
    assert small.test is data.test
    assert set(_sample(data, 1.0).train.names) == set(data.train.names)


def test_the_gain_is_that_of_the_planted_power_law() -> None:
    sizes, tests = np.array([100.0, 200, 400, 800]), np.full(4, 10**7)
    errors = 2.0 * sizes**-0.4
    [gain] = _gain(sizes, (tests * (1 - errors))[None], tests, 1600.0)
    assert gain == pytest.approx(2.0 * 800**-0.4 - 2.0 * 1600**-0.4, rel=1e-4)
    [none] = _gain(sizes, (tests * (1 - errors[::-1]))[None], tests, 1600.0)
    assert none == 0, "more pictures do no harm"


def size(path: Path) -> int:
    return int(path.name.partition("-")[2])


def test_a_curve_of_the_digits_rises_and_says_what_more_would_be_worth(tmp_path: Path) -> None:
    answer = CliRunner().invoke(
        app, ["curve", "digits", "--points", "3", "--model", "mlp", "--epochs", "10", "--output", str(tmp_path)]
    )
    assert answer.exit_code == 0, answer.output
    found = Curve(tmp_path / "digits-curve", [Run.open(path) for path in sorted(tmp_path.glob("*/train-*"), key=size)])
    assert found.table() in answer.output
    written = json.loads((found.path / "curve.json").read_text(encoding="utf-8"))
    rates = [row["accuracy"]["value"] for row in written["points"]]
    assert rates[0] < rates[-1]
    assert found.sizes[-1] == len(ic.load_dataset("digits").train)
    gain = written["next"]["gain"]
    assert 0 <= gain["low"] <= gain["value"] <= gain["high"] < 0.2
    assert "100 more pictures of each class" in found.table()
    with pytest.raises(UsageError, match="points must be 3 to 20"):
        ic.learning_curve("digits", 2)
