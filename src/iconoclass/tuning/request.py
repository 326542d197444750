"""Request: what a search was asked for, and how its time is divided."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from iconoclass.config import Config
from iconoclass.errors import RunError
from iconoclass.files import write_json
from iconoclass.tuning.space import Settings

FORMAT = 1
FINALISTS = 2  # the best trials, which are repeated beside the default
READY_S = 5.0  # from the first look at a trial to its first step, and from its last one to the next trial
JUDGE_S = 15.0  # to judge one run on test, with its plots and page


def trial_s(each_s: float) -> float:
    """Seconds of a whole trial that learns for so long."""
    return each_s + READY_S


@dataclass(frozen=True)
class Request:
    """What is searched for. settings: those of the user, which stay as they are.

    trials: so many, or None, and time_s then decides; each_s: that one trial learns, or None, and time_s or the default
    decides; seeds: that the best are repeated with; workers: at a time; study: its name in the storage.
    """

    settings: Settings
    trials: int | None
    time_s: float | None
    each_s: float | None
    seeds: int
    sampler: str
    workers: int
    study: str = ""

    @property
    def config(self) -> Config:
        return Config.of(**self.settings)

    @property
    def seed(self) -> int:
        return int(self.settings.get("seed") or 0)

    @property
    def finals(self) -> int:
        """How many trainings the repeats are."""
        return (FINALISTS + 1) * self.seeds

    def searching_s(self, each_s: float) -> float:
        """Of the time that was given, what is left for the trials; where none was given, any. each_s: of one trial."""
        if self.time_s is None:
            return math.inf
        rounds = -(-self.finals // self.workers)
        return self.time_s - rounds * trial_s(each_s) - 2 * self.seeds * JUDGE_S

    def least_s(self, each_s: float, trials: int) -> float:
        """The time that so many trials, the repeats and the judging need."""
        return trial_s(each_s) * (trials + self.finals) + 2 * self.seeds * JUDGE_S

    def write(self, folder: Path) -> None:
        """Give the search in a new folder a study of its own, in a database that many searches may share."""
        study = f"{folder.name}-{secrets.token_hex(4)}"
        write_json(folder / "search.json", {"format": FORMAT, **asdict(self), "study": study})

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Raises: RunError, if the folder is no search."""
        try:
            content = json.loads((folder / "search.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{folder} is no search", hint="`iconoclass tune` makes one.") from None
        if content.pop("format") > FORMAT:
            raise RunError(f"{folder} was made by a newer Iconoclass", hint="Update with pip install -U iconoclass.")
        return cls(**content)

    def is_of(self, folder: Path) -> bool:
        """Whether the search in a folder is what is asked for."""
        try:
            found = asdict(Request.read(folder))
        except RunError:
            return False
        return bool(found | {"study": ""} == json.loads(json.dumps(asdict(self))))
