"""Plan: how many steps a training has; and budget: so many that the whole command takes the time it was given.

A step's place in the schedule is its share of the plan. Where the machine turns out faster or slower than it was when
the plan was made, the plan is changed on the way, and the rate still falls to its end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Plan:
    """So many steps. `share(step)` runs from 0 to 1 over them, without a jump where the plan was changed."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.changes = 0
        self._since, self._share = 0, 0.0

    def share(self, step: int) -> float:
        """Which part of the training is done once `step` steps are."""
        return self._share + (1 - self._share) * (step - self._since) / max(1, self.steps - self._since)

    def change(self, step: int, steps: int) -> None:
        """Now, after `step` steps, there shall be `steps` in all."""
        self._since, self._share = step, self.share(step)
        self.steps = steps
        self.changes += 1


@dataclass
class Budget:
    """Keeps a plan within a time. seconds: of the whole command, which began at `began` (time.monotonic()).

    finish_s: what comes after the last step, as it was estimated when a step took step_s; judge_s: one judgement on
    validation, epoch_steps apart. most_steps: more are never taken.
    """

    # Shares of the budget. 5 % over is a broken promise and 15 % left over a wasted one, so aim between; what is
    # expected to end between LOW and HIGH is left as it is, since an unchanged plan can be repeated bit for bit.
    AIM, LOW, HIGH = 0.93, 0.88, 0.985

    seconds: float
    began: float
    step_s: float
    judge_s: float
    finish_s: float
    epoch_steps: int
    most_steps: int = 10**12
    clock: Callable[[], float] = time.monotonic
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _judging: float = 0.0

    def steps(self, done: int = 0, step_s: float | None = None) -> int:
        """How many steps in all fit, if each of those to come takes step_s."""
        step_s = step_s or self.step_s
        left = self.began + self.AIM * self.seconds - self.clock() - self._finish_s(step_s) - self.judge_s
        each = step_s + self.judge_s / self.epoch_steps
        steps = min(self.most_steps, done + max(1, int(left / each)))
        # A last epoch of a few steps would cost a judgement and bring nothing.
        over = steps % self.epoch_steps
        return (
            steps - over if over < 0.1 * self.epoch_steps and steps - over > max(done, 5 * self.epoch_steps) else steps
        )

    def as_json(self) -> dict[str, float]:
        """What is needed to go on with it: how much is spent, and what was estimated."""
        kept = ("seconds", "step_s", "judge_s", "finish_s", "epoch_steps", "most_steps")
        return {name: getattr(self, name) for name in kept} | {"spent": self.clock() - self.began}

    @classmethod
    def from_json(cls, kept: dict[str, Any], now: float) -> Budget:
        """The budget as it was; time in which nothing ran does not count."""
        kept = dict(kept)
        return cls(began=now - kept.pop("spent"), **kept)

    def begin(self) -> None:
        self._marks = deque([(self.clock(), 0)])

    def judged(self, seconds: float) -> None:
        """A judgement on validation took so long, which is no time of steps."""
        self._judging += seconds
        self.judge_s = seconds

    def watch(self, plan: Plan, done: int) -> None:
        """Change the plan, if at the pace of late it would end too soon or too late."""
        now = self.clock()
        stepping = now - self._judging
        if stepping - self._marks[-1][0] < 0.25 or done >= plan.steps:
            return
        self._marks.append((stepping, done))
        # The pace of the last tenth of the budget: long enough to be steady, short enough to see what has changed.
        while len(self._marks) > 2 and stepping - self._marks[1][0] > max(2.0, 0.1 * self.seconds):
            self._marks.popleft()
        (first, first_step) = self._marks[0]
        if stepping - first < min(2.0, 0.05 * self.seconds):
            return
        step_s = (stepping - first) / (done - first_step)
        left = plan.steps - done
        end = now + left * step_s + (1 + left // self.epoch_steps) * self.judge_s + self._finish_s(step_s)
        if not self.LOW <= (end - self.began) / self.seconds <= self.HIGH:
            steps = self.steps(done, step_s)
            if steps != plan.steps:
                plan.change(done, steps)

    def _finish_s(self, step_s: float) -> float:
        # Half of it is arithmetic like that of a step; drawing and writing need one core only, which is mostly free.
        return self.finish_s * (1 + max(1.0, step_s / self.step_s)) / 2
