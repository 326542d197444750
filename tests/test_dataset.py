"""A name or a path becomes three splits, the same ones each time, and says what it did."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iconoclass.data import dataset, readers
from iconoclass.data.batches import Batches
from iconoclass.data.dataset import Dataset, Split, load_dataset
from iconoclass.data.store import Texts, chosen, key_of, stored
from iconoclass.errors import DataError, DownloadError, EnvironmentFault, UsageError
from iconoclass.images.decode import decode
from iconoclass.images.resize import RESIZES, resize


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ICONOCLASS_DATA", raising=False)
    return tmp_path / "cache"


def own(tmp_path: Path, count: int = 60, test: int = 0, channels: int = 3, seed: int = 0) -> Path:
    """An .npz of two classes of random pictures."""
    random = np.random.default_rng(seed)
    arrays = {"x_train": random.integers(0, 256, (count, 12, 9, channels), np.uint8), "y_train": np.arange(count) % 2}
    if test:
        arrays |= {"x_test": random.integers(0, 256, (test, 12, 9, channels), np.uint8), "y_test": np.arange(test) % 2}
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    return path


def sizes(data: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


def pixels_by_name(data: Dataset) -> dict[str, np.ndarray]:
    return {
        name: image for split in data.splits.values() for name, image in zip(split.names, split.pixels, strict=True)
    }


def test_the_data_stage_does_not_load_tensorflow() -> None:
    code = (
        "import sys, iconoclass.data.dataset, iconoclass.data.batches\n"
        "iconoclass.data.dataset.load_dataset('digits')\n"
        "print(*sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not set(said.split()) & {"tensorflow", "keras", "jax", "torch", "matplotlib"}


# --- The digits -----------------------------------------------------------------------------------------------------


def test_the_digits_are_divided_disjointly_completely_and_by_class() -> None:
    data = load_dataset("digits")
    assert data.image_shape == (8, 8, 1)
    assert data.class_names == list("0123456789")
    assert not data.has_mirror_images
    names = [name for split in data.splits.values() for name in split.names]
    assert len(names) == len(set(names)) == 1797
    counts = np.bincount(np.concatenate([split.labels for split in data.splits.values()]))
    for label, count in enumerate(counts):
        test = np.sum(data.test.labels == label)
        assert abs(test - 0.2 * count) <= 1
        assert abs(np.sum(data.validation.labels == label) - 0.1 * (count - test)) <= 1
    for name, split in data.splits.items():
        assert split.pixels.shape == (len(split), 8, 8, 1), name
        assert split.pixels.dtype == np.uint8
        assert split.labels.dtype == np.int32
    assert any("There was no test part" in note for note in data.notes)


def test_loading_twice_gives_the_same_and_another_split_seed_another_split() -> None:
    one, two, other = load_dataset("digits"), load_dataset("digits"), load_dataset("digits", split_seed=1)
    assert one.fingerprint == two.fingerprint
    assert one.test.names == two.test.names
    assert other.test.names != one.test.names
    assert sizes(other) == pytest.approx(sizes(one), abs=5)


def test_the_shares_are_those_that_were_asked_for() -> None:
    data = load_dataset("digits", test_split="50%", validation_split=0.5)
    assert sizes(data) == pytest.approx({"train": 449, "validation": 449, "test": 898}, abs=10)


# --- Given parts ----------------------------------------------------------------------------------------------------


def test_a_given_test_part_stays_the_test_part(tmp_path: Path) -> None:
    data = load_dataset(own(tmp_path, 60, test=20))
    assert sizes(data) == {"train": 54, "validation": 6, "test": 20}
    assert data.test.names == [f"test/{at}" for at in range(20)]
    assert data.notes == []


def test_validation_on_the_test_part_learns_from_all_the_rest_and_says_so(tmp_path: Path) -> None:
    data = load_dataset(own(tmp_path, 60, test=20), validation="test")
    assert sizes(data) == {"train": 60, "validation": 20, "test": 20}
    assert data.validation.names == data.test.names
    assert data.validates_on_test
    assert any("optimistic" in note for note in data.notes)
    assert not load_dataset(tmp_path / "own.npz").validates_on_test


def test_a_given_validation_part_learns_where_the_test_part_chooses(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            (tmp_path / "p" / part / name).mkdir(parents=True)
            for at in range(3):
                pixels = np.random.default_rng([len(part), at, ord(name)]).integers(0, 256, (9, 9, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "p" / part / name / f"{at}.png")
    assert sizes(load_dataset(tmp_path / "p")) == {"train": 6, "validation": 6, "test": 6}
    assert sizes(load_dataset(tmp_path / "p", validation="test")) == {"train": 12, "validation": 6, "test": 6}


def test_a_class_of_the_test_part_that_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    """Q3."""
    x = np.random.default_rng(0).integers(0, 256, (20, 9, 9), np.uint8)
    words = np.array(["cat", "dog"] * 10)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=words, x_test=x, y_test=np.array(["cat", "bird"] * 10))
    with pytest.raises(DataError, match="training part has no pictures of: bird"):
        load_dataset(tmp_path / "a.npz")


def test_a_class_that_the_test_part_lacks_is_noted(tmp_path: Path) -> None:
    """Q3."""
    x = np.random.default_rng(0).integers(0, 256, (40, 9, 9), np.uint8)
    y = np.array(["cat", "dog"] * 10)
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=y, x_test=x[20:], y_test=np.array(["cat"] * 20))
    assert any("test part has no pictures of dog" in note for note in load_dataset(tmp_path / "a.npz").notes)


def test_classes_of_very_different_sizes_are_noted(tmp_path: Path) -> None:
    """F4."""
    x = np.random.default_rng(0).integers(0, 256, (210, 9, 9), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.array(["cat"] * 10 + ["dog"] * 200))
    assert any("over ten times larger" in note for note in load_dataset(tmp_path / "a.npz").notes)


# --- Size and colour ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", RESIZES)
@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_converted_as_files_of_the_same_pictures_are(
    tmp_path: Path, channels: int, color: str, how: str
) -> None:
    data = load_dataset(own(tmp_path, channels=channels), image_size="16x20", resize=how, color=color)
    with np.load(tmp_path / "own.npz") as arrays:
        originals = arrays["x_train"]
    wanted = {"grey": 1, "rgb": 3}[color]
    assert data.image_shape == (16, 20, wanted)
    for name, image in pixels_by_name(data).items():
        original = originals[int(name.removeprefix("train/"))]
        Image.fromarray(original[..., 0] if channels == 1 else original).save(tmp_path / "one.png")
        assert np.array_equal(image, resize(decode(tmp_path / "one.png", wanted), 16, 20, how))


def test_arrays_keep_their_size_and_colour_unless_asked(tmp_path: Path) -> None:
    data = load_dataset(own(tmp_path))
    with np.load(tmp_path / "own.npz") as arrays:
        assert all(
            np.array_equal(image, arrays["x_train"][int(name.removeprefix("train/"))])
            for name, image in pixels_by_name(data).items()
        )
    assert data.config.image_size == (12, 9)
    assert data.config.color == "rgb"


def test_pictures_smaller_than_8_pixels_are_enlarged(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 5, 12), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(20) % 2)
    cropped, padded = load_dataset(tmp_path / "a.npz"), load_dataset(tmp_path / "a.npz", resize="pad")
    assert cropped.image_shape == padded.image_shape == (8, 12, 1)
    assert not np.array_equal(cropped.train.pixels, padded.train.pixels)


@pytest.mark.parametrize("settings", [{"image_size": 7}, {"resize": "corp"}, {"color": "cmyk"}, {"imagesize": 32}])
def test_a_wrong_setting_is_a_usage_error(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        load_dataset("digits", **settings)
    assert caught.value.exit_status == 2


# --- The fingerprint ------------------------------------------------------------------------------------------------


def swap_two_labels(folder: Path) -> None:
    one, other = folder / "red" / "00.png", folder / "blue" / "00.png"
    one.rename(folder / "waiting")
    other.rename(one)
    (folder / "waiting").rename(other)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a label": swap_two_labels,
    "a picture": lambda folder: Image.new("RGB", (20, 20), "red").save(folder / "red" / "00.png"),
    "one byte behind a picture": lambda folder: (folder / "red" / "00.png").open("ab").write(b"x"),
    "a picture less": lambda folder: (folder / "red" / "00.png").unlink(),
    "a class name": lambda folder: (folder / "red").rename(folder / "scarlet"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_fingerprint_changes_with_the_data(photos: Path, change: str) -> None:
    before = load_dataset(photos, image_size=16).fingerprint
    CHANGES[change](photos)
    assert load_dataset(photos, image_size=16).fingerprint != before


def test_the_fingerprint_changes_with_the_split(photos: Path) -> None:
    prints = {
        load_dataset(photos, image_size=16, **settings).fingerprint
        for settings in ({}, {"split_seed": 1}, {"test_split": 0.5}, {"validation_split": 0.5}, {"validation": "test"})
    }
    assert len(prints) == 5


def test_the_fingerprint_stays_when_the_cache_is_emptied_or_the_folder_moved(photos: Path, cache: Path) -> None:
    before = load_dataset(photos, image_size=16).fingerprint
    shutil.rmtree(cache)
    assert load_dataset(photos, image_size=16).fingerprint == before
    photos.rename(photos.with_name("elsewhere"))
    assert load_dataset(photos.with_name("elsewhere"), image_size=16).fingerprint == before


def test_the_description_is_plain_json_and_counts_every_picture(photos: Path) -> None:
    data = load_dataset(photos, image_size=16)
    description = json.loads(json.dumps(data.describe()))
    assert description["class_names"] == ["blue", "red"]
    assert sum(sum(counts.values()) for counts in description["counts"].values()) == 40
    assert description["fingerprint"] == data.fingerprint
    assert (description["image_size"], description["channels"]) == ([16, 16], 3)
    assert "blue" not in repr(data)
    assert repr(data).startswith("Dataset(photos: 28 train, ")


@pytest.mark.parametrize(
    ("name", "short"),
    [("my photos.zip", "my-photos"), ("a.tar.gz", "a"), ("ünï", "ünï"), ("...", "images"), ("-x-", "x")],
)
def test_the_short_name_is_fit_for_a_folder(tmp_path: Path, name: str, short: str) -> None:
    data = load_dataset(own(tmp_path))
    config = data.config.model_copy(update={"source": str(tmp_path / name)})
    assert Dataset(**{**vars(data), "config": config}).name == short


# --- Splits ---------------------------------------------------------------------------------------------------------


def test_a_split_gives_rows_in_the_order_asked_for_and_samples_evenly() -> None:
    source = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    names = [f"n{at}" for at in range(6)]
    split = Split(source, np.array([9, 7, 5, 3, 1, 0]), np.arange(6, dtype=np.int32), names, names, names)
    assert split.take(np.array([2, 0, 2]))[:, 0, 0, 0].tolist() == [5, 9, 5]
    assert split.pixels[:, 0, 0, 0].tolist() == [9, 7, 5, 3, 1, 0]
    sample = split.sample(3)
    assert len(sample) == 3
    assert sample.names == ["n0", "n2", "n5"]
    assert sample.labels.tolist() == [0, 2, 5]
    assert sample.pixels[:, 0, 0, 0].tolist() == [9, 5, 0]
    assert split.sample(6) is split
    assert split.sample(99) is split
    split.pixels[:] = 0
    assert source.max() == 9, "what is taken is a copy"


# --- Where named data come from -------------------------------------------------------------------------------------


def test_without_network_or_files_it_is_said_where_to_put_them_and_no_socket_is_opened(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D8."""
    opened: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *args, **_: opened.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: opened.append(args))
    with pytest.raises(DownloadError) as caught:
        load_dataset("mnist", offline=True)
    assert opened == []
    assert caught.value.exit_status == 4
    assert str(cache / "downloads" / "mnist") in str(caught.value)
    assert "train-images-idx3-ubyte.gz" in str(caught.value)


