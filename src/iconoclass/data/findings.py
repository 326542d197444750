"""What is wrong with pictures, or may mislead who learns from them, as a plain dictionary: what check.json says."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from iconoclass.data import duplicates
from iconoclass.data.decisions import Decided
from iconoclass.data.folder import Example, Found
from iconoclass.data.look import Looked, Refusal
from iconoclass.images.likeness import FACTS
from iconoclass.intervals import auc_interval

FEW = 20  # different pictures of a class: below this little is learned, and less is told about it
UNEVEN = 10  # times larger than the smallest class
DARK, BRIGHT = 50, 205  # levels that nearly all of a picture lies below, or above
BLURRED = 0.35  # of the usual sharpness
TINY = 8  # pixels, or an eighth of the usual side
TELLING = 0.8  # AUC: where its interval lies above, one property of the file tells a class from all others

SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png", ".apng"},
    "GIF": {".gif"},
    "WEBP": {".webp"},
    "BMP": {".bmp"},
}


class Same(NamedTuple):
    """Two pictures that should not be on two sides, as positions. kind: exact, near or burst."""

    first: int
    second: int
    kind: str
    likeness: float = 1.0
    is_mirrored: bool = False


@dataclass(frozen=True)
class Pictures:
    """The pictures that are used. at: where each one is in what was looked at."""

    examples: list[Example]
    at: npt.NDArray[np.int64]
    looked: Looked

    @classmethod
    def of(cls, looked: Looked, decided: Decided) -> Pictures:
        kept = [
            (at, decided.examples[row])
            for at, row in enumerate(looked.rows)
            if row not in looked.bad and decided.examples[row].name not in decided.excluded
        ]
        return cls([example for _, example in kept], np.array([at for at, _ in kept], np.int64), looked)

    @cached_property
    def facts(self) -> npt.NDArray[np.void]:
        return np.asarray(self.looked.facts[self.at], FACTS)

    @cached_property
    def sha256(self) -> list[str]:
        return [self.looked.digests[at] for at in self.at]

    @cached_property
    def copies(self) -> dict[str, list[int]]:
        """Positions by content, in order."""
        copies: dict[str, list[int]] = {}
        for position, digest in enumerate(self.sha256):
            copies.setdefault(digest, []).append(position)
        return copies

    @property
    def are_compared(self) -> bool:
        return len(self.copies) <= duplicates.MOST

    @cached_property
    def same(self) -> list[Same]:
        """Exact copies, near-duplicates, then bursts. Of copies, each is paired with the first."""
        digests, copies = self.looked.digests, self.copies
        exact = [Same(at[0], other, "exact") for at in copies.values() for other in at[1:]]
        near = [
            Same(min(first, second), max(first, second), "near", round(alike, 3), is_mirrored)
            for one, other, alike, is_mirrored in (_rows(self.looked.pairs) if self.are_compared else ())
            for first in copies.get(digests[one], [])[:8]
            for second in copies.get(digests[other], [])[:8]
        ]
        known = {(same.first, same.second) for same in near}
        taken = [Same(*pair, "burst") for pair in self._bursts() if tuple(sorted(pair)) not in known]
        return exact + near + taken

    def _bursts(self) -> list[tuple[int, int]]:
        names, classes = zip(*((example.name, example.class_name) for example in self.examples), strict=True)
        return duplicates.bursts(names, classes, self.facts["taken"], self.looked.thumbnails, self.at)

    @property
    def links(self) -> list[tuple[int, int]]:
        """Positions that must not be divided, beyond those of one content."""
        return [(same.first, same.second) for same in self.same if same.kind != "exact"]


def _rows(pairs: duplicates.Pairs) -> Iterator[tuple[int, int, float, bool]]:
    columns = (pairs.first, pairs.second, pairs.likeness, pairs.is_mirrored)
    return zip(*(column.tolist() for column in columns), strict=True)


def find(found: Found, pictures: Pictures, bad: dict[int, Refusal], decided: Decided) -> dict[str, Any]:
    """What check.json says. Names come from this look, not from the cache, which knows content only."""
    names = [example.name for example in pictures.examples]
    counts = Counter(example.class_name for example in pictures.examples)
    findings = {
        "images": len(names),
        "classes": dict(sorted(counts.items())),
        "splits": dict(Counter(example.split for example in pictures.examples if example.split)),
        "unreadable": [
            {"image": found.examples[row].name, "code": refusal.code, "reason": refusal.reason}
            for row, refusal in sorted(bad.items())
        ],
        "left_out": [{"image": name, "reason": reason} for name, reason in found.left_out],
        "ignored": found.ignored,
        **decided.said,
    }
    if not names:
        return findings | {key: [] for key in ("leaks", "conflicts", "exact_copies", *ODD)}
    return findings | {
        **_picture_facts(pictures.facts),
        **_same_pictures(pictures),
        "groups": _groups(pictures.examples),
        "small_classes": _small_classes(pictures),
        "imbalance": round(max(counts.values()) / min(counts.values()), 1),
        "shortcuts": _shortcuts(pictures),
        **_odd_ones(pictures.facts, names),
    }


def _picture_facts(facts: npt.NDArray[np.void]) -> dict[str, Any]:
    def counted(column: str) -> dict[str, int]:
        return dict(Counter(word.decode() for word in facts[column].tolist()).most_common())

    def spread(values: npt.NDArray[Any]) -> list[Any]:
        return [values.min().item(), statistics.median_low(values.tolist()), values.max().item()]

    aspects = np.round(facts["width"] / facts["height"], 3)
    return {
        "formats": counted("format"),
        "modes": counted("mode"),
        "width": spread(facts["width"]),
        "height": spread(facts["height"]),
        "aspect_ratio": spread(aspects),
        "brightness": spread(np.round(facts["brightness"].astype(float), 3)),
    }


def _groups(examples: Sequence[Example]) -> dict[str, int]:
    groups = Counter(example.group for example in examples if example.group)
    return {"groups": len(groups), "images": sum(groups.values())}


# -- the same picture twice ----------------------------------------------------------------------------------------


def _same_pictures(pictures: Pictures) -> dict[str, Any]:
    examples, same = pictures.examples, pictures.same

    def told(pair: Same, **more: Any) -> dict[str, Any]:
        said = {"images": [examples[pair.first].name, examples[pair.second].name], "kind": pair.kind}
        return said | ({"likeness": pair.likeness, "mirrored": pair.is_mirrored} if pair.kind == "near" else {}) | more

    def differing(pair: Same, field: str) -> list[str] | None:
        values = [getattr(examples[at], field) for at in (pair.first, pair.second)]
        return values if None not in values and values[0] != values[1] else None

    conflicts = [(pair, differing(pair, "class_name")) for pair in same if pair.kind != "burst"]
    leaks = [(pair, differing(pair, "split")) for pair in same]
    apart = {pair for pair, values in (*conflicts, *leaks) if values}
    copies = [group for group in _of_one_kind(pictures) if len(group) > 1]
    return {
        "leaks": [told(pair, splits=values) for pair, values in leaks if values],
        "conflicts": [told(pair, classes=values) for pair, values in conflicts if values],
        # What is left is of one class, and of one part where parts are given.
        "exact_copies": [{"images": [examples[at].name for at in group]} for group in copies],
        "near_duplicates": [told(pair) for pair in same if pair.kind == "near" and pair not in apart],
        "near_duplicates_searched": pictures.are_compared,
        "bursts": [[examples[at].name for at in group] for group in _chains(same, "burst")],
    }


def _of_one_kind(pictures: Pictures) -> Iterator[list[int]]:
    """Positions of copies byte for byte that are of one class and one given part."""
    for positions in pictures.copies.values():
        if len(positions) > 1:
            parts: dict[tuple[str, str | None], list[int]] = {}
            for at in positions:
                parts.setdefault((pictures.examples[at].class_name, pictures.examples[at].split), []).append(at)
            yield from parts.values()


def _chains(same: Sequence[Same], kind: str) -> list[list[int]]:
    """Positions that hang together by pairs of one kind."""
    of: dict[int, list[int]] = {}
    for pair in same:
        if pair.kind == kind:
            joined = of.get(pair.first, [pair.first])
            other = of.get(pair.second, [pair.second])
            if joined is not other:
                joined += other
                of |= dict.fromkeys(joined, joined)
    return sorted(sorted(chain) for chain in {id(chain): chain for chain in of.values()}.values())


# -- classes -------------------------------------------------------------------------------------------------------


def _small_classes(pictures: Pictures) -> dict[str, int]:
    """Class -> how many different pictures, where these are few."""
    different = Counter(pictures.examples[positions[0]].class_name for positions in pictures.copies.values())
    return {name: count for name, count in sorted(different.items()) if count < FEW}


def _shortcuts(pictures: Pictures) -> list[dict[str, Any]]:
    """Classes that one property of the file, which is not what the picture shows, tells from all others."""
    names, labels = np.unique([example.class_name for example in pictures.examples], return_inverse=True)
    counts = np.bincount(labels)
    shortcuts = []
    for what, values in _properties(pictures.facts).items() if len(names) > 1 else ():
        ranks = _midranks(values)
        others = len(labels) - counts
        aucs = (np.bincount(labels, ranks) - counts * (counts + 1) / 2) / (counts * others)
        for at in np.flatnonzero(np.maximum(aucs, 1 - aucs) >= TELLING):
            auc = max(aucs[at], 1 - aucs[at])
            estimate = auc_interval(float(auc), int(counts[at]), int(others[at]))
            if (estimate.low or 0) >= TELLING:
                figures = {name: round(value or 0, 3) for name, value in estimate.as_json().items()}
                side = "more" if aucs[at] >= 0.5 else "less"
                shortcuts.append({"class": str(names[at]), "by": what, "has": side, "auc": figures})
    return sorted(shortcuts, key=lambda shortcut: -shortcut["auc"]["low"])


def _properties(facts: npt.NDArray[np.void]) -> dict[str, npt.NDArray[np.float64]]:
    pixels = facts["width"].astype(float) * facts["height"]
    properties = {
        "brightness": facts["brightness"].astype(float),
        "sharpness": facts["sharpness"].astype(float),
        "size": pixels,
        "aspect ratio": facts["width"] / facts["height"],
        "bytes per pixel": facts["bytes"] / pixels,
    }
    formats = np.unique(facts["format"])
    return properties | {
        f"format {word.decode()}": (facts["format"] == word).astype(float) for word in formats if len(formats) > 1
    }


def _midranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """float64 (n,): ranks from 1; equal values share the middle of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


