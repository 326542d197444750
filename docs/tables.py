"""The tables of docs/cli.md and docs/settings.md, written from the code: python docs/tables.py

Only tables are written anew. What stands above them, and the examples, are kept; a verb that has no section gets one
with its help text. A test compares both pages with what this would write.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from iconoclass.cli.main import app
from iconoclass.config import SECTIONS, Section, allowed_words

DOCS = Path(__file__).parent
GLOSS = {"data": "The pictures", "model": "The network", "training": "Learning", "augment": "Augmentation"}


def command_line(text: str) -> str:
    """docs/cli.md with every verb's tables as they are in the code."""
    head, *_ = text.split("\n## ", 1)
    sections = dict(re.findall(r"^## iconoclass (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    tail = text[text.index("\n## Exit statuses") :]
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    parts = [f"## iconoclass {name}\n{_section(verb, sections.get(name))}" for name, verb in verbs.items()]
    return f"{head}\n" + "\n".join(parts) + tail


def _section(verb: Any, written: str | None) -> str:
    if written is None:
        said, _, examples = inspect.cleandoc(verb.help).partition("\b\n")
        lines = "\n".join(line.strip() for line in examples.strip().splitlines())
        written = f"\n{said.strip()}\n\n```text\n{lines}\n```\n"
    above = re.split(r"^\| ", written, maxsplit=1, flags=re.MULTILINE)[0].rstrip()
    return above + "\n\n" + "\n".join(_option_tables(verb))


def _option_tables(verb: Any) -> Iterator[str]:
    panels: dict[str, dict[str, str]] = {}
    for part in (verb, *getattr(verb, "commands", {}).values()):
        for parameter in part.params:
            names = [name for name in parameter.opts if name.startswith("--") and name != "--help"]
            if names:
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                panels.setdefault(panel, {}).setdefault(names[0], parameter.help)
    for panel, rows in panels.items():
        yield "\n".join([f"| {panel} | |", "|---|---|", *(f"| `{name}` | {said} |" for name, said in rows.items()), ""])


def settings() -> str:
    """docs/settings.md: every setting of config.toml and of Python's keywords."""
    parts = [SETTINGS_HEAD]
    for section, model in SECTIONS.items():
        rows = ["| setting | default | allowed | what it does |", "|---|---|---|---|"]
        schemas = model.model_json_schema()["properties"]
        rows += [_setting(name, model, schemas[name]) for name in model.model_fields]
        parts.append(f"## [{section}] {GLOSS[section]}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _setting(name: str, model: type[Section], schema: dict[str, Any]) -> str:
    field = model.model_fields[name]
    default = "" if field.is_required() else "–" if field.default is None else f"`{_toml(field.default)}`"
    return f"| `{name}` | {default} | {_allowed(name, schema)} | {field.description} |"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _allowed(name: str, schema: dict[str, Any]) -> str:
    if words := allowed_words(name):
        return ", ".join(f"`{word}`" for word in words)
    if schema.get("type") == "boolean":
        return "`true`, `false`"
    ends = {key: value for part in (schema, *schema.get("anyOf", ())) for key, value in part.items() if key in SIGNS}
    return ", ".join(f"{sign} {ends[key]:,g}" for key, sign in SIGNS.items() if key in ends)


SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

SETTINGS_HEAD = """# Settings

One word means one thing everywhere: `--batch-size 64` on the command line, `batch_size=64` in Python,
`batch_size = 64` in `config.toml`. Where the default is –, the recipe, the network or the data decide, or it is not
used; what was decided stands in the run's `config.toml`. A setting that would have no effect is refused, and so is one
that is misspelt.

```toml
format = 1

[data]
source = "photos/"
image_size = [64, 64]

[training]
epochs = 20
seed = 1
```

`iconoclass train --config runs/NAME/config.toml` repeats a run, bit for bit on the same machine and versions; options
given beside it replace what the file says.

This page is written from the code by `python docs/tables.py`.
"""


def pages() -> dict[Path, str]:
    """Each page and what it should say."""
    line = DOCS / "cli.md"
    return {line: command_line(line.read_text(encoding="utf-8")), DOCS / "settings.md": settings()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
