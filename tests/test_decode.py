"""Every picture is read upright and whole, or refused with a code; nothing else ever comes out."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from iconoclass.errors import ImageError, UsageError
from iconoclass.images import decode as module
from iconoclass.images.decode import (
    ACCEPTED,
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    Header,
    claimed_pixels,
    decode,
    read_header,
)
from odd_images import (
    FORMATS,
    HEIGHT,
    WIDTH,
    animated_gif,
    chunk,
    corpus,
    encoded,
    exif,
    picture,
    png,
    png16,
    rle_bmp,
    turned_away,
    with_segment,
    ycck_jpeg,
)

GOOD = [name for name, odd in corpus().items() if odd.code is None]
BAD = [name for name, odd in corpus().items() if odd.code is not None]


def outcome(content: bytes, channels: int = 3) -> str:
    """The code that the bytes are refused with, or "read"."""
    try:
        pixels = decode(content, channels)
    except ImageError as error:
        return error.code
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == channels
    return "read"


def refusal(act: Callable[[], Any]) -> ImageError:
    with pytest.raises(ImageError) as caught:
        act()
    return caught.value


# --- The whole corpus -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_odd_picture_is_read_in_grey_and_in_colour(name: str, channels: int) -> None:
    """I12-I18, I20-I25."""
    content = corpus()[name].content
    pixels = decode(content, channels)
    header = read_header(content)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
    assert pixels.shape == (header.height, header.width, channels)
    assert header.format in ACCEPTED


@pytest.mark.parametrize("name", GOOD)
def test_what_a_picture_claims_is_what_it_has(name: str) -> None:
    content = corpus()[name].content
    header = read_header(content)
    assert claimed_pixels(content) == header.height * header.width


@pytest.mark.parametrize("name", BAD)
def test_what_a_bad_picture_claims_is_a_number_or_refused(name: str) -> None:
    content = corpus()[name].content
    for length in (len(content), 40, 20, 12):
        with contextlib.suppress(ImageError):
            assert claimed_pixels(content[:length]) >= 0


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_bad_picture_is_refused_with_its_code(name: str, channels: int) -> None:
    """I1-I4, I7-I11, I19."""
    odd = corpus()[name]
    started = time.monotonic()
    assert outcome(odd.content, channels) == odd.code
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("name", BAD)
def test_a_header_is_refused_with_the_same_code_or_read_for_the_pixels_to_be_refused(name: str) -> None:
    odd = corpus()[name]
    try:
        read_header(odd.content)
    except ImageError as error:
        assert error.code == odd.code  # noqa: PT017 - either outcome is right
    else:
        assert odd.code in {"IMG_TRUNCATED", "IMG_CORRUPT"}


@pytest.mark.parametrize("name", BAD)
def test_a_refusal_names_the_file_says_what_to_do_and_shows_no_path(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(corpus()[name].content)
    error = refusal(lambda: decode(path, 3))
    assert error.code == corpus()[name].code
    assert name in error.what
    assert error.hint
    assert str(tmp_path) not in str(error)
    assert error.exit_status == 3


@pytest.mark.parametrize("name", GOOD)
def test_a_path_and_its_bytes_give_the_same_pixels(name: str, tmp_path: Path) -> None:
    """I24: a file and an upload are one thing."""
    path = tmp_path / name
    path.write_bytes(corpus()[name].content)
    assert np.array_equal(decode(path, 3), decode(corpus()[name].content, 3))
    assert read_header(path) == read_header(corpus()[name].content)


def test_many_threads_at_once_answer_as_one_does() -> None:
    contents = [odd.content for name, odd in corpus().items() if not name.startswith(("huge", "bomb"))]
    alone = [outcome(content) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(outcome, contents * 3))
    assert together == alone * 3


def test_the_settings_of_pillow_are_left_alone() -> None:
    """I4: LOAD_TRUNCATED_IMAGES, and with it other people's pictures, are not ours to change."""
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    for odd in corpus().values():
        outcome(odd.content)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


# --- What is no image, or none of ours ------------------------------------------------------------------------------


