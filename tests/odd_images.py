"""Pictures that the world hands to an image library: odd ones to be read, bad ones to be refused. Made by code.

`corpus()` gives them under the file names that they would have in the wild.
"""

from __future__ import annotations

import functools
import io
import pickle
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 24, 36
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP"}


@dataclass(frozen=True)
class OddImage:
    """content: the bytes of the file. code: the code it is refused with; None if it is to be read."""

    content: bytes
    code: str | None = None


@functools.cache
def corpus() -> dict[str, OddImage]:
    """File name -> picture: less than a megabyte in all, made in about a second and then kept."""
    return {**_read_without_fuss(), **_not_images(), **_other_formats(), **_damaged(), **_bad_sizes()}


# --- How they are made ----------------------------------------------------------------------------------------------


def picture(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """uint8 (height, width, 3): four different quarters with a ramp over them, so that every turn and flip shows."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = rows * 200 // height
    pixels[..., 1] = columns * 200 // width
    pixels[..., 2] = 60 * (2 * (rows < height // 2) + (columns < width // 2))
    return pixels


def encoded(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    """A file in one of Pillow's formats."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colours: int = 0,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
) -> bytes:
    """A PNG written by hand. rows: with the filter byte, here always 0, before each. before, after: more chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *before, body, *after, chunk(b"IEND", b"")])


def png16(levels: NDArray[Any], before: Sequence[bytes] = ()) -> bytes:
    """A PNG of 16 bits a channel. levels: (height, width, channels): grey, grey and alpha, RGB, or RGB and alpha."""
    height, width, channels = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return png(width, height, rows, depth=16, colours={1: 0, 2: 4, 3: 2, 4: 6}[channels], before=before)


def with_chunk(content: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one chunk more, behind its header."""
    return content[:33] + chunk(kind, body) + content[33:]


