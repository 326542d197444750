"""MODELS: name -> a builder, where it comes from and what it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iconoclass.backend import keras
from iconoclass.errors import UsageError, pick
from iconoclass.models import pretrained
from iconoclass.models.resnet import resnet
from iconoclass.models.textbook import convnet, convnet_1, convnet_3, mlp

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Entry:
    """build: (shape, classes, **options) -> keras.Model; recipe: what it is trained with unless one is named."""

    build: Callable[..., Any]
    purpose: str
    source: str
    recipe: str

    @property
    def defaults(self) -> dict[str, Any]:
        """What can be chosen about it, width or dropout, and what it is unless it is chosen."""
        parameters = inspect.signature(self.build).parameters.values()
        return {
            parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
        }

    @property
    def options(self) -> list[str]:
        return list(self.defaults)


def build(name: str, shape: Shape, classes: int, *, precision: str = "float32", **options: Any) -> Any:
    """A new network with random weights: raw pixels (batch, *shape) in [0, 255] in, probabilities (batch, classes) out.

    precision: "float32", or "bfloat16" to compute in it while the weights stay float32.
    options: those of the network; None leaves its own default.
    Raises: UsageError, if there is no such network, or it has no such option.
    """
    entry = pick(MODELS, name, "model")
    options = {option: value for option, value in options.items() if value is not None}
    for option in options:
        if option not in entry.options:
            has = f"It has: {', '.join(entry.options)}." if entry.options else "It has none."
            raise UsageError(f"the model '{name}' has no option '{option}'", hint=has)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        return entry.build(shape, classes, **options)
    finally:
        keras.config.set_dtype_policy(before)


MODELS = {
    "resnet": Entry(
        resnet,
        purpose="the default for small images: the most accuracy for the time",
        source="Jordan 2024 and Page 2018, made smaller",
        recipe="fast",
    ),
    "convnet": Entry(
        convnet,
        purpose="a plain regularised CNN: batch norm, dropout, weight decay",
        source="Ioffe & Szegedy 2015; Srivastava et al. 2014",
        recipe="fast",
    ),
    "convnet-3": Entry(
        convnet_3,
        purpose="the textbook CNN for CIFAR-10 and Fashion-MNIST",
        source="the CNN tutorial of tensorflow.org",
        recipe="textbook",
    ),
    "convnet-1": Entry(
        convnet_1,
        purpose="the textbook first CNN for MNIST",
        source="common teaching material",
        recipe="textbook",
    ),
    "mlp": Entry(
        mlp,
        purpose="the textbook dense network for Fashion-MNIST",
        source="the Fashion-MNIST tutorial of tensorflow.org",
        recipe="textbook",
    ),
    **{
        name: Entry(pretrained.builder(name), backbone.purpose, backbone.source, recipe="transfer")
        for name, backbone in pretrained.BACKBONES.items()
    },
}


def listing() -> list[dict[str, Any]]:
    """A row a network: name, purpose, source, recipe, options, and parameters: at the two usual sizes for 10 classes;
    of a backbone, at each alpha, without the last layer.
    """
    return [
        {
            "name": name,
            "purpose": entry.purpose,
            "source": entry.source,
            "recipe": entry.recipe,
            "options": entry.options,
            "parameters": _parameters(name),
        }
        for name, entry in MODELS.items()
    ]


def _parameters(name: str) -> dict[str, int]:
    if name in pretrained.BACKBONES:
        variants = pretrained.BACKBONES[name].variants
        return {f"{alpha or 1.0:g}": variant.parameters for alpha, variant in variants.items()}
    shapes = {"28x28x1": (28, 28, 1), "32x32x3": (32, 32, 3)}
    return {text: build(name, shape, 10).count_params() for text, shape in shapes.items()}
