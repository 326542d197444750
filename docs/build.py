"""The site: python docs/build.py, or make docs. Into build/site, from these pages, the notebooks and the docstrings.

What a site needs and a folder on a code host does not is made here: notebooks as pages with their outputs, formulas as
MathML, a page of the Python interface, links to files that are no pages. Nothing on the site is fetched from elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

import iconoclass

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "docs"
BESIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}


def build() -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, page in BESIDE.items():
        shutil.copy(ROOT / name, PAGES / page)
    for path in PAGES.rglob("*.md"):
        path.write_text(relinked(path.read_text(encoding="utf-8")), encoding="utf-8")
    (PAGES / "notebooks").mkdir()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        (PAGES / "notebooks" / f"{path.stem}.md").write_text(page_of(path), encoding="utf-8")
    (PAGES / "python.md").write_text(python_interface(), encoding="utf-8")
    # The docstrings are read from the sources, wherever this Python has the package from.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict", "--clean"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def relinked(text: str) -> str:
    """Links that hold in the repository, as they hold on the site."""
    text = re.sub(r"\]\((?:\.\./)+notebooks/([\w-]+)\.ipynb\)", r"](notebooks/\1.md)", text)
    for name, page in BESIDE.items():
        text = re.sub(rf"\]\((?:\.\./)*{name}\)", f"]({page})", text)
    text = re.sub(r"\]\(docs/([^)]+)\)", r"](\1)", text)
    # What is no page of the site stays as its name.
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)*(?:benchmarks|examples|src|tests|LICENSE)[^)]*\)", r"\1", text)


# -- notebooks -----------------------------------------------------------------------------------------------------


def page_of(path: Path) -> str:
    """A notebook as a page: its texts, its code, and what came of it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return "\n\n".join(part for cell in notebook["cells"] for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield _unfolded(with_formulas(source))
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        yield _shown(output)


def _shown(output: dict[str, Any]) -> str:
    data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
    if "text/html" in data:
        return f"<div class='output'>{_in_a_line(data['text/html'])}</div>"
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f"<img class='output' alt='plot' src='data:{kind};base64,{data[kind].strip()}'>"
    if "text/markdown" in data:
        return data["text/markdown"]
    text = "".join(output.get("text", "")) or data.get("text/plain", "")
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def _in_a_line(markup: str) -> str:
    """Markup that Markdown leaves alone: an empty line would end it."""
    return markup.replace("\n", "&#10;")


def _unfolded(text: str) -> str:
    """Folded answers hold Markdown: say so, as this Markdown wants it."""
    return text.replace("<details>", "<details markdown>").replace("```py\n", "```python\n")


def with_formulas(text: str) -> str:
    """$...$ and $$...$$ as MathML, which browsers draw by themselves."""
    text = re.sub(r"\$\$(.+?)\$\$", lambda found: _formula(found[1], "block"), text, flags=re.DOTALL)
    return re.sub(r"\$([^$\n]+)\$", lambda found: _formula(found[1], "inline"), text)


def _formula(latex: str, display: str) -> str:
    # Small spaces that the converter does not know.
    plain = latex.strip().replace(r"\;", r"\ ").replace(r"\,", " ").replace(r"\text", r"\mathrm")
    return re.sub(r"\s*\n\s*", " ", convert(plain, display=display))


# -- the Python interface --------------------------------------------------------------------------------------------


def python_interface() -> str:
    """A page with the docstring of every public name."""
    where = iconoclass._PUBLIC
    verbs = [name for name in iconoclass.__all__ if name[0].islower()]
    things = [name for name in iconoclass.__all__ if not name[0].islower()]
    head = "# Python\n\n`import iconoclass as ic` costs milliseconds; what is heavy is imported when it is used.\n"
    parts = [head, "## To do\n", *(f"::: {where[name]}.{name}\n" for name in verbs)]
    return "\n".join([*parts, "## To have\n", *(f"::: {where[name]}.{name}\n" for name in things)])


if __name__ == "__main__":
    build()
