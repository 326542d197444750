"""The command line: parse, call the pipeline or one stage, print. No arithmetic, and nothing heavy before it is needed.

stdout is for results, stderr for progress and advice.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from iconoclass.errors import DataError, IconoclassError, Interrupted, UsageError
from iconoclass.files import printable

if TYPE_CHECKING:
    from rich.console import Console

    from iconoclass.folds import Folds
    from iconoclass.prediction.predictor import Prediction
    from iconoclass.runs import Listed

# What a run is said to have taken counts from here, imports and all.
_BEGAN = time.monotonic()

app = typer.Typer(
    name="iconoclass",
    help="Pictures in, a classifier you can trust, see and ship out.\n\nStart with: iconoclass train",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

LEARN, JUDGE, USE, AROUND = "Learn", "Judge", "Use", "Look around"
DATA, NETWORK, LEARNING, AUGMENTATION, OUTPUT = "Data", "Network", "Learning", "Augmentation", "Output"


def _option(panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, show_default=False, **more)


Data = Annotated[
    str, typer.Argument(help="digits, mnist, fashion_mnist, cifar10, cifar100; or a folder, CSV, .npz, archive.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, as `train` prints it.")]
ModelPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or an exported model file.")]
Offline = Annotated[bool, typer.Option("--offline", metavar="", help="Never open a connection.")]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON for machines.")]


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from iconoclass import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, metavar="", help="Print the version and leave."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", metavar="", help="Show tracebacks.")] = False,
) -> None:
    pass


# -- verbs ---------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=LEARN)
def train(
    data: Annotated[
        str | None, typer.Argument(help="digits (default), mnist, fashion_mnist, cifar10, cifar100; or a path.")
    ] = None,
    # The names, ranges and meanings are those of config.py; docs/cli.md is compared with both by a test.
    image_size: Annotated[str | None, _option(DATA, help="Side in pixels, or HEIGHTxWIDTH.")] = None,
    resize: Annotated[str | None, _option(DATA, help="crop (default), pad or squash.")] = None,
    color: Annotated[str | None, _option(DATA, help="grey or rgb; default: as the pictures are.")] = None,
    validation: Annotated[str | None, _option(DATA, help="What chooses: split (of train, default) or test.")] = None,
    validation_split: Annotated[str | None, _option(DATA, help="Share of train that chooses: 10%.")] = None,
    test_split: Annotated[str | None, _option(DATA, help="Share judged if there is no test part: 20%.")] = None,
    split_seed: Annotated[int | None, _option(DATA, help="Another split of the same pictures: 0.")] = None,
    fold: Annotated[str | None, _option(DATA, help="Judge one fold of several: 2/5.")] = None,
    together: Annotated[str | None, _option(DATA, help="none: divides groups and copies, as naive splits do.")] = None,
    max_bad: Annotated[str | None, _option(DATA, help="Share of unreadable files that are left out: 1%.")] = None,
    allow_outside: Annotated[
        bool | None, _option(DATA, "--allow-outside", metavar="", help="A CSV may name pictures anywhere.")
    ] = None,
    decisions: Annotated[
        Path | None, _option(DATA, help="A decisions.csv of `check`: what is left out or moved.")
    ] = None,
    group_by: Annotated[str | None, _option(DATA, help="Never divided: folder:2, name:(REGEX), column:NAME.")] = None,
    strict: Annotated[
        bool | None, _option(DATA, "--strict", metavar="", help="Leaks and conflicts are errors.")
    ] = None,
    model: Annotated[
        str | None, _option(NETWORK, help="Default: mobilenetv2 for photos, else resnet; see `iconoclass models`.")
    ] = None,
    width: Annotated[int | None, _option(NETWORK, help="Filters of the first block.")] = None,
    dropout: Annotated[float | None, _option(NETWORK, help="Dropout before the last layer.")] = None,
    alpha: Annotated[float | None, _option(NETWORK, help="Width multiplier of a MobileNet: 0.35 to 1.4.")] = None,
    weights: Annotated[
        str | None, _option(NETWORK, help="Of a backbone: imagenet (default), none, a file, a run's folder.")
    ] = None,
    views: Annotated[str | None, _option(NETWORK, help="mirrored: asks about the mirror image too.")] = None,
    recipe: Annotated[str | None, _option(LEARNING, help="Defaults for the rest: fast, textbook, transfer.")] = None,
    budget: Annotated[str | None, _option(LEARNING, help="Time for all, start to judged model: 90s, 5m, 1h.")] = None,
    target: Annotated[str | None, _option(LEARNING, help="Stop when validation surely exceeds this: 0.93.")] = None,
    epochs: Annotated[float | None, _option(LEARNING, help="Passes over the training part; 2.5 is allowed.")] = None,
    batch_size: Annotated[int | None, _option(LEARNING, help="Images a step.")] = None,
    optimizer: Annotated[str | None, _option(LEARNING, help="adam, adamw, muon or sgd.")] = None,
    lr: Annotated[float | None, _option(LEARNING, help="Learning rate at its highest.")] = None,
    momentum: Annotated[float | None, _option(LEARNING, help="Nesterov momentum, of sgd and muon.")] = None,
    weight_decay: Annotated[float | None, _option(LEARNING, help="Decoupled; of kernels only.")] = None,
    schedule: Annotated[str | None, _option(LEARNING, help="constant, cosine, linear, triangular or plateau.")] = None,
    label_smoothing: Annotated[float | None, _option(LEARNING, help="Share of a label given to all classes.")] = None,
    average: Annotated[float | None, _option(LEARNING, help="Decay of the averaged weights; 0: none.")] = None,
    patience: Annotated[
        int | None, _option(LEARNING, help="Epochs without a better one until it stops; 0: never.")
    ] = None,
    balance: Annotated[str | None, _option(LEARNING, help="auto (default), none, weights or sampler.")] = None,
    monitor: Annotated[
        str | None, _option(LEARNING, help="Chooses the epoch: auto (default), accuracy or macro_f1.")
    ] = None,
    unfreeze: Annotated[
        float | None, _option(LEARNING, help="Share of a backbone that learns after the head: 0 to 1.")
    ] = None,
    one_hot: Annotated[
        bool | None, _option(LEARNING, "--one-hot", metavar="", help="One-hot labels; the same result.")
    ] = None,
    precision: Annotated[str | None, _option(LEARNING, help="auto (default), float32 or bfloat16.")] = None,
    seed: Annotated[int | None, _option(LEARNING, help="Of weights, order and augmentation: 0.")] = None,
    flip: Annotated[float | None, _option(AUGMENTATION, help="Share of images mirrored: 0 to 1.")] = None,
    shift: Annotated[float | None, _option(AUGMENTATION, help="Up to this share of the side: 0 to 0.5.")] = None,
    rotate: Annotated[float | None, _option(AUGMENTATION, help="Up to so many degrees: 0 to 180.")] = None,
    zoom: Annotated[float | None, _option(AUGMENTATION, help="Scale by up to 1 ± this: 0 to 1.")] = None,
    brightness: Annotated[float | None, _option(AUGMENTATION, help="By up to 1 ± this: 0 to 1.")] = None,
    contrast: Annotated[float | None, _option(AUGMENTATION, help="By up to 1 ± this: 0 to 1.")] = None,
    cutout: Annotated[float | None, _option(AUGMENTATION, help="Side of a greyed rectangle: 0 to 1.")] = None,
    mixup: Annotated[float | None, _option(AUGMENTATION, help="Alpha of the blend of two images.")] = None,
    cutmix: Annotated[float | None, _option(AUGMENTATION, help="Alpha of the patch from another image.")] = None,
    checkpoint_s: Annotated[float | None, _option(OUTPUT, help="Seconds between checkpoints: 30.")] = None,
    log: Annotated[str | None, _option(OUTPUT, help="tensorboard: event files in the run's folder.")] = None,
    output: Annotated[Path, _option(OUTPUT, help="Folder in which the run's folder is made: runs/.")] = Path("runs"),
    name: Annotated[str | None, _option(OUTPUT, help="The run's name; default: DATA-MODEL.")] = None,
    config: Annotated[
        Path | None, _option(OUTPUT, help="A config.toml to repeat; options replace its settings.")
    ] = None,
    resume: Annotated[
        Path | None, _option(OUTPUT, help="Go on with this run instead; see `iconoclass resume`.")
    ] = None,
    folds: Annotated[int | None, _option(OUTPUT, help="Train and judge once for each of so many folds.")] = None,
    compare_naive: Annotated[
        bool, _option(OUTPUT, "--compare-naive", metavar="", help="Train again on a naive split; say what it claims.")
    ] = False,
    offline: Annotated[bool, _option(OUTPUT, "--offline", metavar="", help="Never open a connection.")] = False,
    as_json: Annotated[bool, _option(OUTPUT, "--json", metavar="", help="Print JSON for machines.")] = False,
) -> None:
    """Train, judge and keep a classifier.

    \b
    iconoclass train                                   # the digits that come along
    iconoclass train fashion_mnist --model convnet-3 --recipe textbook --epochs 10
    iconoclass train photos/ --weights mobilenet_v2.h5 --epochs 5
    iconoclass train photos/ --model resnet --image-size 64 --max-bad 10%
    iconoclass train --config runs/mnist-resnet/config.toml --seed 1
    """
    given = locals()
    settings = {key: value for key, value in given.items() if key not in _NOT_SETTINGS}
    settings["decisions"] = str(decisions) if decisions else None
    if resume:
        _refuse_beside_resume(given)
        _go_on(resume, epochs, force=False, offline=offline, as_json=as_json)
        return
    console = _console()
    with _Phases(console) as phases:
        from iconoclass import folds as cross_validation
        from iconoclass import pipeline
        from iconoclass.training.progress import Lines, Live

        common: dict[str, Any] = {
            "config": config,
            "output": output,
            "name": name,
            "offline": offline,
            "compare_naive": compare_naive,
            "listener": Live(console) if console.is_terminal else Lines(),
            "say": phases.say,
            "tell": phases.tell,
            "progress": phases.fetched,
            "began": _BEGAN,
        }
        if folds is None:
            run = pipeline.train(data, **common, **settings)
        else:
            validated = cross_validation.cross_validate(data, folds, **common, **settings)
    if folds is None:
        _print_judgement(run.path, as_json)
    else:
        _print_folds(validated, as_json)


# What `train` is called with that is no setting of config.py.
_NOT_SETTINGS = {"data", "folds", "compare_naive", "config", "output", "name", "resume", "offline", "as_json"}


@app.command(rich_help_panel=LEARN)
def resume(
    run: RunPath,
    epochs: Annotated[float | None, typer.Option(help="So many in all, also of a complete run.")] = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Also if data, versions or machine are others now.")
    ] = False,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped or killed, from its very step, to the same model.

    \b
    iconoclass resume runs/cifar10-resnet
    iconoclass resume runs/cifar10-resnet --epochs 20
    """
    _go_on(run, epochs, force=force, offline=offline, as_json=as_json)