def test_an_empty_file_is_called_empty() -> None:
    """I1."""
    assert str(refusal(lambda: decode(b"", 3))).startswith("error[IMG_EMPTY]: the data is empty (0 bytes)")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("text.jpg", "text"),
        ("page.jpg", "HTML"),
        ("document.jpg", "PDF"),
        ("program.jpg", "program"),
        ("pickle.jpg", "pickle"),
        ("pointer.jpg", "Git LFS"),
        ("zeros.jpg", "zeros"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(name: str, word: str) -> None:
    """I2."""
    assert word in refusal(lambda: decode(corpus()[name].content, 3)).what


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("drawing.svg", "SVG"),
        ("drawing_with_prolog.svg", "SVG"),
        ("photo.heic", "HEIC"),
        ("photo.jpg.heif", "HEIC"),
        ("photo.avif", "AVIF"),
        ("scan.tif", "TIFF"),
        ("poster.eps", "EPS"),
        ("star.fits", "FITS"),
        ("layers.psd", "PSD"),
        ("film.jp2", "JPEG 2000"),
    ],
)
def test_another_image_format_is_named_with_what_to_do(name: str, word: str) -> None:
    """I3, I19."""
    error = refusal(lambda: read_header(corpus()[name].content))
    assert word in error.what
    assert "PNG or JPEG" in error.hint


def test_a_vector_image_is_said_to_be_one() -> None:
    """I3."""
    assert "Vector images are not accepted" in refusal(lambda: decode(corpus()["drawing.svg"].content, 3)).hint


_watched = threading.local()
_hooks: list[bool] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if (seen := getattr(_watched, "events", None)) is not None and event.split(".")[0] in {"open", "subprocess", "os"}:
        seen.append((event, arguments))


@contextmanager
def watched() -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """Files opened and programs started by this thread."""
    if not _hooks:  # A hook cannot be taken out again.
        sys.addaudithook(_watch)
        _hooks.append(True)
    events: list[tuple[str, tuple[Any, ...]]] = []
    _watched.events = events
    try:
        yield events
    finally:
        _watched.events = None


def test_no_picture_starts_a_program_or_opens_a_file() -> None:
    """I19: Ghostscript, for one, is never started."""
    for odd in corpus().values():
        outcome(odd.content)  # Whatever Pillow imports, it has imported now.
    with watched() as events:
        for odd in corpus().values():
            outcome(odd.content)
    assert events == []


def test_suffixes_are_lower_case_and_either_read_or_not() -> None:
    assert {f".{suffix}" for suffix in FORMATS} < IMAGE_SUFFIXES
    assert {
        ".heic",
        ".avif",
        ".tif",
        ".tiff",
        ".svg",
        ".psd",
        ".jp2",
        ".eps",
        ".fits",
        ".ico",
        ".raw",
    } < UNREAD_SUFFIXES
    assert not IMAGE_SUFFIXES & UNREAD_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES | UNREAD_SUFFIXES)


# --- What cannot be opened ------------------------------------------------------------------------------------------


