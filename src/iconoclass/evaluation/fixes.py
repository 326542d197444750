"""gains(): what each kind of decision is worth, by trainings with it and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from iconoclass.config import Config
from iconoclass.data.decisions import words_in, write_only
from iconoclass.evaluation.compare import Pair, judged_by
from iconoclass.run import Run


def gains(run: Run, train: Callable[[Config, str], Run]) -> list[dict[str, Any]]:
    """What a run has gained by its decisions, and what each kind of them gains alone, against a training without any.

    train: gives a judged run of a configuration, under a name; of the run's own configuration but for the decisions.
    Judged on the test pictures that all of them have, by the labels that they have after the decisions. Returns rows:
    decisions, a word or "all"; pictures, how many it is said of; run; examples; gain, in shares of 1; p of McNemar's.
    """
    asked, decisions = run.config, Path(str(run.config.data.decisions)).expanduser()
    counts = words_in(decisions)
    without = train(asked.with_settings(decisions=None), f"{run.name}-undecided")
    rows = []
    for word, count in sorted(counts.items()) if len(counts) > 1 else ():
        write_only(word, decisions, run.decisions_path(word))
        alone = train(asked.with_settings(decisions=str(run.decisions_path(word))), f"{run.name}-{word}")
        rows.append(_row(word, count, judged_by(run, without, alone)))
    rows.append(_row(next(iter(counts)) if len(counts) == 1 else "all", counts.total(), judged_by(run, without, run)))
    run.note_look("decisions")
    return rows


def _row(word: str, count: int, pair: Pair) -> dict[str, Any]:
    return {
        "decisions": word,
        "pictures": count,
        "run": pair.second.name,
        "examples": len(pair.images),
        "gain": pair.difference.as_json(),
        "p": pair.p,
    }
