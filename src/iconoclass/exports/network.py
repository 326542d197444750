"""The network as it leaves: flat, layer by layer, with its temperature inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from iconoclass.backend import keras
from iconoclass.errors import IntegrityError, UsageError


@dataclass(frozen=True)
class Step:
    """One layer, or one operation, at work. inputs: symbolic tensors, and the numbers that an operation was given."""

    layer: Any
    inputs: list[Any]
    output: Any


def steps(model: Any) -> list[Step]:
    """Every layer that a network calls, in order; networks within it are gone into.

    The tensors begin at `model.inputs`, so that keras.Model(model.inputs, step.output) is the network up to there.
    """
    taken: list[Step] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if hasattr(layer, "layers"):
            return _replay(layer, args[0], call)
        output = layer(*args, **kwargs)
        inputs = list(args[0]) if isinstance(args[0], (list, tuple)) else list(args)
        taken.append(Step(layer, inputs, output))
        return output

    _replay(model, model.inputs[0], call)
    return taken


def _replay(model: Any, tensor: Any, call: Any) -> Any:
    plain = keras.Model(model.inputs, model.outputs)  # a Sequential too
    return plain._run_through_graph([tensor], operation_fn=lambda layer: layer, call_fn=call)[0]


def calibrated(model: Any, temperature: float) -> Any:
    """The network that answers softmax(logits / temperature); its most probable class stays what it was.

    Where the last layer with weights makes the logits, the temperature goes into its weights; else, as with mirrored
    views, probabilities are raised to 1 / temperature and made to sum to 1, which is the same.
    """
    if temperature == 1:
        return model
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    if logits := _logits_layer(copy):
        logits.set_weights([weight / np.float32(temperature) for weight in logits.get_weights()])
        return copy
    ops = keras.ops
    logs = ops.log(ops.maximum(copy.outputs[0], 1e-30))
    answers = keras.layers.Softmax(name="calibrated")(keras.layers.Rescaling(1 / temperature)(logs))
    return keras.Model(copy.inputs, answers, name=model.name)


def _logits_layer(model: Any) -> Any | None:
    """The dense layer behind which there is only softmax, and perhaps a fixed scale without offset."""
    layers = [step.layer for step in steps(model)]
    if not layers:
        return None
    last = layers.pop()
    if type(last).__name__ == "Softmax":
        while type(layers[-1]).__name__ in {"Rescaling", "Dropout"} and not getattr(layers[-1], "offset", 0):
            layers.pop()
        last = layers[-1]
        return last if type(last).__name__ == "Dense" and _activation(last) == "linear" else None
    return last if type(last).__name__ == "Dense" and _activation(last) == "softmax" else None


def _activation(layer: Any) -> str:
    return str(getattr(layer.activation, "__name__", ""))


def in_layers_only(model: Any) -> Any:
    """The network with each operation and each layer that Keras's HDF5 files do not know replaced by one that they do.

    Raises: UsageError, if there is no such layer.
    """

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if hasattr(layer, "layers"):
            return _replay(layer, args[0], call)
        is_layer = isinstance(layer, keras.layers.Layer)
        replace = (_LAYERS if is_layer else _OPERATIONS).get(type(layer).__name__)
        if replace is None and not is_layer:
            what = f"the operation {layer.name} has no layer, and HDF5 files hold layers only"
            raise UsageError(what, hint="Export it with --format keras.")
        return replace(layer, *args) if replace else layer(*args, **kwargs)

    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, _replay(model, inputs, call), name=model.name)


def _flipped(flip: Any, tensor: Any) -> Any:
    """By a product with the matrix that has its ones in the other diagonal: exact, as all else is zero."""
    axis = flip.axis % 4
    letters = "bhwc"
    out = letters.replace(letters[axis], "x")
    shape = tuple(tensor.shape[1:])
    layer = keras.layers.EinsumDense(f"{letters},{letters[axis]}x->{out}", output_shape=shape, name=flip.name)
    flipped = layer(tensor)
    layer.set_weights([np.eye(tensor.shape[axis], dtype=np.float32)[::-1]])
    return flipped


def _scaled_by_channel(scale: Any, tensor: Any) -> Any:
    numbers = keras.ops.convert_to_numpy(scale.gamma).tolist()
    return keras.layers.Rescaling(numbers, name=scale.name)(tensor)


def _plus(operation: Any, tensor: Any, other: Any) -> Any:
    """other: a tensor, or a number."""
    if keras.utils.is_keras_tensor(other):
        return keras.layers.Add(name=operation.name)([tensor, other])
    return keras.layers.Rescaling(1.0, offset=other, name=operation.name)(tensor)


def _times(operation: Any, tensor: Any, other: Any) -> Any:
    if keras.utils.is_keras_tensor(other):
        return keras.layers.Multiply(name=operation.name)([tensor, other])
    return keras.layers.Rescaling(other, name=operation.name)(tensor)


_LAYERS: dict[str, Callable[..., Any]] = {"LayerScale": _scaled_by_channel}
_OPERATIONS: dict[str, Callable[..., Any]] = {"Flip": _flipped, "Add": _plus, "Multiply": _times}


def refuse_broken(model: Any, name: str) -> None:
    """Raises: IntegrityError, if a weight is NaN or infinite."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            what = f"{name} cannot be exported: {weight.path} holds NaN or infinity"
            raise IntegrityError(what, hint="The training diverged: train again with a lower --lr.")
