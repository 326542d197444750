"""STEPS: one step of learning on each backend, compiled; the only code that is written once a backend.

Keras's own fit and train_on_batch cost about as much as a small network itself (benchmarks/textbook.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from iconoclass.backend import BACKEND, keras, processor_has_tiles
from iconoclass.data.batches import Batch
from iconoclass.training.team import Team, mine


@dataclass(frozen=True)
class Step:
    """copy: a batch of NumPy arrays -> the backend's tensors. learn: those -> the batch's mean loss and the number of
    images whose top class was right, of all workers; the model has learned. Apart, so that each can be timed.
    """

    copy: Callable[[Batch], Any]
    learn: Callable[[Any], tuple[float, int]]


def make_step(model: Any, optimizer: Any, loss: Any) -> Step:
    """The step of the backend that runs. model: built; optimizer: built for it; loss: a keras.losses.Loss."""
    return STEPS[BACKEND](model, optimizer, loss)


def _tensorflow_step(model: Any, optimizer: Any, loss: Any) -> Step:
    import tensorflow as tf

    team, variables = mine(), model.trainable_variables

    def step(pixels: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            probabilities = model(pixels, training=True)
            value = loss(targets, probabilities, sample_weight=weights)
        gradients, correct = tape.gradient(value, variables), _correct(tf, targets, probabilities)
        if team.size > 1:
            gradients, value, correct = _shared(tf, team, model, gradients, value, correct)
        optimizer.apply(gradients, variables)
        return value, correct

    compiled: list[Any] = []

    def copy(batch: Batch) -> Any:
        return [tf.constant(array) for array in (batch.pixels, batch.targets, batch.weights)]

    def learn(tensors: Any) -> tuple[float, int]:
        if not compiled:
            # The batch's length is left open: one trace serves shorter batches too.
            signature = [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in tensors]
            with _made_for_processors(tf, model):
                # Not by XLA, which knows no deterministic gradient of max pooling.
                compiled.append(tf.function(step, jit_compile=False).get_concrete_function(*signature))
        value, correct = compiled[0](*tensors)
        return float(value), int(correct)

    return Step(copy, learn)


@contextlib.contextmanager
def _made_for_processors(tf: Any, model: Any) -> Iterator[None]:
    """While a step is traced, some layers compute otherwise than Keras has them; they stay what they are.

    Batch norm is one operation of TensorFlow's. Keras makes a dozen of it, in float32: a quarter of the time of a step
    on a processor. Biases of convolutions are added so that their gradient is right: the one of TensorFlow's `bias_add`
    is summed up in bfloat16, where a million numbers lose two thirds of what they come to. And where the processor
    multiplies tiles, the gradient of a kernel that sees small maps is taken of several pictures side by side
    (docs/decisions.md).
    """
    has_gpu = tf.config.list_physical_devices("GPU")  # where nobody has measured it
    layers = [] if has_gpu else model._flatten_layers()
    calls = {layer: _fused_call(tf, layer) for layer in layers if _can_be_fused(layer)}
    calls |= {layer: _convolution_call(tf, layer) for layer in layers if _is_improved(layer)}
    for layer, call in calls.items():
        object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        for layer in calls:
            object.__delattr__(layer, "call")


def _is_improved(layer: Any) -> bool:
    is_kind = type(layer) is keras.layers.Conv2D and layer.data_format == "channels_last"
    return is_kind and layer.compute_dtype == "bfloat16" and (layer.use_bias or _is_laid_out(layer))


def _convolution_call(tf: Any, layer: Any) -> Callable[..., Any]:
    def call(inputs: Any) -> Any:
        kernel = tf.cast(tf.convert_to_tensor(layer.kernel), inputs.dtype)
        is_wide = not _is_laid_out(layer) or max(inputs.shape[1:3]) > NARROW
        convolve = layer.convolution_op if is_wide else _with_laid_out_gradient(tf)
        outputs = convolve(inputs, kernel)
        if layer.use_bias:
            outputs = tf.add(outputs, tf.cast(tf.convert_to_tensor(layer.bias), outputs.dtype))
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


# A tile of AMX multiplies 32 columns at once; oneDNN gives the gradient of a kernel one row of a map at a time, so that
# of 7 columns 25 are nothing. Up to 8 columns it pays to copy maps side by side, where there are channels enough.
TILE, NARROW, LEAST_CHANNELS = 32, 8, 64


def _is_laid_out(layer: Any) -> bool:
    """Whether it is a convolution whose kernel's gradient may be taken of maps that lie side by side."""
    is_plain = layer.padding == "same" and layer.kernel_size == (3, 3) and layer.groups == 1
    is_dense = layer.strides == layer.dilation_rate == (1, 1)
    return is_plain and is_dense and layer.kernel.shape[2] >= LEAST_CHANNELS and processor_has_tiles()


