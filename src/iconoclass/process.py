"""The process: its cores, its memory, and the noise of native libraries held back. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many cores this process may keep busy: in a container often fewer than the machine has; no more than
    ICONOCLASS_CORES, which is for several that work side by side.
    """
    if (asked := os.environ.get("ICONOCLASS_CORES", "")).isdecimal() and int(asked):
        return min(int(asked), _cores(cgroup))
    return _cores(cgroup)


def _cores(cgroup: Path) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def keep_what_is_there() -> None:
    """Whatever is in memory now stays, and is not looked through again for what could go: whoever serves would wait."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def silence(forever: bool = False) -> Iterator[None]:
    """Hold back what native libraries write to file descriptor 2 at import; show it after all if the import fails.

    TF_CPP_MIN_LOG_LEVEL does not reach messages that are logged before TensorFlow has read it.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # a process without stderr has nothing to hold back
        yield
        return
    with Path(os.devnull).open("r+b") if forever else tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
