"""Every data set that can be asked for by name says what it is, where it comes from and on what terms."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest

from iconoclass.data.catalog import DATASETS, find, listing


@pytest.mark.parametrize("name", DATASETS)
def test_an_entry_gives_title_licence_citation_and_homepage(name: str) -> None:
    entry = DATASETS[name]
    assert re.fullmatch(r"[a-z0-9_]+", name), "typed on a command line"
    assert entry.title
    assert entry.licence
    assert re.search(r"\b(19|20)\d\d\b", entry.citation), "a citation has a year"
    assert urlparse(entry.homepage).scheme in {"http", "https"}


@pytest.mark.parametrize("name", DATASETS)
def test_every_file_of_an_entry_has_a_digest_a_size_and_an_address(name: str) -> None:
    for file in DATASETS[name].files:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", file.digest)
        assert file.size_bytes
        assert len(set(file.urls)) == len(file.urls) >= 2, "one server may be down"
        for url in file.urls:
            assert urlparse(url).scheme in {"http", "https"}
            assert url.endswith("/" + file.name)


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_downloaded_for_an_entry_is_what_its_reader_looks_for(name: str, tmp_path: Path) -> None:
    for file in DATASETS[name].files:
        (tmp_path / file.name).touch()
    assert [path.name for path in find(name, tmp_path)] == [file.name for file in DATASETS[name].files]


@pytest.mark.parametrize("name", DATASETS)
def test_an_entry_has_two_classes_or_more_or_leaves_naming_them_to_its_files(name: str) -> None:
    names = DATASETS[name].class_names
    assert len(names) == len(set(names))
    assert len(names) >= 2 or (not names and DATASETS[name].files)


def test_no_two_entries_share_a_digest() -> None:
    digests = [file.digest for entry in DATASETS.values() for file in entry.files]
    assert len(digests) == len(set(digests))


def test_the_digits_need_no_files_and_have_their_labels_in_range() -> None:
    entry = DATASETS["digits"]
    arrays = entry.reader.read([], entry.class_names)
    assert arrays.train_pixels.shape == (1797, 8, 8, 1)
    assert arrays.train_pixels.dtype == np.uint8
    assert (arrays.train_pixels.min(), arrays.train_pixels.max()) == (0, 255)
    assert arrays.train_labels.dtype == np.int32
    assert sorted(set(arrays.train_labels.tolist())) == list(range(10))
    assert arrays.test_pixels is None


def test_the_listing_has_a_row_for_every_entry() -> None:
    assert [row["name"] for row in listing()] == list(DATASETS)
    assert all(all(row.values()) for row in listing())
