"""write_notebook(): a notebook for somebody's own data or run. And notebook_of(): cells from a page of Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from iconoclass.data.catalog import DATASETS
from iconoclass.errors import UsageError, did_you_mean
from iconoclass.files import make_folder, write_text
from iconoclass.run import Run

_CODE = re.compile(r"^```python\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)


def write_notebook(source: Path | str, output: Path | str | None = None) -> Path:
    """A ready notebook about a run's folder, or about pictures that `train` would take, and where it was written.

    output: NAME.ipynb; default: after the source, in the folder that one is in.
    Raises: UsageError, if there is no such source, or a file of that name is there already.
    """
    page, name, meant = _chosen(source)
    path = Path(output or f"{name}.ipynb").expanduser()
    if path.suffix != ".ipynb":
        raise UsageError(f"a notebook is called NAME.ipynb. Received: {path}")
    if path.exists():
        raise UsageError(f"{path} is there already, perhaps with work of yours", hint="Name another: --output.")
    make_folder(path.parent)
    text = resources.files("iconoclass.notebooks").joinpath(page).read_text(encoding="utf-8")
    write_text(path, notebook_of(text.replace("{{NAME}}", name).replace("{{SOURCE}}", _seen_from(meant, path))))
    return path


def _chosen(source: Path | str) -> tuple[str, str, Path | str]:
    """Which page, the name for it, and what it is about: a path, or a data set's name."""
    if str(source) in DATASETS:
        return "of_data.md", str(source), str(source)
    path = Path(source).expanduser()
    if Run.is_at(path):
        return "of_run.md", path.resolve().name, path
    if path.exists():
        return "of_data.md", path.resolve().name.partition(".")[0] or "pictures", path
    hint = did_you_mean(str(source), DATASETS) + " Or give a run, a folder, CSV, .npz or archive of pictures."
    raise UsageError(f"there is no run, no data set and no path '{source}'", hint=hint)


def _seen_from(meant: Path | str, notebook: Path) -> str:
    """As a Python string, good where the notebook is run: beside itself."""
    if isinstance(meant, str):
        return repr(meant)
    whole, folder = meant.resolve(), notebook.parent.resolve()
    return repr(whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else whole.as_posix())


def notebook_of(text: str) -> str:
    r"""A notebook (nbformat 4.5) of a page of Markdown: blocks marked `python` are its cells of code.

    Source: https://nbformat.readthedocs.io/en/latest/format_description.html

    >>> [cell["cell_type"] for cell in json.loads(notebook_of("# Title\n\n```python\n1 + 1\n```\n"))["cells"]]
    ['markdown', 'code']
    """
    cells = [_cell(f"cell-{at:02}", *cell) for at, cell in enumerate(_cells(text))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cells(text: str) -> Iterator[tuple[str, str]]:
    """(kind, source) of each cell. Two pieces of text are divided by a line of ---."""
    for at, piece in enumerate(_CODE.split(text)):
        if at % 2:
            yield "code", piece.strip("\n")
        else:
            yield from (
                ("markdown", part.strip("\n")) for part in re.split(r"^---$", piece, flags=re.M) if part.strip()
            )


def _cell(name: str, kind: str, source: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": name, "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell
