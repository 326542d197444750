"""tune.html: what was tried, what mattered, and what was gained, on one page that needs no network."""

from __future__ import annotations

from html import escape
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from iconoclass.evaluation import charts
from iconoclass.evaluation.charts import Chart, percent
from iconoclass.pages import breakable, document, figures
from iconoclass.run import readable
from iconoclass.tuning.outcome import Outcome
from iconoclass.tuning.search import Search, reached, short

Steps = tuple[list[float], list[float]]

FEWEST = 8  # completed trials: of fewer nobody can say what mattered
TOP = 0.25  # the share of the trials that importance is asked about: what sets the best quarter apart


def page(found: Outcome) -> str:
    """The whole page."""
    body = [
        f"<h1>{breakable(found.path.name)}</h1><p class=verdict>{escape(found.verdict())}</p>",
        _figures(found),
        _settings(found),
        _trials(found.search),
        _importance(found.search),
        _finals(found),
        _table(found),
        _next(found),
    ]
    return document(f"{found.path.name}: the search", "\n".join(body), style=charts.STYLE + _STYLE)


def _figures(found: Outcome) -> str:
    default, best = found.accuracies
    gain, seeds = found.gain, found.search.request.seeds
    of = f"mean of {seeds}" if seeds > 1 else ""
    cells = {"default, on test": (_percent(default), of)}
    if found.winner:
        ends = f"{100 * (gain.low or 0.0):+.2f} to {100 * (gain.high or 0.0):+.2f}"
        cells |= {
            "best, on test": (_percent(best), of),
            "gain, in points": (f"{100 * (gain.value or 0.0):+.2f}", ends),
        }
    states = [trial.state for trial in found.search.trials]
    given_up, failed = states.count(TrialState.PRUNED), states.count(TrialState.FAIL)
    more = [f"{given_up} given up"] * bool(given_up) + [f"{failed} failed"] * bool(failed)
    return figures(cells | {"trials": (str(len(states)), ", ".join(more))})


def _settings(found: Outcome) -> str:
    if not found.changes:
        return ""
    default = found.search.trials[0].params
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}<td class=number>{_word(default.get(name))}"
        f"<td class=number><b>{_word(value)}</b>"
        for name, value in found.changes.items()
    )
    head = "<tr><th>setting<th class=number>default<th class=number>best"
    return f"<h2>What to change</h2><table class=plain>{head}{rows}</table>"


def _trials(search: Search) -> str:
    """Each trial where it ended: when, and how well it did on validation."""
    ended = [trial for trial in search.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    ends, unit = _ends(search, ended)
    points = list(zip(ends, map(reached, ended), ended, strict=True))
    best = max(value for _, value, trial in points if trial.state == TrialState.COMPLETE)
    default = reached(search.trials[0])
    low = max(min(value for _, value, _ in points), best - 4 * max(best - default, 0.02))
    margin = 0.08 * (best - low)
    chart = Chart(
        (0.0, max(at for at, _, _ in points)),
        (low - margin, best + margin),
        f"{unit} of search",
        f"validation {search.monitor.removeprefix('val_').replace('_', ' ')}",
        write_x=lambda value: f"{value:g}",
    )
    chart.line([0.0, chart.x[1]], [default, default], "thin", "the default")
    xs, ys = _staircase(points, default, chart.x[1])
    chart.line(xs, ys, "validation", "the best so far")
    below = 0
    for at, value, trial in points:
        css = "validation" if trial.number == 0 else "before" if trial.state == TrialState.PRUNED else ""
        below += value < low
        chart.dot(at, max(value, low), 4.0, css, _told(search, trial, value))
    said = f"Trials over time: the default reaches {percent(default)}, the best {percent(best)}."
    left_out = f" {below} below the chart are drawn at its foot." if below else ""
    caption = (
        "Each dot is a trial, where it ended; orange is the default, hollow ones were given up, the line is the best "
        f"so far. It rises by luck too, which is why the best are repeated below.{left_out}"
    )
    return f"<h2>Trials</h2>{chart.svg(said)}<p class=muted>{escape(caption)}</p>"


def _staircase(points: list[tuple[float, float, FrozenTrial]], first: float, end: float) -> Steps:
    xs, ys, best = [0.0], [first], first
    for at, value, trial in sorted(points, key=lambda point: point[0]):
        if trial.state == TrialState.COMPLETE and value > best:
            xs, ys, best = [*xs, at, at], [*ys, best, value], value
    return [*xs, end], [*ys, best]


def _ends(search: Search, trials: list[FrozenTrial]) -> tuple[list[float], str]:
    """When each trial ended, counting only time in which the search ran; and the unit."""
    spent, ends = 0.0, []
    for trial in trials:
        spent += trial.user_attrs["seconds"] / search.request.workers
        ends.append(spent)
    unit, size = ("minutes", 60) if spent >= 180 else ("seconds", 1)
    return [end / size for end in ends], unit


def _importance(search: Search) -> str:
    shares = importance(search)
    if not shares:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}<td><i style='width:{100 * share:.1f}%'></i><td class=number>{share:.0%}"
        for name, share in shares.items()
    )
    caption = (
        "How much a setting sets the best quarter of the trials apart from all (PED-ANOVA). Of few trials it is a hint "
        "and no more; a setting that would matter beyond the range that was searched is not seen."
    )
    return f"<h2>What mattered</h2><table class='bars plain'>{rows}</table><p class=muted>{escape(caption)}</p>"


