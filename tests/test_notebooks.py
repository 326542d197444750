"""The notebooks run from top to bottom, explain what they do, and carry the outputs of a whole run.

So do those that `iconoclass notebook` writes.
"""

from __future__ import annotations

import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iconoclass
from iconoclass.errors import UsageError
from iconoclass.notebooks.writer import write_notebook
from iconoclass.run import Run

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(path: Path, folder: Path, **environment: str) -> Any:
    """The notebook with the outputs of a run in that folder, by this very Python.

    Raises: nbclient.exceptions.CellExecutionError, at the first cell that fails.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        # A kernel named python3 may be installed for the user, and be that of another Python.
        kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])

    notebook = read(path)
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, kernel_manager_class=ThisPython, timeout=1200, resources=resources)
    # A start-up script of the user's IPython is not part of the notebook.
    client.execute(env={**os.environ, "IPYTHONDIR": str(folder / "ipython"), **environment})
    return notebook


def assert_it_ran(notebook: Any) -> None:
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", output
            assert output.get("name") != "stderr", f"noise below a cell:\n{output.text}"
    assert any(pictures_of(output) for cell in code_cells(notebook) for output in cell.outputs)


def pictures_of(output: Any) -> bool:
    data = output.get("data", {})
    return "image/png" in data or "image/jpeg" in data or "<img" in data.get("text/html", "")


def test_there_are_five_in_their_order() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["1-", "2-", "3-", "4-", "5-"]


@every_notebook
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    assert_it_ran(execute(path, tmp_path, ICONOCLASS_NOTEBOOK_QUICK="1"))
    assert (tmp_path / "runs").is_dir(), "runs are written where the notebook is run"
    # The one on photos makes its own where there are none, and then at least leaves them there.
    assert (tmp_path / "written-digits" / "two").is_dir() == path.stem.endswith("photos")


@every_notebook
def test_it_has_exercises_with_their_answers_folded_away(path: Path) -> None:
    [exercises] = [cell.source for cell in read(path).cells if "## Exercises" in cell.source]
    asked = len(re.findall(r"^\*\*\d\.\*\*", exercises, re.MULTILINE))
    assert asked >= 4
    assert exercises.count("<details><summary>Answer</summary>") == exercises.count("</details>") == asked


@every_notebook
def test_it_uses_the_public_names_alone(path: Path) -> None:
    """What is inside may change; and who learns from a notebook must not learn what is inside."""
    code = "\n".join(cell.source for cell in code_cells(read(path)))
    assert not re.findall(r"(?:from|import) iconoclass\.\S+", code)
    assert set(re.findall(r"\bic\.([a-zA-Z]\w*)", code)) <= set(iconoclass.__all__)


@every_notebook
def test_your_own_data_go_into_one_line_at_its_head(path: Path) -> None:
    first = code_cells(read(path))[0].source
    assert len(re.findall(r"^(?:DATA|PHOTOS) = ", first, re.MULTILINE)) == 1


@pytest.mark.slow
@pytest.mark.datasets
@every_notebook
def test_it_runs_on_the_whole_data_set(path: Path, tmp_path: Path) -> None:
    assert_it_ran(execute(path, tmp_path, ICONOCLASS_NOTEBOOK_QUICK=""))


@every_notebook
def test_it_begins_with_a_title_and_explains_each_cell(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown"
    assert re.match(r"# \w", cells[0].source)
    for before, cell in pairwise(cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", f"nothing is said before:\n{cell.source}"
            assert len(before.source.split()) >= 5, before.source


@every_notebook
def test_its_numbers_are_computed_and_not_typed(path: Path) -> None:
    """A percentage in the prose would be wrong with the next version; an interval's 95 % is no result."""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert not re.findall(r"\d[\d.,]*\s?%", cell.source.replace("95 %", "")), cell.source


@every_notebook
def test_its_outputs_are_there_in_the_order_of_one_run(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) // 2
    assert any(pictures_of(output) for cell in cells for output in cell.outputs)
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)


@every_notebook
def test_it_says_nothing_of_the_machine_that_it_ran_on(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any("execution" in cell.metadata for cell in notebook.cells), "no timestamps: they change every time"
    said = [cell.source for cell in notebook.cells]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            texts = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
            said += [output.get("text", ""), *(re.sub(r"base64,[^']*", "", str(text)) for text in texts.values())]
    found = re.findall(r"(?:(?<![\w/.<])/(?:home|root|tmp|work|Users|var|usr|opt|mnt)/|[A-Z]:\\)\S*", "\n".join(said))
    assert not found, found


@every_notebook
def test_it_is_at_most_one_megabyte(path: Path) -> None:
    assert path.stat().st_size <= 1_000_000


# -- those that are written for somebody ---------------------------------------------------------------------------


def test_the_notebook_for_pictures_runs_from_top_to_bottom_and_then_that_of_its_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **few_digits())
    of_data = write_notebook(tmp_path / "mine.npz", tmp_path / "mine.ipynb")
    text = of_data.read_text(encoding="utf-8").replace("SETTINGS = {}", "SETTINGS = {'epochs': 4}")
    of_data.write_text(text, encoding="utf-8")
    assert_it_ran(execute(of_data, tmp_path))
    [run] = Run.all_in(tmp_path / "runs")
    of_run = write_notebook(run.path, tmp_path / "run.ipynb")
    assert_it_ran(execute(of_run, tmp_path))


def few_digits() -> dict[str, Any]:
    data = iconoclass.load_dataset("digits").train
    return {"x_train": data.pixels[:400], "y_train": data.labels[:400]}


@pytest.mark.parametrize("kind", ["data", "run"])
def test_what_is_written_is_a_notebook_that_other_programs_take(kind: str, run: Run, tmp_path: Path) -> None:
    path = write_notebook("digits" if kind == "data" else run.path, tmp_path / "a.ipynb")
    notebook = read(path)
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert "{{" not in path.read_text(encoding="utf-8")
    for before, cell in pairwise(notebook.cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown"
            compile(cell.source.replace("%matplotlib inline", ""), "cell", "exec")


def test_pictures_beside_the_notebook_are_named_from_there_and_others_wholly(photos: Path, tmp_path: Path) -> None:
    beside = write_notebook(photos, tmp_path / "beside.ipynb")
    assert "DATA = 'photos'" in beside.read_text(encoding="utf-8")
    elsewhere = write_notebook(photos, tmp_path / "deeper" / "elsewhere.ipynb")
    assert f"DATA = '{photos.resolve().as_posix()}'" in elsewhere.read_text(encoding="utf-8")


def test_a_notebook_is_never_overwritten(tmp_path: Path) -> None:
    path = write_notebook("digits", tmp_path / "mine.ipynb")
    with pytest.raises(UsageError, match="there already"):
        write_notebook("digits", path)


@pytest.mark.parametrize(("source", "said"), [("digts", "digits"), ("nowhere/", "no path")])
def test_what_is_neither_run_nor_pictures_is_refused_with_advice(source: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        write_notebook(source, tmp_path / "a.ipynb")
    assert said in str(refused.value)
    assert not (tmp_path / "a.ipynb").exists()


def test_a_file_that_is_no_notebook_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"NAME\.ipynb"):
        write_notebook("digits", tmp_path / "a.py")
