"""Model files that could do more than compute are refused before anything of them runs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import iconoclass as ic
from iconoclass.backend import keras
from iconoclass.errors import IconoclassError, IntegrityError, RunError
from iconoclass.exports.delivery import Export
from iconoclass.models.catalog import MODELS, build
from iconoclass.models.pretrained import BACKBONES
from iconoclass.models.views import VIEWS, with_views
from iconoclass.prediction import wire
from iconoclass.prediction.card import Card, write_card
from iconoclass.prediction.runtimes import open_model
from iconoclass.prediction.vetting import vet
from iconoclass.run import Run

layers = keras.layers
CARD = Card(["a", "b"], (8, 8, 1), "crop")


def network(*inside: Any) -> Any:
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *inside, layers.Flatten(), layers.Dense(2, activation="softmax", name="last")]
    )


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def rewritten(path: Path, change: Callable[[Any], None], member: str = "config.json") -> Path:
    """A .keras file in which one description is changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(content[member])
    change(description)
    content[member] = json.dumps(description).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


def refused(path: Path, said: str = "is refused") -> None:
    with pytest.raises(IntegrityError, match=said) as caught:
        open_model(path)
    assert caught.value.exit_status == 5


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What a bad file would make, if any of its code ran."""
    return tmp_path / "canary"


@pytest.mark.parametrize("name", [*MODELS, "mirrored", "shifted"])
def test_every_network_of_ours_passes(name: str, tmp_path: Path) -> None:
    shape = (32, 32, 3) if name in BACKBONES else (12, 12, 3)
    if name in {"resnet50", "resnet50v2", "convnexttiny"}:  # a hundred megabytes each, of layers that others have too
        config = json.loads(build(name, shape, 3).to_json())
        from iconoclass.prediction.vetting import vet_description

        vet_description(config)
        return
    model = with_views(build("mlp", shape, 3), name) if name in VIEWS else build(name, shape, 3)
    vet(saved(model, tmp_path / "model.keras"))


# -- Keras -----------------------------------------------------------------------------------------------------------


def _lambda(canary: Path) -> Any:
    return layers.Lambda(eval(f"lambda x, path={str(canary)!r}: (open(path, 'w').close(), x)[1]"))


def _hidden(kind: str, canary: Path) -> Any:
    if kind == "top":
        return network(_lambda(canary))
    if kind == "nested":
        inner = keras.Sequential([keras.Input((8, 8, 1)), _lambda(canary)])
        return network(keras.Sequential([keras.Input((8, 8, 1)), inner]))
    if kind == "wrapped":
        return network(layers.TimeDistributed(_lambda(canary)))
    raise KeyError(kind)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", ["top", "nested", "wrapped"])
@pytest.mark.filterwarnings("ignore")
def test_a_lambda_is_refused_wherever_it_hides(kind: str, suffix: str, tmp_path: Path, canary: Path) -> None:
    """M3, M4: in the network, in a network within it, wrapped by another layer."""
    path = saved(_hidden(kind, canary), tmp_path / f"model{suffix}")
    canary.unlink(missing_ok=True)  # building it ran it
    refused(path)
    with pytest.raises(IntegrityError):
        ic.import_model(path, output=tmp_path)
    assert not canary.exists()


CODE = {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}


def _in_loss(description: Any) -> None:
    description["compile_config"] = {"optimizer": "adam", "loss": CODE}


def _in_activation(description: Any) -> None:
    description["config"]["layers"][-1]["config"]["activation"] = CODE


def _in_initializer(description: Any) -> None:
    description["config"]["layers"][-1]["config"]["kernel_initializer"] = CODE


def _other_function(description: Any) -> None:
    description["config"]["layers"][-1]["config"]["activation"] = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "function",
    }


def _other_class(description: Any) -> None:
    description["config"]["layers"][-1].update(module="subprocess", class_name="Popen")


def _looks_like_ours(description: Any) -> None:
    description["config"]["layers"][-1].update(module="pip._internal.keras", class_name="Dense")


def _too_deep(description: Any) -> None:
    for _ in range(400):
        description["config"] = {"config": description["config"]}


def _too_wide(description: Any) -> None:
    description["config"]["layers"][-1]["config"]["units"] = 1 << 30


def _wider_than_its_arrays(description: Any) -> None:
    """M2."""
    description["config"]["layers"][-1]["config"]["units"] = 60_000


BAD_DESCRIPTIONS = [
    _in_loss,
    _in_activation,
    _in_initializer,
    _other_function,
    _other_class,
    _looks_like_ours,
    _too_deep,
    _too_wide,
    _wider_than_its_arrays,
]


@pytest.mark.parametrize("change", BAD_DESCRIPTIONS, ids=lambda change: change.__name__)
def test_a_description_that_holds_more_than_layers_is_refused(
    change: Callable[[Any], None], tmp_path: Path, canary: Path
) -> None:
    """M3: code in the loss, in an activation, in an initializer; M2: shapes that do not fit."""
    path = rewritten(saved(network(), tmp_path / "model.keras"), change)
    began = time.monotonic()
    refused(path)
    assert time.monotonic() - began < 5  # nothing was built
    assert not canary.exists()


def test_an_h5_file_with_code_in_its_training_is_refused(tmp_path: Path) -> None:
    """M4."""
    path = saved(network(), tmp_path / "model.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps({"loss": CODE})
    refused(path)


@pytest.mark.parametrize("name", ["StringLookup", "TextVectorization", "IntegerLookup"])
def test_layers_that_read_files_are_refused_and_no_file_is_opened(name: str, tmp_path: Path) -> None:
    """M5."""

    def read(description: Any) -> None:
        config = {"name": "words", "vocabulary": "/etc/passwd"}
        description["config"]["layers"].insert(1, {"module": "keras.layers", "class_name": name, "config": config})

    path = rewritten(saved(network(), tmp_path / "model.keras"), read)
    opened = opened_by(lambda: refused(path))
    assert not [file for file in opened if "passwd" in file]


@pytest.mark.parametrize("name", ["TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Wrapper", "Lambda"])
def test_layers_that_call_other_libraries_are_refused(name: str, tmp_path: Path) -> None:
    """M6."""

    def call(description: Any) -> None:
        entry = {"module": "keras.layers", "class_name": name, "config": {"name": "other", "filepath": "/tmp/x"}}
        description["config"]["layers"].insert(1, entry)

    refused(rewritten(saved(network(), tmp_path / "model.keras"), call), f"'{name}'")


def _external_link(file: Any, folder: Path) -> None:
    file["more"] = h5py.ExternalLink(str(folder / "other.h5"), "/numbers")


def _soft_link(file: Any, folder: Path) -> None:
    file["more"] = h5py.SoftLink("/layers")


def _external_storage(file: Any, folder: Path) -> None:
    file.create_dataset("more", (4,), "f4", external=[(str(folder / "numbers"), 0, 16)])


def _virtual(file: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "numbers", (4,))
    file.create_virtual_dataset("more", layout)


def _just_below_four_gigabytes(file: Any, folder: Path) -> None:
    file.create_dataset("more", (int(3.9 * 2**30) // 4,), "f4", chunks=(1 << 20,))


def _eight_petabytes(file: Any, folder: Path) -> None:
    file.create_dataset("more", (1 << 51,), "f4", chunks=(1 << 20,))


def _objects(file: Any, folder: Path) -> None:
    file.create_dataset("more", (2,), h5py.string_dtype())


BAD_ARRAYS = [
    _external_link,
    _soft_link,
    _external_storage,
    _virtual,
    _just_below_four_gigabytes,
    _eight_petabytes,
    _objects,
]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("change", BAD_ARRAYS, ids=lambda change: change.__name__)
def test_arrays_that_are_elsewhere_or_larger_than_the_file_are_refused(
    change: Callable[[Any, Path], None], suffix: str, tmp_path: Path
) -> None:
    """M7: links, external and virtual storage; M8: shapes that would fill the memory; M10: objects."""
    path = saved(network(), tmp_path / f"model{suffix}")
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            change(file, tmp_path)
    else:
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        arrays = io.BytesIO(content["model.weights.h5"])
        with h5py.File(arrays, "r+") as file:
            change(file, tmp_path)
        content["model.weights.h5"] = arrays.getvalue()
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in content.items():
                archive.writestr(name, value)
    with pytest.raises(IntegrityError):
        vet(path)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("iconoclass.json", bytes(64 << 20))


def _climbing(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../canary", "x")


def _second_description(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")


@pytest.mark.parametrize("change", [_bomb, _climbing, _second_description], ids=lambda change: change.__name__)
def test_a_zip_with_more_in_it_than_a_network_is_refused(change: Callable[[Path], None], tmp_path: Path) -> None:
    """M9."""
    path = saved(network(), tmp_path / "model.keras")
    change(path)
    refused(path)


@pytest.mark.parametrize("suffix", [".pkl", ".joblib", ".pt", ".pth", ".npz", ".npy"])
def test_pickles_are_not_opened_and_the_way_out_is_told(suffix: str, tmp_path: Path) -> None:
    """M10, M11."""
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"cos\nsystem\n")
    for ask in (ic.Predictor.load, lambda path: ic.import_model(path, output=tmp_path)):
        with pytest.raises(IntegrityError, match="is not opened") as caught:
            ask(path)
        assert "Export it as ONNX" in str(caught.value)


def test_weights_alone_are_no_network(tmp_path: Path) -> None:
    network().save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(RunError, match="weights without a network"):
        vet(tmp_path / "a.weights.h5")


# -- ONNX ------------------------------------------------------------------------------------------------------------


def _onnx(change: Callable[[Any, Any], None]) -> bytes:
    import onnx

    helper = onnx.helper
    value = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    weights = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", value[:1], value[1:], [weights])
    model = helper.make_model(graph)
    change(model, onnx)
    return bytes(model.SerializeToString())


def _outside(location: str) -> Callable[[Any, Any], None]:
    def change(model: Any, onnx: Any) -> None:
        tensor = model.graph.initializer[0]
        onnx.external_data_helper.set_external_data(tensor, location)

    return change


def _custom_operation(model: Any, onnx: Any) -> None:
    model.graph.node[0].domain = "evil.example"


def _unknown_operation(model: Any, onnx: Any) -> None:
    model.graph.node[0].op_type = "StringNormalizer"


def _deep(model: Any, onnx: Any) -> None:
    helper, graph = onnx.helper, onnx.helper.make_graph([], "leaf", [], [])
    for _ in range(20):  # protobuf itself goes no deeper than a hundred messages
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    model.graph.CopyFrom(graph)


def _own_operations(model: Any, onnx: Any) -> None:
    function = onnx.helper.make_function("a", "f", ["x"], ["y"], [], [onnx.helper.make_opsetid("", 20)])
    model.functions.append(function)


def _nan(model: Any, onnx: Any) -> None:
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([np.nan], np.float32), "w"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_outside("numbers.bin"), "another file"),
        (_outside("../../etc/passwd"), "another file"),
        (_custom_operation, r"evil\.example"),
        (_unknown_operation, "StringNormalizer"),
        (_deep, "If"),
        (_own_operations, "operations of its own"),
        (_nan, "NaN"),
    ],
    ids=["outside", "climbing", "custom", "unknown", "deep", "functions", "nan"],
)
def test_an_onnx_file_that_reaches_out_or_is_not_flat_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    """M12, M14."""
    path = tmp_path / "model.onnx"
    path.write_bytes(_onnx(change))
    refused(path, said)


def test_an_onnx_file_a_thousand_graphs_deep_is_refused(tmp_path: Path) -> None:
    """M12: written by hand, as no library writes one."""
    graph = b""
    for _ in range(1000):
        graph = wire.field(1, wire.field(4, b"If") + wire.field(5, wire.field(6, graph)))
    (tmp_path / "model.onnx").write_bytes(wire.field(7, graph))
    refused(tmp_path / "model.onnx")


def test_an_onnx_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """M12: or what is left is not a network."""
    content = _onnx(lambda model, onnx: None)
    for length in range(len(content)):
        (tmp_path / "model.onnx").write_bytes(content[:length])
        with pytest.raises(IconoclassError):
            ic.Predictor.load(tmp_path / "model.onnx")


def test_a_card_that_does_not_fit_its_network_is_refused(exported: dict[str, Export], tmp_path: Path) -> None:
    """M2."""
    from dataclasses import replace

    for name in ("onnx", "litert"):
        original = ic.Predictor.load(exported[name].path).card
        assert original is not None
        for change in ({"class_names": ["a", "b"]}, {"image_shape": (9, 8, 1)}):
            path = tmp_path / exported[name].path.name
            bare(exported[name].path, path)
            write_card(path, replace(original, **change))
            with pytest.raises(IntegrityError, match=r"answers for 10 classes|does not take images"):
                ic.Predictor.load(path)


def bare(path: Path, to: Path) -> None:
    """A model file without its card."""
    content = path.read_bytes()
    if path.suffix == ".onnx":
        end = min(began for number, _, began in wire.located_fields(content) if number == 14)
    else:
        with zipfile.ZipFile(path) as archive:
            end = min(member.header_offset for member in archive.infolist())
    to.write_bytes(content[:end])


# -- LiteRT and SavedModel -------------------------------------------------------------------------------------------


def test_damaged_litert_files_are_refused_and_the_process_lives(exported: dict[str, Export], tmp_path: Path) -> None:
    """M13: with a card that fits the damage, so that only what reads the file can find it."""
    bare(exported["litert"].path, tmp_path / "whole.tflite")
    content = (tmp_path / "whole.tflite").read_bytes()
    random = np.random.default_rng(0)
    for at in range(40):
        damaged = bytearray(content)
        for place in random.integers(8, 2000 if at % 2 else len(content), 8):
            damaged[place] = random.integers(256)
        (tmp_path / f"{at}.tflite").write_bytes(bytes(damaged if at else content[:3000]))
        write_card(tmp_path / f"{at}.tflite", Card([str(n) for n in range(10)], (8, 8, 1), "crop"))
    code = """if True:
        import sys, pathlib, numpy as np, iconoclass as ic
        for path in sorted(pathlib.Path(sys.argv[1]).glob("*.tflite")):
            try:
                ic.Predictor.load(path)
            except ic.IconoclassError:
                print("refused")
        print("alive")"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.split()[-1] == "alive"
    assert done.stdout.count("refused") >= 5


