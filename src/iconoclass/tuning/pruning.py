"""AtEqualTime: a trial that is behind most others after the same time is given up."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

FEWEST = 4  # completed trials: with fewer, nobody knows what is hopeless
FROM = 0.25  # of a trial's time: before that the learning rate says more than the settings are worth
WORST = 1 / 3  # a trial that is worse than so many of the completed ones at its age is given up


class AtEqualTime(optuna.pruners.BasePruner):
    """Compares what trials have reached after the same time, however many epochs that was for each.

    Reports are made at steps that are milliseconds of learning. seconds: that each trial learns.
    Source: the idea of the median rule, Golovin et al., Google Vizier, KDD 2017, with time in place of epochs and the
    lower third in place of the half, as all rates fall to nothing at the end and a late rise is usual.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        now = trial.last_step
        if now is None or now < 1000 * FROM * self.seconds:
            return False
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        reached = [best_by(other.intermediate_values, now) for other in completed]
        others = sorted(value for value in reached if value is not None)
        own = best_by(trial.intermediate_values, now)
        return own is not None and len(others) >= FEWEST and own < others[int(WORST * len(others))]


def best_by(reports: Mapping[int, float], now: int) -> float | None:
    """The best that had been reported by then; None, if nothing had."""
    return max((value for step, value in reports.items() if step <= now), default=None)
