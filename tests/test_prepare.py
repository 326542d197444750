"""A model sees the same pixels of a picture, whoever asks; and reducing a JPEG on the way loses nothing that counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iconoclass.errors import ImageError
from iconoclass.images.decode import decode
from iconoclass.images.prepare import prepare
from iconoclass.images.resize import RESIZES, resize
from trouble import encoded


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from sklearn.datasets import load_sample_images

    return Image.fromarray(load_sample_images().images[0])


@pytest.mark.parametrize("how", RESIZES)
def test_a_file_and_its_bytes_are_one_picture(photo: Image.Image, tmp_path: Path, how: str) -> None:
    """I24."""
    content = encoded(photo, "JPEG")
    (tmp_path / "a.jpg").write_bytes(content)
    pixels = prepare(content, (48, 64, 3), how)
    assert pixels.shape == (48, 64, 3)
    assert np.array_equal(prepare(tmp_path / "a.jpg", (48, 64, 3), how), pixels)


@pytest.mark.parametrize("how", RESIZES)
def test_a_reduced_jpeg_looks_as_the_whole_one_does(photo: Image.Image, how: str) -> None:
    content = encoded(photo, "JPEG", quality=90)
    reduced = prepare(content, (48, 64, 3), how).astype(int)
    whole = resize(decode(content, 3), 48, 64, how)
    assert np.abs(reduced - whole).mean() < 2


@pytest.mark.parametrize(
    ("at_least", "shape"), [((50, 70), (107, 160)), ((106, 100), (214, 320)), ((214, 1), (427, 640))]
)
def test_a_jpeg_is_never_reduced_below_twice_the_size(
    photo: Image.Image, at_least: tuple[int, int], shape: tuple[int, int]
) -> None:
    pixels = decode(encoded(photo, "JPEG"), 3, at_least=at_least)
    assert pixels.shape[:2] == shape


def test_a_turned_jpeg_is_reduced_by_its_upright_size(photo: Image.Image) -> None:
    """I12."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(photo, "JPEG", exif=exif)
    assert decode(content, 3, at_least=(300, 200)).shape == (640, 427, 3)
    assert decode(content, 3, at_least=(160, 100)).shape == (320, 214, 3)


@pytest.mark.parametrize("percent", [10, 50, 90, 99])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_was_cut_short_is_refused_reduced_or_not(
    photo: Image.Image, percent: int, options: dict[str, bool]
) -> None:
    """I4."""
    content = encoded(photo, "JPEG", **options)
    with pytest.raises(ImageError) as caught:
        decode(content[: len(content) * percent // 100], 3, at_least=(8, 8))
    assert caught.value.code == "IMG_TRUNCATED"


def test_a_jpeg_that_lacks_its_end_mark_only_is_the_same_picture(photo: Image.Image) -> None:
    """I5."""
    content = encoded(photo, "JPEG")
    assert np.array_equal(prepare(content[:-2], (32, 32, 3), "crop"), prepare(content, (32, 32, 3), "crop"))
