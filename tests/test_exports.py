"""A run leaves in every format, answers there as it did here, and what does not answer so is not delivered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.errors import DataError, IntegrityError, UsageError
from iconoclass.exports import catalog, delivery
from iconoclass.exports.catalog import EXPORTERS, Exporter
from iconoclass.exports.delivery import Export
from iconoclass.exports.network import calibrated
from iconoclass.files import sha256_of
from iconoclass.models.catalog import MODELS, build
from iconoclass.models.pretrained import BACKBONES
from iconoclass.models.resnet import KERNEL
from iconoclass.models.views import with_views
from iconoclass.prediction.runtimes import open_model
from iconoclass.run import Run

FORMATS = list(EXPORTERS)
LIGHT = ["onnx", "litert"]
every_format = pytest.mark.parametrize("name", FORMATS)


def in_a_fresh_process(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- what is delivered -------------------------------------------------------------------------------------------------


@every_format
def test_every_format_answers_every_test_picture_as_the_run_does(name: str, exported: dict[str, Export]) -> None:
    proof = exported[name].proof
    assert proof.holds
    assert proof.agreeing == proof.pictures == len(ic.load_dataset("digits").test)
    assert proof.largest_difference <= 1e-4
    assert proof.accuracy == proof.accuracy_of_run


@every_format
def test_beside_every_file_stands_what_its_users_look_for(name: str, exported: dict[str, Export], run: Run) -> None:
    folder = exported[name].folder
    names = {"manifest.json", "labels.txt", "proof.json", "proof.html", "README.md", EXPORTERS[name].file}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "labels.txt").read_text().splitlines() == run.class_names
    manifest = json.loads((folder / "manifest.json").read_text())
    card = manifest["card"]
    assert (card["class_names"], card["image_shape"], card["resize"]) == (run.class_names, [8, 8, 1], "crop")
    assert (card["temperature"], card["threshold"], card["made_by"]) == (run.temperature, run.threshold, ic.__version__)
    assert run.temperature != 1
    assert len(manifest["golden"]) == 4
    proof = json.loads((folder / "proof.json").read_text())
    assert proof["holds"]
    assert {"low", "high", "value"} == proof["accuracy"].keys()
    assert proof["versions"]["keras"]


@every_format
def test_every_file_is_asked_as_a_run_is(name: str, exported: dict[str, Export], run: Run) -> None:
    pixels = ic.load_dataset("digits").test.pixels[:50]
    expected = ic.Predictor.load(run.path).probabilities(pixels)
    for path in (exported[name].path, exported[name].folder):
        predictor = ic.Predictor.load(path)
        assert predictor.class_names == run.class_names
        np.testing.assert_allclose(predictor.probabilities(pixels), expected, atol=1e-5)
        # any batch size
        np.testing.assert_allclose(predictor.probabilities(pixels[:1]), expected[:1], atol=1e-5)
    [first] = ic.Predictor.load(exported[name].path).predict(pixels[0])
    assert first.class_name == run.class_names[expected[0].argmax()]


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_file_is_asked_and_verified_without_tensorflow_or_keras(name: str, exported: dict[str, Export]) -> None:
    code = """if True:
        import sys, numpy as np, iconoclass as ic
        ic.Predictor.load(sys.argv[1]).predict(np.zeros((9, 7, 3), np.uint8))
        ic.verify(sys.argv[1])
        print(*sys.modules)"""
    loaded = set(in_a_fresh_process(code, str(exported[name].path)).split())
    assert not loaded & {"tensorflow", "keras", "matplotlib", "h5py"}


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_file_knows_all_it_needs_when_it_is_taken_away_alone(
    name: str, exported: dict[str, Export], tmp_path: Path, run: Run
) -> None:
    alone = Path(shutil.copy(exported[name].path, tmp_path / f"other{exported[name].path.suffix}"))
    assert ic.Predictor.load(alone).class_names == run.class_names


@every_format
def test_a_file_is_verified_again_by_its_golden_pictures_and_by_those_of_its_proof(
    name: str, exported: dict[str, Export]
) -> None:
    assert ic.verify(exported[name].path).golden == 4
    again = ic.verify(exported[name].folder, data="digits")
    assert again.known == again.agreeing >= 359
    assert again.judged == 1797  # the digits have no test part of their own: all of them are judged
    assert again.accuracy is not None


def test_a_file_that_answers_a_picture_of_its_proof_otherwise_is_found_out(
    exported: dict[str, Export], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported["onnx"].folder, tmp_path / "onnx"))
    proof = json.loads((folder / "proof.json").read_text())
    predictor = ic.Predictor.load(folder)
    test = ic.load_dataset("digits").test
    rows = predictor.probabilities(test.pixels)
    digest, (name, _) = next(iter(proof["answers"].items()))

    def say_of_the_first(other: str) -> None:
        (folder / "proof.json").write_text(json.dumps({**proof, "answers": {**proof["answers"], digest: [other, 0.5]}}))

    first = rows[[sha256_of(pixels.tobytes())[:24] for pixels in test.pixels].index(digest)]
    say_of_the_first(predictor.class_names[int(first.argsort()[-2])])
    with pytest.raises(IntegrityError, match=f"1 of {len(proof['answers'])} pictures of its proof otherwise"):
        ic.verify(folder, data="digits")
    say_of_the_first("no class of these")
    with pytest.raises(IntegrityError, match="1 of"):
        ic.verify(folder, data="digits")
    say_of_the_first(name)
    assert ic.verify(folder, data="digits").agreeing == len(proof["answers"])


def test_a_file_is_judged_on_labelled_pictures_as_its_run_was(exported: dict[str, Export], run: Run) -> None:
    """Of digits all are judged; of a set with its own test part only that."""
    metrics = ic.evaluate_file(exported["onnx"].path, "digits")["test"]
    assert metrics["examples"] == 1797
    assert abs(metrics["accuracy"]["value"] - run.metrics["test"]["accuracy"]["value"]) < 0.1


@every_format
def test_the_python_lines_of_the_readme_beside_a_file_run_as_they_stand(
    name: str,
    exported: dict[str, Export],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from iconoclass.exports.verify import as_png

    folder = tmp_path / name
    shutil.copytree(exported[name].folder, folder)
    monkeypatch.chdir(folder)
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    pixels = ic.load_dataset("digits").test.pixels[3]
    (folder / "photo.jpg").write_bytes(as_png(pixels))  # libraries read by content
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that files which are left open at the end are closed by Python
        exec(code, {})
    answer = capsys.readouterr().out.split()[-2:]
    [expected] = ic.Predictor.load(run.path).predict(pixels)
    assert answer[0] == expected.class_name
    assert float(answer[1]) == pytest.approx(expected.confidence, abs=1e-4)


def test_the_page_of_a_proof_escapes_names_and_needs_no_network(exported: dict[str, Export]) -> None:
    page = (exported["onnx"].folder / "proof.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_a_second_export_takes_the_place_of_the_first_and_of_nothing_else(
    exported: dict[str, Export], run: Run, tmp_path: Path
) -> None:
    """M17: what was there is whole until the new one is."""
    for _ in range(2):
        [made] = ic.export(run, "onnx", output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]
    (tmp_path / "litert").mkdir()
    (tmp_path / "litert" / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="is no export"):
        ic.export(run, "litert", output=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["litert", "onnx"]
    assert made.path.read_bytes() == exported["onnx"].path.read_bytes()


def test_an_export_that_is_stopped_leaves_the_old_one_whole_and_nothing_else(
    run: Run, exported: dict[str, Export], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M17."""
    shutil.copytree(exported["onnx"].folder, tmp_path / "onnx")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(delivery, "write_card", stopped)
    with pytest.raises(KeyboardInterrupt):
        ic.export(run, "onnx", output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]
    assert ic.verify(tmp_path / "onnx").golden == 4


