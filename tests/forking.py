"""Programs that are killed, again and again, without importing Keras each time: they fork for each request.

A program reads requests, a line of JSON each, says "pid N", whatever it wants to say of its progress, and
"ended STATUS".
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iconoclass.errors import IconoclassError


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def obey(work: Callable[[dict[str, Any]], None]) -> None:
    """What such a program does: each request in a child of its own, which ends as the command line would."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(_status_of(work, json.loads(line)))
        say(f"pid {child}")
        say(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


def _status_of(work: Callable[[dict[str, Any]], None], request: dict[str, Any]) -> int:
    try:
        work(request)
    except IconoclassError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except Exception:
        traceback.print_exc()
        return 1
    return 0


class Mortal:
    """A program of these tests at work: what it is asked, in another process, which can be killed."""

    def __init__(self, program: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name(program))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.program = program

    def ask(self, request: dict[str, Any], kill_s: float | None = None, after: str = "pid") -> int:
        """The exit status. kill_s: it is killed so long after it has said that word for the first time."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        said: dict[str, int] = {}
        for line in self.process.stdout:
            word, *number = line.split()
            said[word] = int(*number)
            if word == "ended":
                return said["ended"]
            if kill_s is not None and {"pid", after} <= said.keys():
                time.sleep(kill_s)
                with contextlib.suppress(ProcessLookupError):  # it was faster
                    os.kill(said["pid"], signal.SIGKILL)
                kill_s = None
        raise AssertionError(f"tests/{self.program} died")

    def end(self) -> None:
        with self.process as process:
            process.kill()