def test_a_missing_file_a_folder_and_a_pipe_are_unreadable(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path in [tmp_path / "missing.jpg", tmp_path, pipe, tmp_path / "nul\0byte.jpg", tmp_path / ("long" * 100)]:
        assert refusal(partial(decode, path, 3)).code == "IMG_UNREADABLE"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(corpus()["plain.png"].content)
    path.chmod(0)
    error = refusal(lambda: decode(path, 3))
    assert (error.code, "permission denied" in error.what) == ("IMG_UNREADABLE", True)


def test_a_file_beyond_the_cap_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(module.MAX_BYTES + 1)
    error = refusal(lambda: decode(path, 3))
    assert (error.code, "too big" in error.what) == ("IMG_UNREADABLE", True)


def test_a_name_that_would_write_to_the_terminal_is_shown_escaped(tmp_path: Path) -> None:
    for letter in ("\x1b", "\n", "\udcff"):
        shown = refusal(partial(decode, tmp_path / f"a{letter}b.jpg", 3)).what
        assert letter not in shown
        assert "\\" in shown


def test_channels_other_than_one_and_three_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(UsageError, match="channels=4"):
        decode(corpus()["plain.png"].content, 4)


# --- Cut short and damaged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
def test_a_jpeg_is_whole_without_its_end_marker_but_not_with_less(options: dict[str, Any]) -> None:
    """I4, I5: libjpeg invents what is missing; a half-grey picture must not pass for one that lacks two bytes."""
    content = encoded(picture(29, 41), "JPEG", **options)
    intact = decode(content, 3)
    assert np.array_equal(decode(content[:-1], 3), intact)
    assert np.array_equal(decode(content[:-2], 3), intact)
    for length in range(4, len(content) - 6, 5):
        assert outcome(content[:length]) == "IMG_TRUNCATED", length


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP"])
def test_a_file_cut_anywhere_is_refused_or_gives_the_very_pixels_of_the_intact_one(kind: str) -> None:
    """I4, I5: what is lost behind the pixels, such as the IEND of a PNG, is not missed."""
    content = encoded(picture(), kind)
    intact = decode(content, 3)
    for length in range(20, len(content)):
        try:
            assert np.array_equal(decode(content[:length], 3), intact)
        except ImageError as error:
            assert error.code == "IMG_TRUNCATED", length  # noqa: PT017 - either outcome is right


def test_a_png_that_lacks_its_end_has_the_pixels_of_the_intact_one() -> None:
    """I5."""
    assert np.array_equal(decode(corpus()["lacks_its_end.png"].content, 3), picture())


def test_flipped_bits_are_read_or_refused_and_nothing_else() -> None:
    """I6: 200 seeds over each format; a flip in a length may look like a cut, in the first bytes like another file."""
    names = ["plain.jpg", "progressive.jpg", "plain.png", "plain.gif", "plain.webp", "lossy.webp", "plain.bmp"]
    names += ["palette_transparent.png", "run_length.bmp", "animated.gif", "animated.webp", "turned_6.jpg"]
    before, slowest = peak_memory_bytes(), 0.0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        content = bytearray(corpus()[names[seed % len(names)]].content)
        for position in range(int(rng.integers(0, 100)), len(content), 100):
            content[position] ^= 1 << int(rng.integers(0, 8))
        started = time.monotonic()
        outcome(bytes(content))
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 2
    assert peak_memory_bytes() - before < 200_000_000


def test_noise_behind_each_first_bytes_is_refused_and_nothing_else() -> None:
    """I6: headers of chance."""
    beginnings = [corpus()[f"plain.{suffix}"].content[:40] for suffix in FORMATS]
    for seed in range(300):
        rng = np.random.default_rng(seed)
        beginning = beginnings[seed % len(beginnings)][: int(rng.integers(2, 40))]
        outcome(beginning + rng.bytes(int(rng.integers(0, 400))))


def test_a_flipped_bit_in_the_pixels_of_a_png_never_passes() -> None:
    """I6: Pillow itself reads some of these, as other pixels."""
    content = corpus()["plain.png"].content
    start = content.index(b"IDAT") + 4
    for position in range(start, len(content) - 16):
        damaged = content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :]
        assert outcome(damaged) == "IMG_CORRUPT", position


# --- Too large and ill-shaped ---------------------------------------------------------------------------------------


def peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("name", ["huge_header.png", "huge_header.gif", "huge_header.webp", "huge_header.bmp"])
def test_a_header_of_billions_of_pixels_costs_no_memory_and_no_time(name: str) -> None:
    """I7."""
    content, before, started = corpus()[name].content, peak_memory_bytes(), time.monotonic()
    assert outcome(content) == "IMG_TOO_MANY_PIXELS"
    assert time.monotonic() - started < 0.5
    assert peak_memory_bytes() - before < 50_000_000


def test_a_hundred_megapixels_are_refused_by_our_cap() -> None:
    """I8: between one and two times Pillow's own limit, where Pillow only warns."""
    error = refusal(lambda: read_header(corpus()["huge_real.png"].content))
    assert error.code == "IMG_TOO_MANY_PIXELS"
    assert "10000 × 10000" in error.what
    assert "40,000,000" in error.what


def test_the_largest_sides_and_the_thinnest_strips_that_are_allowed_are_read() -> None:
    """I9: the limits themselves are inside."""
    assert read_header(png(16_384, 164, b"")) == Header("PNG", "L", 16_384, 164)
    assert decode(png(100, 1, bytes(101)), 1).shape == (1, 100, 1)
    assert outcome(png(1, 101, bytes(202))) == "IMG_BAD_SHAPE"


def test_a_single_pixel_is_read() -> None:
    """I10."""
    assert decode(corpus()["one_pixel.png"].content, 3).tolist() == [[picture()[0, 0].tolist()]]


def test_a_caption_that_unpacks_to_a_hundred_megabytes_costs_no_memory() -> None:
    """I11."""
    contents = [odd.content for name, odd in corpus().items() if name.startswith("bomb")]
    before = peak_memory_bytes()
    assert [outcome(content) for content in contents] == ["IMG_CORRUPT"] * 3
    assert peak_memory_bytes() - before < 50_000_000


# --- Upright --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_every_exif_orientation_gives_the_upright_picture(orientation: int, suffix: str) -> None:
    """I12: phones store rotation in EXIF; without this, portraits train lying down."""
    content = corpus()[f"turned_{orientation}.{suffix}"].content
    pixels = decode(content, 3)
    if suffix == "jpg":  # Lossy, and differently so in each direction.
        assert np.abs(pixels.astype(int) - picture()).mean() < 3
    else:
        assert np.array_equal(pixels, picture())
    assert (read_header(content).width, read_header(content).height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_understood_as_pillow_understands_it(orientation: int) -> None:
    """I12: an independent reading of the same tag."""
    from PIL import ImageOps

    content = encoded(turned_away(picture(), orientation), "PNG", exif=b"Exif\0\0" + exif(orientation))
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.array(ImageOps.exif_transpose(image)), decode(content, 3))


