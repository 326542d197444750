"""Transfer: what a pretrained backbone sees in each picture, computed once, and the best linear classifier on that.

This is the first stage, which takes seconds. The second one, if epochs are asked for, is the ordinary training of the
last layer together with the top of the backbone, which `models.pretrained.thaw` has let loose.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.backend import as_function, keras
from iconoclass.data.batches import at_once, balanced_weights
from iconoclass.data.dataset import Split, Tell
from iconoclass.data.split import keys_of, learned_and_held
from iconoclass.data.store import key_of, stored
from iconoclass.models import weights
from iconoclass.models.pretrained import LOGITS
from iconoclass.training.learner import Learner
from iconoclass.training.logistic import Floats, Linear, class_shares, regress
from iconoclass.training.trainer import judged

TOGETHER = 128  # pictures whose features are kept as one array: when some join, those of few arrays are computed anew

# Inverse strengths of the regularisation that are tried, the strongest first: each begins where the one before ended.
STRENGTHS = [float(f"{10.0**power:.1g}") for power in np.arange(-4, 1.6, 0.5)]
FOLDS = 5
USUAL_STRENGTH = 0.01  # where a class is too small to be divided


@dataclass(frozen=True)
class Head:
    """The last layer. kernel: float32 (features, classes); bias: float32 (classes,); strength: scikit-learn's C;
    folds, accuracy: of the cross-validation that chose it, 0 where there was none.
    """

    kernel: Floats
    bias: Floats
    strength: float
    folds: int = 0
    accuracy: float = 0.0

    def probabilities(self, views: list[Floats]) -> Floats:
        """float32 (n, classes): the mean over the views. views: features, float32 (n, features) each."""
        return _mean_of(views, (self.kernel, self.bias))


def learn_head(learner: Learner, eye: Eye, tell: Tell | None = None) -> None:
    """Give the network the best last layer that its frozen backbone allows; this is row 0 of its history."""
    training, dataset, began = learner.config.training, learner.dataset, time.monotonic()
    # One look at the training part and, where it is mirrored in training too, one at its mirror image.
    is_mirrored, looks_twice = bool(learner.config.augment.flip), learner.config.model.views == "mirrored"
    train = eye.views(dataset.train, is_mirrored or looks_twice, tell)
    validation = eye.views(dataset.validation, looks_twice, tell)
    learner.seconds["features"] = time.monotonic() - began
    head = fit_head(
        train, dataset.train, len(dataset.class_names), training.seed,
        is_balanced=training.balance != "none", looks_twice=looks_twice,
    )  # fmt: skip
    learner.seconds["head"] = time.monotonic() - began - learner.seconds["features"]
    learner.model.get_layer(LOGITS).set_weights([head.kernel, head.bias])
    learner.best = learner.model.get_weights()
    of_train = judged(head.probabilities(train[: 1 + looks_twice]), dataset.train.labels)
    of_validation = judged(head.probabilities(validation), dataset.validation.labels)
    learner.history = [
        {
            "epoch": 0,
            "seconds": round(time.monotonic() - began, 3),
            "loss": of_train["loss"],
            "accuracy": of_train["accuracy"],
            **{f"val_{name}": value for name, value in of_validation.items()},
            "learning_rate": 0.0,
            "kept": 1.0,
        }
    ]
    learner.said = [("features", eye.said()), ("head", _said(head, of_validation["accuracy"]))]


def _said(head: Head, accuracy: float) -> str:
    how = (
        f"{head.folds}-fold cross-validation, {head.accuracy:.1%}"
        if head.folds
        else "custom, as a class is too small to choose by"
    )
    return f"C = {head.strength:g} by {how}; on validation {accuracy:.1%}"


# -- features --------------------------------------------------------------------------------------------------------


class Eye:
    """The frozen backbone, in float32, with a memory: features that it has once computed are in the user's cache."""

    def __init__(self, learner: Learner) -> None:
        data, model = learner.config.data, learner.config.model
        network = learner.kept if model.views == "one" else learner.kept.get_layer(model.model)
        network = keras.Model(network.inputs[0], network.get_layer(LOGITS).input)
        self.features_each, self.ask = network.output_shape[-1], as_function(network)
        self.at_once = at_once(learner.dataset.image_shape)
        self.key = (
            model.model, model.alpha, weights.digest(weights.find(learner.config, offline=True)),
            learner.dataset.image_shape, data.resize, keras.__version__,
        )  # fmt: skip
        self.asked = self.computed = 0
        self.seconds = 0.0

    def views(self, split: Split, mirrored: bool, tell: Tell | None = None) -> list[Floats]:
        """Features of the pictures and, if mirrored, of their mirror images: float32 (n, features) each."""
        return [self.features(split, is_mirror, tell) for is_mirror in (False, True)[: 1 + mirrored]]

    def features(self, split: Split, is_mirror: bool, tell: Tell | None = None) -> Floats:
        """float32 (n, features), of each different picture computed once."""
        digests, positions, inverse = np.unique(
            np.array(list(split.sha256), "S64"), return_index=True, return_inverse=True
        )
        self.asked += len(digests)
        parts = []
        for some in _together(digests):
            parts.append(self._kept(split, digests[some], positions[some], is_mirror))
            if tell:
                tell("Computing features of", int(some[-1]) + 1, len(digests))
        found: Floats = np.concatenate(parts)[inverse]
        return found

    def _kept(
        self, split: Split, digests: npt.NDArray[np.bytes_], positions: npt.NDArray[np.int64], is_mirror: bool
    ) -> Floats:
        def make(folder: Path) -> dict[str, Any]:
            began = time.perf_counter()
            pieces = (positions[at : at + self.at_once] for at in range(0, len(positions), self.at_once))
            np.save(folder / "features.npy", np.concatenate([self._look(split, piece, is_mirror) for piece in pieces]))
            self.computed += len(positions)
            self.seconds += time.perf_counter() - began
            return {}

        key = key_of("features", *self.key, is_mirror, [digest.decode() for digest in digests])
        found: Floats = stored(key, make)[0]["features"]
        return found

    def _look(self, split: Split, positions: npt.NDArray[np.int64], is_mirror: bool) -> Floats:
        pixels = split.take(positions)
        return np.asarray(self.ask(pixels[:, :, ::-1] if is_mirror else pixels), np.float32)

    def said(self) -> str:
        looks = f"of {self.asked:,} pictures and mirror images"
        if not self.computed:
            return f"{looks}, all from the cache"
        cached = f", {self.asked - self.computed:,} from the cache" if self.computed < self.asked else ""
        return f"{looks}{cached}: {self.computed / self.seconds:,.0f}/s"


