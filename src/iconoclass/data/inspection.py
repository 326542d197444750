"""Inspection: what a look at pictures found -> a table, check.json, check.html, decisions.csv."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iconoclass import inline
from iconoclass.config import Config, DataConfig
from iconoclass.data.catalog import DATASETS
from iconoclass.data.check import decisions_of, inspect, refuse_if_strict
from iconoclass.data.dataset import examples_of
from iconoclass.data.decisions import Decision, suggest, write_decisions
from iconoclass.data.duplicates import Tell
from iconoclass.data.findings import remarks
from iconoclass.errors import DataError, UsageError
from iconoclass.files import new_folder, printable, write_json, write_text

EXAMPLES = 3  # of each finding, in the table
WIDTH = 80


def check(source: str | Path, *, tell: Tell | None = None, **settings: Any) -> Inspection:
    """What is to be known of pictures before anything is trained on them. Nothing is changed, nothing refused.

    source: a folder, a CSV or an archive. settings: those of [data], such as decisions="decisions.csv",
    group_by="folder:2". tell: called with (what is done, how many, of how many).
    Raises: DataError, if there are no pictures at all or the decisions are wrong.
    """
    config = Config.of(source=str(source), **settings).data
    if config.source in DATASETS or config.source.lower().endswith(".npz"):
        hint = "Give a folder, a CSV or an archive of pictures."
        raise DataError(f"{config.source} comes as arrays: there are no files to look at", hint=hint)
    found = examples_of(config)
    findings = inspect(found, config, config.source, tell)
    decisions = suggest(findings, decisions_of(config, found))
    return Inspection(config, findings, decisions, {example.name: example.path for example in found.examples})


@dataclass(frozen=True)
class Inspection:
    """findings: what check.json says; decisions: what is suggested, and what was decided before; paths: by name."""

    config: DataConfig
    findings: dict[str, Any]
    decisions: list[Decision] = field(repr=False)
    paths: dict[str, Path] = field(repr=False)

    def __repr__(self) -> str:
        return f"Inspection({self.title()}; {len(remarks(self.findings))} remarks)"

    def title(self) -> str:
        name = Path(self.config.source).expanduser().absolute().name
        return f"{name}: {self.findings['images']:,} pictures of {len(self.findings['classes'])} classes"

    def table(self) -> str:
        """What was found, as plain text of at most 80 columns."""
        findings, said = self.findings, remarks(self.findings)
        lines = [self.title(), "", *_class_lines(findings["classes"]), "", *_picture_lines(findings), ""]
        for remark in said:
            lines += _wrapped(f"{'✗' if remark.is_trouble else '·'} {remark.text}", "  ")
            for example in remark.examples[:EXAMPLES]:
                lines += _wrapped(f"    {printable(example)}", "      ")
            if len(remark.examples) > EXAMPLES:
                lines.append(f"    ... and {len(remark.examples) - EXAMPLES:,} more")
        if left_out := findings["left_out"]:
            are = "1 file is" if len(left_out) == 1 else f"{len(left_out):,} files are"
            lines += _wrapped(f"· {are} not used; the first: {printable(left_out[0]['image'])}", "  ")
        if not any(remark.is_trouble for remark in said):
            lines.append("✓ nothing that would mislead who learns from them")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return inline.text(self.table())

    def save(self, output: Path | str = "check") -> Path:
        """Write check.json, check.html and decisions.csv into a new folder, and say which: a second one gets -2.

        Raises: UsageError, if it would lie among the pictures; EnvironmentFault, if it cannot be written.
        """
        from iconoclass.data import page

        output, source = Path(output).expanduser(), Path(self.config.source).expanduser()
        if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
            hint = "Name another place, such as --output ../check."
            raise UsageError(f"{output} lies in {source}, where nothing is ever written", hint=hint)
        folder = new_folder(output)
        write_json(folder / "check.json", self.findings)
        write_decisions(folder / "decisions.csv", self.decisions)
        write_text(folder / "check.html", page.page(self.title(), self.findings, self.paths))
        return folder

    def refuse_faults(self) -> None:
        """Raises: DataError, if pictures are in two given parts or under two classes, or files vanished."""
        refuse_if_strict(self.findings, self.config.source)


def _class_lines(classes: dict[str, int], most: int = 20) -> list[str]:
    """A bar for each class, the largest ones first where there are many."""
    shown = sorted(classes.items(), key=lambda item: -item[1])[:most] if len(classes) > most else list(classes.items())
    width = min(24, max((len(name) for name, _ in shown), default=0))
    longest = max(classes.values(), default=1)
    lines = [f"{_cut(name, width):<{width}} {count:>9,} {'█' * round(40 * count / longest)}" for name, count in shown]
    return lines + ([f"... and {len(classes) - most:,} smaller classes"] if len(classes) > most else [])


def _picture_lines(findings: dict[str, Any]) -> list[str]:
    if "width" not in findings:
        return []
    (least_wide, wide, most_wide), (least_high, high, most_high) = findings["width"], findings["height"]
    sizes = f"{wide} x {high} in the middle; {least_wide} to {most_wide} wide, {least_high} to {most_high} high"
    rows = {
        "size": sizes,
        "formats": _counts(findings["formats"]),
        "modes": _counts(findings["modes"]),
        "parts": _counts(findings["splits"]),
        "groups": f"{findings['groups']['groups']:,} of {findings['groups']['images']:,} pictures",
        "decided": _counts({word: len(findings[word]) for word in ("excluded", "relabelled") if findings[word]}),
    }
    if not findings["groups"]["groups"]:
        del rows["groups"]
    return [line for word, text in rows.items() if text for line in _wrapped(f"{word:<9} {text}", " " * 10)]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in counts.items())


def _wrapped(text: str, indent: str) -> Sequence[str]:
    start = len(text) - len(text.lstrip())
    return textwrap.wrap(text[start:], WIDTH, initial_indent=" " * start, subsequent_indent=indent)


def _cut(name: str, width: int) -> str:
    name = printable(name)
    return name if len(name) <= width else name[: width - 1] + "…"
