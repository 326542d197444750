"""OPTIMIZERS and SCHEDULES: how far a step goes, and how that changes over a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from iconoclass.backend import keras
from iconoclass.config import TrainingConfig
from iconoclass.errors import pick
from iconoclass.run import History

Schedule = Callable[[float, History], float]


def build_optimizer(config: TrainingConfig, model: Any) -> Any:
    """A Keras optimiser, built for the model's trainable variables. Weight decay is decoupled and spares vectors:
    biases and the scales of batch norm.
    """
    optimizer = pick(OPTIMIZERS, config.optimizer or "", "optimizer")(config)
    if config.weight_decay:
        spared = [variable for variable in model.trainable_variables if len(variable.shape) < 2]
        optimizer.exclude_from_weight_decay(var_list=spared)
    optimizer.build(model.trainable_variables)
    return optimizer


def _common(config: TrainingConfig) -> dict[str, Any]:
    return {"learning_rate": config.lr, "weight_decay": config.weight_decay or None}


OPTIMIZERS: dict[str, Callable[[TrainingConfig], Any]] = {
    "adam": lambda config: keras.optimizers.Adam(**_common(config)),
    "adamw": lambda config: keras.optimizers.AdamW(**{**_common(config), "weight_decay": config.weight_decay or 0.0}),
    "sgd": lambda config: keras.optimizers.SGD(
        **_common(config), momentum=config.momentum or 0.0, nesterov=bool(config.momentum)
    ),
}


# -- schedules: (share of the training that is done, rows of the epochs that are done) -> share of the highest rate --


def constant(_: float, __: History) -> float:
    return 1.0


def cosine(done: float, _: History) -> float:
    """Source: Loshchilov & Hutter, arXiv 1608.03983, without restarts."""
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def triangular(done: float, _: History) -> float:
    """Up from a fifth during the first fifth, then down to nearly nothing.

    Source: Smith & Topin, arXiv 1708.07120; the numbers are Jordan's, arXiv 2404.00498.
    """
    low, peak, end = 0.2, 0.2, 0.05
    if done < peak:
        return low + (1 - low) * done / peak
    return 1 - (1 - end) * min(1.0, (done - peak) / (1 - peak))


def plateau(_: float, history: History, patience: int = 3) -> float:
    """Halved whenever `patience` epochs in a row have brought no lower validation loss.

    A function of the history alone, so that it needs no state of its own.
    """
    factor, best, waited = 1.0, math.inf, 0
    for row in history:
        if row["val_loss"] < best:
            best, waited = row["val_loss"], 0
        else:
            waited += 1
        if waited == patience:
            factor, waited = factor / 2, 0
    return factor


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "triangular": triangular,
    "plateau": plateau,
}
