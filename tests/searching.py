"""A program that searches and can be killed, again and again, without importing Keras each time.

It reads requests, a line of JSON each: the arguments of tune(), and perhaps "die": before the so-manieth report of an
epoch, counted from 0. It forks; the child does what was asked, and draws no plots. It says "pid N" and "ended STATUS".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import Any

import iconoclass as ic
from iconoclass.backend import keras  # noqa: F401 - seconds, which the children need not spend
from iconoclass.errors import IconoclassError
from iconoclass.evaluation import evaluator  # noqa: F401
from iconoclass.evaluation.report import Report
from iconoclass.training import checkpoint, trainer, transfer  # noqa: F401
from iconoclass.tuning.search import Search


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def die_at(report: int) -> None:
    before, left = Search.report, [report]

    def mortal(self: Search, *arguments: Any) -> bool:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(self, *arguments)

    Search.report = mortal  # type: ignore[method-assign]


def work(request: dict[str, Any]) -> int:
    """The exit status of what was asked for."""
    Report.plots = lambda self: iter(())  # type: ignore[method-assign]  # the same each time, and most of the time
    die = request.pop("die", None)
    if die is not None:
        die_at(die)
    try:
        ic.tune(**request)
    except IconoclassError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(work(json.loads(line)))
        say(f"pid {child}")
        say(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
