"""report.html stands alone, says nothing false, lets no name run as code, and does what is clicked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iconoclass as ic
from iconoclass.config import Config
from iconoclass.data.dataset import Dataset, Split
from iconoclass.evaluation.evaluator import reopen
from iconoclass.evaluation.page import page, save, verdict
from iconoclass.evaluation.report import Judged, Report
from iconoclass.run import Run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def synthetic(folder: Path, names: list[str], labels: list[int], predicted: list[int], side: int = 12) -> Report:
    """A report on made-up answers: `predicted` is taken for sure to 0.8."""
    count, classes = len(labels), len(names)
    pixels = np.random.default_rng(0).integers(0, 255, (max(1, count), side, side, 3), dtype=np.uint8)
    digests = [f"{at:064x}" for at in range(count)]
    images = [f"{at}.png" for at in range(count)]
    rows, truth = np.arange(count), np.array(labels, np.int32)
    split = Split(pixels, rows, truth, images, digests, [""] * count)
    config = Config.of(source="digits", model="resnet", recipe="fast", epochs=1, optimizer="muon")
    data = Dataset(config.data, "Made up", names, split, split, split, has_mirror_images=True)
    run = Run.create(folder, "made-up")
    run.write_config(config)
    run.write_dataset(data.describe())
    shares = np.full((count, classes), 0.2 / max(1, classes - 1), np.float32)
    shares[rows, predicted] = 0.8
    return Report(run, data, {name: Judged(split, shares) for name in ("test", "validation", "train")})


class Tags(HTMLParser):
    """Every element with its attributes, and every word that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.is_shown = True
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.is_shown = tag not in {"style", "script"}

    def handle_endtag(self, tag: str) -> None:
        self.is_shown = True

    def handle_data(self, data: str) -> None:
        self.text += data if self.is_shown else ""


def test_every_run_has_its_page_and_the_page_fetches_nothing(run: Run) -> None:
    text = run.report_path.read_text(encoding="utf-8")
    assert len(text) < 10_000_000
    for tag, attributes in Tags(text).found:
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:image/", "#")), f"{tag} {name}={value[:60]}"
    assert not re.search(
        r"url\(|@import|https?://(?!www\.w3)", re.sub(r"<(td|p|a)[^>]*>[^<]*", "", text.split("</style>")[0])
    )
    assert "default-src 'none'" in text


def test_the_page_says_the_figures_of_the_judgement(run: Run) -> None:
    text = Tags(run.report_path.read_text(encoding="utf-8")).text
    accuracy = run.metrics["test"]["accuracy"]
    assert f"{100 * accuracy['value']:.1f}\u00a0%" in text
    assert f"{100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f}" in text
    wrong = run.metrics["test"]["examples"] * (1 - accuracy["value"])
    assert f"{round(wrong)} were named wrong" in text
    assert "NaN" not in text
    assert f"--config {run.path}" in text or "config.toml" in text


def test_the_page_made_again_from_the_files_is_the_same(run: Run) -> None:
    ic.evaluate(run)
    before = run.report_path.read_text(encoding="utf-8")
    again = page(reopen(run))
    assert Tags(again).text == Tags(before).text


HOSTILE = ["<script>alert(1)</script>", "' onmouseover='alert(2)", "a & b", '"><img src=x onerror=alert(3)>']


def test_names_are_shown_as_they_are_and_never_become_markup(tmp_path: Path) -> None:
    report = synthetic(tmp_path, HOSTILE, [0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 1, 2])
    tags = Tags(page(report))
    assert sum(tag == "script" for tag, _ in tags.found) == 1
    for tag, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag != "img" or (attributes["src"] or "").startswith("data:image/")
    for name in HOSTILE:
        assert name in tags.text


@pytest.mark.parametrize(
    ("labels", "predicted"), [([], []), ([0, 0], [0, 0]), ([0, 1, 0], [1, 0, 0])], ids=["empty", "one", "two of three"]
)
def test_what_cannot_be_told_is_n_a_and_never_nan(tmp_path: Path, labels: list[int], predicted: list[int]) -> None:
    text = Tags(page(synthetic(tmp_path, ["a", "b", "c"], labels, predicted))).text
    assert "n/a" in text
    assert not re.search(r"\b(NaN|nan|inf|None)\b", text)


def test_the_verdict_names_what_is_known(tmp_path: Path) -> None:
    assert "nothing can be said" in verdict(synthetic(tmp_path, ["a", "b"], [], []))
    said = verdict(synthetic(tmp_path, ["cat", "dog"], [0, 0, 0, 1], [0, 0, 1, 1]))
    assert "75.0\u00a0% of 4 pictures" in said
    assert "cat taken for dog (33.3\u00a0% of them)" in said
    assert "no mistake" in verdict(synthetic(tmp_path, ["cat", "dog"], [0, 1], [0, 1]))


def test_of_many_mistakes_each_cell_of_the_matrix_keeps_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iconoclass.evaluation import page as module

    monkeypatch.setattr(module, "MOST_MISTAKES", 60)
    labels = [0] * 200 + [1] * 20 + [2] * 5
    predicted = [1] * 200 + [2] * 20 + [0] * 5
    text = page(synthetic(tmp_path, ["a", "b", "c"], labels, predicted))
    shown = re.findall(r"<figure class='case' data-t=(\d) data-p=(\d)", text)
    assert len(shown) == 60
    assert shown.count(("1", "2")) == 12
    assert shown.count(("2", "0")) == 5


