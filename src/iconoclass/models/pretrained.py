"""BACKBONES: networks that have learned from ImageNet what pictures look like; here they get a new last layer.

The table and what is decided by it are read before Keras is imported; only `build` imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from iconoclass.errors import UsageError

SIDE = 224  # pixels; what all of them were pretrained at
LEAST_SIDE = 32  # they halve the side five times
BACKBONE, LOGITS = "backbone", "logits"  # layers are found by these names
LOWEST_RATE = 0.1  # of the rate, for the lowest layer that learns; the others lie between it and the last layer's 1

_PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class Variant:
    """arrays, parameters: by which its weights are recognised; digest: of the published file, where one is stated."""

    arrays: int
    parameters: int
    digest: str | None = None


@dataclass(frozen=True)
class Backbone:
    """One network of keras.applications.

    application: its name there; scaling: of SCALINGS, what turns [0, 255] into what it was pretrained on; published:
    where its weights are, with {alpha} in it; variants: by alpha, the width multiplier, None where it has none.
    """

    application: str
    scaling: str
    published: str
    variants: Mapping[float | None, Variant]
    purpose: str
    source: str

    @property
    def alphas(self) -> list[float]:
        return [alpha for alpha in self.variants if alpha is not None]

    @property
    def default_alpha(self) -> float | None:
        return 1.0 if self.alphas else None

    def url(self, alpha: float | None) -> str:
        """Where the weights of that width are published."""
        # MobileNet's files say 7_5 for 0.75.
        digits = f"{alpha if alpha >= 1 else 10 * alpha:.1f}".replace(".", "_") if alpha else ""
        return f"{_PUBLISHED}/{self.published.format(alpha=alpha, digits=digits)}"


def variant(name: str, alpha: float | None) -> Variant:
    """The backbone of that width.

    Raises: UsageError, if there is none; it names those that there are.
    """
    backbone = BACKBONES[name]
    if alpha not in backbone.variants:
        has = f"It has: {', '.join(map(str, backbone.alphas))}." if backbone.alphas else "It has no width multiplier."
        raise UsageError(f"the model '{name}' has no alpha {alpha:g}", hint=has)
    return backbone.variants[alpha]


def build(
    name: str, shape: tuple[int, int, int], classes: int, *, alpha: float | None = None, dropout: float = 0.0
) -> Any:
    """The backbone with its own scaling before it and, behind it, pooled features, dropout and a dense layer."""
    from iconoclass.backend import keras

    backbone = BACKBONES[name]
    variant(name, alpha)
    if min(shape[:2]) < LEAST_SIDE:
        what = f"the model '{name}' takes pictures of {LEAST_SIDE} pixels or more. Received: {shape[0]} x {shape[1]}"
        raise UsageError(what, hint=f"Try --image-size 96, better {SIDE}")
    options: dict[str, Any] = {"include_top": False, "weights": None, "pooling": "avg"}
    options |= {} if alpha is None else {"alpha": alpha}
    network = getattr(keras.applications, backbone.application)(input_shape=(*shape[:2], 3), **options)
    network.name = BACKBONE  # not before: by the name it was given, EfficientNetV2 finds its own plan
    inputs = keras.Input(shape)
    x = inputs if shape[2] == 3 else keras.layers.Concatenate()([inputs] * 3)
    x = network(SCALINGS[backbone.scaling](x))
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.Dense(classes, name=LOGITS)(x)
    return keras.Model(inputs, keras.layers.Softmax(dtype="float32", name="probabilities")(x), name=name)


def builder(name: str) -> Callable[..., Any]:
    """What MODELS calls: `build` for one backbone, with `alpha` among its options only where it has one."""
    backbone = BACKBONES[name]
    if backbone.default_alpha is None:

        def fixed(shape: tuple[int, int, int], classes: int, *, dropout: float = 0.0) -> Any:
            return build(name, shape, classes, dropout=dropout)

        return fixed
    return partial(build, name, alpha=backbone.default_alpha)


def thaw(model: Any, share: float) -> dict[str, float]:
    """Let the top `share` of a backbone's layers learn, and freeze the rest; batch norm stays as it was pretrained.

    Returns: by the path of each variable that learns, its share of the learning rate.
    """
    from iconoclass.backend import keras

    layers = [layer for layer in _leaves(model.get_layer(BACKBONE)) if layer.weights]
    frozen = round((1 - share) * len(layers))
    rates: dict[str, float] = {}
    for place, layer in enumerate(layers):
        # Its statistics are of a million pictures; those of a few batches would only spoil them.
        layer.trainable = place >= frozen and not isinstance(layer, keras.layers.BatchNormalization)
        rate = LOWEST_RATE ** ((len(layers) - place) / max(1, len(layers) - frozen))
        rates |= {variable.path: rate for variable in layer.trainable_variables}
    return rates


def forget_frozen(model: Any) -> None:
    """As if nothing had been frozen, in what is saved: whoever loads it decides anew."""
    # Not by `model.trainable`, which stops at networks inside of the network.
    for layer in _leaves(model):
        layer.trainable = True


def _leaves(layer: Any) -> Iterator[Any]:
    inside = getattr(layer, "layers", None)
    if inside is None:
        yield layer
    for part in inside or ():
        yield from _leaves(part)


# -- scalings: from [0, 255] to what a network was pretrained on -----------------------------------------------------


def _within_one(x: Any) -> Any:
    """To [-1, 1]."""
    from iconoclass.backend import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1)(x)


def _caffe(x: Any) -> Any:
    """Blue, green and red, each less ImageNet's mean; not scaled."""
    from iconoclass.backend import keras

    return keras.ops.flip(keras.layers.Rescaling(1.0, offset=[-123.68, -116.779, -103.939])(x), axis=-1)


SCALINGS: dict[str, Callable[[Any], Any]] = {
    "within one": _within_one,
    "caffe": _caffe,
    "its own": lambda x: x,  # it begins with a layer that scales [0, 255]
}

# Arrays and parameters without the last layer. Digests: those of keras.applications, which states none for MobileNet
# and MobileNetV2.
BACKBONES = {
    "mobilenetv2": Backbone(
        "MobileNetV2",
        scaling="within one",
        published="mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5",
        variants={
            0.35: Variant(260, 410_208),
            0.5: Variant(260, 706_224),
            0.75: Variant(260, 1_382_064),
            1.0: Variant(260, 2_257_984),
            1.3: Variant(260, 3_766_048),
            1.4: Variant(260, 4_363_712),
        },
        purpose="the default for photographs; 300 million multiply-adds, 59 at alpha 0.35",
        source="Sandler et al., arXiv 1801.04381",
    ),
    "mobilenet": Backbone(
        "MobileNet",
        scaling="within one",
        published="mobilenet/mobilenet_{digits}_224_tf_no_top.h5",
        variants={
            0.25: Variant(135, 218_544),
            0.5: Variant(135, 829_536),
            0.75: Variant(135, 1_832_976),
            1.0: Variant(135, 3_228_864),
        },
        purpose="the first of its kind; 569 million multiply-adds, 41 at alpha 0.25",
        source="Howard et al., arXiv 1704.04861",
    ),
    "mobilenetv3small": Backbone(
        "MobileNetV3Small",
        scaling="its own",
        published="mobilenet_v3/weights_mobilenet_v3_small_224_{alpha}_float_no_top_v2.h5",
        variants={
            0.75: Variant(206, 583_160, "md5:ebdb5cc8e0b497cd13a7c275d475c819"),
            1.0: Variant(206, 939_120, "md5:d3e8ec802a04aa4fc771ee12a9a9b836"),
        },
        purpose="for the slowest machines; 66 million multiply-adds",
        source="Howard et al., arXiv 1905.02244",
    ),
    "mobilenetv3large": Backbone(
        "MobileNetV3Large",
        scaling="its own",
        published="mobilenet_v3/weights_mobilenet_v3_large_224_{alpha}_float_no_top_v2.h5",
        variants={
            0.75: Variant(262, 1_808_736, "md5:40af19a13ebea4e2ee0c676887f69a2e"),
            1.0: Variant(262, 2_996_352, "md5:07fb09a5933dd0c8eaafa16978110389"),
        },
        purpose="more accurate on ImageNet than mobilenetv2; 217 million multiply-adds",
        source="Howard et al., arXiv 1905.02244",
    ),
    "efficientnetv2b0": Backbone(
        "EfficientNetV2B0",
        scaling="its own",
        published="efficientnet_v2/efficientnetv2-b0_notop.h5",
        variants={None: Variant(359, 5_919_312, "md5:893217f2bb855e2983157299931e43ff")},
        purpose="more accurate still; 0.7 billion multiply-adds",
        source="Tan & Le, arXiv 2104.00298",
    ),
    "resnet50": Backbone(
        "ResNet50",
        scaling="caffe",
        published="resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        variants={None: Variant(318, 23_587_712, "md5:4d473c1dd8becc155b73f8504c6f6626")},
        purpose="what others compare with; 4 billion multiply-adds",
        source="He et al., arXiv 1512.03385",
    ),
    "resnet50v2": Backbone(
        "ResNet50V2",
        scaling="within one",
        published="resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        variants={None: Variant(270, 23_564_800, "md5:fac2f116257151a9d068a22e544a4917")},
        purpose="resnet50 with its activations before its convolutions",
        source="He et al., arXiv 1603.05027",
    ),
    "convnexttiny": Backbone(
        "ConvNeXtTiny",
        scaling="its own",
        published="convnext/convnext_tiny_notop.h5",
        variants={
            None: Variant(180, 27_820_128, "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1")
        },
        purpose="the most accurate here on ImageNet; 4.5 billion multiply-adds",
        source="Liu et al., arXiv 2201.03545",
    ),
}
DEFAULT = "mobilenetv2"
