"""tune(): a data set and a time -> the settings that do best on validation, and what they gain over the default."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from iconoclass import pipeline
from iconoclass.config import Config
from iconoclass.data.catalog import DATASETS
from iconoclass.data.dataset import Dataset, Tell
from iconoclass.errors import UsageError, pick
from iconoclass.fetch import Progress
from iconoclass.models import weights
from iconoclass.tuning.cluster import refuse_one_file_for_many, work_on
from iconoclass.tuning.judging import settle
from iconoclass.tuning.outcome import Outcome
from iconoclass.tuning.request import FINALISTS, Request, trial_s
from iconoclass.tuning.search import SAMPLERS, Search
from iconoclass.tuning.space import space_around, values_of
from iconoclass.tuning.storage import address_of
from iconoclass.tuning.trial import Say
from iconoclass.tuning.worker import Hear, work

TRIALS = 40
SHARES = 33  # of the time: one is what a trial learns, unless that is given
HEAD_S = 60.0  # of a trial with a backbone, where neither time nor --each say how long: the default takes a moment
FEWEST = 3  # trials, with fewer of which nothing is searched


def tune(
    data: Path | str | None = None,
    *,
    trials: int | None = None,
    time_s: float | None = None,
    each_s: float | None = None,
    seeds: int = 3,
    sampler: str = "tpe",
    storage: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    output: Path | str = "runs",
    name: str | None = None,
    offline: bool = False,
    say: Say = lambda text: None,
    hear: Hear = lambda text: None,
    tell: Tell | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Outcome:
    """Search for settings that beat the default, in a folder of their own inside `output`, a run for each trial.

    trials: how many, the default among them, or time_s: seconds for all of it; 40 trials, if neither is given. each_s:
    seconds that each trial learns; by default a 33rd of the time, or else what the default takes. seeds: so many times
    the best two and the default are trained again. sampler: tpe or random. storage: postgresql://..., for workers on
    several machines. cluster: local, or the address of a Ray cluster, with so many workers. settings: as for `train`;
    what is given is not searched. say hears of phases, hear of each trial that has ended.
    A search that was broken off goes on if it is asked for in the same words; two at a time share the work.
    Raises: UsageError, if there is nothing to search or no time for it; RunError, if the default itself fails or ten
    trials in a row do; Interrupted; and as `train`.
    """
    refuse_one_file_for_many(cluster, storage)
    if storage:
        address_of(storage)
    request = _request(data, trials, time_s, each_s, seeds, sampler, workers, settings)
    asked = weights.decide(request.config, None)
    dataset = pipeline.opened(asked, offline, tell, progress)
    asked = weights.decide(asked, dataset.are_photos)
    if weights.are_wanted(asked):
        weights.find(asked, offline=offline, progress=progress)
    folder = Path(output) / (name or f"{dataset.name}-tune")
    search = Search.find_or_make(folder, request, storage)
    begin(search, asked, dataset, say)
    hear(plan(search))
    if cluster:
        work_on(cluster, search, storage, hear)
    else:
        work(search, dataset, say, hear)
    return settle(search, dataset, say)


def _request(
    data: Path | str | None,
    trials: int | None,
    time_s: float | None,
    each_s: float | None,
    seeds: int,
    sampler: str,
    workers: int | None,
    settings: dict[str, Any],
) -> Request:
    """Raises: UsageError, naming what is wrong."""
    if isinstance(data, Dataset):
        raise UsageError("a search opens its pictures itself: give their name or path")
    pick(SAMPLERS, sampler, "sampler")
    given = {name: value for name, value in settings.items() if value is not None}
    wrong = [
        *(["--budget is not for searches: each trial has --each"] if "budget" in given else []),
        *(["--each and --epochs exclude each other"] if each_s and "epochs" in given else []),
        *(["--trials and --time exclude each other"] if trials and time_s else []),
        *([f"--trials must be {FEWEST} or more. Received: {trials}"] if trials is not None and trials < FEWEST else []),
        *([f"--seeds must be 1 to 20. Received: {seeds}"] if not 1 <= seeds <= 20 else []),
        *([f"--workers must be 1 to 1000. Received: {workers}"] if workers and not 1 <= workers <= 1000 else []),
    ]
    for option, seconds in (("--time", time_s), ("--each", each_s)):
        if seconds is not None and not seconds > 0:
            wrong.append(f"{option} must be more than 0. Received: {seconds:g} s")
    if wrong:
        raise UsageError("; ".join(wrong))
    # Where other workers open it, another folder may be the current one.
    is_path = data is not None and str(data) not in DATASETS and Path(data).exists()
    source = Config.of(**{**given, "source": str(Path(data).absolute() if data and is_path else data or "digits")})
    flat = {name: value for section in source.model_dump(mode="json").values() for name, value in section.items()}
    chosen = {name: flat[name] for name in (*given, "source")}
    trials = TRIALS if trials is None and time_s is None else trials
    return Request(chosen, trials, time_s, each_s, seeds, sampler, workers or 1)


def begin(search: Search, asked: Config, dataset: Dataset, say: Say) -> None:
    """Find out what the default is here and how long a trial learns; nothing, where that is known already.

    Raises: UsageError, if the time is too short, or the user has chosen all that could be searched.
    """
    with search.claims.alone("begin"):
        if search.has_begun:
            search.refuse_other_pictures(dataset.fingerprint)
            return
        say("finding out what the default is")
        request = search.request
        each_s = request.each_s or (request.time_s / SHARES if request.time_s else None)
        default, natural_s = _default(asked, dataset, each_s, request, say)
        each_s = each_s or natural_s
        space = space_around(default, request.settings, dataset)
        if not space:
            what = "there is nothing to search"
            if default.training.epochs is None:
                what += f": in {each_s:.0f} s only the head is fitted"
            raise UsageError(what, hint="Set fewer settings, or give each trial more time: --each 2m.")
        if request.searching_s(each_s) < FEWEST * trial_s(each_s):
            what = f"{request.time_s:.0f} s are too short for trials of {each_s:.0f} s, {request.finals} repeats of "
            least = 5 * math.ceil(request.least_s(each_s, FEWEST) / 5 + 1)
            raise UsageError(f"{what}the best and of the default, and judging them", hint=f"Try --time {least}s.")
        search.begin(default, values_of(default, space), space, each_s, dataset.fingerprint)


def _default(asked: Config, dataset: Dataset, each_s: float | None, request: Request, say: Say) -> tuple[Config, float]:
    """What `train` would do, with nothing left open; and how many seconds it would learn."""
    from iconoclass.training.pace import measure

    has_epochs = "epochs" in request.settings
    if each_s and not has_epochs:
        learner, _ = _with_budget(asked, dataset, each_s, request, say)
        return learner.config, each_s
    learner, _ = pipeline.get_ready(asked, dataset, time.monotonic(), None, say)
    if not learner.plan.steps:
        learner, _ = _with_budget(asked, dataset, HEAD_S, request, say)
        return learner.config, HEAD_S
    pace = measure(learner, seconds=1.0)
    judged_s = learner.epochs * len(dataset.validation) * pace.judged_image_s
    return learner.config, learner.plan.steps * pace.step_s + judged_s


def _with_budget(asked: Config, dataset: Dataset, seconds: float, request: Request, say: Say) -> Any:
    """Raises: UsageError, if that is too short to learn anything."""
    try:
        budgeted = asked.with_settings(budget=seconds)
        return pipeline.get_ready(budgeted, dataset, time.monotonic(), None, say)
    except UsageError as error:
        if request.time_s is None or "too short" not in error.what:
            raise
        hint = "Give more --time, or fewer and longer trials with --each."
        raise UsageError(f"{request.time_s:.0f} s are too short for a search: {error.what}", hint=hint) from error


def plan(search: Search) -> str:
    """What is going to happen, in a few lines."""
    request = search.request
    until = f"{request.trials} trials" if request.trials else f"{request.time_s or 0.0:.0f} s in all"
    rows = [
        ("search", f"{until}, each learning {search.each_s:.3g} s; the default is trial 0"),
        ("", f"then the best {FINALISTS} and the default with {request.seeds} other seeds"),
        ("settings", ", ".join(search.space)),
        ("folder", str(search.folder)),
    ]
    return "\n".join(f"{word:<8} {text}" for word, text in rows) + "\n"
