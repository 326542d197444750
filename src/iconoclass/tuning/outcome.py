"""Outcome: what a search found, judged once on the test pictures, and what it gains over the default."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from iconoclass.intervals import Estimate
from iconoclass.run import Run
from iconoclass.tuning.gain import Hits, gain
from iconoclass.tuning.search import Search, short
from iconoclass.tuning.space import Settings


@dataclass(frozen=True)
class Outcome:
    """What became of a search."""

    search: Search

    @property
    def path(self) -> Path:
        """The folder of all its runs."""
        return self.search.folder

    @cached_property
    def winner(self) -> int:
        """The number of the trial that is clearly best in the mean over seeds; 0 is the default."""
        return self.search.winner

    @cached_property
    def run(self) -> Run:
        """The run to use: of the winner's repeats the best on validation."""
        return self.search.run_of(max(self.search.finals[self.winner], key=lambda trial: trial.value or 0.0))

    @cached_property
    def means(self) -> dict[int, float]:
        """The mean on validation over the repeats, by the number of the trial that is repeated."""
        finals = self.search.finals.items()
        return {number: statistics.mean(trial.value or 0.0 for trial in done) for number, done in finals if done}

    @cached_property
    def accuracies(self) -> tuple[float, float]:
        """On test, the default's mean and the winner's."""
        return float(self._hits(0).mean()), float(self._hits(self.winner).mean())

    @cached_property
    def gain(self) -> Estimate:
        """The winner's test accuracy less the default's, with its interval over seeds and pictures."""
        if self.winner == 0:
            return Estimate(0.0)
        ones, others = self._hits(0), self._hits(self.winner)
        least = min(len(ones), len(others))
        return gain(ones[:least], others[:least])

    @cached_property
    def changes(self) -> Settings:
        """Where the winner's settings differ from the default's."""
        return self.search.changed(self.search.trials[self.winner])

    def verdict(self) -> str:
        """The outcome in a sentence or two."""
        tried = len([trial for trial in self.search.trials if trial.state.is_finished()])
        over = f"over {self.search.request.seeds} seeds" if self.search.request.seeds > 1 else "with another seed"
        if self.winner == 0:
            return f"The default could not be beaten: of {tried} trials none is clearly better {over}, on validation."
        default, best = (100 * accuracy for accuracy in self.accuracies)
        low, high = 100 * (self.gain.low or 0.0), 100 * (self.gain.high or 0.0)
        by = f"{best:.2f} % of the test pictures instead of {default:.2f} %, {over}: "
        by += f"{best - default:+.2f} points, between {low:+.2f} and {high:+.2f}."
        if low > 0:
            return f"Better than the default. {by}"
        return f"Best on validation, but on test not surely better than the default. {by}"

    def table(self) -> str:
        """The verdict, and what to change, as plain text."""
        lines = [self.verdict()]
        default = self.search.trials[0].params
        for name, value in self.changes.items():
            lines.append(f"  {name:<16} {short(value):>12}   instead of {short(default.get(name, 'none'))}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """What tune.json says."""
        search = self.search
        default, best = self.accuracies
        return {
            "verdict": self.verdict(),
            "winner": self.winner,
            "run": self.run.name,
            "changes": self.changes,
            "test_accuracy": {"default": default, "winner": best},
            "gain": self.gain.as_json(),
            "validation_means": {str(number): mean for number, mean in self.means.items()},
            "each_s": search.each_s,
            "trials": [self._row(trial) for trial in (*search.trials, *search.repeats)],
        }

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        kept = ("seconds", "epochs", "accuracy", "loss", "reason", "repeats")
        facts = {name: trial.user_attrs[name] for name in kept if name in trial.user_attrs}
        return {
            "number": trial.number,
            "run": self.search.run_of(trial).name,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "params": trial.params,
            **facts,
        }

    def _hits(self, number: int) -> Hits:
        """Which of the test pictures each repeat gets right: bool (seeds, pictures)."""
        return np.array([_right(self.search.run_of(trial)) for trial in self.search.finals[number]])


def _right(run: Run) -> list[bool]:
    return [cells[2] == cells[3] for cells in run.predictions if cells[0] == "test"]
