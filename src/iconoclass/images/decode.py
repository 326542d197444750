"""A path or bytes -> upright pixels. What cannot be read is refused with a code, and nothing else ever comes out.

A file is taken apart here before Pillow sees it, and Pillow is shown only what the pixels need. Its own parsers of
EXIF, ICC profiles and animation warn, fail or are slow on bytes that have no bearing on the picture; and to silence a
warning is to change the state of the whole process, which a server with several threads cannot do.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iconoclass.errors import ImageError, UsageError

# MPO, as Pillow calls the JPEGs of many phones that hold a second picture, is read as the JPEG that it begins with.
ACCEPTED = ("JPEG", "PNG", "GIF", "WEBP", "BMP")

MAX_PIXELS = 40_000_000
MAX_SIDE = 16_384
MAX_ASPECT = 100
MAX_BYTES = 200_000_000
# Pillow unpacks run-length BMPs in Python: 40 megapixels out of a 20 kB file would take seconds.
MAX_RLE_PIXELS = 4_000_000
# Each scan of a JPEG goes over the whole picture; a small file of a thousand scans would take minutes. Ten are usual.
MAX_SCANS = 100

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp"})
# Pictures that we do not read: a folder scan reports them rather than pass over them in silence.
UNREAD_SUFFIXES = frozenset(
    """
    .heic .heif .hif .avif .tif .tiff .jp2 .j2k .j2c .jpf .jpx .jxl .jxr .psd .psb .xcf .ico .cur .icns .tga .pcx .dds
    .svg .svgz .eps .ai .wmf .emf .djvu .fits .fit .fts .dcm .ppm .pgm .pbm .pnm .pfm .exr .hdr .qoi .dib
    .raw .dng .nef .cr2 .cr3 .crw .arw .raf .orf .rw2 .pef .srw
    """.split()  # noqa: SIM905 - fifty words read better in rows than down a page
)


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before its pixels are decoded.

    format: one of ACCEPTED, by content and not by suffix.
    mode: Pillow's name for the pixels as stored, such as "RGB", "L", "P", "CMYK" or "I;16".
    width, height: in pixels, of the upright picture.
    taken: when, in seconds by the camera's own clock, as EXIF has it; None where it does not say.
    """

    format: str
    mode: str
    width: int
    height: int
    taken: float | None = None

    @property
    def is_grey(self) -> bool:
        return self.mode in {"1", "L", "LA", "La", "F"} or self.mode.startswith("I")


def read_header(source: Path | bytes) -> Header:
    """Format, mode and upright size, told without decoding the pixels.

    Raises: ImageError, if the file cannot be read, is no accepted image, or its size is out of bounds. A file that is
    damaged or cut short further on may pass here and be refused by `decode`.
    """
    picture = _open(source)
    with picture.blamed(), picture.shown() as image:
        width, height = image.size
        if picture.orientation >= 5:
            width, height = height, width
        return Header(picture.format, image.mode, width, height, _taken(picture.exif))


def claimed_pixels(content: bytes) -> int:
    """How many pixels a picture says that it has, where it says so first. It is not opened: that takes fifty times as
    long, and whoever opens it looks at all that it says.

    Raises: ImageError, if it is no accepted image, or damaged before it says so.
    """
    try:
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
            return int(width * height)
        if content.startswith(b"\xff\xd8"):
            return _claimed_by_jpeg(content)
    except struct.error:
        raise _truncated("the data") from None
    picture = _open(content)
    return picture.width * picture.height


def _claimed_by_jpeg(content: bytes) -> int:
    """Raises: struct.error, where it ends before."""
    position = 2
    while True:
        filler, marker, length, _, height, width = struct.unpack_from(">BBHBHH", content, position)
        if filler != 0xFF:
            raise _corrupt("the data")
        if marker in _STARTS_FRAME:
            return int(width * height)
        position += 1 if marker == 0xFF else 2 + length


def read_bytes(path: Path) -> bytes:
    """What a picture's file holds.

    Raises: ImageError, if it cannot be opened, is no regular file, is empty or too big.
    """
    return _read(path)[1]


