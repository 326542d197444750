"""A search ends with the default or with what is clearly better, goes on after a kill, and says what was gained."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

import iconoclass as ic
from forking import Mortal
from iconoclass.config import Config
from iconoclass.data.dataset import Dataset, load_dataset
from iconoclass.errors import DataError, EnvironmentFault, RunError, UsageError
from iconoclass.evaluation.report import Report
from iconoclass.models.catalog import MODELS
from iconoclass.run import Run
from iconoclass.runs import listed
from iconoclass.training.pace import prepare_within
from iconoclass.training.recipes import RECIPES, complete
from iconoclass.tuning import space
from iconoclass.tuning import trial as trials_module
from iconoclass.tuning.claims import Claims
from iconoclass.tuning.gain import gain
from iconoclass.tuning.outcome import Outcome
from iconoclass.tuning.page import importance, page
from iconoclass.tuning.pruning import FEWEST, AtEqualTime
from iconoclass.tuning.request import Request
from iconoclass.tuning.search import MOST_ATTEMPTS, MOST_FAILED, Job, Search, near
from iconoclass.tuning.space import SPACES, drawn, space_around, values_of
from iconoclass.tuning.storage import address_of
from iconoclass.tuning.study import begin

SMALL: dict[str, Any] = {"data": "digits", "model": "mlp", "recipe": "textbook", "epochs": 1, "batch_size": 128}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A search on the digits, made once for all tests that only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Report, "plots", lambda self: iter(()))  # which take most of the time
        return ic.tune(**SMALL, trials=6, seeds=2, output=tmp_path_factory.mktemp("search"), name="found")


def test_trials_are_listed_as_what_they_are_and_nobody_is_asked_to_go_on_with_them(found: Outcome) -> None:
    states = {each.run.name: each.state for each in listed(found.path)}
    assert states[found.run.name] == "complete"
    assert set(states.values()) <= {"complete", "tried", "given up"}
    assert "tried" in states.values()


# -- what is searched ------------------------------------------------------------------------------------------------


def network_of(recipe: str) -> str:
    return {"fast": "convnet", "textbook": "convnet-1", "transfer": "mobilenet"}[recipe]


def test_every_recipe_has_a_space() -> None:
    assert SPACES.keys() == RECIPES.keys()


@pytest.fixture
def settings(recipe: str, digits: Dataset) -> dict[str, Any]:
    return {"source": "digits", "model": network_of(recipe), "recipe": recipe, "epochs": 2}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_default_lies_within_what_is_searched(settings: dict[str, Any], digits: Dataset) -> None:
    default = complete(Config.of(**settings), digits)
    ways = space_around(default, {}, digits)
    values = values_of(default, ways)
    assert values
    for name, value in values.items():
        assert ways[name]._contains(ways[name].to_internal_repr(value)), (name, value, ways[name])


@pytest.mark.parametrize("recipe", RECIPES)
def test_whatever_is_drawn_can_be_trained_with(settings: dict[str, Any], digits: Dataset) -> None:
    default = complete(Config.of(**settings), digits)
    ways, random = space_around(default, settings, digits), np.random.default_rng(0)
    for _ in range(50):
        tried = near(values_of(default, ways), ways, random)
        whole = complete(Config.of(**{**settings, **tried}), digits)
        assert {name: value for name, value in whole.flat().items() if name in tried} == tried


def test_what_the_user_has_set_is_not_searched(digits: Dataset) -> None:
    default = complete(Config.of(source="digits", width=24, lr=0.1), digits)
    found = space_around(default, {"width": 24, "lr": 0.1}, digits)
    assert not {"width", "lr", "model"} & found.keys()
    assert "batch_size" in found


def test_a_decay_of_nothing_stays_nothing(digits: Dataset) -> None:
    muon = complete(Config.of(source="digits"), digits)
    assert "weight_decay" not in space_around(muon, {}, digits)
    adamw = complete(Config.of(source="digits", optimizer="adamw"), digits)
    assert "weight_decay" in space_around(adamw, {}, digits)


def test_of_a_head_alone_only_its_features_are_searched(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    default = complete(Config.of(source="digits", model="mobilenet", alpha=0.25), digits)
    assert default.training.epochs is None
    monkeypatch.setattr(space, "_is_at_hand", lambda config, alpha: alpha in (0.25, 0.5))
    [(name, way)] = space_around(default, {}, digits).items()
    assert (name, way.choices) == ("alpha", (0.25, 0.5))
    monkeypatch.setattr(space, "_is_at_hand", lambda config, alpha: alpha == 0.25)
    assert space_around(default, {}, digits) == {}


def test_a_setting_that_the_network_lacks_is_not_tried_with_it(found: Outcome) -> None:
    assert "dropout" in MODELS["mlp"].options
    for trial in found.search.trials:
        assert "width" not in trial.params


@pytest.mark.parametrize(
    "way",
    [
        FloatDistribution(0.01, 1.0, log=True),
        FloatDistribution(0.0, 0.3, step=0.05),
        FloatDistribution(0.0, 0.3),
        IntDistribution(16, 48, step=8),
        CategoricalDistribution(["a", "b"]),
    ],
)
def test_what_is_drawn_lies_within_the_distribution_and_reaches_its_ends(way: Any) -> None:
    random = np.random.default_rng(0)
    values = {drawn(way, random) for _ in range(300)}
    assert all(way._contains(way.to_internal_repr(value)) for value in values)
    if isinstance(way, CategoricalDistribution):
        assert values == set(way.choices)
    elif getattr(way, "step", None):
        assert {way.low, way.high} <= values


def test_near_changes_a_third_of_the_settings_and_no_more(found: Outcome) -> None:
    default = found.search.trials[0].params
    for seed in range(20):
        tried = near(default, found.search.space, np.random.default_rng(seed))
        assert sum(tried[name] != default[name] for name in default) == max(1, round(len(default) / 3))


# -- equal time ------------------------------------------------------------------------------------------------------


def trial_of(reports: dict[float, float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    """reports: what was reached, by seconds."""
    steps = {round(1000 * seconds): value for seconds, value in reports.items()}
    value = max(steps.values()) if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=steps)


def study_of(*completed: dict[float, float]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials([trial_of(reports) for reports in completed])
    return study


SLOW_EPOCHS, FAST_EPOCHS = {40.0: 0.8, 80.0: 0.9}, {10.0: 0.5, 20.0: 0.6, 40.0: 0.7, 60.0: 0.75, 80.0: 0.85}


def test_a_trial_is_compared_after_the_same_time_and_not_the_same_epochs() -> None:
    study, rule = study_of(*[SLOW_EPOCHS] * 3, *[FAST_EPOCHS] * 3), AtEqualTime(100.0)
    # After 41 s the others have 0.8 and 0.7: 0.75 in its second epoch is no reason to give it up ...
    assert not rule.prune(study, trial_of({20.0: 0.3, 41.0: 0.75}, TrialState.RUNNING))
    # ... but after 81 s it is, though it is its second epoch as well.
    assert rule.prune(study, trial_of({40.0: 0.3, 81.0: 0.75}, TrialState.RUNNING))


def test_nobody_is_given_up_early_or_while_little_is_known() -> None:
    hopeless = trial_of({20.0: 0.1}, TrialState.RUNNING)
    assert not AtEqualTime(100.0).prune(study_of(*[FAST_EPOCHS] * 10), hopeless), "a fifth of the time"
    late = trial_of({50.0: 0.1}, TrialState.RUNNING)
    assert not AtEqualTime(100.0).prune(study_of(*[FAST_EPOCHS] * (FEWEST - 1)), late)
    assert AtEqualTime(100.0).prune(study_of(*[FAST_EPOCHS] * FEWEST), late)


def test_one_that_was_better_before_is_not_given_up_for_a_bad_epoch() -> None:
    assert not AtEqualTime(100.0).prune(
        study_of(*[FAST_EPOCHS] * 5), trial_of({40.0: 0.9, 60.0: 0.1}, TrialState.RUNNING)
    )


def test_the_time_of_a_trial_is_for_learning_and_not_for_getting_ready(digits: Dataset) -> None:
    asked = Config.of(source="digits", model="mlp", recipe="textbook", budget=5)
    long_ago = time.monotonic() - 1000
    learner, _ = prepare_within(asked, digits, long_ago, None)
    assert learner.plan.steps > 100
    with pytest.raises(UsageError, match="too short"):
        prepare_within(asked, digits, long_ago, 0)


def request(**changes: Any) -> Request:
    given = {
        "settings": {},
        "trials": None,
        "time_s": 1200.0,
        "each_s": None,
        "seeds": 3,
        "sampler": "tpe",
        "workers": 1,
    }
    return Request(**{**given, **changes})


def test_the_repeats_and_the_judging_fit_into_the_time_that_is_left() -> None:
    each_s = 36.0
    left = 1200.0 - request().searching_s(each_s)
    assert left >= 9 * (each_s + 5), "the best two and the default, three times"
    assert request(workers=4).searching_s(each_s) > request().searching_s(each_s)


# -- what was gained -------------------------------------------------------------------------------------------------


def test_the_interval_of_a_gain_holds_what_it_promises() -> None:
    """Two trainings that truly differ by a point, whose seeds differ by luck: 95 of 100 intervals must hold it."""
    random, hits, rounds = np.random.default_rng(0), 0, 400
    for _ in range(rounds):
        hard = random.beta(9, 1, 2000)  # how likely each picture is got right
        first, second = (
            random.random((3, 2000)) < np.clip(hard + better + random.normal(0, 0.01, (3, 1)), 0, 1)
            for better in (-0.005, 0.005)
        )
        truth = np.clip(hard + 0.005, 0, 1).mean() - np.clip(hard - 0.005, 0, 1).mean()
        estimate = gain(first, second)
        hits += estimate.low <= truth <= estimate.high
    assert 0.94 <= hits / rounds <= 1.0


def test_a_gain_that_every_seed_and_picture_shows_is_sure_and_none_is_none() -> None:
    random = np.random.default_rng(0)
    first = random.random((3, 5000)) < 0.9
    second = first | (random.random((3, 5000)) < 0.3)
    found = gain(first, second)
    assert found.low > 0.01
    assert found.value == pytest.approx(second.mean() - first.mean())
    same = gain(first, first)
    assert same.low < 0 == same.value < same.high


def test_one_seed_alone_speaks_of_pictures_only() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((1, 1000)) < 0.8, random.random((1, 1000)) < 0.9
    found = gain(first, second)
    assert found.low < found.value < found.high


# -- a whole search --------------------------------------------------------------------------------------------------


def test_the_first_trial_is_the_default_itself(found: Outcome, digits: Dataset) -> None:
    first = found.search.run_of(found.search.trials[0])
    asked = {name: value for name, value in SMALL.items() if name != "data"}
    assert first.config == complete(Config.of(source="digits", **asked), digits)


def test_every_trial_is_a_run_with_its_own_settings_and_value(found: Outcome) -> None:
    trials = [*found.search.trials, *found.search.repeats]
    assert [trial.number for trial in trials] == list(range(len(trials)))
    folders = {run.path.name for run in Run.all_in(found.path)}
    assert folders == {found.search.run_of(trial).name for trial in trials}
    for trial in trials:
        run = found.search.run_of(trial)
        flat = run.config.flat()
        assert {name: flat[name] for name in trial.params} == trial.params
        if trial.state == TrialState.COMPLETE:
            assert trial.value == max(row["val_accuracy"] for row in run.history)


def test_a_trial_can_be_asked_and_gone_on_with(found: Outcome, tmp_path: Path) -> None:
    trial = found.search.run_of(next(trial for trial in found.search.trials if trial.state == TrialState.COMPLETE))
    copy = Run(shutil.copytree(trial.path, tmp_path / "trial"))
    answers = ic.Predictor.load(copy.path).predict(np.zeros((2, 8, 8), np.uint8)[..., None])
    assert len(answers) == 2
    resumed = ic.resume(copy)
    assert resumed.is_complete
    assert resumed.metrics["validation"]["accuracy"]["value"] == pytest.approx(trial.history[-1]["val_accuracy"])


def test_test_pictures_are_looked_at_once_and_only_by_the_winner_and_the_default(found: Outcome) -> None:
    judged = {0, found.winner}
    for trial in (*found.search.trials, *found.search.repeats):
        looks = [look["by"] for look in found.search.run_of(trial).looks]
        assert looks == (["tune"] if trial.user_attrs.get("repeats") in judged else []), trial.number


def test_the_best_and_the_default_are_repeated_with_seeds_that_chose_nothing(found: Outcome) -> None:
    repeats = [
        (trial.user_attrs["repeats"], found.search.run_of(trial).config.training.seed) for trial in found.search.repeats
    ]
    assert len(repeats) == len(set(repeats)) == 3 * 2
    assert {seed for _, seed in repeats} == {1, 2}
    assert 0 in {number for number, _ in repeats}
    assert found.winner in {number for number, _ in repeats}


@pytest.mark.parametrize(
    ("others", "winner"),
    [
        ([[0.90, 0.92, 0.94]], 0),  # equal
        ([[0.909, 0.921, 0.942]], 0),  # ahead by less than seeds make out
        ([[0.93, 0.95, 0.97]], 5),
        ([[0.93, 0.95, 0.97], [0.94, 0.95, 0.97]], 6),
        ([[0.93, 0.95, 0.97], [0.99]], 5),  # of the last one not all repeats were learned
        ([[0.80, 0.85, 0.90]], 0),
    ],
)
def test_only_what_is_clearly_ahead_takes_the_place_of_the_default(others: list[list[float]], winner: int) -> None:
    finals = {0: [0.90, 0.92, 0.94], **dict(enumerate(others, 5))}
    learned = {number: [SimpleNamespace(value=value) for value in values] for number, values in finals.items()}
    search = SimpleNamespace(finals=learned, request=SimpleNamespace(seeds=3))
    assert Search.winner.fget(search) == winner  # type: ignore[attr-defined]


def test_of_one_seed_each_any_lead_counts() -> None:
    learned = {number: [SimpleNamespace(value=value)] for number, value in ((0, 0.9), (3, 0.91))}
    assert Search.winner.fget(SimpleNamespace(finals=learned, request=SimpleNamespace(seeds=1))) == 3  # type: ignore[attr-defined]


def test_the_winner_is_never_below_the_default(found: Outcome) -> None:
    assert found.means[found.winner] >= found.means[0]
    assert found.run.config.flat().items() >= found.changes.items()


def test_what_is_said_and_written_is_the_same(found: Outcome) -> None:
    written = json.loads((found.path / "tune.json").read_text(encoding="utf-8"))
    assert written["verdict"] == found.verdict()
    assert len(written["trials"]) == 6 + 6
    assert written["gain"]["value"] == pytest.approx(
        written["test_accuracy"]["winner"] - written["test_accuracy"]["default"], abs=1e-12
    )
    assert found.verdict() in found.table()


def test_the_page_says_the_verdict_and_shows_every_trial_without_a_network(found: Outcome) -> None:
    text = (found.path / "tune.html").read_text(encoding="utf-8")
    assert "Repeated, so that luck does not win" in text
    assert text.count("<circle") == sum(
        trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in found.search.trials
    )
    assert not re.search(r"(?:src|href)=['\"]?https?:", text)
    assert "Content-Security-Policy" in text


def test_a_name_on_the_page_stays_text(found: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outcome, "verdict", lambda self: "<script>alert(1)</script>")
    assert "<script>alert" not in page(Outcome(found.search))


def test_importance_names_what_matters_and_says_nothing_of_few_trials(found: Outcome) -> None:
    assert importance(found.search) == {}, "of six trials"
    ways = {"lr": FloatDistribution(0.0, 1.0), "shift": FloatDistribution(0.0, 1.0)}
    random = np.random.default_rng(0)
    tried = [{"lr": random.random(), "shift": random.random()} for _ in range(40)]
    trials = [create_trial(params=params, distributions=ways, value=-((params["lr"] - 0.3) ** 2)) for params in tried]
    shares = importance(SimpleNamespace(space=ways, trials=trials))  # type: ignore[arg-type]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["lr"] > 0.8


def test_a_default_that_cannot_be_beaten_is_said_to_be_so(found: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Search, "winner", property(lambda self: 0))
    unbeaten = Outcome(found.search)
    assert "could not be beaten" in unbeaten.verdict()
    assert unbeaten.changes == {}
    assert unbeaten.gain.value == 0
    assert "What to change" not in page(unbeaten)


def test_the_same_words_go_on_where_the_search_is_not_complete_and_begin_anew_where_it_is(found: Outcome) -> None:
    folder, asked = found.path, found.search.request
    again = Search.find_or_make(folder, Request(**{**vars(asked), "study": ""}), None)
    assert again.folder.name == "found-2"
    once_more = Search.find_or_make(folder, Request(**{**vars(asked), "study": ""}), None)
    assert once_more.folder == again.folder
    assert once_more.request.study == again.request.study
    other = Search.find_or_make(folder, Request(**{**vars(asked), "trials": 11, "study": ""}), None)
    assert other.folder.name == "found-3"


# -- what fails ------------------------------------------------------------------------------------------------------


@pytest.fixture
def search(digits: Dataset, tmp_path: Path) -> Search:
    settings = {"source": "digits", **{name: value for name, value in SMALL.items() if name != "data"}}
    made = Search.find_or_make(tmp_path / "search", request(settings=settings, trials=4, time_s=None, seeds=1), None)
    begin(made, Config.of(**settings), digits, lambda text: None)
    return made


def learn(search: Search, digits: Dataset) -> FrozenTrial:
    job = search.claim()
    assert job
    with job.held:
        trials_module.try_out(search, job, digits, lambda text: None)
    return search.study.get_trials(deepcopy=False)[job.number]


def given_back(job: Job | None) -> tuple[int, int]:
    """The number of a trial, and which attempt at it this was; its process then dies, as it were."""
    assert job
    job.held.close()
    return job.number, job.attempt


def failing(monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> None:
    """Trainings end with these errors, one after the other; the last one again and again."""
    learn, left = trials_module.pipeline.learn, list(errors)

    def fail(*arguments: Any) -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error:
            raise error
        learn(*arguments)

    monkeypatch.setattr(trials_module.pipeline, "learn", fail)


def test_a_trial_that_diverges_is_recorded_with_its_reason_and_the_search_goes_on(
    search: Search, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, None, ic.errors.DivergedError("the loss became nan"), None)
    ended = [learn(search, digits) for _ in range(3)]
    assert [trial.state for trial in ended] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert "the loss became nan" in ended[1].user_attrs["reason"]
    assert "failed" in search.said_of(1)
    assert len(search.trials) == 3


def test_too_little_memory_for_one_trial_is_its_own_fault_and_a_full_disk_is_not(
    search: Search, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(
        monkeypatch, None, EnvironmentFault("not enough memory", code="MEMORY"), EnvironmentFault("the disk is full")
    )
    learn(search, digits)
    assert learn(search, digits).state == TrialState.FAIL
    with pytest.raises(EnvironmentFault, match="the disk is full"):
        learn(search, digits)
    assert search.study.get_trials()[2].state == TrialState.RUNNING, "it is gone on with when there is room"
    assert given_back(search.claim()) == (2, 2)


def test_a_default_that_cannot_be_trained_ends_the_search(
    search: Search, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ValueError("no"))
    with pytest.raises(RunError, match="the default itself cannot be trained: ValueError: no"):
        learn(search, digits)


def test_a_search_in_which_everything_fails_ends(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, None, ValueError("no"))
    ready = trials_module.pipeline.get_ready
    learners: list[Any] = []

    def made_once(*arguments: Any) -> Any:
        learners.append(ready(*arguments) if len(learners) < 2 else learners[-1])
        return learners[-1]

    monkeypatch.setattr(trials_module.pipeline, "get_ready", made_once)
    with pytest.raises(RunError, match=f"{MOST_FAILED} trials in a row have failed, the last one: ValueError: no"):
        ic.tune(**SMALL, trials=40, seeds=1, output=tmp_path)


def test_a_trial_that_ends_its_process_again_and_again_is_not_tried_for_ever(search: Search, digits: Dataset) -> None:
    learn(search, digits)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert given_back(search.claim()) == (1, attempt)
    last = learn(search, digits)
    assert (last.number, last.state) == (1, TrialState.FAIL)
    assert last.user_attrs["reason"] == f"it has ended its process {MOST_ATTEMPTS} times"
    assert learn(search, digits).number == 2


def test_a_trial_that_gets_further_each_time_is_tried_as_often_as_it_takes(search: Search, digits: Dataset) -> None:
    """As on machines that are taken away every few minutes."""
    learn(search, digits)
    for epoch in range(2 * MOST_ATTEMPTS):
        job = search.claim()
        assert job
        assert job.attempt == 1
        search.report(job, 0.1, 10.0 + epoch)
        given_back(job)
    assert learn(search, digits).state == TrialState.COMPLETE


def test_a_trial_that_somebody_learns_is_nobody_elses(search: Search) -> None:
    first = search.claim()
    assert given_back(Search(search.folder).claim())[0] == 1
    assert given_back(first)[0] == 0


def test_a_trial_that_has_ended_while_another_worker_looked_is_not_taken_up_again(
    search: Search, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Search(search.folder)
    job = search.claim()
    assert job
    before = other.study.get_trials()
    trials_module.try_out(search, job, digits, lambda text: None)
    job.held.close()
    get_trials = other.study.get_trials
    seen = iter([before])
    monkeypatch.setattr(other.study, "get_trials", lambda **options: next(seen, None) or get_trials(**options))
    assert given_back(other.claim())[0] == 1


def test_what_a_trial_tries_is_the_same_when_it_is_taken_up_again(search: Search, digits: Dataset) -> None:
    learn(search, digits)
    first = search.claim()
    given_back(first)
    second = Search(search.folder).claim()
    given_back(second)
    assert first
    assert second
    assert (second.number, second.params) == (first.number, first.params)


def test_other_pictures_are_refused(search: Search) -> None:
    with pytest.raises(DataError, match="the pictures have changed"):
        search.refuse_other_pictures("0" * 64)


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\nfrom iconoclass.tuning.claims import Claims\n"
        f"held = Claims(Path({str(tmp_path)!r})).take(3)\nprint('held', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        assert Claims(tmp_path).take(3) is None
        other = Claims(tmp_path).take(4)
        assert other
        other.close()
        process.kill()
        process.wait()
        free = Claims(tmp_path).take(3)
        assert free
        free.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"trials": 2}, "--trials must be 3 or more"),
        ({"trials": 5, "time_s": 60.0}, "--trials and --time exclude each other"),
        ({"time_s": 0.0}, "--time must be more than 0"),
        ({"each_s": -1.0}, "--each must be more than 0"),
        ({"each_s": 5.0, "epochs": 2}, "--each and --epochs exclude each other"),
        ({"budget": 60}, "each trial has --each"),
        ({"seeds": 0}, "--seeds must be 1 to 20"),
        ({"sampler": "genetic"}, "there is no sampler 'genetic'"),
        ({"workers": -1}, "--workers must be 1 to 1000"),
        ({"storage": "mysql://me@there/db"}, "--storage must be postgresql://"),
        ({"cluster": "10.0.0.1:6379"}, "cannot share an SQLite file"),
        ({"time_s": 20.0}, "too short"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(
    wrong: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        ic.tune("digits", output=tmp_path, **wrong)
    assert not list(tmp_path.rglob("config.toml"))


def test_the_password_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "a b")
    assert address_of("postgresql://me@db/tune") == "postgresql+pg8000://me:a b@db/tune"
    assert "a b" not in address_of("postgresql://me:other@db/tune")


def test_a_database_that_is_not_there_is_said_to_be_so_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        ic.tune("digits", output=tmp_path, trials=3, storage="postgresql://me:secret@127.0.0.1:1/tune")
    assert "secret" not in str(caught.value)
    assert "secret" not in (tmp_path / "digits-tune" / "search.json").read_text(encoding="utf-8")


# -- killed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    mortal = Mortal("searching.py")
    yield mortal
    mortal.end()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server of its own, which ends with the tests."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # as Debian's package has it
    if not installed:
        pytest.skip("NOT RUN: needs PostgreSQL (apt-get install postgresql)")
    programs = installed[-1]
    folder = tmp_path_factory.mktemp("postgres")
    # It refuses to run as root: there it runs as the user that its package has made.
    runuser = shutil.which("runuser", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "runuser"
    user = [runuser, "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        for parent in (folder, *folder.parents):
            if parent != Path("/tmp") and str(parent).startswith("/tmp"):
                parent.chmod(0o755)
        shutil.chown(folder, "postgres")
    data = folder / "data"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*user, programs / "initdb", "-D", data, "-A", "trust", "-U", "me"], **quiet)
    port = 20_000 + os.getpid() % 20_000
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    subprocess.run(
        [*user, programs / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start"], **quiet
    )
    yield f"postgresql://me@127.0.0.1:{port}/postgres"
    subprocess.run([*user, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **{**quiet, "check": False})


def assert_none_lost_or_doubled(search: Search, trials: int, repeats: int) -> None:
    everything = search.study.get_trials()
    assert [trial.number for trial in everything] == list(range(trials + repeats))
    assert all(trial.state.is_finished() for trial in everything)
    assert len(search.trials) == trials
    assert len({(trial.user_attrs["repeats"], trial.user_attrs["with"]["seed"]) for trial in search.repeats}) == repeats
    runs = Run.all_in(search.folder)
    assert sorted(run.name for run in runs) == sorted(search.run_of(trial).name for trial in everything)
    for trial in everything:
        if trial.state == TrialState.COMPLETE:
            run = search.run_of(trial)
            assert trial.value == max(row["val_accuracy"] for row in run.history)
            assert [row["epoch"] for row in run.history] == [1, 2]


@pytest.mark.parametrize("storage", ["SQLite", "PostgreSQL"])
def test_killed_at_random_moments_a_search_loses_no_trial_and_doubles_none(
    storage: str, mortal: Mortal, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = int(os.environ.get("ICONOCLASS_SEARCH_KILLS", 2))
    asked: dict[str, Any] = {**SMALL, "epochs": 2, "trials": 3, "seeds": 1, "output": str(tmp_path), "checkpoint_s": 0}
    if storage == "PostgreSQL":
        asked["storage"] = request.getfixturevalue("postgres")
    random, kills, rounds = np.random.default_rng(0), 0, 0
    while True:
        asked["name"] = f"search-{rounds}"
        status = mortal.ask(dict(asked), kill_s=float(random.uniform(0.3, 4.0)) if kills < wanted else None)
        if status == 0:
            search = Search(tmp_path / asked["name"], asked.get("storage"))
            assert_none_lost_or_doubled(search, 3, 3)
            rounds += 1
            if kills >= wanted:
                break
        else:
            assert status == -signal.SIGKILL
            kills += 1


@pytest.mark.slow
def test_a_trial_in_which_the_process_dies_each_time_ends_as_failed(mortal: Mortal, tmp_path: Path) -> None:
    """As of a network that is too large for the memory, where the system kills without a word."""
    asked: dict[str, Any] = {**SMALL, "trials": 3, "seeds": 1, "output": str(tmp_path)}
    assert mortal.ask({**asked, "die": 1}) == -signal.SIGKILL
    for _ in range(MOST_ATTEMPTS - 1):
        assert mortal.ask({**asked, "die": 0}) == -signal.SIGKILL
    assert mortal.ask(asked) == 0
    states = [trial.state for trial in Search(tmp_path / "digits-tune").trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
