"""crop fills, pad keeps, squash stretches; all of them smooth what they shrink and leave alone what fits."""

from __future__ import annotations

import numpy as np
import pytest

from iconoclass.errors import UsageError
from iconoclass.images.resize import RESIZES, Pixels, covered, resize


def flat(height: int, width: int, channels: int = 3, level: int = 200) -> Pixels:
    return np.full((height, width, channels), level, np.uint8)


def thirds(height: int, width: int) -> Pixels:
    """Left third 0, middle 100, right 200."""
    row = np.repeat(np.array([0, 100, 200], np.uint8), width // 3)
    return np.broadcast_to(row[None, :, None], (height, width, 1)).copy()


@pytest.mark.parametrize("how", RESIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 64), (1, 40), (300, 2)])
@pytest.mark.parametrize("target", [(1, 1), (8, 8), (32, 20), (96, 128)])
def test_the_size_asked_for_comes_back(how: str, channels: int, size: tuple[int, int], target: tuple[int, int]) -> None:
    resized = resize(flat(*size, channels), *target, how)
    assert resized.shape == (*target, channels)
    assert resized.dtype == np.uint8
    assert resized.flags.c_contiguous


@pytest.mark.parametrize("how", RESIZES)
def test_a_picture_of_the_right_size_is_left_alone(how: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    assert np.array_equal(resize(pixels, 9, 11, how), pixels)


@pytest.mark.parametrize("how", RESIZES)
def test_the_given_pixels_are_not_changed(how: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    before = pixels.copy()
    resize(pixels, 8, 8, how)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("how", RESIZES)
def test_a_view_that_is_not_contiguous_is_resized_as_its_copy_is(how: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)[::-1, ::2]
    assert np.array_equal(resize(pixels, 16, 16, how), resize(pixels.copy(), 16, 16, how))


@pytest.mark.parametrize("how", ["crop", "squash"])
def test_a_flat_picture_stays_flat(how: str) -> None:
    assert (resize(flat(50, 20), 13, 17, how) == 200).all()


def test_crop_takes_the_middle() -> None:
    assert (resize(thirds(20, 60), 20, 20, "crop") == 100).all()
    assert (resize(thirds(20, 60).swapaxes(0, 1), 20, 20, "crop") == 100).all()


@pytest.mark.parametrize("how", RESIZES)
@pytest.mark.parametrize("size", [(40, 40), (60, 90), (90, 60), (20, 200)])
@pytest.mark.parametrize("target", [(40, 40), (30, 60), (90, 60)])
def test_what_a_picture_shows_after_resizing_lies_where_it_is_said_to(
    how: str, size: tuple[int, int], target: tuple[int, int]
) -> None:
    """A ramp says of each pixel where it came from; black, where it did not come from the picture."""
    for axis in (0, 1):
        ramp = np.broadcast_to(np.linspace(55, 255, size[axis]).reshape((-1, 1) if axis == 0 else (1, -1)), size)
        line = resize(ramp[..., None].round().astype(np.uint8), *target, how)[..., 0].take(
            target[1 - axis] // 2, 1 - axis
        )
        left, top, right, bottom = covered(size, target, how)
        first, last = (top, bottom) if axis == 0 else (left, right)
        places = first + (np.arange(target[axis]) + 0.5) / target[axis] * (last - first)
        kept = line > 0
        assert np.allclose((line[kept] - 55) / 200, places[kept], atol=0.03)
        assert ((places[~kept] < 0.03) | (places[~kept] > 0.97)).all()


def test_crop_is_to_scale_all_and_then_cut() -> None:
    scaled = resize(thirds(20, 60), 10, 30, "squash")
    assert np.array_equal(resize(thirds(20, 60), 10, 10, "crop"), scaled[:, 10:20])


def test_pad_keeps_everything_in_the_middle_of_black() -> None:
    padded = resize(thirds(20, 60), 60, 60, "pad")
    assert np.array_equal(padded[20:40], thirds(20, 60))
    assert not padded[:20].any()
    assert not padded[40:].any()


def test_squash_keeps_everything_and_stretches() -> None:
    squashed = resize(thirds(20, 60), 40, 6, "squash")
    assert squashed[:, 0].max() < 50
    assert squashed[:, -1].min() > 150
    assert (squashed == squashed[:1]).all()


@pytest.mark.parametrize("how", RESIZES)
def test_a_fine_pattern_shrinks_to_its_mean_not_to_a_sample(how: str) -> None:
    """Without antialiasing, a chessboard of 0 and 255 would come out as all 0 or all 255."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    shrunk = resize(board, 4, 4, how)
    assert np.abs(shrunk.astype(int) - 127).max() <= 8


@pytest.mark.parametrize("how", RESIZES)
@pytest.mark.parametrize("size", [(1, 16_384), (16_384, 1)])
def test_the_thinnest_strip_keeps_at_least_one_row_of_pixels(how: str, size: tuple[int, int]) -> None:
    """I9: whatever `decode` lets through, and far thinner."""
    resized = resize(flat(*size), 32, 32, how)
    assert resized.shape == (32, 32, 3)
    assert resized.max() == 200


@pytest.mark.parametrize("how", RESIZES)
def test_every_pair_of_sizes_up_to_thirteen_works(how: str) -> None:
    """Boxes of rounded floating-point numbers never reach outside of the picture."""
    for height in range(1, 14):
        for width in range(1, 14):
            for target in range(1, 14):
                assert resize(flat(height, width, 1), target, 7, how).max() == 200


def test_an_unknown_way_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'crop'") as caught:
        resize(flat(2, 2), 2, 2, "corp")
    assert caught.value.exit_status == 2
