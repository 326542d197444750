"""The live page in a real browser: pictures come in every way, and answers go out as CSV."""

from __future__ import annotations

import base64
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps

import iconoclass as ic
from conftest import marked
from iconoclass.exports.verify import as_png
from strokes import strokes_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="NOT RUN: needs a Chromium on this machine")


@contextmanager
def served(path: Path, *arguments: str) -> Iterator[str]:
    """The address of a server of its own."""
    command = [sys.executable, "-m", "iconoclass", "serve", str(path), "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "ICONOCLASS_API_KEY": ""})
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def url(exported) -> Iterator[str]:
    with served(exported["onnx"].path) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def opened(browser: Any, url: str, width: int) -> Iterator[Any]:
    """The page, ready; any request to another server, and any error on it, fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 844})
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith((url, "data:", "blob:")) or faults.append(asked.url))
    page.goto(url)
    page.locator("html[data-is-ready]").wait_for()
    yield page
    context.close()
    assert not faults


@pytest.fixture(params=[1440, 390])
def page(browser: Any, url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    with opened(browser, url, request.param) as page:
        yield page


@pytest.fixture(scope="module")
def marks_url(told_marks) -> Iterator[str]:
    """Of a server whose model looks at the lower right corner, and is asked about colour and grey alike."""
    with served(told_marks[1]) as address:
        yield address


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("digits")
    test = ic.load_dataset("digits").test
    paths = [folder / f"{at}.png" for at in range(6)]
    for path, pixels in zip(paths, test.pixels, strict=False):
        path.write_bytes(as_png(pixels))
    return paths


def dropped(page: Any, kind: str, files: list[Path]) -> None:
    """The event of that kind, with files, as a browser sends it."""
    contents = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in files]
    page.evaluate(
        """([kind, contents]) => {
          const transfer = new DataTransfer();
          for (const [name, text] of contents) {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
          }
          const options = { bubbles: true, cancelable: true };
          document.dispatchEvent(kind === "paste"
            ? new ClipboardEvent(kind, { ...options, clipboardData: transfer })
            : new DragEvent(kind, { ...options, dataTransfer: transfer }));
        }""",
        [kind, contents],
    )


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_pictures_that_are_dropped_or_pasted_are_answered(page: Any, kind: str, files: list[Path]) -> None:
    dropped(page, kind, files[:1])
    page.locator("#gallery li").wait_for()
    assert page.locator("#bars li").count() == 5
    assert page.inner_text("#word").strip()


def test_many_pictures_and_a_bad_one_become_a_csv(page: Any, files: list[Path], tmp_path: Path) -> None:
    """H25, H32"""
    bad = tmp_path / "<img src=x onerror=alert(1)>.png"
    bad.write_text("no picture")
    page.set_input_files("#files", [*files, bad])
    page.locator("#gallery li").nth(6).wait_for()
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert {row["image"] for row in rows} == {*(path.name for path in files), bad.name}
    assert [bool(row["error"]) for row in rows].count(True) == 1
    assert "1 refused" in page.inner_text("#count")
    assert page.locator("#gallery img[onerror]").count() == 0


def test_what_is_drawn_is_answered_and_can_be_wiped_away(page: Any) -> None:
    page.click("#way-draw")
    sheet = page.locator("#sheet").bounding_box()
    page.mouse.move(sheet["x"] + sheet["width"] / 2, sheet["y"] + sheet["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(sheet["x"] + sheet["width"] / 2, sheet["y"] + sheet["height"] * 0.8, steps=8)
    page.mouse.up()
    page.locator("#bars li").nth(4).wait_for()
    assert re.search(r"\d %", page.inner_text("#bars"))
    page.click("#clear")
    assert page.locator("#bars li").count() == 0


def test_the_keyboard_alone_suffices(page: Any) -> None:
    page.locator("#way-picture").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#way-draw", "aria-selected") == "true"
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    page.locator("#gallery li").wait_for()
    page.locator("#gallery button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#bars li").count() == 5


HEAT = """() => {
  const heat = document.getElementById("heat");
  const { data } = heat.getContext("2d").getImageData(0, 0, heat.width, heat.height);
  const [inner, outer] = [heat, heat.parentElement.firstElementChild].map((each) => each.getBoundingClientRect());
  return {
    colours: [...data], rows: heat.height, columns: heat.width, stands: heat.parentElement.id,
    box: [inner.left - outer.left, inner.top - outer.top, outer.right - inner.right, outer.bottom - inner.bottom]
      .map((gap, side) => gap / (side % 2 ? outer.height : outer.width)),
  };
}"""


def answered_why(page: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The map that comes when the button is pressed by its key, and what is drawn."""
    page.locator("#why").focus()
    with page.expect_response("**/explain") as told:
        page.keyboard.press("Enter")
    page.locator("#heat").wait_for()
    return np.array(told.value.json()["map"]["values"]), page.evaluate(HEAT)


@pytest.mark.parametrize("width", [1440, 390])
def test_a_key_lays_what_the_answer_rests_on_over_the_picture_and_takes_it_away(
    browser: Any, marks_url: str, width: int, tmp_path: Path
) -> None:
    [pixels] = marked(ic.load_dataset("digits").test.pixels[:1], np.ones(1, bool))
    (tmp_path / "marked.png").write_bytes(as_png(pixels))
    with opened(browser, marks_url, width) as page:
        assert page.locator("#why").is_hidden(), "there is nothing to explain yet"
        page.set_input_files("#files", [tmp_path / "marked.png"])
        page.locator("#gallery li").wait_for()
        found, drawn = answered_why(page)
        assert (found.argmax() // 8, found.argmax() % 8) >= (6, 6)
        colours = np.array(drawn["colours"]).reshape(drawn["rows"], drawn["columns"], 4)
        assert np.allclose(colours[..., 3], 255 * (0.15 + 0.65 * found), atol=1)
        expected = 255 * colormaps["cividis"](0.25 + 0.75 * found)[..., :3]
        assert np.abs(colours[..., :3] - expected).max() <= 10, "the colours of reports, as far as eyes can tell"
        assert np.allclose(drawn["box"], 0, atol=0.01)
        assert "at the lower right" in page.inner_text("#why-note")
        assert page.get_attribute("#why", "aria-pressed") == "true"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.keyboard.press("Enter")
        assert page.locator("#heat").is_hidden()
        assert not page.inner_text("#why-note")


def test_the_map_of_a_drawing_lies_on_the_drawing(page: Any) -> None:
    page.click("#way-draw")
    sheet = page.locator("#sheet").bounding_box()
    page.mouse.move(sheet["x"] + sheet["width"] * 0.3, sheet["y"] + sheet["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(sheet["x"] + sheet["width"] * 0.3, sheet["y"] + sheet["height"] * 0.6, steps=8)
    page.mouse.up()
    page.locator("#bars li").nth(4).wait_for()
    page.locator("#answer[aria-busy=false]").wait_for()
    _, drawn = answered_why(page)
    left, top, right, bottom = drawn["box"]
    assert drawn["stands"] == "easel"
    assert (left + 1 - right) / 2 == pytest.approx(0.3, abs=0.06), "its middle is the middle of the stroke"
    assert (top + 1 - bottom) / 2 == pytest.approx(0.45, abs=0.06)
    page.click("#way-picture")
    assert page.locator("#heat").is_hidden()
    page.click("#way-draw")
    assert page.locator("#bars li").count() == 5, "each way in keeps its answer"


def test_a_map_that_cannot_be_had_is_told_in_the_words_of_the_api(page: Any, files: list[Path]) -> None:
    problem = '{"detail": "There was no answer in time."}'
    page.route("**/explain", lambda route: route.fulfill(status=504, body=problem))
    page.set_input_files("#files", files[:1])
    page.locator("#gallery li").wait_for()
    page.click("#why")
    page.locator("#why-note", has_text="no answer in time").wait_for()
    assert page.get_attribute("#why", "aria-pressed") == "false"
    page.unroute("**/explain")
    answered_why(page)


def test_a_map_is_asked_for_again_when_the_server_says_later(page: Any, files: list[Path]) -> None:
    """H16"""
    busy = {"status": 429, "headers": {"retry-after": "1"}, "body": '{"detail": "Come back a little later."}'}
    page.route("**/explain", lambda route: route.fulfill(**busy), times=1)
    page.set_input_files("#files", files[:1])
    page.locator("#gallery li").wait_for()
    page.click("#why")
    page.locator("#heat").wait_for()
    assert "yellower" in page.inner_text("#why-note")


def test_a_refused_picture_has_no_answer_to_explain(page: Any, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    for name, is_hidden in ((files[0], False), (tmp_path / "bad.png", True)):
        with page.expect_response("**/predict"):
            page.set_input_files("#files", [name])
        page.locator("#answer[aria-busy=false]").wait_for()
        assert page.locator("#why").is_hidden() == is_hidden


def test_a_map_that_nobody_waits_for_any_more_is_not_drawn(page: Any, files: list[Path]) -> None:
    held: list[Any] = []
    page.route("**/explain", lambda route: held.append(route))
    page.set_input_files("#files", files[:2])
    page.locator("#gallery li").nth(1).wait_for()
    page.click("#why")
    page.locator("#why-note", has_text="Hiding parts").wait_for()
    page.locator("#gallery button").first.click()
    assert page.get_attribute("#why", "aria-pressed") == "false"
    held[0].abort()
    page.wait_for_timeout(300)
    assert page.locator("#heat").is_hidden()
    assert not page.inner_text("#why-note")


def test_nothing_is_wider_than_the_screen(page: Any, files: list[Path]) -> None:
    page.set_input_files("#files", files)
    page.locator("#gallery li").nth(5).wait_for()
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_many_hundred_pictures_wait_their_turn_on_the_page(
    browser: Any, exported, files: list[Path], count: int
) -> None:
    """H32"""
    with served(exported["onnx"].path, "--max-waiting", "3") as url:
        page = browser.new_page()
        page.goto(url)
        page.locator("html[data-is-ready]").wait_for()
        contents = [base64.b64encode(path.read_bytes()).decode() for path in files]
        page.evaluate(
            """([contents, count]) => {
              const input = document.getElementById("files");
              const transfer = new DataTransfer();
              for (let at = 0; at < count; at += 1) {
                const bytes = Uint8Array.from(atob(contents[at % contents.length]), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], `${at}.png`, { type: "image/png" }));
              }
              input.files = transfer.files;
              input.dispatchEvent(new Event("change", { bubbles: true }));
            }""",
            [contents, count],
        )
        page.locator("#count", has_text=re.compile(f"^{count}")).wait_for(timeout=240_000)
        assert "refused" not in page.inner_text("#count")
        page.close()


def drawn(page: Any, pixels: Any) -> str:
    """What the page says about a picture that is drawn with the mouse."""
    page.click("#clear")
    sheet = page.locator("#sheet").bounding_box()
    for stroke in strokes_of(pixels):
        places = [(sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places:
            page.mouse.move(*place)
        page.mouse.up()
    page.wait_for_timeout(1000)
    return str(page.inner_text("#word"))


@pytest.mark.slow
@pytest.mark.datasets
def test_drawn_digits_are_recognised(browser: Any, tmp_path: Path) -> None:
    run = ic.train("mnist", epochs=2, output=tmp_path)
    test = ic.load_dataset("mnist").test
    firsts = [int((test.labels == digit).argmax()) for digit in range(10)]
    with served(run.path) as url:
        page = browser.new_page()
        page.goto(url)
        page.locator("html[data-is-ready]").wait_for()
        page.click("#way-draw")
        said = [drawn(page, test.pixels[at][..., 0]) for at in firsts]
        page.close()
    right = sum(word == str(digit) for digit, word in enumerate(said))
    assert right >= 9, said
