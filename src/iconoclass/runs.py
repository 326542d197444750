"""Runs: what a folder of runs holds, and what became of each; told without TensorFlow, and in a moment."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iconoclass.errors import RunError
from iconoclass.files import size_of
from iconoclass.run import Run


@dataclass(frozen=True)
class Listed:
    """A run at a glance. state: complete, running, stopped or diverged; where: how far it came, if it is not complete;
    accuracy: on test, {"value", "low", "high"}, once it was judged; age_s: seconds since anything was written.
    """

    run: Run
    state: str
    where: str
    accuracy: dict[str, float] | None
    age_s: float

    def as_json(self) -> dict[str, Any]:
        own = {"run": str(self.run.path), "state": self.state, "where": self.where, "test_accuracy": self.accuracy}
        return {**own, "age_s": round(self.age_s)}


def listed(folder: Path) -> list[Listed]:
    """The runs in a folder, and in folders of runs within it (as of folds), the youngest one first.

    Raises: RunError, if there is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}", hint="`iconoclass train` makes runs/; or name another folder.")
    return sorted(map(_glance, Run.all_in(folder)), key=lambda each: (each.age_s, each.run.path))


def _glance(run: Run) -> Listed:
    age_s = max(0.0, time.time() - run.written_at)
    if run.is_complete:
        return Listed(run, "complete", "", run.summary.get("test_accuracy"), age_s)
    state = "running" if run.is_locked else run.ended_as or "stopped"
    return Listed(run, state, _how_far(run), None, age_s)


def _how_far(run: Run) -> str:
    """What its newest checkpoint says: in epoch 7 of 20."""
    for manifest in reversed(run.checkpoints):
        try:
            state = json.loads(manifest.read_bytes())["state"]
            epoch, epochs = state["at"]["epoch"], state["epochs"]
            return "not judged" if state["is_done"] else f"epoch {epoch + 1} of {epochs}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return "no checkpoint yet"


def remove(runs: Sequence[Run]) -> int:
    """Delete runs with all that is in them. Returns: the bytes that are free now.

    Raises: RunError, before anything is deleted, naming those that are being trained.
    """
    if busy := [str(run.path) for run in runs if run.is_locked]:
        raise RunError(f"being trained right now: {', '.join(busy)}", hint="Stop them first. Nothing was removed.")
    return sum(map(_remove, runs))


def _remove(run: Run) -> int:
    size = size_of(run.path)
    # Under another name first: a removal that is killed leaves no half of a run that looks like one.
    doomed = run.path.with_name(f".{run.name[:200]}.{secrets.token_hex(4)}")
    run.path.rename(doomed)
    shutil.rmtree(doomed)
    return size
