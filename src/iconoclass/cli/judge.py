"""evaluate, report, compare, explain, labels: how good it is, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iconoclass.cli.answers import files_of
from iconoclass.cli.options import Json, ModelPath, Offline, RunPath
from iconoclass.cli.results import print_judgement
from iconoclass.cli.terminal import Phases, advise, dimming, print_json
from iconoclass.errors import UsageError

PANEL = "Judge"
verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
def evaluate(
    run: ModelPath,
    data: Annotated[str | None, typer.Option(help="Labelled pictures; an exported file needs them.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Judge a run again: metrics, predictions and plots, written into its folder. Or an exported file, on pictures.

    \b
    iconoclass evaluate runs/mnist-resnet
    iconoclass evaluate model.tflite --data photos/
    """
    from iconoclass.prediction.predictor import model_file

    if data is not None:
        _evaluate_file(run, data, offline, as_json)
        return
    if model_file(run):
        raise UsageError(f"{run} knows no pictures to be judged on", hint="Give labelled ones: --data DIR")
    with Phases() as phases:
        phases.say("judging on test, validation and train")
        from iconoclass.evaluation.evaluator import evaluate as judge

        report = judge(run, offline=offline, tell=lambda plot: phases.say(f"drawing {plot}"))
    print_judgement(report.run.path, as_json)


def _evaluate_file(path: Path, data: str, offline: bool, as_json: bool) -> None:
    with Phases() as phases:
        phases.say("judging")
        from iconoclass.evaluation.files import evaluate_file
        from iconoclass.evaluation.report import table

        metrics = evaluate_file(path, data, offline=offline)
    if as_json:
        print_json({"model": str(path), **metrics})
    else:
        print(table(metrics, dimming()))


@verbs.command(rich_help_panel=PANEL)
def report(run: RunPath, offline: Offline = False) -> None:
    """Write report.html of a run that has been judged: all of it on one page that can be sent by mail.

    \b
    iconoclass report runs/mnist-resnet
    """
    with Phases() as phases:
        phases.say("writing the page")
        from iconoclass.evaluation import page
        from iconoclass.evaluation.evaluator import reopen
        from iconoclass.run import readable

        path = page.save(reopen(run, offline=offline))
    print(readable(path))
    advise(f"open {readable(path)}")


@verbs.command(rich_help_panel=PANEL)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Two runs or more; the first is the measure.")],
    output: Annotated[Path, typer.Option(help="Folder for compare.html and compare.json.")] = Path("compare"),
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", metavar="", help="Leave with 7 if one is surely worse than the first.")
    ] = False,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Say whether a run is better than another on the same test pictures, and which pictures make the difference.

    \b
    iconoclass compare runs/mnist-mlp runs/mnist-resnet
    iconoclass compare runs/kept runs/new --fail-if-worse
    """
    with Phases() as phases:
        phases.say("comparing")
        from iconoclass.evaluation.compare import compare as beside

        found = beside(*runs)
        folder = found.save(output, offline=offline)
    if as_json:
        print_json(found.as_json())
    else:
        print(found.table())
        print(folder)
    if fail_if_worse:
        found.refuse_worse()


@verbs.command(rich_help_panel=PANEL)
def explain(
    run: RunPath,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs; - reads a list from stdin.")
    ],
    output: Annotated[Path, typer.Option(help="The picture to write.")] = Path("explain.png"),
    offline: Offline = False,
) -> None:
    """Show what the network looked at, the training pictures most like it, and what else it might be.

    \b
    iconoclass explain runs/photos-resnet cat.jpg --output why.png
    """
    files = list(files_of(paths))
    with Phases() as phases:
        phases.say("asking about parts of the pictures")
        from iconoclass.evaluation.explain import explain as why

        found = why(run, files, offline=offline)
        path = found.save(output)
    print(found.text())
    print(path)


@verbs.command(rich_help_panel=PANEL)
def labels(
    run: RunPath,
    write: Annotated[Path | None, typer.Option(help="A decisions.csv to write, for train --decisions.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """List training pictures whose label is likely wrong.

    \b
    iconoclass labels runs/photos-mobilenetv2
    iconoclass labels runs/photos-mobilenetv2 --write decisions.csv
    """
    with Phases() as phases:
        phases.say("looking at the training pictures")
        from iconoclass.evaluation import page
        from iconoclass.evaluation.evaluator import reopen
        from iconoclass.evaluation.labels import suspects
        from iconoclass.run import readable

        found = suspects(run, offline=offline, tell=phases.tell)
        page.save(reopen(found.run, offline=offline))
        path = found.write(write) if write else None
    if as_json:
        print_json(found.as_json())
    else:
        print(found.table())
        print(path or readable(found.run.report_path))
    if path and not as_json:
        sure = sum(one.is_sure for one in found.found)
        advise(
            f"read {path} ({sure:,} relabelled, {len(found.found) - sure:,} for you to decide), then: "
            f"iconoclass train {found.run.dataset['source']} --decisions {path}"
        )