@pytest.mark.parametrize("name", [name for name in GOOD if name.startswith(("exif", "icc", "broken", "also"))])
def test_garbage_beside_the_pixels_changes_nothing(name: str) -> None:
    """I13, I20, I22, I23: EXIF, ICC profiles, comments, an MPO index, a zip behind the picture."""
    plain = "plain.png" if name.endswith("png") else "plain.jpg"
    assert np.array_equal(decode(corpus()[name].content, 3), decode(corpus()[plain].content, 3))


def test_exif_that_was_cut_anywhere_is_ignored() -> None:
    """I13."""
    whole, upright = exif(6), decode(corpus()["plain.jpg"].content, 3)
    for length in range(len(whole) - 9):
        content = with_segment(corpus()["plain.jpg"].content, 0xE1, b"Exif\0\0" + whole[:length])
        assert np.array_equal(decode(content, 3), upright)


# --- Colours --------------------------------------------------------------------------------------------------------


def test_cmyk_becomes_rgb() -> None:
    """I14."""
    pixels = decode(corpus()["cmyk.jpg"].content, 3)
    assert np.abs(pixels.astype(int) - picture()).mean() < 4
    assert read_header(corpus()["cmyk.jpg"].content).mode == "CMYK"


def test_ycck_with_inverted_black_becomes_rgb() -> None:
    """I14: as Photoshop writes it: the inks as YCbCr, and black as 255 less its ink."""
    pixels = decode(ycck_jpeg(150, 128, 200, 204), 3)
    # With Cb in the middle: cyan = Y + 1.402 (Cr - 128), magenta = Y - 0.714 (Cr - 128), yellow = Y.
    inks = np.array([150 + 1.402 * 72, 150 - 0.714 * 72, 150])
    assert np.abs(pixels[8, 8] - (255 - inks) * 204 / 255).max() <= 3


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_grey_is_scaled_and_rounded_not_clipped(channels: int) -> None:
    """I15."""
    levels = np.arange(0, 65_536, 64).reshape(8, 128, 1)
    pixels = decode(png16(levels), channels)
    assert np.array_equal(pixels, np.repeat((levels / 257).round().astype(np.uint8), channels, axis=2))
    assert read_header(png16(levels)).is_grey


@pytest.mark.parametrize("channels", [1, 3])
def test_a_ramp_of_64_levels_in_sixteen_bits_keeps_them(channels: int) -> None:
    """I15."""
    ramp = np.linspace(0, 65_535, 64).round()[None, :, None]
    assert np.unique(decode(png16(ramp), channels)).size == 64
    assert np.unique(decode(png16(np.repeat(ramp, 3, axis=2)), channels)).size >= 60


def test_sixteen_bit_colour_is_within_one_of_the_scaled_value() -> None:
    """I15: Pillow keeps the high byte."""
    levels = np.random.default_rng(0).integers(0, 65_536, (9, 9, 3))
    assert np.abs(decode(png16(levels), 3) - levels / 257).max() <= 1


def _key(*levels: int) -> bytes:
    """The chunk of a PNG that names the colour that stands for transparent."""
    return chunk(b"tRNS", struct.pack(f">{len(levels)}H", *levels))


def _palette(hidden: int) -> Image.Image:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([50] * 3 + [hidden] * 3)
    return image


def _two(hidden: int, *, channels: int, alpha: bool = False) -> NDArray[np.uint8]:
    pixels = np.repeat(np.array([[[50], [hidden]]], np.uint8), channels, axis=2)
    return np.concatenate([pixels, np.array([[[255], [0]]], np.uint8)], axis=2) if alpha else pixels


