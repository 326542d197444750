"""Folders and CSVs become examples by their names alone; what is not used is reported, never dropped in silence."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from iconoclass.data.dataset import load_dataset
from iconoclass.data.folder import LAYOUTS, Found, arrange, read_manifest, read_rows, shown, walk
from iconoclass.errors import DataError, UsageError
from odd_images import encoded


def png(seed: int = 0) -> bytes:
    """A small picture of its own."""
    return encoded(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8), "PNG")


def plant(root: Path, *names: str) -> Path:
    """A folder with a different picture under each name; an empty folder where the name ends with '/'."""
    root.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(png(seed))
    return root


def found_in(root: Path) -> Found:
    files, aside = walk(root)
    return arrange(files, str(root), aside)


def places(found: Found) -> set[tuple[str, str, str | None]]:
    return {(example.name, example.class_name, example.split) for example in found.examples}


# --- Layouts --------------------------------------------------------------------------------------------------------


def test_the_first_folder_is_the_class_however_deep_a_picture_lies(tmp_path: Path) -> None:
    found = found_in(plant(tmp_path / "p", "cat/1.png", "cat/old/2.JPG", "dog/a/b/c.webp"))
    expected = {("cat/1.png", "cat", None), ("cat/old/2.JPG", "cat", None), ("dog/a/b/c.webp", "dog", None)}
    assert places(found) == expected
    assert [example.name for example in found.examples] == sorted(example.name for example in found.examples)


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("val", "validation"),
        ("valid", "validation"),
        ("Validation", "validation"),
        ("TEST", "test"),
        ("testing", "test"),
    ],
)
def test_folders_called_like_splits_are_splits(tmp_path: Path, word: str, split: str) -> None:
    found = found_in(plant(tmp_path / "p", "train/cat/1.png", "train/dog/2.png", f"{word}/cat/3.png"))
    assert places(found) == {
        ("train/cat/1.png", "cat", "train"),
        ("train/dog/2.png", "dog", "train"),
        (f"{word}/cat/3.png", "cat", split),
    }


def test_a_class_called_test_is_a_class_where_there_is_no_train(tmp_path: Path) -> None:
    found = found_in(plant(tmp_path / "p", "test/1.png", "control/2.png"))
    assert {example.class_name for example in found.examples} == {"test", "control"}


def test_a_class_of_railways_called_train_is_a_class(tmp_path: Path) -> None:
    found = found_in(plant(tmp_path / "p", "train/1.png", "plane/2.png", "train/fast/3.png"))
    assert {(example.class_name, example.split) for example in found.examples} == {("train", None), ("plane", None)}


def test_a_stray_folder_beside_the_splits_does_not_turn_them_into_classes(tmp_path: Path) -> None:
    found = found_in(plant(tmp_path / "p", "train/cat/1.png", "test/cat/2.png", "raw/3.png", "raw/cat/4.png"))
    assert {example.split for example in found.examples} == {"train", "test"}
    assert [name for name, _ in found.left_out] == ["raw/3.png", "raw/cat/4.png"]


@pytest.mark.parametrize("wrapper", ["photos/", "a/b/c/"])
def test_outer_folders_that_hold_everything_mean_nothing(tmp_path: Path, wrapper: str) -> None:
    """A12."""
    found = found_in(plant(tmp_path / "p", f"{wrapper}train/cat/1.png", f"{wrapper}test/dog/2.png"))
    assert {(e.class_name, e.split) for e in found.examples} == {("cat", "train"), ("dog", "test")}
    found = found_in(plant(tmp_path / "q", f"{wrapper}cat/1.png", f"{wrapper}dog/2.png"))
    assert {(e.class_name, e.split) for e in found.examples} == {("cat", None), ("dog", None)}


def test_pictures_outside_of_class_folders_are_reported(tmp_path: Path) -> None:
    found = found_in(plant(tmp_path / "p", "cat/1.png", "dog/2.png", "cover.png"))
    assert found.left_out == [("cover.png", "it lies in no class folder")]


def test_hidden_and_system_files_are_ignored_and_counted(tmp_path: Path) -> None:
    """A8."""
    odd = ["cat/.DS_Store", "cat/._1.png", ".git/x.png", "__MACOSX/cat/1.png", "cat/Thumbs.db", "desktop.ini"]
    found = found_in(plant(tmp_path / "p", "cat/1.png", "dog/2.png", *odd, "cat/notes.txt", "LICENSE.md", "dog/x.TXT"))
    assert len(found.examples) == 2
    assert found.ignored == {"hidden or system files": len(odd), ".txt files": 2, ".md files": 1}
    assert found.left_out == []


def test_pictures_of_other_kinds_are_reported_not_dropped(tmp_path: Path) -> None:
    """F14."""
    found = found_in(plant(tmp_path / "p", "cat/1.webp", "cat/2.tif", "cat/3.HEIC", "dog/4.png", "dog/5.svg", "6.psd"))
    assert [example.name for example in found.examples] == ["cat/1.webp", "dog/4.png"]
    reasons = dict(found.left_out)
    assert set(reasons) == {"cat/2.tif", "cat/3.HEIC", "dog/5.svg", "6.psd"}
    assert reasons["cat/3.HEIC"] == ".heic pictures are not read; save them as JPEG or PNG"


def test_a_class_with_only_pictures_of_other_kinds_is_refused_not_forgotten(tmp_path: Path) -> None:
    """F14: what a phone saves as HEIC would otherwise be missing from the model without a word."""
    root = plant(tmp_path / "p", "cat/1.png", "dog/2.png", "bird/3.heic", "bird/4.heic")
    with pytest.raises(DataError, match=r"bird \(2\)"):
        found_in(root)


# --- What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "It is empty"),
        (["cat/", "dog/"], "0 files in cat/, 0 files in dog/"),
        (["cat/a.txt", "cat/b.txt", "dog/c.txt"], "2 files in cat/, 1 files in dog/"),
        (["1.png", "2.png"], r"2 files in \./"),
        (["train/cat/", "test/"], "0 files in test/, 0 files in train/cat/"),
    ],
)
def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path, names: list[str], said: str) -> None:
    """F2."""
    root = plant(tmp_path / "p", *names)
    with pytest.raises(DataError, match=said) as caught:
        load_dataset(root)
    assert caught.value.exit_status == 3
    assert caught.value.hint == LAYOUTS


def test_an_empty_class_folder_beside_full_ones_is_reported(tmp_path: Path) -> None:
    """F2."""
    found = found_in(plant(tmp_path / "p", "cat/1.png", "dog/2.png", "bird/", ".git/refs/"))
    assert found.left_out == [("bird/", "the folder is empty")]


def test_a_path_that_is_not_there_is_named_and_the_nearest_data_set_suggested(tmp_path: Path) -> None:
    """F1."""
    with pytest.raises(DataError, match=r"mnsit.*Did you mean 'mnist'") as caught:
        load_dataset("mnsit")
    assert caught.value.exit_status == 3
    (tmp_path / "a.txt").write_text("cat")
    with pytest.raises(DataError, match=r"a\.txt"):
        load_dataset(tmp_path / "a.txt")


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    """F3."""
    with pytest.raises(DataError, match=r"only one class, 'cat'.*two or more") as caught:
        load_dataset(plant(tmp_path / "p", "cat/1.png", "cat/2.png"))
    assert caught.value.exit_status == 3


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_small_to_be_on_every_side_is_refused_with_its_count(tmp_path: Path, count: int) -> None:
    """F4."""
    birds = [f"bird/{at}.png" for at in range(count)]
    root = plant(tmp_path / "p", *birds, *(f"cat/{at}.png" for at in range(9)), *(f"dog/{at}.png" for at in range(9)))
    with pytest.raises(DataError, match=rf"bird \({count}\).*Each class needs 3") as caught:
        load_dataset(root)
    assert caught.value.exit_status == 3


def test_copies_of_one_picture_do_not_make_a_class_large_enough(tmp_path: Path) -> None:
    """F4."""
    root = plant(tmp_path / "p", *(f"{name}/{at}.png" for name in ("bird", "cat") for at in range(5)))
    for path in (root / "bird").iterdir():
        path.write_bytes(png(100))
    with pytest.raises(DataError, match=r"bird \(1\)"):
        load_dataset(root)


def test_three_pictures_a_class_are_enough_and_two_where_the_test_part_is_given(tmp_path: Path) -> None:
    """F4."""
    data = load_dataset(plant(tmp_path / "p", *(f"{name}/{at}.png" for name in ("bird", "cat") for at in range(3))))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2, "validation": 2, "test": 2}
    names = [f"{part}/{name}/{at}.png" for part in ("train", "test") for name in ("bird", "cat") for at in range(2)]
    data = load_dataset(plant(tmp_path / "q", *names))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2, "validation": 2, "test": 4}


# --- Links ----------------------------------------------------------------------------------------------------------


def test_links_that_loop_lead_out_or_lead_nowhere_are_reported_and_not_followed(tmp_path: Path) -> None:
    """F5."""
    outside = plant(tmp_path / "outside", "secret.png")
    root = plant(tmp_path / "p", "cat/1.png", "dog/2.png")
    links = {
        "cat/loop": root,
        "cat/itself.png": root / "cat" / "itself.png",
        "cat/out.png": outside / "secret.png",
        "cat/nowhere.png": root / "gone.png",
        "bird": outside,
        "hen": root / "cat",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    found = found_in(root)
    assert [example.name for example in found.examples] == ["cat/1.png", "dog/2.png"]
    assert {name for name, _ in found.left_out} == set(links)
    assert all("symbolic link" in reason for _, reason in found.left_out)


def test_a_link_to_a_picture_inside_and_a_link_to_the_folder_itself_work(tmp_path: Path) -> None:
    root = plant(tmp_path / "p", "cat/1.png", "dog/2.png")
    (root / "dog" / "same.png").symlink_to("../cat/1.png")
    (tmp_path / "way").symlink_to(root)
    assert len(found_in(tmp_path / "way").examples) == 3


def test_a_pipe_is_reported_and_never_opened(tmp_path: Path) -> None:
    root = plant(tmp_path / "p", "cat/1.png", "dog/2.png")
    os.mkfifo(root / "cat" / "pipe.png")
    assert found_in(root).left_out == [("cat/pipe.png", "it is not a regular file")]


# --- Names ----------------------------------------------------------------------------------------------------------

STRANGE = [
    "two\nlines.png",
    "\"quotes\" and 'more', too.png",
    "<script>alert(1)<script>.png",
    "-x.png",
    "100%.png",
    "=cmd().png",
    "😀👩‍🔬.png",
    "\x1b[31mred.png",
    "cafe\u0301.png",
    " blank .png",
    os.fsdecode(b"not-utf8-\xe9.png"),
]


def test_strange_names_are_read_and_can_be_shown_and_written_anywhere(tmp_path: Path) -> None:
    """F11."""
    root = plant(tmp_path / "p", *(f"cat/{name}" for name in STRANGE), *(f"dog/{at}.png" for at in range(5)))
    data = load_dataset(root)
    shown_names = [name for split in data.splits.values() for name in split.names if name.startswith("cat/")]
    assert len(shown_names) == len(STRANGE)
    for name in shown_names:
        name.encode("utf-8")
        assert "\n" not in name
        assert "\x1b" not in name
    assert r"cat/two\nlines.png" in shown_names
    assert r"cat/not-utf8-\udce9.png" in shown_names
    assert "cat/😀👩‍🔬.png" in shown_names


def test_strange_class_names_can_be_shown_and_written_anywhere(tmp_path: Path) -> None:
    """F11."""
    classes = ["two\nlines", os.fsdecode(b"caf\xe9"), "日本", "a,b;c"]
    root = plant(tmp_path / "p", *(f"{name}/{at}.png" for name in classes for at in range(3)))
    assert load_dataset(root).class_names == sorted([r"two\nlines", r"caf\udce9", "日本", "a,b;c"])


def test_a_name_is_shown_as_it_is_where_nothing_is_wrong_with_it() -> None:
    for name in ("a b.png", "Ünï\u202fcode 10:00\u202fAM.png", "日本/猫.jpg", "😀"):
        assert shown(name) == name


def test_numeric_class_names_keep_the_order_of_sorted_folder_names(tmp_path: Path) -> None:
    """F12: the order is that of words, as the file browser of Keras has it; it is stored, and never derived again."""
    root = plant(tmp_path / "p", *(f"{name}/{at}.png" for name in ("0", "1", "10", "2") for at in range(3)))
    data = load_dataset(root)
    assert data.class_names == ["0", "1", "10", "2"]
    for split in data.splits.values():
        assert [data.class_names[label] for label in split.labels] == [name.split("/")[0] for name in split.names]


# --- CSV ------------------------------------------------------------------------------------------------------------


def manifest(tmp_path: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(found: Found) -> list[tuple[str, str]]:
    return [(example.name, example.class_name) for example in found.examples]


TWO = [("a.png", "cat"), ("b.png", "dog")]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,cat\nb.png,dog\n",
        "\ufeffpath,label\r\na.png,cat\r\nb.png,dog\r\n",
        "path;label\na.png;cat\nb.png;dog",
        "path\tlabel\na.png\tcat\nb.png\tdog\n",
        "path,label\na.png,cat\nb.png,dog\n\n\n , \n",
        'Path , "LABEL"\n"a.png"," cat "\nb.png,dog\n',
        "label,more,filename\ncat,1,a.png\ndog,,b.png\n",
        "image,class\rb.png,dog\ra.png,cat\r",
        "path,label\na.png,cat\nb.png,dog\na.png,cat\n./a.png,cat\n",
        "path,label\na.png,cat,,\nb.png,dog,\n",
    ],
)
def test_a_csv_is_read_whatever_program_wrote_it(tmp_path: Path, text: str) -> None:
    """C1."""
    assert rows_of(read_manifest(manifest(tmp_path, text))) == TWO


def test_quoted_commas_quotes_and_line_breaks_belong_to_the_cell(tmp_path: Path) -> None:
    """C1."""
    found = read_manifest(manifest(tmp_path, 'path,label\n"a, b.png","big ""cat"""\n"c\nd.png",dog\n'))
    assert rows_of(found) == [("a, b.png", 'big "cat"'), (r"c\nd.png", "dog")]
    assert found.examples[1].path.name == "c\nd.png"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("path,label\n", "a header and no rows"),
        ("file,breed\na.png,cat\n", r"no column called label or .*Columns found: file, breed"),
        ("a.png,cat\n", r"no column called path or .*Columns found: a\.png, cat"),
        ("path,label,label\na.png,cat,dog\n", "several columns called label"),
        ("path,image,label\na.png,a.png,dog\n", "several columns called path"),
        ("path,label,split,split\na.png,cat,train,test\n", "several columns called split"),
        ("path,label\na.png\n", "line 2: 1 cells, the header has 2"),
        ("path,label\na, b.png,cat\n", "line 2: 3 cells, the header has 2"),
        ("path,label\na.png,cat\nb.png, \n", "line 3: the path or the label is empty"),
        ("path,label\n,cat\n", "line 2: the path or the label is empty"),
        ("path,label\na.png,cat\na.png,dog\n", r"line 3: a\.png is 'dog' here and 'cat' above"),
        ("path,label\na.png,cat\n./a.png,dog\n", r"line 3: \./a\.png is 'dog' here and 'cat' above"),
        ("path,label,split\na.png,cat,train\na.png,cat,test\n", "in split 'test' here and in split 'train' above"),
        ("path,label,group\na.png,cat,1\na.png,cat,2\n", "in group '2' here and in group '1' above"),
        ("path,label,split\na.png,cat,trian\n", "line 2: there is no split 'trian'; allowed: train"),
        ("path,label\na.png,c\0at\n", "NUL"),
        (b"path,label\na.png,cat\nb.png,caf\xe9\n", "line 3 is not UTF-8"),
        ("path,label\na.png,cat\n" + "x" * 1_100_000, "line 3 is longer than 1,048,576 characters"),
        ("path,label\na.png," + "x" * 200_000 + "\n", "line 2: field larger than field limit"),
    ],
)
def test_a_csv_with_a_mistake_says_which_and_where(tmp_path: Path, text: str | bytes, said: str) -> None:
    """C1, C2, C4, C6, C7."""
    with pytest.raises(DataError, match=f"(?s){said}") as caught:
        read_manifest(manifest(tmp_path, text))
    assert caught.value.exit_status == 3
    assert "labels.csv" in str(caught.value)


