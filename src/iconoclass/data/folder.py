"""One sub-folder a class, a CSV manifest, or a zip or tar of a folder -> examples. Reads names, never pixels."""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO

from iconoclass.errors import DataError, EnvironmentFault, UsageError
from iconoclass.images.decode import IMAGE_SUFFIXES, UNREAD_SUFFIXES

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Example:
    """One picture: name is its path inside the source, as `shown`; path is where its bytes are."""

    name: str
    path: Path
    class_name: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Found:
    """examples: sorted by name; left_out: (name, reason) of what is not read; ignored: other files, by kind."""

    examples: list[Example]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)


def shown(name: str) -> str:
    r"""The name as it can be written anywhere: line breaks, terminal codes and bytes that are no text are escaped.

    >>> print(shown("two\nlines \udcff.jpg"))
    two\nlines \udcff.jpg
    """
    return _NOT_SHOWN.sub(lambda found: ascii(found[0])[1:-1], name)


_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


# -- folders -------------------------------------------------------------------------------------------------------


def walk(root: Path) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """Every file below a folder as (name, path), sorted by name, and (name, reason) of what is no file to be read:
    links that are not followed, pipes and devices, and empty folders (with "/" behind the name).

    Raises: EnvironmentFault, if a folder cannot be read.
    """
    files: list[tuple[str, Path]] = []
    aside: list[tuple[str, str]] = []
    for entry in _entries(root):
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if entry.is_symlink() and not _is_file_inside(path, root):
            aside.append((name, "a symbolic link to a folder, out of the folder or to nowhere is not followed"))
        elif entry.is_dir(follow_symlinks=False):
            aside.append((name + "/", "the folder is empty"))
        elif entry.is_file():
            files.append((name, path))
        else:
            aside.append((name, "it is not a regular file"))
    return sorted(files), sorted(aside)


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder but the folders that hold something."""
    waiting: list[os.DirEntry[str] | Path] = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            raise EnvironmentFault(f"cannot read the folder {shown(os.fspath(folder))}: {error.strerror}") from error
        if not listed and not isinstance(folder, Path):
            yield folder
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry)
            else:
                yield entry


def _is_file_inside(path: Path, root: Path) -> bool:
    """Links to files inside the root are pictures like any other; links to folders are never followed."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_file() and target.is_relative_to(root.resolve())


def arrange(files: Sequence[tuple[str, Path]], where: str, aside: Sequence[tuple[str, str]] = ()) -> Found:
    """Examples from the names of files: CLASS/..., or SPLIT/CLASS/... where the top folders are called like splits.

    Raises: DataError, if no arrangement fits, or a class has only pictures of a kind that is not read; it says what
    was found.
    """
    ignored: Counter[str] = Counter()
    left_out = [(shown(name), reason) for name, reason in aside if not _is_hidden(name)]
    pictures: list[tuple[PurePosixPath, Path]] = []
    unread: list[PurePosixPath] = []
    for text, path in files:
        name = PurePosixPath(shown(text))
        suffix = name.suffix.lower()
        if _is_hidden(text):
            ignored["hidden or system files"] += 1
        elif suffix in UNREAD_SUFFIXES:
            unread.append(name)
            left_out.append((str(name), f"{suffix} pictures are not read; save them as JPEG or PNG"))
        elif suffix in IMAGE_SUFFIXES or not suffix:
            pictures.append((name, path))
        else:
            ignored[f"{suffix} files"] += 1
    layout = _layout_of([name.parts for name, _ in pictures])
    examples = []
    for name, path in pictures:
        if place := layout.place(name.parts):
            examples.append(Example(str(name), path, *place))
        else:
            left_out.append((str(name), "it lies in no class folder"))
    if not examples:
        raise DataError(f"{where} holds no pictures in class folders. {_sight(files, aside)}", hint=LAYOUTS)
    lost = Counter(place[0] for name in unread if (place := layout.place(name.parts)))
    for class_name in {example.class_name for example in examples}:
        del lost[class_name]
    if lost:
        counts = ", ".join(f"{class_name} ({count})" for class_name, count in sorted(lost.items()))
        hint = "Save them as JPEG or PNG, or move these folders elsewhere."
        raise DataError(f"classes in {where} with pictures of kinds that are not read only: {counts}", hint=hint)
    return Found(sorted(examples, key=lambda example: example.name), sorted(left_out), dict(ignored))


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part in {"__MACOSX", "Thumbs.db", "desktop.ini"} for part in parts)