# -- single pictures -----------------------------------------------------------------------------------------------


ODD = ("blank", "dark", "bright", "blurred", "tiny")


def _odd_ones(facts: npt.NDArray[np.void], names: Sequence[str]) -> dict[str, Any]:
    sides = np.minimum(facts["width"], facts["height"])
    is_blank = facts["brightest"].astype(int) - facts["darkest"] < duplicates.FLAT
    usual = float(np.median(facts["sharpness"][~is_blank])) if not is_blank.all() else 0.0
    are_odd = (
        is_blank,
        ~is_blank & (facts["brightest"] < DARK),
        ~is_blank & (facts["darkest"] > BRIGHT),
        ~is_blank & (sides >= 32) & (facts["sharpness"] < BLURRED * usual),
        sides < max(TINY, np.median(sides) / 8),
    )
    odd: dict[str, Any] = {
        kind: [names[int(at)] for at in np.flatnonzero(is_odd)] for kind, is_odd in zip(ODD, are_odd, strict=True)
    }
    suffixes = [f".{name.rpartition('.')[2]}".lower() if "." in name.rpartition("/")[2] else "" for name in names]
    formats = [word.decode() for word in facts["format"].tolist()]
    odd["mismatched"] = [
        {"image": name, "suffix": suffix, "format": kind}
        for name, suffix, kind in zip(names, suffixes, formats, strict=True)
        if suffix and suffix not in SUFFIXES[kind]
    ]
    odd["cmyk"] = int((facts["mode"] == b"CMYK").sum())
    return odd


