"""RUNTIMES: what can open a model file and be asked for probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from iconoclass.errors import IntegrityError, RunError, pick


class Runtime(Protocol):
    """What answers: uint8 (batch, height, width, channels) in; float32 (batch, classes) out, rows sum to 1."""

    def __call__(self, pixels: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]: ...


@runtime_checkable
class SeesFeatures(Protocol):
    """A runtime that can also say what the network makes of a picture before it decides."""

    def look(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Probabilities (batch, classes), and features (batch, features): what the last layer decides by."""
        ...


def open_model(path: Path) -> Runtime:
    """The runtime for a file, told by its suffix.

    Raises: RunError, if there is no such file; IntegrityError, if it cannot be loaded.
    """
    if not path.is_file():
        raise RunError(f"there is no model {path}", hint="Was the training stopped before its first epoch ended?")
    return pick(RUNTIMES, path.suffix, "kind of model file")(path)


def _keras(path: Path) -> Runtime:
    from iconoclass.backend import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    # Keras lets through whatever its parsers of zip, JSON and HDF5 raise on damaged bytes.
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise IntegrityError(f"{path} cannot be loaded: {first_line}") from error
    return KerasRuntime(model)


class KerasRuntime:
    """A Keras model that is asked a batch at a time, about probabilities or about its features too."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._seer: Any = None

    def __call__(self, pixels: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        return np.asarray(self._model.predict_on_batch(pixels), np.float32)

    def look(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if self._seer is None:
            self._seer = _with_features(self._model)
        probabilities, features = self._seer.predict_on_batch(pixels)
        return np.asarray(probabilities, np.float32), np.asarray(features, np.float32).reshape(len(pixels), -1)


def _with_features(model: Any) -> Any:
    """The same network with a second answer: what its last layer with weights takes."""
    from iconoclass.backend import keras

    last = next(layer for layer in reversed(model.layers) if layer.weights)
    if not isinstance(last, keras.Model):
        return keras.Model(model.inputs[0], [model.outputs[0], last.input])
    # It looks at each picture twice, as it is and mirrored: the features too are the mean of both looks.
    inside, inputs = _with_features(last), keras.Input(model.input_shape[1:])
    looks = zip(inside(inputs), inside(keras.ops.flip(inputs, axis=2)), strict=True)
    return keras.Model(inputs, [keras.layers.Average()(list(both)) for both in looks])


RUNTIMES: dict[str, Callable[[Path], Runtime]] = {".keras": _keras}