# Two pixels: one dark and opaque, one transparent that hides a grey level.
TRANSPARENT: dict[str, Callable[[int], bytes]] = {
    "LA": lambda hidden: encoded(_two(hidden, channels=1, alpha=True), "PNG"),
    "RGBA": lambda hidden: encoded(_two(hidden, channels=3, alpha=True), "PNG"),
    "16-bit LA": lambda hidden: png16(_two(hidden, channels=1, alpha=True) * 257.0),
    "16-bit RGBA": lambda hidden: png16(_two(hidden, channels=3, alpha=True) * 257.0),
    "WebP": lambda hidden: encoded(_two(hidden, channels=3, alpha=True), "WEBP", lossless=True, exact=True),
    "GIF": lambda hidden: encoded(_palette(hidden), "GIF", transparency=1),
    "palette": lambda hidden: encoded(_palette(hidden), "PNG", transparency=1),
    "palette of alphas": lambda hidden: encoded(_palette(hidden), "PNG", transparency=bytes([255, 0])),
    "grey key": lambda hidden: encoded(_two(hidden, channels=1)[..., 0], "PNG", transparency=hidden),
    "colour key": lambda hidden: encoded(_two(hidden, channels=3), "PNG", transparency=(hidden,) * 3),
    "16-bit grey key": lambda hidden: png16(_two(hidden, channels=1) * 257.0, [_key(hidden * 257)]),
    "16-bit colour key": lambda hidden: png16(_two(hidden, channels=3) * 257.0, [_key(*[hidden * 257] * 3)]),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparent_pixels_are_white_whatever_colour_they_hide(kind: str, channels: int) -> None:
    """I16."""
    answers = [decode(TRANSPARENT[kind](hidden), channels) for hidden in (7, 130, 201)]
    assert [answer[0, :, 0].tolist() for answer in answers] == [[50, 255]] * 3


def test_half_transparent_pixels_are_laid_on_white() -> None:
    """I16."""
    pixels = decode(corpus()["alpha.png"].content, 3)
    assert np.abs(pixels - (picture() * (128 / 255) + 127)).max() <= 1


def test_palettes_and_single_bits_become_their_colours() -> None:
    """I16."""
    assert set(np.unique(decode(corpus()["one_bit.png"].content, 3))) == {0, 255}
    assert np.abs(decode(corpus()["palette.png"].content, 3).astype(int) - picture()).mean() < 20


def test_grey_is_itr_601_luma_and_grey_in_colour_is_three_times_the_same() -> None:
    """I25: a picture in colour for a grey model, and the other way round."""
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 10, 10]]], np.uint8)
    assert decode(encoded(colours, "PNG"), 1)[0, :, 0].tolist() == [76, 150, 29, 10]
    grey = corpus()["grey.png"].content
    assert np.array_equal(decode(grey, 3), np.repeat(decode(grey, 1), 3, axis=2))


@pytest.mark.parametrize(
    ("name", "mode", "is_grey"),
    [
        ("plain.jpg", "RGB", False),
        ("grey.jpg", "L", True),
        ("grey16.png", "I;16", True),
        ("grey_alpha.png", "LA", True),
        ("one_bit.png", "1", True),
        ("palette.png", "P", False),
        ("alpha.webp", "RGBA", False),
        ("cmyk.jpg", "CMYK", False),
    ],
)
def test_a_header_tells_how_the_pixels_are_stored(name: str, mode: str, is_grey: bool) -> None:
    header = read_header(corpus()[name].content)
    assert (header.mode, header.is_grey) == (mode, is_grey)


# --- First frame, and the rest --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["animated.gif", "animated.webp", "animated.png", "two_pictures.mpo"])
def test_only_the_first_frame_is_read(name: str) -> None:
    """I17, I18."""
    pixels = decode(corpus()[name].content, 3)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels.astype(int) - picture()).mean() < 4


def test_a_thousand_frames_take_the_time_of_one() -> None:
    """I17."""
    content = animated_gif(1000)
    started = time.monotonic()
    decode(content, 3)
    assert time.monotonic() - started < 0.5


def test_a_run_length_bmp_is_read_in_little_time_or_not_at_all() -> None:
    """I6: Pillow unpacks these in Python."""
    pixels = decode(rle_bmp(2000, 2000), 3)
    assert pixels.shape == (2000, 2000, 3)
    assert (pixels[1000, 0] == [250, 0, 5]).all()


def test_the_format_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    """I21."""
    for name, kind in {
        "really_png.jpg": "PNG",
        "really_jpeg.png": "JPEG",
        "IMG_0001.JPEG": "JPEG",
        "no_suffix": "WEBP",
    }.items():
        path = tmp_path / name
        path.write_bytes(corpus()[name].content)
        assert read_header(path).format == kind
        assert decode(path, 3).shape == (HEIGHT, WIDTH, 3)


def test_a_lossless_format_gives_the_pixels_that_went_in() -> None:
    """I24: png, webp and bmp agree to the bit."""
    for name in ("plain.png", "plain.webp", "plain.bmp", "animated.png", "rgb16.png"):
        assert np.array_equal(decode(corpus()[name].content, 3), picture()), name
