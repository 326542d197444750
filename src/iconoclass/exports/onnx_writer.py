"""A Keras network written as ONNX, layer by layer: raw uint8 pixels in, probabilities out, any batch size.

Inside, pictures are (batch, channels, height, width), as ONNX's convolutions want them.
To add a layer: a function here and a line in `LAYERS`, named as its Keras class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass.errors import UsageError
from iconoclass.exports.network import Step, steps
from iconoclass.files import sha256_of
from iconoclass.prediction.runtimes import needed

OPSET, IR = 20, 10  # the first opset with exact GELU; what ONNX Runtime 1.18 and newer read

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


class Graph:
    """Operations and numbers collected for one ONNX file. half: weights are kept in float16."""

    def __init__(self, half: bool = False) -> None:
        self.onnx = needed("onnx", "onnx")
        self.half = half
        self.nodes: list[Any] = []
        self.numbers: list[Any] = []
        self.named: dict[tuple[Any, ...], str] = {}
        self.layer = ""

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """An operation; returns the name of what it makes."""
        name = f"{self.layer}/{operation}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operation, list(inputs), [name], name, **attributes))
        return name

    def constant(self, array: Any) -> str:
        """Numbers; returns their name. The same numbers are kept once: mirrored views ask one network twice."""
        array = np.asarray(array)
        key = array.shape, array.dtype.str, sha256_of(array.tobytes())
        if key not in self.named:
            self.named[key] = self._kept(array)
        return self.named[key]

    def _kept(self, array: npt.NDArray[Any]) -> str:
        name = f"{self.layer}/constant_{len(self.numbers)}"
        small = self.half and array.dtype == np.float32 and array.size > 64
        kept = array.astype(np.float16) if small else array
        self.numbers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(kept), name))
        return self.add("Cast", name, to=self.onnx.TensorProto.FLOAT) if small else name

    def weight(self, variable: Any) -> npt.NDArray[np.float32]:
        from iconoclass.backend import keras

        return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)

    def transposed(self, value: str, order: list[int]) -> str:
        return self.add("Transpose", value, perm=order)


def write(model: Any, path: Path, *, half: bool = False) -> None:
    """An ONNX file of a network.

    Raises: UsageError, if it has a layer that is not in LAYERS; it names the layer.
    """
    graph = Graph(half)
    helper, kinds = graph.onnx.helper, graph.onnx.TensorProto
    shape, classes = tuple(model.inputs[0].shape[1:]), model.outputs[0].shape[-1]
    graph.layer = "input"
    pixels = graph.add("Cast", "pixels", to=kinds.FLOAT)
    made = {id(model.inputs[0]): graph.transposed(pixels, TO_CHANNELS_FIRST)}
    taken = steps(model)
    for step in taken:
        graph.layer = step.layer.name
        made[id(step.output)] = _written(graph, step, [_input(graph, made, one) for one in step.inputs])
    last = made[id(taken[-1].output)]
    if len(taken[-1].output.shape) == 4:
        last = graph.transposed(last, TO_CHANNELS_LAST)
    graph.nodes.append(helper.make_node("Identity", [last], ["probabilities"], "probabilities"))
    answered = [*taken[-1].output.shape[1:-1], classes]
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "".join(letter if letter.isalnum() else "_" for letter in model.name),
            [helper.make_tensor_value_info("pixels", kinds.UINT8, ["batch", *shape])],
            [helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["batch", *answered])],
            graph.numbers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="iconoclass",
    )
    path.write_bytes(proto.SerializeToString())


def _input(graph: Graph, made: dict[int, str], one: Any) -> str:
    """The name of a tensor, or of a number that an operation was given."""
    if id(one) in made:
        return made[id(one)]
    if not isinstance(one, (int, float)):
        what = f"the layer {graph.layer} is given {type(one).__name__}, which cannot be written as ONNX"
        raise UsageError(what, hint="Export another format.")
    return graph.constant(np.float32(one))


def _written(graph: Graph, step: Step, inputs: list[str]) -> str:
    kind = type(step.layer).__name__
    if kind not in LAYERS:
        what = f"the layer {step.layer.name} ({kind}) cannot be written as ONNX"
        raise UsageError(what, hint=f"Export another format. ONNX has: {', '.join(sorted(LAYERS))}.")
    return LAYERS[kind](graph, step, inputs)


def _is_picture(tensor: Any) -> bool:
    return len(tensor.shape) == 4


def _by_channel(array: npt.NDArray[np.float32], tensor: Any) -> npt.NDArray[np.float32]:
    """Numbers of each channel, shaped so that they meet the channels of a tensor."""
    return array.reshape(-1, 1, 1) if _is_picture(tensor) and array.size > 1 else array


# -- functions of one number -----------------------------------------------------------------------------------------


def activate(graph: Graph, name: str, value: str, tensor: Any) -> str:
    """Keras's activation of that name."""
    if name not in ACTIVATIONS:
        what = f"the activation {name} of the layer {graph.layer} cannot be written as ONNX"
        raise UsageError(what, hint=f"Export another format. ONNX has: {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name](graph, value, 1 if _is_picture(tensor) else -1)


Activation = Callable[[Graph, str, int], str]


def _one(operation: str, **attributes: Any) -> Activation:
    return lambda graph, value, axis: graph.add(operation, value, **attributes)


def _clipped(graph: Graph, value: str, low: float, high: float) -> str:
    return graph.add("Clip", value, graph.constant(np.float32(low)), graph.constant(np.float32(high)))


ACTIVATIONS: dict[str, Activation] = {
    "linear": lambda graph, value, axis: value,
    "relu": _one("Relu"),
    "relu6": lambda graph, value, axis: _clipped(graph, value, 0, 6),
    "elu": _one("Elu"),
    "selu": _one("Selu"),
    "gelu": _one("Gelu"),
    "silu": lambda graph, value, axis: graph.add("Mul", value, graph.add("Sigmoid", value)),
    "sigmoid": _one("Sigmoid"),
    "hard_sigmoid": _one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _one("HardSwish"),
    "tanh": _one("Tanh"),
    "softplus": _one("Softplus"),
    "softsign": _one("Softsign"),
    "softmax": lambda graph, value, axis: graph.add("Softmax", value, axis=axis),
}


# -- layers ----------------------------------------------------------------------------------------------------------

Layer = Callable[[Graph, Step, list[str]], str]


def _unchanged(graph: Graph, step: Step, inputs: list[str]) -> str:
    return inputs[0]


def _conv(graph: Graph, step: Step, inputs: list[str]) -> str:
    layer = step.layer
    kernel, groups = graph.weight(layer.kernel), layer.groups
    weights = [graph.constant(kernel.transpose(3, 2, 0, 1))]
    return _convolved(graph, step, inputs, weights, groups)


def _depthwise_conv(graph: Graph, step: Step, inputs: list[str]) -> str:
    kernel = graph.weight(step.layer.kernel)  # (height, width, channels, multiplier)
    height, width, channels, multiplier = kernel.shape
    weights = [graph.constant(kernel.reshape(height, width, 1, channels * multiplier).transpose(3, 2, 0, 1))]
    return _convolved(graph, step, inputs, weights, channels)


def _convolved(graph: Graph, step: Step, inputs: list[str], weights: list[str], groups: int) -> str:
    layer = step.layer
    if layer.bias is not None:
        weights.append(graph.constant(graph.weight(layer.bias)))
    convolved = graph.add(
        "Conv",
        *inputs,
        *weights,
        group=groups,
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        pads=_pads(step, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding),
    )
    return activate(graph, layer.activation.__name__, convolved, step.output)


def _pads(
    step: Step, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str
) -> list[int]:
    """ONNX's [top, left, bottom, right] of Keras's padding. Of an odd number the greater part goes behind."""
    if padding == "valid":
        return [0, 0, 0, 0]
    before, after = [], []
    for size, side, stride, dilation in zip(step.inputs[0].shape[1:3], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (side - 1) * dilation + 1 - size)
        before.append(total // 2)
        after.append(total - total // 2)
    return before + after


def _dense(graph: Graph, step: Step, inputs: list[str]) -> str:
    layer = step.layer
    kernel = graph.weight(layer.kernel)
    bias = [] if layer.bias is None else [graph.constant(graph.weight(layer.bias))]
    if _is_picture(step.inputs[0]):  # of each pixel: a convolution of side 1
        made = graph.add("Conv", *inputs, graph.constant(kernel.T[:, :, None, None]), *bias, kernel_shape=[1, 1])
    else:
        made = graph.add("Gemm", *inputs, graph.constant(kernel), *bias)
    return activate(graph, layer.activation.__name__, made, step.output)


def _batch_norm(graph: Graph, step: Step, inputs: list[str]) -> str:
    layer = step.layer
    mean, variance = graph.weight(layer.moving_mean), graph.weight(layer.moving_variance)
    scale = np.ones_like(mean) if layer.gamma is None else graph.weight(layer.gamma)
    offset = np.zeros_like(mean) if layer.beta is None else graph.weight(layer.beta)
    numbers = [graph.constant(array) for array in (scale, offset, mean, variance)]
    return graph.add("BatchNormalization", *inputs, *numbers, epsilon=layer.epsilon)


def _layer_norm(graph: Graph, step: Step, inputs: list[str]) -> str:
    layer = step.layer
    size = step.inputs[0].shape[-1]
    gamma = np.ones(size, np.float32) if layer.gamma is None else graph.weight(layer.gamma)
    beta = np.zeros(size, np.float32) if layer.beta is None else graph.weight(layer.beta)
    is_picture = _is_picture(step.inputs[0])
    value = graph.transposed(inputs[0], TO_CHANNELS_LAST) if is_picture else inputs[0]
    numbers = graph.constant(gamma), graph.constant(beta)
    value = graph.add("LayerNormalization", value, *numbers, axis=-1, epsilon=layer.epsilon)
    return graph.transposed(value, TO_CHANNELS_FIRST) if is_picture else value


def _rescaling(graph: Graph, step: Step, inputs: list[str]) -> str:
    scale, offset = (np.asarray(numbers, np.float32) for numbers in (step.layer.scale, step.layer.offset))
    value = graph.add("Mul", *inputs, graph.constant(_by_channel(scale, step.output)))
    return graph.add("Add", value, graph.constant(_by_channel(offset, step.output))) if offset.any() else value


def _normalization(graph: Graph, step: Step, inputs: list[str]) -> str:
    mean, variance = (graph.weight(numbers).reshape(-1) for numbers in (step.layer.mean, step.layer.variance))
    value = graph.add("Sub", *inputs, graph.constant(_by_channel(mean, step.output)))
    return graph.add("Div", value, graph.constant(_by_channel(np.maximum(np.sqrt(variance), 1e-7), step.output)))


def _layer_scale(graph: Graph, step: Step, inputs: list[str]) -> str:
    return graph.add("Mul", *inputs, graph.constant(_by_channel(graph.weight(step.layer.gamma), step.output)))


def _relu(graph: Graph, step: Step, inputs: list[str]) -> str:
    layer = step.layer
    if layer.threshold:
        raise UsageError(f"the layer {layer.name} has a threshold, which ONNX's Relu has not", hint="Export .keras.")
    if layer.negative_slope:
        return graph.add("LeakyRelu", *inputs, alpha=float(layer.negative_slope))
    return graph.add("Relu", *inputs) if layer.max_value is None else _clipped(graph, inputs[0], 0, layer.max_value)


def _leaky_relu(graph: Graph, step: Step, inputs: list[str]) -> str:
    return graph.add("LeakyRelu", *inputs, alpha=float(step.layer.negative_slope))


def _softmax(graph: Graph, step: Step, inputs: list[str]) -> str:
    return activate(graph, "softmax", inputs[0], step.output)


def _activation(graph: Graph, step: Step, inputs: list[str]) -> str:
    return activate(graph, step.layer.activation.__name__, inputs[0], step.output)


def _pooling(operation: str) -> Layer:
    def pool(graph: Graph, step: Step, inputs: list[str]) -> str:
        layer = step.layer
        pads = _pads(step, layer.pool_size, layer.strides, (1, 1), layer.padding)
        shape = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides), "pads": pads}
        [value] = inputs
        if operation == "MaxPool" and any(node.op_type == "Pad" and value in node.output for node in graph.nodes):
            # ONNX Runtime (1.31) makes one of the two, and its pads are no longer 0 but less than any number.
            value = graph.add("Max", value, graph.constant(np.finfo(np.float32).min))
        return graph.add(operation, value, **shape)

    return pool


def _global_pooling(operation: str) -> Layer:
    def pool(graph: Graph, step: Step, inputs: list[str]) -> str:
        value = graph.add(operation, *inputs)
        return value if step.layer.keepdims else graph.add("Flatten", value)

    return pool


def _reshape(graph: Graph, step: Step, inputs: list[str]) -> str:
    """Flatten and Reshape: Keras's order of numbers has the channels last."""
    value = graph.transposed(inputs[0], TO_CHANNELS_LAST) if _is_picture(step.inputs[0]) else inputs[0]
    shape = [-1, *step.output.shape[1:]]
    value = graph.add("Reshape", value, graph.constant(np.array(shape, np.int64)))
    return graph.transposed(value, TO_CHANNELS_FIRST) if _is_picture(step.output) else value


def _zero_padding(graph: Graph, step: Step, inputs: list[str]) -> str:
    (top, bottom), (left, right) = step.layer.padding
    return graph.add("Pad", *inputs, graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)))