def _go_on(run: Path, epochs: float | None, *, force: bool, offline: bool, as_json: bool) -> None:
    from iconoclass.run import Run

    opened = Run.open(run)
    if opened.is_complete and epochs is None:
        print(f"{opened.name} is complete; --epochs N makes it learn on", file=sys.stderr)
        _print_judgement(opened.path, as_json)
        return
    console = _console()
    with _Phases(console) as phases:
        from iconoclass import resuming
        from iconoclass.training.progress import Lines, Live

        resuming.resume(
            opened,
            epochs=epochs,
            force=force,
            offline=offline,
            listener=Live(console) if console.is_terminal else Lines(),
            say=phases.say,
            tell=phases.tell,
            progress=phases.fetched,
            began=_BEGAN,
        )
    _print_judgement(opened.path, as_json)


def _refuse_beside_resume(given: dict[str, Any]) -> None:
    """Raises: UsageError, if settings are given that the run has long decided."""
    usual = {"resume", "epochs", "offline", "as_json", "output", "compare_naive"}
    if others := [name for name, value in given.items() if value is not None and name not in usual]:
        options = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in others)
        raise UsageError(
            f"with --resume only --epochs can be given. Received: {options}", hint="Train anew, or leave them out."
        )


@app.command(rich_help_panel=LEARN)
def check(
    data: Annotated[str, typer.Argument(help="A folder, a CSV or an archive of pictures.")],
    output: Annotated[Path, typer.Option(help="Folder for check.html, check.json, decisions.csv.")] = Path("check"),
    decisions: Annotated[Path | None, typer.Option(help="A decisions.csv from before.")] = None,
    group_by: Annotated[str | None, typer.Option(help="folder:2, name:(REGEX) or column:NAME.")] = None,
    allow_outside: Annotated[
        bool | None, typer.Option("--allow-outside", metavar="", help="A CSV may name pictures anywhere.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", metavar="", help="Leave with 3 if there are leaks or conflicts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at pictures before an hour is spent on them: copies, leaks, conflicts, shortcuts, odd ones.

    \b
    iconoclass check photos/
    iconoclass check photos/ --decisions check/decisions.csv --output checked
    """
    with _Phases(_console()) as phases:
        phases.say("looking at the pictures")
        from iconoclass.data import inspection

        seen = inspection.check(
            data,
            tell=phases.tell,
            decisions=str(decisions) if decisions else None,
            group_by=group_by,
            allow_outside=allow_outside,
            strict=strict,
        )
        phases.say("writing the page")
        folder = seen.save(output)
    if as_json:
        _print_json(seen.findings)
    else:
        print(seen.table())
        print(folder)
    if strict:
        seen.refuse_faults()
    if not as_json:
        if seen.decisions:
            _advise(f"open {folder}/check.html, edit {folder}/decisions.csv, then:")
            _advise(f"iconoclass train {data} --decisions {folder}/decisions.csv")
        else:
            _advise(f"iconoclass train {data}")


@app.command(rich_help_panel=LEARN)
def curve(
    data: Data = "digits",
    points: Annotated[int, typer.Option(help="So many samples, from a tenth to all: 3 to 20.")] = 4,
    model: Annotated[str | None, typer.Option(help="As for train.")] = None,
    weights: Annotated[str | None, typer.Option(help="As for train.")] = None,
    alpha: Annotated[float | None, typer.Option(help="As for train.")] = None,
    width: Annotated[int | None, typer.Option(help="As for train.")] = None,
    recipe: Annotated[str | None, typer.Option(help="As for train.")] = None,
    epochs: Annotated[float | None, typer.Option(help="As for train; default: as each sample asks for.")] = None,
    image_size: Annotated[str | None, typer.Option(help="As for train.")] = None,
    seed: Annotated[int | None, typer.Option(help="As for train.")] = None,
    output: Annotated[Path, typer.Option(help="Folder in which the folder of all runs is made.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Its name; default: DATA-curve.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Say what more pictures would be worth: train on growing samples of those that there are.

    \b
    iconoclass curve photos/ --epochs 10
    """
    settings = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS | {"points"}}
    console = _console()
    with _Phases(console) as phases:
        from iconoclass.curve import learning_curve
        from iconoclass.run import readable
        from iconoclass.training.progress import Lines, Live

        found = learning_curve(
            data,
            points,
            output=output,
            name=name,
            offline=offline,
            began=_BEGAN,
            listener=Live(console) if console.is_terminal else Lines(sys.stderr),
            say=phases.say,
            tell=phases.tell,
            progress=phases.fetched,
            **settings,
        )
    if as_json:
        _print_json({"path": str(found.path), **found.as_json()})
    else:
        print(found.table())
        print(readable(found.path))


@app.command(rich_help_panel=JUDGE)
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
    with _Phases(_console()) as phases:
        phases.say("judging on test, validation and train")
        from iconoclass.evaluation.evaluator import evaluate as judge

        report = judge(run, offline=offline, tell=lambda plot: phases.say(f"drawing {plot}"))
    _print_judgement(report.run.path, as_json)


def _evaluate_file(path: Path, data: str, offline: bool, as_json: bool) -> None:
    with _Phases(_console()) as phases:
        phases.say("judging")
        from iconoclass.evaluation.files import evaluate_file
        from iconoclass.evaluation.report import table

        metrics = evaluate_file(path, data, offline=offline)
    if as_json:
        _print_json({"model": str(path), **metrics})
    else:
        print(table(metrics, _quiet()))


@app.command(rich_help_panel=JUDGE)
def report(run: RunPath, offline: Offline = False) -> None:
    """Write report.html of a run that has been judged: all of it on one page that can be sent by mail.

    \b
    iconoclass report runs/mnist-resnet
    """
    with _Phases(_console()) as phases:
        phases.say("writing the page")
        from iconoclass.evaluation import page
        from iconoclass.evaluation.evaluator import reopen
        from iconoclass.run import readable

        path = page.save(reopen(run, offline=offline))
    print(readable(path))
    _advise(f"open {readable(path)}")


@app.command(rich_help_panel=JUDGE)
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
    with _Phases(_console()) as phases:
        phases.say("comparing")
        from iconoclass.evaluation.compare import compare as beside

        found = beside(*runs)
        folder = found.save(output, offline=offline)
    if as_json:
        _print_json(found.as_json())
    else:
        print(found.table())
        print(folder)
    if fail_if_worse:
        found.refuse_worse()


@app.command(rich_help_panel=JUDGE)
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
    files = list(_files(paths))
    with _Phases(_console()) as phases:
        phases.say("asking about parts of the pictures")
        from iconoclass.evaluation.explain import explain as why

        found = why(run, files, offline=offline)
        path = found.save(output)
    print(found.text())
    print(path)


@app.command(rich_help_panel=JUDGE)
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
    with _Phases(_console()) as phases:
        phases.say("looking at the training pictures")
        from iconoclass.evaluation import page
        from iconoclass.evaluation.evaluator import reopen
        from iconoclass.evaluation.labels import suspects
        from iconoclass.run import readable

        found = suspects(run, offline=offline, tell=phases.tell)
        page.save(reopen(found.run, offline=offline))
        path = found.write(write) if write else None
    if as_json:
        _print_json(found.as_json())
    else:
        print(found.table())
        print(path or readable(found.run.report_path))
    if path and not as_json:
        _advise(f"read {path}, then: iconoclass train {found.run.dataset['source']} --decisions {path}")


@app.command(rich_help_panel=USE)
def export(
    run: RunPath,
    formats: Annotated[
        list[str], typer.Option("--format", help="keras, h5, saved_model, onnx or litert; may be given again.")
    ],
    quantize: Annotated[str | None, typer.Option(help="int8 or float16; for onnx and litert.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for a folder a format: RUN/exports.")] = None,
    max_loss: Annotated[str, typer.Option(help="Accuracy that int8 and float16 may cost: 1%.")] = "1%",
    data: Annotated[str | None, typer.Option(help="Other labelled pictures to prove it on.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Write files for other programs, each asked about the test pictures before it is there.

    \b
    iconoclass export runs/mnist-resnet --format onnx --format litert
    iconoclass export runs/photos-mobilenetv2 --format litert --quantize int8 --output app/models
    """
    with _Phases(_console()) as phases:
        phases.say("starting Keras")
        from iconoclass.exports.delivery import export as deliver

        made = deliver(
            run,
            *formats,
            quantize=quantize,
            output=output,
            max_loss=max_loss,
            data=data,
            offline=offline,
            say=phases.say,
        )
    if as_json:
        _print_json([one.as_json() for one in made])
        return
    from iconoclass.run import readable

    for one in made:
        print(one.proof.verdict)
        for note in one.proof.notes:
            print(_quiet()(f"  {note}"))
        print(readable(one.path))
    _advise(f"open {readable(made[-1].folder)}/proof.html, or: iconoclass predict {readable(made[-1].path)} PICTURE")


@app.command(rich_help_panel=USE)
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An exported model, or the folder it is in.")],
    data: Annotated[str | None, typer.Option(help="Labelled pictures to ask about.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Ask an exported file again: about its golden pictures, and about those of its proof.

    \b
    iconoclass verify runs/mnist-resnet/exports/onnx
    iconoclass verify model.onnx --data photos/
    """
    with _Phases(_console()) as phases:
        phases.say("asking the model")
        from iconoclass.exports.delivery import verify as ask_again

        found = ask_again(file, data=data, offline=offline)
    if as_json:
        _print_json(found.as_json())
    else:
        print(found.text)


@app.command("import", rich_help_panel=USE)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .keras or .h5 file of another program.")],
    labels: Annotated[Path | None, typer.Option(help="Class names, a line each; default: labels.txt.")] = None,
    scaling: Annotated[
        str | None, typer.Option(help="What it takes: 0-255, 0-1 or -1-1; default: as found in it.")
    ] = None,
    resize: Annotated[str, typer.Option(help="How pictures are sized: crop, pad or squash.")] = "crop",
    output: Annotated[Path, typer.Option(help="Folder in which the run's folder is made.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="The run's name; default: the file's.")] = None,
) -> None:
    """Make a run of a network from elsewhere: looked into first, then opened in a process that can do little.

    \b
    iconoclass import keras_model.h5 --labels labels.txt
    iconoclass import flowers.keras --labels names.txt --scaling 0-1
    """
    with _Phases(_console()) as phases:
        phases.say("opening it apart")
        from iconoclass.exports.foreign import import_model
        from iconoclass.run import readable

        run, notes = import_model(file, labels=labels, scaling=scaling, resize=resize, output=output, name=name)
    for note in notes:
        print(note)
    print(readable(run.path))
    _advise(f"iconoclass evaluate {readable(run.path)} --data DIR")


@app.command(rich_help_panel=USE)
def predict(
    run: ModelPath,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs; - reads a list from stdin.")
    ],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
    unknown_rate: Annotated[
        float, typer.Option(help="Share of good pictures that may be called unknown; 0: none is.")
    ] = 0.05,
    output_format: Annotated[str, typer.Option("--format", help="table, jsonl or csv.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="The same as --format jsonl.")] = False,
) -> None:
    """Say what pictures show.

    \b
    iconoclass predict runs/photos-resnet cat.jpg more/ "*.png"
    iconoclass predict model.onnx more/ --json
    find . -name "*.jpg" | iconoclass predict runs/photos-resnet - --format csv
    """
    from iconoclass.errors import pick

    write = pick(_ANSWERS, "jsonl" if as_json else output_format, "format")
    files = list(_files(paths))
    with _Phases(_console()) as phases:
        phases.say("loading the model")
        from iconoclass.prediction.predictor import Predictor, Refusal

        predictor = Predictor.load(run, unknown_rate=unknown_rate)
        answers = predictor.stream(files)
    refused = []

    def passed() -> Iterator[Prediction]:
        for answer in answers:
            if isinstance(answer, Refusal):
                refused.append(answer)
                print(printable(str(answer.error)), file=sys.stderr, flush=True)
            else:
                yield answer

    write(passed(), min(top_k, len(predictor.class_names)))
    if refused:
        raise DataError(f"{len(refused)} of {len(files)} files could not be read; the others are above")


@app.command(rich_help_panel=USE)
def serve(
    run: ModelPath,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    watch: Annotated[
        bool, typer.Option("--watch", metavar="", help="Serve a new version as soon as it is there.")
    ] = False,
    api_key_file: Annotated[
        Path | None, typer.Option(help="Keys, one a line; $ICONOCLASS_API_KEY is one more.")
    ] = None,
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", metavar="", help="Anybody who reaches the address may ask.")
    ] = False,
    rate: Annotated[float | None, typer.Option(help="Requests a second that a key may send.")] = None,
    max_bytes: Annotated[int, typer.Option(help="Of a request.")] = 32 << 20,
    max_pixels: Annotated[int, typer.Option(help="Of a picture.")] = 40_000_000,
    max_pictures: Annotated[int, typer.Option(help="In a request.")] = 64,
    max_waiting: Annotated[int, typer.Option(help="Pictures accepted and not answered yet.")] = 256,
    deadline_s: Annotated[float, typer.Option(help="Seconds that an answer may take.")] = 10.0,
    drain_s: Annotated[float, typer.Option(help="Seconds for what has been accepted, after SIGTERM.")] = 30.0,
) -> None:
    """Serve live predictions: a page for people, an API for programs.

    \b
    iconoclass serve runs/mnist-resnet
    iconoclass serve runs/photos-mobilenetv2/exports/onnx --port 8080 --watch
    iconoclass serve model.onnx --host 0.0.0.0 --api-key-file keys.txt
    """
    from iconoclass.serving.extra import need

    need()
    with _Phases(_console()) as phases:
        phases.say("loading the model; of a run it is exported and proven first")
        from iconoclass.serving.access import Access, read_keys
        from iconoclass.serving.limits import Limits
        from iconoclass.serving.server import serve as answer

        access = Access.at(host, read_keys(api_key_file), insecure=insecure_no_auth, rate=rate)
        limits = Limits(
            bytes=max_bytes,
            pixels=max_pixels,
            pictures=max_pictures,
            waiting=max_waiting,
            request_s=deadline_s,
            drain_s=drain_s,
        )

        def tell(url: str) -> None:
            phases.__exit__()
            print(url, flush=True)
            _advise(f"open {url}, or: curl -F file=@PICTURE {url}/predict")

        answer(run, access=access, host=host, port=port, limits=limits, watch=watch, tell=tell)


@app.command(rich_help_panel=LEARN)
def preview(
    data: Data = "digits",
    output: Annotated[Path, typer.Option(help="The picture to write.")] = Path("preview.png"),
    images: Annotated[int, typer.Option(help="How many pictures.", min=1, max=16)] = 8,
    model: Annotated[str | None, typer.Option(help="As for train: it decides the recipe.")] = None,
    recipe: Annotated[str | None, typer.Option(help="As for train.")] = None,
    image_size: Annotated[str | None, typer.Option(help="As for train.")] = None,
    resize: Annotated[str | None, typer.Option(help="As for train.")] = None,
    color: Annotated[str | None, typer.Option(help="As for train.")] = None,
    max_bad: Annotated[str | None, typer.Option(help="As for train.")] = None,
    seed: Annotated[int | None, typer.Option(help="As for train.")] = None,
    flip: Annotated[float | None, typer.Option(help="As for train.")] = None,
    shift: Annotated[float | None, typer.Option(help="As for train.")] = None,
    rotate: Annotated[float | None, typer.Option(help="As for train.")] = None,
    zoom: Annotated[float | None, typer.Option(help="As for train.")] = None,
    brightness: Annotated[float | None, typer.Option(help="As for train.")] = None,
    contrast: Annotated[float | None, typer.Option(help="As for train.")] = None,
    cutout: Annotated[float | None, typer.Option(help="As for train.")] = None,
    mixup: Annotated[float | None, typer.Option(help="As for train.")] = None,
    cutmix: Annotated[float | None, typer.Option(help="As for train.")] = None,
    offline: Offline = False,
) -> None:
    """Write a sheet of what augmentation does to the pictures, before any training.

    \b
    iconoclass preview photos/ --rotate 20 --output sheet.png
    """
    settings = {key: value for key, value in locals().items() if key not in {"data", "output", "images", "offline"}}
    with _Phases(_console()) as phases:
        phases.say("drawing the sheet")
        from iconoclass import pipeline
        from iconoclass.evaluation.plots import save

        save(pipeline.preview(data, images=images, offline=offline, **settings), output)
    print(output)


@app.command(rich_help_panel=AROUND)
def models(as_json: Json = False) -> None:
    """List the networks: parameters, what they are for, where they come from.

    \b
    iconoclass models --json
    """
    with _Phases(_console()) as phases:
        phases.say("building each network")
        from iconoclass.models.catalog import listing

        rows = listing()
    if as_json:
        _print_json(rows)
        return
    ours = [row for row in rows if row["recipe"] != "transfer"]
    print(f"{'':<16} {'parameters for 10 classes':>24}")
    print(f"{'network':<16}" + "".join(f" {size:>11}" for size in ours[0]["parameters"]) + "   recipe     options")
    for row in ours:
        counts = " ".join(f"{count:>11,}" for count in row["parameters"].values())
        _print_network(row, f"{counts}   {row['recipe']:<10} {', '.join(row['options']) or 'none'}")
    print(f"\n{'backbone':<17}parameters by alpha, without the last layer")
    for row in rows[len(ours) :]:
        several = len(row["parameters"]) > 1
        sizes = (f"{n / 1e6:.1f} M{f' ({alpha})' if several else ''}" for alpha, n in row["parameters"].items())
        _print_network(row, ", ".join(sizes))
    _advise("iconoclass train DATA --model NETWORK")


def _print_network(row: dict[str, Any], numbers: str) -> None:
    print()
    _print_beside(row["name"], 16, numbers)
    print(f"  {row['purpose']}")
    print(_quiet()(f"  {row['source']}"))


@app.command(rich_help_panel=AROUND)
def datasets(as_json: Json = False) -> None:
    """List the data sets that can be asked for by name.

    \b
    iconoclass datasets
    """
    from iconoclass.data.catalog import listing

    rows = listing()
    if as_json:
        _print_json(rows)
        return
    quiet = _quiet()
    for row in rows:
        _print_beside(row["name"], 14, row["title"])
        _print_beside("", 14, f"licence: {row['licence']}", quiet)
        _print_beside("", 14, row["homepage"], quiet)
        _print_beside("", 14, row["citation"] + "\n", quiet)
    _advise("iconoclass train NAME")


@app.command(rich_help_panel=AROUND)
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what this machine can do, where the cache is, and whether all is well.

    \b
    iconoclass doctor
    """
    with _Phases(_console()) as phases:
        phases.say("looking around")
        from iconoclass.environment import diagnose

        findings = diagnose()
    if as_json:
        _print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            _print_beside(f"{'✓' if finding.is_well else '✗'} {finding.what}", 17, finding.saw)
            if not finding.is_well:
                _print_beside("", 17, finding.advice)
    if ill := [finding.what for finding in findings if not finding.is_well]:
        from iconoclass.errors import EnvironmentFault

        raise EnvironmentFault(f"not well: {', '.join(ill)}", hint="See the advice above.")
    if not as_json:
        print("All is well.")
    _advise("iconoclass train")


runs_app = typer.Typer(
    help="List runs with what became of them, or remove some."
    "\n\n\b\niconoclass runs\niconoclass runs rm runs/mnist-resnet-2",
    invoke_without_command=True,
    rich_markup_mode="rich",
)
app.add_typer(runs_app, name="runs", rich_help_panel=AROUND)


@runs_app.callback()
def runs(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    if context.invoked_subcommand:
        return
    from iconoclass.runs import listed

    found = listed(output)
    if as_json:
        _print_json([each.as_json() for each in found])
        return
    _print_runs(found)
    if stopped := [each for each in found if each.state == "stopped"]:
        _advise(f"iconoclass resume {stopped[0].run.path}")


@runs_app.command("rm")
def remove_runs(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
) -> None:
    """Delete runs with all that is in them, and say how much that frees.

    \b
    iconoclass runs rm runs/mnist-resnet-2 runs/old --yes
    """
    from iconoclass.run import Run
    from iconoclass.runs import remove

    doomed = [Run.open(path) for path in run]
    _ask(f"Delete {', '.join(str(each.path) for each in doomed)}?", yes)
    print(f"{_megabytes(remove(doomed))} freed")


cache_app = typer.Typer(
    help="Say what the cache holds, or clear it: downloads, decoded pixels, features, weights."
    "\n\n\b\niconoclass cache\niconoclass cache clear pixels",
    invoke_without_command=True,
    rich_markup_mode="rich",
)
app.add_typer(cache_app, name="cache", rich_help_panel=AROUND)


@cache_app.callback()
def cache(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand:
        return
    from iconoclass.files import cache_contents, cache_folder

    contents = cache_contents()
    if as_json:
        _print_json({kind: {"files": files, "bytes": size} for kind, (files, size) in contents.items()})
        return
    for kind, (files, size) in contents.items():
        print(f"{kind:<12} {files:>9,} files {_megabytes(size):>12}")
    print(cache_folder())


@cache_app.command("clear")
def clear(
    kind: Annotated[list[str] | None, typer.Argument(metavar="[KIND]...", help="As `cache` lists them.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
) -> None:
    """Remove what the cache holds and say how much that frees; what is needed is made or fetched again.

    \b
    iconoclass cache clear --yes
    """
    from iconoclass.errors import pick
    from iconoclass.files import cache_contents, clear_cache

    contents = cache_contents()
    chosen = {name: pick(contents, name, "kind") for name in kind or contents}
    _ask(f"Remove {', '.join(chosen) or 'nothing'}?", yes)
    clear_cache(list(chosen))
    print(f"{_megabytes(sum(size for _, size in chosen.values()))} freed")


def _ask(question: str, is_sure: bool) -> None:
    """Raises: UsageError, where nobody can be asked; typer.Abort, on no."""
    if not is_sure and not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", hint="Say --yes if you are sure.")
    if not is_sure:
        typer.confirm(question, abort=True, err=True)


# -- results on stdout ---------------------------------------------------------------------------------------------


def _print_judgement(path: Path, as_json: bool) -> None:
    """The figures of a judged run, and its path on the last line."""
    from iconoclass.evaluation.report import summary
    from iconoclass.run import Run, readable

    run = Run(path)
    if as_json:
        _print_json({"run": str(path), **run.metrics})
        return
    print(summary(run, _quiet()))
    print(readable(path))
    _advise(f"open {readable(path)}/report.html, or: iconoclass predict {readable(path)} PICTURE")


def _print_runs(found: list[Listed]) -> None:
    from iconoclass.intervals import share
    from iconoclass.run import readable

    width = max((len(readable(each.run.path)) for each in found), default=0)
    for each in found:
        state = f"{each.state}, {each.where}" if each.where else each.state
        accuracy = share(each.accuracy, _quiet()).strip() if each.accuracy else ""
        print(f"{readable(each.run.path):<{width}}  {state:<26}  {_age(each.age_s):>9}  {accuracy}".rstrip())


def _age(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _print_folds(validated: Folds, as_json: bool) -> None:
    from iconoclass.run import readable

    if as_json:
        _print_json({"path": str(validated.path), **validated.as_json()})
    else:
        print(validated.table())
        print(readable(validated.path))
    _advise("this says how good such a model is; to have one, train without --folds")


def _quiet() -> Callable[[str], str]:
    """What makes text step back, where stdout is a terminal that may be coloured; elsewhere it changes nothing."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return (lambda text: text) if plain else (lambda text: f"\x1b[2m{text}\x1b[0m")


def _print_beside(word: str, width: int, text: str, style: Callable[[str], str] = str) -> None:
    """A word and text beside it, which is broken so that it stays beside it, in the width of the terminal."""
    columns = shutil.get_terminal_size().columns
    for paragraph in text.split("\n"):
        lines = textwrap.wrap(paragraph, max(20, columns - width - 1), break_long_words=False, break_on_hyphens=False)
        for line in lines or [""]:
            print(f"{word:<{width}} {style(line)}".rstrip())
            word = ""


def _print_json(content: Any) -> None:
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


def _as_table(answers: Iterable[Prediction], top_k: int) -> None:
    quiet = _quiet()
    for answer in answers:
        first, *others = answer.top(top_k)
        width = min(24, max(len("unknown"), *map(len, answer.probabilities)))
        rest = "  ".join(f"{printable(name)} {share:.1%}" for name, share in others)
        if answer.unknown:
            rest = f"{answer.unknown}; nearest: {printable(first[0])} {first[1]:.1%}"
        named = (
            f"{'unknown':<{width}}  {'':>6}" if answer.unknown else f"{printable(first[0]):<{width}}  {first[1]:>6.1%}"
        )
        print(f"{named}  {printable(answer.image)}" + (quiet(f"  ({rest})") if rest else ""), flush=True)


def _as_json_lines(answers: Iterable[Prediction], top_k: int) -> None:
    import json

    for answer in answers:
        top = [{"class_name": name, "probability": share} for name, share in answer.top(top_k)]
        row = {"image": answer.image, "class_name": answer.class_name, "confidence": answer.confidence, "top": top}
        row["unknown"] = answer.unknown
        print(json.dumps(row, ensure_ascii=False), flush=True)


def _as_csv(answers: Iterable[Prediction], top_k: int) -> None:
    import csv

    from iconoclass.run import spreadsheet_safe

    writer = csv.writer(sys.stdout, lineterminator="\n")
    places = [f"{word}_{place}" for place in range(2, top_k + 1) for word in ("class_name", "probability")]
    writer.writerow(["image", "class_name", "confidence", *places, "unknown"])
    for answer in answers:
        cells = [cell for name, share in answer.top(top_k) for cell in (name, f"{share:.7g}")]
        cells.append(answer.unknown or "")
        writer.writerow([spreadsheet_safe(cell) for cell in (answer.image, *cells)])
        sys.stdout.flush()


_ANSWERS = {"table": _as_table, "jsonl": _as_json_lines, "csv": _as_csv}


def _files(paths: Iterable[str]) -> Iterator[Path]:
    """The files that were meant: folders are looked through, globs unfolded, - is a list on stdin.

    Raises: DataError, naming everything that leads to no file.
    """
    import glob

    from iconoclass.images.decode import IMAGE_SUFFIXES

    missing = []
    for text in paths:
        if text == "-":
            yield from (Path(line) for line in sys.stdin.read().splitlines() if line)
            continue
        path = Path(text).expanduser()
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        elif path.exists() or not glob.has_magic(text):
            found = [path]
        else:
            names = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
            found = [Path(name) for name in names if Path(name).is_file()]
        if not found:
            missing.append(text)
        yield from found
    if missing:
        raise DataError(f"no pictures in: {', '.join(missing)}")


# -- progress and errors on stderr ---------------------------------------------------------------------------------


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def _advise(text: str) -> None:
    print(f"next: {text}", file=sys.stderr)


class _Phases:
    """One live line for what goes on; in a pipe, a plain line for what matters."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> _Phases:
        if self.status:
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.status:
            self.status.stop()

    def say(self, text: str) -> None:
        """A phase begins. Several lines are a plan: they stay, and the training shows itself below them."""
        text = "\n".join(map(printable, text.split("\n")))
        if "\n" in text:
            if self.status:
                self.status.stop()
            if self.console.is_terminal:
                # What is too long for the line goes on below its own column, not below the words that name it.
                lines = (
                    textwrap.fill(line, self.console.width, subsequent_indent=9 * " ") for line in text.split("\n")
                )
                text = "\n".join(lines) + "\n"
            self.console.print(text)
        elif self.status:
            self.status.update(text)
            self.status.start()

    def tell(self, doing: str, done: int, total: int) -> None:
        if self.status:
            self.status.update(f"{doing} {done:,} of {total:,} pictures")

    def fetched(self, name: str, done_bytes: int, total_bytes: int | None) -> None:
        if self.status:
            of = f" of {total_bytes / 1e6:,.1f}" if total_bytes else ""
            self.status.update(f"fetching {name}: {done_bytes / 1e6:,.1f}{of} MB")


def main() -> NoReturn:
    """Run the command line and leave with its exit status; a user's mistake never shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # LANG=C must not turn a class name into a crash
    debug = "--debug" in sys.argv
    try:
        status = app(standalone_mode=False) or 0
        if status == Interrupted.exit_status:  # what Typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()  # here, where a reader who has left is still understood
    except IconoclassError as error:
        if debug:
            raise
        status = _report(error)
    except (KeyboardInterrupt, typer.Abort):
        status = _report(Interrupted("stopped"))
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has left: `iconoclass predict ... | head`. Typer makes an exit with 1 of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 141
    except Exception as error:
        status = _report_usage(error) if hasattr(error, "format_message") else None
        if status is None:
            if debug:
                raise
            status = _report_bug(error)
    sys.exit(status)


def _report(error: IconoclassError) -> int:
    if "--json" in sys.argv:
        import json

        content = {"code": error.code, "message": error.what, "hint": error.hint, "exit_status": error.exit_status}
        print(json.dumps({"error": content}), file=sys.stderr)
        return error.exit_status
    from rich.text import Text

    mark, colon, rest = str(error).partition(":")
    if isinstance(error, Interrupted):  # what was asked for is no error
        mark, colon, rest = "", "", rest.strip()
    lines = "\n".join(map(printable, rest.split("\n")))
    console = _console()
    # On a terminal broken between words; in a log a message stays on its line.
    console.print(Text.assemble((mark + colon, "red"), lines), soft_wrap=not console.is_terminal)
    return error.exit_status


def _report_usage(error: Any) -> int:
    """What the parser refused, in our form."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return 0  # the help that it carries has been printed
    hint = f"See: {context.command_path} --help" if context else "See: iconoclass --help"
    return _report(UsageError(error.format_message(), hint=hint))


def _report_bug(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="iconoclass-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(" ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error)))
    what = " ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
    bug = IconoclassError(what, hint=f"This is our bug. The report is in {file.name}")
    bug.code = "BUG"
    return _report(bug)
