"""SPACES: for each recipe what is searched, and how far from the default that may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from iconoclass.config import Config
from iconoclass.data.dataset import Dataset
from iconoclass.errors import EnvironmentFault
from iconoclass.models import weights
from iconoclass.models.catalog import MODELS
from iconoclass.models.pretrained import BACKBONES

Settings = dict[str, Any]
Space = dict[str, BaseDistribution]


class Around(Protocol):
    """How far a setting may go from its default."""

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        """None, where there is nothing to choose."""


@dataclass(frozen=True)
class Times:
    """From `low` times the default to `high` times, on a logarithmic scale. A default of 0 stays: it is no decay."""

    low: float
    high: float

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        return FloatDistribution(self.low * default, self.high * default, log=True) if default else None


@dataclass(frozen=True)
class Between:
    """From `low` to `high`, in steps where the default lies on one; the default is let in, wherever it lies."""

    low: float
    high: float
    step: float

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        is_on_a_step = self.low <= default <= self.high and round(default / self.step, 6).is_integer()
        low, high = min(self.low, default), max(self.high, default)
        return FloatDistribution(low, high, step=self.step if is_on_a_step else None)


@dataclass(frozen=True)
class OneOf:
    """One of a few; 0 is among the strengths of augmentations, since none is often best."""

    choices: tuple[Any, ...]

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        return CategoricalDistribution(list(dict.fromkeys((*self.choices, default))))


@dataclass(frozen=True)
class Halves:
    """The default, halves of it and twice it; batches of at most an eighth of the training part."""

    powers: tuple[int, ...]

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        most = max(1, len(dataset.train) // 8)
        sizes = {max(1, int(default * 2.0**power)) for power in self.powers}
        return CategoricalDistribution(sorted({default, *(size for size in sizes if size <= most)}))


@dataclass(frozen=True)
class Filters:
    """About half to twice the default's filters, in steps of eight from it."""

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        return IntDistribution(default - default // 16 * 8, default + default // 8 * 8, step=8)


@dataclass(frozen=True)
class Networks:
    """The networks of one family, where the user has named none."""

    names: tuple[str, ...]

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        return CategoricalDistribution(list(self.names)) if default in self.names else None


@dataclass(frozen=True)
class Alphas:
    """The width multipliers of a MobileNet whose weights are at hand: a search fetches nothing."""

    def around(self, default: Any, config: Config, dataset: Dataset) -> BaseDistribution | None:
        model = config.model.model or ""
        if model not in BACKBONES or default is None or config.model.weights != weights.PUBLISHED:
            return None
        at_hand = [alpha for alpha in BACKBONES[model].variants if _is_at_hand(config, alpha)]
        return CategoricalDistribution(at_hand) if default in at_hand else None


def space_around(default: Config, fixed: Mapping[str, Any], dataset: Dataset) -> Space:
    """What is searched, by setting: a distribution round the default.

    default: with nothing left open. fixed: settings that the user has chosen; they are not searched.
    """
    flat, found = default.flat(), {}
    for name, way in SPACES[default.training.recipe or "fast"].items():
        if fixed.get(name) is not None or (name == "model" and fixed.get("width") is not None):
            continue
        if flat[name] is None and name not in ("width", "dropout"):
            continue
        distribution = way.around(_value(name, flat), default, dataset)
        if distribution is not None and not distribution.single():
            found[name] = distribution
    if default.training.epochs is None:
        # Of the head alone only what changes its features has an effect.
        found = {name: way for name, way in found.items() if name == "alpha"}
    networks = found.get("model")
    models = networks.choices if isinstance(networks, CategoricalDistribution) else [flat["model"]]
    return {name: way for name, way in found.items() if any(has(str(model), name) for model in models)}


def has(model: str, name: str) -> bool:
    """Whether a setting means something for a network."""
    return name not in ("width", "dropout", "alpha") or name in MODELS[model].options


def drawn(way: BaseDistribution, random: np.random.Generator) -> Any:
    """A value of a distribution, each as likely as any other; logarithms, where its scale is logarithmic."""
    if isinstance(way, CategoricalDistribution):
        return way.choices[int(random.integers(len(way.choices)))]
    if isinstance(way, IntDistribution):
        return way.low + way.step * int(random.integers((way.high - way.low) // way.step + 1))
    if not isinstance(way, FloatDistribution):
        raise TypeError(f"nothing is drawn of a {type(way).__name__}")
    if way.log:
        return float(np.exp(random.uniform(np.log(way.low), np.log(way.high))))
    if way.step is None:
        return float(random.uniform(way.low, way.high))
    return round(way.low + way.step * int(random.integers(round((way.high - way.low) / way.step) + 1)), 6)


def values_of(config: Config, space: Space) -> Settings:
    """What a configuration says of the settings that are searched."""
    flat = config.flat()
    model = str(flat["model"])
    return {name: _value(name, flat) for name in space if has(model, name)}


def _value(name: str, flat: Settings) -> Any:
    """A setting as it is in force: what a network lets open is its own default."""
    if flat[name] is None and name in ("width", "dropout"):
        return MODELS[str(flat["model"])].defaults.get(name)
    return flat[name]


def _is_at_hand(config: Config, alpha: float | None) -> bool:
    try:
        weights.find(config.with_settings(alpha=alpha), offline=True)
    except EnvironmentFault:
        return False
    return True


# Ranges are about as far from the defaults as textbooks and the recipes' sources go: a decade of learning rates, a
# factor of four of batch sizes, of augmentations what leaves a picture recognisable.
SPACES: dict[str, dict[str, Around]] = {
    "fast": {
        "model": Networks(("resnet", "convnet")),
        "width": Filters(),
        "lr": Times(0.2, 5.0),
        "batch_size": Halves((-2, -1, 0, 1)),
        "weight_decay": Times(0.1, 10.0),
        "schedule": OneOf(("linear", "cosine", "triangular")),
        "label_smoothing": Between(0.0, 0.3, 0.05),
        "dropout": Between(0.0, 0.6, 0.1),
        "shift": OneOf((0.0, 0.0625, 0.125)),
        "rotate": OneOf((0.0, 5.0, 15.0)),
        "zoom": OneOf((0.0, 0.1, 0.2)),
        "cutout": OneOf((0.0, 0.25, 0.5)),
        "mixup": OneOf((0.0, 0.2)),
    },
    "textbook": {
        "model": Networks(("mlp", "convnet-1", "convnet-3")),
        "lr": Times(0.1, 10.0),
        "batch_size": Halves((-1, 0, 1, 2)),
        "weight_decay": Times(0.1, 10.0),
        "schedule": OneOf(("constant", "cosine", "triangular")),
        "label_smoothing": Between(0.0, 0.2, 0.05),
        "dropout": Between(0.0, 0.6, 0.1),
        "shift": OneOf((0.0, 0.0625, 0.125)),
        "rotate": OneOf((0.0, 5.0, 15.0)),
    },
    "transfer": {
        "alpha": Alphas(),
        "unfreeze": OneOf((0.0, 0.15, 0.3, 0.6)),
        "lr": Times(0.2, 5.0),
        "batch_size": Halves((-1, 0, 1)),
        "weight_decay": Times(0.1, 10.0),
        "schedule": OneOf(("triangular", "cosine")),
        "label_smoothing": Between(0.0, 0.2, 0.05),
        "dropout": Between(0.0, 0.6, 0.1),
        "shift": OneOf((0.0, 0.0625, 0.125)),
        "rotate": OneOf((0.0, 10.0)),
        "brightness": OneOf((0.0, 0.2, 0.4)),
        "contrast": OneOf((0.0, 0.2, 0.4)),
    },
}
