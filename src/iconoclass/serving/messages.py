"""Messages between the server and its workers: a head of JSON with bytes behind it. Nothing in them can be executed."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, BinaryIO

from iconoclass import errors
from iconoclass.errors import IconoclassError

Message = tuple[dict[str, Any], bytes]

_SIZES = struct.Struct("<II")
APART = "apart"  # said to a worker that is to let the others go first
MOST = 1 << 30  # bytes of a message; more is no message


def packed(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Two sizes, the head, the bytes.

    >>> packed({"do": "rest"}, b"now")[8:]
    b'{"do": "rest"}now'
    """
    words = json.dumps(head).encode()
    return _SIZES.pack(len(words), len(body)) + words + body


def read(file: BinaryIO) -> Message | None:
    """The next message; None at the end."""
    sizes = file.read(_SIZES.size)
    if len(sizes) < _SIZES.size:
        return None
    words, body = _SIZES.unpack(sizes)
    return json.loads(file.read(words)), file.read(body)


async def received(reader: asyncio.StreamReader) -> Message:
    """The next message. Raises: EOFError, if there is none any more; ValueError, if it is not one."""
    words, body = _SIZES.unpack(await reader.readexactly(_SIZES.size))
    if words + body > MOST:
        raise ValueError(f"a message of {words + body:,} bytes")
    both = await reader.readexactly(words + body)
    return json.loads(both[:words]), both[words:]


def as_words(error: IconoclassError) -> dict[str, str]:
    return {"kind": type(error).__name__, "what": error.what, "hint": error.hint, "code": error.code}


def as_error(words: dict[str, str]) -> IconoclassError:
    """The error that was told, as one of iconoclass.errors."""
    kind: type[IconoclassError] = getattr(errors, words["kind"], IconoclassError)
    return kind(words["what"], hint=words["hint"], code=words["code"])