def test_all_wrong_lines_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)3 wrong lines.*line 2.*line 4.*line 5"):
        read_manifest(manifest(tmp_path, "path,label\n,a\nok.png,cat\n../x.png,cat\nb.png,\n"))


@pytest.mark.parametrize("name", ["../outside/x.png", "/etc/passwd", "inside/../../outside/x.png", "link/x.png"])
def test_a_path_outside_is_refused_unless_it_is_allowed(tmp_path: Path, name: str) -> None:
    """C3."""
    plant(tmp_path / "outside", "x.png")
    root = plant(tmp_path / "p", "inside/y.png")
    (root / "link").symlink_to(tmp_path / "outside")
    path = manifest(root, f"path,label\n{name},cat\n")
    with pytest.raises(DataError, match=r"outside .*--allow-outside"):
        read_manifest(path)
    assert len(read_manifest(path, allow_outside=True).examples) == 1


def test_a_link_that_loops_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(DataError, match=r"line 2: loop\.png leads nowhere"):
        read_manifest(manifest(tmp_path, "path,label\nloop.png,cat\n"))


def test_numbers_are_kept_as_they_are_written(tmp_path: Path) -> None:
    """C6."""
    found = read_manifest(manifest(tmp_path, "path,label\na.png,1\nb.png,1.0\nc.png, 01 \nd.png,nan\n"))
    assert [example.class_name for example in found.examples] == ["1", "1.0", "01", "nan"]


