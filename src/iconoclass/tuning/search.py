"""Search: what a search is, on disk and in its study, and which trial comes next. Whoever opens it may help."""

from __future__ import annotations

import json
import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState

from iconoclass.config import Config
from iconoclass.errors import DataError, EnvironmentFault, RunError, pick
from iconoclass.files import new_folder
from iconoclass.run import Run
from iconoclass.tuning.claims import Claims
from iconoclass.tuning.pruning import AtEqualTime
from iconoclass.tuning.request import FINALISTS, Request, trial_s
from iconoclass.tuning.space import Settings, Space, drawn, has
from iconoclass.tuning.storage import open_study

NEAR = 8  # first trials that change a part of the default only, before the sampler knows anything
NEAR_SHARE = 1 / 3  # of its settings
MOST_ATTEMPTS = 3  # a trial that has ended its process so often, without an epoch done in between, is given up
MOST_FAILED = 10  # trials in a row, after which something else must be wrong


@dataclass
class Job:
    """A trial that is this process's to learn. attempt: counted from 1; held: the claim on it."""

    number: int
    trial: optuna.Trial
    config: Config
    params: Settings
    is_repeat: bool
    attempt: int
    held: IO[bytes]


class Search:
    """A folder with search.json, a run for each trial, and for SQLite the study itself."""

    def __init__(self, folder: Path, storage: str | None = None) -> None:
        self.folder = folder
        self.request = Request.read(folder)
        self.claims = Claims(folder / "claims")
        with self.claims.alone("storage"):  # two who make its tables at once get in each other's way
            self.study = open_study(folder, storage, self.request.study)

    @classmethod
    def find_or_make(cls, folder: Path, request: Request, storage: str | None) -> Search:
        """The search of that request in `folder`, or in folder-2, ..., if it is not complete; else a new one.

        Raises: EnvironmentFault, if the storage cannot be reached.
        """
        for found in _numbered(folder):
            if request.is_of(found) and not (found / "tune.json").is_file():
                return cls(found, storage)
        made = new_folder(folder)
        request.write(made)
        return cls(made, storage)

    # -- what is known of it -----------------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        return "space" in self.study.user_attrs

    @cached_property
    def space(self) -> Space:
        return {name: json_to_distribution(way) for name, way in self.study.user_attrs["space"].items()}

    @cached_property
    def default(self) -> Config:
        """The settings of `train` itself, with nothing left open."""
        return Config.of(**self.study.user_attrs["default"])

    @cached_property
    def each_s(self) -> float:
        """Seconds that each trial learns."""
        return float(self.study.user_attrs["each_s"])

    @property
    def monitor(self) -> str:
        return f"val_{self.default.training.monitor}"

    @property
    def trials(self) -> list[FrozenTrial]:
        """The default and those that were searched, by number."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if not _is_repeat(trial)]

    @property
    def repeats(self) -> list[FrozenTrial]:
        """Of the best trials and of the default, with other seeds."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _is_repeat(trial)]

    @property
    def is_over(self) -> bool:
        """Whether all trials and all repeats have been learned."""
        finalists = self.study.user_attrs.get("finalists", [])
        ended = [trial for trial in self.repeats if trial.state.is_finished()]
        return bool(finalists) and len(ended) == len(finalists) * self.request.seeds

    def changed(self, trial: FrozenTrial) -> Settings:
        """Where a trial's settings are other than the default's."""
        default = self.trials[0].params
        return {name: value for name, value in trial.params.items() if value != default.get(name)}

    def run_of(self, trial: FrozenTrial | optuna.Trial) -> Run:
        """The trial's run; a repeat says in its name what it repeats."""
        return Run(self.folder / _name(trial))

    def begin(self, default: Config, values: Settings, space: Space, each_s: float, fingerprint: str) -> None:
        """Say what is searched, and put the default first in the queue. fingerprint: of the pictures."""
        self.study.set_user_attr("fingerprint", fingerprint)
        self.study.set_user_attr("default", json.loads(json.dumps(default.with_settings(budget=None).flat())))
        self.study.set_user_attr("each_s", each_s)
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial(values)
        self.study.set_user_attr("space", {name: distribution_to_json(way) for name, way in space.items()})

    def refuse_other_pictures(self, fingerprint: str) -> None:
        """Raises: DataError, if the pictures are no longer those that the search began with."""
        if self.study.user_attrs["fingerprint"] != fingerprint:
            hint = "Begin another one: --name NAME."
            raise DataError(f"the pictures have changed since {self.folder.name} began", hint=hint)

    # -- the next trial ----------------------------------------------------------------------------------------------

    def claim(self) -> Job | None:
        """The next trial to learn, which nobody else will learn while this process lives; None, if there is none now.

        Trials whose process has died come first.
        """
        with self.claims.alone():
            trials = self.study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state == TrialState.RUNNING and (held := self._abandoned(trial)):
                    return self._job(optuna.Trial(self.study, trial._trial_id), held)
            self.study.sampler = pick(SAMPLERS, self.request.sampler, "sampler")(self.request.seed + len(trials))
            if not any(trial.state == TrialState.WAITING for trial in trials) and not self._plan():
                return None
            asked = self.study.ask()
            held = self.claims.take(asked.number)
            if held is None:
                raise EnvironmentFault(f"{self.claims.folder} has no locks", hint="Put --output on another disk.")
            return self._job(asked, held)

    def _abandoned(self, trial: FrozenTrial) -> IO[bytes] | None:
        """The claim on a trial that had begun, if nobody holds it and it has not ended meanwhile."""
        held = self.claims.take(trial.number)
        if held and self._now(trial).state.is_finished():
            held.close()
            return None
        return held

    def _now(self, trial: FrozenTrial | optuna.Trial) -> FrozenTrial:
        """The trial as the storage knows it at this moment."""
        return self.study._storage.get_trial(trial._trial_id)

    def _plan(self) -> bool:
        """Say what comes next. Returns: whether anything does, as far as is known now."""
        if self._is_searched:
            return self._begin_finals()
        number = len(self.trials)
        if self.request.sampler == "tpe" and number <= NEAR:
            random = np.random.default_rng((self.request.seed, number))
            self.study.enqueue_trial(near(self.trials[0].params, self.space, random))
        return True

    def _job(self, trial: optuna.Trial, held: IO[bytes]) -> Job:
        attempt = self._attempt(trial)
        params = self._suggested(trial)
        settings = {**self.request.settings, **params, **trial.user_attrs.get("with", {})}
        if self.request.settings.get("epochs") is None:
            settings["budget"] = self.each_s
        is_repeat = _is_repeat(trial)
        return Job(trial.number, trial, Config.of(**settings), params, is_repeat, attempt, held)

    def _attempt(self, trial: optuna.Trial) -> int:
        """Which attempt this is to get any further: a trial that does, and is killed again, is not at fault."""
        reached = self._now(trial).last_step or 0
        last = trial.user_attrs.get("attempt", {"number": 0, "at": reached})
        number = last["number"] + 1 if last["at"] == reached else 1
        trial.set_user_attr("attempt", {"number": number, "at": reached})
        return int(number)

    def _suggested(self, trial: optuna.Trial) -> Settings:
        """What the trial is to try; asked twice, the same."""
        params: Settings = {}
        for name, way in self.space.items():
            if has(str(params.get("model", self.default.model.model)), name):
                params[name] = _suggest(trial, name, way)
        return params

    @property
    def _is_searched(self) -> bool:
        """Whether nothing may follow but repeats."""
        if self.request.trials:
            return len(self.trials) >= self.request.trials
        return bool(self.trials) and self._spent_s + trial_s(self.each_s) > self.request.searching_s(self.each_s)

    @property
    def _spent_s(self) -> float:
        """Seconds that the trials so far have taken, side by side."""
        spent = (trial.user_attrs.get("seconds", trial_s(self.each_s)) for trial in self.trials)
        return float(sum(spent)) / self.request.workers

    def _begin_finals(self) -> bool:
        """Queue the repeats, once all trials have ended. Returns: whether one is waiting."""
        if any(not trial.state.is_finished() for trial in self.trials):
            return False
        if "finalists" not in self.study.user_attrs:
            self.study.set_user_attr("finalists", [0, *(trial.number for trial in self._best())])
        known = {(trial.user_attrs["repeats"], trial.user_attrs["with"]["seed"]) for trial in self.repeats}
        by_number = {trial.number: trial for trial in self.trials}
        for seed in range(self.request.seed + 1, self.request.seed + 1 + self.request.seeds):
            for number in self.study.user_attrs["finalists"]:
                if (number, seed) not in known:
                    attributes = {"repeats": number, "with": {"seed": seed}}
                    self.study.enqueue_trial(by_number[number].params, user_attrs=attributes)
        return any(trial.state == TrialState.WAITING for trial in self.repeats)

    def _best(self) -> list[FrozenTrial]:
        completed = [trial for trial in self.trials if trial.state == TrialState.COMPLETE and trial.number]
        return sorted(completed, key=lambda trial: (-(trial.value or 0.0), trial.user_attrs["loss"]))[:FINALISTS]

    def report(self, job: Job, value: float, seconds: float) -> bool:
        """So much had been reached after so many seconds. Returns: whether there is no hope for it."""
        job.trial.report(value, step=round(1000 * seconds))
        if job.is_repeat or job.number == 0:
            return False
        return AtEqualTime(self.each_s).prune(self.study, self._now(job.trial))

    # -- what became of it -------------------------------------------------------------------------------------------

    def tell(self, job: Job, value: float, facts: Mapping[str, Any], *, is_hopeless: bool = False) -> None:
        """It has been learned, or given up. value: the best on validation; facts: what else is to be known of it."""
        self._note(job, facts)
        self.study.tell(job.number, None if is_hopeless else value, TrialState.PRUNED if is_hopeless else None)

    def tell_failed(self, job: Job, reason: str, facts: Mapping[str, Any]) -> None:
        """It cannot be learned. Raises: RunError, if it was the default, or the last of many that failed in a row."""
        if job.number == 0:  # it is not told, so that the same command tries it again
            raise RunError(f"the default itself cannot be trained: {reason}", hint="Find out with `iconoclass train`.")
        self._note(job, {"reason": reason, **facts})
        self.study.tell(job.number, state=TrialState.FAIL)
        last = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()][-MOST_FAILED:]
        if len(last) == MOST_FAILED and all(trial.state == TrialState.FAIL for trial in last):
            raise RunError(f"{MOST_FAILED} trials in a row have failed, the last one: {reason}")

    def _note(self, job: Job, facts: Mapping[str, Any]) -> None:
        for name, fact in facts.items():
            job.trial.set_user_attr(name, fact)

    def ended(self) -> set[int]:
        """The numbers of all trials and repeats that have ended."""
        return {trial.number for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def said_of(self, number: int) -> str:
        """A line of what became of a trial."""
        trial = self.study.get_trials(deepcopy=False)[number]
        facts, is_given_up = trial.user_attrs, trial.state == TrialState.PRUNED
        said = ", ".join(f"{name} {short(value)}" for name, value in self.changed(trial).items()) or "the default"
        if _is_repeat(trial):
            said = f"trial {facts['repeats']} with seed {facts['with']['seed']}"
        if trial.state == TrialState.FAIL:
            return f"trial {number:>3}  failed  {said}: {facts['reason']}"
        return f"trial {number:>3}  {reached(trial):6.1%}  {said}{'; given up' if is_given_up else ''}"

    # -- the winner --------------------------------------------------------------------------------------------------

    @property
    def finals(self) -> dict[int, list[FrozenTrial]]:
        """The repeats that were learned, by the number of what they repeat; first those of the default."""
        finalists = self.study.user_attrs.get("finalists", [])
        done = [trial for trial in self.repeats if trial.state == TrialState.COMPLETE]
        return {number: [trial for trial in done if trial.user_attrs["repeats"] == number] for number in finalists}

    @property
    def winner(self) -> int:
        """The number of the trial whose repeats are best in the mean, if they are ahead of the default's by more than
        the standard error of their lead; else the default.
        """
        values = {
            number: [trial.value or 0.0 for trial in done]
            for number, done in self.finals.items()
            if len(done) == self.request.seeds
        }
        default = values.pop(0, None)
        best = max(values, key=lambda number: statistics.mean(values[number]), default=0)
        if not default or not best:
            return best
        lead = statistics.mean(values[best]) - statistics.mean(default)
        return best if lead > _error_of_a_lead(default, values[best]) else 0


def _error_of_a_lead(first: list[float], second: list[float]) -> float:
    """The standard error of the difference of two means over seeds; 0 of one seed, which says nothing of others."""
    if len(first) == 1:
        return 0.0
    return math.sqrt((statistics.variance(first) + statistics.variance(second)) / len(first))


def reached(trial: FrozenTrial) -> float:
    """The best on validation, also of a trial that was given up; 0 of one that failed."""
    return max([trial.value or 0.0, *trial.intermediate_values.values()])


def short(value: Any) -> str:
    """A setting's value, in a few letters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _numbered(folder: Path) -> Iterator[Path]:
    """`folder`, folder-2, ..., as far as they are there."""
    number, found = 1, folder
    while found.is_dir():
        yield found
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")


def near(values: Settings, space: Space, random: np.random.Generator) -> Settings:
    """The default with some of its settings changed."""
    names = [name for name in space if name in values]
    changed = random.choice(names, max(1, round(NEAR_SHARE * len(names))), replace=False)
    return values | {str(name): _other_than(values[str(name)], space[str(name)], random) for name in changed}


def _other_than(value: Any, way: BaseDistribution, random: np.random.Generator) -> Any:
    while (other := drawn(way, random)) == value:
        pass
    return other


def _suggest(trial: optuna.Trial, name: str, way: BaseDistribution) -> Any:
    if isinstance(way, CategoricalDistribution):
        return trial.suggest_categorical(name, way.choices)
    if isinstance(way, IntDistribution):
        return trial.suggest_int(name, way.low, way.high, step=way.step)
    if isinstance(way, FloatDistribution):
        return trial.suggest_float(name, way.low, way.high, step=way.step, log=way.log)
    raise TypeError(f"nothing is suggested of a {type(way).__name__}")


def _is_repeat(trial: FrozenTrial | optuna.Trial) -> bool:
    return "repeats" in trial.user_attrs


def _name(trial: FrozenTrial | optuna.Trial) -> str:
    attributes = trial.user_attrs
    if "repeats" in attributes:
        return f"trial-{attributes['repeats']:04d}-seed-{attributes['with']['seed']}"
    return f"trial-{trial.number:04d}"


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        # What depends on the network (dropout) must not keep the rest from being looked at together.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=NEAR, multivariate=True, group=True)


SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
