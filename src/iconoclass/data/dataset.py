"""Dataset: pictures and labels in three splits, however they came in."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass import inline
from iconoclass.config import Config, DataConfig
from iconoclass.data import archive, check, duplicates, folder, split
from iconoclass.data.catalog import DATASETS, Entry, find
from iconoclass.data.decisions import read_decisions
from iconoclass.data.findings import remarks
from iconoclass.data.readers import Arrays, read_npz
from iconoclass.data.store import Array, Texts, chosen, key_of, stored, write_pixels
from iconoclass.errors import DataError, UsageError, did_you_mean
from iconoclass.fetch import Progress, fetch
from iconoclass.files import cache_folder, environment_folder, sha256_of
from iconoclass.images.resize import resize

Tell = duplicates.Tell

PIECE = 4096  # pictures in memory at once while all of them are gone through


@dataclass(frozen=True)
class Split:
    """Some rows of an array of pictures, with their labels and names.

    source: uint8 (all, height, width, channels); rows: int64 (n,) into it; labels: int32 (n,); names: n strings.
    """

    source: Array
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    names: Sequence[str]
    sha256: Sequence[str]
    groups: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """uint8 (len(positions), height, width, channels), read from disk now."""
        pixels: npt.NDArray[np.uint8] = np.asarray(self.source[self.rows[positions]])
        return pixels

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """All of it, uint8 (n, height, width, channels), in memory."""
        return self.take(np.arange(len(self)))

    def sample(self, at_most: int) -> Split:
        """At most so many examples, evenly spread, and the same ones each time."""
        return self if len(self) <= at_most else self.only(self.positions_of_sample(at_most))

    def positions_of_sample(self, at_most: int) -> npt.NDArray[np.int64]:
        """Where the examples of `sample` are: int64 (min(n, at_most),)."""
        if len(self) <= at_most:
            return np.arange(len(self))
        return np.linspace(0, len(self) - 1, at_most).astype(np.int64)

    def only(self, positions: npt.NDArray[np.integer[Any]]) -> Split:
        """The examples at these positions, as a split of their own."""
        return Split(
            self.source,
            self.rows[positions],
            self.labels[positions],
            chosen(self.names, positions),
            chosen(self.sha256, positions),
            chosen(self.groups, positions),
        )


@dataclass(frozen=True)
class Dataset:
    """Three splits of labelled pictures of one size.

    config: the [data] settings with nothing left open; class_names: in index order; notes: what a person should know;
    findings: of the look at every picture, where they came as files; test_was_drawn: it did not come with them;
    are_photos: photographs, large enough to see.
    """

    config: DataConfig
    title: str
    class_names: list[str]
    train: Split
    validation: Split
    test: Split
    has_mirror_images: bool
    notes: list[str] = field(default_factory=list)
    findings: dict[str, Any] | None = None
    test_was_drawn: bool = False
    are_photos: bool = False

    @property
    def name(self) -> str:
        """A short name, fit for a folder: the data set's own, or that of the file or folder."""
        name = Path(self.config.source).name if self.config.source not in DATASETS else self.config.source
        plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name.partition(".")[0])
        return plain.strip("-") or "images"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.train.source.shape[1:]
        return height, width, channels

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def parts(self) -> dict[str, Split]:
        """The splits, each once: where the test part also validates, there is no other validation."""
        twice = {"validation"} if self.validates_on_test else set()
        return {name: part for name, part in self.splits.items() if name not in twice}

    @property
    def validates_on_test(self) -> bool:
        return self.config.validation == "test"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every picture's content, class and split, in order."""
        digest = hashlib.sha256("\0".join(self.class_names).encode("utf-8", "surrogateescape"))
        for name, part in self.splits.items():
            digest.update(name.encode() + part.labels.tobytes())
            for picture in part.sha256:
                digest.update(picture.encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What dataset.json says."""
        height, width, channels = self.image_shape
        return {
            "title": self.title,
            "source": self.config.source,
            "class_names": self.class_names,
            "image_size": [height, width],
            "channels": channels,
            "resize": self.config.resize,
            "counts": {
                name: dict(zip(self.class_names, _counts(part.labels, len(self.class_names)), strict=True))
                for name, part in self.splits.items()
            },
            "validates_on_test": self.validates_on_test,
            "notes": self.notes,
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        parts = ", ".join(f"{len(part)} {name}" for name, part in self.splits.items())
        if self.validates_on_test:
            parts = f"{len(self.train)} train, {len(self.test)} test, also used to validate"
        size = f"{height} x {width} {'grey' if channels == 1 else 'colour'}"
        return f"Dataset({self.name}: {parts}; {len(self.class_names)} classes; {size})"

    def _repr_html_(self) -> str:
        """Sizes, how many of each class, some pictures and the notes, for a notebook."""
        height, width, channels = self.image_shape
        size = f"{height} x {width} pixels, {'grey' if channels == 1 else 'colour'}"
        return inline.card(
            self.title,
            inline.said(f"{sum(map(len, self.parts.values())):,} pictures of {len(self.class_names)} classes; {size}"),
            *(inline.said(note, quiet=True) for note in self.notes),
            inline.strips(("class", *self.parts), self._rows_by_class()),
        )

    def _rows_by_class(self, most: int = 20) -> Iterator[tuple[list[str], list[npt.NDArray[np.uint8]]]]:
        """Name, how many each part has, and some training pictures; of the first classes only, where there are many."""
        counts = [_counts(part.labels, len(self.class_names)) for part in self.parts.values()]
        few = 6 if self.image_shape[1] > inline.SMALL else 10
        for label, name in enumerate(self.class_names[:most]):
            some = self.train.take(np.flatnonzero(self.train.labels == label)[:few])
            yield [name, *(f"{count[label]:,}" for count in counts)], list(some)
        if len(self.class_names) > most:
            yield [f"{len(self.class_names) - most:,} more", *("…" for _ in counts)], []
        yield ["all", *(f"{len(part):,}" for part in self.parts.values())], []


def load_dataset(
    source: str | Path = "digits",
    *,
    offline: bool = False,
    tell: Tell | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Dataset:
    """The data set of that name, or the pictures of a folder, CSV, .npz or archive.

    settings: those of [data], such as image_size=64, resize="pad", validation="test".
    tell: called with (what is done, how many, of how many) while pictures are read; progress: while files come down.
    Raises: UsageError, DataError, DownloadError, IntegrityError, EnvironmentFault; each says what to do.
    """
    return open_dataset(Config.of(source=str(source), **settings).data, offline=offline, tell=tell, progress=progress)


def open_dataset(
    config: DataConfig,
    *,
    offline: bool = False,
    tell: Tell | None = None,
    progress: Progress | None = None,
    for_backbone: bool | None = None,
) -> Dataset:
    """`load_dataset` with its settings already checked.

    for_backbone: whether pictures that come as files shall have, unless a size is set, that of a backbone; None: if
    they are photographs.
    """
    is_named = config.source in DATASETS
    if is_named:
        _refuse_groups(config)
        pool = _named(config, DATASETS[config.source], offline, progress)
    else:
        pool = _from_path(config, tell, for_backbone)
    paths = {"source": None if is_named else config.source, "decisions": config.decisions}
    absolute = {name: str(Path(path).expanduser().absolute()) for name, path in paths.items() if path}
    return _divided(pool, config.model_copy(update=absolute))


def _refuse_groups(config: DataConfig) -> None:
    """Raises: UsageError, if arrays are to be grouped as only files can be."""
    if config.group_by:
        hint = "It is for pictures in a folder, a CSV or an archive."
        raise UsageError(f"{config.source} comes as arrays, which know no --group-by", hint=hint)


# -- from anything to one pool of examples ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pool:
    """All examples in one array, before they are divided. given: the split that an example came with, or None;
    links: pairs that must not be divided.
    """

    title: str
    class_names: list[str]
    pixels: Array
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    names: Sequence[str]
    sha256: Texts
    groups: Sequence[str]
    given: list[str | None]
    has_mirror_images: bool
    links: Sequence[tuple[int, int]] = ()
    findings: dict[str, Any] | None = None
    are_photos: bool = False
    notes: Sequence[str] = ()

    @cached_property
    def pictures(self) -> npt.NDArray[np.int64]:
        """int64 (n,) from 0 on: equal numbers for equal content."""
        return np.unique(self.sha256.encoded, return_inverse=True)[1].astype(np.int64)


def _named(config: DataConfig, entry: Entry, offline: bool, progress: Progress | None) -> _Pool:
    name = config.source
    given = environment_folder("ICONOCLASS_DATA")
    paths = find(name, given / name) if given else []
    if not paths and entry.files:
        downloads = cache_folder("downloads", name)
        paths = [fetch(file, downloads, offline=offline, progress=progress) for file in entry.files]
    key = [name, [sha256_of(path) for path in paths]]
    return _from_arrays(config, key, lambda _: entry.reader.read(paths, entry.class_names), entry.title, entry)


def _from_path(config: DataConfig, tell: Tell | None, for_backbone: bool | None) -> _Pool:
    path = Path(config.source).expanduser()
    if path.suffix.lower() == ".npz" and path.is_file():
        _refuse_groups(config)
        return _from_arrays(config, ["npz", sha256_of(path)], lambda room: read_npz(path, room), path.name, None)
    checked = check.check(examples_of(config), config, str(path), tell, for_backbone=for_backbone)
    return _from_examples(checked, path.name)


def examples_of(config: DataConfig) -> folder.Found:
    """The pictures of a folder, a CSV or an archive, by their names alone.

    Raises: DataError, if it is nothing of the kind; it says what is.
    """
    path = Path(config.source).expanduser()
    if path.suffix.lower() in {".csv", ".tsv"} and path.is_file():
        found = folder.read_manifest(path, config.allow_outside, config.group_by)
    else:
        folder.refuse_column(config.group_by, str(path))
        found = _arranged(path, config.source)
    return folder.grouped(found, config.group_by) if config.group_by else found


def _arranged(path: Path, source: str) -> folder.Found:
    if path.is_dir():
        files, aside = folder.walk(path)
        return folder.arrange(files, str(path), aside)
    if not path.is_file():
        hint = did_you_mean(source, DATASETS) + " Or give a folder, a CSV, an .npz or an archive of pictures."
        raise DataError(f"there is no data set and no path '{source}'", hint=hint)
    if not archive.is_archive(path):
        hint = "Give a folder, a .csv, an .npz, a .zip or a .tar.gz."
        raise DataError(f"{path} is not something to learn from", hint=hint)
    return folder.arrange(archive.unpack(path), str(path))


def _from_examples(checked: check.Checked, title: str) -> _Pool:
    names = sorted({example.class_name for example in checked.examples})
    index = {name: label for label, name in enumerate(names)}
    return _Pool(
        title=title,
        class_names=names,
        pixels=checked.pixels,
        rows=np.asarray(checked.rows, np.int64),
        labels=np.array([index[example.class_name] for example in checked.examples], np.int32),
        names=[example.name for example in checked.examples],
        sha256=Texts(np.array(checked.sha256, "S64")),
        groups=[example.group or "" for example in checked.examples],
        given=[example.split for example in checked.examples],
        has_mirror_images=not _look_like_text(names),
        links=checked.links,
        findings=checked.findings,
        are_photos=checked.are_photos,
    )


def _from_arrays(
    config: DataConfig, content: Sequence[Any], read: Callable[[Path], Arrays], title: str, entry: Entry | None
) -> _Pool:
    """read: the arrays, given an empty folder for what is too large for memory."""

    def make(target: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=target, ignore_cleanup_errors=True) as room:
            arrays = read(Path(room))
            labels = [part for part in (arrays.train_labels, arrays.test_labels) if part is not None]
            parts = [part for part in (arrays.train_pixels, arrays.test_pixels) if part is not None]
            facts = {"class_names": arrays.class_names, "train": len(parts[0])}
            shape = (sum(map(len, parts)), *parts[0].shape[1:])
            write_pixels(target / "pixels.npy", shape, (piece for part in parts for piece in _pieces(part)))
            digests = (sha256_of(image.tobytes()).encode() for part in parts for image in part)
            np.save(target / "sha256.npy", np.fromiter(digests, "S64", shape[0]))
            np.save(target / "labels.npy", np.concatenate(labels))
            del arrays, parts  # Windows does not remove a mapped file
        return facts

    arrays, facts = stored(key_of("arrays", content), make)
    count, train = len(arrays["labels"]), facts["train"]
    has_test = train < count
    pool = _Pool(
        title=title,
        class_names=facts["class_names"],
        pixels=_converted(arrays["pixels"], config, content),
        rows=np.arange(count),
        labels=np.array(arrays["labels"]),
        names=Texts(np.concatenate([_numbered("train/", train), _numbered("test/", count - train)])),
        sha256=Texts(arrays["sha256"]),
        groups=Texts(np.zeros(count, "S1")),
        given=["train" if at < train else "test" for at in range(count)] if has_test else [None] * count,
        has_mirror_images=entry.has_mirror_images if entry else not _look_like_text(facts["class_names"]),
    )
    return _decided(pool, Path(config.decisions).expanduser()) if config.decisions else pool


def _decided(pool: _Pool, decisions: Path) -> _Pool:
    """Arrays after what a decisions.csv says of single pictures, by the names that splits.csv has for them."""
    rows = [row for row in read_decisions(decisions, pool.names, pool.class_names) if row.word]
    wanted = {row.image for row in rows}
    at = {name: place for place, name in enumerate(pool.names) if name in wanted}
    labels, is_kept = pool.labels.copy(), np.ones(len(pool.labels), bool)
    for row in rows:
        if row.word == "exclude":
            is_kept[at[row.image]] = False
        else:
            labels[at[row.image]] = pool.class_names.index(row.class_name)
    excluded, relabelled = np.count_nonzero(~is_kept), np.count_nonzero((labels != pool.labels) & is_kept)
    kept: list[int] = np.flatnonzero(is_kept).tolist()
    return replace(
        pool,
        rows=pool.rows[kept],
        labels=labels[kept],
        names=[pool.names[place] for place in kept],
        sha256=Texts(pool.sha256.encoded[kept]),
        groups=[pool.groups[place] for place in kept],
        given=[pool.given[place] for place in kept],
        notes=[f"By decisions: {excluded:,} excluded, {relabelled:,} relabelled."],
    )


def _converted(pixels: Array, config: DataConfig, content: Sequence[Any]) -> Array:
    """The pixels in the colour and size that were asked for; where these are not their own, kept in the cache too."""
    height, width = config.image_size or _at_least_8(pixels.shape[1:3])
    channels = {None: int(pixels.shape[-1]), "grey": 1, "rgb": 3}[config.color]
    if (height, width, channels) == pixels.shape[1:]:
        return pixels

    def make(target: Path) -> dict[str, Any]:
        coloured = (_recoloured(piece, channels) for piece in _pieces(pixels))
        resized = (np.stack([resize(image, height, width, config.resize) for image in piece]) for piece in coloured)
        write_pixels(target / "pixels.npy", (len(pixels), height, width, channels), resized)
        return {}

    return stored(key_of("converted", content, height, width, channels, config.resize), make)[0]["pixels"]


def _pieces(pixels: Array) -> Iterator[Array]:
    return (pixels[at : at + PIECE] for at in range(0, len(pixels), PIECE))


def _numbered(part: str, count: int) -> npt.NDArray[np.bytes_]:
    return np.strings.add(part.encode(), np.arange(count).astype(f"S{len(str(count))}"))


def _recoloured(pixels: Array, channels: int) -> Array:
    if channels == pixels.shape[-1]:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    # ITU-R 601, as Pillow's mode L and so as decode() has it.
    luma = (pixels.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 0x8000) >> 16
    return luma[..., None].astype(np.uint8)


def _at_least_8(size: tuple[int, ...]) -> tuple[int, int]:
    return max(8, size[0]), max(8, size[1])


def _look_like_text(class_names: Sequence[str]) -> bool:
    """Classes named by single characters or numbers are most likely digits or letters: they are not mirrored."""
    return all(len(name) == 1 or name.isdecimal() for name in class_names)


# -- from one pool to three splits -----------------------------------------------------------------------------------


def _divided(pool: _Pool, config: DataConfig) -> Dataset:
    if len(pool.class_names) < 2:
        raise DataError(f"only one class, '{pool.class_names[0]}'", hint="A classifier needs two or more.")
    given = np.array([part or "train" for part in pool.given], object)
    keys = pool.names if config.together == "none" else split.keys_of(pool.groups, pool.sha256, pool.links)
    notes = [*pool.notes, *_notes_of_findings(pool.findings)]
    if config.together == "none":
        notes.append("Copies, look-alikes and groups were divided as if they stood alone: numbers are optimistic.")
    if config.fold:
        notes.append(_divide_by_folds(pool, keys, given, config))
    test_was_drawn = bool(config.fold) or "test" not in given
    is_split = config.validation == "split" and "validation" not in given
    _refuse_small_classes(pool, given == "train", parts=1 + is_split + ("test" not in given))
    if "test" not in given:
        held = _held_out(pool, keys, given, config.test_split, config, "test")
        given[held] = "test"
        notes.append(f"There was no test part: {len(held):,} pictures were set aside as one (stratified).")
    validation = "test" if config.validation == "test" else "validation"
    if config.validation == "test":
        notes.append("The test part was used to choose: numbers on it are optimistic.")
        # What would have chosen instead learns now.
        given[given == "validation"] = "train"
    elif is_split:
        given[_held_out(pool, keys, given, config.validation_split, config, "validation")] = "validation"
    positions = {name: np.flatnonzero(given == name) for name in ("train", validation, "test")}
    if config.together != "none":
        pool = replace(pool, groups=_shown_groups(pool, keys))
    splits = {name: _rows_of(pool, at) for name, at in positions.items()}
    notes += _warn_of_classes(pool, splits)
    copies = _warn_of_copies(pool, positions)
    if config.strict and copies:
        raise DataError(" ".join(copies), hint="Leave out --strict, if that is meant.")
    notes += copies
    height, width, channels = pool.pixels.shape[1:]
    resolved = {"image_size": (height, width), "color": "grey" if channels == 1 else "rgb"}
    return Dataset(
        config=config.model_copy(update=resolved),
        title=pool.title,
        class_names=list(pool.class_names),
        train=splits["train"],
        validation=splits[validation],
        test=splits["test"],
        has_mirror_images=pool.has_mirror_images,
        notes=notes,
        findings=pool.findings,
        test_was_drawn=test_was_drawn,
        are_photos=pool.are_photos,
    )


def _divide_by_folds(pool: _Pool, keys: Sequence[str], given: npt.NDArray[np.object_], config: DataConfig) -> str:
    """Make one fold of the training part the test part, and say so. A test part that was given is not looked at."""
    number, count = map(int, (config.fold or "").split("/"))
    unused = np.count_nonzero(given == "test")
    given[given == "test"] = "unused"
    train = np.flatnonzero(given == "train")
    of_train = [keys[int(at)] for at in train]
    chosen = train[split.folds(pool.labels[train], of_train, count, config.split_seed, "folds") == number - 1]
    given[chosen] = "test"
    beside = f"; the {unused:,} of the given test part are not used" if unused else ""
    return f"Fold {number} of {count}: {len(chosen):,} pictures are judged{beside}."


def _notes_of_findings(findings: dict[str, Any] | None) -> list[str]:
    """A line on what the look at the files has found, and one on what was decided; the rest is in check.json."""
    if not findings:
        return []
    # What cannot be read is listed by name elsewhere.
    found = [remark for remark in remarks(findings) if remark.key not in {"unreadable", "cmyk", "mismatched"}]
    notes = []
    if found:
        notes.append(f"{'; '.join(remark.text for remark in found)}. See check.json, or iconoclass check.")
    if decided := [f"{len(findings[word])} {word}" for word in ("excluded", "relabelled") if findings[word]]:
        notes.append(f"By decisions: {', '.join(decided)}.")
    return notes


def _shown_groups(pool: _Pool, keys: Sequence[str]) -> Sequence[str]:
    """What splits.csv calls the groups: by the word that came with them, or after a picture that others are like."""
    if not pool.links:
        return pool.groups
    linked = {keys[at] for pair in pool.links for at in pair}
    given = set(pool.groups)
    return [
        (key if key in given else f"alike-{key[:12]}") if key in linked else group
        for key, group in zip(keys, pool.groups, strict=True)
    ]


def _held_out(
    pool: _Pool, keys: Sequence[str], given: npt.NDArray[np.object_], share: float, config: DataConfig, purpose: str
) -> npt.NDArray[np.int64]:
    """Positions of the training part that are set aside."""
    train = np.flatnonzero(given == "train")
    of_train = (keys[int(at)] for at in train)  # one after the other: a list of them would be as long as the data set
    held = split.held_out(pool.labels[train], of_train, share, config.split_seed, purpose)
    return train[held]


def _refuse_small_classes(pool: _Pool, is_train: npt.NDArray[np.bool_], parts: int) -> None:
    """Raises: DataError, if a class has fewer different pictures than the parts that need one of it."""
    classes = len(pool.class_names)
    counts = _counts(_distinct(pool.pictures[is_train] * classes + pool.labels[is_train]) % classes, classes)
    if small := [
        f"{name} ({count})" for name, count in zip(pool.class_names, counts, strict=True) if 0 < count < parts
    ]:
        hint = f"Each class needs {parts} different pictures or more: add some, or leave these classes out."
        raise DataError(f"too few pictures to learn from and to judge by: {', '.join(small)}", hint=hint)


def _warn_of_classes(pool: _Pool, splits: dict[str, Split]) -> list[str]:
    """What splits lack, by class name.

    Raises: DataError, if a class cannot be learned because the training part has none of it.
    """
    notes = []
    for part, examples in splits.items():
        counts = _counts(examples.labels, len(pool.class_names))
        missing = [name for name, count in zip(pool.class_names, counts, strict=True) if not count]
        if missing and part == "train":
            raise DataError(f"the training part has no pictures of: {', '.join(missing)}")
        if missing:
            notes.append(f"The {part} part has no pictures of {', '.join(missing)}: no recall can be stated for them.")
    counts = _counts(splits["train"].labels, len(pool.class_names))
    if max(counts) > 10 * min(counts):
        notes.append("Some classes are over ten times larger than others: look at recall by class, not at accuracy.")
    return notes


def _warn_of_copies(pool: _Pool, positions: dict[str, npt.NDArray[np.int64]]) -> list[str]:
    """Pictures that are, byte for byte, in training and elsewhere too, or under two classes."""
    notes = []
    is_learned = np.isin(pool.pictures, pool.pictures[positions["train"]])
    for part, at in positions.items():
        copies = at[is_learned[at]]
        if len(copies) and part != "train":
            notes.append(
                f"{len(copies)} pictures of the {part} part are in the training part too: {_some(pool.names, copies)}."
            )
    label_of = np.zeros(len(pool.labels), np.int32)
    label_of[pool.pictures] = pool.labels
    twice = _distinct(pool.pictures[label_of[pool.pictures] != pool.labels])
    if len(twice):
        names = _some(pool.names, np.flatnonzero(np.isin(pool.pictures, twice)))
        notes.append(f"{len(twice)} pictures lie under more than one class: {names}.")
    return notes


def _some(names: Sequence[str], positions: npt.NDArray[np.int64]) -> str:
    more = f" and {len(positions) - 6} more" if len(positions) > 6 else ""
    return ", ".join(names[int(at)] for at in positions[:6]) + more


def _rows_of(pool: _Pool, positions: npt.NDArray[np.int64]) -> Split:
    return Split(
        pool.pixels,
        pool.rows[positions],
        pool.labels[positions],
        chosen(pool.names, positions),
        chosen(pool.sha256, positions),
        chosen(pool.groups, positions),
    )


def _distinct(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """In order. Not asked for counts, np.unique hashes, which takes a hundred times as long."""
    return np.unique(numbers, return_counts=True)[0]


def _counts(labels: npt.NDArray[np.integer[Any]], classes: int) -> list[int]:
    return [int(count) for count in np.bincount(labels, minlength=classes)]
