"""A network from elsewhere becomes a run, through a process that can do little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.errors import DataError, IntegrityError, UsageError
from iconoclass.exports import foreign, quarantine
from iconoclass.run import Run

layers = keras.layers


def small(*first: Any, last: str | None = "softmax", units: int = 2) -> Any:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            *first,
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(units, activation=last),
        ]
    )


def named(folder: Path, *names: str) -> Path:
    (folder / "labels.txt").write_text("\n".join(names) + "\n")
    return folder / "labels.txt"


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process apart does, done here: to start one for each of these tests would take a minute."""

    def opened(file: Path, room: Path, scaling: str) -> dict[str, Any]:
        facts = quarantine.convert(file, room, scaling)
        if facts["refused"]:
            raise IntegrityError(facts["refused"])
        return facts

    monkeypatch.setattr(foreign, "_opened_apart", opened)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore")
def test_a_teachable_machine_file_becomes_a_run_that_is_asked_judged_and_exported(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    """Its labels are numbered, its network was written by Keras 2, and it takes pixels in [-1, 1]."""
    keras.utils.set_random_seed(0)
    body = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    seeing = keras.Sequential([keras.Input((32, 32, 3)), body, layers.GlobalAveragePooling2D()])
    telling = keras.Sequential([keras.Input((1280,)), layers.Dense(8, activation="relu")])
    telling.add(layers.Dense(2, activation="softmax", use_bias=False))
    whole = keras.Sequential([keras.Input((32, 32, 3)), seeing, telling])
    whole.save(tmp_path / "keras_model.h5")
    with h5py.File(tmp_path / "keras_model.h5", "r+") as file:
        file.attrs["model_config"] = as_keras_2_says(file.attrs["model_config"])
        file.attrs["keras_version"] = "2.15.0"
    named(tmp_path, "0 blue", "1 red")
    run, notes = ic.import_model(tmp_path / "keras_model.h5", output=tmp_path / "runs")
    assert any("Teachable Machine" in note for note in notes)
    predictor = ic.Predictor.load(run.path)
    assert (predictor.class_names, predictor.image_shape) == (["blue", "red"], (32, 32, 3))
    asked = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected = whole.predict_on_batch(asked / np.float32(127.5) - 1)
    np.testing.assert_allclose(predictor.probabilities(asked), expected, atol=1e-5)
    photos(tmp_path / "photos")
    assert ic.evaluate_file(run.path, tmp_path / "photos")["test"]["examples"] == 40
    with pytest.raises(DataError, match="--data DIR"):
        ic.export(run, "onnx")
    [made] = ic.export(run, "onnx", data=tmp_path / "photos", output=tmp_path / "out")
    assert made.proof.holds


def as_keras_2_says(description: str) -> str:
    """There depthwise convolutions have groups, and layers come from modules that are no more."""

    def older(thing: dict[str, Any]) -> dict[str, Any]:
        if thing.get("class_name") == "DepthwiseConv2D":
            thing["config"]["groups"] = 1
        return {**thing, "module": "keras.src.engine.functional"} if "class_name" in thing else thing

    return json.dumps(json.loads(description, object_hook=older))


def photos(folder: Path) -> None:
    random = np.random.default_rng(1)
    for name in ("blue", "red"):
        (folder / name).mkdir(parents=True)
        for at in range(20):
            image = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / name / f"{at}.png")


