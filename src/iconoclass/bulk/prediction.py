"""predict_all(): a model and pictures in any number -> Parquet, here or on a cluster, gone on with after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iconoclass.bulk.cluster import work_on
from iconoclass.bulk.listing import pictures_in
from iconoclass.bulk.parts import PART, Parts, is_answer_to, predictor_of, rows_in
from iconoclass.errors import UsageError
from iconoclass.files import sha256_of
from iconoclass.prediction.certainty import UNKNOWN_RATE
from iconoclass.prediction.predictor import model_file
from iconoclass.run import Run

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Written:
    """What was written. path: a Parquet file, or a folder of them; refused: pictures whose row is an error."""

    path: Path
    pictures: int
    refused: int


def predict_all(
    model: Path | str,
    paths: Iterable[str],
    output: Path | str,
    *,
    top_k: int = 3,
    unknown_rate: float = UNKNOWN_RATE,
    cluster: str | None = None,
    workers: int | None = None,
    part: int = PART,
    tell: Tell = lambda doing, done, total: None,
) -> Written:
    """Ask about pictures in any number and write a row for each: what it shows, or why it could not be read.

    model: a run, or an exported file. paths: as for `predict`, and archives and addresses such as s3://bucket/folder.
    output: NAME.parquet for one file, or a folder for one a part. cluster: local, or the address of a Ray cluster,
    whose machines all see model, pictures and output at the same paths. part: pictures that are worked on together.
    What was broken off goes on where it stood, if it is asked for in the same words: no row is lost or written twice.
    Memory does not grow with the number of pictures.
    Raises: UsageError, if the output is there already or belongs to something else; as Predictor.load and `predict`.
    """
    model, output, asked = Path(model).expanduser(), Path(output).expanduser(), list(paths)
    is_file = output.suffix == ".parquet"
    request: dict[str, Any] = {"model": str(model.absolute()), "sha256": _digest(model), "paths": asked}
    request |= {"top_k": top_k, "unknown_rate": unknown_rate, "part": part}
    if is_file and output.exists() and not is_answer_to(output, request):
        raise UsageError(f"{output} is there already", hint="Name another --output, or remove it.")
    folder = (output.with_name(f"{output.name}.parts") if is_file else output).absolute()
    if is_file and output.exists():
        shutil.rmtree(folder, ignore_errors=True)  # a process died between the last two steps
        return Written(output, *rows_in(output))
    parts = Parts.plan(folder, request, pictures_in(asked), part)
    if cluster:
        work_on(cluster, parts, workers, tell)
    else:
        for number in parts.missing:
            tell("asked about", number * part, parts.pictures)
            parts.work(number, predictor_of(request["model"], unknown_rate))
    parts.sweep()
    if is_file:
        parts.join(output)
        return Written(output, *rows_in(output))
    return Written(output, parts.pictures, parts.refused)


def _digest(model: Path) -> str:
    """Which model it is, by content: of one that is a folder, of all that is in it."""
    file = model_file(model) or Run.open(model).model_path
    if not file.is_dir():
        return sha256_of(file)
    inside = sorted(path for path in file.rglob("*") if path.is_file())
    return sha256_of("".join(f"{path.relative_to(file)} {sha256_of(path)}\n" for path in inside).encode())
