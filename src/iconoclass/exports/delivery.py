"""export(): a run -> model files, each proven on the run's test pictures before it is there; verify(): proven again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iconoclass import __version__
from iconoclass.data.dataset import Dataset, open_dataset
from iconoclass.errors import DataError, IntegrityError, UsageError
from iconoclass.evaluation.evaluator import refuse_other_pictures
from iconoclass.evaluation.files import labelled_pictures, opened_for
from iconoclass.exports import verify as proving
from iconoclass.exports.page import page
from iconoclass.exports.readme import readme
from iconoclass.files import (
    STALE_S,
    exchange,
    explained,
    make_folder,
    need_room,
    printable,
    remove,
    sha256_of,
    size_of,
    write_json,
    write_text,
)
from iconoclass.intervals import share, wilson
from iconoclass.prediction.card import LABELS, Card, write_card
from iconoclass.prediction.golden import ask_golden
from iconoclass.prediction.manifest import MANIFEST, Golden, Manifest, described, manifest_beside
from iconoclass.prediction.predictor import Predictor, model_file
from iconoclass.prediction.runtimes import open_model
from iconoclass.prediction.vetting import kind_of, vet
from iconoclass.run import Run

if TYPE_CHECKING:
    from iconoclass.exports.catalog import Exporter

PROOF, PAGE, README = "proof.json", "proof.html", "README.md"
GOLDEN_PICTURES = 4
NOT_SLOWER = 0.95  # times as fast: what is nearer to 1 is noise
DIAGNOSED = 64  # pictures by which a fault is explained

Say = Callable[[str], None]


@dataclass(frozen=True)
class Export:
    """A model file that was proven. path: of the file; proof: what came of asking it."""

    path: Path
    proof: proving.Proof

    @property
    def folder(self) -> Path:
        return self.path.parent

    def as_json(self) -> dict[str, Any]:
        return {"path": str(self.path), "bytes": size_of(self.path), "proof": self.proof.as_json()}


def export(
    run: Run | Path | str,
    *formats: str,
    quantize: str | None = None,
    output: Path | str | None = None,
    max_loss: float | str = proving.MAX_LOSS,
    data: Dataset | Path | str | None = None,
    offline: bool = False,
    say: Say | None = None,
) -> list[Export]:
    """The run as model files, a folder for each format, inside `output` (default: exports/ in the run's folder).

    formats: words of EXPORTERS, such as "onnx"; quantize: "int8" or "float16"; max_loss: of accuracy, with these, 0.01
    or "1%"; data: the run's own data set, if it is at hand, or other labelled pictures to prove it on; say: hears of
    every phase.
    Raises: IntegrityError, if a file does not answer as the run does: it is not delivered, and the error says where
    they part; UsageError, if there is no such format; DataError, if the pictures are no longer those of the run.
    """
    if not formats:
        raise UsageError("no format is named", hint='For example: export(run, "onnx").')
    run = run if isinstance(run, Run) else Run.open(run)
    from iconoclass.exports.catalog import FLOAT32, exporter_of

    for name in formats:
        exporter_of(name, quantize or FLOAT32)
    allowed = _share(max_loss)
    source = Source(run, _dataset_of(run, data, offline), say or (lambda text: None))
    folder = Path(output).expanduser() if output else run.exports_folder
    return [source.delivered(name, folder, quantize or FLOAT32, allowed) for name in formats]


def _share(value: float | str) -> float:
    """0.01, or "1%".

    Raises: UsageError.
    """
    try:
        percent = isinstance(value, str) and value.strip().endswith("%")
        share = float(value.strip()[:-1]) / 100 if percent and isinstance(value, str) else float(value)
    except ValueError:
        share = float("nan")
    if not 0 <= share <= 1:
        raise UsageError(f"--max-loss must be a share from 0% to 100%. Received: {value}", hint="For example: 1%.")
    return share


def _dataset_of(run: Run, data: Dataset | Path | str | None, offline: bool) -> Dataset:
    """The pictures on which a run's exports are proven.

    Raises: DataError, if they are not those of the run, or of other classes.
    """
    if isinstance(data, Dataset):
        return data
    if data is not None:
        return opened_for(Predictor.load(run.path), str(data), offline)
    if "imported_from" in run.dataset:
        raise DataError(f"{run.name} was imported without pictures", hint="Give labelled ones: --data DIR.")
    dataset = open_dataset(run.config.data, offline=offline)
    refuse_other_pictures(run, dataset, "bring back the old ones, or give others with --data")
    return dataset


class Source:
    """A run as the source of exports: its network, its answers on the test pictures, and what goes into the card."""

    def __init__(self, run: Run, dataset: Dataset, say: Say) -> None:
        self.run, self.dataset, self.say = run, dataset, say

    @cached_property
    def predictor(self) -> Predictor:
        self.say("loading the run")
        return Predictor.load(self.run.path)

    @cached_property
    def network(self) -> Any:
        from iconoclass.backend import keras
        from iconoclass.exports.network import calibrated, refuse_broken

        vet(self.run.model_path)
        model = keras.saving.load_model(self.run.model_path, compile=False, safe_mode=True)
        refuse_broken(model, self.run.name)
        return calibrated(model, self.run.temperature)

    @cached_property
    def pictures(self) -> list[proving.Picture]:
        found = proving.pictures_of(self.dataset)
        order = [self.run.class_names.index(name) for name in self.dataset.class_names]
        return [replace(picture, label=order[picture.label]) for picture in found]

    @cached_property
    def expected(self) -> proving.Rows:
        self.say(f"asking the run about {len(self.pictures):,} test pictures")
        return proving.by_name(self.predictor, self.pictures, self.predictor.class_names)

    def ask(self, pixels: Any) -> proving.Rows:
        """The network in Keras, of pixels of any dtype."""
        batch = self.predictor.batch
        parts = [self.network.predict_on_batch(pixels[at : at + batch]) for at in range(0, len(pixels), batch)]
        return np.concatenate(parts).astype(np.float32)

    @cached_property
    def calibration(self) -> proving.Pixels:
        """Training pictures by which the ranges of int8 are chosen: test pictures choose nothing."""
        from iconoclass.exports.catalog import CALIBRATION_PICTURES

        return self.dataset.train.sample(CALIBRATION_PICTURES).pixels

    def card(self, numbers: str) -> Card:
        height, width = self.run.dataset["image_size"]
        return Card(
            class_names=self.run.class_names,
            image_shape=(height, width, self.run.dataset["channels"]),
            resize=self.run.dataset["resize"],
            numbers=numbers,
            temperature=self.run.temperature,
            threshold=self.run.threshold,
            run=self.run.name,
            network=str(self.network.name),
            made_by=__version__,
        )

    # -- one format ----------------------------------------------------------------------------------------------------

    def delivered(self, name: str, folder: Path, numbers: str, max_loss: float) -> Export:
        """One format, in a folder of its own, which is there with all that belongs to it, or not at all."""
        from iconoclass.exports.catalog import FLOAT32, exporter_of

        exporter = exporter_of(name, numbers)
        title = name if numbers == FLOAT32 else f"{name}-{numbers}"
        with _new(make_folder(folder) / title) as room:
            file = room / exporter.file
            self.say(f"writing {title}")
            need_room(room, 2 * size_of(self.run.model_path))
            with explained(file):
                self._write(exporter, file, numbers)
                write_card(file, self.card(numbers))
            self.say(f"asking {title} about {len(self.pictures):,} test pictures")
            proof = self._proven(file, numbers, max_loss, exporter)
            self._accompany(file, proof)
        return Export(folder / title / exporter.file, proof)

    def _write(self, exporter: Exporter, path: Path, numbers: str, network: Any = None) -> None:
        pixels = self.calibration if numbers == "int8" else self.calibration[:0]
        exporter.write(network or self.network, path, numbers, pixels)

    def _proven(self, file: Path, numbers: str, max_loss: float, exporter: Exporter) -> proving.Proof:
        predictor = Predictor.load(file)
        if kind_of(file) in {".keras", ".h5"}:
            predictor = Predictor(
                proving.PlainKeras(file), predictor.class_names, predictor.image_shape, predictor.resize_rule
            )
            predictor.batch = proving.MOST_PICTURES
        answered = proving.by_name(predictor, self.pictures, self.predictor.class_names)
        proof = proving.compare(
            self.expected, answered, self.pictures, numbers=numbers, max_loss=max_loss, notes=self._notes()
        )
        if not proof.holds:
            cause, layer = self._explained(predictor, answered, exporter, numbers)
            self._refuse(file, replace(proof, cause=cause, layer=layer))
        return self._timed(proof, file, numbers, exporter)

    def _notes(self) -> list[str]:
        notes = []
        if len(self.pictures) < len(self.dataset.test):
            notes.append(f"{len(self.pictures):,} of {len(self.dataset.test):,} test pictures, evenly spread.")
        if self.dataset.validates_on_test:
            notes.append("The test part was used to choose: its accuracy is optimistic.")
        return notes

    def _explained(
        self, predictor: Predictor, answered: proving.Rows, exporter: Exporter, numbers: str
    ) -> tuple[str, str]:
        """Why, or from which layer on, the file answers otherwise; empty where it cannot be told."""
        worst = np.argsort(-np.abs(self.expected - answered).max(-1))[:DIAGNOSED]
        pictures = [self.pictures[at] for at in worst]
        suspect = proving.Suspect(
            self.ask,
            self.expected[worst],
            answered[worst],
            proving.ask(predictor, pictures),
            pictures,
            self.predictor.image_shape,
            self.predictor.resize_rule,
        )
        if cause := proving.cause_of(suspect):
            return cause, ""
        allowed = 1e-3 if numbers == "float32" else 0.3
        if not exporter.file.endswith((".onnx", ".tflite")):
            return "", ""

        def write(network: Any, path: Path) -> None:
            self._write(exporter, path, numbers, network)

        suffix = Path(exporter.file).suffix
        return "", proving.parting_layer(self.network, write, suffix, suspect.pixels()[:8], allowed)

    def _refuse(self, file: Path, proof: proving.Proof) -> None:
        """Raises: IntegrityError, which says what was found."""
        what = f"{file.name} does not answer as {self.run.name} does, and is not delivered"
        ties = f" ({proof.near_ties:,} more are near ties)" if proof.near_ties else ""
        raise IntegrityError(f"{what}: {'; '.join(proof.faults)}{ties}", hint=_advice(proof), code="EXPORT_DIFFERS")

    def _timed(self, proof: proving.Proof, file: Path, numbers: str, exporter: Exporter) -> proving.Proof:
        """How fast the file is here; of smaller numbers also whether they pay."""
        pixels = self.dataset.test.sample(32).pixels
        speed: dict[str, Any] = {"images_per_second": proving.images_per_second(open_model(file), pixels)}
        speed["bytes"] = size_of(file)
        if numbers == "float32":
            return replace(proof, speed=speed)
        plain = file.with_name(f"plain{file.suffix}")
        self._write(exporter, plain, "float32")
        speed["float32"] = {
            "images_per_second": proving.images_per_second(open_model(plain), pixels),
            "bytes": size_of(plain),
        }
        remove(plain)
        return replace(proof, speed=speed, notes=[*proof.notes, _whether_it_pays(speed, numbers)])

    def _accompany(self, file: Path, proof: proving.Proof) -> None:
        """What stands beside the file."""
        folder, card = file.parent, self.card(proof.numbers)
        write_text(folder / LABELS, card.labels)
        asked = self._golden_places()
        pixels = np.stack([self.predictor.prepared(self.pictures[at].source) for at in asked])
        # In smaller numbers the file's answers are not quite the run's, and differ a little between processors.
        is_float = proof.numbers == "float32"
        rows = self.expected[asked] if is_float else Predictor.load(file).probabilities(pixels)
        golden = [
            Golden(proving.as_png(one), card.class_names[row.argmax()], row.tolist())
            for one, row in zip(pixels, rows, strict=True)
        ]
        manifest = Manifest(file.name, card, described(file, [folder / LABELS]), golden, proof.tolerance)
        manifest.write(folder)
        content = {**proof.as_json(), "file": file.name, "run": self.run.name, "versions": _versions()}
        content["sha256"] = {name: digest for name, (_, digest) in manifest.files.items()}
        content["answers"] = self._answers()
        write_json(folder / PROOF, content)
        write_text(folder / PAGE, page(file.name, card, proof, manifest, _versions()))
        write_text(folder / README, readme(file.name, card, proof))

    def _golden_places(self) -> list[int]:
        """Pictures of as many classes as there are places for: swapped names shall be seen in them."""
        firsts = np.unique(self.expected.argmax(-1), return_index=True)[1]
        spread = np.linspace(0, len(self.pictures) - 1, GOLDEN_PICTURES).astype(int)
        return list(dict.fromkeys([*firsts.tolist(), *spread.tolist()]))[:GOLDEN_PICTURES]

    def _answers(self) -> dict[str, list[Any]]:
        """By the digest of its pixels as the network sees them, what the run said of each picture."""
        names = self.predictor.class_names
        return {
            sha256_of(self.predictor.prepared(picture.source).tobytes())[:24]: [
                names[row.argmax()],
                round(float(row.max()), 6),
            ]
            for picture, row in zip(self.pictures, self.expected, strict=True)
        }


def _advice(proof: proving.Proof) -> str:
    why = proof.cause or (f"they part in the layer {proof.layer}" if proof.layer else "no layer alone explains it")
    advice = f"{why[0].upper()}{why[1:]}."
    if proof.numbers == "float32" or proof.cause:
        return advice
    return f"{advice} {'Try float16, or allow' if proof.numbers == 'int8' else 'Allow'} more with --max-loss."


def _whether_it_pays(speed: dict[str, Any], numbers: str) -> str:
    plain = speed["float32"]
    smaller = plain["bytes"] / speed["bytes"]
    faster = [speed["images_per_second"][batch] / plain["images_per_second"][batch] for batch in ("1", "32")]
    said = f"{smaller:.1f} times smaller than float32, {faster[0]:.2f} times as fast one by one, {faster[1]:.2f} by 32"
    pays = smaller >= 2 and min(faster) >= NOT_SLOWER
    return f"{numbers} {'pays' if pays else 'does not pay'} on this processor: {said}."


def _versions() -> dict[str, str]:
    names = ("iconoclass", "keras", "tensorflow", "tensorflow-cpu", "onnx", "onnxruntime", "ai-edge-litert", "numpy")
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@contextlib.contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """A hidden folder that takes its name when the block ends well, in place of an older one, and else is removed."""
    _refuse_foreign(folder)
    _sweep(folder)
    room = make_folder(_beside(folder))
    try:
        yield room
        with explained(folder):
            _take_place(room, folder)
    finally:
        if room.exists():
            remove(room)


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")


def _take_place(room: Path, folder: Path) -> None:
    """Give the room the folder's name; what had it is then the room, or gone."""
    _refuse_foreign(folder)
    if not folder.exists():
        os.rename(room, folder)  # noqa: PTH104 - Path.rename is for files
    elif not exchange(room, folder):
        old = _beside(folder)
        os.rename(folder, old)  # noqa: PTH104
        try:
            os.rename(room, folder)  # noqa: PTH104
        except OSError:
            os.rename(old, folder)  # noqa: PTH104
            raise
        remove(old)


def _refuse_foreign(folder: Path) -> None:
    """Raises: UsageError, if something is there that is no export: it is not ours to replace."""
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} is there and is no export", hint="Name another --output.")


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left of an export of that name, a day after."""
    for stale in folder.parent.glob(f".{folder.name}.*"):
        is_ours = re.fullmatch(r"[0-9a-f]{8}", stale.suffix[1:]) and stale.is_dir()
        with contextlib.suppress(OSError):  # another process was faster
            if is_ours and time.time() - stale.stat().st_mtime > STALE_S:
                remove(stale)


# -- verify ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verified:
    """What came of asking a file again. golden: pictures kept beside it; known: pictures of `data` that were in its
    proof; judged: all labelled pictures of `data`, with the share that is right.
    """

    path: Path
    golden: int
    largest_difference: float
    known: int = 0
    agreeing: int = 0
    judged: int = 0
    accuracy: dict[str, float | None] | None = None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "path": str(self.path)}

    @property
    def text(self) -> str:
        """What was found, a line each."""
        name = printable(self.path.name)
        lines = [f"✓ {name} answers as it did when it was made"]
        if not self.golden and not self.known:
            lines = [f"· {name} answers, and nothing beside it says what it answered when it was made"]
        if self.golden:
            differ = f"probabilities differ by {proving.written(self.largest_difference)} at most"
            lines.append(f"  golden pictures  {self.golden} of {self.golden}; {differ}")
        if self.known:
            lines.append(f"  its proof        {self.agreeing:,} of {self.known:,} pictures have the same answer")
        if self.accuracy is not None:
            lines.append(f"  accuracy         {share(self.accuracy).strip()} on {self.judged:,} pictures")
        return "\n".join(lines)


def verify(path: Path | str, *, data: Dataset | Path | str | None = None, offline: bool = False) -> Verified:
    """Ask a model file again: about the golden pictures beside it, and about those of `data` that its proof knows.

    data: a data set, or the folder of labelled pictures, of the same class names.
    Raises: IntegrityError, if it no longer answers as it did; DataError, if there is nothing to ask it about.
    """
    file = model_file(Path(path).expanduser())
    if file is None:
        raise UsageError(f"{path} is no exported model", hint="Give a model file, or the folder that it stands in.")
    predictor = Predictor.load(file)
    manifest = manifest_beside(file)
    if manifest is None and data is None:
        raise DataError(f"there is no manifest.json beside {file}", hint="Give pictures to ask about: --data DIR.")
    difference = ask_golden(predictor, manifest) if manifest else 0.0
    found = Verified(file, len(manifest.golden) if manifest else 0, difference)
    return found if data is None else _ask_data(found, predictor, data, offline)


def _ask_data(found: Verified, predictor: Predictor, data: Dataset | Path | str, offline: bool) -> Verified:
    pixels, labels = labelled_pictures(predictor, data, offline)
    rows = predictor.probabilities(pixels)
    answers = _known_answers(found.path)
    digests = [sha256_of(picture.tobytes())[:24] for picture in pixels]
    known = [(row, answers[digest][0]) for row, digest in zip(rows, digests, strict=True) if digest in answers]
    is_float = predictor.card is None or predictor.card.numbers == "float32"
    # Another processor rounds otherwise: where two classes are nearly as probable, either is the answer.
    within = 2 * proving.TOLERANCES["float32" if is_float else "int8"]
    places = {name: place for place, name in enumerate(predictor.class_names)}
    agreeing = sum(name in places and row[places[name]] >= row.max() - within for row, name in known)
    accuracy = wilson(int((rows.argmax(-1) == labels).sum()), len(labels)).as_json()
    found = replace(found, known=len(known), agreeing=int(agreeing), judged=len(labels), accuracy=accuracy)
    if is_float and agreeing < len(known):
        what = f"{found.path} answers {len(known) - agreeing:,} of {len(known):,} pictures of its proof otherwise"
        raise IntegrityError(what, hint="Export it again.", code="EXPORT_DIFFERS")
    return found


def _known_answers(file: Path) -> dict[str, Sequence[Any]]:
    try:
        return dict(json.loads((file.parent / PROOF).read_text(encoding="utf-8"))["answers"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
