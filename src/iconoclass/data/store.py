"""Arrays decoded once, kept in the user's cache under a key of their content and settings, and mapped from there."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.files import cache_folder, sha256_of, write_json

VERSION = 3  # of what is stored; raised when decoding or resizing changes what comes out

Array = npt.NDArray[Any]


def key_of(*parts: Any) -> str:
    """A key for whatever decides the content: equal parts give equal keys, here and on other machines."""
    return sha256_of(json.dumps([VERSION, *parts], default=str).encode())[:32]


def stored(key: str, make: Callable[[Path], dict[str, Any]]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and facts kept under a key; made first if they are not there.

    make: writes `NAME.npy` files into the folder that it is given, and returns facts for JSON.
    Returns: arrays by name, mapped read-only, and the facts. What was half written by a killed process is never seen:
    the folder gets its name when all of it is there. What was damaged since is seen by its digest, and made anew.
    """
    folder = cache_folder("pixels") / key
    try:
        return _opened(folder)
    except (OSError, ValueError, TypeError, KeyError):  # not there, or damaged
        shutil.rmtree(folder, ignore_errors=True)
    staging = folder.with_name(f".{key}.{secrets.token_hex(4)}")
    staging.mkdir()
    try:
        facts = make(staging)
        digests = {path.stem: sha256_of(path) for path in staging.glob("*.npy")}
        write_json(staging / "facts.json", {"facts": facts, "sha256": digests})
        try:
            staging.rename(folder)
        except OSError:
            # Another process was faster, with the same content: the key says so.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _opened(folder)


def _opened(folder: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    kept = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    paths = {name: folder / f"{name}.npy" for name in kept["sha256"]}
    if any(sha256_of(path) != kept["sha256"][name] for name, path in paths.items()):
        raise ValueError(f"{folder} is damaged")
    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}, kept["facts"]
