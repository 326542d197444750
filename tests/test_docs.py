"""What the documentation shows, works: commands are run, options exist, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from iconoclass.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BIN = Path(sys.executable).parent

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


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


@page
def test_links_within_the_project_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


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
