"""Look at every picture before an hour is spent on them: what cannot be read is left out, what may mislead is named."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from iconoclass.config import DataConfig
from iconoclass.data.decisions import Decided, Decision, decide, read_decisions
from iconoclass.data.duplicates import Tell
from iconoclass.data.findings import Pictures, find
from iconoclass.data.folder import Example, Found
from iconoclass.data.look import ChangedError, File, Looked, Refusal, each, look, or_refusal
from iconoclass.data.store import Array, key_of, stored
from iconoclass.errors import DataError
from iconoclass.images.decode import Header
from iconoclass.images.prepare import prepare

LOOKS = 3  # at files that change under our eyes
LARGEST_SIDE = 96  # pixels; without a backbone, more detail costs time and teaches little
BACKBONE_SIDE = 224  # what backbones were pretrained at
PHOTO_SIDE = 128  # pictures whose usual short side is this or more are photographs


Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Checked:
    """examples: the ones that are used; pixels: uint8 (files, height, width, channels); rows: where in it each one is;
    sha256: of each one's file; links: pairs of them that must not be divided; findings: what check.json says;
    are_photos: photographs, large enough to see.
    """

    examples: list[Example]
    pixels: Array
    rows: Array
    sha256: list[str]
    links: list[tuple[int, int]]
    findings: dict[str, Any]
    are_photos: bool


def check(
    found: Found, config: DataConfig, where: str, tell: Tell | None = None, *, for_backbone: bool | None = None
) -> Checked:
    """Every picture decoded to one size into the user's cache; a second look at the same content maps it from there.

    for_backbone: the size that is taken unless one is set is a backbone's, or that of a network which learns from
        nothing; None: what photographs get is a backbone's.
    A file that changes or vanishes meanwhile makes us look again, so that what is kept is what the digests say.
    Raises: DataError, if more than `max_bad` of the files cannot be read, a class loses all of its files, or the
    decisions are wrong; with `strict`, for what `refuse_if_strict` names.
    """
    decided = decide(found.examples, decisions_of(config, found))

    def attempt() -> Checked:
        looked = look([example.path for example in found.examples], where, tell)
        bad = _unreadable(looked, decided)
        _refuse_if_too_bad(decided, bad, config.max_bad, where)
        pixels, late, are_photos = _decoded(looked, config, tell, for_backbone)
        bad |= {row: why for row, why in late.items() if decided.examples[row].name not in decided.excluded}
        _refuse_if_too_bad(decided, bad, config.max_bad, where)
        looked.bad.update(late)
        pictures = Pictures.of(looked, decided)
        findings = find(found, pictures, bad, decided)
        if config.strict:
            refuse_if_strict(findings, where)
        return Checked(pictures.examples, pixels, pictures.at, pictures.sha256, pictures.links, findings, are_photos)

    return _until_still(attempt, config.strict, where)


def inspect(found: Found, config: DataConfig, where: str, tell: Tell | None = None) -> dict[str, Any]:
    """The findings alone, whatever they are: nothing is decoded for a model, and nothing refused.

    Raises: DataError, if the decisions are wrong or files never stop changing.
    """
    decided = decide(found.examples, decisions_of(config, found))

    def attempt() -> dict[str, Any]:
        looked = look([example.path for example in found.examples], where, tell)
        return find(found, Pictures.of(looked, decided), _unreadable(looked, decided), decided)

    return _until_still(attempt, config.strict, where)


def decisions_of(config: DataConfig, found: Found) -> list[Decision]:
    if not config.decisions:
        return []
    names, classes = ({getattr(example, what) for example in found.examples} for what in ("name", "class_name"))
    return read_decisions(Path(config.decisions).expanduser(), names, classes)


def refuse_if_strict(findings: dict[str, Any], where: str) -> None:
    """Raises: DataError, for what else is only noted: pictures in two given parts or under two classes, lost files."""
    lost = [bad["image"] for bad in findings["unreadable"] if "no such file" in bad["reason"]]
    said = [
        *(
            f"{' and '.join(leak['images'])}: one in {leak['splits'][0]}, one in {leak['splits'][1]}"
            for leak in findings.get("leaks", ())
        ),
        *(
            f"{' and '.join(one['images'])}: one picture under {' and '.join(one['classes'])}"
            for one in findings.get("conflicts", ())
        ),
        *(f"{name}: vanished" for name in lost),
    ]
    if said:
        hint = "Decide on them in the decisions.csv that `iconoclass check` writes, or leave out --strict."
        raise DataError(f"{len(said)} faults in {where}:\n  {_shown(said)}\n", hint=hint)


def _until_still(attempt: Callable[[], Seen], is_strict: bool, where: str) -> Seen:
    changed = Path()
    for _ in range(1 if is_strict else LOOKS):
        try:
            return attempt()
        except ChangedError as error:
            changed = error.args[0]
    raise DataError(
        f"files in {where} change while they are read: {changed.name}", hint="Wait until they are all there."
    )


def _unreadable(looked: Looked, decided: Decided) -> dict[int, Refusal]:
    """Those that nobody has decided to leave out."""
    return {row: why for row, why in looked.bad.items() if decided.examples[row].name not in decided.excluded}


def _decoded(
    looked: Looked, config: DataConfig, tell: Tell | None, for_backbone: bool | None
) -> tuple[Array, dict[int, Refusal], bool]:
    """The pixels of all files at a model's size; which of them, by row, could not be decoded; are they photographs?"""
    good = [at for at, row in enumerate(looked.rows) if row not in looked.bad]
    facts = looked.facts[good]
    are_photos = _usual_short_side(facts) >= PHOTO_SIDE
    is_large = are_photos if for_backbone is None else for_backbone
    height, width = config.image_size or (2 * (BACKBONE_SIDE,) if is_large else _natural_size(facts))
    is_grey = all(Header("", mode.decode(), 0, 0).is_grey for mode in np.unique(facts["mode"]))
    shape = (height, width, {"grey": 1, "rgb": 3}.get(config.color or "", 1 if is_grey else 3))
    key = key_of("pictures", looked.digests, shape, config.resize)
    arrays, made = stored(key, lambda folder: _decode_all(looked.files, shape, config.resize, folder, tell))
    late = {looked.rows[at]: Refusal(code, reason) for at, code, reason in made["bad"]}
    return arrays["pixels"], late, are_photos and min(height, width) >= PHOTO_SIDE


