"""OPTIMIZERS and SCHEDULES: how far a step goes, and how that changes over a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from iconoclass.backend import keras
from iconoclass.config import TrainingConfig
from iconoclass.errors import pick
from iconoclass.run import History

ops = keras.ops
Schedule = Callable[[float, History], float]


def build_optimizer(config: TrainingConfig, model: Any, rates: Mapping[str, float] | None = None) -> Any:
    """A Keras optimiser, built for the model's trainable variables. Weight decay is decoupled and spares vectors:
    biases and the scales of batch norm.

    rates: by a variable's path, the share of the learning rate at which it learns, for AdamW; 1 where none is given.
    """
    optimizer = pick(OPTIMIZERS, config.optimizer or "", "optimizer")(config)
    if isinstance(optimizer, AdamW):
        optimizer.rates = rates or {}
    if config.weight_decay:
        spared = [variable for variable in model.trainable_variables if len(variable.shape) < 2]
        optimizer.exclude_from_weight_decay(var_list=spared)
    optimizer.build(model.trainable_variables)
    return optimizer


class AdamW(keras.optimizers.AdamW):  # type: ignore[misc]  # Keras has no types
    """Keras's own, with a rate for each variable: the lower layers of a pretrained network know more than they have to
    learn. Source: Howard & Ruder, arXiv 1801.06146 (discriminative fine-tuning).
    """

    rates: Mapping[str, float] = MappingProxyType({})

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.shares = [self.rates.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        share = self.shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * share)


class Muon(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras has no types
    """Momentum whose update of a convolution's kernel is made orthogonal, so that all its directions learn alike.

    A kernel counts as the matrix (height * width * inputs, outputs). Its update is the orthogonal matrix nearest to the
    momentum; its norm is held at what fresh weights have, since batch norm undoes any scale. So the learning rate is a
    share of the weights, the same for layers of all sizes. Everything else, biases and dense kernels, learns by
    Nesterov momentum at a rate of its own in proportion to it; that of biases grows with the batch, as if the loss were
    its sum, but none leaps.
    Source: Jordan et al., Muon (2024); Newton-Schulz iteration of Bernstein & Newhouse, arXiv 2409.20325; fast biases:
    Jordan, arXiv 2404.00498. Keras's own Muon leaves convolutions out.
    """

    # Of the plain learning rate. That of biases is Jordan's, 0.053 of 0.24, for each picture of a batch. Dense kernels:
    # found on CIFAR-10's validation part.
    DENSE_RATE, VECTOR_RATE = 2.8, 0.22
    # The farthest that a bias goes in a step, as a share of the plain rate: without a bound the first steps of MNIST
    # throw some of them a thousand standard deviations away, where they stay (docs/decisions.md).
    VECTOR_STRIDE = 0.3
    PLAIN_MOMENTUM = 0.85

    def __init__(self, learning_rate: float, momentum: float, batch_size: int) -> None:
        super().__init__(learning_rate=learning_rate, name="muon")
        self.momentum, self.batch_size = momentum, batch_size

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.velocities = [self.add_variable_from_reference(variable, name="velocity") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        velocity = self.velocities[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype)
        is_kernel = len(variable.shape) == 4
        momentum = self.momentum if is_kernel else self.PLAIN_MOMENTUM
        self.assign(velocity, momentum * velocity + gradient)
        update = gradient + momentum * velocity
        if is_kernel:
            outputs = variable.shape[-1]
            update = ops.reshape(orthogonal(ops.reshape(update, (-1, outputs))), variable.shape)
            scale = math.sqrt(outputs) / ops.norm(ops.reshape(variable, (-1,)))
            self.assign(variable, variable * scale - rate * update)
        elif len(variable.shape) == 1:
            stride = ops.clip(self.VECTOR_RATE * self.batch_size * update, -self.VECTOR_STRIDE, self.VECTOR_STRIDE)
            self.assign_sub(variable, rate * stride)
        else:
            self.assign_sub(variable, self.DENSE_RATE * rate * update)

    def get_config(self) -> dict[str, Any]:
        rate = float(self.learning_rate)
        return {"learning_rate": rate, "momentum": self.momentum, "batch_size": self.batch_size}


def orthogonal(matrix: Any) -> Any:
    """About the orthogonal matrix nearest to a matrix: all its singular values are brought near 1.

    Three steps of the quintic Newton-Schulz iteration, whose coefficients trade exactness for speed: singular values
    end between about 0.3 and 1.2, which learns as well as 1. Coefficients: Jordan et al. 2024.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = ops.transpose(matrix) if is_tall else matrix
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(3):
        square = x @ ops.transpose(x)
        x = a * x + (b * square + c * (square @ square)) @ x
    return ops.transpose(x) if is_tall else x


def _common(config: TrainingConfig) -> dict[str, Any]:
    return {"learning_rate": config.lr, "weight_decay": config.weight_decay or None}


OPTIMIZERS: dict[str, Callable[[TrainingConfig], Any]] = {
    "adam": lambda config: keras.optimizers.Adam(**_common(config)),
    "muon": lambda config: Muon(config.lr or 0.24, config.momentum or 0.0, config.batch_size or 32),
    "adamw": lambda config: AdamW(**{**_common(config), "weight_decay": config.weight_decay or 0.0}),
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


def linear(done: float, _: History) -> float:
    """Down to nothing, as fast at the beginning as at the end."""
    return 1 - min(1.0, done)


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
    "linear": linear,
    "triangular": triangular,
    "plateau": plateau,
}
FALLING = frozenset({"cosine", "linear", "triangular"})  # to nothing, or nearly, at the end of the plan
