"""report.html: how a run was judged, on one page that needs no network, with its pictures; every word of it escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from iconoclass.data.catalog import DATASETS
from iconoclass.data.findings import remarks
from iconoclass.evaluation import charts, sketches
from iconoclass.evaluation.attention import over
from iconoclass.evaluation.report import Report
from iconoclass.files import write_text
from iconoclass.pages import breakable, document, figures
from iconoclass.run import readable

SMALL = 64  # pixels: up to here a picture is enlarged without smoothing
SIDE = 128  # pixels: larger ones are shrunk to this
MOST_BYTES = 6_500_000  # of pictures on a page, encoded: the whole page stays below 10 MB
MOST_MISTAKES = 3_000
OF_A_CELL = 12  # mistakes of each kind that are there before the others
FIRST = 36  # mistakes that are seen without asking
RIGHT_ONES = 300  # pictures that were named right, over all classes
SAMPLES = 24
SUSPECTS = 48
WITH_COUNTS = 20  # classes up to which the matrix has room for figures
PAIRS = 12

Positions = npt.NDArray[np.int64]


def save(report: Report) -> Path:
    """Write report.html into the run's folder, and say where it is."""
    write_text(report.run.report_path, page(report))
    return report.run.report_path


def page(report: Report) -> str:
    """The whole page."""
    sections = [
        ("", "", _head(report)),
        ("learning", "How it learned", _learning(report)),
        ("confusion", "What it takes for what", _confusion(report)),
        ("mistakes", "Mistakes", _mistakes(report)),
        ("why", "What it looked at", _why(report)),
        ("classes", "Class by class", _classes(report)),
        ("confidence", "Is its confidence to be believed?", _confidence(report)),
        ("ranking", "At every threshold", _ranking(report)),
        ("samples", "Test pictures and answers", _samples(report)),
        ("data", "The data", _data(report)),
        ("labels", "Labels that are likely wrong", _labels(report)),
        ("use", "How to use it", _use(report)),
        ("repeat", "How to repeat it", _repeat(report)),
        ("card", "Model card", _card(report)),
    ]
    shown = [section for section in sections if section[2]]
    links = "".join(f"<li><a href='#{name}'>{escape(title)}</a>" for name, title, _ in shown if name)
    body = "\n".join(
        f"<section id={name}><h2>{escape(title)}</h2>{content}</section>" if name else content
        for name, title, content in shown
    )
    body = f"<nav aria-label=Contents><ol>{links}</ol>{_THEME}</nav>\n<main>{body}</main>"
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in _LOOKS)
    return document(f"{report.run.name}: report", body, style=charts.STYLE + style, script=script)


# -- the head: one sentence and four figures ---------------------------------------------------------------------------


def _head(report: Report) -> str:
    test, run = report.metrics["test"], report.run
    title = f"<h1>{breakable(run.name)}</h1><p class=verdict>{escape(verdict(report))}</p>"
    cells = {"of the test pictures named right": _with_interval(test["accuracy"])}
    if len(report.dataset.class_names) > 2:
        cells["F1, mean over classes"] = (_share(test["f1_macro"]["value"]), "")
    cells["error of its confidence"] = (_share(test["calibration_error"]["value"]), _before(test))
    cells["test pictures"] = (f"{test['examples']:,}", "")
    if run.is_complete:
        cells["from start to judged model"] = (_duration(run.summary["seconds"]), "")
    notes = [*report.dataset.notes, *(remark.removeprefix("* ") for remark in report.remarks)]
    said = "".join(f"<li>{escape(note.strip())}" for note in notes)
    return f"<header>{title}{figures(cells)}{f'<ul class=notes>{said}</ul>' if said else ''}{_looks(report)}</header>"


