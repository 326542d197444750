"""import_model(): a network of another program -> a run that can be asked, judged and exported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from iconoclass import environment
from iconoclass.config import Config
from iconoclass.errors import DataError, IntegrityError, RunError, UsageError, pick
from iconoclass.exports.quarantine import FORBIDDEN, SCALINGS
from iconoclass.images.resize import RESIZES
from iconoclass.prediction.card import LABELS
from iconoclass.prediction.predictor import Predictor
from iconoclass.prediction.vetting import vet, vet_kind
from iconoclass.run import Run

TIMEOUT_S = 300
# Of the environment, what a Python needs to run; no keys and no addresses.
_KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")

_ITS_OWN = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def import_model(
    file: Path | str,
    *,
    labels: Path | str | None = None,
    scaling: str | None = None,
    resize: str = "crop",
    output: Path | str = "runs",
    name: str | None = None,
) -> tuple[Run, list[str]]:
    """A run made of a foreign .keras or .h5 file, and what was found or assumed, in sentences.

    labels: a file with a class name a line, as Teachable Machine writes it; default: labels.txt beside the file.
    scaling: what the network takes: "0-255", "0-1" or "-1-1"; None: as it is found in the network.
    Raises: IntegrityError, if the file is not safe to open or cannot be opened; UsageError, if class names or scaling
    are neither found nor given.
    """
    file = Path(file).expanduser()
    if not file.is_file():
        raise RunError(f"there is no file {file}", hint="Give a .keras file, or a whole model as .h5.")
    vet_kind(file)
    if file.suffix not in {".keras", ".h5"}:
        raise UsageError(f"{file} is no Keras file", hint="Allowed: .keras, and .h5 with a whole model.")
    pick(RESIZES, resize, "way to resize")
    if scaling is not None:
        pick(SCALINGS, scaling, "scaling")
    vet(file)
    named = Path(labels).expanduser() if labels else file.parent / LABELS
    class_names, is_numbered = _class_names(named)
    # Teachable Machine numbers its labels, and scales to [-1, 1] outside of the network.
    assumed = "-1-1" if is_numbered and file.suffix == ".h5" else ""
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder).resolve()
        facts = _opened_apart(file, room, scaling or "")
        height, width, _ = facts["shape"]
        notes = [f"The network takes {height} x {width} pixels and tells {facts['classes']} classes apart."]
        if not scaling and not facts["scaling"] and assumed:
            facts = _opened_apart(file, room, assumed)
            notes.append("Pixels are scaled to [-1, 1], as Teachable Machine does.")
        elif not scaling and facts["scaling"]:
            notes.append("It scales pixels itself.")
        elif not scaling:
            hint = f"Say so: --scaling {', --scaling '.join(SCALINGS)}. Its training code says which."
            raise UsageError(f"{file} does not show which range of pixels it takes", hint=hint)
        if len(class_names) != facts["classes"]:
            what = f"{named} names {len(class_names)} classes, and {file.name} tells {facts['classes']} apart"
            raise DataError(what, hint="A class name a line, in the order of the network's outputs.")
        run = Run.create(Path(output), name or re.sub(r"[^\w.-]+", "-", file.stem))
        return _filled(run, room / "model.keras", file, class_names, resize, facts), notes


def _class_names(path: Path) -> tuple[list[str], bool]:
    """The names in a file, a line each, and whether they were numbered as in "0 cat"."""
    if not path.is_file():
        raise UsageError(f"there are no class names: {path} is not there", hint="Write one name a line: --labels FILE.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8", hint="Save it as UTF-8, a class name a line.") from error
    is_numbered = bool(lines) and all(re.match(rf"{place}[ :]\s*\S", line) for place, line in enumerate(lines))
    names = [re.sub(r"^\d+[ :]\s*", "", line) for line in lines] if is_numbered else lines
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"{path} must hold two or more names, each once. Received: {len(names)} lines")
    return names, is_numbered


def _opened_apart(file: Path, room: Path, scaling: str) -> dict[str, Any]:
    """What the limited process says of the file; it has written the network into the room.

    Raises: IntegrityError, if it refused, died, or took too long.
    """
    command = [sys.executable, "-m", "iconoclass.exports.quarantine", str(file.resolve()), str(room), scaling]
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=room,
            env={**kept, **_ITS_OWN, "TMPDIR": str(room)},
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise IntegrityError(f"{file} took more than {TIMEOUT_S} s to open", code="MODEL_UNSAFE") from error
    if done.returncode == FORBIDDEN:
        what = f"{file} is refused: opening it tried to reach beyond its own folder"
        raise IntegrityError(what, hint="Do not use it.", code="MODEL_UNSAFE")
    try:
        facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        what = f"{file} cannot be opened: the process that tried ended with status {done.returncode}"
        raise IntegrityError(what, hint="It is damaged, or made to do harm.") from error
    if facts["refused"]:
        raise IntegrityError(f"{file} cannot be imported: {facts['refused']}", hint="Nothing was made of it.")
    return facts


def _filled(run: Run, network: Path, file: Path, class_names: list[str], resize: str, facts: dict[str, Any]) -> Run:
    """A run with all that asking, judging on given pictures and exporting need."""
    height, width, channels = facts["shape"]
    vet(network)
    run.model_path.write_bytes(network.read_bytes())
    run.write_config(Config.of(source=str(file.resolve()), image_size=f"{height}x{width}", resize=resize))
    run.write_dataset(
        {
            "title": file.name,
            "source": str(file.resolve()),
            "imported_from": file.name,
            "class_names": class_names,
            "image_size": [height, width],
            "channels": channels,
            "resize": resize,
            "counts": {},
            "validates_on_test": False,
            "notes": [],
            "fingerprint": "",
        }
    )
    run.write_environment(environment.describe())
    Predictor.load(run.path)  # asked once, about a blank picture
    return run