def _together(digests: npt.NDArray[np.bytes_]) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of sorted digests in runs of about TOGETHER: each is decided by how a digest begins, so that a picture
    that joins changes one run and not all behind it.
    """
    runs = 1 << max(0, round(np.log2(len(digests) / TOGETHER)))
    run_of = np.array([int(digest[:4], 16) * runs >> 16 for digest in digests])
    yield from (some for run in range(runs) if len(some := np.flatnonzero(run_of == run)))


# -- the head --------------------------------------------------------------------------------------------------------


def fit_head(
    views: list[Floats], split: Split, classes: int, seed: int, *, is_balanced: bool, looks_twice: bool
) -> Head:
    """Multinomial logistic regression on features, as strongly regularised as cross-validation within them allows.

    views: of the same pictures. looks_twice: the head will be asked about all views, and not about the first alone.
    """
    labels = split.labels
    weigh = balanced_weights(labels, classes)[labels] if is_balanced else np.ones(len(labels), np.float32)
    # One scale for all features: that of each tells how much there is to see, and is worth keeping (docs/decisions.md).
    centre = np.mean([features.mean(axis=0) for features in views], axis=0, dtype=np.float32)
    scale = np.float32(np.sqrt(np.mean([np.square(features - centre).mean() for features in views]))) or np.float32(1)
    scaled = [(features - centre) / scale for features in views]
    asked = scaled if looks_twice else scaled[:1]
    folds = learned_and_held(labels, keys_of(split.groups, split.sha256), FOLDS, seed, "head")
    strength, accuracy = _chosen(scaled, asked, labels, weigh, classes, folds) if folds else (USUAL_STRENGTH, 0.0)
    kernel, bias = _fit(scaled, labels, weigh, classes, strength)
    kernel = kernel / scale
    return Head(kernel, (bias - centre @ kernel).astype(np.float32), strength, len(folds), accuracy)


def _chosen(
    views: list[Floats],
    asked: list[Floats],
    labels: npt.NDArray[np.int32],
    weigh: Floats,
    classes: int,
    folds: list[tuple[Any, Any]],
) -> tuple[float, float]:
    """The strongest regularisation whose loss is within one standard error of the lowest, and its accuracy.

    Source: Breiman et al. 1984, the one-standard-error rule.
    """
    losses = np.full((len(STRENGTHS), len(labels)), np.inf)
    is_right = np.zeros(losses.shape, bool)
    for learned, held in folds:
        own, others = ([features[part] for features in some] for some, part in ((views, learned), (asked, held)))
        linear, rising = None, 0
        for place, strength in enumerate(STRENGTHS):
            linear = _fit(own, labels[learned], weigh[learned], classes, strength, linear)
            found = _mean_of(others, linear)
            true = found[np.arange(len(held)), labels[held]]
            losses[place, held] = -np.log(np.maximum(true, 1e-7)) * weigh[held]
            is_right[place, held] = found.argmax(-1) == labels[held]
            rising = rising + 1 if place and losses[place, held].mean() > losses[place - 1, held].mean() else 0
            if rising == 2:  # weaker regularisation takes longest, and would only be worse
                break
    means = losses.mean(axis=1)
    best = int(means.argmin())
    error = losses[best].std() / np.sqrt(len(labels))
    place = int(np.flatnonzero(means <= means[best] + error)[0])
    return STRENGTHS[place], float(is_right[place].mean())


def _fit(
    views: list[Floats],
    labels: npt.NDArray[np.int32],
    weigh: Floats,
    classes: int,
    strength: float,
    start: Linear | None = None,
) -> Linear:
    """The regression on all views of some pictures."""
    times, rows = len(views), np.concatenate(views)
    return regress(rows, np.tile(labels, times), classes, strength, weigh=np.tile(weigh, times), start=start)


def _mean_of(views: list[Floats], linear: Linear) -> Floats:
    return np.asarray(np.mean([class_shares(features, linear) for features in views], axis=0), np.float32)