def verdict(report: Report) -> str:
    """The judgement in one or two sentences."""
    test, names = report.metrics["test"], report.dataset.class_names
    accuracy = test["accuracy"]
    if accuracy["value"] is None:
        return "There are no test pictures: nothing can be said about pictures that it has not seen."
    kinds = "two kinds" if len(names) == 2 else f"{len(names):,} kinds"
    said = (
        f"It tells {kinds} of picture apart, and is right in {_share(accuracy['value'])} of {test['examples']:,} "
        f"pictures that it had never seen; in the long run between {_range(accuracy)} %."
    )
    pairs = _pairs(np.array(test["confusion_matrix"]))
    if not pairs:
        return f"{said} It made no mistake on them."
    true, predicted, count = pairs[0]
    of_all = count / max(1, test["per_class"][names[true]]["support"])
    return f"{said} Its most frequent mistake: {names[true]} taken for {names[predicted]} ({_share(of_all)} of them)."


def _looks(report: Report) -> str:
    looks = report.run.looks
    if len(looks) < 2:
        return ""
    last = escape(looks[-1]["when"][:10])
    return (
        f"<p class=muted>The test part has been looked at {len(looks)} times, last on {last}. "
        "Each choice that is made after a look makes its figures a little too good.</p>"
    )


# -- how it learned ----------------------------------------------------------------------------------------------------


def _learning(report: Report) -> str:
    run, config, counts = report.run, report.run.config, report.run.dataset["counts"]
    height, width, channels = report.dataset.image_shape
    training = config.training
    epochs = f"{training.epochs:.3g} epochs, {training.optimizer}" if training.epochs else "the head alone, in one go"
    rows = {
        "network": f"{config.model.model}, {height} × {width} {'grey' if channels == 1 else 'colour'}",
        "learned from": f"{sum(counts['train'].values()):,} pictures of {report.dataset.title}",
        "chosen on": "the test part" if report.dataset.validates_on_test
        else f"{sum(counts['validation'].values()):,} others",
        "recipe": f"{training.recipe}, {epochs}",
        "time": _times(report),
    }  # fmt: skip
    table = "".join(f"<tr><th>{word}<td>{escape(text)}" for word, text in rows.items() if text)
    drawn = "".join(sketches.learning(run.history))
    said = report.note_on_curves
    note = f"<p class=muted>{escape(said[0].upper() + said[1:])}.</p>" if drawn and said else ""
    return f"<table class=facts>{table}</table><div class=charts>{drawn}</div>{note}"


def _times(report: Report) -> str:
    if not report.run.is_complete:
        return ""
    parts = report.run.summary.get("training_seconds", {})
    inside = ", ".join(f"{word} {seconds:,.0f} s" for word, seconds in parts.items() if seconds >= 1)
    return f"{_duration(report.run.summary['seconds'])} in all{f'; of the training {inside}' if inside else ''}"


# -- the confusion matrix ----------------------------------------------------------------------------------------------


def _confusion(report: Report) -> str:
    matrix, names = np.array(report.metrics["test"]["confusion_matrix"]), report.dataset.class_names
    pairs = _pairs(matrix)[:PAIRS]
    listed = "".join(
        f"<li><button class=pair data-t={true} data-p={predicted}>{breakable(names[true])} → "
        f"{breakable(names[predicted])} <span class=muted>{count:,}</span></button>"
        for true, predicted, count in pairs
    )
    beside = f"<div><h3>Most frequent mistakes</h3><ol class=pairs>{listed}</ol></div>" if listed else ""
    return (
        "<p>Rows are what a picture shows, columns what it was taken for; the darker, the larger the share of the row. "
        "Choose a cell to see its pictures; the arrow keys move between cells.</p>"
        f"<div class=confusion><div class=scroll>{_matrix(matrix, names)}</div>{beside}</div>"
        "<div id=cell class=shown aria-live=polite><p class=muted>No cell is chosen.</p></div>"
        f"<div id=right hidden>{_right_ones(report)}</div>"
    )


