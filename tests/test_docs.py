"""What the documentation shows, works: commands are run, options exist, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

import iconoclass
from conftest import make_photos
from iconoclass.cli.main import app

ROOT = Path(__file__).parent.parent
BESIDE = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*BESIDE, *SITE]
BIN = Path(sys.executable).parent

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


class Block(NamedTuple):
    """A block of code on a page, and why it is not run, if it says so."""

    language: str
    text: str
    why_not: str


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    everywhere = re.search(r"<!-- not run on this page: (.+?) -->", text)
    found = re.finditer(r"(?:<!-- not run: (.+?) -->\n)?^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(one[2], one[3], one[1] or (everywhere[1] if everywhere else "")) for one in found]


def blocks(path: Path, language: str) -> list[str]:
    return [block.text for block in blocks_of(path) if block.language == language and not block.why_not]


def commands(path: Path) -> list[str]:
    """Every command line of ours that a page shows, in blocks or in running text, without its comment."""
    text = path.read_text(encoding="utf-8")
    shown = re.findall(r"^\s*(iconoclass [^\n]*)$", text, re.MULTILINE) + re.findall(r"`(iconoclass [^`\n]*)`", text)
    return [line.split("  #")[0].strip() for line in shown]


def options_of_verbs() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    return {
        name: {
            option
            for part in (verb, *getattr(verb, "commands", {}).values())
            for parameter in part.params
            for option in parameter.opts
            if option.startswith("--")
        }
        for name, verb in group.commands.items()
    }


@page
def test_every_command_shown_has_a_verb_and_options_that_exist(path: Path) -> None:
    verbs = options_of_verbs()
    for line in commands(path):
        words = shlex.split(line)[1:]
        if not words or words[0].startswith("--") or words[0].isupper():
            continue
        assert words[0] in verbs, line
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given - {"--help"} <= verbs[words[0]], line


def test_every_option_of_every_verb_stands_on_the_page_of_the_command_line_and_no_other() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## iconoclass (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    verbs = options_of_verbs()
    assert sections.keys() == verbs.keys()
    for verb, options in verbs.items():
        documented = set(re.findall(r"^\| `(--[\w-]+)", sections[verb], re.MULTILINE))
        assert documented == options - {"--help"}, verb


def anchors_of(path: Path) -> set[str]:
    """What a link may name behind #, as code hosts make it of a heading."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@page
def test_links_within_the_project_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        assert (path.parent / target).exists(), link
        if anchor:
            assert anchor in anchors_of(path.parent / target if target else path), link


@page
def test_every_block_of_code_is_run_or_says_why_not(path: Path) -> None:
    for block in blocks_of(path):
        if block.why_not:
            assert len(block.why_not.split()) >= 2, block
        elif block.language == "toml":
            tomllib.loads(block.text)
        else:
            assert block.language in {"sh", "python"}, f"not run, and no word why:\n{block.text}"


@page
def test_a_reason_for_not_running_stands_before_a_block(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^<!-- not run: .+? -->$", text, re.MULTILINE) == re.findall(
        r"^(<!-- not run: .+? -->)\n```", text, re.MULTILINE
    )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a reader of the pages could be: photos/, and runs/photos-resnet that has learned from them."""
    import iconoclass as ic

    folder = tmp_path_factory.mktemp("stage")
    photos = make_photos(folder)
    ic.train(photos, model="resnet", image_size=32, width=8, epochs=4, output=folder / "runs", name="photos-resnet")
    return folder


def run_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One of our commands, through the same main as outside."""
    from iconoclass.cli import main as door

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(line, comments=True))
        with pytest.raises(SystemExit) as left:
            door.main()
    assert left.value.code in (0, None), line + capsys.readouterr().err


@pytest.mark.parametrize(
    "path", [path for path in SITE if blocks(path, "sh") or blocks(path, "python")], ids=lambda path: path.stem
)
def test_what_a_page_shows_runs_in_its_order(
    path: Path, stage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(stage)
    names: dict[str, Any] = {}
    for block in blocks_of(path):
        if block.language == "python" and not block.why_not:
            exec(compile(block.text, f"{path.name}", "exec"), names)
        elif block.language == "sh" and not block.why_not:
            for line in block.text.splitlines():
                assert line.startswith("iconoclass "), f"only our own commands are run here: {line}"
                run_line(line, capsys)


def test_the_network_that_is_added_as_an_example_can_be_built() -> None:
    from iconoclass.backend import keras
    from iconoclass.models import textbook

    [network, _] = [block.text for block in blocks_of(ROOT / "docs" / "add-your-own.md")]
    names = {"keras": keras, "layers": keras.layers, "_probabilities": textbook._probabilities}
    exec(network, names)
    assert names["lenet"]((28, 28, 1), 10).output_shape == (None, 10)


def load(name: str) -> Any:
    """A module of docs/, which is no package."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_options_and_settings_are_those_of_the_code() -> None:
    for path, text in load("tables").pages().items():
        assert path.read_text(encoding="utf-8") == text, f"python docs/tables.py writes {path.name} anew"


def test_every_page_is_in_the_contents_of_the_site_once() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1])
    made = ["python.md", "changelog.md", "contributing.md", "security.md"]
    made += [f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert sorted(listed) == sorted([*made, *(path.relative_to(ROOT / "docs").as_posix() for path in SITE)])


def test_the_citation_names_the_version_that_is_here() -> None:
    assert f"version: {iconoclass.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_no_picture_of_the_pages_is_large() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert max(picture.stat().st_size for picture in pictures) <= 200_000
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert [picture.name for picture in pictures if f"images/{picture.name}" not in text] == []


def test_the_site_is_built_without_a_warning() -> None:
    """With formulas drawn, every public name on its page, and every option of every verb somewhere."""
    pytest.importorskip("zensical")
    pytest.importorskip("latex2mathml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    answer = subprocess.run(
        [sys.executable, ROOT / "docs" / "build.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "warning" not in (answer.stdout + answer.stderr).lower()
    site = ROOT / "build" / "site"
    interface = (site / "python" / "index.html").read_text(encoding="utf-8")
    for name in iconoclass.__all__:
        assert re.search(rf'id="iconoclass\.[\w.]*\.{name}"', interface), name
    lines = (site / "cli" / "index.html").read_text(encoding="utf-8")
    for verb, options in options_of_verbs().items():
        assert f"iconoclass {verb}" in lines
        assert all(f"<code>{option}</code>" in lines for option in options - {"--help"}), verb
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        html = (site / "notebooks" / path.stem / "index.html").read_text(encoding="utf-8")
        assert "<math" in html or "$" not in path.read_text(encoding="utf-8")
        assert "$$" not in html


def run_shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80"}
    return subprocess.run(
        ["sh", "-eu", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_commands_of_the_readme_run_in_order(tmp_path: Path, photos: Path) -> None:
    """Blocks marked `sh` are run as they stand, in a folder that has photos/ in it."""
    assert (tmp_path / "photos") == photos
    for script in blocks(ROOT / "README.md", "sh"):
        answer = run_shell(script, tmp_path)
        assert answer.returncode == 0, script + answer.stderr


def test_the_python_lines_of_the_readme_run(tmp_path: Path, photos: Path) -> None:
    for script in blocks(ROOT / "README.md", "python"):
        answer = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, script + answer.stderr
