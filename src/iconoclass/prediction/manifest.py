"""Manifest: what stands beside an exported model: its card, sizes and digests of its files, and golden pictures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iconoclass.errors import IntegrityError
from iconoclass.files import sha256_of, write_json
from iconoclass.prediction.card import LABELS, Card, card_of, read_card, seal_of, unsealed
from iconoclass.prediction.vetting import DAMAGED

MANIFEST = "manifest.json"
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Golden:
    """A picture and what the run answered. picture: the bytes of a PNG; probabilities: in index order."""

    picture: bytes
    class_name: str
    probabilities: list[float]


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says. file: the model's name beside it; files: name -> (bytes, SHA-256), of a folder each
    file; tolerance: how far a golden answer may be off.
    """

    file: str
    card: Card
    files: dict[str, tuple[int, str]]
    golden: list[Golden]
    tolerance: float

    def write(self, folder: Path) -> None:
        content = {
            "format": self.card.format,
            "file": self.file,
            "card": self.card.as_json(),
            "files": {name: {"bytes": size, "sha256": digest} for name, (size, digest) in self.files.items()},
            "tolerance": self.tolerance,
            "golden": [
                {
                    "png": base64.b64encode(golden.picture).decode(),
                    "class_name": golden.class_name,
                    "probabilities": golden.probabilities,
                }
                for golden in self.golden
            ],
        }
        write_json(folder / MANIFEST, {**content, "seal": seal_of(content)})


def manifest_beside(path: Path) -> Manifest | None:
    """The manifest of a model file; None, if there is none beside it, or it is of another file.

    Raises: IntegrityError, if it was changed; DataError, if a newer version wrote it.
    """
    file = path.parent / MANIFEST
    if not file.is_file() or file.stat().st_size > MOST_BYTES:
        return None
    content = unsealed(file.read_text(encoding="utf-8"), str(file))
    try:
        if content["file"] != path.name:
            return None
        return Manifest(
            file=content["file"],
            card=card_of(content["card"], str(file)),
            files={name: (entry["bytes"], entry["sha256"]) for name, entry in content["files"].items()},
            golden=[
                Golden(
                    base64.b64decode(golden["png"], validate=True),
                    golden["class_name"],
                    [float(p) for p in golden["probabilities"]],
                )
                for golden in content["golden"]
            ],
            tolerance=float(content["tolerance"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise IntegrityError(f"{file} is not readable: {error!r}", hint=DAMAGED) from error


def check_files(path: Path, manifest: Manifest) -> None:
    """Sizes first, then digests, of everything that the manifest lists.

    Raises: IntegrityError, if something is missing, was cut off, changed or added.
    """
    there = files_of(path)
    for name in manifest.files.keys() - there.keys() - {LABELS}:
        raise IntegrityError(f"{path} lacks {name}", hint=DAMAGED, code="MODEL_HASH")
    for name in there.keys() - manifest.files.keys():
        raise IntegrityError(f"{path} holds {name}, which does not belong to it", hint=DAMAGED, code="MODEL_HASH")
    for name, (size, digest) in manifest.files.items():
        file = there.get(name, path.parent / LABELS)
        if not file.is_file():
            continue  # labels.txt is for others: the names that are asked for are in the model
        if file.stat().st_size < size:
            raise IntegrityError(
                f"{file} was cut off: {file.stat().st_size:,} of {size:,} bytes", hint=DAMAGED, code="MODEL_HASH"
            )
        if file.stat().st_size > size or sha256_of(file) != digest:
            raise IntegrityError(f"{file} was changed since it was made", hint=DAMAGED, code="MODEL_HASH")


def files_of(path: Path) -> dict[str, Path]:
    """The files that a model consists of, by name: itself, or all that are in its folder."""
    if not path.is_dir():
        return {path.name: path}
    return {file.relative_to(path.parent).as_posix(): file for file in sorted(path.rglob("*")) if not file.is_dir()}


def described(path: Path, others: Sequence[Path] = ()) -> dict[str, tuple[int, str]]:
    """Size and digest of each file of a model, and of others that stand beside it."""
    files = files_of(path) | {other.name: other for other in others}
    return {name: (file.stat().st_size, sha256_of(file)) for name, file in files.items()}


def read_checked(path: Path) -> Card | None:
    """The card of a model file, after everything that says what the file must be has been compared with it.

    None: it has no card, inside or beside. Raises: IntegrityError, DataError.
    """
    manifest = manifest_beside(path)
    if manifest:
        check_files(path, manifest)
    card = read_card(path)
    if manifest and card and manifest.card != card:
        what = f"{path} and the {MANIFEST} beside it do not say the same"
        names = " of class names" if manifest.card.class_names != card.class_names else ""
        raise IntegrityError(f"{what}{names}", hint=DAMAGED, code="MODEL_HASH")
    return card or (manifest.card if manifest else None)
