"""What a run is worth, on stdout: its figures, and its path on the last line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iconoclass.cli.terminal import advise, dimming, print_json

if TYPE_CHECKING:
    from iconoclass.folds import Folds
    from iconoclass.runs import Listed


def print_judgement(path: Path, as_json: bool) -> None:
    """The figures of a judged run, and its path on the last line."""
    from iconoclass.evaluation.report import summary
    from iconoclass.run import Run, readable

    run = Run(path)
    if as_json:
        print_json({"run": str(path), **run.metrics})
        return
    print(summary(run, dimming()))
    print(readable(path))
    advise(f"open {readable(path)}/report.html, or: iconoclass predict {readable(path)} PICTURE")


def print_folds(validated: Folds, as_json: bool) -> None:
    from iconoclass.run import readable

    if as_json:
        print_json({"path": str(validated.path), **validated.as_json()})
    else:
        print(validated.table())
        print(readable(validated.path))
    advise("this says how good such a model is; to have one, train without --folds")


def print_runs(found: list[Listed]) -> None:
    from iconoclass.intervals import share
    from iconoclass.run import readable

    width = max((len(readable(each.run.path)) for each in found), default=0)
    for each in found:
        state = f"{each.state}, {each.where}" if each.where else each.state
        accuracy = share(each.accuracy, dimming()).strip() if each.accuracy else ""
        print(f"{readable(each.run.path):<{width}}  {state:<26}  {_age(each.age_s):>9}  {accuracy}".rstrip())


def _age(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