def test_the_split_and_group_columns_are_honoured(tmp_path: Path) -> None:
    lines, parts = ["path,label,split,group"], ("train", "Val", "testing")
    lines += [f"{at}.png,{'cat' if at % 2 else 'dog'},{parts[at % 3]},g{at % 6}" for at in range(18)]
    plant(tmp_path, *(f"{at}.png" for at in range(18)))
    data = load_dataset(manifest(tmp_path, "\n".join(lines)))
    homes = {name: part for part, split in data.splits.items() for name in split.names}
    assert homes == {f"{at}.png": ("train", "validation", "test")[at % 3] for at in range(18)}
    assert set(data.train.groups) == {"g0", "g3"}


def test_a_group_of_a_csv_never_straddles_the_splits_that_we_make(tmp_path: Path) -> None:
    lines = ["path,label,group"]
    lines += [f"{at}.png,{'cat' if at % 2 else 'dog'},patient {at // 4}" for at in range(48)]
    plant(tmp_path, *(f"{at}.png" for at in range(48)))
    data = load_dataset(manifest(tmp_path, "\n".join(lines)))
    homes = [set(split.groups) for split in data.splits.values()]
    assert all(homes)
    assert sum(len(home) for home in homes) == len(set.union(*homes)) == 12


def test_missing_files_are_counted_as_bad(tmp_path: Path) -> None:
    """C5."""
    lines = ["path,label", *(f"{at}.png,{'cat' if at % 2 else 'dog'}" for at in range(40))]
    path = manifest(tmp_path, "\n".join(lines))
    plant(tmp_path, *(f"{at}.png" for at in range(40) if at not in (3, 20)))
    (tmp_path / "20.png").mkdir()
    with pytest.raises(DataError, match=r"(?s)2 of the 40 files.*20\.png.*3\.png.*--max-bad 6%") as caught:
        load_dataset(path)
    assert caught.value.exit_status == 3
    data = load_dataset(path, max_bad="6%")
    assert data.findings is not None
    said = {bad["image"]: (bad["code"], bad["reason"]) for bad in data.findings["unreadable"]}
    assert {name: code for name, (code, _) in said.items()} == {"3.png": "IMG_UNREADABLE", "20.png": "IMG_UNREADABLE"}
    assert said["3.png"][1].startswith("cannot be opened: no such file")
    assert said["20.png"][1].startswith("is a folder")
    assert data.findings["images"] == 38


