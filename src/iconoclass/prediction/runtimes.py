"""RUNTIMES: what can open a model file and be asked for probabilities."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from iconoclass.errors import EnvironmentFault, IconoclassError, IntegrityError, RunError, pick
from iconoclass.prediction.vetting import SAVED_MODEL, kind_of, vet
from iconoclass.process import silence, usable_cores


class Runtime(Protocol):
    """What answers: uint8 (batch, height, width, channels) in; float32 (batch, classes) out, rows sum to 1."""

    def __call__(self, pixels: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]: ...


@runtime_checkable
class SeesFeatures(Protocol):
    """A runtime that can also say what the network makes of a picture before it decides."""

    def look(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Probabilities (batch, classes), and features (batch, features): what the last layer decides by."""
        ...


def open_model(path: Path, threads: int | None = None) -> Runtime:
    """The runtime for a file, told by its suffix, or for the folder of a SavedModel.

    threads: that ONNX Runtime and LiteRT compute with; default: one for each core. Keras has its own.
    Raises: RunError, if there is no such file; IntegrityError, if it is not safe to load, or cannot be loaded;
    EnvironmentFault, if what runs it is not installed.
    """
    if not path.is_file() and kind_of(path) != SAVED_MODEL:
        raise RunError(f"there is no model {path}", hint="Was the training stopped before its first epoch ended?")
    vet(path)
    try:
        return pick(RUNTIMES, kind_of(path), "kind of model file")(path, threads or usable_cores())
    except IconoclassError:
        raise
    # The runtimes let through whatever their parsers raise on damaged bytes.
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise IntegrityError(f"{path} cannot be loaded: {first_line}") from error


def needed(module: str, package: str) -> Any:
    """A module that not everybody needs.

    Raises: EnvironmentFault, if it is not installed; it says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"this needs {module.partition('.')[0]}, which cannot be imported: {error}"
        raise EnvironmentFault(what, hint=f"pip install {package}", code="MISSING_EXTRA") from error


def _keras(path: Path, threads: int) -> Runtime:
    from iconoclass.backend import as_function, keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise IntegrityError(f"{path} holds NaN or infinity", hint="Its weights are damaged: train or export again.")
    try:
        return KerasRuntime(as_function(_with_features(model)))
    except (AttributeError, ValueError):  # built otherwise than our networks, as an imported one may be
        return lambda pixels: np.asarray(model.predict_on_batch(pixels), np.float32)


class KerasRuntime:
    """A Keras model with two answers, probabilities and features, from one graph."""

    def __init__(self, ask: Callable[[Any], Any]) -> None:
        self._ask = ask

    def __call__(self, pixels: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        return self.look(pixels)[0]

    def look(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        probabilities, features = self._ask(pixels)
        return np.asarray(probabilities, np.float32), np.asarray(features, np.float32).reshape(len(pixels), -1)


def _with_features(model: Any) -> Any:
    """The same network with a second answer: what its last layer with weights takes. Raises: ValueError or
    AttributeError, if there is no one such thing.
    """
    from iconoclass.backend import keras
    from iconoclass.models.views import looks_of

    looks, last = looks_of(model), next((layer for layer in reversed(model.layers) if layer.weights), None)
    if len(looks) > 1:  # then the features too are the mean of all looks
        inside, inputs = _with_features(last), keras.Input(model.input_shape[1:])
        answers = zip(*(inside(look.at(inputs)) for look in looks), strict=True)
        return keras.Model(inputs, [keras.layers.Average()(list(each)) for each in answers])
    if last is None or hasattr(last, "layers"):
        raise ValueError("what its last layer takes is inside of a network of its own")
    return keras.Model(model.inputs[0], [model.outputs[0], last.input])


def _saved_model(path: Path, threads: int) -> Runtime:
    from iconoclass import backend

    # Keras's own backend may be another one; a SavedModel needs TensorFlow.
    tensorflow: Any = backend.import_tensorflow()
    serve = tensorflow.saved_model.load(str(path)).signatures["serving_default"]
    return lambda pixels: np.asarray(serve(pixels=tensorflow.constant(pixels))["probabilities"], np.float32)


def _onnx(path: Path, threads: int) -> Runtime:
    runtime = needed("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors, which are raised as well
    # Threads that wait for work by spinning take it from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    [asked] = session.get_inputs()
    return lambda pixels: np.asarray(session.run(None, {asked.name: pixels})[0], np.float32)


def _litert(path: Path, threads: int) -> Runtime:
    interpreters = needed("ai_edge_litert.interpreter", "'iconoclass[litert]'")
    interpreter = interpreters.Interpreter(model_content=path.read_bytes(), num_threads=threads)
    [asked], [answered] = interpreter.get_input_details(), interpreter.get_output_details()
    size = 0

    def ask(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        nonlocal size
        if len(pixels) != size:
            interpreter.resize_tensor_input(asked["index"], pixels.shape, strict=True)
            with silence(forever=True):  # it tells which of its parts are at work
                interpreter.allocate_tensors()
            size = len(pixels)
        interpreter.set_tensor(asked["index"], pixels)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(answered["index"]), np.float32)

    return ask


RUNTIMES: dict[str, Callable[[Path, int], Runtime]] = {
    ".keras": _keras,
    ".h5": _keras,
    ".onnx": _onnx,
    ".tflite": _litert,
    SAVED_MODEL: _saved_model,
}
