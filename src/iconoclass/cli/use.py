"""predict, serve, export, verify, import, notebook: what a model is for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iconoclass.cli.answers import WRITERS, files_of
from iconoclass.cli.options import Json, ModelPath, Offline, RunPath
from iconoclass.cli.terminal import Phases, advise, dimming, print_json
from iconoclass.errors import DataError, UsageError
from iconoclass.files import printable

if TYPE_CHECKING:
    from iconoclass.prediction.predictor import Prediction


PANEL = "Use"
verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
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
    output: Annotated[
        Path | None, typer.Option(help="For any number of pictures: a .parquet file, or a folder of such.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="With --output, on Ray's workers: local, or an address.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many; default: one a core.")] = None,
) -> None:
    """Say what pictures show.

    \b
    iconoclass predict runs/photos-resnet cat.jpg more/ "*.png"
    iconoclass predict model.onnx more/ --json
    find . -name "*.jpg" | iconoclass predict runs/photos-resnet - --format csv
    iconoclass predict model.onnx millions/ --output results.parquet --cluster local
    """
    from iconoclass.errors import pick

    if output:
        _predict_all(run, paths, output, top_k, unknown_rate, cluster, workers)
        return
    if cluster or workers:
        raise UsageError("--cluster and --workers are for --output", hint="Say --output NAME.parquet too.")
    write = pick(WRITERS, "jsonl" if as_json else output_format, "format")
    files = list(files_of(paths))
    with Phases() as phases:
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


def _predict_all(
    model: Path,
    paths: list[str],
    output: Path,
    top_k: int,
    unknown_rate: float,
    cluster: str | None,
    workers: int | None,
) -> None:
    if workers and not cluster:
        raise UsageError("--workers are those of --cluster", hint="Say --cluster local too.")
    with Phases() as phases:
        phases.say("listing the pictures")
        from iconoclass.prediction.runtimes import needed

        needed("pyarrow", "'iconoclass[bulk]'")
        from iconoclass.bulk.prediction import predict_all
        from iconoclass.run import readable

        written = predict_all(
            model,
            paths,
            output,
            top_k=top_k,
            unknown_rate=unknown_rate,
            cluster=cluster,
            workers=workers,
            tell=phases.tell,
        )
    unread = f", {written.refused:,} of them errors: see the column error" if written.refused else ""
    print(f"{written.pictures:,} rows{unread}", file=sys.stderr)
    print(readable(written.path))


@verbs.command(rich_help_panel=PANEL)
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
    with Phases() as phases:
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
            advise(f"open {url}, or: curl -F file=@PICTURE {url}/predict")

        answer(run, access=access, host=host, port=port, limits=limits, watch=watch, tell=tell)


@verbs.command(rich_help_panel=PANEL)
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
    with Phases() as phases:
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
        print_json([one.as_json() for one in made])
        return
    from iconoclass.run import readable

    for one in made:
        print(f"✓ {one.proof.verdict}")
        for note in one.proof.notes:
            print(dimming()(f"  {note}"))
        print(readable(one.path))
    advise(f"open {readable(made[-1].folder)}/proof.html, or: iconoclass predict {readable(made[-1].path)} PICTURE")


@verbs.command(rich_help_panel=PANEL)
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
    with Phases() as phases:
        phases.say("asking the model")
        from iconoclass.exports.delivery import verify as ask_again

        found = ask_again(file, data=data, offline=offline)
    if as_json:
        print_json(found.as_json())
    else:
        print(found.text)


@verbs.command("import", rich_help_panel=PANEL)
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
    with Phases() as phases:
        phases.say("opening it apart")
        from iconoclass.exports.foreign import import_model
        from iconoclass.run import readable

        run, notes = import_model(file, labels=labels, scaling=scaling, resize=resize, output=output, name=name)
    for note in notes:
        print(note)
    print(readable(run.path))
    advise(f"iconoclass evaluate {readable(run.path)} --data DIR")


@verbs.command(rich_help_panel=PANEL)
def notebook(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN|DATA", help="A run's folder; or a data set's name, folder, CSV, .npz, archive."),
    ],
    output: Annotated[Path | None, typer.Option(help="NAME.ipynb to write; default: after the source, here.")] = None,
) -> None:
    """Write a notebook about a run, or about pictures, that runs from top to bottom.

    \b
    iconoclass notebook runs/photos-resnet
    iconoclass notebook photos/ --output study.ipynb
    """
    from iconoclass.notebooks.writer import write_notebook
    from iconoclass.run import readable

    path = readable(write_notebook(source, output))
    print(path)
    advise(f"jupyter lab {path} (pip install 'iconoclass[notebook]' brings it)")