def decode(source: Path | bytes, channels: int, at_least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The pixels of a picture, upright: EXIF orientation applied, transparency laid on white, first frame only.

    channels: 1 for grey (ITU-R 601 luma) or 3 for RGB, whatever the file holds.
    at_least: (height, width) that the picture is going to be shrunk to. A JPEG may then come reduced by 2, 4 or 8,
    which is several times as fast, but never to less than twice that on either side. Default: in full.
    Returns: uint8 (height, width, channels) in [0, 255]. 16-bit grey is scaled by 257 and rounded; of 16-bit colour
    Pillow keeps the high byte, which is never more than 1 away. ICC profiles are ignored.
    Raises: ImageError, if the picture is refused; its `code` says why. UsageError, if channels is not 1 or 3.
    """
    if channels not in (1, 3):
        raise UsageError(f"channels must be 1 (grey) or 3 (RGB). Received: channels={channels!r}")
    picture = _open(source)
    with picture.blamed():
        # What is missing may be too little to be seen in a reduced picture: endings are compared in full.
        is_clear = len(picture.endings) == 1
        pixels, *others = (_pixels(picture, end, channels, at_least if is_clear else None) for end in picture.endings)
        if any(not np.array_equal(pixels, other) for other in others):
            raise _truncated(picture.name)
        return pixels if is_clear or not at_least else _pixels(picture, picture.endings[0], channels, at_least)


# --- What Pillow is shown -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Picture:
    """A file taken apart.

    content: the file without what the pixels do not need.
    is_whole: does the file end where its format says that it ends?
    endings: what to add to the content before decoding it. With more than one, all must give the same pixels.
    """

    format: str
    content: bytes
    width: int
    height: int
    name: str = "the data"
    exif: bytes = b""
    is_whole: bool = True
    endings: tuple[bytes, ...] = (b"",)
    max_pixels: int = MAX_PIXELS

    @property
    def orientation(self) -> int:
        return _orientation(self.exif)

    @contextmanager
    def shown(self, ending: bytes = b"") -> Iterator[Image.Image]:
        """The picture opened by Pillow, its size checked, its pixels not yet decoded."""
        with Image.open(BytesIO(self.content + ending), formats=[self.format]) as image:
            _check_size(self.name, *image.size, self.max_pixels)
            yield image

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Whatever goes wrong inside is this picture's fault, and becomes an ImageError."""
        try:
            yield
        except ImageError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_many_pixels(self.name, self.width, self.height, self.max_pixels) from error
        # Bad bytes make Pillow raise a dozen kinds of exception, and each release adds some: none of them is our bug.
        except Exception as error:
            if not self.is_whole:
                raise _truncated(self.name) from error
            raise _corrupt(self.name) from error


def _open(source: Path | bytes) -> _Picture:
    name, content = _read(source)
    kind = _format_of(name, content)
    try:
        picture = _TAKE_APART[kind](content)
    except (struct.error, IndexError, EOFError) as error:  # The bytes ran out inside a header.
        raise _truncated(name) from error
    except (_DamagedError, ValueError) as error:
        raise _corrupt(name) from error
    _check_size(name, picture.width, picture.height, picture.max_pixels)
    return picture if name == picture.name else replace(picture, name=name)


def _read(source: Path | bytes) -> tuple[str, bytes]:
    """What to call the picture in a message, and its bytes."""
    if isinstance(source, bytes):
        name, content, size_bytes = "the data", source, len(source)
    else:
        # A name from somebody else's disk or zip may hold line breaks, terminal codes or lone surrogates.
        name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in source.name or str(source))
        content, size_bytes = _read_file(source, name)
    if size_bytes > MAX_BYTES:
        raise ImageError(
            f"{name} is too big to be read as an image: {size_bytes:,} bytes, at most {MAX_BYTES:,} are read",
            hint="Save it smaller.",
            code="IMG_UNREADABLE",
        )
    if not content:
        raise ImageError(f"{name} is empty (0 bytes)", hint="Copy or download it again.", code="IMG_EMPTY")
    return name, content


