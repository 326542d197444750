"""decisions.csv: what a person has decided about single pictures. Nothing is done to the files themselves."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iconoclass.data.folder import Example, read_rows
from iconoclass.errors import DataError, did_you_mean
from iconoclass.files import writing_text
from iconoclass.run import spreadsheet_safe

COLUMNS = ("image", "decision", "class_name", "reason")
WORDS = ("exclude", "relabel")


@dataclass(frozen=True)
class Decision:
    """What becomes of a picture. word: one of WORDS, or "" as long as a person has yet to decide."""

    image: str
    word: str
    class_name: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Decided:
    """examples: all of them, relabelled ones under their new class; excluded: names; said: for check.json."""

    examples: list[Example]
    excluded: frozenset[str]
    said: dict[str, Any]


def decide(examples: Sequence[Example], decisions: Sequence[Decision]) -> Decided:
    by_name = {decision.image: decision for decision in decisions if decision.word}
    excluded = [by_name[name] for name in by_name if by_name[name].word == "exclude"]
    moved, relabelled = [], []
    for example in examples:
        decision = by_name.get(example.name)
        if decision and decision.word == "relabel" and decision.class_name != example.class_name:
            relabelled.append({"image": example.name, "from": example.class_name, "to": decision.class_name})
            moved.append(replace(example, class_name=decision.class_name))
        else:
            moved.append(example)
    said = {
        "excluded": [{"image": decision.image, "reason": decision.reason} for decision in excluded],
        "relabelled": relabelled,
    }
    return Decided(moved, frozenset(decision.image for decision in excluded), said)


def read_decisions(path: Path, names: Collection[str], classes: Collection[str]) -> list[Decision]:
    """The rows of a decisions.csv, also those without a decision.

    names, classes: of all pictures that can be decided on, and those into which they can be moved.
    Raises: DataError, which names all at once: words and classes that are unknown, names that match no picture, and
    pictures that are decided on twice.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", hint="`iconoclass check DATA` writes one.")
    rows = read_rows(path)
    header = [cell.strip().lower() for cell in next(rows, (1, []))[1]]
    if missing := [name for name in COLUMNS[:3] if name not in header]:
        what = f"{path} has no column called {' or '.join(missing)}. Columns found: {', '.join(header)}"
        raise DataError(what, hint=f"Needed: {', '.join(COLUMNS[:3])}.")
    names, classes = set(names), sorted(classes)
    decisions: dict[str, Decision] = {}
    wrong = []
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        row = dict(zip(header, cells, strict=False))
        decision = _decision_of(row, names, classes)
        before = decisions.setdefault(decision.image, decision)
        if before.word and decision.word and before != decision:
            wrong.append(f"line {line}: {decision.image} is decided on twice")
        wrong += [f"line {line}: {problem}" for problem in _problems(decision, names, classes)]
        decisions[decision.image] = decision if decision.word else before
    if wrong:
        more = f"\n  ... and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise DataError(f"{path} has {len(wrong)} mistakes:\n  " + "\n  ".join(wrong[:20]) + more + "\n")
    return list(decisions.values())


def _decision_of(row: dict[str, str], names: Collection[str], classes: Collection[str]) -> Decision:
    image, class_name = _meant(row.get("image", ""), names), _meant(row.get("class_name", ""), classes)
    return Decision(image, row.get("decision", "").strip().lower(), class_name, row.get("reason", "").strip())


def _meant(text: str, known: Collection[str]) -> str:
    """Names that a spreadsheet would take for a formula were written with an apostrophe before them."""
    return next((name for name in (text, text.removeprefix("'"), text.strip()) if name in known), text.strip())


def _problems(decision: Decision, names: Collection[str], classes: Collection[str]) -> list[str]:
    problems = []
    if not decision.word:
        return []
    if decision.image not in names:
        problems.append(f"no picture is called '{decision.image}'")
    if decision.word not in WORDS:
        problems.append(f"there is no decision '{decision.word}'. {did_you_mean(decision.word, WORDS)}")
    if decision.word == "relabel" and decision.class_name not in classes:
        problems.append(f"there is no class '{decision.class_name}'. {did_you_mean(decision.class_name, classes)}")
    return problems


def write_decisions(path: Path, decisions: Iterable[Decision]) -> None:
    with writing_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for decision in decisions:
            row = (decision.image, decision.word, decision.class_name, decision.reason)
            writer.writerow([spreadsheet_safe(cell) for cell in row])


def words_in(path: Path) -> Counter[str]:
    """How many rows of a decisions.csv say which word; rows that a person has yet to decide do not count."""
    return Counter(word for word, _ in _said(path) if word)


def write_only(word: str, path: Path, to: Path) -> None:
    """Those rows of a decisions.csv that say one word, in a file of their own."""
    with writing_text(to) as file:
        rows = (cells for said, cells in _said(path) if said in (word, None))
        csv.writer(file, lineterminator="\n").writerows(rows)


def _said(path: Path) -> Iterator[tuple[str | None, list[str]]]:
    """Every row with its word; the first one, which names the columns, with None."""
    rows = read_rows(path)
    header = next(rows, (1, []))[1]
    yield None, header
    names = [cell.strip().lower() for cell in header]
    for _, cells in rows:
        yield dict(zip(names, cells, strict=False)).get("decision", "").strip().lower(), cells


# -- suggestions ---------------------------------------------------------------------------------------------------


def suggest(findings: dict[str, Any], decided: Sequence[Decision] = ()) -> list[Decision]:
    """A row for every picture that something was found about, with a decision where there is little doubt.

    decided: rows of an earlier decisions.csv; they stay as they are.
    """
    rows: dict[str, Decision] = {}

    def propose(image: str, word: str, reason: str) -> None:
        known = rows.setdefault(image, Decision(image, word, reason=reason))
        if reason not in known.reason.split("; "):
            rows[image] = replace(known, word=known.word or word, reason=f"{known.reason}; {reason}")

    in_conflict = {image for conflict in findings["conflicts"] for image in conflict["images"]}
    for bad in findings["unreadable"]:
        propose(bad["image"], "exclude", bad["reason"])
    for conflict in findings["conflicts"]:
        for image, other, class_name in _both_ways(conflict["images"], conflict["classes"]):
            propose(image, "", f"the same picture as {other}, which is {class_name}")
    for leak in findings["leaks"]:
        for image, other, split in _both_ways(leak["images"], leak["splits"]):
            # Who is judged stays; who learns the same picture goes.
            if split != "train" and leak["kind"] != "burst":
                propose(image, "" if image in in_conflict else "exclude", f"the same picture is in {split}: {other}")
    for copies in findings["exact_copies"]:
        for image in copies["images"][1:]:
            propose(image, "" if image in in_conflict else "exclude", f"a copy of {copies['images'][0]}")
    for what in ("blank", "dark", "bright", "blurred", "tiny"):  # as findings.ODD, which is built on this module
        for image in findings[what]:
            propose(image, "", what)
    kept = {decision.image: decision for decision in decided}
    return sorted((rows | kept).values(), key=lambda decision: decision.image)


def _both_ways(images: Sequence[str], others: Sequence[str]) -> list[tuple[str, str, str]]:
    """(image, the other one, what is said of the other one), for both."""
    return [(images[0], images[1], others[1]), (images[1], images[0], others[0])]