@dataclass(frozen=True)
class _Layout:
    """wrapper: how many outer folders hold everything and mean nothing; has_splits: is a split's folder next?"""

    wrapper: int
    has_splits: bool

    def place(self, parts: tuple[str, ...]) -> tuple[str, str | None] | None:
        """(class name, split) of a picture; None if it lies in no class folder."""
        inner = parts[self.wrapper :]
        if not self.has_splits:
            return (inner[0], None) if len(inner) >= 2 else None
        split = SPLIT_NAMES.get(inner[0].lower()) if len(inner) >= 3 else None
        return (inner[1], split) if split else None


def _layout_of(names: Sequence[tuple[str, ...]]) -> _Layout:
    wrapper = _wrapper(names)
    tops = {parts[wrapper] for parts in names if len(parts) > wrapper + 1}
    splits = {SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    # A lone folder called "train" among others may be a class, of railways; beside "test" it is not.
    is_clear = len(splits) >= 2 or all(top.lower() in SPLIT_NAMES for top in tops)
    return _Layout(wrapper, "train" in splits and is_clear)


LAYOUTS = "Expected: CLASS/picture.jpg, or train/CLASS/..., optionally val/CLASS/... and test/CLASS/..."


def _wrapper(names: Sequence[tuple[str, ...]]) -> int:
    """How many outer folders hold everything and mean nothing, as when an archive was made of the folder itself."""
    depth = 0
    while len({parts[depth] for parts in names if len(parts) > depth}) == 1 and all(
        len(parts) > depth + 2 for parts in names
    ):
        depth += 1
    return depth


def _sight(files: Sequence[tuple[str, Path]], aside: Sequence[tuple[str, str]]) -> str:
    folders = Counter(shown(str(PurePosixPath(name).parent)) for name, _ in files)
    folders.update({shown(name[:-1]): 0 for name, _ in aside if name.endswith("/")})
    if not folders:
        return "It is empty."
    return "It holds: " + ", ".join(f"{count} files in {folder}/" for folder, count in folders.most_common(6)) + "."


# -- CSV manifests -------------------------------------------------------------------------------------------------

PATH_COLUMNS = ("path", "image", "file", "filename", "filepath", "image_path")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "target")


def read_manifest(path: Path, allow_outside: bool = False, group_by: str | None = None) -> Found:
    """The examples of a CSV with a path and a label column, and optionally split and group.

    Paths are relative to the CSV's folder. Separator (comma, semicolon or tab) and byte-order mark are recognised.
    group_by: "column:NAME", if another column than "group" says which pictures belong together.
    Raises: DataError, which names every line that is wrong.
    """
    rows = read_rows(path)
    try:
        header = [cell.strip().lower() for cell in next(rows)[1]]
    except StopIteration:
        raise DataError(f"{path} is empty") from None
    columns = {
        "path": _column(header, PATH_COLUMNS, path),
        "label": _column(header, LABEL_COLUMNS, path),
    }
    columns |= {name: _column(header, (name,), path) for name in ("split", "group") if name in header}
    if group_by and group_by.startswith("column:"):
        columns["group"] = _column(header, (group_by.removeprefix("column:").strip().lower(),), path)
    root, wrong = path.parent.resolve(), []
    examples: dict[Path, Example] = {}
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        # Cells too many are most often a comma in a name that was not quoted, which shifts all that follows.
        if len(cells) <= max(columns.values()) or any(cell.strip() for cell in cells[len(header) :]):
            wrong.append(f"line {line}: {len(cells)} cells, the header has {len(header)}")
            continue
        try:
            example = _example({name: cells[at].strip() for name, at in columns.items()}, root, allow_outside)
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
            continue
        before = examples.setdefault(example.path, example)
        for here, above in zip(_said_of(example), _said_of(before), strict=True):
            if here != above:
                wrong.append(f"line {line}: {example.name} is {here} here and {above} above")
    if wrong:
        more = f"\n  ... and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise DataError(f"{path} has {len(wrong)} wrong lines:\n  " + "\n  ".join(wrong[:20]) + more)
    if not examples:
        raise DataError(f"{path} has a header and no rows")
    return Found(sorted(examples.values(), key=lambda example: example.name))