def importance(search: Search) -> dict[str, float]:
    """How much each setting sets the best quarter of the trials apart: shares of 1; nothing, if there are too few.

    Source: Watanabe et al., PED-ANOVA, IJCAI 2023, as in Optuna.
    """
    completed = [trial for trial in search.trials if trial.state == TrialState.COMPLETE]
    common = [name for name in search.space if all(name in trial.params for trial in completed)]
    if len(completed) < FEWEST or not common:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(completed)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
    return optuna.importance.get_param_importances(study, evaluator=evaluator, params=common)


def _finals(found: Outcome) -> str:
    finals = found.search.finals
    rows = "".join(
        f"<tr><th scope=row>{'the default' if number == 0 else f'trial {number}'}"
        + "".join(f"<td class=number>{_percent(trial.value or 0.0)}" for trial in done)
        + f"<td class=number><b>{_percent(found.means[number])}</b>"
        + ("<td class=right>✓ chosen" if number == found.winner else "<td>")
        for number, done in finals.items()
        if done
    )
    seeds = range(found.search.request.seed + 1, found.search.request.seed + 1 + found.search.request.seeds)
    head = "<tr><th>" + "".join(f"<th class=number>seed {seed}" for seed in seeds) + "<th class=number>mean<th>"
    caption = (
        "The best of many is partly lucky. So the best two and the default were trained again, with other seeds, each "
        "for the same time. The mean on validation chooses: the default, wherever the lead over it is no larger than "
        "the standard error of that lead. Only then was the test part looked at, once."
    )
    table = f"<div class=scroll><table class=plain>{head}{rows}</table></div>"
    return f"<h2>Repeated, so that luck does not win</h2>{table}<p class=muted>{escape(caption)}</p>"


def _table(found: Outcome) -> str:
    rows = sorted(found.search.trials, key=lambda trial: -reached(trial))
    body = "".join(
        f"<tr><td class=number>{trial.number}<td class=number>{_percent(reached(trial))}"
        f"<td class=number>{trial.user_attrs.get('seconds', 0.0):.0f}"
        f"<td class=number>{trial.user_attrs.get('epochs', '')}<td>{_what_became(found.search, trial)}"
        for trial in rows
    )
    head = "<tr><th class=number>trial<th class=number>validation<th class=number>seconds<th class=number>epochs<th>"
    table = f"<div class=scroll><table class='plain all'>{head}{body}</table></div>"
    return f"<h2>All trials</h2><details><summary>Show all {len(rows)}</summary>{table}</details>"


def _what_became(search: Search, trial: FrozenTrial) -> str:
    said = _changes(search, trial)
    if trial.state == TrialState.FAIL:
        return f"<span class=wrong>✗ failed: {escape(str(trial.user_attrs.get('reason', '')))}</span> {escape(said)}"
    return escape(said + ("; given up" if trial.state == TrialState.PRUNED else ""))


def _changes(search: Search, trial: FrozenTrial) -> str:
    changed = search.changed(trial)
    return ", ".join(f"{name} {_word(value)}" for name, value in changed.items()) or "the default"


def _next(found: Outcome) -> str:
    path = readable(found.run.path)
    return (
        f"<h2>What next</h2><p>The run to use is <code>{escape(path)}</code>, of the chosen settings the best on "
        "validation. Every trial is a run too: its settings are in its <code>config.toml</code>.</p>"
        f"<pre><code>iconoclass predict {escape(path)} PICTURE\n"
        f"iconoclass train --config {escape(path)}/config.toml --seed 7</code></pre>"
    )


def _told(search: Search, trial: FrozenTrial, value: float) -> str:
    given_up = ", given up" if trial.state == TrialState.PRUNED else ""
    return f"trial {trial.number}: {_percent(value)}{given_up}; {_changes(search, trial)}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\u00a0%"


def _word(value: Any) -> str:
    return "–" if value is None else escape(short(value))


_STYLE = """
.number { text-align: right; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto }
table.plain td, table.plain th { padding: 5px 24px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top }
table.plain td.right { text-align: left }
table.bars td:nth-child(2) { width: 300px }
table.bars i { display: block; height: 10px; border-radius: 2px; background: var(--training); min-width: 1px }
table.all { font-size: 12.5px }
summary { cursor: pointer; color: var(--accent) }
p.muted { margin-top: 10px; font-size: 12.5px }
"""
