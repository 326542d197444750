"""Limits: what one request may cost, and how many may wait."""

from __future__ import annotations

from dataclasses import dataclass, fields

from iconoclass.errors import UsageError
from iconoclass.images.decode import MAX_PIXELS
from iconoclass.process import usable_cores


@dataclass(frozen=True)
class Limits:
    """Bounds of the server. All must be above 0.

    bytes: of a body, all pictures together; held: of all bodies that are in memory at the same time; pixels: of one
    picture, as its header says; pictures: in one request; request_s: from the last byte of a request to its answer;
    body_s: for a body to arrive; headers_s: likewise for the first line and the headers; waiting: pictures that are
    accepted and not answered yet; explanations: of them, those that may wait to be explained; batch: asked about at
    once; connections: open at the same time; drain_s: what accepted requests get after SIGTERM.
    """

    bytes: int = 32 << 20
    held: int = 256 << 20
    pixels: int = MAX_PIXELS
    pictures: int = 64
    request_s: float = 10.0
    body_s: float = 20.0
    headers_s: float = 10.0
    waiting: int = 256
    explanations: int = 4
    batch: int = 128
    connections: int = 1024
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UsageError(f"the limit {field.name} must be above 0. Received: {value}")
        if self.pixels > MAX_PIXELS:
            raise UsageError(f"the limit pixels must be at most {MAX_PIXELS:,}. Received: {self.pixels:,}")

    @property
    def workers(self) -> int:
        """Processes that ask the model, and likewise that open large pictures. More than cores would take turns."""
        return usable_cores()
