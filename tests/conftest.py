"""What tests share: a cache of their own, the big data sets where they are at hand, one small trained run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests must not find what an earlier session has decoded, nor leave anything in the user's cache."""
    os.environ["ICONOCLASS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    big = Path(os.environ.get("ICONOCLASS_DATA", "nowhere"))
    for item in items:
        if item.get_closest_marker("datasets") and not (big / "cifar10").is_dir():
            item.add_marker(pytest.mark.skip(reason="NOT RUN: needs the big data sets under $ICONOCLASS_DATA"))
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: pytest --slow"))


@pytest.fixture(scope="session")
def big_data() -> Path:
    return Path(os.environ["ICONOCLASS_DATA"])


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory):
    """A complete run on the digits, made once for all tests that only read it."""
    import iconoclass as ic

    return ic.train("digits", model="resnet", width=8, epochs=6, output=tmp_path_factory.mktemp("runs"))


def make_photos(folder: Path) -> Path:
    """A folder `photos` in it of two classes: 20 reddish and 20 bluish noisy pictures of several sizes, PNG, JPEG."""
    random = np.random.default_rng(0)
    for name, colour in {"blue": (40, 60, 200), "red": (200, 60, 40)}.items():
        (folder / "photos" / name).mkdir(parents=True)
        for at in range(20):
            shape = (int(random.integers(16, 40)), int(random.integers(16, 40)), 3)
            pixels = np.clip(random.normal(colour, 30, shape), 0, 255).astype(np.uint8)
            suffix = "jpg" if at % 2 else "png"
            Image.fromarray(pixels).save(folder / "photos" / name / f"{at:02d}.{suffix}")
    return folder / "photos"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path)


def marked(pixels: np.ndarray, is_marked: np.ndarray) -> np.ndarray:
    """The digits with a bright square in their lower right corner, where they are marked."""
    changed = pixels.copy()
    changed[is_marked, 6:, 6:] = 255
    return changed


@pytest.fixture(scope="session")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of marked digits and of plain ones, in given parts: nothing but the mark says which is which."""
    import iconoclass as ic

    folder = tmp_path_factory.mktemp("marks")
    is_marked = np.random.default_rng(0).random(360) < 0.5
    pixels = marked(ic.load_dataset("digits").train.pixels[:360], is_marked)
    for at, (one, label) in enumerate(zip(pixels, is_marked, strict=True)):
        place = folder / ("train" if at < 300 else "test") / ("marked" if label else "plain")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one[..., 0]).save(place / f"{at}.png")
    return folder


@pytest.fixture(scope="session")
def told_marks(marks: Path, tmp_path_factory: pytest.TempPathFactory):
    """A small dense network that tells marked digits from plain ones: its run, and as .onnx."""
    import iconoclass as ic

    folder = tmp_path_factory.mktemp("told")
    run = ic.train(marks, model="mlp", epochs=6, output=folder)
    [made] = ic.export(run, "onnx", output=folder / "exports")
    return run, made.path


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory: pytest.TempPathFactory):
    """That run in every format, proven, made once for all tests that only read it: format -> Export."""
    import iconoclass as ic
    from iconoclass.exports.catalog import EXPORTERS

    made = ic.export(run, *EXPORTERS, output=tmp_path_factory.mktemp("exports"))
    return dict(zip(EXPORTERS, made, strict=True))
