"""What a notebook shows of our objects: well-formed markup with its pictures inside, names escaped, small."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass import inline
from iconoclass.errors import UsageError
from iconoclass.run import Run

ALONE = {"img", "br", "wbr"}  # tags that are not closed


class Balanced(HTMLParser):
    """Raises: AssertionError, where a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


def tags_of(markup: str) -> list[str]:
    parser = Balanced()
    parser.feed(markup)
    assert parser.open == []
    return parser.seen


def pictures_in(markup: str) -> list[Image.Image]:
    found = re.findall(r"src='data:image/webp;base64,([^']+)'", markup)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.fixture(scope="module")
def shown(run: Run) -> dict[str, str]:
    """What each of our objects shows of itself."""
    data = ic.load_dataset("digits")
    report = ic.evaluate(run, dataset=data)
    answers = ic.Predictor.load(run.path).predict(data.test.pixels[:30])
    objects = {"data": data, "run": run, "report": report, "answers": answers, "answer": answers[0]}
    return {word: one._repr_html_() for word, one in objects.items()}


@pytest.mark.parametrize("word", ["data", "run", "report", "answers", "answer"])
def test_its_markup_is_well_formed_fetches_nothing_and_runs_nothing(shown: dict[str, str], word: str) -> None:
    tags = tags_of(shown[word])
    assert not {"script", "style", "link", "iframe"} & set(tags)
    assert not re.search(r"https?://|url\(|javascript:| on\w+=", shown[word])
    assert len(shown[word]) < 250_000, "a notebook of ten such cells is still mailed"


def test_a_data_set_shows_every_class_with_its_counts_and_pictures(shown: dict[str, str]) -> None:
    data = ic.load_dataset("digits")
    for name, count in zip(data.class_names, np.bincount(data.train.labels), strict=True):
        assert re.search(rf">{name}</td><td[^>]*>{count}</td>", shown["data"])
    strips = pictures_in(shown["data"])
    assert [strip.size for strip in strips] == [(80, 8)] * 10
    first = data.train.take(np.flatnonzero(data.train.labels == 0)[:1])[0, ..., 0]
    assert np.abs(np.asarray(strips[0].convert("L"))[:, :8].astype(int) - first).max() <= 1


def test_a_data_set_that_validates_on_test_shows_that_part_once(tmp_path: Path) -> None:
    markup = ic.load_dataset("digits", validation="test")._repr_html_()
    assert ">validation</th>" not in markup
    assert "used to choose" in markup


def test_a_report_shows_accuracy_with_its_interval_every_class_and_the_matrix(shown: dict[str, str], run: Run) -> None:
    score = run.metrics["test"]["accuracy"]
    assert f"{score['value']:.1%}" in shown["report"]
    assert f"{score['low']:.1%} to {score['high']:.1%}" in shown["report"]
    for name in run.class_names:
        assert f">{name}</td>" in shown["report"]
    assert all(picture.width > 800 for picture in pictures_in(shown["report"]))
    assert len(pictures_in(shown["report"])) == 2


def test_answers_show_their_pictures_and_are_a_list_as_before(shown: dict[str, str], run: Run) -> None:
    pixels = ic.load_dataset("digits").test.pixels[:30]
    answers = ic.Predictor.load(run.path).predict(pixels)
    assert isinstance(answers, list)
    assert len(answers) == 30
    assert len(pictures_in(shown["answers"])) == 24
    assert "and 6 more" in shown["answers"]
    first = np.asarray(pictures_in(shown["answers"])[0].convert("L"))
    assert np.abs(first.astype(int) - pixels[0, ..., 0]).max() <= 1, "the very picture that was asked about"


def test_a_generator_of_pictures_is_asked_once_and_in_order(run: Run) -> None:
    pixels = ic.load_dataset("digits").test.pixels[:30]
    predictor = ic.Predictor.load(run.path)
    one_by_one = predictor.predict(image for image in pixels)
    assert [answer.class_name for answer in one_by_one] == [answer.class_name for answer in predictor.predict(pixels)]


def test_names_are_text_and_never_markup() -> None:
    evil = "<script>alert(1)</script>"
    answer = ic.Prediction(image=evil, class_name=evil, confidence=0.5, probabilities={evil: 0.5, "a": 0.5})
    markup = (
        answer._repr_html_()
        + inline.table((evil,), [(evil,)])
        + inline.strips((evil,), [((evil,), [np.zeros((8, 8, 3), "u1")])])
    )
    assert "<script" not in markup
    assert tags_of(markup)


def test_an_unknown_picture_says_so_and_why() -> None:
    answer = ic.Prediction("a.png", "cat", 0.4, {"cat": 0.4, "dog": 0.6}, unknown="unlike any training picture")
    assert "unknown (unlike any training picture)" in answer._repr_html_()


def test_a_run_shows_its_plots_and_names_those_that_there_are(run: Run) -> None:
    assert len(pictures_in(run.plot("curves")._repr_html_())) == 1
    with pytest.raises(UsageError, match="confusion_matrix"):
        run.plot("heatmap")


def test_a_run_that_was_stopped_says_how_it_goes_on(run: Run, tmp_path: Path) -> None:
    for name in ("config.toml", "history.csv"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    assert "iconoclass resume" in Run(tmp_path)._repr_html_()


def test_a_comparison_an_inspection_and_an_explanation_show_themselves(run: Run, photos: Path) -> None:
    compared = ic.compare(run, run)
    assert "equal answers" in compared._repr_html_()
    assert len(repr(compared)) < 500, "what is beside the markup in a notebook's file"
    inspected = ic.check(photos)._repr_html_()
    assert "40 pictures of 2 classes" in inspected
    explained = ic.explain(run, [photos / "red" / "00.png"])._repr_html_()
    assert len(pictures_in(explained)) >= 2
    tags_of(inspected + explained)