def test_the_digits_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    assert len(load_dataset("digits", offline=True).train) > 1000


def test_a_data_folder_that_is_none_is_the_environment_s_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ICONOCLASS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(EnvironmentFault, match=r"ICONOCLASS_DATA=.*nowhere is not a folder") as caught:
        load_dataset("mnist")
    assert caught.value.exit_status == 4


def test_files_in_the_data_folder_are_taken_instead_of_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ICONOCLASS_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    random = np.random.default_rng(0)
    for name, shape in zip(readers.IDX_NAMES, [(40, 28, 28), (40,), (20, 28, 28), (20,)], strict=True):
        content = random.integers(0, 256, shape, np.uint8) if len(shape) == 3 else np.arange(shape[0]) % 10
        header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
        (tmp_path / "mnist" / name).write_bytes(header + content.astype(np.uint8).tobytes())
    data = load_dataset("mnist", offline=True)
    assert sizes(data) == {"train": 30, "validation": 10, "test": 20}
    assert data.class_names == list("0123456789")


@pytest.mark.parametrize(
    ("word", "near"), [("minst", "mnist"), ("fashion-mnist", "fashion_mnist"), ("CIFAR10", "cifar10")]
)
def test_an_unknown_name_suggests_the_nearest(word: str, near: str) -> None:
    """L1."""
    with pytest.raises(DataError, match=f"Did you mean '{near}'.*digits"):
        load_dataset(word)