def test_what_a_killed_export_left_is_removed_a_day_after(run: Run, tmp_path: Path) -> None:
    """M17: and nothing that is not ours."""
    for name, hours in {".onnx.0badcafe": 25, ".onnx.deadbeef": 1, ".onnx.mine": 25, ".git": 25}.items():
        (tmp_path / name).mkdir()
        then = time.time() - 3600 * hours
        os.utime(tmp_path / name, (then, then))
    ic.export(run, "onnx", output=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", ".onnx.deadbeef", ".onnx.mine", "onnx"]


@pytest.mark.parametrize(
    ("formats", "more", "said"),
    [
        (("onxx",), {}, "Did you mean 'onnx'"),
        ((), {}, "no format"),
        (("keras",), {"quantize": "int8"}, "int8 is for: onnx, litert"),
        (("onnx",), {"quantize": "int3"}, "Allowed: int8, float16"),
        (("onnx",), {"max_loss": "much"}, "share from 0% to 100%"),
        (("onnx",), {"max_loss": 2}, "share from 0% to 100%"),
    ],
)
def test_what_cannot_be_exported_is_said_before_anything_is_written(
    formats: tuple[str, ...], more: dict[str, Any], said: str, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        ic.export(run, *formats, output=tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


# -- smaller numbers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def dense_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Large enough to become smaller: most of its bytes are weights."""
    return ic.train("digits", model="mlp", epochs=3, output=tmp_path_factory.mktemp("dense"))


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("quantize", ["int8", "float16"])
def test_smaller_numbers_make_a_smaller_file_that_is_as_good(
    name: str, quantize: str, dense_run: Run, tmp_path: Path
) -> None:
    [made] = ic.export(dense_run, name, quantize=quantize, output=tmp_path)
    assert made.folder.name == f"{name}-{quantize}"
    assert made.proof.loss.low is not None
    assert made.proof.loss.low <= 0.01
    speed = made.proof.speed
    assert speed["bytes"] < 0.75 * speed["float32"]["bytes"]
    assert any(quantize in note and "float32" in note for note in made.proof.notes)  # whether it pays is said
    assert ic.verify(made.path).golden == 4


def test_smaller_numbers_that_cost_too_much_are_not_delivered(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "onnx", lambda network: with_weights(network, lambda weight: np.sign(weight) * 0.05))
    with pytest.raises(IntegrityError, match="points of accuracy are lost, where 1 is allowed") as caught:
        ic.export(run, "onnx", quantize="float16", output=tmp_path)
    assert "--max-loss" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def few_pictures(tmp_path: Path) -> Path:
    """Digits as files: a fifth of them, some seventy, is asked about."""
    from iconoclass.exports.verify import as_png

    test = ic.load_dataset("digits").test
    for at, (pixels, label) in enumerate(zip(test.pixels, test.labels, strict=True)):
        path = tmp_path / "few" / str(label) / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_png(pixels))
    return tmp_path / "few"


def test_few_pictures_do_not_let_a_badly_quantized_file_pass(
    run: Run, few_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise of weights that are far too coarse; the same pictures let the right file pass."""
    [made] = ic.export(run, "onnx", quantize="int8", data=few_pictures, output=tmp_path / "right")
    assert made.proof.pictures < 100
    assert any("so few pictures cannot tell" in note for note in made.proof.notes)
    random = np.random.default_rng(1)
    spoil(monkeypatch, "onnx", lambda network: with_weights(network, lambda weight: coarse(weight, random)))
    with pytest.raises(IntegrityError, match="by the run's own probabilities its other answers cost") as caught:
        ic.export(run, "onnx", quantize="int8", data=few_pictures, output=tmp_path / "wrong")
    assert "points of accuracy are lost" not in str(caught.value)  # so few labels had let it pass
    assert list((tmp_path / "wrong").iterdir()) == []


def coarse(weight: Any, random: np.random.Generator) -> Any:
    return weight + random.normal(0, 0.2 * weight.std(), weight.shape) if weight.ndim > 1 else weight


# -- planted faults ----------------------------------------------------------------------------------------------------


def with_weights(network: Any, change: Any, layer: str = "") -> Any:
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for each in copy.layers:
        if each.weights and (not layer or each.name == layer):
            each.set_weights([change(weight) for weight in each.get_weights()])
    return copy


def before(network: Any, change: Any) -> Any:
    """The network behind another first step."""
    inputs = keras.Input(network.input_shape[1:])
    return keras.Model(inputs, network(change(keras, inputs)), name=network.name)


def spoil(monkeypatch: pytest.MonkeyPatch, name: str, change: Any) -> None:
    """From here on the exporter of that format writes another network than it was given."""
    right = catalog.EXPORTERS[name]

    def write(network: Any, path: Path, numbers: str, calibration: Any) -> None:
        right.write(change(network), path, numbers, calibration)

    monkeypatch.setitem(catalog.EXPORTERS, name, Exporter(write, right.file, right.numbers, right.purpose))


def refused(run: Run, name: str, folder: Path) -> str:
    with pytest.raises(IntegrityError, match="is not delivered") as caught:
        ic.export(run, name, output=folder)
    assert caught.value.exit_status == 5
    assert list(folder.iterdir()) == []  # no file, no half of one
    return str(caught.value)


@pytest.fixture(scope="session")
def colour_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """On colour photographs wider than high, of two classes: the left side is blue, or red."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("colour")
    random = np.random.default_rng(0)
    for name in ("blue_left", "red_left"):
        (folder / "photos" / name).mkdir(parents=True)
        for at in range(30):
            pixels = random.normal((120, 120, 120), 40, (24, 40, 3))
            pixels[:, : int(random.integers(8, 20)), 2 if name == "blue_left" else 0] += 60
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(folder / "photos" / name / f"{at}.png")
    settings = {"model": "convnet", "width": 8, "epochs": 3, "image_size": 24}
    return ic.train(folder / "photos", output=folder / "runs", **settings)


def test_swapped_class_names_are_seen_and_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = delivery.Source.card

    def swapped(self: Any, numbers: str) -> Any:
        card = right(self, numbers)
        card.class_names[:2] = card.class_names[1::-1]
        return card

    monkeypatch.setattr(delivery.Source, "card", swapped)
    assert "class names stand in another order" in refused(run, "onnx", tmp_path)


def test_exchanged_colours_are_seen_and_named(colour_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "onnx", lambda network: before(network, lambda keras, x: keras.ops.flip(x, axis=-1)))
    assert "red for blue" in refused(colour_run, "onnx", tmp_path)


@pytest.mark.parametrize("scale", [1 / 255, 1 / 127.5])
def test_scaling_twice_is_seen_and_named(
    scale: float, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = 0 if scale < 1 / 200 else -1
    spoil(
        monkeypatch,
        "litert",
        lambda network: before(network, lambda keras, x: keras.layers.Rescaling(scale, offset=offset)(x)),
    )
    assert "scales the pixels twice" in refused(run, "litert", tmp_path)


def test_another_resize_rule_is_seen_and_named(
    colour_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    right = delivery.Source.card
    monkeypatch.setattr(delivery.Source, "card", lambda self, numbers: replace(right(self, numbers), resize="squash"))
    assert "another rule" in refused(colour_run, "onnx", tmp_path)


@pytest.mark.parametrize("layer", [f"{KERNEL}_1b", "logits"])
def test_the_layer_from_which_on_a_file_differs_is_named(
    layer: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M16."""
    spoil(monkeypatch, "onnx", lambda network: with_weights(network, lambda weight: -weight, layer))
    assert f"part in the layer {layer}" in refused(run, "onnx", tmp_path)


def ic_network(run: Run) -> Any:
    return keras.saving.load_model(run.model_path, compile=False)


def test_weights_that_are_no_numbers_do_not_leave(run: Run, tmp_path: Path) -> None:
    """M14: neither at export, nor when a run is asked."""
    shutil.copytree(run.path, tmp_path / "broken")
    network = with_weights(ic_network(run), lambda weight: weight * np.nan, "logits")
    network.save(tmp_path / "broken" / "model.keras")
    for ask in (lambda: ic.export(tmp_path / "broken", "onnx"), lambda: ic.Predictor.load(tmp_path / "broken")):
        with pytest.raises(IntegrityError, match="NaN"):
            ask()


def test_pictures_that_are_no_longer_those_of_the_run_prove_nothing(colour_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(colour_run.path, folder / "run")
    content = json.loads((folder / "run" / "dataset.json").read_text())
    (folder / "run" / "dataset.json").write_text(json.dumps({**content, "fingerprint": "another"}))
    with pytest.raises(DataError, match="not those that run was trained on"):
        ic.export(folder / "run", "onnx")


def test_the_users_own_files_are_asked_about(colour_run: Run, tmp_path: Path) -> None:
    [made] = ic.export(colour_run, "onnx", output=tmp_path)
    assert made.proof.from_files == made.proof.pictures > 0


# -- every network -----------------------------------------------------------------------------------------------------


def lively(network: Any) -> Any:
    """Weights as after a training: batch norm with statistics, scales that differ."""
    random = np.random.default_rng(0)
    for variable in network.weights:
        if variable.path.endswith(("variance", "gamma")) and len(variable.shape):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith("mean") and len(variable.shape):
            variable.assign(random.normal(0, 0.1, variable.shape))
    return network


@pytest.mark.parametrize("model", [name for name in MODELS if name not in {"resnet50", "resnet50v2", "mobilenet"}])
def test_every_network_becomes_an_onnx_file_that_answers_alike(model: str, tmp_path: Path) -> None:
    shape = (32, 32, 3) if model in BACKBONES else (20, 16, 1)
    network = lively(build(model, shape, 5))
    pixels = np.random.default_rng(1).integers(0, 256, (6, *shape), dtype=np.uint8)
    EXPORTERS["onnx"].write(network, tmp_path / "model.onnx", "float32", pixels)
    answered = open_model(tmp_path / "model.onnx")(pixels)
    np.testing.assert_allclose(answered, network.predict_on_batch(pixels), atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_zeros_around_negative_numbers_stay_zeros_where_the_largest_is_taken(name: str, tmp_path: Path) -> None:
    """As in ResNet50V2, whose pooling ONNX Runtime would make one with the padding before it."""
    answers_alike(name, lambda x: keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x)), tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_sums_and_products_of_two_branches_leave_too(name: str, tmp_path: Path) -> None:
    """As in ConvNeXt, whose blocks add what they have made by an operation that is no layer."""
    answers_alike(name, lambda x: x * keras.layers.Conv2D(3, 1, activation="sigmoid")(x) + x, tmp_path)


def answers_alike(name: str, middle: Callable[[Any], Any], folder: Path) -> None:
    inputs = keras.Input((12, 10, 3))
    x = middle(keras.layers.Rescaling(1 / 64, offset=-6.0)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x)))
    pixels = np.random.default_rng(1).integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)
    path = folder / EXPORTERS[name].file
    EXPORTERS[name].write(network, path, "float32", pixels)
    np.testing.assert_allclose(open_model(path)(pixels), network.predict_on_batch(pixels), atol=2e-6)


@pytest.mark.parametrize("views", ["mirrored", "shifted"])
@pytest.mark.parametrize("name", FORMATS)
def test_several_views_leave_too(name: str, views: str, tmp_path: Path) -> None:
    network = with_views(lively(build("convnet", (12, 10, 3), 3, width=8)), views)
    pixels = np.random.default_rng(1).integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)
    path = tmp_path / EXPORTERS[name].file
    EXPORTERS[name].write(network, path, "float32", pixels)
    np.testing.assert_allclose(open_model(path)(pixels), network.predict_on_batch(pixels), atol=2e-6)


@pytest.mark.parametrize("model", ["mlp", "resnet", "mirrored"])
def test_a_temperature_changes_probabilities_and_no_answer(model: str) -> None:
    network = lively(build("convnet" if model == "mirrored" else model, (12, 12, 1), 4))
    network = with_views(network, "mirrored" if model == "mirrored" else "one")
    pixels = np.random.default_rng(1).integers(0, 256, (20, 12, 12, 1), dtype=np.uint8)
    plain = np.asarray(network.predict_on_batch(pixels), np.float64)
    cooler = np.asarray(calibrated(network, 2.5).predict_on_batch(pixels))
    expected = plain ** (1 / 2.5)
    np.testing.assert_allclose(cooler, expected / expected.sum(-1, keepdims=True), atol=1e-6)
    assert (cooler.argmax(-1) == plain.argmax(-1)).all()
    assert calibrated(network, 1.0) is network


def test_a_layer_that_onnx_does_not_have_is_named(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    network = keras.Model(inputs, keras.layers.UpSampling2D(name="wider")(inputs))
    with pytest.raises(UsageError, match=r"wider \(UpSampling2D\) cannot be written as ONNX"):
        EXPORTERS["onnx"].write(network, tmp_path / "model.onnx", "float32", np.zeros((1, 8, 8, 1), np.uint8))
