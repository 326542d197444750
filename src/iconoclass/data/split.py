"""Who learns, who chooses and who judges: seeded, stratified, grouped.

Every example has a key: where it is grouped, its group; else its content. Held out are the keys whose hash comes first.
So identical pictures always land together, whatever their order, and few pictures move when others join the folder:
of 100 in a class and 20 new ones, usually none to three, those whose hash lies at the edge.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt


def keys_of(groups: Sequence[str], digests: Sequence[str], links: Collection[tuple[int, int]] = ()) -> Sequence[str]:
    """What must stay together, as one key for each example: its group, or its content if it has none ("").

    Copies of one picture stay together even where they were put in several groups, or where one of them has none.
    links: pairs of positions that must stay together too, such as near-duplicates; they join the groups of both.
    """
    if not links and not any(groups):
        return digests
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
    for one, other in links:
        first, second = sorted((root((1, digests[one])), root((1, digests[other]))))
        parent[second] = first
    return [root((1, digest))[1] for digest in digests]


def held_out(
    labels: npt.NDArray[np.int32], keys: Iterable[str], share: float, seed: int, purpose: str
) -> npt.NDArray[np.bool_]:
    """Which examples are held out: about `share` of every class, whole keys only.

    labels: int32 (n,); keys: n strings. A class keeps at least one key on each side where it has two or more that it
    shares with no other class. Of keys of one example each, the share is right to within one example a class.
    Returns: bool (n,).
    """
    ranks = np.fromiter((_rank(key, seed, purpose) for key in keys), "S16", len(labels))
    # From here on a key is a run of equal ranks, and in it the examples of a class are one run.
    order = np.lexsort((labels, ranks))
    is_first = np.append(True, ranks[order[1:]] != ranks[order[:-1]])[: len(order)]
    bounds = np.append(np.flatnonzero(is_first), len(order)).tolist()
    of_another_class = np.append(True, labels[order[1:]] != labels[order[:-1]])[: len(order)]
    left = Counter(labels[order[is_first | of_another_class]].tolist())
    ordered = labels[order].tolist()
    wanted = {label: max(1, round(share * count)) for label, count in Counter(ordered).items()}
    held = np.zeros(len(labels), bool)
    empty, short = set(left), set(left)  # classes of which none is held, and too few

    def sizes(key: int) -> Counter[int]:
        return Counter(ordered[bounds[key] : bounds[key + 1]])

    def hold(key: int) -> None:
        held[order[bounds[key] : bounds[key + 1]]] = True
        for label, count in sizes(key).items():
            empty.discard(label)
            wanted[label] -= count
            left[label] -= 1
            if wanted[label] <= 0:
                short.discard(label)

    for key in range(len(bounds) - 1):
        # Every class in it keeps a key to learn from, and comes no further from its share than it was.
        if all(left[label] >= 2 and 2 * wanted[label] >= count for label, count in sizes(key).items()):
            hold(key)
        if not short:
            break
    # Where every key of a class is larger than its share, the smallest one has to do.
    for key in np.argsort(np.diff(bounds), kind="stable").tolist() if empty else ():
        if empty & set(sizes(key)) and all(left[label] >= 2 for label in sizes(key)):
            hold(key)
    return held


def folds(
    labels: npt.NDArray[np.int32], keys: Iterable[str], count: int, seed: int, purpose: str
) -> npt.NDArray[np.int64]:
    """Which of `count` folds each example is in: whole keys only, and of every class about the same number in each.

    labels: int32 (n,); keys: n strings. Large keys come first, so that small ones can even out what they left.
    Returns: int64 (n,), from 0 to count - 1.
    """
    members: dict[str, list[int]] = {}
    for at, key in enumerate(keys):
        members.setdefault(key, []).append(at)
    ordered = sorted(members, key=lambda key: (-len(members[key]), _rank(key, seed, purpose)))
    filled = np.zeros((count, int(labels.max(initial=0)) + 1), np.int64)
    found = np.zeros(len(labels), np.int64)
    for key in ordered:
        inside = np.bincount(labels[members[key]], minlength=filled.shape[1])
        # Where the classes of this key are fewest; among equals, where there is least of all.
        fold = int(np.lexsort((filled.sum(axis=1), filled @ inside))[0])
        filled[fold] += inside
        found[members[key]] = fold
    return found


def learned_and_held(
    labels: npt.NDArray[np.int32], keys: Iterable[str], most: int, seed: int, purpose: str
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Positions to learn from and positions held out, for each of at most `most` folds.

    As many folds as the smallest class has keys. None, where that is one, or where a class would be held out whole.
    """
    keys = list(keys)
    numbers = np.unique(np.array(keys), return_inverse=True)[1]
    distinct = np.unique(np.stack([labels, numbers]), axis=1)[0]
    count = min(most, int(np.bincount(distinct)[np.unique(labels)].min()))
    if count < 2:
        return []
    fold_of = folds(labels, keys, count, seed, purpose)
    found = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(count)]
    classes = len(np.unique(labels))
    return found if all(len(np.unique(labels[learned])) == classes for learned, _ in found) else []


def _rank(key: str, seed: int, purpose: str) -> bytes:
    return hashlib.blake2b(f"{purpose}\0{seed}\0{key}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
