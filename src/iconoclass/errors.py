"""What can go wrong, as a tree: each error has a code to look up, an exit status and a hint that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Thing = TypeVar("Thing")


class IconoclassError(Exception):
    """A mistake or a fault that a person can do something about.

    what: what is wrong, with the value that was received.
    hint: what to do about it.
    code: the word to search for, where one class of error has several.

    >>> str(DataError("photos/ holds no images", hint="Give a folder with one sub-folder a class."))
    'error[DATA]: photos/ holds no images. Give a folder with one sub-folder a class.'
    """

    code = "ERROR"
    exit_status = 1

    def __init__(self, what: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        what = " ".join([self.what, *getattr(self, "__notes__", ())])
        what = what if what.endswith((".", "?", "!", "\n")) else what + "."
        space = "" if what.endswith("\n") else " "
        return f"error[{self.code}]: {what}{space}{self.hint}".rstrip()


class UsageError(IconoclassError):
    """The command or the call is not one of ours: an option, a name, a value out of range."""

    code = "USAGE"
    exit_status = 2


class ConfigError(IconoclassError):
    """A configuration file holds a key or a value that is not allowed."""

    code = "CONFIG"
    exit_status = 3


class DataError(IconoclassError):
    """The data cannot be learned from or judged as they are."""

    code = "DATA"
    exit_status = 3


class ImageError(DataError):
    """One image is refused. `code` says why: IMG_EMPTY, IMG_NOT_IMAGE, IMG_FORMAT, IMG_TRUNCATED, IMG_CORRUPT,
    IMG_TOO_MANY_PIXELS, IMG_BAD_SHAPE, IMG_UNREADABLE.
    """

    code = "IMG_CORRUPT"


class ImageShapeError(ImageError):
    """An array does not have the shape or dtype of an image."""

    code = "IMG_ARRAY"


class RunError(IconoclassError):
    """A folder is not a run, or not one that this can be done with."""

    code = "RUN"
    exit_status = 3


class EnvironmentFault(IconoclassError):
    """The machine refuses: disk, permission, network, port, a missing extra."""

    code = "ENVIRONMENT"
    exit_status = 4


class DownloadError(EnvironmentFault):
    """A file could not be fetched, or what came was not what was asked for."""

    code = "DOWNLOAD"


class IntegrityError(IconoclassError):
    """Refused as unsafe or corrupt."""

    code = "INTEGRITY"
    exit_status = 5


class DivergedError(IconoclassError):
    """Training ran into NaN or infinity."""

    code = "DIVERGED"
    exit_status = 6


class WorseError(IconoclassError):
    """A run is surely worse than the one that it is compared with, and that was asked for as a failure."""

    code = "WORSE"
    exit_status = 7


class Interrupted(IconoclassError):
    """Stopped by Ctrl-C; what there was has been kept."""

    code = "INTERRUPTED"
    exit_status = 130


class Terminated(Interrupted):
    """Stopped by SIGTERM, as a system does that shuts down; what there was has been kept."""

    code = "TERMINATED"
    exit_status = 143


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """A hint that names the nearest allowed word, or else all of them.

    >>> did_you_mean("mnits", ["mnist", "cifar10"])
    "Did you mean 'mnist'? Allowed: mnist, cifar10."
    """
    allowed = list(allowed)
    near = difflib.get_close_matches(word.lower(), allowed, n=1, cutoff=0.5)
    nearest = f"Did you mean '{near[0]}'? " if near else ""
    return f"{nearest}Allowed: {', '.join(allowed)}."


def pick(table: Mapping[str, Thing], word: str, what: str) -> Thing:
    """The entry that a user named.

    Raises: UsageError, if the table has no such entry; it suggests the nearest.

    >>> pick({"sgd": 1}, "sdg", "optimizer")
    Traceback (most recent call last):
        ...
    iconoclass.errors.UsageError: error[UNKNOWN_NAME]: there is no optimizer 'sdg'. Did you mean 'sgd'? Allowed: sgd.
    """
    if word not in table:
        raise UsageError(f"there is no {what} '{word}'", hint=did_you_mean(word, table), code="UNKNOWN_NAME")
    return table[word]
