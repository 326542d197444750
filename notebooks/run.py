"""Run the notebooks in full and keep their outputs: python notebooks/run.py [NAME.ipynb ...]

About twenty minutes on two cores, with the data sets under $ICONOCLASS_DATA or downloaded. Where there is no network,
$ICONOCLASS_NOTEBOOK_WEIGHTS names a file with the weights of a backbone for the fourth one. Tests run them too, on
reduced settings (ICONOCLASS_NOTEBOOK_QUICK=1), and keep nothing.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=1800,
            kernel_name="python3",
            record_timing=False,  # else every run would change every cell
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    # Where the data sets lie on this machine is nobody's business.
    text = nbformat.writes(notebook) + "\n"
    if data := os.environ.get("ICONOCLASS_DATA"):
        text = text.replace(f"{data.rstrip('/')}/", "")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.name for path in HERE.glob("*.ipynb")):
        began = time.monotonic()
        run(HERE / name)
        print(f"{name}: {time.monotonic() - began:.0f} s, {(HERE / name).stat().st_size / 1e3:.0f} kB", flush=True)
