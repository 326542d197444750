"""One row an epoch, told to whoever listens: a live line in a terminal, plain lines elsewhere, event files."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np


@dataclass(frozen=True)
class Now:
    """Where training is: step of steps in epoch of epochs, and how it goes since the epoch began."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_s: float
    seconds_left: float


class Listener:
    """Hears of a training. This one keeps silent; the others override what they want to hear."""

    def begins(self, epochs: int, steps: int) -> None:
        pass

    def moves(self, now: Now) -> None:
        """Told after every step: must return at once."""

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        pass

    def ends(self) -> None:
        pass

    def tells(self, line: str) -> None:
        """Told once the training has ended: what its time went into."""


class Lines(Listener):
    """A plain line an epoch, for pipes and logs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        print(describe(row, now), file=self.stream, flush=True)

    def tells(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class Few(Lines):
    """At most about twenty lines, however many epochs there are: for what stays on a page."""

    MOST = 20

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        every = -(-now.epochs // self.MOST)
        if now.epoch % every == 0 or now.epoch in (1, now.epochs):
            super().ends_epoch(row, now)


class Live(Listener):
    """A line an epoch, and below it one that moves."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            # Narrow enough that the terminal's own ^C does not break the line, which could then not be taken back.
            BarColumn(bar_width=10, complete_style="default", finished_style="default"),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
        )
        self.task: Any = None
        self.shown_at = 0.0

    def begins(self, epochs: int, steps: int) -> None:
        self.task = self.progress.add_task(f"epoch 1/{epochs}", total=steps, text="getting ready")
        self.progress.start()

    def moves(self, now: Now) -> None:
        # Ten times a second is as often as one can read; small networks take a thousand steps in that time.
        if time.monotonic() - self.shown_at < 0.1 and now.step < now.steps:
            return
        self.shown_at = time.monotonic()
        left = _clock(now.seconds_left)
        text = f"loss {now.loss:.3f}  train {now.accuracy:6.1%}  {now.images_per_s:,.0f} img/s  {left} left"
        self.progress.update(self.task, description=f"epoch {now.epoch}/{now.epochs}", completed=now.step, text=text)

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        self.progress.console.print(describe(row, now), highlight=False)

    def ends(self) -> None:
        self.progress.stop()

    def tells(self, line: str) -> None:
        self.progress.console.print(line, highlight=False)


class TensorBoard(Listener):
    """Event files that `tensorboard --logdir` shows. Needs TensorFlow, whichever backend trains."""

    def __init__(self, folder: Path) -> None:
        import tensorflow

        self.summary = tensorflow.summary
        # What tensorflow.summary.scalar writes; but that is in the package tensorboard, which showing needs and writing
        # does not.
        kind = tensorflow.compat.v1.SummaryMetadata
        self.metadata = kind(plugin_data=kind.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR")
        self.writers = {part: self.summary.create_file_writer(str(folder / part)) for part in ("train", "validation")}

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        for part, prefix in (("train", ""), ("validation", "val_")):
            with self.writers[part].as_default(step=int(row["epoch"])):
                for name in ("loss", "accuracy"):
                    self._write(f"epoch_{name}", row[prefix + name])
                if part == "train":
                    self._write("epoch_learning_rate", row["learning_rate"])

    def _write(self, name: str, value: float) -> None:
        self.summary.write(name, np.float32(value), metadata=self.metadata)

    def ends(self) -> None:
        for writer in self.writers.values():
            writer.close()


class All(Listener):
    """Tells several."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners

    def begins(self, epochs: int, steps: int) -> None:
        for listener in self.listeners:
            listener.begins(epochs, steps)

    def moves(self, now: Now) -> None:
        for listener in self.listeners:
            listener.moves(now)

    def ends_epoch(self, row: Mapping[str, float], now: Now) -> None:
        for listener in self.listeners:
            listener.ends_epoch(row, now)

    def ends(self) -> None:
        for listener in self.listeners:
            listener.ends()

    def tells(self, line: str) -> None:
        for listener in self.listeners:
            listener.tells(line)


def describe(row: Mapping[str, float], now: Now) -> str:
    """The row of an epoch as one line of at most 80 columns."""
    return (
        f"epoch {now.epoch:>{len(str(now.epochs))}}/{now.epochs}  loss {row['loss']:.3f}  train {row['accuracy']:6.1%}"
        f"  validation {row['val_accuracy']:6.1%}  {now.images_per_s:>7,.0f} img/s"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
