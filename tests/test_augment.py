"""Every augmentation keeps shape, type and range, is nothing at strength 0, and is pure in (seed, epoch, index)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iconoclass.images.augment import (
    AUGMENTATIONS,
    MIXES,
    Draws,
    _warp,
    augment,
    brightness,
    contrast,
    cutmix,
    cutout,
    flip,
    mixup,
    rotate,
    shift,
    zoom,
)

SHAPES = [(8, 8, 1), (96, 64, 3)]
USUAL = {
    "flip": 0.5,
    "shift": 0.15,
    "rotate": 15.0,
    "zoom": 0.15,
    "brightness": 0.3,
    "contrast": 0.3,
    "cutout": 0.3,
    "mixup": 0.4,
    "cutmix": 1.0,
}
ALL = [*AUGMENTATIONS, *MIXES]


def noise(shape: tuple[int, int, int], count: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def targets(count: int = 12) -> NDArray[np.float32]:
    return np.eye(4, dtype=np.float32)[np.arange(count) % 4]


def draws(count: int = 12, seed: int = 0, epoch: int = 3) -> Draws:
    return Draws(seed, epoch, np.arange(count))


def test_every_augmentation_is_tested_here() -> None:
    assert set(USUAL) == set(ALL)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ALL)
def test_shape_and_type_stay_something_changes_and_the_input_does_not(name: str, shape: tuple[int, int, int]) -> None:
    pixels, rows = noise(shape), targets()
    given = pixels.copy()
    changed, answer = augment(pixels, rows, {name: USUAL[name]}, draws())
    assert changed.shape == pixels.shape
    assert changed.dtype == np.uint8
    assert answer.shape == rows.shape
    assert answer.dtype == np.float32
    assert not np.array_equal(changed, pixels)
    assert np.array_equal(pixels, given)
    assert np.array_equal(rows, targets())


@pytest.mark.parametrize("name", ALL)
def test_at_strength_0_the_very_same_arrays_come_back(name: str) -> None:
    pixels, rows = noise((8, 8, 1)), targets()
    changed, answer = augment(pixels, rows, {name: 0.0}, draws())
    assert changed is pixels
    assert answer is rows


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_epoch_and_index_give_the_same_and_any_other_do_not(name: str) -> None:
    pixels, rows = noise((8, 8, 1)), targets()

    def made(**which: int) -> NDArray[np.uint8]:
        return augment(pixels, rows, {name: USUAL[name]}, draws(**which))[0]

    assert np.array_equal(made(), made())
    assert not np.array_equal(made(), made(seed=1))
    assert not np.array_equal(made(), made(epoch=4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_is_changed_alike_in_every_batch(name: str, shape: tuple[int, int, int]) -> None:
    pixels = noise(shape)
    together = AUGMENTATIONS[name](pixels, USUAL[name], draws())
    order = np.random.default_rng(1).permutation(len(pixels))[:7]
    others = AUGMENTATIONS[name](pixels[order], USUAL[name], Draws(0, 3, order))
    assert np.array_equal(others, together[order])
    alone = AUGMENTATIONS[name](pixels[5:6], USUAL[name], Draws(0, 3, np.array([5])))
    assert np.array_equal(alone[0], together[5])


@pytest.mark.parametrize("name", ["rotate", "zoom", "shift", "flip", "brightness", "contrast", "cutout"])
def test_one_coloured_images_keep_to_themselves(name: str) -> None:
    """Nothing leaks in from a neighbour in the batch, nor from outside of the image."""
    pixels = np.broadcast_to(np.arange(0, 240, 20, dtype=np.uint8)[:, None, None, None], (12, 9, 11, 3)).copy()
    changed = AUGMENTATIONS[name](pixels, USUAL[name], draws())
    assert all(len(np.unique(image)) == 1 for image in changed)
    if name != "brightness":
        assert np.array_equal(changed, pixels)


# --- Draws ----------------------------------------------------------------------------------------------------------


def test_draws_are_even_and_of_different_purposes_unrelated() -> None:
    drawn = Draws(0, 0, np.arange(100_000))
    one, other = drawn.uniform("one"), drawn.uniform("other")
    assert 0 <= one.min() < 0.001
    assert 0.999 < one.max() < 1
    counts = np.histogram(one, 20, (0, 1))[0]
    assert np.all(np.abs(counts - 5000) < 5 * np.sqrt(5000))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.015
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.015
    assert abs(np.corrcoef(one, Draws(0, 1, np.arange(100_000)).uniform("one"))[0, 1]) < 0.015


def test_these_draws_are_the_same_for_ever() -> None:
    """A run resumed by a later release goes on with the same pictures."""
    assert Draws(7, 2, np.array([0, 1, 59_999])).uniform("flip").tolist() == pytest.approx(PINNED, abs=1e-15)


PINNED = [0.025318694969738154, 0.6436323016064293, 0.08717057313639887]


# --- By hand --------------------------------------------------------------------------------------------------------


def test_a_flip_of_a_half_mirrors_each_image_every_other_epoch() -> None:
    pixels = noise((4, 5, 1), 40)
    mirrored = []
    for epoch in range(6):
        changed = flip(pixels, 0.5, draws(40, epoch=epoch))
        is_same = (changed == pixels).all((1, 2, 3))
        assert np.array_equal(changed[~is_same], pixels[~is_same, :, ::-1])
        mirrored.append(~is_same)
    assert all(np.array_equal(mirrored[epoch], ~mirrored[epoch + 1]) for epoch in range(5))
    assert 10 <= mirrored[0].sum() <= 30


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_a_flip_mirrors_the_share_that_was_asked_for(share: float) -> None:
    pixels = noise((4, 5, 1), 40)
    mirrored = [(flip(pixels, share, draws(40, epoch=e)) != pixels).any((1, 2, 3)) for e in range(20)]
    assert np.sum(mirrored, axis=0).tolist() == pytest.approx([20 * share] * 40, abs=1)


def test_a_shift_moves_by_whole_pixels_and_reflects_at_the_border() -> None:
    """[0 1 2 3] moved by one to the right is [1 0 1 2], and to the left [1 2 3 2]."""
    row = np.arange(4, dtype=np.uint8)
    pixels = np.tile(row[:, None] * 10 + row, (60, 1, 1))[..., None]
    changed = shift(pixels, 0.25, draws(60))
    moved = {-1: [1, 2, 3, 2], 0: [0, 1, 2, 3], 1: [1, 0, 1, 2]}
    allowed = {(down, right): pixels[0][moved[down]][:, moved[right]] for down in moved for right in moved}
    seen = {place for image in changed for place, made in allowed.items() if np.array_equal(image, made)}
    assert seen == set(allowed)
    assert all(any(np.array_equal(image, made) for made in allowed.values()) for image in changed)


def test_a_shift_of_less_than_half_a_pixel_is_none() -> None:
    pixels = noise((8, 8, 1))
    assert np.array_equal(shift(pixels, 0.05, draws()), pixels)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 13, 3), (96, 64, 3)])
def test_half_a_turn_puts_the_last_pixel_first(shape: tuple[int, int, int]) -> None:
    pixels = noise(shape)
    turned = _warp(pixels, np.full(12, -1.0), np.zeros(12))
    assert np.abs(turned.astype(int) - pixels[:, ::-1, ::-1]).max() <= 1


def test_a_quarter_turn_of_a_square_is_numpy_s() -> None:
    pixels = noise((9, 9, 3))
    turned = _warp(pixels, np.zeros(12), np.ones(12))
    quarter = min(np.abs(turned.astype(int) - np.rot90(pixels, k, (1, 2))).max() for k in (1, 3))
    assert quarter <= 1


def test_rotation_stays_within_its_angle() -> None:
    """A bright dot at the right edge of the middle row rises or falls by at most the sine of the angle."""
    pixels = np.zeros((200, 41, 41, 1), np.uint8)
    pixels[:, 20, 36] = 255
    changed = rotate(pixels, 30.0, draws(200)).astype(float)[..., 0]
    rows = (changed * np.arange(41)[:, None]).sum((1, 2)) / changed.sum((1, 2)) - 20
    assert 7.0 <= rows.max() <= 16 * np.sin(np.deg2rad(30)) + 0.6
    assert -16 * np.sin(np.deg2rad(30)) - 0.6 <= rows.min() <= -7.0


def test_zoom_scales_about_the_centre_within_its_limits() -> None:
    pixels = np.zeros((200, 41, 41, 1), np.uint8)
    pixels[:, 20, 30] = 255
    changed = zoom(pixels, 0.2, draws(200)).astype(float)[..., 0]
    columns = (changed * np.arange(41)).sum((1, 2)) / changed.sum((1, 2)) - 20
    assert 7.7 <= columns.min() <= 8.5
    assert 11.5 <= columns.max() <= 12.3


def test_brightness_multiplies_within_its_limits() -> None:
    pixels = np.full((500, 8, 8, 1), 100, np.uint8)
    changed = brightness(pixels, 0.3, draws(500))[:, 0, 0, 0]
    assert 70 <= changed.min() <= 72
    assert 128 <= changed.max() <= 130
    assert brightness(np.full((50, 8, 8, 1), 250, np.uint8), 1.0, draws(50)).max() == 255, "clipped, not wrapped"


def test_contrast_stretches_about_the_mean_within_its_limits() -> None:
    pixels = np.tile(np.array([[80, 120]], np.uint8), (500, 4, 4))[..., None]
    changed = contrast(pixels, 0.5, draws(500)).astype(int)
    assert np.abs(changed.mean((1, 2, 3)) - 100).max() <= 0.5
    span = changed.max((1, 2, 3)) - changed.min((1, 2, 3))
    assert 20 <= span.min() <= 22
    assert 58 <= span.max() <= 60


def test_cutout_greys_a_rectangle_of_its_share_somewhere_inside() -> None:
    pixels = noise((20, 40, 3), 50)
    changed = cutout(pixels, 0.5, draws(50))
    corners = set()
    for image, before in zip(changed, pixels, strict=True):
        rows, columns = np.nonzero((image != before).any(-1))
        hole = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert hole.shape == (10, 20, 3)
        assert np.abs(hole - before.mean((0, 1))).max() <= 0.5
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 30


def test_mixup_blends_neighbours_and_their_labels_by_one_share() -> None:
    count = 40
    pixels = np.broadcast_to(
        (np.arange(count) % 2 * 200).astype(np.uint8)[:, None, None, None], (count, 8, 8, 1)
    ).copy()
    rows = np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    mixed, soft = mixup(pixels, rows, 1.0, draws(count))
    assert soft.sum(1) == pytest.approx(1, abs=1e-6)
    assert np.abs(mixed[:, 0, 0, 0] - 200 * soft[:, 1]).max() <= 0.51
    assert soft[::2, 1].min() < 0.2 < 0.8 < soft[::2, 1].max()


def test_cutmix_labels_by_the_area_that_is_really_covered() -> None:
    count = 40
    pixels = np.broadcast_to(
        (np.arange(count) % 2 * 200).astype(np.uint8)[:, None, None, None], (count, 8, 8, 1)
    ).copy()
    rows = np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    mixed, soft = cutmix(pixels, rows, 1.0, draws(count))
    assert soft.sum(1) == pytest.approx(1, abs=1e-6)
    assert set(np.unique(mixed)) == {0, 200}
    assert (mixed == 200).mean((1, 2, 3)) == pytest.approx(soft[:, 1], abs=1e-6)
    assert len(np.unique(soft[:, 1])) > 10
