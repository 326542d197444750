"""What a report says can be computed again from what it wrote, and what makes a number doubtful stands beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from sklearn import metrics as theirs

import iconoclass as ic
from iconoclass.data.dataset import Split
from iconoclass.errors import DataError, RunError
from iconoclass.evaluation import evaluator
from iconoclass.evaluation.metrics import score
from iconoclass.evaluation.report import Judged, Report, summary, table
from iconoclass.prediction.certainty import temper
from iconoclass.prediction.predictor import BATCH, Predictor
from iconoclass.run import Run


def rows_of(run: Run, split: str) -> list[dict[str, str]]:
    with run.predictions_path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def random_judgement(classes: int, examples: int = 2000) -> dict[str, Any]:
    random = np.random.default_rng(0)
    labels = (np.arange(examples) % classes).astype(np.int32)
    logits = random.normal(size=(examples, classes)) + 2 * np.eye(classes)[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    return score(labels, probabilities, [f"class {label}" for label in range(classes)])


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_scikit_learn_computes_our_metrics_from_our_predictions(run: Run, split: str) -> None:
    rows, ours, names = rows_of(run, split), run.metrics[split], run.class_names
    true, predicted = ([row[column] for row in rows] for column in ("true", "predicted"))
    assert len(rows) == ours["examples"]
    assert ours["accuracy"]["value"] == pytest.approx(theirs.accuracy_score(true, predicted), abs=1e-9)
    assert ours["confusion_matrix"] == theirs.confusion_matrix(true, predicted, labels=names).tolist()
    by_class = theirs.precision_recall_fscore_support(true, predicted, labels=names, zero_division=np.nan)
    for name, precision, recall, f1, support in zip(names, *by_class, strict=True):
        row = ours["per_class"][name]
        values = [row[metric]["value"] for metric in ("precision", "recall", "f1")]
        expected = [None if np.isnan(value) else pytest.approx(value, abs=1e-9) for value in (precision, recall, f1)]
        assert values == expected
        assert row["support"] == support
    for average in ("macro", "weighted"):
        f1 = theirs.f1_score(true, predicted, labels=names, average=average, zero_division=0)
        assert ours[f"f1_{average}"]["value"] == pytest.approx(f1, abs=1e-9)
    probabilities = np.array([[float(row[name]) for name in names] for row in rows])
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [names[best] for best in probabilities.argmax(axis=1)] == predicted
    assert [float(row["confidence"]) for row in rows] == pytest.approx(probabilities.max(axis=1).tolist())


def test_every_share_comes_with_its_interval(run: Run) -> None:
    for part in run.metrics.values():
        for metric in ("accuracy", "top_3_accuracy", "top_5_accuracy"):
            assert part[metric].keys() == {"value", "low", "high"}
            assert 0 <= part[metric]["low"] <= part[metric]["value"] <= part[metric]["high"] <= 1


def test_the_splits_that_are_judged_have_no_picture_in_common(run: Run) -> None:
    images = [row["image"] for split in ("test", "validation", "train") for row in rows_of(run, split)]
    assert len(images) == len(set(images)) == 1797


def test_judging_again_gives_the_same_numbers_and_files(run: Run) -> None:
    before = {path: path.read_bytes() for path in (run.predictions_path, run.path / "metrics.json")}
    report = ic.evaluate(run.path)
    assert {path: path.read_bytes() for path in before} == before
    assert report.metrics == run.metrics == json.loads(json.dumps(report.metrics))


def test_pictures_that_are_no_longer_those_of_the_run_are_not_judged(run: Run) -> None:
    """F9: neither other pictures nor another division of the same ones."""
    with pytest.raises(DataError, match="are not those that"):
        ic.evaluate(run, dataset=ic.load_dataset("digits", split_seed=1))
    with pytest.raises(DataError, match="are not those that"):
        ic.evaluate(run, dataset=ic.load_dataset("digits", color="rgb", max_bad=0.5, image_size=16, split_seed=2))


def test_a_run_without_a_model_cannot_be_judged(run: Run, tmp_path: Path) -> None:
    stopped = Run.create(tmp_path, "stopped")
    stopped.write_config(run.config)
    stopped.write_dataset(run.dataset)
    with pytest.raises(RunError, match="there is no model"):
        ic.evaluate(stopped)


def texts(report: Report, names: set[str]) -> dict[str, str]:
    return {
        name: " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")
        for name, figure in report.plots()
        if name in names
    }


def test_numbers_on_data_that_chose_are_marked_wherever_they_are_shown(tmp_path: Path) -> None:
    run = ic.train("digits", model="mlp", epochs=1, validation="test", output=tmp_path)
    for split in ("test", "validation"):
        assert "optimistic" in run.metrics[split]["note"]
    assert "note" not in run.metrics["train"]
    shown = summary(run)
    assert "test*" in shown
    assert "validation*" in shown
    assert "* The test part was used to choose: optimistic." in shown
    marked = {"curves", "confusion_matrix", "confusion_matrix_normalised", "predictions", "mistakes"}
    for name, text in texts(ic.evaluate(run), marked).items():
        assert "optimistic" in text, name


def test_numbers_that_are_honest_bear_no_mark(run: Run) -> None:
    assert "*" not in summary(run)
    assert not any("note" in part for part in run.metrics.values())


def test_where_only_some_examples_were_judged_that_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "TRAIN_SAMPLE", 100)
    data = ic.load_dataset("digits")
    seen = evaluator._look(ic.Predictor.load(run.path), data.train, "train")
    judged = Judged(seen.split, seen.raw, seen.sampled_from)
    report = Report(run, data, {"test": judged, "train": judged})
    assert report.metrics["train"]["examples"] == 100
    assert report.metrics["train"]["sampled_from"] == len(data.train)
    assert "Of train, 100 of 1,295 examples were judged." in report.table()


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 100])
def test_the_table_fits_into_80_columns_and_names_20_classes_at_most(classes: int) -> None:
    judged = random_judgement(classes)
    lines = table({"test": judged, "validation": judged, "train": judged}).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("class ") for line in lines) == min(classes, 20)
    assert any(line.startswith("20 weakest of") for line in lines) == (classes > 20)


def test_of_many_classes_the_weakest_are_shown_weakest_first() -> None:
    judged = random_judgement(100)
    shown = [line[:18].strip() for line in table({"test": judged}).splitlines() if line.startswith("class ")]
    values = {name: row["f1"]["value"] for name, row in judged["per_class"].items()}
    assert shown == sorted(values, key=lambda name: values[name])[:20]


def test_columns_of_the_table_stand_below_each_other(run: Run) -> None:
    lines = table(run.metrics).splitlines()
    first, second = lines[0].index("test"), lines[0].index("validation")
    for line in lines[1:6]:
        assert line[first - 2] == " "
        assert line[first - 1 : first + 5].strip().rstrip("%").replace(".", "").replace(",", "").isdigit(), line
        assert line[second - 1 : second + 5].strip().rstrip("%").replace(".", "").isdigit(), line


def test_intervals_step_back_without_moving_anything(run: Run) -> None:
    quiet = table(run.metrics, lambda text: f"\x1b[2m{text}\x1b[0m")
    assert "\x1b[2m" in quiet
    assert quiet.replace("\x1b[2m", "").replace("\x1b[0m", "") == table(run.metrics)


def test_what_cannot_be_told_is_n_a_and_strange_names_do_not_break_the_table() -> None:
    """Q3, F11."""
    names = ["a" * 50, "猫" * 20, "\x1b[31mred", "never"]
    probabilities = np.eye(4, dtype=np.float32)[[0, 1, 2, 0]]
    judged = score(np.array([0, 1, 2, 1], np.int32), probabilities, names)
    text = table({"test": judged})
    assert "\x1b" not in text
    assert "n/a" in text.splitlines()[-1]
    positions = {len(line) + sum(letter == "猫" for letter in line) for line in text.splitlines()[-4:]}
    assert len(positions) == 1, "each line ends in the same column"


def test_every_promised_file_is_in_a_complete_run(run: Run) -> None:
    files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    plots = {"curves", "confusion_matrix", "confusion_matrix_normalised", "predictions", "mistakes", "samples"}
    assert files >= {
        *("config.toml", "environment.json", "dataset.json", "splits.csv", "history.csv", "model.keras"),
        *("metrics.json", "predictions.csv", "run.json", "checkpoints/last.keras", "plots/confused_pairs.png"),
        *(f"plots/{name}.png" for name in plots),
    }
    assert not [file for file in files if Path(file).name.startswith(".")]


def test_the_worst_mistakes_come_first() -> None:
    split = Split(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4), np.zeros(4, np.int32), [""] * 4, [""] * 4, [""] * 4)
    probabilities = np.array([[0.4, 0.6], [0.9, 0.1], [0.1, 0.9], [0.3, 0.7]], np.float32)
    assert Judged(split, probabilities).worst(2).tolist() == [2, 3]


def test_judging_takes_a_batch_at_a_time_and_answers_as_for_all_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, split = Predictor.load(run.path), ic.load_dataset("digits").test
    at_once = predictor.probabilities(split.pixels)
    take, taken = Split.take, []
    monkeypatch.setattr(Split, "take", lambda split, at: taken.append(len(at)) or take(split, at))
    seen = evaluator._look(predictor, split, "test")
    assert temper(seen.raw, run.temperature).tobytes() == at_once.tobytes()
    assert max(taken) <= BATCH
    assert sum(taken) == len(split) > BATCH