def _cropping(graph: Graph, step: Step, inputs: list[str]) -> str:
    (top, _), (left, _) = step.layer.cropping
    height, width = step.output.shape[1:3]
    numbers = [[top, left], [top + height, left + width], [2, 3]]  # starts, ends, axes
    return graph.add("Slice", *inputs, *(graph.constant(np.array(each, np.int64)) for each in numbers))


def _merging(operation: str) -> Layer:
    def merge(graph: Graph, step: Step, inputs: list[str]) -> str:
        value = inputs[0]
        for other in inputs[1:]:
            value = graph.add(operation, value, other)
        return value

    return merge


def _average(graph: Graph, step: Step, inputs: list[str]) -> str:
    return graph.add("Mul", _merging("Add")(graph, step, inputs), graph.constant(np.float32(1 / len(inputs))))


def _concatenate(graph: Graph, step: Step, inputs: list[str]) -> str:
    return graph.add("Concat", *inputs, axis=_axis(step.layer.axis, step.output))


def _axis(axis: int, tensor: Any) -> int:
    """Where an axis of Keras lies in ONNX."""
    axis %= len(tensor.shape)
    return TO_CHANNELS_FIRST.index(axis) if _is_picture(tensor) else axis


def _flip(graph: Graph, step: Step, inputs: list[str]) -> str:
    axis = _axis(step.layer.axis, step.output)
    numbers = [[-1], [np.iinfo(np.int64).min], [axis], [-1]]  # starts, ends, axes, steps
    return graph.add("Slice", *inputs, *(graph.constant(np.array(each, np.int64)) for each in numbers))


