"""settle(): when all is learned, the one look at the test part."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from iconoclass.data.dataset import Dataset
from iconoclass.files import write_json, write_text
from iconoclass.run import Run
from iconoclass.tuning.outcome import Outcome
from iconoclass.tuning.page import page
from iconoclass.tuning.search import Search
from iconoclass.tuning.trial import Say


def settle(search: Search, dataset: Dataset, say: Say) -> Outcome:
    """Judge the winner's and the default's repeats on test, each once, and write tune.json and tune.html."""
    with search.claims.alone("settle"):
        finals = search.finals
        trials = finals[0] if search.winner == 0 else [*finals[0], *finals[search.winner]]
        for trial in trials:
            _judge(search.run_of(trial), trial, dataset, say)
        found = Outcome(search)
        write_text(search.folder / "tune.html", page(found))
        write_json(search.folder / "tune.json", found.as_json())
    return found


def _judge(run: Run, trial: FrozenTrial, dataset: Dataset, say: Say) -> None:
    if run.is_complete:
        return
    from iconoclass.evaluation.evaluator import evaluate

    say(f"judging {run.name} on test")
    report = evaluate(run, dataset=dataset, by="tune")
    summary = {"seconds": trial.user_attrs["seconds"], "test_accuracy": report.metrics["test"]["accuracy"]}
    run.finish(summary)