def test_a_csv_and_the_folder_of_the_same_pictures_are_the_same_data(tmp_path: Path) -> None:
    names = [f"{name}/{at}.png" for name in ("cat", "dog") for at in range(6)]
    root = plant(tmp_path / "p", *names)
    path = manifest(root, "path,label\n" + "\n".join(f"{name},{name[:3]}" for name in names))
    assert load_dataset(path).fingerprint == load_dataset(root).fingerprint


def test_the_same_picture_under_two_classes_or_in_two_given_parts_is_noted(tmp_path: Path) -> None:
    """F6 and F7, for copies byte for byte."""
    names = [f"{part}/{name}/{at}.png" for part in ("train", "test") for name in ("cat", "dog") for at in range(3)]
    root = plant(tmp_path / "p", *names)
    (root / "test/cat/1.png").write_bytes((root / "train/cat/2.png").read_bytes())
    (root / "train/dog/1.png").write_bytes((root / "train/cat/0.png").read_bytes())
    notes = "\n".join(load_dataset(root).notes)
    assert "1 pictures of the test part are in the training part too: test/cat/1.png." in notes
    assert "1 pictures lie under more than one class: train/cat/0.png, train/dog/1.png." in notes


def test_a_large_csv_is_read_row_by_row(tmp_path: Path) -> None:
    """C7."""
    with (tmp_path / "large.csv").open("w") as file:
        file.writelines(f"{at}.png,{'x' * 500}\n" for at in range(20_000))
    tracemalloc.start()
    try:
        assert sum(len(cells) for _, cells in read_rows(tmp_path / "large.csv")) == 40_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_folder_of_thousands_is_found_in_order_and_its_pictures_are_never_all_in_memory(tmp_path: Path) -> None:
    """F8, in small."""
    for name in ("cat", "dog"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for at in range(1500):
            (tmp_path / "p" / name / f"{at}.png").write_bytes(png(at + 1500 * (name == "dog")))
    told: list[tuple[str, int, int]] = []
    tracemalloc.start()
    try:
        data = load_dataset(tmp_path / "p", image_size=64, tell=lambda *what: told.append(what))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    names = [name for split in data.splits.values() for name in split.names]
    assert len(set(names)) == 3000
    assert list(data.test.names) == sorted(data.test.names)
    assert [done for doing, done, _ in told if doing == "Decoding"] == [*range(256, 3000, 256), 3000]
    assert peak < 3000 * 64 * 64 * 3


# --- Groups ---------------------------------------------------------------------------------------------------------


def groups_of(root: Path, **settings: object) -> dict[str, set[str]]:
    """Group -> the splits that its pictures are in."""
    homes: dict[str, set[str]] = {}
    for part, split in load_dataset(root, **settings).splits.items():
        for group in split.groups:
            homes.setdefault(group, set()).add(part)
    return homes


@pytest.mark.parametrize("group_by", ["folder:2", r"name:/p(\d+)/"])
def test_pictures_of_one_folder_or_name_are_not_divided(tmp_path: Path, group_by: str) -> None:
    names = [f"{name}/p{at // 3}/{at}.png" for name in ("cat", "dog") for at in range(30)]
    homes = groups_of(plant(tmp_path / "p", *names), group_by=group_by)
    assert len(homes) == 10
    assert all(len(parts) == 1 for parts in homes.values())


def test_pictures_of_one_value_in_a_column_are_not_divided(tmp_path: Path) -> None:
    root = plant(tmp_path / "p", *(f"{at}.png" for at in range(40)))
    rows = [f"{at}.png,{'cat' if at % 2 else 'dog'},x{at % 8}" for at in range(40)]
    path = manifest(root, "path,label,Patient\n" + "\n".join(rows))
    assert all(len(parts) == 1 for parts in groups_of(path, group_by="column:patient").values())
    with pytest.raises(DataError, match=r"no column called visit\. Columns found: path, label, patient"):
        load_dataset(path, group_by="column:visit")


@pytest.mark.parametrize(
    ("group_by", "error", "said"),
    [
        ("folder:9", DataError, r"fits none of the 6 pictures, such as cat/0\.png.*Allowed: folder:2"),
        ("name:(x)", DataError, "fits none of the 6 pictures"),
        ("column:a", UsageError, "needs a CSV"),
        ("folder:0", UsageError, "must be folder:2"),
        ("patient", UsageError, "must be folder:2"),
        ("name:x", UsageError, "one pair of brackets .* has 0"),
        ("name:(x", UsageError, "regular expression"),
    ],
)
def test_a_grouping_that_cannot_be_says_what_can(
    tmp_path: Path, group_by: str, error: type[Exception], said: str
) -> None:
    root = plant(tmp_path / "p", *(f"{name}/{at}.png" for name in ("cat", "dog") for at in range(3)))
    with pytest.raises(error, match=said):
        load_dataset(root, group_by=group_by)


def test_arrays_have_no_groups() -> None:
    with pytest.raises(UsageError, match="digits comes as arrays, which know no --group-by"):
        load_dataset("digits", group_by="folder:1")
