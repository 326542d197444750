"""What the charts of a report show: learning, reliability, coverage, ROC and precision-recall."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from iconoclass.evaluation import calibration, ranking
from iconoclass.evaluation.calibration import Labels, Probabilities
from iconoclass.evaluation.charts import Chart, percent
from iconoclass.run import kept_row

NAMED = 3  # classes whose lines are told apart by their names


def learning(history: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Accuracy and loss by epoch, with the epoch that was kept; nothing where there are fewer than two epochs."""
    if len(history) < 2:
        return
    kept = kept_row(history)
    for name, title in (("accuracy", "Accuracy"), ("loss", "Loss")):
        lines = {
            "training": [row.get(name, math.nan) for row in history],
            "validation": [row.get(f"val_{name}", math.nan) for row in history],
        }
        yield _by_epoch(title, lines, [row["epoch"] for row in history], kept)


def _by_epoch(title: str, lines: Mapping[str, Sequence[float]], epochs: Sequence[float], kept: int | None) -> str:
    finite = [value for values in lines.values() for value in values if math.isfinite(value)]
    if not finite:
        return ""
    spare = 0.06 * (max(finite) - min(finite)) or 0.01
    is_share = title == "Accuracy"
    write = percent if is_share else lambda value: f"{value:.3g}"
    top = min(1.0, max(finite) + spare) if is_share else max(finite) + spare
    chart = Chart(
        (epochs[0], epochs[-1]), (max(0.0, min(finite) - spare), top), "epoch", "",
        write_x=lambda value: f"{value:g}" if value == int(value) else "", write_y=write, right=84,
    )  # fmt: skip
    ends = sorted((values[-1], css) for css, values in lines.items() if math.isfinite(values[-1]))
    for css, values in lines.items():
        chart.line(epochs, values, css, css)
    apart = 16 * (chart.y[1] - chart.y[0]) / 220  # letters need so much room
    for place, (value, css) in enumerate(ends):
        crowded = len(ends) == 2 and ends[1][0] - ends[0][0] < apart
        shift = (apart - (ends[1][0] - ends[0][0])) / 2 * (1 if place else -1) if crowded else 0
        chart.text(epochs[-1], value + shift, css, f"{css}-text", dx=10)
    said = title
    if kept is not None and math.isfinite(lines["validation"][kept]):
        value = lines["validation"][kept]
        chart.dot(epochs[kept], value, 4.5, "validation", f"kept: epoch {epochs[kept]:g}, {write(value)}")
        said = f"{title} on validation: {write(value)} at epoch {epochs[kept]:g}, which was kept"
    return figure(said, "", chart)


def reliability(labels: Labels, probabilities: Probabilities, raw: Probabilities | None = None) -> str:
    """How often answers of each confidence are right; raw: the same before calibration, as rings."""
    bins = calibration.reliability(labels, probabilities)
    most = max(one.count for one in bins)
    chart = Chart((0, 1), (0, 1), "confidence", "share right")
    chart.line([0, 1], [0, 1], "thin")
    if raw is not None:
        for one in calibration.reliability(labels, raw):
            said = f"before calibration: confidence {percent(one.confidence)}, right {percent(one.accuracy.value or 0)}"
            chart.dot(one.confidence, one.accuracy.value or 0, 3, "before", said)
    for one in bins:
        right, low, high = one.accuracy.value or 0.0, one.accuracy.low or 0.0, one.accuracy.high or 0.0
        chart.whisker(one.confidence, low, high, "whisker")
        said = f"{one.count:,} answers with a confidence of {percent(one.confidence)}: {percent(right)} right"
        chart.dot(one.confidence, right, 3 + 6 * math.sqrt(one.count / most), "", said)
    rings = " Rings: before calibration." if raw is not None else ""
    return figure("Said and kept", f"On the dotted line confidence is honest. Larger: more answers.{rings}", chart)


def coverage(labels: Labels, probabilities: Probabilities) -> str:
    """How accurate it is where it may leave the least certain pictures to a person."""
    answered, right = calibration.coverage(labels, probabilities)
    low = min(0.95, float(right[answered > 0.02].min(initial=1.0)))
    low = math.floor(20 * low) / 20
    chart = Chart((0, 1), (low, 1), "share of pictures answered", "accuracy of those")
    chart.line(answered, np.maximum(right, low), "training", "the most certain answers")
    said = "Accuracy against coverage"
    if len(enough := np.flatnonzero(right >= 0.99)) and answered[-1] and right[-1] < 0.99:
        at = enough[-1]
        chart.dot(answered[at], right[at], 4.5, "", f"{percent(answered[at])} answered, {percent(right[at])} right")
        said = f"99 % right, if only the {percent(answered[at])} most certain are answered"
    return figure(said, "The least certain pictures are left to a person.", chart)


def ranking_charts(labels: Labels, probabilities: Probabilities, class_names: Sequence[str]) -> str:
    """ROC and precision-recall of each class against the rest; the classes that are told least well bear names."""
    shown = range(1, 2) if len(class_names) == 2 else range(len(class_names))
    areas = {at: ranking.auc(labels == at, probabilities[:, at]).value for at in shown}
    precisions = {at: ranking.average_precision(labels == at, probabilities[:, at]).value for at in shown}
    if not any(value is not None for value in areas.values()):
        return ""
    rocs = Chart((0, 1), (0, 1), "false alarms", "found")
    rocs.line([0, 1], [0, 1], "thin")
    trades = Chart((0, 1), (0, 1), "found (recall)", "right of those (precision)")
    for chart, values, curve, word in (
        (rocs, areas, ranking.roc, "AUC"), (trades, precisions, ranking.precision_recall, "average precision"),
    ):  # fmt: skip
        told = sorted((value, at) for at, value in values.items() if value is not None)
        for place, (value, at) in reversed(list(enumerate(told))):
            css = "worst" if place == 0 else "one"
            points = curve(labels == at, probabilities[:, at])
            if points is not None:
                chart.line(*_corners(*points), css, f"{class_names[at]}: {word} {value:.3f}")
    return figure(*_ranked("ROC", "AUC", areas, class_names), rocs) + figure(
        *_ranked("Precision and recall", "average precision", precisions, class_names), trades
    )


def _ranked(title: str, word: str, values: Mapping[int, float | None], class_names: Sequence[str]) -> tuple[str, str]:
    told = sorted((value, at) for at, value in values.items() if value is not None)
    if len(class_names) == 2:
        return f"{title} of {class_names[1]}: {word} {told[0][0]:.3f}", ""
    mean = sum(value for value, _ in told) / len(told)
    weakest = ", ".join(f"{class_names[at]} {value:.3f}" for value, at in told[:NAMED])
    return f"{title}: mean {word} {mean:.3f}", f"Weakest, the first of them in orange: {weakest}."


def _corners(xs: ranking.Floats, ys: ranking.Floats) -> tuple[ranking.Floats, ranking.Floats]:
    """The points of a curve at which it can be seen to turn: those half a thousandth apart, and the ends."""
    cells = np.round(2000 * xs) * 4001 + np.round(2000 * ys)
    kept = np.append(np.flatnonzero(np.diff(cells) != 0), len(xs) - 1)
    return xs[kept], ys[kept]


def figure(title: str, subtitle: str, chart: Chart) -> str:
    below = f"<small>{escape(subtitle)}</small>" if subtitle else ""
    return f"<figure><figcaption>{escape(title)}{below}</figcaption>{chart.svg(f'{title}. {subtitle}')}</figure>"