def _matrix(matrix: npt.NDArray[np.int64], names: Sequence[str]) -> str:
    has_counts = len(names) <= WITH_COUNTS
    totals = matrix.sum(axis=1)
    wrong = matrix - np.diag(np.diag(matrix))
    most = float((wrong / np.maximum(totals, 1)[:, None]).max()) or 1.0
    heads = "".join(f"<th scope=col title='{escape(name)}'><span>{escape(name)}</span>" for name in names)
    head = f"<tr><td>{heads}" if has_counts else ""
    rows = []
    for true, row in enumerate(matrix.tolist()):
        cells = []
        for predicted, count in enumerate(row):
            if not count:
                cells.append("<td>")
                continue
            shade = round(100 * count / totals[true] / most) if true != predicted else -1
            said = f" aria-label={_quoted(f'{names[true]}, taken for {names[predicted]}: {count}')}>{count}"
            cells.append(
                f"<td class={_depth(shade)} data-t={true} data-p={predicted} data-n={count} tabindex=-1"
                f"{f' style=--s:{shade}' if shade > 0 else ''}{said if has_counts else '>'}"
            )
        name = f"<th scope=row title='{escape(names[true])}'><span>{escape(names[true])}</span>" if has_counts else ""
        rows.append(f"<tr>{name}{''.join(cells)}")
    return (
        f"<table class='matrix{'' if has_counts else ' dense'}' role=grid aria-label='Confusion matrix' "
        f"style='--n:{len(names)}' data-names={_quoted(chr(31).join(names))}>{head}{''.join(rows)}</table>"
    )


def _depth(shade: int) -> str:
    """By which a cell's figures are written light or dark, to be legible in both themes; -1: the diagonal."""
    return "on" if shade < 0 else "deepest" if shade > 85 else "deep" if shade > 62 else "off"


def _quoted(text: str) -> str:
    return f"'{escape(text)}'"


