"""The lines in the README beside an export, pasted as they stand, answer as Iconoclass does."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.exports.catalog import EXPORTERS
from iconoclass.exports.delivery import Export
from iconoclass.exports.readme import readme
from iconoclass.exports.verify import Proof, as_png
from iconoclass.images.resize import RESIZES
from iconoclass.models.catalog import build
from iconoclass.prediction.card import Card, write_card

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ONNX_WEB = "onnxruntime-web@1.30.0"
COLOUR = Card(["left", "middle", "right"], (20, 32, 3), "crop", run="colour")
GREY = Card(["left", "middle", "right"], (20, 32, 1), "crop", run="grey")
every_rule = pytest.mark.parametrize("rule", RESIZES)


def lines_of(text: str, language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of several shapes, full of edges, larger and smaller than what a network takes; one is partly transparent."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    shapes = [(301, 200, 3), (97, 400, 3), (200, 320, 3), (20, 32, 3), (9, 7, 3), (130, 90, 4)]
    for at, shape in enumerate(shapes):
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        pixels[: shape[0] // 2, :, 0] //= 3
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return sorted(folder.iterdir())


@every_rule
@pytest.mark.parametrize("card", [COLOUR, GREY], ids=["colour", "grey"])
def test_the_python_lines_bring_a_picture_to_the_pixels_that_training_saw(
    card: Card, rule: str, photos: list[Path], tmp_path: Path, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(card, resize=rule)
    predictor = ic.Predictor(lambda pixels: pixels, card.class_names, card.image_shape, rule)
    monkeypatch.chdir(tmp_path)
    code = lines_of(readme("model.onnx", card, proof), "python").partition("\nsession")[0]
    for photo in photos[:-1]:  # of what is transparent they say nothing
        shutil.copy(photo, "photo.jpg")  # libraries read by content
        names: dict[str, Any] = {}
        exec(code, names)
        np.testing.assert_allclose(names["pixels"][0].astype(int), predictor.prepared(photo), atol=1)


@pytest.fixture(scope="module")
def proof(exported: dict[str, Export]) -> Proof:
    return exported["onnx"].proof


# -- JavaScript, in a browser --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def onnx_web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what a bundler takes of onnxruntime-web, fetched by npm from wherever it is set to."""
    if not CHROMIUM:
        pytest.skip("NOT RUN: needs a Chromium on this machine")
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("onnx_web")
    if not npm:
        pytest.skip("NOT RUN: needs npm on this machine")
    try:
        command = [npm, "pack", ONNX_WEB, "--silent", "--fetch-retries=0", "--pack-destination", str(folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"NOT RUN: npm cannot fetch {ONNX_WEB}: {error}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        for member in archive:
            if re.fullmatch(r"package/dist/(ort\.bundle\.min\.mjs|ort-wasm-[\w.-]+\.wasm)", member.name):
                held = archive.extractfile(member)
                assert held
                (folder / Path(member.name).name).write_bytes(held.read())
    return folder


PAGE = """<!doctype html><script type=importmap>
{"imports": {"onnxruntime-web": "/onnx_web/ort.bundle.min.mjs"}}
</script><script type=module>
import { classify } from "./snippet.js";
window.ask = async (name) => await classify(await (await fetch(name)).blob());
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


Ask = Callable[[str], tuple[str, float]]


@pytest.fixture(scope="module")
def browser(onnx_web: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def asked_in_a_browser(browser: Any, onnx_web: Path) -> Iterator[Callable[[Path], Ask]]:
    """What asks the README's lines, given the folder of an export with pictures in it."""
    servers, page, faults = [], browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))

    def opened(folder: Path) -> Ask:
        (folder / "onnx_web").symlink_to(onnx_web)
        (folder / "snippet.js").write_text(lines_of((folder / "README.md").read_text(), "js"))
        (folder / "index.html").write_text(PAGE)
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_function("'ask' in window")
        return lambda name: tuple(page.evaluate("(name) => ask(name)", name))

    yield opened
    page.close()
    for server in servers:
        server.shutdown()
        server.server_close()
    assert not faults


def test_the_lines_for_browsers_answer_as_the_run_does(
    exported: dict[str, Export], asked_in_a_browser: Callable[[Path], Ask], run: ic.Run, tmp_path: Path
) -> None:
    export = Path(shutil.copytree(exported["onnx"].folder, tmp_path / "export"))
    pixels = ic.load_dataset("digits").test.pixels[:20]
    for at, picture in enumerate(pixels):
        (export / f"{at}.png").write_bytes(as_png(picture))
    ask = asked_in_a_browser(export)
    for at, expected in enumerate(ic.Predictor.load(run.path).predict(pixels)):
        name, probability = ask(f"{at}.png")
        assert name == expected.class_name
        assert probability == pytest.approx(expected.confidence, abs=1e-4)


@pytest.mark.parametrize(("card", "rule"), [(COLOUR, "crop"), (COLOUR, "pad"), (GREY, "squash")])
def test_the_lines_for_browsers_size_pictures_as_in_training(
    card: Card, rule: str, asked_in_a_browser: Callable[[Path], Ask], photos: list[Path], tmp_path: Path, proof: Proof
) -> None:
    card = replace(card, resize=rule)
    export = tmp_path / "export"
    export.mkdir()
    network = build("mlp", card.image_shape, len(card.class_names))
    EXPORTERS["onnx"].write(network, export / "model.onnx", "float32", np.empty(0, np.uint8))
    write_card(export / "model.onnx", card)
    (export / "labels.txt").write_text(card.labels)
    (export / "README.md").write_text(readme("model.onnx", card, proof))
    for photo in photos:
        shutil.copy(photo, export)
    ask = asked_in_a_browser(export)
    for expected in ic.Predictor.load(export / "model.onnx").predict(photos):
        name, probability = ask(Path(expected.image).name)
        assert name == expected.class_name
        assert probability == pytest.approx(expected.confidence, abs=2e-3)  # a level of 255, here and there
