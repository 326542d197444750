"""Who learns, who chooses and who judges: seeded, stratified, grouped.

Every example has a key: where it is grouped, its group; else its content. Held out are the keys whose hash comes first.
So identical pictures always land together, whatever their order, and few pictures move when others join the folder:
of 100 in a class and 20 new ones, usually none to three, those whose hash lies at the edge.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def keys_of(groups: Sequence[str], digests: Sequence[str]) -> list[str]:
    """What must stay together, as one key for each example: its group, or its content if it has none ("").

    Copies of one picture stay together even where they were put in several groups, or where one of them has none.
    """
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(key: tuple[int, str]) -> tuple[int, str]:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = parent[above]
            key = above
        return key

    for group, digest in zip(groups, digests, strict=True):
        if group:
            # Groups come before contents, so that a group keeps its key, and with it its split, when it grows.
            first, second = sorted((root((0, group)), root((1, digest))))
            parent[second] = first
    return [root((1, digest))[1] for digest in digests]


def held_out(
    labels: npt.NDArray[np.int32], keys: Sequence[str], share: float, seed: int, purpose: str
) -> npt.NDArray[np.bool_]:
    """Which examples are held out: about `share` of every class, whole keys only.

    labels: int32 (n,); keys: n strings. A class keeps at least one key on each side where it has two or more that it
    shares with no other class. Of keys of one example each, the share is right to within one example a class.
    Returns: bool (n,).
    """
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    sizes = {key: Counter(labels[rows].tolist()) for key, rows in members.items()}
    left = Counter(label for size in sizes.values() for label in size)
    wanted = {label: max(1, round(share * count)) for label, count in Counter(labels.tolist()).items()}
    held = np.zeros(len(labels), bool)
    empty = set(left)

    def hold(key: str) -> None:
        held[members[key]] = True
        empty.difference_update(sizes[key])
        for label, count in sizes[key].items():
            wanted[label] -= count
            left[label] -= 1

    ranked = sorted(members, key=lambda key: _rank(key, seed, purpose))
    for key in ranked:
        # Every class in it keeps a key to learn from, and comes no further from its share than it was.
        if all(left[label] >= 2 and 2 * wanted[label] >= count for label, count in sizes[key].items()):
            hold(key)
    # Where every key of a class is larger than its share, the smallest one has to do.
    for key in sorted(ranked, key=lambda key: len(members[key])) if empty else ():
        if empty & set(sizes[key]) and all(left[label] >= 2 for label in sizes[key]):
            hold(key)
    return held


def _rank(key: str, seed: int, purpose: str) -> bytes:
    return hashlib.blake2b(f"{purpose}\0{seed}\0{key}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