# -- in words ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remark:
    """Something that was found, in words. examples: what it was found of; is_trouble: should a person look at it?"""

    key: str
    text: str
    examples: list[str]
    is_trouble: bool = True


def remarks(findings: dict[str, Any]) -> list[Remark]:
    """What was found, the most serious first."""

    def images(key: str) -> list[str]:
        return [" = ".join(entry["images"]) for entry in findings.get(key, ())]

    def pairs(key: str, field: str) -> list[str]:
        return [
            " = ".join(f"{image} ({said})" for image, said in zip(entry["images"], entry[field], strict=True))
            if field == "classes"
            else f"{' = '.join(entry['images'])} ({entry['kind']})"
            for entry in findings.get(key, ())
        ]

    def listed(key: str) -> list[str]:
        return list(findings.get(key, ()))

    bursts = [f"{group[0]} ... {group[-1]} ({len(group)})" for group in findings.get("bursts", ())]
    shortcuts = [
        f"{one['class']}: {one['has']} {one['by']} (AUC {_figures(one['auc'])})"
        for one in findings.get("shortcuts", ())
    ]
    small = [f"{name}: {count} different" for name, count in findings.get("small_classes", {}).items()]
    suffixes = [f"{one['image']} is {one['format']}" for one in findings.get("mismatched", ())]
    unreadable = [f"{bad['image']}: {bad['reason']}" for bad in findings["unreadable"]]
    uneven = [""] if findings.get("imbalance", 1) > UNEVEN else []
    late = [""] if not findings.get("near_duplicates_searched", True) else []
    listed_by_key = {
        "unreadable": unreadable,
        "leaks": pairs("leaks", "splits"),
        "conflicts": pairs("conflicts", "classes"),
        "small_classes": small,
        "shortcuts": shortcuts,
        "blank": listed("blank"),
        "exact_copies": images("exact_copies"),
        "near_duplicates": images("near_duplicates"),
        "near_duplicates_searched": late,
        "bursts": bursts,
        "imbalance": uneven,
        "dark": listed("dark"),
        "bright": listed("bright"),
        "blurred": listed("blurred"),
        "tiny": listed("tiny"),
        "mismatched": suffixes,
        "cmyk": [""] * findings.get("cmyk", 0),
    }
    return [
        Remark(
            key,
            (one if len(those) == 1 else many).format(len(those), ratio=findings.get("imbalance")),
            [text for text in those if text],
            key in TROUBLES,
        )
        for key, (one, many) in WORDING.items()
        if (those := listed_by_key[key])
    ]


