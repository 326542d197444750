"""One sub-folder a class, a CSV manifest, or a zip or tar of a folder -> examples. Reads names, never pixels."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from iconoclass.errors import DataError, EnvironmentFault
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
    """One picture: name is its path inside the source, as it is shown; path is where its bytes are."""

    name: str
    path: Path
    class_name: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Found:
    """examples: sorted by name; left_out: (name, reason) of pictures not read; ignored: other files, by kind."""

    examples: list[Example]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)


# -- folders -------------------------------------------------------------------------------------------------------


def walk(root: Path) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """Every file below a folder as (name, path), sorted by name, and (name, reason) of links that are not followed.

    Raises: EnvironmentFault, if a folder cannot be read.
    """
    files: list[tuple[str, Path]] = []
    links: list[tuple[str, str]] = []
    for folder, entry in _entries(root):
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if entry.is_symlink() and not _stays_inside(path, root, folder):
            links.append((name, "a symbolic link that leaves the folder, loops or leads nowhere is not followed"))
        elif entry.is_file():
            files.append((name, path))
    return sorted(files), sorted(links)


def _entries(root: Path) -> Iterator[tuple[Path, os.DirEntry[str]]]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            raise EnvironmentFault(f"cannot read the folder {folder}: {error.strerror}") from error
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            else:
                yield folder, entry


def _stays_inside(path: Path, root: Path, folder: Path) -> bool:
    """Links to files inside the root are pictures like any other; links to folders are never followed."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_file() and target.is_relative_to(root.resolve())


def arrange(files: Sequence[tuple[str, Path]], where: str, links: Sequence[tuple[str, str]] = ()) -> Found:
    """Examples from the names of files: CLASS/..., or SPLIT/CLASS/... where the top folders are called like splits.

    Raises: DataError, if no arrangement fits; it says what was found.
    """
    ignored: Counter[str] = Counter()
    left_out = list(links)
    pictures: list[tuple[PurePosixPath, Path]] = []
    for text, path in files:
        name = PurePosixPath(text)
        suffix = name.suffix.lower()
        if any(part.startswith(".") or part in {"__MACOSX", "Thumbs.db", "desktop.ini"} for part in name.parts):
            ignored["hidden or system files"] += 1
        elif suffix in UNREAD_SUFFIXES:
            left_out.append((text, f"{suffix} pictures are not read; save them as JPEG or PNG"))
        elif suffix in IMAGE_SUFFIXES or not suffix:
            pictures.append((name, path))
        else:
            ignored[f"{suffix} files"] += 1
    wrapper = _wrapper([name.parts for name, _ in pictures])
    examples = []
    tops = {name.parts[wrapper] for name, _ in pictures if len(name.parts) > wrapper + 1}
    has_splits = (
        bool(tops)
        and all(top.lower() in SPLIT_NAMES for top in tops)
        and any(SPLIT_NAMES[top.lower()] == "train" for top in tops)
    )
    for name, path in pictures:
        parts = name.parts[wrapper:]
        if len(parts) < (3 if has_splits else 2):
            left_out.append((str(name), "it lies in no class folder"))
        elif has_splits:
            examples.append(Example(str(name), path, parts[1], SPLIT_NAMES[parts[0].lower()]))
        else:
            examples.append(Example(str(name), path, parts[0]))
    if not examples:
        raise DataError(f"{where} holds no pictures in class folders. {_sight(files)}", hint=LAYOUTS)
    return Found(sorted(examples, key=lambda example: example.name), left_out, dict(ignored))


LAYOUTS = "Expected: CLASS/picture.jpg, or train/CLASS/..., optionally val/CLASS/... and test/CLASS/..."


def _wrapper(names: Sequence[tuple[str, ...]]) -> int:
    """How many outer folders hold everything and mean nothing, as when an archive was made of the folder itself."""
    depth = 0
    while len({parts[depth] for parts in names if len(parts) > depth}) == 1 and all(
        len(parts) > depth + 2 for parts in names
    ):
        depth += 1
    return depth


def _sight(files: Sequence[tuple[str, Path]]) -> str:
    if not files:
        return "It is empty."
    folders = Counter(str(PurePosixPath(name).parent) for name, _ in files)
    return "It holds: " + ", ".join(f"{count} files in {folder}/" for folder, count in folders.most_common(6)) + "."


# -- CSV manifests -------------------------------------------------------------------------------------------------

PATH_COLUMNS = ("path", "image", "file", "filename", "filepath", "image_path")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "target")


def read_manifest(path: Path, allow_outside: bool = False) -> Found:
    """The examples of a CSV with a path and a label column, and optionally split and group.

    Paths are relative to the CSV's folder. Separator (comma, semicolon or tab) and byte-order mark are recognised.
    Raises: DataError, which names every line that is wrong.
    """
    rows = _rows(path)
    try:
        header = [cell.strip().lower() for cell in next(rows)[1]]
    except StopIteration:
        raise DataError(f"{path} is empty") from None
    columns = {
        "path": _column(header, PATH_COLUMNS, path),
        "label": _column(header, LABEL_COLUMNS, path),
    }
    columns |= {name: header.index(name) for name in ("split", "group") if name in header}
    root, wrong = path.parent.resolve(), []
    examples: dict[str, Example] = {}
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            example = _example(
                dict(zip(columns, (cells[at].strip() for at in columns.values()), strict=True)), root, allow_outside
            )
        except IndexError:
            wrong.append(f"line {line}: {len(cells)} cells, the header has {len(header)}")
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
        else:
            before = examples.setdefault(example.name, example)
            if before.class_name != example.class_name:
                wrong.append(
                    f"line {line}: {example.name} is '{example.class_name}' here and '{before.class_name}' above"
                )
    if wrong:
        more = f"\n  ... and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise DataError(f"{path} has {len(wrong)} wrong lines:\n  " + "\n  ".join(wrong[:20]) + more)
    if not examples:
        raise DataError(f"{path} has a header and no rows")
    return Found(sorted(examples.values(), key=lambda example: example.name))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte {error.start}", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {error.strerror}") from error
    if "\0" in text:
        raise DataError(f"{path} holds NUL bytes: it is no CSV")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    while True:
        try:
            yield reader.line_num + 1, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from None


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
    path = (root / cells["path"]).resolve()
    if not allow_outside and not path.is_relative_to(root):
        raise ValueError(f"{cells['path']} lies outside {root}; say --allow-outside if that is meant")
    split = cells.get("split") or None
    if split and split.lower() not in SPLIT_NAMES:
        raise ValueError(f"there is no split '{split}'; allowed: {', '.join(SPLIT_NAMES)}")
    return Example(
        cells["path"], path, cells["label"], SPLIT_NAMES[split.lower()] if split else None, cells.get("group") or None
    )
