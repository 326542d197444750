"""Time to accuracy: ours against each opponent, alternating in one run, every result kept.

    python benchmarks/speed.py run [--data mnist] [--seeds 0 1 2] [--opponents keras_fit] [--torch-python PATH]
    python benchmarks/speed.py run --opponents --budgets 30 120 600 --busy
    python benchmarks/speed.py report

`run` asks the command line for a classifier within each budget, and lets the opponents train by their own rules, seed
by seed. Each result is appended to results/speed.jsonl as soon as it is there; what is there is not run again.
Ours is timed from outside, the whole process with its own judging; an opponent's clock stands still while it is judged.
With --busy another process keeps one core busy meanwhile: whether a budget is kept then, too.
`report` turns the results into the tables of docs/speed.md and into docs/images/speed-DATA.png.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

import iconoclass as ic
from iconoclass.backend import processor_name
from iconoclass.run import Run

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "speed.jsonl"
DOCS = HERE.parent / "docs"

# A little below the times that were aimed at, as a command ends near its budget.
BUDGETS = {
    "mnist": [24, 30, 70, 120, 600],
    "fashion_mnist": [18, 30, 120, 400, 600],
    "cifar10": [18, 30, 120, 180, 600, 640],
}
# Options of the longest trainings. CIFAR-10's opponent looks at six views of each picture, and sets none aside to
# choose by.
OPTIONS = {
    ("fashion_mnist", 720): "--views mirrored --validation-split 4%",
    ("fashion_mnist", 400): "--views mirrored --validation-split 4%",
    ("fashion_mnist", 850): "--views mirrored --validation-split 4%",
    ("cifar10", 480): "--views shifted --validation-split 2%",
    ("cifar10", 540): "--views shifted --validation-split 2%",
    ("cifar10", 640): "--views shifted --validation-split 2%",
    ("cifar10", 1040): "--views shifted --validation-split 2%",
    ("cifar10", 1140): "--views shifted --validation-split 2%",
    ("cifar10", 1262): "--views shifted --validation-split 2%",
}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
OPPONENTS = {
    "keras_fit": "Keras fit",
    "torch_resnet": "PyTorch, 94 % recipe",
    "sklearn_best": "scikit-learn SVC",
}
NEED_TORCH = {"torch_resnet"}

Row = dict[str, Any]
Key = tuple[str, str, int, float | None, bool, str]  # data, who, seed, budget, busy, processor


# Running.


def run(asked: argparse.Namespace) -> None:
    there = set() if asked.again else {_key(row) for row in read_results()}
    for data in asked.data:
        jobs = [job for job in _jobs(data, asked) if job not in there]
        if jobs:
            _warm(data)
        for _, who, seed, budget, _, _ in jobs:
            print(f"{data}, {who}, seed {seed}" + (f", {budget:g} s" if budget else ""), flush=True)
            with _busy_core(asked.busy):
                result = _train_ours(data, seed, budget) if budget else _train_opponent(data, who, seed, asked)
            what = {"data": data, "who": who, "seed": seed, "budget": budget, "busy": asked.busy}
            _keep({**what, **result, "machine": _machine(who, asked)})
            print(f"    {_percent(result['accuracy'])} after {result['wall']:.1f} s", flush=True)


def _jobs(data: str, asked: argparse.Namespace) -> Iterator[Key]:
    for seed in asked.seeds:
        budgets = BUDGETS[data] if asked.budgets is None else asked.budgets
        ours = [(data, "iconoclass", seed, float(budget), asked.busy, processor_name()) for budget in budgets]
        theirs = [(data, who, seed, None, asked.busy, processor_name()) for who in asked.opponents]
        # In turn, so that a slow hour of the machine falls on both.
        for i in range(max(len(ours), len(theirs))):
            yield from ours[i : i + 1]
            yield from theirs[i : i + 1]


def _key(row: Row) -> Key:
    return row["data"], row["who"], row["seed"], row["budget"], row["busy"], row["machine"]["processor"]


@contextlib.contextmanager
def _busy_core(is_busy: bool) -> Iterator[None]:
    """Another process that counts as fast as it can, if asked for."""
    if not is_busy:
        yield
        return
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _warm(data: str) -> None:
    """Decoded pixels into both caches, ours and the opponents': nobody is timed unpacking an archive."""
    ic.load_dataset(data)
    reading = f"import pictures; pictures.read({data!r})"
    subprocess.run([sys.executable, "-c", reading], cwd=HERE / "opponents", check=True)


