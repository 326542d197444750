"""compare(): two runs on the same test pictures: is one better, by how much, and which pictures make the difference?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from iconoclass import inline
from iconoclass.data.dataset import Split, open_dataset
from iconoclass.errors import DataError, UsageError, WorseError
from iconoclass.evaluation.page import SMALL, thumbnail
from iconoclass.files import new_folder, write_json, write_text
from iconoclass.intervals import Estimate, share, wilson
from iconoclass.pages import breakable, document, figures
from iconoclass.run import Run, spreadsheet_safe

# p below which a difference is called one: at 0.05 the luck of a seed is too often taken for a better recipe.
# Source: Benjamin et al., Redefine statistical significance, Nature Human Behaviour 2018.
SURE = 0.005
RESAMPLES = 10_000
SHOWN = 120  # pictures of each kind on the page


@dataclass(frozen=True)
class Answer:
    """What one run said of one test picture."""

    true: str
    predicted: str
    confidence: float

    @property
    def is_right(self) -> bool:
        return self.true == self.predicted


@dataclass(frozen=True)
class Pair:
    """Two runs and their answers to the pictures that both were tested on, in the first one's order.

    images: their names; left_out: how many only one of the two was tested on.
    """

    first: Run
    second: Run
    images: list[str]
    answers: list[tuple[Answer, Answer]]
    left_out: int

    @cached_property
    def fixed(self) -> list[int]:
        """Where only the second run is right."""
        return [at for at, (one, other) in enumerate(self.answers) if other.is_right and not one.is_right]

    @cached_property
    def broken(self) -> list[int]:
        """Where only the first run is right."""
        return [at for at, (one, other) in enumerate(self.answers) if one.is_right and not other.is_right]

    @property
    def accuracies(self) -> tuple[Estimate, Estimate]:
        first, second = (sum(pair[at].is_right for pair in self.answers) for at in (0, 1))
        return wilson(first, len(self.images)), wilson(second, len(self.images))

    @cached_property
    def p(self) -> float:
        return mcnemar(len(self.fixed), len(self.broken))

    @cached_property
    def difference(self) -> Estimate:
        return difference(len(self.fixed), len(self.broken), len(self.images))

    @property
    def outcome(self) -> str:
        """equal: the same classes for every picture; undecided; better or worse: the second run, surely."""
        if all(one.predicted == other.predicted for one, other in self.answers):
            return "equal"
        if self.p >= SURE:
            return "undecided"
        return "better" if len(self.fixed) > len(self.broken) else "worse"

    def verdict(self) -> str:
        """The outcome in a sentence or two."""
        first, second, count = self.first.name, self.second.name, len(self.images)
        if self.outcome == "equal":
            return f"{first} and {second} give equal answers to all {count:,} test pictures."
        found = self.difference
        low, high = 100 * (found.low or 0.0), 100 * (found.high or 0.0)
        by = f"{100 * (found.value or 0.0):+.1f} points, between {low:+.1f} and {high:+.1f}"
        what = f"{second} is right where {first} is not {len(self.fixed):,} times, and the other way round "
        what += f"{len(self.broken):,} times, of {count:,}: {by} (p {_p(self.p)})."
        if self.outcome == "undecided":
            return f"{first} and {second} cannot be told apart. {what}"
        return f"{second} is {self.outcome} than {first}. {what}"

    def _repr_html_(self) -> str:
        """Verdict and both accuracies, for a notebook."""
        rows = [
            (run.name, share(score.as_json()).strip())
            for run, score in zip((self.first, self.second), self.accuracies, strict=True)
        ]
        return inline.card(self.verdict(), inline.table(("run", "test accuracy"), rows))

    def as_json(self) -> dict[str, Any]:
        first, second = self.accuracies
        return {
            "first": str(self.first.path),
            "second": str(self.second.path),
            "outcome": self.outcome,
            "examples": len(self.images),
            "left_out": self.left_out,
            "accuracy": {"first": first.as_json(), "second": second.as_json()},
            "difference": self.difference.as_json(),
            "p": self.p,
            "fixed": [self.images[at] for at in self.fixed],
            "broken": [self.images[at] for at in self.broken],
        }


def _p(value: float) -> str:
    return "< 1e-6" if value < 1e-6 else f"= {value:.2g}"


def mcnemar(fixed: int, broken: int) -> float:
    """How likely the pictures that only one run gets right divide at least so unevenly if neither is better: 0 to 1.

    Two-sided and exact: twice the smaller tail of Binomial(fixed + broken, 1/2).
    Source: McNemar, Psychometrika 1947; the exact form is the sign test.
    """
    count, term, tail = fixed + broken, 1, 0
    for at in range(min(fixed, broken) + 1):  # in whole numbers: nothing is rounded before the end
        tail += term
        term = term * (count - at) // (at + 1)
    return min(1.0, 2 * tail / 2**count) if count < 1000 else min(1.0, float(_ratio(2 * tail, count)))


def _ratio(top: int, power: int) -> float:
    """Top / 2**power, where both are too large for floats."""
    shift = max(0, top.bit_length() - 64)
    return float(np.ldexp(float(top >> shift), shift - power))


def difference(fixed: int, broken: int, count: int, seed: int = 0) -> Estimate:
    """The second run's accuracy less the first one's, with its 95 % interval: a paired bootstrap over the pictures.

    Each picture is fixed, broken or neither, so that drawing pictures anew is drawing three counts.
    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, the percentile interval.
    """
    if not count:
        return Estimate(None)
    shares = [fixed / count, broken / count, (count - fixed - broken) / count]
    drawn = np.random.default_rng(seed).multinomial(count, shares, RESAMPLES)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / count, (0.025, 0.975))
    return Estimate((fixed - broken) / count, float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """The first run beside each of the others."""

    pairs: list[Pair]

    def table(self) -> str:
        """The verdicts as plain text."""
        return "\n".join(pair.verdict() for pair in self.pairs)

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return "".join(pair._repr_html_() for pair in self.pairs)

    def as_json(self) -> list[dict[str, Any]]:
        return [pair.as_json() for pair in self.pairs]

    def save(self, output: Path | str = "compare", *, offline: bool = False) -> Path:
        """Write compare.json and compare.html, with the pictures, into a new folder, and say which."""
        folder = new_folder(Path(output).expanduser())
        write_json(folder / "compare.json", self.as_json())
        write_text(folder / "compare.html", _page(self, offline))
        return folder

    def refuse_worse(self) -> None:
        """Raises: WorseError, if any run is surely worse than the first."""
        if worse := [pair.second.name for pair in self.pairs if pair.outcome == "worse"]:
            raise WorseError(f"worse than {self.pairs[0].first.name}: {', '.join(worse)}")


def compare(*runs: Run | Path | str) -> Comparison:
    """The first run and each of the others on the test pictures that they have in common, from what they wrote.

    Each run's ledger gets a line: its test part was looked at.
    Raises: UsageError, for fewer than two runs; RunError, if one has not been judged; DataError, if two have no test
    picture in common or do not agree what is on one.
    """
    if len(runs) < 2:
        raise UsageError(f"two runs or more are compared. Received: {len(runs)}")
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    answers = [_answers(run) for run in opened]
    pairs = [_pair(opened[0], run, answers[0], other) for run, other in zip(opened[1:], answers[1:], strict=True)]
    for run in {run.path.resolve(): run for run in opened}.values():
        run.note_look("compare")
    return Comparison(pairs)


def _answers(run: Run) -> dict[tuple[str, str], Answer]:
    """What a run said of its test pictures, by name and content."""
    digests = {row["image"]: row["sha256"] for row in run.splits if row["split"] == "test"}
    rows = (cells for cells in run.predictions if cells[0] == "test")
    return {
        (image, digests.get(image, "")): Answer(true, predicted, float(confidence))
        for _, image, true, predicted, confidence, *_ in rows
    }


def _pair(
    first: Run, second: Run, ones: Mapping[tuple[str, str], Answer], others: Mapping[tuple[str, str], Answer]
) -> Pair:
    both = [key for key in ones if key in others]
    if not both:
        what = f"{first.name} and {second.name} were not tested on the same pictures"
        raise DataError(what, hint="Train both on the same data with the same --split-seed and --test-split.")
    if differing := [image for image, digest in both if ones[image, digest].true != others[image, digest].true]:
        some: Sequence[str] = differing[:5]
        raise DataError(f"the two runs do not agree what is on {len(differing)} pictures, such as {', '.join(some)}")
    pairs = [(ones[key], others[key]) for key in both]
    return Pair(first, second, [image for image, _ in both], pairs, len(ones) + len(others) - 2 * len(both))


def judged_by(third: Run, first: Run, second: Run) -> Pair:
    """Two runs on the test pictures that three have in common; what is on a picture is for the third one to say."""
    true, ones, others = (_answers(run) for run in (third, first, second))
    both = [key for key in true if key in ones and key in others]
    pairs = [(replace(ones[key], true=true[key].true), replace(others[key], true=true[key].true)) for key in both]
    return Pair(first, second, [image for image, _ in both], pairs, len(true) - len(both))


# -- the page -------------------------------------------------------------------------------------------------------


def _page(comparison: Comparison, offline: bool) -> str:
    """compare.html: what one run does better than the other and what worse, with the pictures.

    Raises: DataError, if the pictures of the first run cannot be opened.
    """
    first = comparison.pairs[0].first
    split = open_dataset(first.config.data, offline=offline).test
    body = "".join(_shown(pair, split) for pair in comparison.pairs)
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8") + _STYLE
    return document(f"{first.name} compared", f"<main>{body}</main>", style=style)


def _shown(pair: Pair, split: Split) -> str:
    first, second = pair.accuracies
    found = pair.difference
    ends = f"{100 * (found.low or 0.0):+.1f} to {100 * (found.high or 0.0):+.1f}"
    row = {
        f"{pair.first.name}, right": _cell(first.value, first.low, first.high),
        f"{pair.second.name}, right": _cell(second.value, second.low, second.high),
        "difference, in points": (f"{100 * (found.value or 0.0):+.1f}", ends),
        "p, exact McNemar": ("< 1e-6" if pair.p < 1e-6 else f"{pair.p:.2g}", ""),
        "pictures in common": (f"{len(pair.images):,}", ""),
    }
    title = f"<h1>{breakable(pair.first.name)} and {breakable(pair.second.name)}</h1>"
    left_out = f"<p>{pair.left_out:,} pictures that only one was tested on are left out.</p>" if pair.left_out else ""
    return (
        f"<header>{title}<p class=verdict>{escape(pair.verdict())}</p>{figures(row)}{left_out}</header>"
        f"{_section(f'What {pair.second.name} mended', pair.fixed, pair, split)}"
        f"{_section(f'What {pair.second.name} broke', pair.broken, pair, split)}{_by_class(pair)}"
    )


def _cell(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    if value is None or low is None or high is None:
        return "n/a", ""
    return f"{100 * value:.1f}\u00a0%", f"{100 * low:.1f}–{100 * high:.1f}"


def _section(title: str, positions: Sequence[int], pair: Pair, split: Split) -> str:
    cases = "".join(_cases(positions[:SHOWN], pair, split))
    more = (
        f"<p class=muted>… and {len(positions) - SHOWN:,} more in compare.json.</p>" if len(positions) > SHOWN else ""
    )
    return f"<h2>{escape(title)}: {len(positions):,}</h2><div class=cases>{cases}</div>{more}"


def _cases(positions: Sequence[int], pair: Pair, split: Split) -> Iterator[str]:
    place = {spreadsheet_safe(name): at for at, name in enumerate(split.names)}
    for at in positions:
        image, (one, other) = pair.images[at], pair.answers[at]
        [pixels] = split.take(np.array([place[image]]))
        small = " class=small" if max(pixels.shape[:2]) <= SMALL else ""
        yield (
            f"<figure class=case title='{escape(image)}'>"
            f"<img{small} alt='{escape(one.true)}' src='{thumbnail(pixels)}'>"
            f"<figcaption>{breakable(one.true)}<br>{_said(one)}<br>{_said(other)}</figcaption></figure>"
        )


def _said(answer: Answer) -> str:
    mark = "<span class=right>✓</span>" if answer.is_right else "<span class=wrong>✗</span>"
    return f"{mark} {breakable(answer.predicted)} <b>{100 * answer.confidence:.0f}\u00a0%</b>"


def _by_class(pair: Pair) -> str:
    names = sorted({one.true for one, _ in pair.answers})
    rows = []
    for name in names:
        of_class = [at for at, (one, _) in enumerate(pair.answers) if one.true == name]
        fixed, broken = (len(set(of_class) & set(some)) for some in (pair.fixed, pair.broken))
        rows.append((fixed - broken, name, len(of_class), fixed, broken))
    body = "".join(
        f"<tr><th scope=row>{breakable(name)}<td class=number>{count:,}<td class=number>{fixed:,}"
        f"<td class=number>{broken:,}<td class=number>{gain:+,}"
        for gain, name, count, fixed, broken in sorted(rows, key=lambda row: (-abs(row[0]), row[1]))
    )
    head = "<tr><th>class<th class=number>pictures<th class=number>mended<th class=number>broken<th class=number>gain"
    return f"<h2>Class by class</h2><div class=scroll><table class=sortable>{head}<tbody>{body}</table></div>"


_STYLE = """
@media (min-width: 1240px) { body { display: block; max-width: 1080px } }
header:not(:first-child) { margin-top: 72px }
"""