def with_segment(content: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one segment more, in front."""
    return content[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body + content[2:]


def exif(orientation: int, *, order: str = "<", following: int = 0) -> bytes:
    """The least EXIF that names an orientation, from the byte order mark on. following: where the next directory is."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, following)


def turned_away(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels stored so that a viewer has to apply this EXIF orientation to see them as given."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](pixels))


def ycck_jpeg(luma: int, blue: int, red: int, inverted_black: int) -> bytes:
    """A one-coloured JPEG of the kind that Photoshop writes: YCbCr and an inverted black."""
    stored = np.array([luma, blue, red, inverted_black], np.uint8)
    image = Image.fromarray(np.tile(255 - stored, (16, 16, 1)), "CMYK")  # Pillow inverts what it writes.
    content = encoded(image, "JPEG", quality=100, subsampling=0)
    transform = content.index(b"Adobe") + 11
    return content[:transform] + b"\x02" + content[transform + 1 :]


def animated_gif(frames: int) -> bytes:
    """The picture, then black ones."""
    first = encoded(picture(), "GIF")
    black = encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "GIF")
    start = 13 + (3 << ((black[10] & 7) + 1))
    return first[:-1] + (black[start:-1]) * (frames - 1) + b";"


def rle_bmp(width: int, height: int) -> bytes:
    """A run-length BMP of one pixel a line, which fills the rest: small as a file, slow to unpack."""
    body = b"\x01\x05\0\0" * height + b"\0\x01"
    palette = b"".join(bytes([i, 0, 255 - i, 0]) for i in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 1078 + len(body), 0, 0, 1078) + header + palette + body


# --- Read -----------------------------------------------------------------------------------------------------------


def _read_without_fuss() -> dict[str, OddImage]:
    pixels = picture()
    image = Image.fromarray(pixels)
    grey = image.convert("L")
    half = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
    black = Image.new("RGB", image.size)
    jpeg, flat_png, webp = encoded(image, "JPEG"), encoded(image, "PNG"), encoded(image, "WEBP", lossless=True)
    palette = image.quantize(16)
    sixteen = np.linspace(0, 65_535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    contents = {
        "plain.jpg": jpeg,
        "plain.png": flat_png,
        "plain.gif": encoded(image, "GIF"),
        "plain.webp": webp,
        "plain.bmp": encoded(image, "BMP"),
        "lossy.webp": encoded(image, "WEBP"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "lacks_its_end.jpg": jpeg[:-2],
        "lacks_its_end_progressive.jpg": encoded(image, "JPEG", progressive=True)[:-2],
        "lacks_its_end.png": flat_png[:-12],
        "one_pixel.png": encoded(pixels[:1, :1], "PNG"),
        "one_pixel.jpg": encoded(pixels[:1, :1], "JPEG"),
        "grey.jpg": encoded(grey, "JPEG"),
        "grey.png": encoded(grey, "PNG"),
        "grey16.png": png16(sixteen),
        "grey16_alpha.png": png16(np.concatenate([sixteen, sixteen[::-1]], 2)),
        "rgb16.png": png16(pixels * 257.0),
        "rgb16_transparent.png": png16(pixels * 257.0, [chunk(b"tRNS", struct.pack(">HHH", 0, 0, 180 * 257))]),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "ycck.jpg": ycck_jpeg(90, 100, 150, 200),
        "palette.png": encoded(palette, "PNG"),
        "palette_transparent.png": encoded(palette, "PNG", transparency=3),
        "palette_half_transparent.png": encoded(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "transparent.gif": encoded(palette, "GIF", transparency=3),
        "one_bit.png": encoded(image.convert("1"), "PNG"),
        "one_bit.bmp": encoded(image.convert("1"), "BMP"),
        "grey_alpha.png": encoded(np.concatenate([np.array(grey)[..., None], half], 2), "PNG"),
        "alpha.png": encoded(np.concatenate([pixels, half], 2), "PNG"),
        "alpha.webp": encoded(np.concatenate([pixels, half], 2), "WEBP", lossless=True),
        "interlaced.gif": encoded(image, "GIF", interlace=True),
        "run_length.bmp": rle_bmp(WIDTH, HEIGHT),
        "animated.gif": animated_gif(3),
        "animated.webp": encoded(image, "WEBP", lossless=True, save_all=True, append_images=[black]),
        "animated.png": encoded(image, "PNG", save_all=True, append_images=[black]),
        "two_pictures.mpo": encoded(image, "MPO", save_all=True, append_images=[black]),
        "broken_mpo.jpg": with_segment(jpeg, 0xE2, b"MPF\0II*\0\x08\0\0\0garbage"),
        "animation_header_of_no_frames.png": with_chunk(flat_png, b"acTL", bytes(8)),
        "exif_of_garbage.jpg": with_segment(jpeg, 0xE1, b"Exif\0\0" + bytes(range(256))),
        "exif_cut_short.jpg": with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12"),
        "exif_of_garbage.png": with_chunk(flat_png, b"eXIf", b"II*\0\xff\xff\xff\xff"),
        "exif_orientation_99.jpg": with_segment(jpeg, 0xE1, b"Exif\0\0" + exif(99)),
        "exif_in_a_loop.jpg": with_segment(jpeg, 0xE1, b"Exif\0\0" + exif(1, following=8)),
        "exif_script.jpg": with_segment(jpeg, 0xFE, b"<script>alert(1)</script>"),
        "icc_broken.jpg": with_segment(jpeg, 0xE2, b"ICC_PROFILE\0\x01\x07broken"),
        "icc_large.png": with_chunk(flat_png, b"iCCP", b"large\0\0" + zlib.compress(bytes(10_000_000))),
        "also_a_zip.jpg": jpeg + b"PK\x03\x04" + bytes(200) + b"PK\x05\x06" + bytes(18),
        "also_html.jpg": with_segment(jpeg, 0xFE, b"<html><script>alert(1)</script></html>"),
        "really_png.jpg": flat_png,
        "really_jpeg.png": jpeg,
        "IMG_0001.JPEG": jpeg,
        "no_suffix": webp,
    }
    for turn in range(1, 9):
        stored = turned_away(pixels, turn)
        order = "<" if turn % 2 else ">"
        contents[f"turned_{turn}.png"] = with_chunk(encoded(stored, "PNG"), b"eXIf", exif(turn, order=order))
        contents[f"turned_{turn}.webp"] = encoded(stored, "WEBP", lossless=True, exif=exif(turn, order=order))
        turned = encoded(stored, "JPEG", quality=95, subsampling=0)
        contents[f"turned_{turn}.jpg"] = with_segment(turned, 0xE1, b"Exif\0\0" + exif(turn, order=order))
    return {name: OddImage(content) for name, content in contents.items()}


# --- Refused --------------------------------------------------------------------------------------------------------


def _not_images() -> dict[str, OddImage]:
    contents = {
        "text.jpg": b"BMW, RIFFs and GIFs: notes on a picture that was never taken.\n",
        "page.jpg": b"<!DOCTYPE html>\n<html><body><svg></svg>404 Not Found</body></html>",
        "document.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "program.jpg": b"\x7fELF\x02\x01\x01" + bytes(57),
        "pickle.jpg": pickle.dumps({"pixels": list(range(100))}),
        "archive.png": b"PK\x03\x04\x14\0" + bytes(100),
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "video.jpg": b"\0\0\0\x18ftypmp42" + bytes(64),
        "zeros.jpg": bytes(4096),
        "noise.jpg": np.random.default_rng(0).bytes(4096),
    }
    return {name: OddImage(content, "IMG_NOT_IMAGE") for name, content in contents.items()}


def _other_formats() -> dict[str, OddImage]:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    contents = {
        "drawing.svg": drawing,
        "drawing_with_prolog.svg": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand -->\n' + drawing,
        "drawing.png": drawing,
        "photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "photo.jpg.heif": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(64),
        "photo.avif": b"\0\0\0\x1cftypavif\0\0\0\0mif1miafavif" + bytes(64),
        "scan.tif": encoded(picture(), "TIFF"),
        "scan_big_endian.tiff": b"MM\0*\0\0\0\x08" + bytes(64),
        "poster.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch /tmp/owned) (w) file\n",
        "poster_dos.eps": b"\xc5\xd0\xd3\xc6" + bytes(64),
        "star.fits": b"SIMPLE  =                    T" + b" " * 2850,
        "layers.psd": b"8BPS\0\x01" + bytes(64),
        "film.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64),
        "codestream.j2k": b"\xff\x4f\xff\x51" + bytes(64),
        "modern.jxl": b"\xff\x0a" + bytes(64),
        "icon.ico": encoded(picture(16, 16), "ICO"),
        "portable.ppm": encoded(picture(), "PPM"),
    }
    return {name: OddImage(content, "IMG_FORMAT") for name, content in contents.items()}


def _damaged() -> dict[str, OddImage]:
    odd = {"empty.jpg": OddImage(b"", "IMG_EMPTY"), "empty.png": OddImage(b"", "IMG_EMPTY")}
    # Noise, so that little of the file is header and a cut at 90 % goes through the pixels.
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    wholes = {suffix: encoded(pixels, kind) for suffix, kind in FORMATS.items()}
    wholes["progressive.jpg"] = encoded(pixels, "JPEG", progressive=True)
    wholes["animated.webp"] = encoded(
        Image.fromarray(pixels), "WEBP", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]
    )
    for suffix, content in wholes.items():
        for percent in (10, 50, 90):
            odd[f"cut_at_{percent}.{suffix}"] = OddImage(content[: len(content) * percent // 100], "IMG_TRUNCATED")
    jpeg, flat_png = wholes["jpg"], wholes["png"]
    # What a download leaves that had its full length set aside and then stopped.
    half = len(jpeg) * 3 // 4
    odd["zeros_from_the_middle_on.jpg"] = OddImage(jpeg[:half] + bytes(len(jpeg) - half), "IMG_TRUNCATED")
    scan = jpeg.index(b"\xff\xda")
    body = flat_png.index(b"IDAT") + 20
    flipped = flat_png[:body] + bytes([flat_png[body] ^ 0x10]) + flat_png[body + 1 :]
    bomb = zlib.compress(bytes(100_000_000), 9)
    corrupt = {
        "no_picture_inside.jpg": jpeg[:scan] + b"\xff\xd9",
        "a_thousand_scans.jpg": jpeg[:-2] + jpeg[scan:-2] * 1000 + b"\xff\xd9",
        "one_bit_flipped.png": flipped,
        "no_such_depth.png": png(1, 1, b"\0\0", depth=3),
        "no_palette.png": png(1, 1, b"\0\0", colours=3),
        "bomb_in_a_caption.png": with_chunk(flat_png, b"zTXt", b"Comment\0\0" + bomb),
        "bomb_in_a_translated_caption.png": with_chunk(flat_png, b"iTXt", b"Comment\0\x01\0\0\0" + bomb),
        "bomb_behind_the_pixels.png": flat_png[:-12] + chunk(b"zTXt", b"Comment\0\0" + bomb) + flat_png[-12:],
        "no_such_header.bmp": wholes["bmp"][:28] + b"\x07" + wholes["bmp"][29:],
    }
    odd.update({name: OddImage(content, "IMG_CORRUPT") for name, content in corrupt.items()})
    return odd


def _bad_sizes() -> dict[str, OddImage]:
    too_many = {
        "huge_header.png": png(50_000, 50_000, b"\0"),
        "huge_real.png": png(10_000, 10_000, bytes(10_000 * 1251), depth=1),
        "huge_header.gif": b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + encoded(picture(), "GIF")[13:],
        "huge_header.bmp": rle_bmp(WIDTH, HEIGHT)[:18] + struct.pack("<ii", 30_000, -30_000) + bytes(99),
        "huge_header.webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\x00\xff\xff\x00",
        "huge_run_length.bmp": rle_bmp(8_000, 4_800),
    }
    bad_shape = {
        "no_width.png": png(0, 9, b""),
        "no_size.png": png(0, 0, b""),
        "no_size.jpg": _resized_jpeg(0, 0),
        "no_height.jpg": _resized_jpeg(0, 9),
        "column.png": png(1, 60_000, b"\0\0" * 60_000),
        "row.png": png(60_000, 1, bytes(60_001)),
        "row.jpg": _resized_jpeg(1, 60_000),
        "ribbon.png": png(101, 1, bytes(102)),
        "long_side.png": png(16_385, 1_000, bytes(16_386_000)),
    }
    return {name: OddImage(content, "IMG_TOO_MANY_PIXELS") for name, content in too_many.items()} | {
        name: OddImage(content, "IMG_BAD_SHAPE") for name, content in bad_shape.items()
    }


def _resized_jpeg(height: int, width: int) -> bytes:
    """A JPEG whose header says another size."""
    content = encoded(picture(), "JPEG")
    frame = content.index(b"\xff\xc0")
    return content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :]
