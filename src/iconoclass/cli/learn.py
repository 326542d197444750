"""train, resume, check, preview, curve, tune: from pictures to a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from iconoclass.cli.options import (
    AUGMENTATION,
    BEGAN,
    DATA,
    LEARNING,
    NETWORK,
    OUTPUT,
    Data,
    Json,
    Offline,
    RunPath,
    option,
)
from iconoclass.cli.results import print_folds, print_judgement
from iconoclass.cli.terminal import Phases, advise, print_json
from iconoclass.errors import UsageError

PANEL, SEARCH, FIXED = "Learn", "Search", "Not searched"
verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
def train(
    data: Annotated[
        str | None, typer.Argument(help="digits (default), mnist, fashion_mnist, cifar10, cifar100; or a path.")
    ] = None,
    # The names, ranges and meanings are those of config.py; docs/cli.md is compared with both by a test.
    image_size: Annotated[str | None, option(DATA, help="Side in pixels, or HEIGHTxWIDTH.")] = None,
    resize: Annotated[str | None, option(DATA, help="crop (default), pad or squash.")] = None,
    color: Annotated[str | None, option(DATA, help="grey or rgb; default: as the pictures are.")] = None,
    validation: Annotated[str | None, option(DATA, help="What chooses: split (of train, default) or test.")] = None,
    validation_split: Annotated[str | None, option(DATA, help="Share of train that chooses: 10%.")] = None,
    test_split: Annotated[str | None, option(DATA, help="Share judged if there is no test part: 20%.")] = None,
    split_seed: Annotated[int | None, option(DATA, help="Another split of the same pictures: 0.")] = None,
    fold: Annotated[str | None, option(DATA, help="Judge one fold of several: 2/5.")] = None,
    together: Annotated[str | None, option(DATA, help="none: divides groups and copies, as naive splits do.")] = None,
    max_bad: Annotated[str | None, option(DATA, help="Share of unreadable files that are left out: 1%.")] = None,
    allow_outside: Annotated[
        bool | None, option(DATA, "--allow-outside", metavar="", help="A CSV may name pictures anywhere.")
    ] = None,
    decisions: Annotated[
        Path | None, option(DATA, help="A decisions.csv of `check`: what is left out or moved.")
    ] = None,
    group_by: Annotated[str | None, option(DATA, help="Never divided: folder:2, name:(REGEX), column:NAME.")] = None,
    strict: Annotated[bool | None, option(DATA, "--strict", metavar="", help="Leaks and conflicts are errors.")] = None,
    model: Annotated[
        str | None, option(NETWORK, help="Default: mobilenetv2 for photos, else resnet; see `iconoclass models`.")
    ] = None,
    width: Annotated[int | None, option(NETWORK, help="Filters of the first block.")] = None,
    dropout: Annotated[float | None, option(NETWORK, help="Dropout before the last layer.")] = None,
    alpha: Annotated[float | None, option(NETWORK, help="Width multiplier of a MobileNet: 0.35 to 1.4.")] = None,
    weights: Annotated[
        str | None, option(NETWORK, help="Of a backbone: imagenet (default), none, a file, a run's folder.")
    ] = None,
    views: Annotated[
        str | None, option(NETWORK, help="mirrored: asks about the mirror image too; shifted: six looks.")
    ] = None,
    recipe: Annotated[str | None, option(LEARNING, help="Defaults for the rest: fast, textbook, transfer.")] = None,
    budget: Annotated[str | None, option(LEARNING, help="Time for all, start to judged model: 90s, 5m, 1h.")] = None,
    target: Annotated[str | None, option(LEARNING, help="Stop when validation surely exceeds this: 0.93.")] = None,
    epochs: Annotated[float | None, option(LEARNING, help="Passes over the training part; 2.5 is allowed.")] = None,
    batch_size: Annotated[int | None, option(LEARNING, help="Images a step.")] = None,
    optimizer: Annotated[str | None, option(LEARNING, help="adam, adamw, muon or sgd.")] = None,
    lr: Annotated[float | None, option(LEARNING, help="Learning rate at its highest.")] = None,
    momentum: Annotated[float | None, option(LEARNING, help="Nesterov momentum, of sgd and muon.")] = None,
    weight_decay: Annotated[float | None, option(LEARNING, help="Decoupled; of kernels only.")] = None,
    schedule: Annotated[str | None, option(LEARNING, help="constant, cosine, linear, triangular or plateau.")] = None,
    label_smoothing: Annotated[float | None, option(LEARNING, help="Share of a label given to all classes.")] = None,
    average: Annotated[float | None, option(LEARNING, help="Decay of the averaged weights; 0: none.")] = None,
    patience: Annotated[
        int | None, option(LEARNING, help="Epochs without a better one until it stops; 0: never.")
    ] = None,
    balance: Annotated[str | None, option(LEARNING, help="auto (default), none, weights or sampler.")] = None,
    monitor: Annotated[
        str | None, option(LEARNING, help="Chooses the epoch: auto (default), accuracy or macro_f1.")
    ] = None,
    unfreeze: Annotated[
        float | None, option(LEARNING, help="Share of a backbone that learns after the head: 0 to 1.")
    ] = None,
    one_hot: Annotated[
        bool | None, option(LEARNING, "--one-hot", metavar="", help="One-hot labels; the same result.")
    ] = None,
    precision: Annotated[str | None, option(LEARNING, help="auto (default), float32 or bfloat16.")] = None,
    seed: Annotated[int | None, option(LEARNING, help="Of weights, order and augmentation: 0.")] = None,
    workers: Annotated[int | None, option(LEARNING, help="Processes that learn together, by Ray: 1.")] = None,
    flip: Annotated[float | None, option(AUGMENTATION, help="Share of images mirrored: 0 to 1.")] = None,
    shift: Annotated[float | None, option(AUGMENTATION, help="Up to this share of the side: 0 to 0.5.")] = None,
    rotate: Annotated[float | None, option(AUGMENTATION, help="Up to so many degrees: 0 to 180.")] = None,
    zoom: Annotated[float | None, option(AUGMENTATION, help="Scale by up to 1 ± this: 0 to 1.")] = None,
    brightness: Annotated[float | None, option(AUGMENTATION, help="By up to 1 ± this: 0 to 1.")] = None,
    contrast: Annotated[float | None, option(AUGMENTATION, help="By up to 1 ± this: 0 to 1.")] = None,
    cutout: Annotated[float | None, option(AUGMENTATION, help="Side of a greyed rectangle: 0 to 1.")] = None,
    mixup: Annotated[float | None, option(AUGMENTATION, help="Alpha of the blend of two images.")] = None,
    cutmix: Annotated[float | None, option(AUGMENTATION, help="Alpha of the patch from another image.")] = None,
    checkpoint_s: Annotated[float | None, option(OUTPUT, help="Seconds between checkpoints: 30.")] = None,
    log: Annotated[str | None, option(OUTPUT, help="tensorboard: event files in the run's folder.")] = None,
    output: Annotated[Path, option(OUTPUT, help="Folder in which the run's folder is made: runs/.")] = Path("runs"),
    name: Annotated[str | None, option(OUTPUT, help="The run's name; default: DATA-MODEL.")] = None,
    config: Annotated[
        Path | None, option(OUTPUT, help="A config.toml to repeat; options replace its settings.")
    ] = None,
    resume: Annotated[Path | None, option(OUTPUT, help="Go on with this run instead; see `iconoclass resume`.")] = None,
    folds: Annotated[int | None, option(OUTPUT, help="Train and judge once for each of so many folds.")] = None,
    cluster: Annotated[str | None, option(OUTPUT, help="Where the workers are: local (default) or an address.")] = None,
    compare_naive: Annotated[
        bool, option(OUTPUT, "--compare-naive", metavar="", help="Train again on a naive split; say what it claims.")
    ] = False,
    compare_decisions: Annotated[
        bool,
        option(OUTPUT, "--compare-decisions", metavar="", help="Train again without them; say what each kind gains."),
    ] = False,
    offline: Annotated[bool, option(OUTPUT, "--offline", metavar="", help="Never open a connection.")] = False,
    as_json: Annotated[bool, option(OUTPUT, "--json", metavar="", help="Print JSON for machines.")] = False,
) -> None:
    """Train, judge and keep a classifier.

    \b
    iconoclass train                                   # the digits that come along
    iconoclass train fashion_mnist --model convnet-3 --recipe textbook --epochs 10
    iconoclass train photos/ --weights mobilenet_v2.h5 --epochs 5
    iconoclass train photos/ --model resnet --image-size 64 --max-bad 10%
    iconoclass train --config runs/mnist-resnet/config.toml --seed 1
    iconoclass train photos/ --model resnet --workers 4 --cluster 10.0.0.1:6379
    """
    given = locals()
    settings = {key: value for key, value in given.items() if key not in NOT_SETTINGS}
    settings["decisions"] = str(decisions) if decisions else None
    if resume:
        _refuse_beside_resume(given)
        _go_on(resume, epochs, force=False, offline=offline, cluster=cluster, as_json=as_json)
        return
    with Phases() as phases:
        from iconoclass import folds as cross_validation
        from iconoclass import pipeline

        common: dict[str, Any] = {
            "config": config,
            "output": output,
            "name": name,
            "offline": offline,
            "compare_naive": compare_naive,
            "compare_decisions": compare_decisions,
            "cluster": cluster,
            "listener": phases.listener(),
            "say": phases.say,
            "tell": phases.tell,
            "progress": phases.fetched,
            "began": BEGAN,
        }
        if folds is None:
            run = pipeline.train(data, **common, **settings)
        else:
            validated = cross_validation.cross_validate(data, folds, **common, **settings)
    if folds is None:
        print_judgement(run.path, as_json)
    else:
        print_folds(validated, as_json)


# What `train` is called with that is no setting of config.py.
NOT_SETTINGS = {
    "data", "folds", "compare_naive", "compare_decisions", "cluster", "config", "output", "name", "resume", "offline",
    "as_json",
}  # fmt: skip


@verbs.command(rich_help_panel=PANEL)
def resume(
    run: RunPath,
    epochs: Annotated[float | None, typer.Option(help="So many in all, also of a complete run.")] = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Also if data, versions or machine are others now.")
    ] = False,
    cluster: Annotated[str | None, typer.Option(help="As for train, of a run with several workers.")] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped or killed, from its very step, to the same model.

    \b
    iconoclass resume runs/cifar10-resnet
    iconoclass resume runs/cifar10-resnet --epochs 20
    """
    _go_on(run, epochs, force=force, offline=offline, cluster=cluster, as_json=as_json)


