"""The notebooks run from top to bottom, explain what they do, and carry the outputs of a whole run."""

from __future__ import annotations

import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

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
    assert any("image/png" in output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs)


def test_there_is_one_notebook_for_each_project() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["a-", "b-", "c-", "d-", "e-"]


@every_notebook
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    assert_it_ran(execute(path, tmp_path, ICONOCLASS_NOTEBOOK_QUICK="1"))
    assert (tmp_path / "runs").is_dir(), "runs are written where the notebook is run"


@pytest.mark.slow
@pytest.mark.datasets
@every_notebook
def test_it_runs_on_the_whole_data_set(path: Path, tmp_path: Path) -> None:
    assert_it_ran(execute(path, tmp_path, ICONOCLASS_NOTEBOOK_QUICK=""))


def test_the_photo_notebook_makes_its_own_photos_where_there_are_none(tmp_path: Path) -> None:
    notebook = execute(FOLDER / "e-your-own-photos.ipynb", tmp_path, ICONOCLASS_NOTEBOOK_QUICK="1", ICONOCLASS_DATA="")
    assert_it_ran(notebook)
    assert (tmp_path / "runs" / "written-digits" / "two").is_dir()


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
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert pictures
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
            said += [output.get("text", ""), *map(str, texts.values())]
    found = re.findall(r"(?:(?<![\w/.<])/(?:home|root|tmp|work|Users|var|usr|opt|mnt)/|[A-Z]:\\)\S*", "\n".join(said))
    assert not found, found


@every_notebook
def test_it_is_at_most_one_megabyte(path: Path) -> None:
    assert path.stat().st_size <= 1_000_000
