"""Protocol buffers read field by field, without a schema and without a copy: enough to look into a file before it is
given to the library that runs it.

Source: the wire format, https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Value = int | memoryview


def fields(message: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """Each field's number and value in order: an int, or the bytes of a string, a message or packed numbers.

    Raises: ValueError, if the bytes are no message, or end too soon.

    >>> [(number, bytes(value) if number == 2 else value) for number, value in fields(bytes([8, 150, 1, 18, 1, 65]))]
    [(1, 150), (2, b'A')]
    """
    for number, value, _ in located_fields(message):
        yield number, value


def located_fields(message: bytes | memoryview) -> Iterator[tuple[int, Value, int]]:
    """As `fields`, with the place where each field begins."""
    view, at = memoryview(message), 0
    while at < len(view):
        began = at
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(view, at)
            yield number, value, began
            continue
        if kind == BYTES:
            length, at = _varint(view, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind} at byte {began}")
        if not number or at + length > len(view):
            raise ValueError(f"it ends in the middle of field {number}, which begins at byte {began}")
        yield number, view[at : at + length], began
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= len(view):
            raise ValueError("it ends in the middle of a number")
        byte = view[at]
        at += 1
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at
    raise ValueError(f"a number of more than ten bytes at byte {at}")


def messages(message: bytes | memoryview, *path: int) -> Iterator[memoryview]:
    """Every message, or string, that lies at such a path of field numbers."""
    first, *rest = path
    for number, value in fields(message):
        if number == first and isinstance(value, memoryview):
            if rest:
                yield from messages(value, *rest)
            else:
                yield value


def text(message: bytes | memoryview, number: int) -> str:
    """The string in a field; empty where there is none."""
    return next((bytes(value).decode("utf-8") for value in messages(message, number)), "")


def number(message: bytes | memoryview, wanted: int) -> int:
    """The integer in a field; 0 where there is none."""
    return next((value for found, value in fields(message) if found == wanted and isinstance(value, int)), 0)


def field(number: int, value: bytes) -> bytes:
    """A field of bytes as it is written.

    >>> list(field(2, b"A"))
    [18, 1, 65]
    """
    return _as_varint(number << 3 | BYTES) + _as_varint(len(value)) + value


def _as_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