# --- The cache ------------------------------------------------------------------------------------------------------

DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x55"),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["pixels.npy", "labels.npy", "facts.json"])
def test_a_damaged_cache_entry_is_made_anew(tmp_path: Path, cache: Path, name: str, damage: str) -> None:
    """D5."""
    path = own(tmp_path)
    before = {name: image.copy() for name, image in pixels_by_name(load_dataset(path)).items()}
    [kept] = cache.rglob(name)
    DAMAGE[damage](kept)
    after = pixels_by_name(load_dataset(path))
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name], image) for name, image in before.items())


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"facts": {}}', '{"facts": {}, "sha256": 3}'])
def test_facts_of_another_form_are_made_anew(tmp_path: Path, cache: Path, content: str) -> None:
    """D5."""
    path = own(tmp_path)
    load_dataset(path)
    [facts] = cache.rglob("facts.json")
    facts.write_text(content)
    assert len(load_dataset(path).train) > 0


def test_what_fails_half_way_leaves_nothing_in_the_cache(cache: Path) -> None:
    def fails(folder: Path) -> dict[str, object]:
        np.save(folder / "pixels.npy", np.zeros(9))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(key_of("x"), fails)
    assert list((cache / "pixels").iterdir()) == []


def test_arrays_in_the_cache_cannot_be_written_to(tmp_path: Path) -> None:
    data = load_dataset(own(tmp_path))
    with pytest.raises(ValueError, match="read-only"):
        data.train.source[0] = 0


