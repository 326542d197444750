"""What an earlier version has exported must be read by every later one, and answer as it did."""

from __future__ import annotations

from pathlib import Path

import pytest

import iconoclass as ic
from iconoclass.exports.catalog import EXPORTERS

GOLDEN = Path(__file__).parent / "golden"
EXPORTS = sorted(path.parent for path in GOLDEN.glob("*/*/manifest.json"))


@pytest.mark.parametrize("folder", EXPORTS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_golden_export_is_read_and_answers_as_it_did(folder: Path) -> None:
    """M15."""
    verified = ic.verify(folder)
    assert verified.golden == 4
    assert verified.largest_difference <= (1e-5 if "int8" not in folder.name else 0.02)
    assert ic.Predictor.load(folder).class_names == [str(digit) for digit in range(10)]


def test_every_format_has_a_golden_export_and_all_of_them_are_small() -> None:
    assert {folder.name for folder in EXPORTS} >= set(EXPORTERS)
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 500_000
