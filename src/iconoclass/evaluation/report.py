"""Report: how a run was judged -> metrics.json, predictions.csv, plots, a table."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from iconoclass import inline
from iconoclass.data.dataset import Dataset, Split
from iconoclass.evaluation.metrics import METRICS, score
from iconoclass.files import printable
from iconoclass.intervals import Style, percent, share, wilson
from iconoclass.prediction.certainty import UNKNOWN_RATE, Certainty
from iconoclass.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Cases = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.float32]]

Maps = dict[int, npt.NDArray[np.float32]]

OPTIMISTIC = "the test part was used to choose: optimistic"


@dataclass(frozen=True)
class Judged:
    """A split and what the model said of it. sampled_from: how many examples the split has, if only some were asked.

    probabilities: float32 (n, classes), calibrated; raw: before that; features: float32 (n, features), where known.
    """

    split: Split
    probabilities: npt.NDArray[np.float32]
    sampled_from: int | None = None
    raw: npt.NDArray[np.float32] | None = None
    features: npt.NDArray[np.float32] | None = None

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(-1), np.int64)

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        confidence: npt.NDArray[np.float32] = self.probabilities.max(-1)
        return confidence

    @cached_property
    def is_wrong(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predicted != self.split.labels)

    def worst(self, at_most: int) -> npt.NDArray[np.int64]:
        """Positions of the mistakes that were most certain, the most certain first."""
        wrong = np.flatnonzero(self.is_wrong)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:at_most]


@dataclass(frozen=True)
class Report:
    """The judgement of a run on its splits.

    judged: by the split's name; certainty: what was fitted on validation; maps: what was looked at in some test
    pictures, by position.
    """

    run: Run
    dataset: Dataset
    judged: dict[str, Judged]
    certainty: Certainty = field(default_factory=Certainty)
    maps: Maps = field(default_factory=dict)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json says: {"test": {"accuracy": {"value", "low", "high"}, ...}, "validation": ..., ...}"""
        metrics: dict[str, Any] = {}
        for name, judged in self.judged.items():
            metrics[name] = score(judged.split.labels, judged.probabilities, self.dataset.class_names)
            if judged.raw is not None:
                measured = {word: METRICS[word] for word in ("loss", "calibration_error")}
                metrics[name]["uncalibrated"] = {
                    word: metric.score(judged.split.labels, judged.raw).as_json() for word, metric in measured.items()
                }
            if judged.sampled_from:
                metrics[name]["sampled_from"] = judged.sampled_from
            if (views := self.run.config.model.views) != "one":
                metrics[name]["views"] = views
            if self.dataset.validates_on_test and name != "train":
                metrics[name]["note"] = OPTIMISTIC
        return metrics

    @property
    def remarks(self) -> list[str]:
        """What must be said with the numbers, as sentences; a footnote begins with an asterisk."""
        return _remarks(self.metrics)

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """What calibration.json says: the temperature, and from where on a picture is unknown."""
        least, most = self.certainty.limits(UNKNOWN_RATE)
        test = self.judged["test"]
        doubts = self.certainty.doubts(test.probabilities, test.features, UNKNOWN_RATE)
        limits = {
            "rate": UNKNOWN_RATE,
            "confidence_below": least if math.isfinite(least) else None,
            "distance_above": most if math.isfinite(most) else None,
            "share_of_test": wilson(sum(doubt is not None for doubt in doubts), len(doubts)).as_json(),
        }
        examples = len(self.certainty.confidences)
        return {"temperature": self.certainty.temperature, "examples": examples, "unknown": limits}

    def save(self, tell: Callable[[str], None] | None = None) -> None:
        """Write metrics.json, calibration.json, predictions.csv and the plots into the run's folder."""
        self.run.write_metrics(self.metrics)
        self.run.write_calibration(self.calibration)
        self.run.write_predictions(self._header(), self._rows())
        from iconoclass.evaluation import plots

        for name, figure in self.plots():
            if tell:
                tell(name)
            plots.save(figure, self.run.plot_path(name))

    def plots(self) -> Iterator[tuple[str, Figure]]:
        """Every plot with its name, one after the other: each is drawn when it is asked for."""
        from iconoclass.evaluation import plots

        test, names, note = self.judged["test"], self.dataset.class_names, self._note
        matrix = np.array(self.metrics["test"]["confusion_matrix"])
        if self.run.history:
            yield "curves", plots.curves(self.run.history, self.monitor, self.note_on_curves)
        yield "confusion_matrix", plots.confusion_matrix(matrix, names, normalised=False, note=note)
        yield "confusion_matrix_normalised", plots.confusion_matrix(matrix, names, normalised=True, note=note)
        yield "predictions", self._grid(_spread(len(test.split), 40), "Test pictures and what they were taken for")
        yield "mistakes", self._grid(test.worst(40), "The worst mistakes", "Wrong, and most certain of it.")
        wrong = np.flatnonzero(test.is_wrong)
        answers = test.split.labels[wrong], test.predicted[wrong], test.confidence[wrong]
        yield "confused_pairs", plots.confused_pairs(lambda at: test.split.take(wrong[at]), *answers, names)
        examples = _few_of_each(self.dataset.train, len(names), 10)
        yield "samples", plots.samples(self.dataset.train.take(examples), self.dataset.train.labels[examples], names)

    def show(self) -> None:
        """Show the table and the plots below a notebook's cell, or print the table elsewhere."""
        print(self.table())
        try:
            from IPython.core.getipython import get_ipython
            from IPython.display import Image, display
        except ImportError:
            return
        if get_ipython() is not None:
            for name, _ in self.plots():
                display(Image(filename=str(self.run.plot_path(name))))

    def table(self) -> str:
        """The numbers as plain text of at most 80 columns."""
        return table(self.metrics)

    def __repr__(self) -> str:
        return f"Report({self.run.name}: {share(self.metrics['test']['accuracy']).strip()} of test)"

    def _repr_html_(self) -> str:
        """Verdict, figures, confusion matrix and the worst mistakes, for a notebook."""
        test = self.metrics["test"]
        score = test["accuracy"]
        interval = f"95 % interval {percent(score.get('low'))} to {percent(score.get('high'))}"
        drawn = ("confusion_matrix", "mistakes") if self.run.predictions_path.is_file() else ()
        return inline.card(
            f"{percent(score['value'])} of {test['examples']:,} test pictures named rightly",
            inline.said(f"{interval}; {self.run.name}", quiet=True),
            *(inline.said(remark) for remark in self.remarks),
            inline.table(("", *self.metrics), _cells(self.metrics)),
            inline.table(("class, on test", "precision", "recall", "F1", "pictures"), _class_cells(test["per_class"])),
            *(self.plot(name).html for name in drawn),
        )

    def plot(self, name: str) -> inline.Shown:
        """A plot of the run, shown below a notebook's cell. Raises: UsageError, if there is none of that name."""
        return self.run.plot(name)

    # -- how -------------------------------------------------------------------------------------------------------

    @property
    def _note(self) -> str:
        return OPTIMISTIC if self.dataset.validates_on_test else ""

    @property
    def monitor(self) -> str:
        monitor = self.run.config.training.monitor
        return "val_accuracy" if monitor == "auto" else f"val_{monitor}"

    @property
    def note_on_curves(self) -> str:
        """Why the training curves are not those of the kept weights on plain pictures, where they are not."""
        config = self.run.config
        is_mixed = config.augment.mixup or config.augment.cutmix
        soft = "loss of smoothed or mixed labels" if config.training.label_smoothing or is_mixed else ""
        is_augmented = config.training.epochs and any(strength for _, strength in config.augment)
        changed = "on augmented pictures" if is_augmented else ""
        training = ", ".join(filter(None, (changed, soft)))
        return "; ".join(filter(None, (f"training: {training}" if training else "", self._note)))

    def _header(self) -> list[str]:
        return ["split", "image", "true", "predicted", "confidence", *self.dataset.class_names]

    def _rows(self) -> Iterator[Sequence[Any]]:
        names = self.dataset.class_names
        for part, judged in self.judged.items():
            answers = zip(
                judged.split.names,
                judged.split.labels,
                judged.predicted,
                judged.confidence,
                judged.probabilities,
                strict=True,
            )
            for image, true, predicted, confidence, row in answers:
                numbers = (f"{p:.7g}" for p in row.tolist())
                yield part, image, names[true], names[predicted], f"{confidence:.7g}", *numbers

    def _cases(self, positions: npt.NDArray[np.integer[Any]]) -> _Cases:
        """Images, true and predicted classes and confidence of some test pictures."""
        test = self.judged["test"]
        return (
            test.split.take(positions),
            test.split.labels[positions],
            test.predicted[positions],
            test.confidence[positions],
        )

    def _grid(self, positions: npt.NDArray[np.integer[Any]], title: str, subtitle: str = "") -> Figure:
        from iconoclass.evaluation import plots

        note = f"{self._note[:1].upper()}{self._note[1:]}"
        subtitle = " ".join(filter(None, (subtitle, note and f"{note}.")))
        return plots.predictions_grid(*self._cases(positions), self.dataset.class_names, title, subtitle)