def _train_ours(data: str, seed: int, budget: float | None) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        options = OPTIONS.get((data, budget), "").split()
        command = [sys.executable, "-m", "iconoclass", "train", data, "--budget", f"{budget:g}s", *options]
        wall, lines = _timed([*command, "--seed", str(seed), "--output", folder, "--json"])
        accuracy = json.loads("".join(lines))["test"]["accuracy"]
        run = Run.open(next(Path(folder).iterdir()))
        config, said = run.config, run.summary
    return {
        "wall": wall,
        # Until the model was there; after it came judging and drawing, for which an opponent's clock stands still.
        "learned": round(wall - said["seconds"] + said["seconds_until_learned"], 3),
        "accuracy": accuracy["value"],
        "interval": [accuracy["low"], accuracy["high"]],
        "width": config.model.width,
        "epochs": config.training.epochs,
        "plan_changes": said["budget"]["plan_changes"],
    }


def _train_opponent(data: str, who: str, seed: int, asked: argparse.Namespace) -> Row:
    command = [_python(who, asked), str(HERE / "opponents" / f"{who}.py"), data, "--seed", str(seed)]
    wall, lines = _timed(command)
    curve = [json.loads(line) for line in lines if line.startswith("{")]
    return {"wall": wall, "accuracy": curve[-1]["accuracy"], "curve": curve}


def _python(who: str, asked: argparse.Namespace) -> str:
    return asked.torch_python if who in NEED_TORCH else sys.executable


def _timed(command: list[str]) -> tuple[float, list[str]]:
    """Wall seconds of a fresh process, and the lines of its stdout; its stderr is shown if it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = round(time.perf_counter() - began, 3)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with status {done.returncode}:\n{done.stderr[-4000:]}")
    return wall, done.stdout.splitlines()


def _machine(who: str, asked: argparse.Namespace) -> Row:
    names = ("iconoclass", "keras", "tensorflow", "tensorflow-cpu", "scikit-learn", "numpy")
    versions = {name: _version(name) for name in names}
    if who in NEED_TORCH:
        asking = [_python(who, asked), "-c", "import importlib.metadata as m; print(m.version('torch'))"]
        versions = {"torch": subprocess.run(asking, capture_output=True, text=True, check=True).stdout.strip()}
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "versions": {name: version for name, version in versions.items() if version},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _keep(row: Row) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")


def read_results(path: Path | None = None) -> list[Row]:
    """The last result of each key: what was run again replaces what it was before."""
    path = path or RESULTS
    lines = path.read_text().splitlines() if path.exists() else []
    rows: list[Row] = [json.loads(line) for line in lines]
    return list({_key(row): row for row in rows}.values())


# What the results say.


def ours(rows: Sequence[Row]) -> list[Row]:
    """One row a budget and recipe: mean accuracy over the seeds, their range, median of the wall time, by which
    they are in order.
    """
    summaries = []
    mine = [row for row in rows if row["who"] == "iconoclass"]
    for budget, recipe in sorted({(row["budget"], row.get("recipe", "")) for row in mine}):
        same = [row for row in mine if (row["budget"], row.get("recipe", "")) == (budget, recipe)]
        accuracies = [row["accuracy"] for row in same]
        summaries.append(
            {
                "budget": budget,
                "accuracy": statistics.mean(accuracies),
                "low": min(accuracies),
                "high": max(accuracies),
                "seconds": statistics.median(row["wall"] for row in same),
                "learned": statistics.median([row["learned"] for row in same if "learned" in row] or [math.nan]),
                "seeds": sorted(row["seed"] for row in same),
                "bought": ", ".join([_bought(same), *([recipe] if recipe else [])]),
            }
        )
    return sorted(summaries, key=lambda one: one["seconds"])


def curve_of(rows: Sequence[Row], who: str) -> list[Row]:
    """An opponent's accuracy after each epoch that all of its seeds reached: the mean, and the median of the time."""
    curves = [row["curve"] for row in rows if row["who"] == who]
    return [
        {
            "seconds": statistics.median(point["seconds"] for point in points),
            "accuracy": statistics.mean(point["accuracy"] for point in points),
            "seeds": len(curves),
        }
        for points in zip(*curves, strict=False)
    ]


