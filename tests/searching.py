"""A program that searches and can be killed, again and again, without importing Keras each time.

It reads requests, a line of JSON each: the arguments of tune(), and perhaps "die": before the so-manieth report of an
epoch, counted from 0. It draws no plots.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import iconoclass as ic
from forking import obey
from iconoclass.backend import keras  # noqa: F401 - seconds, which the children need not spend
from iconoclass.evaluation import evaluator  # noqa: F401
from iconoclass.evaluation.report import Report
from iconoclass.training import checkpoint, trainer, transfer  # noqa: F401
from iconoclass.tuning.search import Search


def die_at(report: int) -> None:
    before, left = Search.report, [report]

    def mortal(self: Search, *arguments: Any) -> bool:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(self, *arguments)

    Search.report = mortal  # type: ignore[method-assign]


def work(request: dict[str, Any]) -> None:
    Report.plots = lambda self: iter(())  # type: ignore[method-assign]  # the same each time, and most of the time
    die = request.pop("die", None)
    if die is not None:
        die_at(die)
    ic.tune(**request)


if __name__ == "__main__":
    obey(work)