def _spread(count: int, at_most: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).astype(np.int64))


def _few_of_each(split: Split, classes: int, of_each: int) -> npt.NDArray[np.int64]:
    return np.concatenate([np.flatnonzero(split.labels == label)[:of_each] for label in range(classes)])


# -- the table -----------------------------------------------------------------------------------------------------

LABEL, CELL = 18, 17  # columns; a cell is `100.0% 99.0-100.0`
_ROWS = {
    "accuracy": "accuracy",
    "top_3_accuracy": "top 3 accuracy",
    "top_5_accuracy": "top 5 accuracy",
    "f1_macro": "F1, macro",
    "loss": "loss",
    "calibration_error": "confidence off by",
}


def summary(run: Run, quiet: Style = str) -> str:
    """The table of a run that has been judged, and how long its training took from start to judged model."""
    lines = [table(run.metrics, quiet)]
    if run.is_complete:
        lines.append(f"\n{run.summary['seconds']:.0f} s from start to judged model")
        if naive := run.summary.get("naive"):
            claimed, honest = (share(one["test_accuracy"], quiet).strip() for one in (naive, run.summary))
            lines.append(f"naive split {claimed}, honest split {honest}")
        lines += [_gained(row) for row in run.summary.get("decisions", ())]
    return "\n".join(lines)


