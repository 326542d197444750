"""What a worker's process does: open pictures and ask the model. What it dies of, the server survives.

python -m iconoclass.serving.child FILE          opens and proves a model, then answers batches
python -m iconoclass.serving.child FILE apart    likewise, at low priority: explains, which takes hundreds of answers
python -m iconoclass.serving.child               only opens pictures: those so large that others should not wait

Messages come in by stdin and go out by stdout; the end of stdin is the end. Never imports TensorFlow.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from iconoclass.errors import IconoclassError, ImageError
from iconoclass.images.decode import MAX_PIXELS, read_header
from iconoclass.images.prepare import prepare
from iconoclass.images.resize import covered
from iconoclass.process import keep_what_is_there
from iconoclass.serving import messages

Pixels = npt.NDArray[np.uint8]

NICENESS = 10  # of those that open large pictures or explain: whoever is quick goes first


def main(file: Path | None, *, is_apart: bool = False) -> None:
    source, sink = _pipes()
    if is_apart or file is None:
        os.nice(NICENESS)
    try:
        jobs = _jobs(file)
    except IconoclassError as error:
        _send(sink, {"error": messages.as_words(error)})
        return
    _send(sink, jobs.pop("hello")({}, b"")[0])
    keep_what_is_there()
    while message := messages.read(source):
        head, body = message
        _send(sink, *jobs[head["do"]](head, body))


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Where messages come from and go to. What anybody prints goes to stderr; signals are the server's business."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return sys.stdin.buffer, sink


def _send(sink: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    rest = memoryview(messages.packed(head, body))
    while rest:
        rest = rest[sink.write(rest) :]


Job = Callable[[dict[str, Any], bytes], messages.Message]


def _jobs(file: Path | None) -> dict[str, Job]:
    if file is None:
        return {"hello": lambda head, body: ({}, b""), "open": _opened}
    from iconoclass.serving.network import Network

    network = Network.load(file)
    return {
        "hello": lambda head, body: (network.described(), b""),
        "answer": lambda head, body: _answered(network, head, body),
        "explain": lambda head, body: _explained(network, head, body),
    }


def _opened(head: dict[str, Any], body: bytes) -> messages.Message:
    """One picture as pixels."""
    found = _pixels(body, tuple(head["shape"]), head["resize"], head["pixels"])
    return ({"error": messages.as_words(found)}, b"") if isinstance(found, ImageError) else ({}, found.tobytes())


def _pixels(picture: bytes, shape: tuple[int, ...], resize: str, most: int) -> Pixels | ImageError:
    height, width, channels = shape
    try:
        if most < MAX_PIXELS:
            _refuse_more(picture, most)
        return prepare(picture, (height, width, channels), resize)
    except ImageError as error:
        return error


def _refuse_more(picture: bytes, most: int) -> None:
    header = read_header(picture)
    if header.width * header.height > most:
        what = f"the picture has {header.width} x {header.height} pixels, where {most:,} are allowed"
        raise ImageError(what, hint="Send it smaller.", code="IMG_TOO_MANY_PIXELS")


def _answered(network: Any, head: dict[str, Any], body: bytes) -> messages.Message:
    """Of each picture an error, or why it is unknown, or nothing; and a row of probabilities of each without error."""
    shape, resize = network.image_shape, network.resize_rule
    asked = [
        np.frombuffer(content, np.uint8).reshape(shape)
        if is_pixels
        else _pixels(content, shape, resize, head["pixels"])
        for content, is_pixels in zip(_cut(body, head["sizes"]), head["are_pixels"], strict=True)
    ]
    answers = iter(network.answers([pixels for pixels in asked if not isinstance(pixels, ImageError)]))
    found = [each if isinstance(each, ImageError) else next(answers) for each in asked]
    told = [messages.as_words(each) if isinstance(each, IconoclassError) else each.unknown for each in found]
    rows = [each.probabilities.tobytes() for each in found if not isinstance(each, IconoclassError)]
    return {"told": told}, b"".join(rows)


def _explained(network: Any, head: dict[str, Any], body: bytes) -> messages.Message:
    """Of one picture an error; or its probabilities and, behind them, its map of so many rows and columns."""
    pixels = _pixels(body, network.image_shape, network.resize_rule, head["pixels"])
    found = pixels if isinstance(pixels, ImageError) else network.explained(pixels)
    if isinstance(found, IconoclassError):
        return {"error": messages.as_words(found)}, b""
    answer, attention = found
    header = read_header(body)
    covers = covered((header.height, header.width), network.image_shape[:2], network.resize_rule)
    told = {"unknown": answer.unknown, "size": attention.shape, "covers": covers}
    return told, answer.probabilities.tobytes() + attention.tobytes()


def _cut(body: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None, is_apart=messages.APART in sys.argv[2:])
