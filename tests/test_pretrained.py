"""Backbones: each with its own scaling inside, its weights recognised by their arrays, read with suspicion."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from iconoclass.backend import keras, make_deterministic
from iconoclass.config import Config
from iconoclass.data.batches import Batch
from iconoclass.errors import DownloadError, EnvironmentFault, IntegrityError, UsageError
from iconoclass.models import pretrained
from iconoclass.models.catalog import MODELS, build
from iconoclass.models.pretrained import BACKBONE, BACKBONES, LOGITS, thaw
from iconoclass.models.weights import decide, find, load, recognised
from iconoclass.training.steps import make_step

# The rest take seconds each to be built, compiled and opened again.
QUICK = {"mobilenet", "mobilenetv2"}
every_backbone = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in BACKBONES]
)
SMALLEST = {"model": "mobilenet", "alpha": 0.25}


def pictures(count: int, shape: tuple[int, int, int]) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def options(name: str) -> dict[str, float]:
    """The smallest of its widths."""
    return {"alpha": min(BACKBONES[name].alphas)} if BACKBONES[name].alphas else {}


@pytest.fixture(scope="module")
def smallest() -> Any:
    return build("mobilenet", (32, 32, 3), 3, alpha=0.25)


@pytest.fixture(scope="module")
def file(smallest: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the smallest backbone, as Keras writes it."""
    path = tmp_path_factory.mktemp("weights") / "any name.weights.h5"
    smallest.get_layer(BACKBONE).save_weights(path)
    return path


def config_of(**settings: Any) -> Config:
    return Config.of(source="photos", **settings)


# -- the networks --------------------------------------------------------------------------------------------------


@every_backbone
def test_every_backbone_gives_probabilities_learns_a_step_and_opens_in_plain_keras(name: str, tmp_path: Path) -> None:
    """M1: nothing of ours is needed to open what we save, and nothing is downloaded to build it."""
    make_deterministic(0)
    model, asked = build(name, (32, 40, 3), 5, **options(name)), pictures(2, (32, 40, 3))
    learned = make_step(model, keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy())
    batch = Batch(asked, np.array([0, 1], np.int32), np.ones(2, np.float32))
    value, _ = learned.learn(learned.copy(batch))
    assert np.isfinite(value)
    answers = model.predict_on_batch(asked)
    assert answers.dtype == np.float32
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "asked.npy", asked)
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1] + '/model.keras', compile=False)\n"
        "np.save(sys.argv[1] + '/answers.npy', model.predict_on_batch(np.load(sys.argv[1] + '/asked.npy')))\n"
        "assert not [name for name in sys.modules if name.startswith('iconoclass')]\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    assert np.allclose(np.load(tmp_path / "answers.npy"), answers, atol=1e-5)


@every_backbone
def test_the_table_says_how_many_arrays_and_parameters_there_are(name: str) -> None:
    backbone = BACKBONES[name]
    for alpha, variant in backbone.variants.items():
        network = build(name, (32, 32, 3), 2, **({"alpha": alpha} if alpha else {})).get_layer(BACKBONE)
        assert (len(network.weights), network.count_params()) == (variant.arrays, variant.parameters)


MODULES = {
    "mobilenet": "mobilenet", "mobilenetv2": "mobilenet_v2", "mobilenetv3small": "mobilenet_v3",
    "mobilenetv3large": "mobilenet_v3", "resnet50": "resnet", "resnet50v2": "resnet_v2",
    "efficientnetv2b0": "efficientnet_v2", "convnexttiny": "convnext",
}  # fmt: skip


@every_backbone
def test_every_backbone_sees_what_its_own_preprocessing_makes_of_a_picture(name: str) -> None:
    """What keras.applications says of each: -1 to 1, blue-green-red less the means, or a layer that it has inside."""
    module = getattr(keras.applications, MODULES[name])
    asked = pictures(2, (32, 32, 3))
    model = build(name, (32, 32, 3), 2, **options(name))
    before = keras.Model(model.inputs[0], model.get_layer(BACKBONE)._inbound_nodes[-1].input_tensors[0])
    assert np.allclose(before.predict_on_batch(asked), module.preprocess_input(asked.astype(np.float32)), atol=1e-3)