def _gained(row: Mapping[str, Any]) -> str:
    """What decisions of one kind are worth, in points."""
    value, low, high = (row["gain"].get(key) for key in ("value", "low", "high"))
    by = "n/a" if value is None else f"{100 * value:+.1f} points, {100 * low:+.1f} to {100 * high:+.1f}"
    return f"decisions, {row['decisions']} ({row['pictures']:,}): {by} on {row['examples']:,} test pictures"


def table(metrics: Mapping[str, Any], quiet: Style = str) -> str:
    """What metrics.json says, as plain text of at most 80 columns. quiet: what is done to the intervals' text."""
    titles = [f"{name}{'*' if 'note' in part else ''}" for name, part in metrics.items()]
    lines = [_line("", *(f" {title}" for title in titles))]
    for metric, label in _ROWS.items():
        if metric in metrics["test"]:
            number = share if metric != "loss" else _loss
            lines.append(_line(label, *(number(part[metric], quiet) for part in metrics.values())))
    lines.append(_line("examples", *(f"{part['examples']:>6,}" for part in metrics.values())))
    lines += ["", *_class_lines(metrics["test"]["per_class"], quiet)]
    remarks = _remarks(metrics)
    return "\n".join(line.rstrip() for line in (*lines, *([""] if remarks else []), *remarks))


def _cells(metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a metric, a cell a split, in words for a notebook."""
    for metric, label in _ROWS.items():
        if metric in metrics["test"]:
            cells = (part[metric] for part in metrics.values())
            yield [label, *((share(cell) if metric != "loss" else _loss(cell, str)).strip() for cell in cells)]
    yield ["examples", *(f"{part['examples']:,}" for part in metrics.values())]


def _class_cells(rows: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            *(share(rows[name][metric]).strip() for metric in ("precision", "recall")),
            percent(rows[name]["f1"]["value"]),
            f"{rows[name]['support']:,}",
        ]
        for name in _weakest(rows)
    ]


LOOKS = {
    "mirrored": "twice, as it is and mirrored",
    "shifted": "six times, as it is and moved by a pixel to either side, each also mirrored",
}


def _remarks(metrics: Mapping[str, Any]) -> list[str]:
    """What must be said with the numbers."""
    remarks = [
        f"Of {name}, {part['examples']:,} of {part['sampled_from']:,} examples were judged."
        for name, part in metrics.items()
        if "sampled_from" in part
    ]
    remarks += [
        f"With {views} views: each picture was looked at {LOOKS[views]}."
        for views in sorted({part["views"] for part in metrics.values() if "views" in part})
    ]
    notes = {part["note"] for part in metrics.values() if "note" in part}
    return remarks + [f"* {note[0].upper()}{note[1:]}." for note in sorted(notes)]


def _class_lines(rows: Mapping[str, Any], quiet: Style) -> list[str]:
    """Precision, recall and F1 of every class on the test part; of the 20 weakest where there are more."""
    order = _weakest(rows)
    title = "test, by class" if len(order) == len(rows) else f"20 weakest of {len(rows)}"
    lines = [_line(title, " precision", " recall") + f"  {'F1':>6} {'n':>6}"]
    for name in order:
        row = rows[name]
        numbers = [share(row[metric], quiet) for metric in ("precision", "recall")]
        lines.append(_line(_cut(name, LABEL), *numbers) + f"  {percent(row['f1']['value']):>6} {row['support']:>6,}")
    return lines


def _weakest(rows: Mapping[str, Any], most: int = 20) -> list[str]:
    """All classes in their order, or where there are many the weakest, the weakest first."""
    if len(rows) <= most:
        return list(rows)
    return sorted(rows, key=lambda name: rows[name]["f1"]["value"] or 0.0)[:most]


def _line(label: str, *cells: str) -> str:
    text = label + " " * (LABEL - _columns(label))
    text += "".join("  " + cell + " " * (CELL - _columns(cell)) for cell in cells)
    return text


def _loss(estimate: Mapping[str, float | None], quiet: Style) -> str:
    return f"{'n/a' if estimate['value'] is None else format(estimate['value'], '.3f'):>6}"


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for Chinese signs, none for accents and colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _cut(text: str, columns: int) -> str:
    text = printable(text)
    if _columns(text) <= columns:
        return text
    while _columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"