def test_the_ledger_is_shown_once_there_is_more_than_one_look(run: Run, tmp_path: Path) -> None:
    report = synthetic(tmp_path, ["a", "b"], [0, 1], [0, 1])
    report.run.note_look("train")
    assert "looked at" not in page(report)
    report.run.note_look("evaluate")
    assert "has been looked at 2 times" in page(report)


# -- in a browser ------------------------------------------------------------------------------------------------------

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="NOT RUN: needs playwright")
    if CHROMIUM is None:
        pytest.skip("NOT RUN: needs Chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with mistakes in several cells, hostile names among the classes."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 400)
    predicted = np.where(random.random(400) < 0.7, labels, random.integers(0, 5, 400))
    names = ["cat", "dog", *HOSTILE[:2], "a rather long name of a class that nobody would give"]
    report = synthetic(tmp_path_factory.mktemp("page"), names, labels.tolist(), predicted.tolist())
    return save(report)


@pytest.fixture
def opened(browser: Any, shown: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    sheet = context.new_page()
    sheet.faults = []
    sheet.on("console", lambda message: sheet.faults.append(message.text))
    sheet.on("pageerror", lambda error: sheet.faults.append(str(error)))
    sheet.on("dialog", lambda dialog: (sheet.faults.append(dialog.message), dialog.dismiss()))
    sheet.on("request", lambda one: one.url.startswith(("file:", "data:")) or sheet.faults.append(one.url))
    sheet.goto(shown.as_uri())
    yield sheet
    assert sheet.faults == []
    context.close()


def test_a_click_on_a_cell_shows_its_pictures(opened: Any) -> None:
    for true, predicted in ((0, 1), (2, 3), (4, 4)):
        cell = opened.locator(f".matrix [data-t='{true}'][data-p='{predicted}']")
        count = int(cell.get_attribute("data-n"))
        cell.click()
        pictures = opened.locator("#cell figure")
        assert 0 < pictures.count() <= count
        assert true == predicted or pictures.count() == count
        assert set(pictures.evaluate_all("all => all.map(one => one.dataset.t + one.dataset.p)")) == {
            f"{true}{predicted}"
        }
        assert str(count) in opened.locator("#cell h3").inner_text()


def test_the_matrix_is_walked_with_the_arrow_keys(opened: Any) -> None:
    opened.locator(".matrix [data-t='0'][data-p='0']").focus()
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Enter")
    chosen = opened.locator(".matrix [aria-selected=true]")
    assert (chosen.get_attribute("data-t"), chosen.get_attribute("data-p")) == ("1", "1")
    assert opened.locator("#cell figure").count() > 0


def test_the_gallery_is_filtered_by_class_and_comes_back(opened: Any) -> None:
    opened.select_option("#filter", "1")
    pictures = opened.locator("#filtered figure")
    concerned = pictures.evaluate_all("all => all.every(one => one.dataset.t === '1' || one.dataset.p === '1')")
    assert concerned
    assert pictures.count() > 0
    assert not opened.locator("#gallery").is_visible()
    opened.select_option("#filter", "")
    assert opened.locator("#gallery").is_visible()


def test_a_column_sorts_up_and_down(opened: Any) -> None:
    table = opened.locator("#classes table")
    for wanted in ("ascending", "descending"):
        table.get_by_role("button", name="recall").click()
        values = table.locator("tbody tr").evaluate_all("rows => rows.map(row => +row.cells[2].dataset.v)")
        assert values == sorted(values, reverse=wanted == "descending")
        assert table.locator(f"th[aria-sort={wanted}]").count() == 1


def test_dark_and_light_change_the_paper_and_keep_text_legible(opened: Any) -> None:
    def contrast() -> float:
        colours = opened.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        lights = []
        for colour in colours:
            parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            lights.append(float(np.dot(linear, (0.2126, 0.7152, 0.0722))))
        return (max(lights) + 0.05) / (min(lights) + 0.05)

    before = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert contrast() > 7
    opened.click("#theme")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert contrast() > 7
    opened.emulate_media(media="print")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == before, "paper is white"
    assert not opened.locator("nav").is_visible()


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_is_wider_than_the_screen_and_no_text_of_a_chart_lies_on_another(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    overlaps = opened.evaluate("""() => [...document.querySelectorAll(".chart")].flatMap((chart) => {
        const all = [...chart.querySelectorAll("text")];
        const texts = all.map((text) => [text.textContent, text.getBoundingClientRect()]);
        const beside = (a, b) => a.left < b.right - 1 && b.left < a.right - 1;
        const lie = (a, b) => beside(a, b) && a.top < b.bottom - 2 && b.top < a.bottom - 2;
        return texts.flatMap(([one, a], at) =>
            texts.slice(at + 1).filter(([, b]) => lie(a, b)).map(([other]) => `${one} / ${other}`));
    })""")
    assert overlaps == []


def test_a_hundred_classes_work(browser: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 100, 3000)
    predicted = np.where(random.random(3000) < 0.6, labels, random.integers(0, 100, 3000))
    report = synthetic(tmp_path, [f"class {at}" for at in range(100)], labels.tolist(), predicted.tolist())
    sheet = browser.new_page(viewport={"width": 1440, "height": 900})
    sheet.goto(save(report).as_uri())
    assert report.run.report_path.stat().st_size < 10_000_000
    sheet.locator("button.pair").first.click()
    assert sheet.locator("#cell figure").count() > 0
    assert sheet.evaluate("document.documentElement.scrollWidth") <= 1440
    sheet.close()
