"""Run: the folder that one training writes and every later stage reads. Only this module knows its file names."""

from __future__ import annotations

import contextlib
import csv
import datetime
import difflib
import io
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from iconoclass import inline
from iconoclass.errors import EnvironmentFault, RunError, UsageError
from iconoclass.files import make_folder, new_folder, try_lock, write_json, write_text, writing_text
from iconoclass.intervals import percent

if TYPE_CHECKING:
    from iconoclass.config import Config

FORMAT = 1

History = list[dict[str, float]]


def kept_row(history: Sequence[Mapping[str, float]]) -> int | None:
    """Where in a history the weights of model.keras are from: its last row with `kept`. None, if there is none."""
    return max((at for at, row in enumerate(history) if row.get("kept")), default=None)


class Run:
    """One training: its settings, its data's description, what happened, the model, and how it was judged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- making and finding ------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, output: Path, name: str) -> Run:
        """A new folder `output/name`, or with -2, -3, ... behind it: a run never overwrites another.

        Raises: UsageError, if the name is no plain folder name; EnvironmentFault, if it cannot be made.
        """
        refused = name in {".", ".."} or set(name) & set('/\\:*?"<>|') or name.startswith("-") or name != name.strip()
        if not name or refused or not name.isprintable() or len(name.encode()) > 200:
            hint = "Take letters, digits, '-', '_' and '.', 200 bytes at most."
            raise UsageError(f"a run cannot be named {name!r}", hint=hint)
        return cls(new_folder(output / name))

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """The run of a folder, or of the one run inside it.

        Raises: RunError, if there is none; it names the runs that are near.
        """
        path = Path(path).expanduser()
        if _is_run(path):
            return cls(path)
        inside = [folder for folder in _folders_in(path) if _is_run(folder)]
        if len(inside) == 1:
            return cls(inside[0])
        if inside:
            raise RunError(f"{path} holds several runs", hint=f"Name one: {_some(inside)}.")
        around = [folder for folder in (path.parent, *_folders_in(path.parent)) if _is_run(folder)]
        near = difflib.get_close_matches(path.name, [folder.name for folder in around], n=1, cutoff=0.5)
        if _is_run(path.parent):
            hint = f"Did you mean the run that it lies in, '{readable(path.parent)}'?"
        elif near:
            hint = f"Did you mean '{readable(path.with_name(near[0]))}'?"
        else:
            hint = f"There are: {_some(around)}." if around else "`iconoclass train` makes one."
        what = f"{path} is not a run: it has no config.toml" if path.exists() else f"there is no run {path}"
        raise RunError(what, hint=hint)

    @classmethod
    def all_in(cls, folder: Path) -> list[Run]:
        """The runs in a folder, and in folders of runs within it, such as those of folds."""
        return [cls(path.parent) for pattern in ("*", "*/*") for path in sorted(folder.glob(f"{pattern}/config.toml"))]

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether a folder is a run."""
        return _is_run(path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_path(self) -> Path:
        """What repeats the run: `iconoclass train --config`."""
        return self.path / "config.toml"

    @property
    def written_at(self) -> float:
        """When something in it was last written, in seconds as of time.time()."""
        # Whatever is written takes its name in the folder, which changes the folder's own time.
        return max(path.stat().st_mtime for path in (self.path, self.config_path))

    @property
    def is_complete(self) -> bool:
        return (self.path / "run.json").is_file()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What became of it and its curves, for a notebook."""
        config, drawn = self.config, self._drawn("curves")
        epochs = int(self.history[-1]["epoch"]) if self.history else 0
        learned = f"{epochs} epoch{'' if epochs == 1 else 's'}" if epochs else "the last layer alone"
        network = f"{config.model.model}, recipe {config.training.recipe}, {learned}"
        return inline.card(
            self.name,
            inline.said(f"{network}; seed {config.training.seed}"),
            inline.said(self._outcome()),
            inline.plot(drawn, "loss and accuracy by epoch") if drawn else "",
            inline.said(f"In {readable(self.path)}; everything about it: {self.report_path.name}", quiet=True),
        )

    def _outcome(self) -> str:
        if not self.is_complete:
            return f"Not complete: {self.ended_as or 'iconoclass resume goes on with it'}."
        score, seconds = self.summary.get("test_accuracy"), self.summary.get("seconds")
        if not score:
            return "Complete, and not judged yet."
        interval = f" (95 % interval {percent(score['low'])} to {percent(score['high'])})" if "low" in score else ""
        after = f", after {seconds:.0f} s" if seconds else ""
        return f"{percent(score['value'])} of the test pictures named rightly{interval}{after}."

    def plot(self, name: str) -> inline.Shown:
        """A plot of the run, shown below a notebook's cell: curves, confusion_matrix, predictions, mistakes, ...

        Raises: UsageError, if it has no such plot; it says which there are.
        """
        if path := self._drawn(name):
            return inline.Shown(inline.plot(path, f"{name} of {self.name}"), readable(path))
        there = sorted(path.stem for path in (self.path / "plots").glob("*.png"))
        hint = f"There are: {', '.join(there)}." if there else f"Judge it: iconoclass evaluate {readable(self.path)}"
        raise UsageError(f"{self.path} has no plot '{name}'", hint=hint)

    def _drawn(self, name: str) -> Path | None:
        path = self.path / "plots" / f"{name}.png"
        return path if path.is_file() else None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One trainer at a time. The system lets go of the lock of a process that is dead, however it died.

        Raises: EnvironmentFault, if another process trains this run, naming it.
        """
        with (make_folder(self.path / "checkpoints") / "lock").open("a+b") as file:
            if not _lock(file):
                raise EnvironmentFault(f"{self.path} is being trained by another process, {_owner(file)}", hint=_WAIT)
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a process trains or judges it right now."""
        try:
            with (self.path / "checkpoints" / "lock").open("rb") as file:
                return not try_lock(file)
        except FileNotFoundError:
            return False

    # -- what was asked, and of what ---------------------------------------------------------------------------------

    @cached_property
    def config(self) -> Config:
        from iconoclass.config import Config  # a twentieth of a second, which `predict FILE` need not spend

        return Config.read(self.config_path)

    @cached_property
    def dataset(self) -> dict[str, Any]:
        """What dataset.json says: name, class_names in index order, counts, image_size, channels, fingerprint."""
        return self._read_json("dataset.json")

    @property
    def class_names(self) -> list[str]:
        return list(self.dataset["class_names"])

    def write_config(self, config: Config) -> None:
        write_text(self.config_path, config.toml())

    def write_dataset(self, description: Mapping[str, Any]) -> None:
        write_json(self.path / "dataset.json", description)

    def write_splits(self, rows: Iterable[Sequence[Any]]) -> None:
        """rows: (image, class name, split, group, sha256)."""
        self._write_csv("splits.csv", ("image", "class", "split", "group", "sha256"), rows)

    def write_check(self, findings: Mapping[str, Any]) -> None:
        write_json(self.path / "check.json", findings)

    def decisions_path(self, word: str) -> Path:
        """Of the decisions that the run obeys those of one kind, for a training that obeys no others."""
        return self.path / f"decisions-{word}.csv"

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_json(self.path / "environment.json", environment)

    # -- what happened -----------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """One row an epoch, as history.csv holds them; empty before the first epoch has ended."""
        try:
            text = (self.path / "history.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [
            {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
            for row in csv.DictReader(io.StringIO(text))
        ]

    def write_history(self, history: History) -> None:
        self._write_csv("history.csv", tuple(history[0]), [tuple(row.values()) for row in history])

    @property
    def model_path(self) -> Path:
        """model.keras: the weights that were kept; opens in plain Keras."""
        return self.path / "model.keras"

    @property
    def last_model_path(self) -> Path:
        """The network as it was at the end of training, which is not always at its best."""
        return make_folder(self.path / "checkpoints") / "last.keras"

    @property
    def checkpoints(self) -> list[Path]:
        """Their manifests, the oldest one first."""
        return sorted((self.path / "checkpoints").glob("[0-9]*.json"))

    @property
    def next_checkpoint(self) -> Path:
        """Where the next one's manifest belongs."""
        last = self.checkpoints[-1:]
        return make_folder(self.path / "checkpoints") / f"{int(last[0].stem) + 1 if last else 1:06d}.json"

    @property
    def exports_folder(self) -> Path:
        """Where exports lie, a folder each, unless another place is named."""
        return self.path / "exports"

    @property
    def log_folder(self) -> Path:
        return make_folder(self.path / "tensorboard")

    # -- how it was judged -------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> dict[str, Any]:
        return self._read_json("metrics.json")

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        write_json(self.path / "metrics.json", metrics)

    @property
    def predictions_path(self) -> Path:
        return self.path / "predictions.csv"

    def write_predictions(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self._write_csv(self.predictions_path.name, header, rows)

    @property
    def calibration_path(self) -> Path:
        return self.path / "calibration.json"

    @property
    def calibration(self) -> dict[str, Any]:
        """What calibration.json says; nothing where the run was judged before there was one."""
        return self._read_json(self.calibration_path.name) if self.calibration_path.is_file() else {}

    @property
    def temperature(self) -> float:
        """What the logits of model.keras are divided by to give the answers of this run; 1.0 where none was fitted."""
        return float(self.calibration.get("temperature", 1.0))

    @property
    def threshold(self) -> float | None:
        """The confidence below which a picture is unknown; None where validation did not suffice to say."""
        threshold = self.calibration.get("unknown", {}).get("confidence_below")
        return None if threshold is None else float(threshold)

    def write_calibration(self, calibration: Mapping[str, Any]) -> None:
        write_json(self.calibration_path, calibration)

    @property
    def features_path(self) -> Path:
        """What the network makes of some training pictures: what a new picture is compared with."""
        return self.path / "features.npz"

    @property
    def looks(self) -> list[dict[str, Any]]:
        """The ledger of looks at the test part: when, and by which verb."""
        try:
            text = (self.path / "looks.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return list(csv.DictReader(io.StringIO(text)))

    def note_look(self, by: str) -> None:
        """Say in the ledger that the test part was looked at now."""
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        rows = [tuple(look.values()) for look in self.looks]
        self._write_csv("looks.csv", ("when", "by"), [*rows, (when, by)])

    @property
    def maps_path(self) -> Path:
        """What the network looked at in its worst mistakes."""
        return self.path / "maps.npz"

    @property
    def suspects(self) -> dict[str, Any]:
        """What labels.json says of labels that are likely wrong; nothing where nobody has looked."""
        return self._read_json("labels.json") if (self.path / "labels.json").is_file() else {}

    def write_suspects(self, suspects: Mapping[str, Any]) -> None:
        write_json(self.path / "labels.json", suspects)

    @property
    def environment(self) -> dict[str, Any]:
        """What environment.json says of the machine and the versions."""
        return self._read_json("environment.json") if (self.path / "environment.json").is_file() else {}

    @property
    def findings(self) -> dict[str, Any] | None:
        """What check.json says of the files; None where the data did not come as files."""
        return self._read_json("check.json") if (self.path / "check.json").is_file() else None

    @property
    def report_path(self) -> Path:
        """report.html: everything about this run on one page."""
        return self.path / "report.html"

    @property
    def predictions(self) -> Iterator[list[str]]:
        """The rows of predictions.csv: split, image, true, predicted, confidence, one probability a class.

        Raises: RunError, if the run has not been judged.
        """
        try:
            file = self.predictions_path.open(encoding="utf-8", newline="")
        except FileNotFoundError:
            hint = f"Judge it first: iconoclass evaluate {readable(self.path)}"
            raise RunError(f"{self.path} has not been judged", hint=hint) from None
        with file:
            # Not by name: a class may be called "true".
            yield from itertools.islice(csv.reader(file), 1, None)

    @property
    def splits(self) -> Iterator[dict[str, str]]:
        """The rows of splits.csv: image, class, split, group, sha256."""
        with (self.path / "splits.csv").open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)

    def plot_path(self, name: str) -> Path:
        return make_folder(self.path / "plots") / f"{name}.png"

    @property
    def summary(self) -> dict[str, Any]:
        """What run.json says of a complete run."""
        return self._read_json("run.json")

    @property
    def is_described(self) -> bool:
        """Whether everything that is known before the first step is on disk: the environment is written last."""
        return (self.path / "environment.json").is_file()

    def note_end(self, state: str, why: str) -> None:
        """Say why it is not complete: diverged; of a trial of a search tried or given up, its test part unseen."""
        write_json(self.path / "ended.json", {"state": state, "why": why})

    @property
    def ended_as(self) -> str | None:
        return self._read_json("ended.json")["state"] if (self.path / "ended.json").is_file() else None

    @property
    def why_ended(self) -> str:
        return str(self._read_json("ended.json")["why"])

    def begin_again(self) -> None:
        """It is no longer complete, or no longer diverged: it is learning again."""
        for name in ("run.json", "ended.json"):
            (self.path / name).unlink(missing_ok=True)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that the run is complete. Written last: without this file something is missing."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json(self.path / "run.json", {"format": FORMAT, "state": "complete", "finished": now, **summary})

    # -- how ---------------------------------------------------------------------------------------------------------

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.path} has no {name}", hint="The training was stopped before it was written."
            ) from None
        except ValueError as error:
            raise RunError(f"{self.path / name} cannot be read: {error}") from None
        return content

    def _write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        with writing_text(self.path / name) as file:
            writer = csv.writer(file, lineterminator="\n")
            # Before Python 3.13 a carriage return in a name is not quoted of itself, and would break the row in two.
            careful = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            for row in itertools.chain([header], rows):
                cells = [spreadsheet_safe(cell) for cell in row]
                (careful if any("\r" in cell for cell in cells if isinstance(cell, str)) else writer).writerow(cells)


_WAIT = "Wait until it has ended, or stop it."


def _lock(file: IO[bytes]) -> bool:
    for _ in range(20):
        if try_lock(file):
            return True
        time.sleep(0.05)  # not at once, for whoever lists runs holds each lock for an instant
    return False


def _owner(lock: IO[bytes]) -> str:
    lock.seek(0)
    return f"number {lock.read(20).decode(errors='replace') or 'unknown'}"


def _is_run(path: Path) -> bool:
    return (path / "config.toml").is_file()


def _folders_in(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError:
        return []


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return ", ".join(map(readable, paths[:8])) + more


def spreadsheet_safe(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it.

    >>> spreadsheet_safe("=cmd()"), spreadsheet_safe(-0.5)
    ("'=cmd()", -0.5)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def readable(path: Path) -> str:
    """The path as one would type it from here: relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
