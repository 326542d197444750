"""RECIPES: optimiser, schedule, augmentation and regularisation under one name. What the user sets, stays set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.backend import BACKEND, processor_has_bfloat16
from iconoclass.config import AugmentConfig, Config
from iconoclass.data.batches import are_unequal
from iconoclass.data.dataset import Dataset
from iconoclass.errors import UsageError, pick
from iconoclass.models.catalog import MODELS
from iconoclass.models.pretrained import BACKBONES
from iconoclass.models.weights import NONE, are_wanted, decide
from iconoclass.training.optimizers import OPTIMIZERS, SCHEDULES

Settings = dict[str, Any]
NO_AUGMENTATION: Settings = dict.fromkeys(AugmentConfig.model_fields, 0.0)


def complete(config: Config, dataset: Dataset) -> Config:
    """The configuration with nothing left open: what was not set is decided by the data, the network and the recipe.

    Raises: UsageError, if a name is unknown or a setting would have no effect.
    """
    asked, config = config, decide(config, dataset.are_photos)
    model = _network(config)
    entry = pick(MODELS, model, "model")
    recipe = config.training.recipe or _recipe(config)
    defaults = pick(RECIPES, recipe, "recipe")(config, dataset) | _by_class_sizes(dataset)
    chosen = {name: value for name, value in config.flat().items() if value not in (None, "auto")}
    chosen |= {name: value for name, value in dataset.config if value is not None}
    whole = Config.of(**{**NO_AUGMENTATION, **entry.defaults, **defaults, **chosen, "model": model, "recipe": recipe})
    _refuse_what_has_no_effect(asked, whole, dataset)
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
        "lr": {"sgd": 1e-2, "muon": 2e-2}.get(optimizer, 1e-3),
        "momentum": {"sgd": 0.9, "muon": 0.6}.get(optimizer),
        "weight_decay": 4e-3 if optimizer == "adamw" else 0.0,  # Keras's own default
        "schedule": "constant",
        "label_smoothing": 0.0,
        "average": 0.999,
        "patience": 0,
        "precision": "float32",
    }


def fast(config: Config, dataset: Dataset) -> Settings:
    """The most accuracy for the time on a CPU. What each number does: benchmarks/ablation.py.

    Sources: Jordan, arXiv 2404.00498 (schedule to nothing, smoothing, flip and shift) and Muon (2024).
    """
    # Without batch norm in it, a network stands neither the high rate nor kernels that are held at one norm.
    normalised = MODELS[_network(config)].recipe == "fast"
    optimizer = config.training.optimizer or ("muon" if normalised else "adamw")
    images = len(dataset.train)
    epochs = config.training.epochs or _epochs(images)
    batch_size = config.training.batch_size or _batch_size(images, epochs)
    # A picture that is seen a few times is not learned by heart, and is easier to learn as it is (docs/speed.md).
    is_varied = epochs >= 5
    # Muon's rate is a share of the weights: high where steps are few, lower where they would make more noise than way.
    muon_rate = 0.24 * min(1.0, math.sqrt(350 * batch_size / (epochs * images)))
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        # SGD's in proportion to the batch: Goyal et al., arXiv 1706.02677.
        "lr": {"muon": muon_rate, "sgd": 1.2 * batch_size / 512}.get(optimizer, 2e-3),
        "momentum": {"muon": 0.6, "sgd": 0.85}.get(optimizer),
        "weight_decay": 0.0 if optimizer == "muon" else 5e-3,
        "schedule": "linear" if optimizer == "muon" else "triangular",
        "label_smoothing": 0.2 if normalised else 0.1,
        "average": 0.0,
        "patience": 0,  # The rate falls to nothing at the end; an early end would miss the best part.
        "precision": "bfloat16" if BACKEND == "tensorflow" and processor_has_bfloat16() else "float32",
        "flip": 0.5 if is_varied and dataset.has_mirror_images else 0.0,
        "shift": 0.0625 if is_varied and not fill_their_frames(dataset.train.sample(250).pixels) else 0.0,
    }


def transfer(config: Config, dataset: Dataset) -> Settings:
    """A pretrained backbone: the best last layer on its frozen features; with epochs, its top then learns with that.

    Epochs that are not asked for are none. Where the numbers come from: docs/decisions.md.
    """
    optimizer = config.training.optimizer or "adamw"
    return {
        "batch_size": config.training.batch_size or max(1, min(32, len(dataset.train) // 4)),
        "optimizer": optimizer,
        "lr": {"sgd": 1e-3, "muon": 2e-3}.get(optimizer, 1e-4),
        "momentum": {"sgd": 0.9, "muon": 0.6}.get(optimizer),
        "weight_decay": 0.0 if optimizer == "muon" else 1e-2,
        "schedule": "triangular",  # at its full rate the first step would spoil what the head was given
        "label_smoothing": 0.0,
        "average": 0.0,
        "patience": 0,
        "precision": "float32",  # bfloat16 is slower for depthwise convolutions
        "unfreeze": 0.3,
        "flip": 0.5 if dataset.has_mirror_images else 0.0,
        "shift": 0.0625,  # zoom would take as long as the network, and brought nothing
    }


def _by_class_sizes(dataset: Dataset) -> Settings:
    is_lopsided = are_unequal(dataset.train.labels)
    return {"balance": "weights" if is_lopsided else "none", "monitor": "macro_f1" if is_lopsided else "accuracy"}


def _recipe(config: Config) -> str:
    recipe = MODELS[_network(config)].recipe
    return "fast" if recipe == "transfer" and config.model.weights == NONE else recipe


def _network(config: Config) -> str:
    return "resnet" if config.model.model in (None, "auto") else config.model.model


def _epochs(images: int) -> int:
    """About 400,000 images seen, in 8 epochs at least and 100 at most."""
    return min(100, max(8, round(400_000 / images)))


def fill_their_frames(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether most pictures, uint8 (n, height, width, channels), were cut so that a thing on a plain ground reaches
    from one edge to the other: moved, it would be cut off and continued by its reflection, as no new picture is.
    """
    sides = pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]
    edges = [side.astype(np.int64) @ 256 ** np.arange(pixels.shape[-1]) for side in sides]
    found, counts = np.unique(np.concatenate(edges, axis=None), return_counts=True)
    top, bottom, left, right = ((edge != found[counts.argmax()]).any(axis=1) for edge in edges)
    has_plain_ground = counts.max() > counts.sum() / 2
    return bool(has_plain_ground and ((top & bottom) | (left & right)).mean() > 0.5)


