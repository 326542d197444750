"""Who learns, who chooses and who judges: seeded, stratified, grouped.

Every example has a key: where it is grouped, its group; else its content. Held out are the keys whose hash comes first.
So identical pictures always land together, and a picture does not move when others join the folder far from the edge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def held_out(
    labels: npt.NDArray[np.int32], keys: Sequence[str], share: float, seed: int, purpose: str
) -> npt.NDArray[np.bool_]:
    """Which examples are held out: about `share` of every class, whole keys only.

    labels: int32 (n,); keys: n strings. A class keeps at least one key on each side where it has two or more.
    Returns: bool (n,).
    """
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    keys_of_class: dict[int, int] = {}
    for rows in members.values():
        for label in {int(labels[row]) for row in rows}:
            keys_of_class[label] = keys_of_class.get(label, 0) + 1

    counts = np.bincount(labels)
    wanted = {label: max(1, round(share * int(counts[label]))) for label in keys_of_class}
    left = dict(keys_of_class)
    held = np.zeros(len(labels), bool)
    for key in sorted(members, key=lambda key: _rank(key, seed, purpose)):
        rows = members[key]
        classes = {int(labels[row]) for row in rows}
        # Taken if every class in it still has room and keeps a key to learn from.
        if all(wanted[label] >= 1 and left[label] >= 2 for label in classes):
            held[rows] = True
            for row in rows:
                wanted[int(labels[row])] -= 1
            for label in classes:
                left[label] -= 1
    return held


def _rank(key: str, seed: int, purpose: str) -> bytes:
    return hashlib.blake2b(f"{purpose}\0{seed}\0{key}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