def _read_file(path: Path, name: str) -> tuple[bytes, int]:
    """The bytes of a file, none of them if it is too big, and how many there are."""
    try:
        status = path.stat()
        # Opening a pipe would wait for ever, and a device such as /dev/zero has no end.
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise ImageError(f"{name} is {what}", hint="Give the path of an image file.", code="IMG_UNREADABLE")
        if status.st_size > MAX_BYTES:
            return b"", status.st_size
        with path.open("rb") as file:
            # No more than there is: Python sets room for all that is asked for aside.
            content = file.read(min(MAX_BYTES, status.st_size) + 1)
            return content, len(content)
    except (OSError, ValueError) as error:  # ValueError: a name that holds a NUL byte.
        missing, denied = isinstance(error, FileNotFoundError), isinstance(error, PermissionError)
        reason = "no such file" if missing else "permission denied" if denied else "the system refuses to read it"
        raise ImageError(
            f"{name} cannot be opened: {reason}", hint="Check the path and its permissions.", code="IMG_UNREADABLE"
        ) from error


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width <= 0 or height <= 0:
        what, hint = f"{name} has no pixels: {width} × {height}", "Save it again from the program that made it."
    elif width * height > max_pixels:
        raise _too_many_pixels(name, width, height, max_pixels)
    elif max(width, height) > MAX_SIDE:
        what, hint = f"{name} is {width} × {height}: a side may have {MAX_SIDE:,} pixels", "Cut or shrink it."
    elif max(width, height) > MAX_ASPECT * min(width, height):
        what = f"{name} is a strip of {width} × {height}: one side may be {MAX_ASPECT} times the other"
        hint = "Cut it to the part that matters."
    else:
        return
    raise ImageError(what, hint=hint, code="IMG_BAD_SHAPE")


def _too_many_pixels(name: str, width: int, height: int, max_pixels: int) -> ImageError:
    return ImageError(
        f"{name} has too many pixels: {width} × {height}, at most {max_pixels:,} are read",
        hint="Shrink it first.",
        code="IMG_TOO_MANY_PIXELS",
    )


def _truncated(name: str) -> ImageError:
    return ImageError(f"{name} is cut short", hint="Copy or download it again.", code="IMG_TRUNCATED")


def _corrupt(name: str) -> ImageError:
    return ImageError(
        f"{name} is damaged or of a rare kind that we cannot decode",
        hint="Copy it again, or save it again as PNG or JPEG.",
        code="IMG_CORRUPT",
    )


class _DamagedError(Exception):
    """The file is all there, and yet its bytes cannot be what was written."""


# --- Containers -----------------------------------------------------------------------------------------------------

_END_OF_IMAGE = b"\xff\xd9"
# From one marker to the next: 0xFF 0x00 is an escaped 0xFF, 0xFF 0xD0-D7 restart the scan that they stand in.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_STARTS_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Of the application segments, JFIF (0xE0) and Adobe (0xEE) say how to read the colours; 0xFE is a comment.
_NOT_NEEDED = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}


def _take_apart_jpeg(content: bytes) -> _Picture:
    kept, position = [b"\xff\xd8"], 2
    width = height = scans = 0
    exif, is_whole = b"", False
    # The pairs (component, coefficient) that no scan has yet brought to full precision.
    unsent: set[tuple[int, int]] = set()
    while found := _MARKER.search(content, position):
        if scans:
            kept.append(content[position : found.start()])
        position, marker = found.start(), content[found.start() + 1]
        if marker in (0x01, 0xD8):
            position += 2
            continue
        if marker == 0xD9:
            kept.append(_END_OF_IMAGE)
            is_whole = scans > 0
            break
        (length,) = struct.unpack_from(">H", content, position + 2)
        segment = content[position : position + 2 + length]
        if length < 2 or scans > MAX_SCANS:
            raise _DamagedError
        if len(segment) < 2 + length:
            break
        position += 2 + length
        if marker in _STARTS_FRAME:
            height, width = struct.unpack_from(">HH", segment, 5)
            unsent = {(component, k) for component in set(segment[10::3]) for k in range(64)}
        elif marker == 0xDA:
            scans += 1
            first, last, precision = segment[-3:]
            if precision & 15 == 0:
                unsent -= {(component, k) for component in set(segment[5:-3:2]) for k in range(first, last + 1)}
        elif marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            exif = exif or segment[4:]
        if marker not in _NOT_NEEDED:
            kept.append(segment)
    else:
        kept.append(content[position:])
    if not scans:
        raise _DamagedError if content.endswith(_END_OF_IMAGE) else EOFError
    picture = _Picture("JPEG", b"".join(kept), width, height, exif=exif, is_whole=is_whole)
    return picture if is_whole or unsent else _with_endings(picture)