def opponents(rows: Sequence[Row]) -> list[str]:
    return [who for who in OPPONENTS if any(row["who"] == who for row in rows)]


def first_at_least(points: Sequence[Row], accuracy: float) -> Row | None:
    return next((point for point in points if point["accuracy"] >= accuracy), None)


# Writing it down.


def report(asked: argparse.Namespace) -> None:
    rows = read_results(asked.results)
    if not rows:
        raise SystemExit(f"No results in {asked.results}: python benchmarks/speed.py run")
    # The machine that was measured last comes first, and the pictures are of it alone: seconds of two do not compare.
    machines = sorted({_machine_of(row) for row in rows}, key=lambda one: _days(rows, one)[-1], reverse=True)
    parts = [part for place, one in enumerate(machines) for part in _of_machine(rows, one, asked, draws=not place)]
    text = "\n\n".join(parts)
    print(text)
    write_between_markers(asked.docs / "speed.md", "speed", text)


def _of_machine(rows: Sequence[Row], machine: str, asked: argparse.Namespace, draws: bool) -> Iterator[str]:
    rows = [row for row in rows if _machine_of(row) == machine]
    yield f"## On {machine}"
    for data in BUDGETS:
        some = [row for row in rows if row["data"] == data and not row["busy"]]
        if not some:
            continue
        yield f"### {TITLES[data]}"
        if draws:
            picture = asked.docs / "images" / f"speed-{data}.png"
            draw(data, some, picture)
            yield f"![Accuracy against seconds on {TITLES[data]}](images/{picture.name})"
        yield from (table for table in (_our_table(some), _their_table(some)) if table)
    yield "### Are budgets kept?"
    yield _kept_table(rows)
    yield _measured_on(rows, machine)


def _machine_of(row: Row) -> str:
    return f"{row['machine']['processor']}, {row['machine']['cores']} cores"


def _days(rows: Sequence[Row], machine: str) -> list[str]:
    return sorted({row["machine"]["time"][:10] for row in rows if _machine_of(row) == machine})


