"""A program that exports a run and can be killed, again and again, without importing Keras each time.

It reads requests, a line of JSON each: {"run": PATH, "format": NAME, "output": FOLDER, "die": POINT or null,
"exchanges": whether folders can exchange their names in one step, "full": whether the disk is}.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iconoclass as ic
from forking import obey
from iconoclass.backend import import_tensorflow, keras  # noqa: F401 - seconds, which the children need not spend
from iconoclass.exports import catalog, delivery, verify
from mortal import at, die, named


def _torn() -> None:
    """Death with half of the model file written."""
    right = catalog.EXPORTERS["onnx"]

    def write(network: Any, path: Path, *more: Any) -> None:
        right.write(network, path, *more)
        os.truncate(path, path.stat().st_size // 2)
        die()

    catalog.EXPORTERS["onnx"] = catalog.Exporter(write, right.file, right.numbers, right.purpose)


# Where a child can be told to die, in the order in which it comes by.
POINTS: dict[str, Callable[[], None]] = {
    "before anything is written": at(delivery.Source, "_write"),
    "with half of the model written": _torn,
    "before the card is in it": at(delivery, "write_card"),
    "before it is asked": at(verify, "compare"),
    "before the manifest has its name": named("manifest.json"),
    "between the manifest and the proof": named("manifest.json", after=True),
    "before the README has its name": named("README.md"),
    "before it takes its place": at(delivery, "_take_place"),
    "before the old one is removed": at(delivery, "_take_place", after=True),
}
BETWEEN_TWO_NAMES = at(os, "rename", after=True)  # where folders cannot exchange theirs


def work(request: dict[str, Any]) -> None:
    if request["die"]:
        (POINTS | {"between two names": BETWEEN_TWO_NAMES})[request["die"]]()
    if not request.get("exchanges", True):
        delivery.exchange = lambda one, other: False
    if request.get("full"):  # no file may become larger than any model is
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    ic.export(request["run"], request["format"], output=request["output"])


if __name__ == "__main__":
    import_tensorflow()
    obey(work)
