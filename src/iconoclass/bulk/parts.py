"""Parts: the pictures, divided once into lists that are kept, and for each list a Parquet file with what they show."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from iconoclass.bulk.listing import Picture, read
from iconoclass.errors import ImageError, UsageError
from iconoclass.files import make_folder, write_json, writing, writing_text
from iconoclass.prediction.predictor import ImageLike, Predictor, Refusal

PART = 4096  # pictures: minutes of work at most, and a file that is worth opening
FORMAT = 1

# Readers of Parquet folders pass over names that begin like this.
PLAN = "_plan"


@dataclass(frozen=True)
class Parts:
    """A folder with a list and, once it is worked on, a file for each part. request: what was asked for."""

    folder: Path
    request: Mapping[str, Any]
    count: int
    pictures: int

    @classmethod
    def plan(cls, folder: Path, request: Mapping[str, Any], pictures: Iterable[Picture], size: int = PART) -> Parts:
        """The parts in that folder, if they were planned before for the same request; else planned now.

        Raises: UsageError, if the folder holds the parts of another request, or other files; DataError, as
        `pictures` does.
        """
        known = folder / PLAN / "plan.json"
        request = json.loads(json.dumps(request))
        if known.is_file():
            plan = json.loads(known.read_text(encoding="utf-8"))
            if plan["request"] != request:
                changed = [name for name in request if plan["request"].get(name) != request[name]]
                what = f"{folder} holds what was asked with another {', '.join(changed) or 'version'}"
                raise UsageError(what, hint="Name another --output, or remove it.")
            return cls(folder, request, plan["parts"], plan["pictures"])
        if folder.is_dir() and any(path.name != PLAN for path in folder.iterdir()):
            raise UsageError(f"{folder} holds other files", hint="Name another --output.")
        shutil.rmtree(folder / PLAN, ignore_errors=True)  # of a process that died while it listed
        counts = [_write_list(folder, number, some) for number, some in enumerate(_pieces(pictures, size))]
        write_json(known, {"format": FORMAT, "request": request, "parts": len(counts), "pictures": sum(counts)})
        return cls(folder, request, len(counts), sum(counts))

    @property
    def missing(self) -> list[int]:
        """The parts that have not been worked on yet."""
        return [number for number in range(self.count) if not self.file(number).is_file()]

    def file(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def list_of(self, number: int) -> list[Picture]:
        lines = _list(self.folder, number).read_text(encoding="utf-8").splitlines()
        return [Picture(*json.loads(line)) for line in lines]

    def work(self, number: int, predictor: Predictor) -> int:
        """Ask about the pictures of a part and write its file. Returns: how many could not be read."""
        rows = list(answers(self.list_of(number), predictor, self.request["top_k"]))
        schema = schema_of(min(self.request["top_k"], len(predictor.class_names)))
        table = pa.Table.from_pylist(rows, schema.with_metadata({"iconoclass": json.dumps(self.request)}))
        with writing(self.file(number)) as temporary:
            parquet.write_table(table, temporary)
        return sum("error" in row for row in rows)

    @property
    def refused(self) -> int:
        """How many pictures could not be read, of the parts that are there."""
        done = [self.file(number) for number in range(self.count) if self.file(number).is_file()]
        return sum(rows_in(file)[1] for file in done)

    def sweep(self) -> None:
        """Remove what processes that died while they wrote have left, now that every part is there."""
        for left in self.folder.glob(".part-*"):
            left.unlink(missing_ok=True)

    def join(self, path: Path) -> None:
        """All of it as one file; the parts are then removed."""
        schema = parquet.read_schema(self.file(0))
        with writing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
            for number in range(self.count):
                writer.write_table(parquet.read_table(self.file(number)))
        shutil.rmtree(self.folder)


@functools.lru_cache(maxsize=1)
def predictor_of(model: str, unknown_rate: float) -> Predictor:
    """Opened once a process."""
    return Predictor.load(model, unknown_rate=unknown_rate)


def answers(pictures: Sequence[Picture], predictor: Predictor, top_k: int) -> Iterator[dict[str, Any]]:
    """A row for each picture, in their order: what it shows, or the error why that cannot be said."""
    unread: dict[int, ImageError] = {}

    def images() -> Iterator[ImageLike]:
        for at, picture in enumerate(pictures):
            try:
                yield read(picture.place)
            except ImageError as error:
                unread[at] = error
                yield b""

    for at, (picture, answer) in enumerate(zip(pictures, predictor.stream(images()), strict=True)):
        if isinstance(answer, Refusal):
            yield {"image": picture.name, "error": str(unread.get(at, answer.error))}
            continue
        (name, share), *others = answer.top(top_k)
        row = {"image": picture.name, "class_name": name, "confidence": share, "unknown": answer.unknown}
        for place, (other, chance) in enumerate(others, start=2):
            row |= {f"class_name_{place}": other, f"probability_{place}": chance}
        yield row


def rows_in(file: Path) -> tuple[int, int]:
    """How many rows a file has, and how many of them are errors."""
    column = parquet.read_table(file, columns=["error"]).column(0)
    return len(column), len(column) - column.null_count


def is_answer_to(file: Path, request: Mapping[str, Any]) -> bool:
    """Whether a file is the whole answer to a request, as it says itself."""
    try:
        said = (parquet.read_schema(file).metadata or {}).get(b"iconoclass", b"{}")
        return bool(json.loads(said) == json.loads(json.dumps(request)))
    except (pa.ArrowInvalid, ValueError):
        return False


def schema_of(top_k: int) -> pa.Schema:
    """The columns, which are those of `predict --format csv`, and why a picture could not be read."""
    places = [
        (f"{word}_{place}", kind)
        for place in range(2, top_k + 1)
        for word, kind in (("class_name", pa.string()), ("probability", pa.float32()))
    ]
    first = [("image", pa.string()), ("class_name", pa.string()), ("confidence", pa.float32())]
    return pa.schema([*first, *places, ("unknown", pa.string()), ("error", pa.string())])


def _pieces(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    remaining = iter(pictures)
    while piece := list(itertools.islice(remaining, size)):
        yield piece


def _write_list(folder: Path, number: int, pictures: Sequence[Picture]) -> int:
    make_folder(folder / PLAN)
    with writing_text(_list(folder, number)) as file:
        # In ASCII: names may hold bytes that are no text.
        file.writelines(json.dumps(picture) + "\n" for picture in pictures)
    return len(pictures)


def _list(folder: Path, number: int) -> Path:
    return folder / PLAN / f"{number:06d}.jsonl"
