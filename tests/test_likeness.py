"""One picture is recognised after all that usually happens to pictures, and no other is taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iconoclass.errors import ImageError
from iconoclass.images.likeness import SIDE, Coarse, have_other_colours, likeness, look_at
from trouble import CHANGES, encoded, tiles


def looked(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    seen = [look_at(encoded(image)) for image in images]
    return np.array([facts for facts, _ in seen]), np.stack([thumbnail for _, thumbnail in seen])


def test_a_look_says_what_the_file_is_and_how_light_and_sharp() -> None:
    facts, thumbnail = look_at(encoded(tiles()[20], "JPEG"))
    assert (facts["format"], facts["mode"], facts["width"], facts["height"]) == (b"JPEG", b"RGB", 96, 96)
    assert np.isnan(facts["taken"])
    assert (thumbnail.dtype, thumbnail.shape) == (np.uint8, (SIDE, SIDE))
    white, _ = look_at(encoded(Image.new("RGB", (30, 20), "white")))
    assert (white["brightness"], white["darkest"], white["brightest"], white["sharpness"]) == (1, 255, 255, 0)


def test_the_time_of_the_camera_is_read_with_its_fraction() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 10:00:07", 0x9291: "25"})
    first, _ = look_at(encoded(tiles()[0], "JPEG", exif=exif))
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 10:00:08", 0x9291: "5"})
    second, _ = look_at(encoded(tiles()[0], "JPEG", exif=exif))
    assert second["taken"] - first["taken"] == pytest.approx(1.25)


@pytest.mark.parametrize("when", ["", "yesterday", "2024:13:45 99:00:00", "0000:00:00 00:00:00"])
def test_a_time_that_is_none_is_unknown(when: str) -> None:
    """I13."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = when
    assert np.isnan(look_at(encoded(tiles()[0], "JPEG", exif=exif))[0]["taken"])


def test_one_pixel_is_looked_at_and_no_picture_is_refused() -> None:
    """I10."""
    facts, _ = look_at(encoded(Image.new("L", (1, 1), 9)))
    assert (facts["width"], facts["darkest"], facts["brightest"]) == (1, 9, 9)
    with pytest.raises(ImageError):
        look_at(b"no picture")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_more_like_its_original_than_any_other_picture_is(change: str) -> None:
    originals = tiles()
    _, before = looked(originals)
    _, after = looked([CHANGES[change](image) for image in originals])
    coarse, changed = Coarse.of(before), Coarse.of(after)
    is_mirrored = coarse.is_mirrored(changed)
    after[is_mirrored] = after[is_mirrored][..., ::-1]
    same = likeness(before, after, SIDE)
    other = likeness(before, np.roll(after, 1, axis=0), SIDE)
    assert np.quantile(same, 0.05) > 0.8
    assert other.max() < 0.4


def test_pictures_that_differ_in_colour_alone_have_other_colours_and_grey_copies_have_not() -> None:
    light = max((tile.convert("L") for tile in tiles()), key=lambda tile: np.asarray(tile).mean())
    half = light.point(lambda level: level // 2)
    red, blue = Image.merge("RGB", (light, half, half)), Image.merge("RGB", (half, half, light))
    facts, _ = looked([red, blue, red.convert("L"), red.resize((50, 50))])
    colours = facts["colour"]
    assert have_other_colours(colours[[0, 0, 0]], colours[[1, 2, 3]]).tolist() == [True, False, False]
