"""What `predict` is asked about, and how its answers are written."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from iconoclass.cli.terminal import dimming
from iconoclass.errors import DataError
from iconoclass.files import printable

if TYPE_CHECKING:
    from iconoclass.prediction.predictor import Prediction


def files_of(paths: Iterable[str]) -> Iterator[Path]:
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


def _as_table(answers: Iterable[Prediction], top_k: int) -> None:
    dim = dimming()
    for answer in answers:
        first, *others = answer.top(top_k)
        width = min(24, max(len("unknown"), *map(len, answer.probabilities)))
        rest = "  ".join(f"{printable(name)} {share:.1%}" for name, share in others)
        if answer.unknown:
            rest = f"{answer.unknown}; nearest: {printable(first[0])} {first[1]:.1%}"
        named = (
            f"{'unknown':<{width}}  {'':>6}" if answer.unknown else f"{printable(first[0]):<{width}}  {first[1]:>6.1%}"
        )
        print(f"{named}  {printable(answer.image)}" + (dim(f"  ({rest})") if rest else ""), flush=True)


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


WRITERS = {"table": _as_table, "jsonl": _as_json_lines, "csv": _as_csv}