def _our_table(rows: Sequence[Row]) -> str:
    lines = [
        f"| {one['budget']:g} s{_options(rows, one['budget'])} | {_percent(one['accuracy'])} | "
        f"{_percent(one['low'])} to {_percent(one['high'])} | {one['seconds']:.1f} s | {_seconds(one['learned'])} | "
        f"{one['bought']} | {_listed(one['seeds'])} |"
        for one in ours(rows)
    ]
    head = [
        "| `--budget` | test accuracy, mean | range | wall time, median | until learned | what it bought | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(head + lines) if lines else ""


def _bought(rows: Sequence[Row]) -> str:
    """Widths and epochs, as far as they were noted: how fast the machine was that hour."""
    each: dict[int, list[float]] = {}
    for row in rows:
        if "width" in row:
            each.setdefault(row["width"], []).append(row["epochs"])
    spans = {
        width: dict.fromkeys(f"{end:.3g}" for end in (min(each[width]), max(each[width]))) for width in sorted(each)
    }
    return ", ".join(f"width {width}: {'–'.join(span)} epochs" for width, span in spans.items()) or "not noted"


def _options(rows: Sequence[Row], budget: float) -> str:
    options = OPTIONS.get((rows[0]["data"], budget))
    return f" `{options}`" if options else ""


def _kept_table(rows: Sequence[Row]) -> str:
    """Which share of its budget each run took: the least and the most, by data set and budget."""
    lines = ["| data | `--budget` | share of it spent | with a core busy |", "|---|---|---|---|"]
    mine = [row for row in rows if row["who"] == "iconoclass"]
    for data, budget in sorted(
        {(row["data"], row["budget"]) for row in mine}, key=lambda one: (TITLES[one[0]], one[1])
    ):
        same = [row for row in mine if (row["data"], row["budget"]) == (data, budget)]
        cells = [_shares([row["wall"] / budget for row in same if row["busy"] == busy]) for busy in (False, True)]
        lines.append(f"| {TITLES[data]} | {budget:g} s | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _shares(shares: Sequence[float]) -> str:
    if not shares:
        return "–"
    low, high = _percent(min(shares), 1), _percent(max(shares), 1)
    return f"{low} (1 run)" if len(shares) == 1 else f"{low} to {high} ({len(shares)} runs)"


def _their_table(rows: Sequence[Row]) -> str:
    lines = []
    for who in opponents(rows):
        best = max(curve_of(rows, who), key=lambda point: point["accuracy"])
        match = first_at_least(ours(rows), best["accuracy"])
        us = f"{match['seconds']:.1f} s (`--budget {match['budget']:g}s`) | " if match else "not reached | "
        name, theirs = OPPONENTS[who], _percent(best["accuracy"])
        ratios = [_ratio(best["seconds"], match[until] if match else math.nan) for until in ("seconds", "learned")]
        lines.append(f"| {name} | {theirs} | {best['seconds']:.1f} s | {us}{' | '.join(ratios)} | {best['seeds']} |")
    head = [
        "| opponent | its best accuracy | its seconds to it | ours to at least that | ratio | until learned | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(head + lines) if lines else ""


def _seconds(seconds: float) -> str:
    return "not noted" if math.isnan(seconds) else f"{seconds:.1f} s"


def _ratio(theirs: float, ours: float) -> str:
    return "–" if math.isnan(ours) else f"{theirs / ours:.2f}"


def _percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _measured_on(rows: Sequence[Row], machine: str) -> str:
    versions = sorted({f"{name} {one}" for row in rows for name, one in row["machine"]["versions"].items()})
    days = _days(rows, machine)
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        f"Measured on {machine}, {when}, with {', '.join(versions)}. "
        "A ratio above 1 means that ours is faster. Our time is the whole command's, judging and drawing included; an "
        "opponent's clock starts with its process and stands still while it is judged, so that the time until ours had "
        "learned is what compares with it. Its best is that of its best epoch."
    )


def write_between_markers(page: Path, name: str, text: str) -> None:
    """Replace what stands in a page between the two comments of that name."""
    begin, end = (f"<!-- {name}: {which}, written by benchmarks/ -->" for which in ("begin", "end"))
    whole = page.read_text()
    before, found, rest = whole.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{page} lacks the comments between which the table belongs:\n{begin}\n{end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


# The picture.

INK, MUTED = "#1b1f24", "#5b6472"
COLOURS = {"iconoclass": "#0072b2", "keras_fit": "#e69f00", "torch_resnet": "#009e73", "sklearn_best": "#cc79a7"}
# The same, dark enough for letters on white.
LETTERS = {"iconoclass": "#0072b2", "keras_fit": "#8a5f00", "torch_resnet": "#00704f", "sklearn_best": "#9c3f74"}


def draw(data: str, rows: Sequence[Row], path: Path) -> None:
    with matplotlib.style.context(["default", "iconoclass.evaluation.iconoclass"]):
        figure = Figure()
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.075, 0.115, 0.75, 0.7))
        figure.text(0.021, 0.935, _verdict(data, rows), size=12.5, weight="bold")
        subtitle = "Test accuracy against seconds from the start, log scale; lines: means over seeds, bars: their range"
        figure.text(0.021, 0.885, subtitle, color=MUTED)
        _draw_lines(axes, rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def _verdict(data: str, rows: Sequence[Row]) -> str:
    """What is seen: the highest accuracy, whose it is, and when; all who are within a tenth of a percent of it."""
    lines = {who: curve_of(rows, who) for who in opponents(rows)} | {"iconoclass": ours(rows)}
    best = {who: max(line, key=lambda point: point["accuracy"]) for who, line in lines.items() if line}
    highest = max(round(point["accuracy"], 3) for point in best.values())
    first = sorted(
        (who for who in best if best[who]["accuracy"] >= highest - 0.001), key=lambda who: best[who]["seconds"]
    )
    names = [f"{OPPONENTS.get(who, 'Iconoclass')} after {best[who]['seconds']:.0f} s" for who in first]
    return f"{TITLES[data]}: {_percent(highest, 1)}, {' and '.join(names)}"


def _draw_lines(axes: Axes, rows: Sequence[Row]) -> None:
    ends = []
    for who in [*opponents(rows), "iconoclass"]:
        points = ours(rows) if who == "iconoclass" else curve_of(rows, who)
        if not points:
            continue
        seconds, accuracies = ([point[key] for point in points] for key in ("seconds", "accuracy"))
        mine = who == "iconoclass"
        axes.plot(seconds, accuracies, color=COLOURS[who], marker="o", markersize=6 if mine else 3, zorder=3 + mine)
        if mine:
            axes.vlines(
                seconds, [point["low"] for point in points], [point["high"] for point in points], color=COLOURS[who]
            )
        ends.append(("Iconoclass" if mine else OPPONENTS[who], LETTERS[who], seconds[-1], accuracies[-1]))
    _set_axes(axes, rows)
    _label(axes, ends)


def _set_axes(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("Seconds", loc="left")
    low, high = axes.get_xlim()
    ticks = [unit * 10**power for power in range(-1, 6) for unit in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    # First epochs may lie far below what the picture is about; they may leave it at the bottom.
    bests = [max((point["accuracy"] for point in curve_of(rows, who)), default=0.0) for who in opponents(rows)]
    shown = [*bests, *(one["low"] for one in ours(rows))]
    highest = max(row["accuracy"] for row in rows)
    room = max(highest - min(shown), 0.01)
    axes.set_ylim(max(0.0, min(shown) - 0.3 * room), highest + 0.08 * room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g} %"))


def _label(axes: Axes, ends: list[tuple[str, str, float, float]]) -> None:
    """The name of each line at its end: to the right if nothing lies there, else above or below, else to the right."""
    taken = [spot for line in axes.lines for spot in _spots(axes, line)]
    for name, colour, seconds, accuracy in ends:
        x, y = axes.transData.transform((seconds, accuracy))
        wide = 12 * len(name)
        # (left edge, middle) of the text, in pixels; where it begins or ends there.
        places = [(x + 18, y, "left"), (x - wide, y + 26, "right"), (x - wide, y - 26, "right")]
        left, middle, side = next((one for one in places if _is_free(one, wide, taken)), places[0])
        across = (left - x if side == "left" else 0) * 72 / 144
        axes.annotate(
            name, (seconds, accuracy), xytext=(across, (middle - y) * 72 / 144), textcoords="offset points",
            color=colour, va="center", ha=side, annotation_clip=False, zorder=6,
        )  # fmt: skip
        taken += [(left + step, middle) for step in range(0, wide, 6)]


def _spots(axes: Axes, line: Line2D) -> Iterator[tuple[float, float]]:
    """Points along a drawn line, a few pixels apart."""
    corners = axes.transData.transform(line.get_xydata())
    if len(corners) == 1:
        yield tuple(corners[0])
    for start, end in pairwise(corners):
        steps = max(1, int(max(abs(end - start)) / 6))
        yield from (tuple(start + (end - start) * step / steps) for step in range(steps + 1))


def _is_free(place: tuple[float, float, str], wide: float, taken: Sequence[tuple[float, float]]) -> bool:
    left, middle, _ = place
    return not any(left - 3 < x < left + wide and abs(y - middle) < 15 for x, y in taken)


# Asking.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="measure, and keep what is measured")
    running.add_argument("--data", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    running.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    running.add_argument("--busy", action="store_true", help="keep one core busy meanwhile")
    running.add_argument("--budgets", nargs="*", type=float, help="in seconds; default: those of each data set")
    running.add_argument("--opponents", nargs="*", choices=list(OPPONENTS), default=["keras_fit", "torch_resnet"])
    running.add_argument("--torch-python", default=sys.executable, help="an interpreter that has PyTorch")
    running.add_argument("--again", action="store_true", help="also what is in the results already")
    running.set_defaults(do=run)
    reporting = commands.add_parser("report", help="tables and pictures of what was measured")
    reporting.add_argument("--results", type=Path, default=RESULTS)
    reporting.add_argument("--docs", type=Path, default=DOCS)
    reporting.set_defaults(do=report)
    asked = parser.parse_args()
    asked.do(asked)


if __name__ == "__main__":
    main()
