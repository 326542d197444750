"""Arrays decoded once, kept in the user's cache under a key of their content and settings, and mapped from there."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from iconoclass.files import cache_folder, sha256_of, sweep, write_json

VERSION = 4  # of what is stored; raised when decoding or resizing changes what comes out

Array = npt.NDArray[Any]


class Texts(Sequence[str]):
    """Strings kept as one array of bytes, decoded as they are asked for: a million cost what their letters cost.

    encoded: bytes (n,), UTF-8.
    """

    def __init__(self, encoded: npt.NDArray[np.bytes_]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self.encoded)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        return list(Texts(self.encoded[at])) if isinstance(at, slice) else self.encoded[at].decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


def chosen(texts: Sequence[str], positions: npt.NDArray[np.integer[Any]]) -> Sequence[str]:
    """Those at the positions, kept as they were."""
    return Texts(texts.encoded[positions]) if isinstance(texts, Texts) else [texts[at] for at in positions]


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
    sweep(folder.parent)
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
    return _opened(folder, is_new=True)


def write_pixels(path: Path, shape: tuple[int, ...], pieces: Iterable[Array]) -> None:
    """An .npy file of bytes, piece after piece: all of it is never in memory."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, np.uint8).data)


def _opened(folder: Path, *, is_new: bool = False) -> tuple[dict[str, Array], dict[str, Any]]:
    kept = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    paths = {name: folder / f"{name}.npy" for name in kept["sha256"]}
    if not is_new and any(sha256_of(path) != kept["sha256"][name] for name, path in paths.items()):
        raise ValueError(f"{folder} is damaged")
    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}, kept["facts"]