def _batch_size(images: int, epochs: float) -> int:
    """512 where every step counts, 1,024 from 6 epochs on; fewer where an epoch would be less than 16 steps."""
    return max(16, min(512 if epochs < 6 else 1024, images // 16))


def _refuse_what_has_no_effect(asked: Config, whole: Config, dataset: Dataset) -> None:
    """Raises: UsageError, naming every setting that was asked for and would change nothing."""
    training, problems = whole.training, []
    pick(OPTIMIZERS, training.optimizer or "", "optimizer")
    pick(SCHEDULES, training.schedule or "", "schedule")
    if asked.training.momentum and training.optimizer not in ("sgd", "muon"):
        problems.append(f"momentum has no effect with {training.optimizer}")
    if asked.training.weight_decay and training.optimizer == "muon":
        problems.append("weight_decay has no effect with muon, which holds the norm of kernels")
    if asked.training.budget and asked.training.epochs:
        problems.append("budget and epochs exclude each other: a budget decides the epochs")
    problems += _refusing_workers(whole, dataset)
    if asked.model.views != "one" and not dataset.has_mirror_images:
        what = f"{asked.model.views} views make no sense for {dataset.name}, whose mirror images are other pictures"
        problems.append(what)
    if asked.model.views == "shifted" and training.recipe == "transfer":
        problems.append("shifted views make no sense for photographs: there a pixel is nothing; take mirrored ones")
    if training.recipe == "transfer" and not are_wanted(whole):
        problems.append("the recipe transfer needs a backbone with weights, such as --model mobilenetv2")
    if asked.training.unfreeze is not None and training.recipe != "transfer":
        problems.append(f"unfreeze has no effect with the recipe {training.recipe}")
    if asked.model.weights not in (None, NONE) and whole.model.model not in BACKBONES:
        problems.append(f"weights are for backbones; {whole.model.model} learns from nothing")
    for option in ("width", "dropout", "alpha"):
        has = MODELS[whole.model.model or ""].options
        if getattr(asked.model, option) is not None and option not in has:
            problems.append(f"the model '{whole.model.model}' has no {option}")
    if BACKEND != "tensorflow" and training.precision == "bfloat16":
        problems.append(f"bfloat16 is only trained in with TensorFlow; this is {BACKEND}")
    if problems:
        raise UsageError("; ".join(problems))


def _refusing_workers(whole: Config, dataset: Dataset) -> Iterator[str]:
    """Why several workers cannot learn this together."""
    training, pictures = whole.training, len(dataset.train)
    if training.workers == 1:
        return
    batch = pictures // -(-pictures // (training.batch_size or 32))
    if training.budget:
        yield "workers cannot keep to a budget, which follows the clock of one process: give epochs"
    elif not training.epochs:
        yield "workers have no effect where only the head is fitted: give epochs"
    if training.workers > (least := min(batch, len(dataset.validation))):
        yield f"of {least} pictures, the least that are shared, {training.workers} workers cannot have one each"
    if BACKEND != "tensorflow":
        yield f"several workers learn together with TensorFlow only; this is {BACKEND}"


RECIPES: dict[str, Callable[[Config, Dataset], Settings]] = {
    "fast": fast,
    "textbook": textbook,
    "transfer": transfer,
}
