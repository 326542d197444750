"""stdout that steps back where it may, and one live line on stderr."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iconoclass.files import printable

if TYPE_CHECKING:
    from rich.console import Console

    from iconoclass.training.progress import Listener


def dimming() -> Callable[[str], str]:
    """What makes text step back, where stdout is a terminal that may be coloured; elsewhere it changes nothing."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return (lambda text: text) if plain else (lambda text: f"\x1b[2m{text}\x1b[0m")


def print_beside(word: str, width: int, text: str, style: Callable[[str], str] = str) -> None:
    """A word and text beside it, which is broken so that it stays beside it, in the width of the terminal."""
    columns = shutil.get_terminal_size().columns
    for paragraph in text.split("\n"):
        lines = textwrap.wrap(paragraph, max(20, columns - width - 1), break_long_words=False, break_on_hyphens=False)
        for line in lines or [""]:
            print(f"{word:<{width}} {style(line)}".rstrip())
            word = ""


def print_json(content: Any) -> None:
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


def open_console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def advise(text: str) -> None:
    print(f"next: {text}", file=sys.stderr)


class Phases:
    """One live line for what goes on; in a pipe, a plain line for what matters."""

    def __init__(self) -> None:
        self.console = open_console()
        self.status = self.console.status("starting") if self.console.is_terminal else None

    def __enter__(self) -> Phases:
        if self.status:
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.status:
            self.status.stop()

    def say(self, text: str) -> None:
        """A phase begins. Several lines are a plan: they stay, and the training shows itself below them."""
        text = "\n".join(map(printable, text.split("\n")))
        if "\n" in text:
            if self.status:
                self.status.stop()
            if self.console.is_terminal:
                # What is too long for the line goes on below its own column, not below the words that name it.
                lines = (
                    textwrap.fill(line, self.console.width, subsequent_indent=9 * " ") for line in text.split("\n")
                )
                text = "\n".join(lines) + "\n"
            self.console.print(text)
        elif self.status:
            self.status.update(text)
            self.status.start()

    def listener(self) -> Listener:
        """Who shows a training below what stays: live, or in a pipe a line an epoch."""
        from iconoclass.training.progress import Lines, Live

        return Live(self.console) if self.console.is_terminal else Lines()

    def leave(self, text: str) -> None:
        """Lines that stay, above the live one."""
        self.console.print("\n".join(map(printable, text.split("\n"))))

    def tell(self, doing: str, done: int, total: int) -> None:
        if self.status:
            self.status.update(f"{doing} {done:,} of {total:,} pictures")

    def fetched(self, name: str, done_bytes: int, total_bytes: int | None) -> None:
        if self.status:
            of = f" of {total_bytes / 1e6:,.1f}" if total_bytes else ""
            self.status.update(f"fetching {name}: {done_bytes / 1e6:,.1f}{of} MB")