MAX_LINE = 1 << 20  # characters


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV, each with the number of its line, as they are read: in memory is one line.

    Raises: DataError, if it is no CSV, naming the line; EnvironmentFault, if it cannot be read.
    """
    try:
        # Bytes that are no UTF-8 come as lone surrogates, so that their line can be named.
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = _lines(file, path)
            first = next(lines, "")
            separator = max(",;\t", key=first.count)
            reader = csv.reader(itertools.chain([first], lines), delimiter=separator, skipinitialspace=True)
            while first:
                try:
                    yield reader.line_num + 1, next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {error.strerror}") from error


def _lines(file: IO[str], path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise DataError(f"{path}, line {number} is longer than {MAX_LINE:,} characters: it is no CSV")
        if "\0" in line:
            raise DataError(f"{path}, line {number} holds NUL bytes: it is no CSV")
        if _NOT_UTF8.search(line):
            raise DataError(f"{path}, line {number} is not UTF-8", hint="Save it as UTF-8.")
        yield line


_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def _column(header: Sequence[str], names: Sequence[str], path: Path) -> int:
    found = [name for name in names if name in header]
    if len(found) != 1 or header.count(found[0]) != 1:
        problem = "has no column" if not found else "has several columns"
        raise DataError(f"{path} {problem} called {' or '.join(names)}. Columns found: {', '.join(header)}")
    return header.index(found[0])


def _example(cells: dict[str, str], root: Path, allow_outside: bool) -> Example:
    if not cells["path"] or not cells["label"]:
        raise ValueError("the path or the label is empty")
    if "\0" in cells["path"]:
        raise ValueError("the path holds a NUL byte")
    try:
        path = (root / cells["path"]).resolve()
    except (OSError, RuntimeError):  # a link that loops
        raise ValueError(f"{shown(cells['path'])} leads nowhere") from None
    if not allow_outside and not path.is_relative_to(root):
        raise ValueError(f"{shown(cells['path'])} lies outside {root}; say --allow-outside if that is meant")
    split = cells.get("split") or None
    if split and split.lower() not in SPLIT_NAMES:
        raise ValueError(f"there is no split '{split}'; allowed: {', '.join(SPLIT_NAMES)}")
    return Example(
        shown(cells["path"]),
        path,
        shown(cells["label"]),
        SPLIT_NAMES[split.lower()] if split else None,
        cells.get("group") or None,
    )


def _said_of(example: Example) -> tuple[str, str, str]:
    split, group = (f"'{word}'" if word else "none" for word in (example.split, example.group))
    return f"'{example.class_name}'", f"in split {split}", f"in group {group}"


# -- groups --------------------------------------------------------------------------------------------------------


def grouped(found: Found, group_by: str) -> Found:
    r"""The same pictures, those of one group marked: they will not be divided.

    group_by: "folder:2" for the name of the second folder below the source; "name:(patient\d+)" for what the brackets
    of a regular expression hold, looked for in the path inside the source; "column:NAME", of a CSV, has been read.
    Raises: DataError, if it fits no picture.
    """
    way, _, what = group_by.partition(":")
    if way == "column":
        return found
    groups = [_GROUPINGS[way](example.name, what) for example in found.examples]
    if not any(groups):
        example = found.examples[0].name
        raise DataError(
            f"--group-by {group_by} fits none of the {len(groups)} pictures, such as {example}", hint=GROUPS
        )
    examples = [replace(example, group=group) for example, group in zip(found.examples, groups, strict=True)]
    return replace(found, examples=examples)


def refuse_column(group_by: str | None, where: str) -> None:
    """Raises: UsageError, if groups are to come from a column where there are no columns."""
    if group_by and group_by.startswith("column:"):
        raise UsageError(f"--group-by {group_by} needs a CSV; {where} is none", hint=GROUPS)


GROUPS = (
    r"Allowed: folder:2 (the second folder of the path), name:(patient\d+) (a regular expression), column:NAME (a CSV)."
)


def _folder_of(name: str, level: str) -> str | None:
    folders = PurePosixPath(name).parts[:-1]
    return folders[int(level) - 1] if len(folders) >= int(level) else None


def _part_of(name: str, pattern: str) -> str | None:
    found = re.search(pattern, name)
    return found[1] if found else None


_GROUPINGS = {"folder": _folder_of, "name": _part_of}