def _with_laid_out_gradient(tf: Any) -> Callable[[Any, Any], Any]:
    """A 3 x 3 convolution as it always is, and its gradient too; only how that of the kernel is computed differs."""
    options = {"strides": [1, 1, 1, 1], "padding": "SAME"}

    def laid_out(maps: Any) -> Any:
        """(n, height, width, channels) -> (fewer, height, TILE or less, channels): a column of nothing between maps."""
        _, height, width, channels = maps.shape
        many = TILE // (width + 1)
        padded = tf.pad(maps, [[0, -tf.shape(maps)[0] % many], [0, 0], [0, 1], [0, 0]])
        rows = tf.transpose(tf.reshape(padded, (-1, many, height, (width + 1) * channels)), (0, 2, 1, 3))
        return tf.reshape(rows, (-1, height, many * (width + 1), channels))

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(inputs: Any, kernel: Any) -> Any:
        def gradients(outer: Any) -> tuple[Any, Any]:
            of_inputs = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=outer, **options
            )
            of_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=laid_out(inputs), filter_sizes=kernel.shape, out_backprop=laid_out(outer), **options
            )
            return of_inputs, of_kernel

        return tf.nn.conv2d(inputs, kernel, **options), gradients

    return convolve  # type: ignore[no-any-return]


def _can_be_fused(layer: Any) -> bool:
    return type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3) and not layer.synchronized


def _fused_call(tf: Any, layer: Any) -> Callable[..., Any]:
    plain = layer.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or not layer.trainable or mask is not None or inputs.shape.rank != 4:
            return plain(inputs, training=training, mask=mask)
        channels = [inputs.shape[-1]]
        scale = tf.ones(channels) if layer.gamma is None else tf.convert_to_tensor(layer.gamma)
        offset = tf.zeros(channels) if layer.beta is None else tf.convert_to_tensor(layer.beta)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, offset, epsilon=layer.epsilon, is_training=True
        )
        # Its variance is that of a sample, n - 1 below; Keras keeps that of the batch.
        seen = tf.cast(tf.size(inputs) // channels[0], tf.float32)
        for kept, found in ((layer.moving_mean, mean), (layer.moving_variance, variance * (seen - 1) / seen)):
            kept.assign(kept * layer.momentum + found * (1 - layer.momentum))
        return outputs

    return call


def _correct(tf: Any, targets: Any, probabilities: Any) -> Any:
    labels = tf.argmax(targets, -1, output_type=tf.int32) if targets.shape.rank == 2 else targets
    return tf.math.count_nonzero(tf.argmax(probabilities, -1, output_type=tf.int32) == labels)


def _shared(tf: Any, team: Team, model: Any, gradients: Any, value: Any, correct: Any) -> tuple[Any, Any, Any]:
    """What a step has found, of all workers together; their means of batch norm's statistics are in the model."""
    moving = [variable for variable in model.non_trainable_variables if "/moving_" in variable.path]
    found = [*gradients, *(variable.value for variable in moving), value, tf.cast(correct, value.dtype)]
    *means, value, correct = team.mean(found)
    for variable, mean in zip(moving, means[len(gradients) :], strict=True):
        variable.assign(mean)
    return means[: len(gradients)], value, tf.round(correct * team.size)


def _jax_step(model: Any, optimizer: Any, loss: Any) -> Step:
    import jax
    import jax.numpy as jnp

    def value_of(trainable: Any, fixed: Any, pixels: Any, targets: Any, weights: Any) -> Any:
        probabilities, fixed = model.stateless_call(trainable, fixed, pixels, training=True)
        return loss(targets, probabilities, sample_weight=weights), (fixed, probabilities)

    def step(trainable: Any, fixed: Any, state: Any, pixels: Any, targets: Any, weights: Any) -> Any:
        learn = jax.value_and_grad(value_of, has_aux=True)
        (value, (fixed, probabilities)), gradients = learn(trainable, fixed, pixels, targets, weights)
        trainable, state = optimizer.stateless_apply(state, gradients, trainable)
        labels = targets.argmax(-1) if targets.ndim == 2 else targets
        return trainable, fixed, state, value, jnp.sum(probabilities.argmax(-1) == labels)

    compiled = jax.jit(step)
    groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)

    def copy(batch: Batch) -> Any:
        return jax.device_put((batch.pixels, batch.targets, batch.weights))

    def learn(tensors: Any) -> tuple[float, int]:
        values = [[variable.value for variable in group] for group in groups]
        *changed, value, correct = compiled(*values, *tensors)
        for group, news in zip(groups, changed, strict=True):
            for variable, new in zip(group, news, strict=True):
                variable.assign(new)
        return float(value), int(correct)

    return Step(copy, learn)


def _torch_step(model: Any, optimizer: Any, loss: Any) -> Step:
    import torch

    def copy(batch: Batch) -> Any:
        # Where the network is, which may be a GPU.
        device = model.trainable_variables[0].value.device
        return [torch.as_tensor(array, device=device) for array in (batch.pixels, batch.targets, batch.weights)]

    def learn(tensors: Any) -> tuple[float, int]:
        pixels, targets, weights = tensors
        model.zero_grad()
        probabilities = model(pixels, training=True)
        value = loss(targets, probabilities, sample_weight=weights)
        value.backward()
        variables = [variable for variable in model.trainable_variables if variable.value.grad is not None]
        with torch.no_grad():
            optimizer.apply([variable.value.grad for variable in variables], variables)
        labels = targets.argmax(-1) if targets.ndim == 2 else targets
        return float(value), int((probabilities.detach().argmax(-1) == labels).sum())

    return Step(copy, learn)


STEPS: dict[str, Callable[[Any, Any, Any], Step]] = {
    "tensorflow": _tensorflow_step,
    "jax": _jax_step,
    "torch": _torch_step,
}
