"""main(): the verbs, and the exit status with which each ends; a user's mistake never shows a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated, Any, NoReturn, TextIO

import typer

from iconoclass.cli import around, judge, learn, use
from iconoclass.cli.terminal import open_console
from iconoclass.errors import IconoclassError, Interrupted, UsageError
from iconoclass.files import printable

app = typer.Typer(
    name="iconoclass",
    help="Pictures in, a classifier you can trust, see and ship out.\n\nStart with: iconoclass train",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

for group in (learn, judge, use, around):
    app.add_typer(group.verbs)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from iconoclass import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, metavar="", help="Print the version and leave."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", metavar="", help="Show tracebacks.")] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and leave with its exit status; a user's mistake never shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # LANG=C must not turn a class name into a crash
    debug = "--debug" in sys.argv
    try:
        status = app(standalone_mode=False) or 0
        if status == Interrupted.exit_status:  # what Typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()  # here, where a reader who has left is still understood
    except IconoclassError as error:
        if debug:
            raise
        status = _report(error)
    except (KeyboardInterrupt, typer.Abort):
        status = _report(Interrupted("stopped"))
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has left: `iconoclass predict ... | head`. Typer makes an exit with 1 of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 141
    except Exception as error:
        status = _report_usage(error) if hasattr(error, "format_message") else None
        if status is None:
            if debug:
                raise
            status = _report_bug(error)
    _forget_unread(sys.stderr)
    sys.exit(status)


def _forget_unread(stream: TextIO) -> None:
    """Where nobody reads a stream any more, what is left in it must not become the exit status (Python's 120)."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _report(error: IconoclassError) -> int:
    if "--json" in sys.argv:
        import json

        content = {"code": error.code, "message": error.what, "hint": error.hint, "exit_status": error.exit_status}
        print(json.dumps({"error": content}), file=sys.stderr)
        return error.exit_status
    from rich.text import Text

    mark, colon, rest = str(error).partition(":")
    if isinstance(error, Interrupted):  # what was asked for is no error
        mark, colon, rest = "", "", rest.strip()
    lines = "\n".join(map(printable, rest.split("\n")))
    console = open_console()
    with contextlib.suppress(OSError, SystemExit):  # the latter by rich, where nobody reads stderr any more
        # On a terminal broken between words; in a log a message stays on its line.
        console.print(Text.assemble((mark + colon, "red"), lines), soft_wrap=not console.is_terminal)
    return error.exit_status


def _report_usage(error: Any) -> int:
    """What the parser refused, in our form."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return 0  # the help that it carries has been printed
    hint = f"See: {context.command_path} --help" if context else "See: iconoclass --help"
    return _report(UsageError(error.format_message(), hint=hint))


def _report_bug(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="iconoclass-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(" ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error)))
    what = " ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
    bug = IconoclassError(what, hint=f"This is our bug. The report is in {file.name}")
    bug.code = "BUG"
    return _report(bug)
