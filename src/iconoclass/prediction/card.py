"""Card: what a model file says about itself, and the places in each kind of file where that is written.

A card says what must be known to ask the model, and the digest of everything else in its file: a file that was cut off
or changed is found out before anything is read from it.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from iconoclass.errors import DataError, IntegrityError
from iconoclass.files import sha256_of
from iconoclass.images.resize import RESIZES
from iconoclass.prediction import wire
from iconoclass.prediction.vetting import DAMAGED, NAME, SAVED_MODEL, kind_of, vet_h5

FORMAT = 1  # of cards and manifests
KEY = "iconoclass"  # where a format keeps words with values
LABELS = "labels.txt"  # where programs for a format look for class names

MOST_CLASSES, MOST_SIDE, MOST_TEXT = 100_000, 4096, 32 << 20


@dataclass(frozen=True)
class Card:
    """All that one must know to ask a model. temperature: already inside the network; threshold: a largest probability
    below it means "not sure"; numbers: float32, or what the weights were made smaller with; made_by: a version.
    """

    class_names: list[str]
    image_shape: tuple[int, int, int]
    resize: str
    numbers: str = "float32"
    temperature: float = 1.0
    threshold: float | None = None
    run: str = ""
    network: str = ""
    made_by: str = ""
    format: int = FORMAT

    @property
    def labels(self) -> str:
        """labels.txt: a class name a line, in index order."""
        return "".join(f"{' '.join(name.split())}\n" for name in self.class_names)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "image_shape": list(self.image_shape),
            "colour": "grey" if self.image_shape[2] == 1 else "RGB",
            "pixels": "0 to 255",
        }


def card_of(content: Any, where: str) -> Card:
    """The card that JSON holds.

    Raises: DataError, if a newer version wrote it; IntegrityError, if it is not one.
    """
    try:
        if content["format"] > FORMAT:
            made_by = content.get("made_by") or "a newer version"
            hint = "Install that version or a newer one."
            raise DataError(f"{where} was made by Iconoclass {made_by}, which this one cannot read", hint=hint)
        known = {key: content[key] for key in Card.__dataclass_fields__ if key in content}
        card = Card(**{**known, "image_shape": tuple(content["image_shape"])})
        if reason := _wrong_with(card):
            raise IntegrityError(f"{where} says of itself {reason}", hint=DAMAGED)
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{where} has no readable description: {error!r}", hint=DAMAGED) from error
    return card


def _wrong_with(card: Card) -> str | None:
    """What no card of ours says; None, if there is nothing of the kind."""
    names, shape = card.class_names, card.image_shape
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return "that its class names are no list of names"
    if not 2 <= len(names) <= MOST_CLASSES or len(set(names)) < len(names):
        return f"that it has {len(names)} class names, of which {len(set(names))} differ"
    if (
        len(shape) != 3
        or not all(type(side) is int and 1 <= side <= MOST_SIDE for side in shape)
        or shape[2] not in (1, 3)
    ):
        return f"that its pictures are {shape}"
    if card.resize not in RESIZES:
        return f"that pictures are resized by {card.resize!r}"
    if not _is_number(card.temperature) or card.temperature <= 0:
        return f"a temperature of {card.temperature}"
    if card.threshold is not None and not (_is_number(card.threshold) and 0 <= card.threshold <= 1):
        return f"a threshold of {card.threshold}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def canonical(content: Any) -> str:
    """JSON that is the same for the same content."""
    return json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)


def seal_of(content: Mapping[str, Any]) -> str:
    """The digest of content, by which a change in it is seen."""
    return sha256_of(canonical(content).encode())


def sealed(content: Mapping[str, Any]) -> str:
    """JSON with its own seal.

    >>> unsealed(sealed({"a": 1}), "it")
    {'a': 1}
    """
    return canonical({**content, "seal": seal_of(content)})


def unsealed(text: str | bytes, where: str) -> dict[str, Any]:
    """Raises: IntegrityError, if it was changed since."""
    try:
        if len(text) > MOST_TEXT:
            raise ValueError(f"{len(text):,} bytes of description")
        content = json.loads(text)
        seal = content.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{where} has no readable description: {error!r}", hint=DAMAGED) from error
    if seal != seal_of(content):
        raise IntegrityError(f"{where} was changed since it was made: its description", hint=DAMAGED, code="MODEL_HASH")
    return dict(content)


def write_card(path: Path, card: Card) -> None:
    """Put the card into a model file that a converter has just written."""
    place = PLACES[kind_of(path)]
    place.write(path, card, sealed({"card": card.as_json(), "body": place.digests(path)}))


def read_card(path: Path) -> Card | None:
    """The card of a model file, every byte of which is as it was when the card was written; None, if it has no card.

    Raises: IntegrityError, if anything was changed, cut off, added or taken away.
    """
    place = PLACES[kind_of(path)]
    try:
        text = place.read(path)
        if text is None:
            return None
        content = unsealed(text, str(path))
        found = place.digests(path)
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise IntegrityError(
            f"{path} is damaged or cut off: {_first_line(error)}", hint=DAMAGED, code="MODEL_HASH"
        ) from error
    _compare(content.get("body"), found, path)
    return card_of(content.get("card"), str(path))


def _compare(expected: Any, found: dict[str, str], path: Path) -> None:
    if expected == found:
        return
    parts = expected if isinstance(expected, dict) else {}
    for what, names in (
        ("lacks", parts.keys() - found.keys()),
        ("holds, beyond what belongs to it,", found.keys() - parts.keys()),
        ("was changed since it was made:", {name for name in parts if parts[name] != found.get(name)}),
    ):
        if names:
            raise IntegrityError(f"{path} {what} {min(names)}", hint=DAMAGED, code="MODEL_HASH")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# -- ONNX: the last field of the file, which readers merge with the rest ---------------------------------------------

_METADATA = 14  # ModelProto.metadata_props; of an entry, 1 is the key and 2 the value


def _onnx_text(path: Path) -> str | None:
    found = list(_onnx_entries(path.read_bytes()))
    return found[-1][1] if found else None


def _onnx_entries(content: bytes) -> Iterator[tuple[int, str]]:
    for number, value, began in wire.located_fields(content):
        if number == _METADATA and isinstance(value, memoryview) and wire.text(value, 1) == KEY:
            yield began, wire.text(value, 2)


def _onnx_digests(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    body = min((began for began, _ in _onnx_entries(content)), default=len(content))
    return {"graph": sha256_of(content[:body])}


def _write_onnx(path: Path, card: Card, text: str) -> None:
    del card
    entry = wire.field(1, KEY.encode()) + wire.field(2, text.encode())
    with path.open("ab") as file:
        file.write(wire.field(_METADATA, entry))


# -- LiteRT: a zip behind the model, where Android looks for labels.txt ----------------------------------------------


def _tflite_text(path: Path) -> str | None:
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError("it does not begin as a LiteRT file does")
    if content.rfind(b"PK\x05\x06") < 0:
        return None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(NAME).decode() if NAME in archive.namelist() else None


def _tflite_digests(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    body, labels = len(content), b""
    if content.rfind(b"PK\x05\x06") >= 0:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            body = min(member.header_offset for member in archive.infolist())
            labels = archive.read(LABELS)
    return {"model": sha256_of(content[:body]), LABELS: sha256_of(labels)} if labels else {"model": sha256_of(content)}


def _write_tflite(path: Path, card: Card, text: str) -> None:
    content = json.loads(text)
    content.pop("seal")
    content["body"][LABELS] = sha256_of(card.labels.encode())
    with path.open("r+b") as file, zipfile.ZipFile(file, "a") as archive:
        archive.writestr(_undated(LABELS), card.labels)
        archive.writestr(_undated(NAME), sealed(content))


def _undated(name: str) -> zipfile.ZipInfo:
    """A member without the hour: the same export is the same bytes."""
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


# -- Keras: one more member of its zip; an attribute in HDF5 ---------------------------------------------------------


def _keras_text(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return archive.read(NAME).decode() if NAME in archive.namelist() else None


def _keras_digests(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise ValueError("two members have one name")
        return {name: sha256_of(archive.read(name)) for name in names if name != NAME}


def _write_keras(path: Path, card: Card, text: str) -> None:
    del card
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_undated(NAME), text)


def _h5_text(path: Path) -> str | None:
    import h5py

    with h5py.File(path, "r") as file:
        return str(file.attrs[KEY]) if KEY in file.attrs else None


def _h5_digests(path: Path) -> dict[str, str]:
    """Of every array, and of every attribute."""
    import h5py

    vet_h5(path)
    digests = {}
    with h5py.File(path, "r") as file:
        found: list[tuple[str, Any]] = [("/", file)]
        file.visititems(lambda name, thing: found.append((name, thing)))
        for name, thing in found:
            for attribute, value in thing.attrs.items():
                if (name, attribute) != ("/", KEY):
                    digests[f"{name}@{attribute}"] = sha256_of(
                        str(getattr(value, "tolist", lambda value=value: value)()).encode()
                    )
            if isinstance(thing, h5py.Dataset):
                digests[name] = sha256_of(thing[()].tobytes())
    return digests


def _write_h5(path: Path, card: Card, text: str) -> None:
    import h5py

    del card
    with h5py.File(path, "a") as file:
        file.attrs[KEY] = text


# -- SavedModel: the folder that it keeps for others -----------------------------------------------------------------

_EXTRA = "assets.extra"


def _saved_model_text(path: Path) -> str | None:
    file = path / _EXTRA / NAME
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _saved_model_digests(path: Path) -> dict[str, str]:
    files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if not file.is_dir()}
    if links := [name for name, file in files.items() if file.is_symlink()]:
        raise ValueError(f"{links[0]} is a link that leads elsewhere")
    return {name: sha256_of(file) for name, file in files.items() if name != f"{_EXTRA}/{NAME}"}


def _write_saved_model(path: Path, card: Card, text: str) -> None:
    del card
    (path / _EXTRA).mkdir(exist_ok=True)
    (path / _EXTRA / NAME).write_text(text, encoding="utf-8")


class Place(NamedTuple):
    """Where a kind of file has its card. digests: of all its parts but the card, by name."""

    read: Callable[[Path], str | None]
    digests: Callable[[Path], dict[str, str]]
    write: Callable[[Path, Card, str], None]


PLACES = {
    ".onnx": Place(_onnx_text, _onnx_digests, _write_onnx),
    ".tflite": Place(_tflite_text, _tflite_digests, _write_tflite),
    ".keras": Place(_keras_text, _keras_digests, _write_keras),
    ".h5": Place(_h5_text, _h5_digests, _write_h5),
    SAVED_MODEL: Place(_saved_model_text, _saved_model_digests, _write_saved_model),
}