# --- Data sets larger than memory -----------------------------------------------------------------------------------


def most_memory(function: Callable[[], object]) -> int:
    """The most bytes that Python and NumPy hold beyond what they held before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """4,000 pictures of 32 x 32 in colour: 12 MB."""
    monkeypatch.setattr(dataset, "PIECE", 64)
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (4000, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "big.npz", x_train=x[:3000], y_train=np.arange(3000) % 10, x_test=x[3000:], y_test=LAST)
    return tmp_path / "big.npz"


LAST = np.arange(1000) % 10
ALL = 4000 * 32 * 32 * 3


@pytest.mark.parametrize("settings", [{}, {"color": "grey"}, {"image_size": 28}])
def test_all_pictures_are_never_in_memory_neither_when_first_opened_nor_again(
    big: Path, settings: dict[str, object]
) -> None:
    load_dataset("digits")  # what is imported and read once is not the data set's doing
    for _ in ("first", "again"):
        assert most_memory(lambda: load_dataset(big, **settings)) < ALL / 3


def test_the_splits_are_rows_of_one_map_of_the_file_in_the_cache(big: Path, cache: Path) -> None:
    data = load_dataset(big)
    for split in data.splits.values():
        assert isinstance(split.source, np.memmap)
        assert Path(split.source.filename).is_relative_to(cache)
        assert split.source is data.train.source
        assert isinstance(split.sample(10).source, np.memmap)


def test_what_is_taken_is_all_that_is_read(big: Path) -> None:
    train = load_dataset(big).train
    assert most_memory(lambda: train.take(np.arange(0, len(train), 100))) < ALL / 50
    batches = Batches(train, 10, 32, 0, {"flip": 0.5})
    assert most_memory(lambda: next(iter(batches.epoch(0)))) < ALL / 2, "two blocks of 512, before and after"


def test_the_name_digest_and_group_of_a_picture_cost_no_string_each(big: Path) -> None:
    data = load_dataset(big)
    columns = [column for part in data.splits.values() for column in (part.names, part.sha256, part.groups)]
    assert all(isinstance(column, Texts) for column in columns)
    assert sum(column.encoded.nbytes for column in columns if isinstance(column, Texts)) < 80 * 4000


def test_texts_are_a_sequence_of_strings() -> None:
    words = ["", "a", "käse", "x" * 30]
    texts = Texts(np.array([word.encode() for word in words]))
    assert texts == words
    assert texts != words[:3]
    assert texts != "a"
    assert (texts[2], texts[-1], texts[1:3]) == ("käse", "x" * 30, ["a", "käse"])
    assert ("käse" in texts, "b" in texts, texts.index("a"), len(texts)) == (True, False, 1, 4)
    assert repr(texts) == repr(words)
    assert chosen(texts, np.array([3, 1])) == chosen(words, np.array([3, 1])) == ["x" * 30, "a"]
    assert isinstance(chosen(texts, np.array([3, 1])), Texts)


def test_copies_are_told_by_their_first_six_names(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 9, 9), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(60) % 2, x_test=x[:10], y_test=np.arange(10) // 5)
    notes = load_dataset(tmp_path / "a.npz", validation="test").notes
    assert (
        "10 pictures of the test part are in the training part too: test/0, test/1, test/2, test/3, test/4, test/5 "
        "and 4 more." in notes
    )
    assert (
        "4 pictures lie under more than one class: train/1, train/3, train/6, train/8, test/1, test/3 and 2 more."
        in notes
    )


def test_with_strict_copies_across_the_parts_of_arrays_are_refused(tmp_path: Path) -> None:
    """F6, F7."""
    x = np.random.default_rng(0).integers(0, 256, (40, 9, 9), np.uint8)
    x[30:] = x[:10]
    np.savez(tmp_path / "own.npz", x_train=x[:30], y_train=np.arange(30) % 2, x_test=x[30:], y_test=np.arange(10) % 2)
    assert "of the test part are in the training part too" in "".join(load_dataset(tmp_path / "own.npz").notes)
    with pytest.raises(DataError, match="pictures of the test part are in the training part") as caught:
        load_dataset(tmp_path / "own.npz", strict=True)
    assert caught.value.exit_status == 3