@every_backbone
def test_the_addresses_and_digests_are_those_of_the_installed_keras(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its own function is asked for the weights, and tells where it would take them from."""
    backbone, asked = BACKBONES[name], []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> str:
        asked.append((origin, file_hash))
        raise KeyError(fname)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    for alpha, variant in backbone.variants.items():
        with pytest.raises(KeyError):
            getattr(keras.applications, backbone.application)(
                include_top=False, input_shape=(224, 224, 3), **({"alpha": alpha} if alpha else {})
            )
        digest = variant.digest.partition(":")[2] if variant.digest else None
        assert asked.pop() == (backbone.url(alpha), digest)


def test_grey_pictures_are_seen_as_colour_pictures_of_three_alike_channels() -> None:
    grey = pictures(3, (32, 32, 1))
    one, three = (build("mobilenet", (32, 32, channels), 4, alpha=0.25) for channels in (1, 3))
    three.set_weights(one.get_weights())
    assert np.allclose(one.predict_on_batch(grey), three.predict_on_batch(np.repeat(grey, 3, axis=3)), atol=1e-6)


def test_dropout_stands_before_the_last_layer() -> None:
    names = [type(layer).__name__ for layer in build("mobilenet", (32, 32, 3), 4, alpha=0.25, dropout=0.5).layers]
    assert names[-3:] == ["Dropout", "Dense", "Softmax"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"alpha": 0.3}, "the model 'mobilenet' has no alpha 0.3. It has: 0.25, 0.5, 0.75, 1.0"),
        ({"shape": (28, 28, 1)}, "takes pictures of 32 pixels or more. Received: 28 x 28. Try --image-size"),
    ],
)
def test_what_a_backbone_cannot_be_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build("mobilenet", settings.pop("shape", (32, 32, 3)), 2, **settings)


def test_the_top_share_of_the_layers_learns_at_rising_rates_and_batch_norm_never(smallest: Any) -> None:
    rates = thaw(smallest, 0.3)
    learning = [layer for layer in smallest.get_layer(BACKBONE).layers if layer.trainable_variables]
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in learning)
    shares = [rates[layer.trainable_variables[0].path] for layer in learning]
    assert shares == sorted(shares)
    assert 0.1 <= shares[0] < shares[-1] < 1
    assert len(learning) == 8, "of 54 layers with weights the top 16, every other one batch norm"
    assert thaw(smallest, 0.0) == {}
    assert smallest.trainable_variables == smallest.get_layer(LOGITS).trainable_variables
    assert len(thaw(smallest, 1.0)) == 27


# -- which network -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "is_photos", "expected"),
    [
        ({}, True, ("mobilenetv2", 1.0, "imagenet")),
        ({}, False, (None, None, None)),
        ({}, None, (None, None, None)),
        ({"weights": "none"}, True, ("mobilenetv2", 1.0, "none")),
        ({"model": "resnet"}, True, ("resnet", None, None)),
        ({"model": "auto"}, True, ("auto", None, None)),
        ({"width": 64}, True, (None, None, None)),
        ({"recipe": "fast"}, True, (None, None, None)),
        ({"alpha": 0.5}, None, ("mobilenetv2", 0.5, "imagenet")),
        ({"model": "mobilenet"}, None, ("mobilenet", 1.0, "imagenet")),
        ({"model": "resnet50"}, False, ("resnet50", None, "imagenet")),
    ],
)
def test_the_network_follows_from_settings_and_pictures(
    settings: dict[str, Any], is_photos: bool | None, expected: tuple[Any, ...]
) -> None:
    model = decide(config_of(**settings), is_photos).model
    assert (model.model, model.alpha, model.weights) == expected


def test_a_weights_file_says_which_network_it_belongs_to_whatever_its_name(file: Path) -> None:
    assert recognised(file) == ("mobilenet", 0.25)
    decided = decide(config_of(weights=str(file)), None)
    assert (decided.model.model, decided.model.alpha, decided.model.weights) == ("mobilenet", 0.25, str(file))
    assert decide(decided, True) == decided


@pytest.mark.parametrize("settings", [{"model": "mobilenetv2"}, {"alpha": 0.5}])
def test_weights_of_another_network_than_the_one_asked_for_are_refused(settings: dict[str, Any], file: Path) -> None:
    with pytest.raises(UsageError, match=r"belongs to mobilenet of alpha 0\.25, not to --"):
        decide(config_of(weights=str(file), **settings), None)


def test_a_file_that_fits_none_is_refused_with_what_it_holds_and_what_would_fit(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.weights.h5", "w") as written:
        written["layers/dense/vars/0"] = np.zeros((3, 4), np.float32)
    with pytest.raises(UsageError, match="holds 1 arrays with 12 parameters") as caught:
        recognised(tmp_path / "x.weights.h5")
    assert "mobilenetv2 of alpha 0.35: 260 arrays, 410,208 parameters" in caught.value.hint


def test_weights_that_are_not_there_are_a_mistake_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there are no weights .*imagent\. Allowed: imagenet, none, a weights file"):
        decide(config_of(weights="imagent"), None)


# -- files that somebody else made ----------------------------------------------------------------------------------


def soft_link(written: Any) -> None:
    written["layers/a"] = h5py.SoftLink("/etc")


def external_link(written: Any) -> None:
    written["layers/a"] = h5py.ExternalLink("/etc/passwd", "/")


def external_storage(written: Any) -> None:
    written.create_dataset("layers/a", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(written: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    written.create_virtual_dataset("layers/a", layout)


def bomb(written: Any) -> None:
    written.create_dataset("layers/a", (1 << 20, 1 << 20), "f4", chunks=(1, 1 << 10))


def text(written: Any) -> None:
    written["layers/a"] = "some words"


@pytest.mark.parametrize("harm", [soft_link, external_link, external_storage, virtual, bomb, text])
def test_what_leads_out_of_a_file_or_is_no_array_is_refused_unread(harm: Any, tmp_path: Path) -> None:
    """M8."""
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as written:
        harm(written)
    with pytest.raises(IntegrityError) as caught:
        recognised(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"<html>", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_weights_file_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    """M1: a pickle among them is not opened as one."""
    (tmp_path / "x.weights.h5").write_bytes(content)
    with pytest.raises(IntegrityError, match="not a weights file"):
        recognised(tmp_path / "x.weights.h5")


def test_a_file_cut_short_is_refused(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "x.weights.h5"
    cut.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(IntegrityError):
        recognised(cut)


def test_of_a_file_as_many_arrays_and_parameters_but_other_shapes_nothing_is_loaded(
    smallest: Any, file: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.weights.h5"
    odd.write_bytes(file.read_bytes())
    with h5py.File(odd, "r+") as written:
        path = "layers/conv2d/vars/0"
        values = written[path][:]
        del written[path]
        written[path] = values.reshape(-1)
    before = smallest.get_weights()
    with pytest.raises(IntegrityError, match="does not fit mobilenet: it has an array of shape"):
        load(smallest, odd)
    assert all(map(np.array_equal, before, smallest.get_weights()))


def test_weights_that_are_no_numbers_are_refused(file: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.weights.h5"
    odd.write_bytes(file.read_bytes())
    with h5py.File(odd, "r+") as written:
        written["layers/conv2d/vars/0"][0] = np.nan
    with pytest.raises(IntegrityError, match="NaN"):
        load(build("mobilenet", (32, 32, 3), 2, alpha=0.25), odd)


def test_a_file_of_the_other_format_must_have_the_other_name(file: Path, tmp_path: Path) -> None:
    """Keras goes by the name alone, and would say something about a missing attribute."""
    (tmp_path / "x.h5").write_bytes(file.read_bytes())
    with pytest.raises(UsageError, match=r"Name it \.weights\.h5"):
        recognised(tmp_path / "x.h5")


def old_format(network: Any, path: Path) -> Path:
    """As Keras 2 wrote it, and as the published files are."""
    with h5py.File(path, "w") as written:
        layers = [layer for layer in network.layers if layer.weights]
        written.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = written.create_group(layer.name)
            ordered = [*layer.trainable_weights, *layer.non_trainable_weights]
            group.attrs["weight_names"] = [f"{layer.name}/{place}:0".encode() for place in range(len(ordered))]
            for place, weight in enumerate(ordered):
                group[f"{layer.name}/{place}:0"] = np.array(weight)
    return path


def test_both_formats_of_keras_are_read(smallest: Any, file: Path, tmp_path: Path) -> None:
    backbone = smallest.get_layer(BACKBONE)
    thaw(smallest, 1.0)  # batch norm that does not learn would be written in another order
    for layer in backbone.layers:
        layer.trainable = True
    for path in (file, old_format(backbone, tmp_path / "old.h5")):
        other = build("mobilenet", (32, 32, 3), 2, alpha=0.25)
        load(other, path)
        assert all(map(np.array_equal, backbone.get_weights(), other.get_layer(BACKBONE).get_weights()))


# -- downloads -----------------------------------------------------------------------------------------------------


class _Published(BaseHTTPRequestHandler):
    content = b""
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def publisher(smallest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Published]]:
    """A server on this machine that has the smallest backbone, in place of the real one; and an empty cache."""
    for layer in smallest.get_layer(BACKBONE).layers:
        layer.trainable = True
    content = old_format(smallest.get_layer(BACKBONE), tmp_path / "published.h5").read_bytes()
    handler = type("Handler", (_Published,), {"content": content, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(pretrained, "_PUBLISHED", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("ICONOCLASS_CACHE", str(tmp_path / "cache"))
    yield handler
    server.shutdown()
    server.server_close()


def test_published_weights_come_once_and_are_then_known_by_their_digest(publisher: type[_Published]) -> None:
    config = decide(config_of(**SMALLEST), None)
    path = find(config)
    assert publisher.asked == ["/mobilenet/mobilenet_2_5_224_tf_no_top.h5"]
    assert find(config, offline=True) == path
    assert len(publisher.asked) == 1
    load(build("mobilenet", (32, 32, 3), 2, alpha=0.25), path)
    # From now on these bytes are the file, and no others, were they a backbone too.
    path.write_bytes(b"damaged")
    assert find(config).read_bytes() == publisher.content
    path.unlink()
    publisher.content += b"changed"
    with pytest.raises(EnvironmentFault, match="digest"):
        find(config)


def test_a_page_that_calls_itself_the_weights_is_not_kept(publisher: type[_Published]) -> None:
    publisher.content = b"<html>Please log in.</html>"
    with pytest.raises(EnvironmentFault, match="which are not the file") as caught:
        find(decide(config_of(**SMALLEST), None))
    assert caught.value.exit_status == 4
    assert "--weights FILE" in caught.value.hint


def test_offline_without_weights_says_what_works(publisher: type[_Published]) -> None:
    with pytest.raises(EnvironmentFault, match=r"mobilenet of alpha 0\.25 are not here") as caught:
        find(decide(config_of(**SMALLEST), None), offline=True)
    assert caught.value.exit_status == 4
    assert caught.value.code == DownloadError.code
    for way_out in ("--weights FILE", "--weights none", "--model resnet", "mobilenet_2_5_224_tf_no_top.h5"):
        assert way_out in caught.value.hint
    assert publisher.asked == []


def test_no_backbone_is_built_to_list_them() -> None:
    from iconoclass.models import catalog

    rows = {row["name"]: row for row in catalog.listing()}
    assert rows.keys() == MODELS.keys()
    assert rows["mobilenetv2"]["parameters"]["0.35"] == 410_208


def test_the_table_is_read_without_keras() -> None:
    code = "import sys, iconoclass.models.weights; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"keras", "tensorflow"} & set(loaded)