def _with_endings(jpeg: _Picture) -> _Picture:
    """A JPEG that lacks its end marker, to be decoded twice: followed at once by the marker, and by noise before it.

    libjpeg invents what is missing of a picture, without a word, from what follows. If that makes no difference, then
    all of the picture is there and nothing was lost but the marker.
    """
    # A download that stopped may leave a file of full length, its rest all zeros: they are no part of the picture.
    content = jpeg.content.rstrip(b"\0")
    if content.endswith(b"\xff"):  # An 0xFF that belongs to the data has a zero after it; else the end mark was halved.
        content = content + b"\0" if len(content) < len(jpeg.content) else content[:-1]
    noise = bytes([0xA5, 0x3C, 0xD2, 0x69, 0x96, 0x5B, 0xE1, 0x2D]) * 64
    # Where a scan restarts every so often, the decoder passes over everything up to the restart that is due.
    restarts = _RESTART.findall(content)
    due = restarts[-1][1] + 1 if restarts else 0xD0
    noise += b"".join(bytes([0xFF, 0xD0 | (due + i) & 7]) + noise for i in range(8))
    return replace(jpeg, content=content, endings=(_END_OF_IMAGE, noise + _END_OF_IMAGE))


_GIF_BLOCK = re.compile(b"[!,;]")
_PNG = b"\x89PNG\r\n\x1a\n"
# Text chunks are not needed, but stay in so that Pillow refuses those that unpack to more than a megabyte.
_NEEDED_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"zTXt", b"iTXt"})


def _take_apart_png(content: bytes) -> _Picture:
    # Without the chunks of animation, what is left is the picture that a program shows which knows of none.
    name, width, height, depth, colours = struct.unpack_from(">4sIIBB", content, 12)
    if name != b"IHDR":
        raise _DamagedError
    kept, position = [content[:8]], 8
    exif, is_whole = b"", False
    while not is_whole and position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        chunk = content[position : position + 12 + length]
        position += 12 + length
        is_whole = kind == b"IEND"
        # Pillow checks neither this sum nor, in every case, the one inside: a flipped bit would pass as other pixels.
        if kind == b"IDAT" and position <= len(content) and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise _DamagedError
        if kind == b"tRNS" and length == 6 and (depth, colours) == (16, 2):
            chunk = _in_eight_bits(chunk)
        if kind == b"eXIf":
            exif = chunk[8:-4]
        elif kind in _NEEDED_CHUNKS:
            kept.append(chunk)
    return _Picture("PNG", b"".join(kept), width, height, exif=exif, is_whole=is_whole)


def _in_eight_bits(transparency: bytes) -> bytes:
    """The colour that stands for transparent, as Pillow will see it: it keeps the high bytes of 16-bit colours."""
    red, green, blue = transparency[8:14:2]
    body = b"tRNS" + bytes([0, red, 0, green, 0, blue])
    return struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body))


def _take_apart_gif(content: bytes) -> _Picture:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    kept, control = content[:position], b""
    # Of what may stand before the first frame, only a control block bears on it: it says which colour is transparent.
    while (found := _GIF_BLOCK.search(content, position)) and found[0] == b"!":
        start, position = found.start(), found.start() + 2
        while content[position]:
            position += 1 + content[position]
        if content[start + 1] == 0xF9:
            control = content[start : position + 1]
        position += 1
    if not found or found[0] == b";":
        raise EOFError
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", content, found.end())
    return _Picture(
        "GIF",
        kept + control + content[found.start() :],
        # The first frame may reach beyond the screen, and Pillow makes the picture as large as both.
        max(width, left + frame_width),
        max(height, top + frame_height),
        is_whole=content.rstrip(b"\0").endswith(b"\0;"),  # The end of the last block, and the trailer.
    )


def _take_apart_webp(content: bytes) -> _Picture:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    (length,) = struct.unpack_from("<I", content, 4)
    exif, is_whole = _exif_of_webp(content), 8 + length <= len(content)
    return _Picture("WEBP", content, width, height, exif=exif, is_whole=is_whole)