def _go_on(run: Path, epochs: float | None, *, force: bool, offline: bool, cluster: str | None, as_json: bool) -> None:
    from iconoclass.run import Run

    opened = Run.open(run)
    if opened.is_complete and epochs is None:
        print(f"{opened.name} is complete; --epochs N makes it learn on", file=sys.stderr)
        print_judgement(opened.path, as_json)
        return
    with Phases() as phases:
        from iconoclass import resuming

        resuming.resume(
            opened,
            epochs=epochs,
            force=force,
            offline=offline,
            cluster=cluster,
            listener=phases.listener(),
            say=phases.say,
            tell=phases.tell,
            progress=phases.fetched,
            began=BEGAN,
        )
    print_judgement(opened.path, as_json)


def _refuse_beside_resume(given: dict[str, Any]) -> None:
    """Raises: UsageError, if settings are given that the run has long decided."""
    usual = {"resume", "epochs", "offline", "cluster", "as_json", "output"}
    said = {name for name, value in given.items() if value is not None and value is not False}
    if others := sorted(said - usual):
        options = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in others)
        raise UsageError(
            f"with --resume only --epochs can be given. Received: {options}", hint="Train anew, or leave them out."
        )


@verbs.command(rich_help_panel=PANEL)
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
    with Phases() as phases:
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
        print_json(seen.findings)
    else:
        print(seen.table())
        print(folder)
    if strict:
        seen.refuse_faults()
    if not as_json:
        if seen.decisions:
            advise(f"open {folder}/check.html, edit {folder}/decisions.csv, then:")
            advise(f"iconoclass train {data} --decisions {folder}/decisions.csv")
        else:
            advise(f"iconoclass train {data}")


