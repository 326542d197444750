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


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory: pytest.TempPathFactory):
    """That run in every format, proven, made once for all tests that only read it: format -> Export."""
    import iconoclass as ic
    from iconoclass.exports.catalog import EXPORTERS

    made = ic.export(run, *EXPORTERS, output=tmp_path_factory.mktemp("exports"))
    return dict(zip(EXPORTERS, made, strict=True))
