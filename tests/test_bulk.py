"""Pictures in any number become rows: each exactly once, whatever dies on the way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import iconoclass as ic
from iconoclass.bulk.listing import pictures_in
from iconoclass.bulk.parts import Parts
from iconoclass.errors import DataError, RunError, UsageError
from iconoclass.prediction.predictor import Predictor

COUNT = 150


@pytest.fixture(scope="session")
def model(exported: Any) -> Path:
    """A network for digits that opens in a moment."""
    return exported["onnx"].path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many small pictures in two folders, two of which cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    digits = ic.load_dataset("digits").test
    for at in range(COUNT):
        path = folder / "ab"[at % 2] / f"{at:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(digits.take(np.array([at]))[0, ..., 0]).save(path)
    (folder / "a" / "text.png").write_bytes(b"this is no picture")
    (folder / "b" / "empty.jpg").write_bytes(b"")
    (folder / "b" / "readme.txt").write_text("not asked about")
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    return parquet.read_table(path).to_pylist()


def files_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.suffix in {".png", ".jpg"})


def test_the_rows_say_what_predict_says_in_the_order_of_the_pictures(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    written = ic.predict_all(model, [str(pictures)], tmp_path / "out.parquet", part=32)
    rows = rows_of(written.path)
    assert (written.pictures, written.refused) == (COUNT + 2, 2)
    assert [row["image"] for row in rows] == files_in(pictures)
    good = [row for row in rows if row["error"] is None]
    for row, answer in zip(good, Predictor.load(model).predict([row["image"] for row in good]), strict=True):
        assert (row["class_name"], row["unknown"]) == (answer.class_name, answer.unknown)
        # Batches differ, and with them the last digits.
        assert row["confidence"] == pytest.approx(answer.confidence, abs=1e-5)
        assert [row["class_name_2"], row["class_name_3"]] == [name for name, _ in answer.top(3)[1:]]


def test_a_bad_picture_is_a_row_with_its_error(model: Path, pictures: Path, tmp_path: Path) -> None:
    rows = rows_of(ic.predict_all(model, [str(pictures)], tmp_path / "out.parquet").path)
    errors = {Path(row["image"]).name: row["error"] for row in rows if row["error"]}
    assert errors.keys() == {"text.png", "empty.jpg"}
    assert "IMG_NOT_IMAGE" in errors["text.png"]
    assert "IMG_EMPTY" in errors["empty.jpg"]
    assert all(row["class_name"] is None and row["confidence"] is None for row in rows if row["error"])


def test_a_folder_of_parts_holds_the_same_rows(model: Path, pictures: Path, tmp_path: Path) -> None:
    one = ic.predict_all(model, [str(pictures)], tmp_path / "out.parquet", part=32).path
    many = ic.predict_all(model, [str(pictures)], tmp_path / "out", part=32).path
    assert len(list(many.glob("*.parquet"))) == 5
    # As any reader of Parquet folders reads it.
    assert pa.concat_tables(parquet.read_table(file) for file in sorted(many.glob("*.parquet"))).equals(
        parquet.read_table(one)
    )
    assert parquet.read_table(many).num_rows == COUNT + 2
    assert not list(tmp_path.glob("*.parts"))


def test_the_same_words_again_change_nothing_and_other_words_are_refused(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    first = ic.predict_all(model, [str(pictures)], tmp_path / "out", part=32)
    before = {path: path.stat().st_mtime_ns for path in first.path.glob("*.parquet")}
    assert ic.predict_all(model, [str(pictures)], tmp_path / "out", part=32) == first
    assert {path: path.stat().st_mtime_ns for path in first.path.glob("*.parquet")} == before
    one = ic.predict_all(model, [str(pictures)], tmp_path / "out.parquet", part=32)
    assert ic.predict_all(model, [str(pictures)], tmp_path / "out.parquet", part=32) == one
    with pytest.raises(UsageError, match="is there already"):
        ic.predict_all(model, [str(pictures)], tmp_path / "out.parquet", part=32, top_k=1)
    with pytest.raises(UsageError, match="with another top_k"):
        ic.predict_all(model, [str(pictures)], tmp_path / "out", part=32, top_k=1)


def test_what_is_there_is_never_written_over(model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        ic.predict_all(model, [str(pictures)], tmp_path / "out.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        ic.predict_all(model, [str(pictures)], tmp_path / "folder")
    assert (tmp_path / "out.parquet").read_text() == "mine"


def test_pictures_that_come_later_are_not_asked_about_when_it_goes_on(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    """The list is made once: what goes on is what was begun."""
    request = {"model": str(model), "top_k": 1}
    parts = Parts.plan(tmp_path / "out", request, pictures_in([str(pictures)]), 32)
    again = Parts.plan(tmp_path / "out", request, iter(()), 32)
    assert (again.count, again.pictures) == (parts.count, parts.pictures) == (5, COUNT + 2)


def test_a_process_that_died_while_it_listed_leaves_nothing_that_counts(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    def dying() -> Iterator[Any]:
        for at, picture in enumerate(pictures_in([str(pictures)])):
            if at == 70:
                raise KeyboardInterrupt
            yield picture

    with pytest.raises(KeyboardInterrupt):
        Parts.plan(tmp_path / "out", {"top_k": 1}, dying(), 32)
    parts = Parts.plan(tmp_path / "out", {"top_k": 1}, pictures_in([str(pictures)]), 64)
    assert (parts.count, parts.pictures) == (3, COUNT + 2)
    assert len(list((tmp_path / "out" / "_plan").glob("*.jsonl"))) == 3


# -- where pictures are ----------------------------------------------------------------------------------------------


def test_archives_lists_globs_and_addresses_are_looked_into(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = files_in(pictures)
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(first, "a/one.png")
    with tarfile.open(tmp_path / "some.tar.gz", "w:gz") as archive:
        archive.add(second, "b/two.png")
    assert [picture.name for picture in pictures_in([str(tmp_path / "some.zip")])] == [f"{tmp_path}/some.zip/a/one.png"]
    [two] = pictures_in([str(tmp_path / "some.tar.gz")])
    assert Path(two.place).read_bytes() == Path(second).read_bytes()
    assert [picture.name for picture in pictures_in([f"{pictures}/b/*.jpg"])] == [str(pictures / "b" / "empty.jpg")]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{first}\n{second}\n"))
    assert [picture.place for picture in pictures_in(["-"])] == [first, second]
    stored = [picture.place.removeprefix("file://") for picture in pictures_in([f"file://{pictures}"])]
    assert stored == files_in(pictures)


def test_what_is_at_an_address_is_read_as_what_is_in_a_file(model: Path, pictures: Path, tmp_path: Path) -> None:
    here = rows_of(ic.predict_all(model, [str(pictures)], tmp_path / "here.parquet").path)
    there = rows_of(ic.predict_all(model, [f"file://{pictures}"], tmp_path / "there.parquet").path)
    assert [row["class_name"] for row in there] == [row["class_name"] for row in here]
    assert [bool(row["error"]) for row in there] == [bool(row["error"]) for row in here]


def test_a_picture_that_is_gone_when_its_turn_comes_is_a_row_too(model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{pictures}/gone.png\nfile://{pictures}/gone.png\n{files_in(pictures)[0]}\n")
    with (tmp_path / "list").open() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", file)
        rows = rows_of(ic.predict_all(model, ["-"], tmp_path / "out.parquet").path)
    assert [bool(row["error"]) for row in rows] == [True, True, False]


def test_a_path_without_pictures_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        ic.predict_all(model, [str(tmp_path / "none")], tmp_path / "out.parquet")
    with pytest.raises(RunError):
        ic.predict_all(tmp_path / "none", [str(tmp_path)], tmp_path / "out.parquet")


# -- killed ----------------------------------------------------------------------------------------------------------


def command(model: Path, pictures: Path, output: Path, **options: Any) -> list[str]:
    given = {"part": 8, **options}
    arguments = f"{str(model)!r}, [{str(pictures)!r}], {str(output)!r}, **{given!r}"
    return [sys.executable, "-c", f"import iconoclass as ic\nic.predict_all({arguments})"]


def test_killed_at_random_moments_no_row_is_lost_or_doubled(model: Path, pictures: Path, tmp_path: Path) -> None:
    wanted, random = int(os.environ.get("ICONOCLASS_BULK_KILLS", 5)), np.random.default_rng(0)
    expected, kills, rounds = files_in(pictures), 0, 0
    while kills < wanted:
        output = tmp_path / f"{rounds}.parquet"
        with subprocess.Popen(command(model, pictures, output), stderr=subprocess.PIPE) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0.4, 1.6))
            process.kill()
            status = process.wait()
        if status == 0:
            assert [row["image"] for row in rows_of(output)] == expected
            rounds += 1
        else:
            assert status == -signal.SIGKILL
            kills += 1
    subprocess.run(command(model, pictures, output := tmp_path / f"{rounds}.parquet"), check=True)
    assert [row["image"] for row in rows_of(output)] == expected
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".parquet"]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A real cluster of three nodes on this machine: a head that works on nothing, and two with a core each."""
    utils = pytest.importorskip("ray.cluster_utils", reason="NOT RUN: needs ray")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.workers = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(2)]
    yield cluster
    cluster.shutdown()