TROUBLES = {"unreadable", "leaks", "conflicts", "small_classes", "shortcuts", "blank"}

# Of one, and of many; the most serious first.
WORDING = {
    "unreadable": ("1 file cannot be read and is left out", "{:,} files cannot be read and are left out"),
    "leaks": ("1 pair is in two of the given parts", "{:,} pairs are in two of the given parts"),
    "conflicts": ("1 picture is under two classes", "{:,} pictures are under two classes"),
    "small_classes": (
        f"1 class has fewer than {FEW} different pictures",
        f"{{:,}} classes have fewer than {FEW} different pictures",
    ),
    "shortcuts": (
        "1 property of the files alone tells a class from the rest",
        "{:,} properties of the files alone tell a class from the rest",
    ),
    "blank": ("1 picture is blank", "{:,} pictures are blank"),
    "exact_copies": ("1 picture has exact copies", "{:,} pictures have exact copies"),
    "near_duplicates": ("1 pair looks the same and is not divided", "{:,} pairs look the same and are not divided"),
    "near_duplicates_searched": (f"near-duplicates are looked for in at most {duplicates.MOST:,} pictures", ""),
    "bursts": ("1 burst is not divided", "{:,} bursts are not divided"),
    "imbalance": ("the largest class is {ratio:g} times the smallest", ""),
    "dark": ("1 picture is very dark", "{:,} pictures are very dark"),
    "bright": ("1 picture is very bright", "{:,} pictures are very bright"),
    "blurred": ("1 picture is much less sharp than the others", "{:,} pictures are much less sharp than the others"),
    "tiny": ("1 picture is tiny", "{:,} pictures are tiny"),
    "mismatched": (
        "1 suffix is not that of the format; it is read by content",
        "{:,} suffixes are not those of the formats; they are read by content",
    ),
    "cmyk": ("1 picture is in CMYK and converted to RGB", "{:,} pictures are in CMYK and converted to RGB"),
}


def _figures(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f}, {estimate['low']:.2f}-{estimate['high']:.2f}"