def test_a_saved_model_that_could_touch_files_is_refused(tmp_path: Path) -> None:
    """M11: one of our own is opened; any other graph is not."""
    import tensorflow as tf

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def __call__(self, path: Any) -> Any:
            return tf.io.read_file(path)

    tf.saved_model.save(Reader(), str(tmp_path / "saved_model"))
    refused(tmp_path / "saved_model", "ReadFile")


def test_a_saved_model_of_others_says_what_to_do(exported: dict[str, Export], tmp_path: Path) -> None:
    """M11."""
    shutil.copytree(exported["saved_model"].path, tmp_path / "saved_model")
    shutil.rmtree(tmp_path / "saved_model" / "assets.extra")
    with pytest.raises(RunError, match="does not say what its classes are"):
        ic.Predictor.load(tmp_path / "saved_model")


# -- what loading does -----------------------------------------------------------------------------------------------


def opened_by(act: Callable[[], Any]) -> list[str]:
    """Files opened, addresses called and programs started while something is done."""
    seen: list[str] = []
    is_on = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_on[0] and event in {"open", "socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.fork"}:
            seen.append(f"{event} {arguments[0]}")

    sys.addaudithook(hook)
    try:
        act()
    finally:
        is_on[0] = False
    return seen


@pytest.mark.parametrize("name", ["keras", "h5", "saved_model", "onnx", "litert", "run"])
def test_loading_opens_the_model_and_nothing_else(name: str, exported: dict[str, Export], run: Run) -> None:
    path = run.path if name == "run" else exported[name].path
    blank = np.zeros((8, 8), np.uint8)
    ic.Predictor.load(path).predict(blank)  # modules are imported once
    seen = opened_by(lambda: ic.Predictor.load(path).predict(blank))
    inside = str(path if name == "run" else exported[name].folder)
    # Keras unpacks the members of its zip, which were looked at before, into a folder that it removes again.
    mine = (f"open {inside}", f"open {Path(tempfile.gettempdir()) / 'tmp'}")
    elsewhere = [entry for entry in seen if not entry.startswith(mine) and not is_system_file(entry)]
    assert elsewhere == []


def is_system_file(entry: str) -> bool:
    """What Python and the system read of themselves; and numbers, which are descriptors of open files."""
    what = entry.removeprefix("open ")
    return entry.startswith("open ") and (
        what.isdigit()
        or what.startswith(("/sys/fs/cgroup", "/proc/", "<_io", sys.prefix, sys.base_prefix, "/dev/null"))
    )