@verbs.command(rich_help_panel=PANEL)
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
    with Phases() as phases:
        phases.say("drawing the sheet")
        from iconoclass import pipeline
        from iconoclass.evaluation.plots import save

        save(pipeline.preview(data, images=images, offline=offline, **settings), output)
    print(output)


@verbs.command(rich_help_panel=PANEL)
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
    settings = {key: value for key, value in locals().items() if key not in NOT_SETTINGS | {"points"}}
    with Phases() as phases:
        from iconoclass.curve import learning_curve
        from iconoclass.run import readable

        found = learning_curve(
            data,
            points,
            output=output,
            name=name,
            offline=offline,
            began=BEGAN,
            listener=phases.listener(),
            say=phases.say,
            tell=phases.tell,
            progress=phases.fetched,
            **settings,
        )
    if as_json:
        print_json({"path": str(found.path), **found.as_json()})
    else:
        print(found.table())
        print(readable(found.path))


@verbs.command(rich_help_panel=PANEL)
def tune(
    data: Data = "digits",
    time: Annotated[str | None, option(SEARCH, help="For all of it, to the judged winner: 30m, 2h.")] = None,
    trials: Annotated[int | None, option(SEARCH, help="So many, instead of a time: 40.")] = None,
    each: Annotated[str | None, option(SEARCH, help="Time that a trial learns: a 33rd of --time.")] = None,
    seeds: Annotated[int, option(SEARCH, help="How often the best two and the default are repeated: 3.")] = 3,
    sampler: Annotated[str, option(SEARCH, help="tpe (default) or random.")] = "tpe",
    storage: Annotated[
        str | None, option(SEARCH, help="postgresql://... for workers on many machines; default: a file.")
    ] = None,
    cluster: Annotated[str | None, option(SEARCH, help="Trials on Ray's workers: local, or an address.")] = None,
    workers: Annotated[int | None, option(SEARCH, help="How many of them: 1.")] = None,
    model: Annotated[str | None, option(FIXED, help="As for train.")] = None,
    weights: Annotated[str | None, option(FIXED, help="As for train.")] = None,
    alpha: Annotated[float | None, option(FIXED, help="As for train.")] = None,
    width: Annotated[int | None, option(FIXED, help="As for train.")] = None,
    recipe: Annotated[str | None, option(FIXED, help="As for train.")] = None,
    epochs: Annotated[float | None, option(FIXED, help="As for train: trials of equal epochs, not time.")] = None,
    image_size: Annotated[str | None, option(FIXED, help="As for train.")] = None,
    batch_size: Annotated[int | None, option(FIXED, help="As for train.")] = None,
    optimizer: Annotated[str | None, option(FIXED, help="As for train.")] = None,
    decisions: Annotated[Path | None, option(FIXED, help="As for train.")] = None,
    group_by: Annotated[str | None, option(FIXED, help="As for train.")] = None,
    monitor: Annotated[str | None, option(FIXED, help="As for train: what is searched for.")] = None,
    seed: Annotated[int | None, option(FIXED, help="As for train, and of the search itself.")] = None,
    output: Annotated[Path, option(OUTPUT, help="Folder in which the search's folder is made: runs/.")] = Path("runs"),
    name: Annotated[str | None, option(OUTPUT, help="The search's name; default: DATA-tune.")] = None,
    offline: Annotated[bool, option(OUTPUT, "--offline", metavar="", help="Never open a connection.")] = False,
    as_json: Annotated[bool, option(OUTPUT, "--json", metavar="", help="Print JSON for machines.")] = False,
) -> None:
    """Search for settings that beat the default, and say by how much, with an interval.

    \b
    iconoclass tune fashion_mnist --time 20m
    iconoclass tune photos/ --trials 40 --each 2m
    iconoclass tune photos/ --time 8h --storage postgresql://me@db/tune --cluster 10.0.0.1:6379 --workers 16
    """
    own = {"time", "trials", "each", "seeds", "sampler", "storage", "cluster", "workers"}
    settings = {key: value for key, value in locals().items() if key not in NOT_SETTINGS | own | {"own"}}
    settings["decisions"] = str(decisions) if decisions else None
    with Phases() as phases:
        from iconoclass.tuning.extra import need

        need(storage, cluster)
        from iconoclass.config import seconds_in
        from iconoclass.run import readable
        from iconoclass.tuning.study import tune as search

        found = search(
            data,
            trials=trials,
            time_s=seconds_in("time", time),
            each_s=seconds_in("each", each),
            seeds=seeds,
            sampler=sampler,
            storage=storage,
            cluster=cluster,
            workers=workers,
            output=output,
            name=name,
            offline=offline,
            say=phases.say,
            hear=phases.leave,
            tell=phases.tell,
            progress=phases.fetched,
            **settings,
        )
    if as_json:
        print_json({"path": str(found.path), **found.as_json()})
    else:
        print(found.table())
        print(readable(found.run.path))
    advise(f"open {readable(found.path)}/tune.html, or: iconoclass predict {readable(found.run.path)} PICTURE")
