"""RECIPES: optimiser, schedule, augmentation and regularisation under one name. What the user sets, stays set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iconoclass.backend import BACKEND, processor_has_bfloat16
from iconoclass.config import AugmentConfig, Config
from iconoclass.data.dataset import Dataset
from iconoclass.errors import UsageError, pick
from iconoclass.models.catalog import MODELS
from iconoclass.training.optimizers import OPTIMIZERS, SCHEDULES

Settings = dict[str, Any]
NO_AUGMENTATION: Settings = dict.fromkeys(AugmentConfig.model_fields, 0.0)


def complete(config: Config, dataset: Dataset) -> Config:
    """The configuration with nothing left open: what was not set is decided by the data, the network and the recipe.

    Raises: UsageError, if a name is unknown or a setting would have no effect.
    """
    model = config.model.model or "resnet"
    entry = pick(MODELS, model, "model")
    recipe = config.training.recipe or entry.recipe
    defaults = pick(RECIPES, recipe, "recipe")(config, dataset)
    chosen = {name: value for name, value in config.flat().items() if value is not None}
    chosen |= {name: value for name, value in dataset.config if value is not None}
    if chosen.get("precision") == "auto":
        del chosen["precision"]
    whole = Config.of(**{**NO_AUGMENTATION, **entry.defaults, **defaults, **chosen, "model": model, "recipe": recipe})
    _refuse_what_has_no_effect(config, whole)
    return whole


def textbook(config: Config, dataset: Dataset) -> Settings:
    """What the tutorials do: Adam at its usual rate, nothing else. Step for step the same training.

    What is kept is the average of the weights along the way: at a constant rate the weights of any one step are noisy,
    and their average is a point better (docs/decisions.md). `--average 0` keeps the weights as they are.
    """
    optimizer = config.training.optimizer or "adam"
    return {
        "epochs": 10,
        "batch_size": 32,
        "optimizer": optimizer,
        "lr": {"sgd": 1e-2}.get(optimizer, 1e-3),
        "momentum": 0.9 if optimizer == "sgd" else None,
        "weight_decay": 4e-3 if optimizer == "adamw" else 0.0,  # Keras's own default
        "schedule": "constant",
        "label_smoothing": 0.0,
        "average": 0.999,
        "patience": 0,
        "precision": "float32",
    }


def fast(config: Config, dataset: Dataset) -> Settings:
    """The most accuracy for the time on a CPU. Sources: Jordan, arXiv 2404.00498; Page (2018-19)."""
    # Without batch norm in it, a network does not stand the high rate that makes SGD the faster one.
    normalised = MODELS[config.model.model or "resnet"].recipe == "fast"
    optimizer = config.training.optimizer or ("sgd" if normalised else "adamw")
    batch_size = config.training.batch_size or _batch_size(len(dataset.train))
    return {
        "epochs": _epochs(len(dataset.train)),
        "batch_size": batch_size,
        "optimizer": optimizer,
        # In proportion to the batch: twice the images, twice the step (Goyal et al., arXiv 1706.02677).
        "lr": 1.2 * batch_size / 512 if optimizer == "sgd" else 2e-3,
        "momentum": 0.85 if optimizer == "sgd" else None,
        "weight_decay": 5e-3,
        "schedule": "triangular",
        "label_smoothing": 0.2 if normalised else 0.1,
        "average": 0.0,
        "patience": 0,  # The rate falls to nearly nothing at the end; an early end would miss the best part.
        "precision": "bfloat16" if BACKEND == "tensorflow" and processor_has_bfloat16() else "float32",
        "flip": 0.5 if dataset.has_mirror_images else 0.0,
        "shift": 0.0625,  # 2 pixels of 32
    }


def _epochs(images: int) -> int:
    """About 400,000 images seen, in 8 epochs at least and 100 at most."""
    return min(100, max(8, round(400_000 / images)))


def _batch_size(images: int) -> int:
    """512, or fewer where an epoch would be less than 16 steps: small sets need the steps."""
    return max(16, min(512, images // 16))


def _refuse_what_has_no_effect(asked: Config, whole: Config) -> None:
    """Raises: UsageError, naming every setting that was asked for and would change nothing."""
    training, problems = whole.training, []
    pick(OPTIMIZERS, training.optimizer or "", "optimizer")
    pick(SCHEDULES, training.schedule or "", "schedule")
    if asked.training.momentum and training.optimizer != "sgd":
        problems.append(f"momentum has no effect with {training.optimizer}")
    for option in ("width", "dropout"):
        has = MODELS[whole.model.model or ""].options
        if getattr(asked.model, option) is not None and option not in has:
            problems.append(f"the model '{whole.model.model}' has no {option}")
    if BACKEND != "tensorflow" and training.precision == "bfloat16":
        problems.append(f"bfloat16 is only trained in with TensorFlow; this is {BACKEND}")
    if problems:
        raise UsageError("; ".join(problems))


RECIPES: dict[str, Callable[[Config, Dataset], Settings]] = {
    "fast": fast,
    "textbook": textbook,
}
