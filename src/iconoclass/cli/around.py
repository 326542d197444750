"""models, datasets, doctor, runs, cache: what there is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from iconoclass.cli.options import Json
from iconoclass.cli.results import megabytes, print_runs
from iconoclass.cli.terminal import Phases, advise, dimming, print_beside, print_json
from iconoclass.errors import UsageError

PANEL = "Look around"
verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
def models(as_json: Json = False) -> None:
    """List the networks: parameters, what they are for, where they come from.

    \b
    iconoclass models --json
    """
    with Phases() as phases:
        phases.say("building each network")
        from iconoclass.models.catalog import listing

        rows = listing()
    if as_json:
        print_json(rows)
        return
    ours = [row for row in rows if row["recipe"] != "transfer"]
    print(f"{'':<16} {'parameters for 10 classes':>24}")
    print(f"{'network':<16}" + "".join(f" {size:>11}" for size in ours[0]["parameters"]) + "   recipe     options")
    for row in ours:
        counts = " ".join(f"{count:>11,}" for count in row["parameters"].values())
        _print_network(row, f"{counts}   {row['recipe']:<10} {', '.join(row['options']) or 'none'}")
    print(f"\n{'backbone':<17}parameters by alpha, without the last layer")
    for row in rows[len(ours) :]:
        several = len(row["parameters"]) > 1
        sizes = (f"{n / 1e6:.1f} M{f' ({alpha})' if several else ''}" for alpha, n in row["parameters"].items())
        _print_network(row, ", ".join(sizes))
    advise("iconoclass train DATA --model NETWORK")


def _print_network(row: dict[str, Any], numbers: str) -> None:
    print()
    print_beside(row["name"], 16, numbers)
    print(f"  {row['purpose']}")
    print(dimming()(f"  {row['source']}"))


@verbs.command(rich_help_panel=PANEL)
def datasets(as_json: Json = False) -> None:
    """List the data sets that can be asked for by name.

    \b
    iconoclass datasets
    """
    from iconoclass.data.catalog import listing

    rows = listing()
    if as_json:
        print_json(rows)
        return
    dim = dimming()
    for row in rows:
        print_beside(row["name"], 14, row["title"])
        print_beside("", 14, f"licence: {row['licence']}", dim)
        print_beside("", 14, row["homepage"], dim)
        print_beside("", 14, row["citation"] + "\n", dim)
    advise("iconoclass train NAME")


@verbs.command(rich_help_panel=PANEL)
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what this machine can do, where the cache is, and whether all is well.

    \b
    iconoclass doctor
    """
    with Phases() as phases:
        phases.say("looking around")
        from iconoclass.environment import diagnose

        findings = diagnose()
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            print_beside(f"{'✓' if finding.is_well else '✗'} {finding.what}", 17, finding.saw)
            if not finding.is_well:
                print_beside("", 17, finding.advice)
    if ill := [finding.what for finding in findings if not finding.is_well]:
        from iconoclass.errors import EnvironmentFault

        raise EnvironmentFault(f"not well: {', '.join(ill)}", hint="See the advice above.")
    if not as_json:
        print("All is well.")
    advise("iconoclass train")


runs_app = typer.Typer(
    help="List runs with what became of them, or remove some."
    "\n\n\b\niconoclass runs\niconoclass runs rm runs/mnist-resnet-2",
    invoke_without_command=True,
    rich_markup_mode="rich",
)
verbs.add_typer(runs_app, name="runs", rich_help_panel=PANEL)


@runs_app.callback()
def runs(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    if context.invoked_subcommand:
        return
    from iconoclass.runs import listed

    found = listed(output)
    if as_json:
        print_json([each.as_json() for each in found])
        return
    print_runs(found)
    if stopped := [each for each in found if each.state == "stopped"]:
        advise(f"iconoclass resume {stopped[0].run.path}")


@runs_app.command("rm")
def remove_runs(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
) -> None:
    """Delete runs with all that is in them, and say how much that frees.

    \b
    iconoclass runs rm runs/mnist-resnet-2 runs/old --yes
    """
    from iconoclass.run import Run
    from iconoclass.runs import remove

    doomed = [Run.open(path) for path in run]
    ask(f"Delete {', '.join(str(each.path) for each in doomed)}?", yes)
    print(f"{megabytes(remove(doomed))} freed")


cache_app = typer.Typer(
    help="Say what the cache holds, or clear it: downloads, decoded pixels, features, weights."
    "\n\n\b\niconoclass cache\niconoclass cache clear pixels",
    invoke_without_command=True,
    rich_markup_mode="rich",
)
verbs.add_typer(cache_app, name="cache", rich_help_panel=PANEL)


@cache_app.callback()
def cache(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand:
        return
    from iconoclass.files import cache_contents, cache_folder

    contents = cache_contents()
    if as_json:
        print_json({kind: {"files": files, "bytes": size} for kind, (files, size) in contents.items()})
        return
    for kind, (files, size) in contents.items():
        print(f"{kind:<12} {files:>9,} files {megabytes(size):>12}")
    print(cache_folder())


@cache_app.command("clear")
def clear(
    kind: Annotated[list[str] | None, typer.Argument(metavar="[KIND]...", help="As `cache` lists them.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
) -> None:
    """Remove what the cache holds and say how much that frees; what is needed is made or fetched again.

    \b
    iconoclass cache clear --yes
    """
    from iconoclass.errors import pick
    from iconoclass.files import cache_contents, clear_cache

    contents = cache_contents()
    chosen = {name: pick(contents, name, "kind") for name in kind or contents}
    ask(f"Remove {', '.join(chosen) or 'nothing'}?", yes)
    clear_cache(list(chosen))
    print(f"{megabytes(sum(size for _, size in chosen.values()))} freed")


def ask(question: str, is_sure: bool) -> None:
    """Raises: UsageError, where nobody can be asked; typer.Abort, on no."""
    if not is_sure and not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", hint="Say --yes if you are sure.")
    if not is_sure:
        typer.confirm(question, abort=True, err=True)