def _decode_all(
    files: Sequence[File], shape: tuple[int, int, int], how: str, folder: Path, tell: Tell | None
) -> dict[str, Any]:
    bad: list[tuple[int, str, str]] = []
    read = or_refusal(lambda content: prepare(content, shape, how))
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(files), *shape))
    for row, result in enumerate(each(read, files, "Decoding", tell)):
        if isinstance(result, Refusal):
            bad.append((row, *result))
        else:
            pixels[row] = result
    pixels.flush()
    del pixels  # Windows does not rename a folder that holds a mapped file
    return {"bad": bad}


def _natural_size(facts: Array) -> tuple[int, int]:
    """The size that all pictures share, if it is small; else a square of the usual short side, at most LARGEST_SIDE."""
    sizes = set(zip(facts["height"].tolist(), facts["width"].tolist(), strict=True))
    if len(sizes) == 1 and min(size := next(iter(sizes))) >= 8 and max(size) <= LARGEST_SIDE:
        return size
    side = int(min(LARGEST_SIDE, max(8, _usual_short_side(facts))))
    return side, side


def _usual_short_side(facts: Array) -> float:
    return float(statistics.median(np.minimum(facts["height"], facts["width"]).tolist() or [LARGEST_SIDE]))


def _refuse_if_too_bad(decided: Decided, bad: dict[int, Refusal], max_bad: float, where: str) -> None:
    used = {row: example for row, example in enumerate(decided.examples) if example.name not in decided.excluded}
    total = len(used)
    shown = _shown([f"{used[row].name} [{code}] {reason}" for row, (code, reason) in sorted(bad.items())])
    if len(bad) > max_bad * total:
        hint = f"Mend or remove them, or allow them to be left out: --max-bad {_enough(len(bad) / total)}"
        raise DataError(f"{len(bad)} of the {total} files in {where} cannot be read:\n  {shown}\n", hint=hint)
    alive = {example.class_name for row, example in used.items() if row not in bad}
    if dead := {example.class_name for example in used.values()} - alive:
        raise DataError(f"no file of {', '.join(sorted(dead))} in {where} can be read:\n  {shown}\n")
    if not used:
        raise DataError(f"all {len(decided.examples)} pictures in {where} are excluded by decisions")


def _shown(listed: Sequence[str]) -> str:
    more = [f"... and {len(listed) - 1000} more"] if len(listed) > 1000 else []
    return "\n  ".join([*listed[:1000], *more])


def _enough(share: float) -> str:
    return f"{min(100, int(share * 100) + 1)}%"