@pytest.mark.usefixtures("in_this_process")
def test_a_network_that_scales_by_itself_is_recognised_and_its_logits_become_probabilities(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    model = small(layers.Rescaling(1 / 255), last=None, units=3)
    model.save(tmp_path / "flowers.keras")
    named(tmp_path, "daisy", "rose", "tulip")
    run, notes = ic.import_model(tmp_path / "flowers.keras", output=tmp_path)
    assert any("scales pixels itself" in note for note in notes)
    assert run.name == "flowers"
    answered = ic.Predictor.load(run.path).probabilities(pixels)
    expected = keras.ops.softmax(model.predict_on_batch(pixels))
    np.testing.assert_allclose(answered, expected, atol=1e-6)


@pytest.mark.usefixtures("in_this_process")
def test_one_output_is_two_classes(tmp_path: Path, pixels: np.ndarray) -> None:
    model = small(last="sigmoid", units=1)
    model.save(tmp_path / "cats.keras")
    named(tmp_path, "cat", "dog")
    run, _ = ic.import_model(tmp_path / "cats.keras", scaling="0-1", output=tmp_path)
    answered = ic.Predictor.load(run.path).probabilities(pixels)
    dog = model.predict_on_batch(pixels / np.float32(255))[:, 0]
    np.testing.assert_allclose(answered, np.stack([1 - dog, dog], -1), atol=1e-6)


@pytest.mark.usefixtures("in_this_process")
def test_a_scaling_that_cannot_be_seen_is_asked_for(tmp_path: Path) -> None:
    small().save(tmp_path / "a.keras")
    named(tmp_path, "cat", "dog")
    with pytest.raises(UsageError, match="does not show which range") as caught:
        ic.import_model(tmp_path / "a.keras", output=tmp_path / "runs")
    assert "--scaling 0-1" in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [((), "is not there"), (("cat",), "two or more names"), (("cat", "cat"), "each once")],
)
def test_class_names_that_are_missing_or_double_are_refused(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    small().save(tmp_path / "a.keras")
    if names:
        named(tmp_path, *names)
    with pytest.raises((UsageError, DataError), match=said):
        ic.import_model(tmp_path / "a.keras", scaling="0-1", output=tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_names_that_do_not_fit_the_outputs_are_refused(tmp_path: Path) -> None:
    """M2."""
    small().save(tmp_path / "a.keras")
    named(tmp_path, "cat", "dog", "bird")
    with pytest.raises(DataError, match=r"names 3 classes, and a\.keras tells 2 apart"):
        ic.import_model(tmp_path / "a.keras", scaling="0-1", output=tmp_path / "runs")


@pytest.mark.usefixtures("in_this_process")
def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((7,)), layers.Dense(2)]).save(tmp_path / "table.keras")
    named(tmp_path, "cat", "dog")
    with pytest.raises(IntegrityError, match="and not pictures"):
        ic.import_model(tmp_path / "table.keras", scaling="0-1", output=tmp_path)


def test_what_the_apart_process_may_not_do_ends_it(tmp_path: Path) -> None:
    """It starts no program, calls nobody, writes nowhere else."""
    for act in (
        "import os; os.system('true')",
        "import subprocess; subprocess.Popen(['true'])",
        "import socket; socket.socket().connect(('127.0.0.1', 9))",
        "open('/tmp/elsewhere', 'w')",
        "import os; os.open('/tmp/elsewhere', os.O_CREAT | os.O_WRONLY)",
        "import pickle; pickle.loads(b'cos\\nsystem\\n.')",
    ):
        code = "import sys, socket, pickle; from pathlib import Path; from iconoclass.exports import quarantine as q;"
        code += f"q.limit(); q.forbid(Path(sys.argv[1])); {act}"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
        assert done.returncode == 77, (act, done.stderr)
    allowed = "import sys; from pathlib import Path; from iconoclass.exports import quarantine as q; q.limit();"
    allowed += "q.forbid(Path(sys.argv[1])); open(sys.argv[1] + '/a', 'w').close(); open(sys.argv[1] + '/a').close()"
    subprocess.run([sys.executable, "-c", allowed, str(tmp_path)], check=True)


def test_a_process_that_dies_is_told_as_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small().save(tmp_path / "a.keras")
    named(tmp_path, "cat", "dog")
    monkeypatch.setattr(foreign.sys, "executable", "/bin/false")
    with pytest.raises(IntegrityError, match="ended with status 1"):
        ic.import_model(tmp_path / "a.keras", scaling="0-1", output=tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_an_imported_run_says_where_it_came_from(tmp_path: Path) -> None:
    small().save(tmp_path / "a.keras")
    named(tmp_path, "cat", "dog")
    run, _ = ic.import_model(tmp_path / "a.keras", scaling="0-1", output=tmp_path, name="theirs")
    assert json.loads((run.path / "dataset.json").read_text())["imported_from"] == "a.keras"
    assert Run.open(run.path).name == "theirs"
