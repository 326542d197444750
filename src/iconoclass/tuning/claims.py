"""Claims: who is at work on which trial. A claim is a lock of the system, which a dead process cannot hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from iconoclass.files import make_folder, try_lock


class Claims:
    """Locks in a folder that all workers see: one for each trial, and one for whoever chooses the next trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder)

    @contextlib.contextmanager
    def alone(self, name: str = "next") -> Iterator[None]:
        """Waits until nobody else is within such a block."""
        with (self.folder / name).open("a+b") as file:
            while not try_lock(file):
                time.sleep(0.05)
            yield

    def take(self, number: int) -> IO[bytes] | None:
        """The claim on a trial, held until it is closed or its process is dead; None, if somebody else has it."""
        file = (self.folder / f"{number:04d}").open("a+b")
        if try_lock(file):
            return file
        file.close()
        return None