def _pairs(matrix: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(true, predicted, how often) of every mistake that was made, the most frequent first."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[: int((wrong > 0).sum())]
    return [(int(at // len(matrix)), int(at % len(matrix)), int(wrong.flat[at])) for at in order]


def _right_ones(report: Report) -> str:
    """Some pictures of each class that were named right, for the cells on the diagonal."""
    test = report.judged["test"]
    each = max(1, min(18, RIGHT_ONES // len(report.dataset.class_names)))
    right = np.flatnonzero(~test.is_wrong)
    chosen = [right[test.split.labels[right] == label][:each] for label in range(len(report.dataset.class_names))]
    return "".join(_cases(report, np.concatenate(chosen))) if len(right) else ""


# -- mistakes ----------------------------------------------------------------------------------------------------------


def _mistakes(report: Report) -> str:
    test = report.judged["test"]
    wrong = np.flatnonzero(test.is_wrong)
    if not len(wrong):
        return "<p>There are none.</p>" if len(test.split) else ""
    shown = _chosen_mistakes(report, wrong)
    cases = list(_cases(report, shown))
    more = f"<details><summary>Show the other {len(cases) - FIRST:,}</summary>{_gallery(cases[FIRST:])}</details>"
    left_out = f" The {len(cases):,} of them that were most certain are here." if len(cases) < len(wrong) else ""
    names = report.dataset.class_names
    concerned = sorted({int(at) for at in (*test.split.labels[wrong], *test.predicted[wrong])})
    options = "".join(f"<option value={at}>{escape(names[at])}" for at in concerned)
    return (
        f"<p>Of {len(test.split):,} test pictures {len(wrong):,} were named wrong; the most certain first.{left_out}"
        "</p>"
        f"<p class=filter><label>Show <select id=filter><option value=''>all classes{options}</select></label></p>"
        f"<div id=filtered class=shown aria-live=polite hidden></div>"
        f"<div id=gallery>{_gallery(cases[:FIRST])}{more if len(cases) > FIRST else ''}</div>"
    )


def _chosen_mistakes(report: Report, wrong: Positions) -> Positions:
    """As many as fit on the page: the most certain ones of each cell of the matrix, then the most certain of all."""
    test = report.judged["test"]
    order = wrong[np.argsort(-test.confidence[wrong], kind="stable")]
    bytes_each = len(thumbnail(test.split.take(order[:8])[0])) + 200 if len(order) else 1
    room = min(MOST_MISTAKES, MOST_BYTES // bytes_each)
    if len(order) <= room:
        return order
    cells = test.split.labels[order].astype(np.int64) * len(report.dataset.class_names) + test.predicted[order]
    place = np.zeros(len(order), np.int64)  # how many of its cell come before it
    seen: dict[int, int] = {}
    for at, cell in enumerate(cells.tolist()):
        place[at] = seen[cell] = seen.get(cell, -1) + 1
    first = np.argsort(place >= OF_A_CELL, kind="stable")[:room]
    return order[np.sort(first)]


def _cases(report: Report, positions: Positions, css: str = "case") -> Iterator[str]:
    for at in range(0, len(positions), 512):
        some = positions[at : at + 512]
        for pixels, position in zip(report.judged["test"].split.take(some), some.tolist(), strict=True):
            yield _case(report, pixels, position, css)


def _case(report: Report, pixels: npt.NDArray[np.uint8], position: int, css: str, beside: str = "") -> str:
    """A test picture with its answer below it. beside: markup of what is shown to its right."""
    test, names = report.judged["test"], report.dataset.class_names
    true, predicted = int(test.split.labels[position]), int(test.predicted[position])
    said, words = breakable(names[true]), f"{names[true]}, named right"
    mark = "<span class=right>✓</span>"
    if true != predicted:
        said, words = f"{said} → {breakable(names[predicted])}", f"{names[true]}, taken for {names[predicted]}"
        mark = "<span class=wrong>✗</span>"
    return (
        f"<figure class='{css}' data-t={true} data-p={predicted} title='{escape(test.split.names[position])}'>"
        f"{_image(pixels, words)}{beside}<figcaption>{mark} {said} "
        f"<b>{_share(float(test.confidence[position]), 0)}</b></figcaption></figure>"
    )


def _image(pixels: npt.NDArray[np.uint8], words: str) -> str:
    small = " class=small" if max(pixels.shape[:2]) <= SMALL else ""
    return f"<img{small} alt='{escape(words)}' src='{thumbnail(pixels)}'>"


def thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """A picture as a data URI: PNG as it is up to 64 pixels, above that a JPEG of 128 at most.

    pixels: uint8 (height, width, 1 or 3).
    """
    image, file = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), BytesIO()
    if max(image.size) <= SMALL:
        image.save(file, "PNG")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    image.save(file, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _gallery(cases: Sequence[str]) -> str:
    return f"<div class=cases>{''.join(cases)}</div>"


# -- what it looked at -------------------------------------------------------------------------------------------------


def _why(report: Report) -> str:
    if not report.maps:
        return ""
    cases = []
    for at, seen in report.maps.items():
        [pixels] = report.judged["test"].split.take(np.array([at]))
        beside = _image(over(pixels, seen), "what the answer rests on")
        cases.append(_case(report, pixels, at, "case sample pair-of", beside))
    return (
        "<p>Its worst mistakes, each beside what the answer rests on: the yellower a place, the less likely the answer "
        f"becomes when it is blurred.</p><div class=cases>{''.join(cases)}</div>"
    )


# -- class by class ----------------------------------------------------------------------------------------------------


def _classes(report: Report) -> str:
    rows = report.metrics["test"]["per_class"]
    heads = {
        "class": "class",
        "pictures": "test pictures of it",
        "recall": "how many of its pictures were found",
        "precision": "how many of those named so are",
        "F1": "both in one",
        "AUC": "the chance that one of its pictures looks more like it than another one does",
    }
    head = "".join(
        f"<th scope=col title='{escape(said)}'{' class=number' if word != 'class' else ''}>"
        f"<button class=sort>{word}</button>"
        for word, said in heads.items()
    )
    body = "".join(
        f"<tr><th scope=row data-v='{escape(name)}'>{breakable(name)}"
        f"{_counted(row['support'])}"
        f"{_estimated(row['recall'])}{_estimated(row['precision'])}{_estimated(row['f1'])}{_estimated(row['auc'], 3)}"
        for name, row in rows.items()
    )
    return (
        "<p>In muted type: the interval in which each share lies with 95 % certainty. A column's name sorts by it.</p>"
        f"<div class=scroll><table class=sortable><thead><tr>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _number(value: float | None, text: str) -> str:
    return f"<td class=number data-v={'' if value is None else f'{value:.9g}'}>{text}"


def _counted(count: int) -> str:
    return _number(count, f"{count:,}")


def _estimated(estimate: Mapping[str, float | None], digits: int | None = None) -> str:
    value = estimate["value"]
    if value is None:
        return _number(None, "<span class=muted>n/a</span>")
    if digits:
        return _number(value, f"{value:.{digits}f}{_muted_range(estimate, 1, digits)}")
    return _number(value, f"{_share(value)}{_muted_range(estimate)}")


def _muted_range(estimate: Mapping[str, float | None], scale: float = 100, digits: int = 1) -> str:
    low, high = estimate.get("low"), estimate.get("high")
    if low is None or high is None:
        return ""
    return f" <small class=muted>{scale * low:.{digits}f}–{scale * high:.{digits}f}</small>"


# -- confidence --------------------------------------------------------------------------------------------------------


def _confidence(report: Report) -> str:
    test, judged = report.metrics["test"], report.judged["test"]
    if not len(judged.split):
        return ""
    error, fitted = test["calibration_error"]["value"], report.run.calibration
    said = (
        f"Where it says 90 %, about 90 of 100 answers should be right. On the test pictures it is off by "
        f"{_share(error)} on average"
    )
    if fitted.get("examples"):
        before = test["uncalibrated"]["calibration_error"]["value"]
        said += (
            f"; before its temperature was set to {fitted['temperature']:.2f}, on {fitted['examples']:,} "
            f"validation pictures, by {_share(before)}"
        )
    drawn = sketches.reliability(judged.split.labels, judged.probabilities, judged.raw)
    covered = sketches.coverage(judged.split.labels, judged.probabilities)
    return f"<p>{said}.</p><div class=charts>{drawn}{covered}</div>{_unknown(report)}"


def _unknown(report: Report) -> str:
    limits = report.run.calibration.get("unknown", {})
    if not limits:
        return ""
    if limits["confidence_below"] is None and limits["distance_above"] is None:
        return "<h3>None of these</h3><p>There are too few validation pictures to say when a picture is unknown.</p>"
    rules = []
    if limits["distance_above"] is not None:
        rules.append("lies far from all training pictures, as the network sees them")
    if limits["confidence_below"] is not None:
        rules.append(f"has no class with a probability of {_share(limits['confidence_below'])} or more")
    called = limits.get("share_of_test", {"value": None})
    found = f" Of the test pictures it is {_share(called['value'])}." if called["value"] is not None else ""
    return (
        f"<h3>None of these</h3><p>A picture is called unknown where it {' or '.join(rules)}. The limits are set on "
        f"validation so that of pictures of these classes about {_share(limits['rate'], 0)} are.{found}</p>"
    )


def _ranking(report: Report) -> str:
    judged = report.judged["test"]
    drawn = sketches.ranking_charts(judged.split.labels, judged.probabilities, report.dataset.class_names)
    if not drawn:
        return ""
    return (
        "<p>Each class against all others, for every threshold that could be put on its probability. "
        f"A line says its class when pointed at.</p><div class=charts>{drawn}</div>"
    )


def _samples(report: Report) -> str:
    count = len(report.judged["test"].split)
    chosen = np.unique(np.linspace(0, max(0, count - 1), min(count, SAMPLES)).astype(np.int64))
    cases = "".join(_cases(report, chosen, "case sample"))
    return f"<p>Not chosen by anyone: spread evenly over the test part.</p><div class=cases>{cases}</div>"


# -- the data ----------------------------------------------------------------------------------------------------------


def _data(report: Report) -> str:
    counts, names = report.run.dataset["counts"], report.dataset.class_names
    parts = [part for part in ("train", "validation", "test") if part in counts]
    head = "".join(f"<th scope=col class=number><button class=sort>{part}</button>" for part in parts)
    body = "".join(
        f"<tr><th scope=row data-v='{escape(name)}'>{breakable(name)}"
        + "".join(_counted(counts[part].get(name, 0)) for part in parts)
        for name in names
    )
    table = (
        "<div class=scroll><table class=sortable><thead><tr><th scope=col><button class=sort>class</button>"
        f"{head}</thead><tbody>{body}</tbody></table></div>"
    )
    summed = ", ".join(f"{sum(counts[part].values()):,} {part}" for part in parts)
    folded = f"<details><summary>Pictures of each class</summary>{table}</details>"
    return f"<p>{escape(report.dataset.title)}: {summed}.</p>{_found(report)}{folded}"


def _found(report: Report) -> str:
    findings = report.run.findings
    if findings is None:
        return ""
    said = remarks(findings)
    if not said:
        return "<p>A look at every file found nothing that would mislead.</p>"
    listed = "".join(
        f"<li>{'<span class=wrong>✗</span>' if remark.is_trouble else '·'} {escape(remark.text)}" for remark in said
    )
    return f"<p>A look at every file found:</p><ul class=plain>{listed}</ul>"


def _labels(report: Report) -> str:
    found = report.run.suspects
    if not found:
        return ""
    suspects = found["suspects"]
    if not suspects:
        return f"<p>None of {found['examples']:,} training labels seems wrong.</p>"
    train = report.dataset.train
    shown = suspects[:SUSPECTS]
    pictures = train.take(np.array([one["position"] for one in shown]))
    cases = "".join(
        f"<figure class='case sample' title='{escape(one['image'])}'>{_image(pixels, one['label'])}"
        f"<figcaption>labelled {breakable(one['label'])} <b>{_share(one['label_share'], 0)}</b>, rather "
        f"{breakable(one['other'])} <b>{_share(one['other_share'], 0)}</b></figcaption></figure>"
        for one, pixels in zip(shown, pictures, strict=True)
    )
    return (
        f"<p>{len(suspects):,} of {found['examples']:,} training pictures, by models that have not seen them; "
        f"the surest first. A person should look before anything is changed.</p><div class=cases>{cases}</div>"
    )


# -- using it, repeating it --------------------------------------------------------------------------------------------


def _use(report: Report) -> str:
    path = readable(report.run.path)
    height, width, channels = report.dataset.image_shape
    python = f"""import iconoclass as ic

predictor = ic.Predictor.load({path!r})
for answer in predictor.predict(["picture.jpg"]):
    print(answer.class_name, answer.confidence, answer.unknown or "")"""
    keras = f"""import keras

model = keras.models.load_model({readable(report.run.model_path)!r})
# pixels: uint8 (batch, {height}, {width}, {channels}) in [0, 255]; the model scales them itself
probabilities = model.predict(pixels)"""
    cooled = report.run.temperature
    said = (
        f"<p>Plain Keras opens the model too. Its probabilities are those before the temperature: "
        f"<code>p ** (1 / {cooled:.4g})</code>, divided by its sum, is what is reported here.</p>"
        if cooled != 1
        else "<p>Plain Keras opens the model too.</p>"
    )
    command = _code(f"iconoclass predict {path} PICTURE...")
    return f"{command}<p>From Python:</p>{_code(python)}{said}{_code(keras)}"


def _repeat(report: Report) -> str:
    run, environment = report.run, report.run.environment
    packages = environment.get("packages", {})
    rows = {
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "Python": environment.get("python"),
        "machine": ", ".join(
            filter(None, (environment.get("processor"), f"{environment.get('threads')} threads" if environment else ""))
        ),
        "system": environment.get("system"),
        "seed": f"{run.config.training.seed}; split seed {run.config.data.split_seed}",
        "pictures": f"fingerprint {run.dataset['fingerprint'][:16]}",
        "commit": environment.get("git_commit"),
    }
    table = "".join(f"<tr><th>{word}<td>{escape(str(text))}" for word, text in rows.items() if text)
    return (
        "<p>The same pictures, settings, versions and number of threads give the same weights, bit for bit.</p>"
        + _code(f"iconoclass train --config {readable(run.config_path)}")
        + f"<table class=facts>{table}</table>"
    )


def _card(report: Report) -> str:
    test, names = report.metrics["test"], report.dataset.class_names
    entry = DATASETS.get(report.dataset.config.source)
    weakest = sorted(
        (row["recall"]["value"], name) for name, row in test["per_class"].items() if row["recall"]["value"] is not None
    )[:3]
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30:,} more" if len(names) > 30 else "")
    weak = ", ".join(f"{name} ({_share(value)} found)" for value, name in weakest)
    rows = {
        "what it is": f"An image classifier ({report.run.config.model.model}) for {len(names):,} classes: {listed}.",
        "meant for": "Pictures of these classes, taken as those it learned from were.",
        "not meant for": "Decisions about people, health or safety without a person who checks; "
        "pictures of another kind, whose accuracy nobody has measured.",
        "learned from": report.dataset.title + (f". {entry.citation}" if entry else ""),
        "licence of the data": entry.licence if entry else "",
        "judged on": f"{test['examples']:,} pictures of the same source: {_share(test['accuracy']['value'])} right"
        + (f", {_range(test['accuracy'])} % with 95 % certainty." if test["accuracy"]["value"] is not None else "."),
        "weakest on": weak,
        "made with": f"Iconoclass {report.run.environment.get('packages', {}).get('iconoclass', '')}".strip(),
    }
    table = "".join(f"<tr><th>{word}<td>{escape(text)}" for word, text in rows.items() if text)
    return f"<table class='facts card'>{table}</table>"


def _code(text: str) -> str:
    return f"<pre tabindex=0><code>{escape(text)}</code></pre>"


# -- numbers in words --------------------------------------------------------------------------------------------------


def _share(value: float | None, digits: int = 1) -> str:
    return "n/a" if value is None else f"{100 * value:.{digits}f}\u00a0%"


def _range(estimate: Mapping[str, Any]) -> str:
    return f"{100 * estimate['low']:.1f} and {100 * estimate['high']:.1f}"


def _with_interval(estimate: Mapping[str, Any]) -> tuple[str, str]:
    if estimate["value"] is None:
        return "n/a", ""
    return _share(estimate["value"]), f"{100 * estimate['low']:.1f}–{100 * estimate['high']:.1f}"


def _before(test: Mapping[str, Any]) -> str:
    if "uncalibrated" not in test or test["uncalibrated"]["calibration_error"]["value"] is None:
        return ""
    return f"before: {_share(test['uncalibrated']['calibration_error']['value'])}"


def _duration(seconds: float) -> str:
    """Seconds as one would say them.

    >>> _duration(42.4), _duration(125), _duration(3 * 3600 + 120)
    ('42 s', '2 min 5 s', '3 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_THEME = "<button id=theme>Dark or light</button>"
_LOOKS = ("css", "js")
