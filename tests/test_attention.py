"""A map shows what decides: where a planted mark alone tells the classes apart, it falls on the mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import iconoclass as ic
from conftest import marked
from iconoclass.errors import DataError, ImageError
from iconoclass.evaluation.attention import COARSE, FINE, in_few, looked_at, over
from iconoclass.evaluation.explain import explain
from iconoclass.run import Run

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="session", params=["mlp", "convnet-1", "resnet"])
def planted(request: pytest.FixtureRequest, marks: Path, tmp_path_factory: pytest.TempPathFactory) -> ic.Predictor:
    """A network that has learned to tell marked digits from others."""
    run = ic.train(marks, model=request.param, epochs=12, output=tmp_path_factory.mktemp("planted"))
    assert run.metrics["test"]["accuracy"]["value"] > 0.95
    return ic.Predictor.load(run.path)


def test_the_map_falls_on_the_planted_mark(planted: ic.Predictor) -> None:
    pixels = marked(ic.load_dataset("digits").test.pixels[:20], np.ones(20, bool))
    label = planted.class_names.index("marked")
    shares = []
    for one in pixels:
        found = looked_at(planted.probabilities, one, label, FINE)
        assert found.shape == (8, 8)
        assert found.max() == 1
        assert found.argmax() in {6 * 8 + 6, 6 * 8 + 7, 7 * 8 + 6, 7 * 8 + 7}
        shares.append(found[5:, 5:].sum() / found.sum())
    assert np.mean(shares) > 0.6


def test_a_network_that_sees_nothing_has_an_empty_map() -> None:
    def blind(pixels: Pixels) -> npt.NDArray[np.float32]:
        return np.full((len(pixels), 2), 0.5, np.float32)

    assert not looked_at(blind, np.zeros((8, 8, 1), np.uint8), 0).any()


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (40, 21, 3)])
@pytest.mark.parametrize("windows", [FINE, COARSE])
def test_windows_reach_every_pixel_and_the_map_shows_what_a_single_place_decides(
    shape: tuple[int, int, int], windows: tuple[tuple[float, int], ...]
) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 80, shape).astype(np.uint8)
    height, width, _ = shape
    corner = np.zeros(shape, np.uint8)
    corner[-height // 5 :, : width // 5] = 160

    def by_corner(asked: Pixels) -> npt.NDArray[np.float32]:
        light = asked[:, -height // 5 :, : width // 5].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - light, light], axis=1).astype(np.float32)

    found = looked_at(by_corner, pixels + corner, 1, windows)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert row >= height - height // 3
    assert column <= width // 3


def test_a_map_in_few_rows_and_columns_has_the_means_of_what_it_stands_for() -> None:
    seen = np.random.default_rng(0).random((64, 96)).astype(np.float32)
    few = in_few(seen, 32)
    assert few.shape == (32, 32)
    assert np.allclose(few, seen.reshape(32, 2, 32, 3).mean(axis=(1, 3)), atol=1e-6)
    assert np.array_equal(in_few(few, 32), few)
    assert in_few(seen[:10, :50], 32).shape == (10, 32)


def test_the_overlay_keeps_the_picture_and_colours_what_was_looked_at() -> None:
    pixels = np.full((10, 10, 3), 128, np.uint8)
    seen = np.zeros((10, 10), np.float32)
    seen[2, 3] = 1
    shown = over(pixels, seen).astype(int)
    assert shown.shape == (10, 10, 3)
    assert np.ptp(shown[2, 3]) > 60, "yellow"
    assert np.ptp(shown[8, 8]) < 30, "grey"


def test_explaining_names_the_nearest_training_pictures_and_writes_a_sheet(run: Run, tmp_path: Path) -> None:
    data = ic.load_dataset("digits")
    paths = []
    for at in range(2):
        Image.fromarray(data.train.pixels[at][..., 0]).save(tmp_path / f"{at}.png")
        paths.append(tmp_path / f"{at}.png")
    found = explain(run, paths)
    for at, answer in enumerate(found.answers):
        names = [name for name, _, _ in answer.nearest]
        assert len(names) == 5
        assert data.train.names[at] in names, "a training picture is like itself"
        assert answer.prediction.class_name in answer.text()
    sheet = found.save(tmp_path / "why.png")
    with Image.open(sheet) as drawn:
        assert drawn.width >= 1152


def test_pictures_that_cannot_be_read_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        explain(run, [tmp_path / "bad.png"])
    with pytest.raises(DataError, match="no pictures"):
        explain(run, [])
