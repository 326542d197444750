"""The one place that imports Keras: quietly, deterministic, and asked what the processor can do.

Everything that builds or runs a network takes `keras` from here. KERAS_BACKEND=jax or torch train the same code.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iconoclass.errors import EnvironmentFault
from iconoclass.process import silence, usable_cores

BACKENDS = {
    "tensorflow": "tensorflow",
    "jax": "jax",
    "torch": "torch==2.* (the CPU build is enough)",
}


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Let an import that is only tried fail, as if the package were not installed."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # how Python is told that there is no such module
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Python goes through all objects again and again while the hundred thousands of an import pile up; none of them is
    garbage. In our own program they are set aside for good, which also spares the last rounds at its end: together
    2.4 of 5.4 seconds (docs/decisions.md).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
    if "iconoclass.cli.main" in sys.modules:
        gc.freeze()


def _import_backend() -> str:
    name = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if name not in BACKENDS:
        hint = f"Allowed: {', '.join(BACKENDS)}."
        raise EnvironmentFault(f"KERAS_BACKEND={name} is no backend that Iconoclass trains with", hint=hint)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    quiet = contextlib.nullcontext() if "keras" in sys.modules else silence()
    try:
        # In our own program nobody asks for Keras's scikit-learn wrappers, and they are a fifth of the start-up.
        hurry = _without("sklearn") if "iconoclass.cli.main" in sys.modules else contextlib.nullcontext()
        with quiet, hurry, _without_garbage_collection():
            importlib.import_module(name)
            importlib.import_module("keras")
        if name == "tensorflow":
            _set_threads()
            # Its advice on retracing is for those who write graphs; a user of ours can do nothing with it.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
    except ImportError as error:
        hint = f"pip install '{BACKENDS[name]}'"
        raise EnvironmentFault(f"the backend {name} cannot be imported: {error}", hint=hint) from error
    return name


def _set_threads() -> None:
    """TensorFlow takes a thread for each core that it sees; more threads than a container may run get in each other's
    way.
    """
    import tensorflow

    cores = usable_cores()
    if cores < (os.cpu_count() or 1) and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        with contextlib.suppress(RuntimeError):  # TensorFlow is at work already, in a program of the user's
            tensorflow.config.threading.set_intra_op_parallelism_threads(cores)


BACKEND = _import_backend()

import keras  # noqa: E402 - after the backend has been chosen and the noise turned off


def _remember_what_is_not_saved() -> None:
    """Saving and loading leave out the attributes that every layer has. Keras 3.15 keeps their names, but looks for
    them in another place than it put them, so it makes a layer to read them off for each layer of the network: of
    MobileNetV2's loading that is a third, of its saving a half.
    """
    with contextlib.suppress(ImportError, AttributeError):
        saving: Any = importlib.import_module("keras.src.saving.saving_lib")
        saving.get_attr_skipset = functools.cache(saving.get_attr_skipset)


_remember_what_is_not_saved()

__all__ = [
    "BACKEND",
    "as_function",
    "import_tensorflow",
    "keras",
    "make_deterministic",
    "processor_has_bfloat16",
    "processor_has_tiles",
    "usable_cores",
]


def import_tensorflow() -> Any:
    """TensorFlow, whichever backend trains.

    Raises: EnvironmentFault, if it is not installed.
    """
    try:
        with contextlib.nullcontext() if "tensorflow" in sys.modules else silence():
            return importlib.import_module("tensorflow")
    except ImportError as error:
        raise EnvironmentFault(f"TensorFlow cannot be imported: {error}", hint="pip install tensorflow") from error


def as_function(model: Any) -> Callable[[Any], Any]:
    """A network that is asked, not taught: uint8 (batch, height, width, channels) in, NumPy arrays out.

    One graph answers batches of every size. Keras's predict_on_batch builds another one for the second size that it
    meets, which takes a second where there is a backbone in it.
    """
    if BACKEND != "tensorflow":
        return model.predict_on_batch  # type: ignore[no-any-return]
    import tensorflow as tf

    asked = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    graph = tf.function(
        lambda pixels: model(pixels, training=False), input_signature=[asked], autograph=False, jit_compile=False
    )
    return lambda pixels: tf.nest.map_structure(lambda answer: answer.numpy(), graph(tf.constant(pixels)))


def make_deterministic(seed: int) -> None:
    """Seed Keras, NumPy and Python, and ask the backend for operations whose result does not depend on thread order."""
    keras.utils.set_random_seed(seed)
    if BACKEND == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif BACKEND == "torch":
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)


def repeats_exactly() -> bool:
    """Whether the same seed is known to give the same weights to the last bit: TensorFlow on a processor.

    tests/test_resuming.py proves it there; on other backends and on GPUs it is not proven.
    """
    if BACKEND != "tensorflow":
        return False
    import tensorflow

    return not tensorflow.config.list_physical_devices("GPU")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or any of the backends says by this error that there is not enough memory."""
    # TensorFlow: ResourceExhaustedError, JAX: XlaRuntimeError with RESOURCE_EXHAUSTED, PyTorch: OutOfMemoryError, or a
    # RuntimeError of its allocator for processors.
    says = f"{type(error).__name__} {error}"
    words = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "DefaultCPUAllocator", "out of memory")
    return isinstance(error, MemoryError) or any(word in says for word in words)


def processor_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere bfloat16 is slower."""
    return bool({"avx512_bf16", "amx_bf16"} & processor_features())


def processor_has_tiles() -> bool:
    """Whether this processor multiplies whole tiles of bfloat16 at once (AMX)."""
    return {"amx_bf16", "amx_tile"} <= processor_features()


def processor_features() -> frozenset[str]:
    """The processor's feature flags as Linux names them; empty where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.partition(":")[2].split())


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