def _exif_of_webp(content: bytes) -> bytes:
    position = 12
    while position + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, position)
        if kind == b"EXIF":
            return content[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return b""


def _take_apart_bmp(content: bytes) -> _Picture:
    declared_bytes, header_bytes = struct.unpack_from("<I8xI", content, 2)
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", content, 18)
        compression = 0
    else:
        width, height, compression = struct.unpack_from("<Ii4xI", content, 18)
    return _Picture(
        "BMP",
        content,
        width,
        abs(height),  # Negative: the first row is the top one.
        is_whole=0 < declared_bytes <= len(content),
        max_pixels=MAX_RLE_PIXELS if compression in (1, 2) else MAX_PIXELS,
    )


_TAKE_APART: dict[str, Callable[[bytes], _Picture]] = {
    "JPEG": _take_apart_jpeg,
    "PNG": _take_apart_png,
    "GIF": _take_apart_gif,
    "WEBP": _take_apart_webp,
    "BMP": _take_apart_bmp,
}


# --- EXIF -----------------------------------------------------------------------------------------------------------

_ORIENTATION, _MORE, _TAKEN, _TAKEN_FRACTION = 0x0112, 0x8769, 0x9003, 0x9291


def _orientation(exif: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1, if there is none or the EXIF is garbage."""
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        order, start = _beginning_of(exif)
        for tag, kind, _, position in _entries(exif, order, start):
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + {1: "B", 3: "H", 4: "I"}[kind], exif, position)
                return int(value) if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _taken(exif: bytes) -> float | None:
    """DateTimeOriginal with its fraction, in seconds; None, if there is none or the EXIF is garbage."""
    exif = exif.removeprefix(b"Exif\0\0")
    texts = {}
    try:
        order, start = _beginning_of(exif)
        [more] = (position for tag, _, _, position in _entries(exif, order, start) if tag == _MORE)
        (start,) = struct.unpack_from(order + "I", exif, more)
        for tag, kind, count, position in _entries(exif, order, start):
            if tag in (_TAKEN, _TAKEN_FRACTION) and kind == 2:
                at = position if count <= 4 else struct.unpack_from(order + "I", exif, position)[0]
                texts[tag] = exif[at : at + count].split(b"\0")[0].decode("ascii").strip()
        when = datetime.strptime(texts[_TAKEN], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        return when.timestamp() + float("0." + texts.get(_TAKEN_FRACTION, "0"))
    except (KeyError, ValueError, struct.error):
        return None


def _beginning_of(exif: bytes) -> tuple[str, int]:
    """The byte order, and where the first list of entries is."""
    order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
    return order, struct.unpack_from(order + "I", exif, 4)[0]


def _entries(exif: bytes, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """(tag, kind, count, position of the value) of each entry of a list."""
    (entries,) = struct.unpack_from(order + "H", exif, start)
    for position in range(start + 2, start + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", exif, position)
        yield tag, kind, count, position + 8


# --- Pixels ---------------------------------------------------------------------------------------------------------

# Phones store rotation in EXIF; without this, portraits train lying down.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _pixels(picture: _Picture, ending: bytes, channels: int, at_least: tuple[int, int] | None) -> NDArray[np.uint8]:
    with picture.shown(ending) as opened:
        if at_least and picture.format == "JPEG":
            # Asked for twice the size: what is left to be shrunk after libjpeg's coarse steps then hides them.
            height, width = reversed(at_least) if picture.orientation >= 5 else at_least
            opened.draft(None, (2 * width, 2 * height))
        opened.load()
        image: Image.Image = opened
        if image.mode.startswith("I"):
            image = _from_sixteen_bits(image)
        elif image.has_transparency_data:
            image = _on_white(image)
        mode = "L" if channels == 1 else "RGB"
        image = image if image.mode == mode else image.convert(mode)
        if picture.orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[picture.orientation])
        return np.array(image, dtype=np.uint8).reshape(image.height, image.width, channels)


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion to 8 bits does not scale: a smooth ramp would come out in a handful of levels.
    levels: NDArray[Any] = np.array(image, dtype=np.uint32)
    if "transparency" in image.info:
        levels[levels == image.info["transparency"]] = 65_535
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    # Transparent pixels keep colours that nobody sees: a model would learn them.
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


# --- Which format the bytes are in ----------------------------------------------------------------------------------


def _format_of(name: str, content: bytes) -> str:
    """Which of ACCEPTED the bytes are, by how they begin.

    Raises: ImageError, if they are none: IMG_FORMAT for other images, IMG_NOT_IMAGE for anything else.
    """
    for kind, begins in _BEGINS.items():
        if begins.match(content):
            return kind
    if any(magic.startswith(content) for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n") if len(content) > 1):
        raise _truncated(name)
    for what, begins in _OTHER_IMAGES.items():
        if begins.match(content):
            hint = f"Save it as PNG or JPEG. Accepted: {', '.join(ACCEPTED)}."
            if what == "SVG":
                hint = f"Vector images are not accepted. {hint}"
            raise ImageError(
                f"{name} is an image of a format that is not accepted: {what}", hint=hint, code="IMG_FORMAT"
            )
    what, hint = _what_else(content)
    raise ImageError(f"{name} is not an image but {what}", hint=hint, code="IMG_NOT_IMAGE")


def _what_else(content: bytes) -> tuple[str, str]:
    """What bytes are that are no image, and what to do about it."""
    for what, (begins, hint) in _NO_IMAGES.items():
        if begins.match(content):
            return what, hint
    return "something unknown", "Its suffix may be wrong, or it is damaged from its first byte on."


def _beginning(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


_BEGINS = {
    "JPEG": _beginning(rb"\xff\xd8\xff"),
    "PNG": _beginning(rb"\x89PNG\r\n\x1a\n"),
    "GIF": _beginning(rb"GIF8[79]a"),
    "WEBP": _beginning(rb"RIFF....WEBP(VP8[ LX]|.{0,3}\Z)"),
    # "BM" alone begins many a text: the size of the second header, or the end before it, tells a picture.
    "BMP": _beginning(rb"BM.{12}([\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|.{0,3}\Z)"),
}

_OTHER_IMAGES = {
    "TIFF or camera raw": _beginning(rb"II\*\0|MM\0\*|II\+\0|MM\0\+|IIU\0|IIR[OS]|FUJIFILMCCD-RAW|....ftypcrx "),
    "AVIF": _beginning(rb"....ftyp(avif|avis|(mif1|msf1)....(....){0,8}?avif)"),
    "HEIC": _beginning(rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)"),
    "JPEG 2000": _beginning(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "JPEG XL": _beginning(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    "JPEG XR": _beginning(rb"II\xbc"),
    # XML that names svg within its first page; HTML with a drawing inside begins otherwise.
    "SVG": _beginning(rb"(?i)(\xef\xbb\xbf)?\s*(<svg[\s>]|<(\?xml|!--|!doctype\s+svg)(?!.{0,4096}<html).{0,4096}<svg)"),
    "EPS or PostScript": _beginning(rb"%!PS|\xc5\xd0\xd3\xc6"),
    "PSD": _beginning(rb"8BP[SB]"),
    "FITS": _beginning(rb"SIMPLE  ="),
    "ICO": _beginning(rb"\0\0[\x01\x02]\0[\x01-\xff]\0|icns"),
    "DICOM": _beginning(rb".{128}DICM"),
    "PNM": _beginning(rb"P[1-7]\s+(#|\d|WIDTH)"),
    "another image format": _beginning(
        rb"gimp xcf|DDS |qoif|\x76\x2f\x31\x01|#\?RADIANCE|\xd7\xcd\xc6\x9a|AT&TFORM|BPG\xfb|\x8a[MJ]NG|FLIF"
    ),
}

_AGAIN = "Copy or download it again."
_NO_IMAGES = {
    "an HTML page": (
        _beginning(rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|\?xml.{0,4096}<html)"),
        "The download probably gave an error page: fetch it again.",
    ),
    "a Git LFS pointer": (_beginning(rb"version https://git-lfs"), "Run `git lfs pull` in its repository."),
    "a PDF document": (_beginning(rb"%PDF"), "Export its pages as PNG or JPEG."),
    "a zip archive": (_beginning(rb"PK\x03\x04"), "Unpack it first."),
    "a compressed file": (_beginning(rb"\x1f\x8b|BZh|\xfd7zXZ\0|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd"), "Unpack it first."),
    "a program": (_beginning(rb"\x7fELF|MZ.{58}"), "Remove it from among the pictures."),
    "a Python pickle": (_beginning(rb"\x80[\x02-\x05]"), "Pickles are never opened: save the pictures in it as PNG."),
    "a NumPy file": (_beginning(rb"\x93NUMPY"), "Save the pictures in it as PNG."),
    "a video": (_beginning(rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI "), "Save the frames that matter as JPEG."),
    "nothing but zeros": (_beginning(rb"\0+\Z"), _AGAIN),
    "text": (_beginning(rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z"), "Remove it from among the pictures."),
}