def _log(graph: Graph, step: Step, inputs: list[str]) -> str:
    return graph.add("Log", *inputs)


LAYERS: dict[str, Layer] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise_conv,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "LayerScale": _layer_scale,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "Softmax": _softmax,
    "Activation": _activation,
    "MaxPooling2D": _pooling("MaxPool"),
    "AveragePooling2D": _pooling("AveragePool"),
    "GlobalMaxPooling2D": _global_pooling("GlobalMaxPool"),
    "GlobalAveragePooling2D": _global_pooling("GlobalAveragePool"),
    "Flatten": _reshape,
    "Reshape": _reshape,
    "ZeroPadding2D": _zero_padding,
    "Cropping2D": _cropping,
    "Add": _merging("Add"),
    "Multiply": _merging("Mul"),
    "Average": _average,
    "Concatenate": _concatenate,
    "Flip": _flip,
    "Log": _log,
    "Maximum": _merging("Max"),
    "Minimum": _merging("Min"),
    "Subtract": _merging("Sub"),
    **dict.fromkeys(("Divide", "TrueDivide"), _merging("Div")),
    **dict.fromkeys(("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "StochasticDepth"), _unchanged),
    **dict.fromkeys(("InputLayer", "ActivityRegularization", "Identity"), _unchanged),
}