def test_with_a_killed_worker_and_a_lost_node_every_row_is_there_once(
    nodes: Any, model: Path, pictures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    asked = command(model, pictures, output, part=2, cluster=nodes.address)
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_for_parts(output, 5, process)
        worker_at_work(process).kill()
        wait_for_parts(output, 20, process)
        nodes.remove_node(nodes.workers[0], allow_graceful=False)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert [row["image"] for row in rows_of(output)] == files_in(pictures)
    assert not list(output.glob(".*")), "of a worker that died while it wrote"


def worker_at_work(process: subprocess.Popen[str]) -> psutil.Process:
    """One that is in the middle of a part: between two parts Ray calls a worker idle, so it is looked for again."""
    while process.poll() is None:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "ray::work" in " ".join(child.cmdline()):
                    return child
    raise AssertionError(process.communicate()[0])


def wait_for_parts(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if len(list(folder.glob("*.parquet"))) >= count:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError(f"no {count} parts")


def test_the_plan_says_what_was_asked(model: Path, pictures: Path, tmp_path: Path) -> None:
    folder = ic.predict_all(model, [str(pictures)], tmp_path / "out", top_k=2).path
    plan = json.loads((folder / "_plan" / "plan.json").read_text(encoding="utf-8"))
    assert plan["request"]["top_k"] == 2
    assert plan["pictures"] == COUNT + 2
    assert parquet.read_schema(next(iter(sorted(folder.glob("*.parquet"))))).names == [
        "image", "class_name", "confidence", "class_name_2", "probability_2", "unknown", "error",
    ]  # fmt: skip
