"""A process that opens one Keras file from elsewhere, and can do little else: python -m iconoclass.exports.quarantine.

It has little memory and time, no network where the system allows that, and refuses to start programs, to open
connections, and to write anywhere but into its own folder. What comes out is a .keras file that is looked into again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

CPU_S, MEMORY_BYTES, FILE_BYTES = 300, 16 << 30, 2 << 30
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of Linux's unshare

SCALINGS = {"0-255": (1.0, 0.0), "0-1": (1 / 255, 0.0), "-1-1": (1 / 127.5, -1.0)}


def limit() -> None:
    """Less memory, time and disk than a program usually has, and no network where Linux lets us give it up."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        for kind, value in (
            (resource.RLIMIT_CPU, CPU_S),
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_FSIZE, FILE_BYTES),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard),) * 2)
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)


def forbid(room: Path) -> None:
    """From here on no connection, no program, and no writing outside the room; what tries it ends the process."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            os._exit(FORBIDDEN)
        if (event in _CHANGES or (event == "open" and _writes(arguments))) and not _is_inside(arguments[0], room):
            os._exit(FORBIDDEN)

    sys.addaudithook(hook)


FORBIDDEN = 77  # the exit status
_FORBIDDEN = (
    *("socket.connect", "socket.bind", "socket.getaddrinfo"),
    *("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn"),
    "pickle.find_class",
)
_CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_CHANGES |= {"shutil.rmtree"}


def _is_inside(path: Any, room: Path) -> bool:
    """Whether a path lies in the room. What is no path is a descriptor of a file that is open already."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return True
    there = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - links are not followed: nothing is opened
    return room == there or room in there.parents or there == Path(os.devnull)


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def main(file: Path, room: Path, scaling: str) -> dict[str, Any]:
    """`convert`, with everything else forbidden."""
    from iconoclass.backend import keras

    inputs = keras.Input((1,))  # asked once, so that all that Keras imports late is imported
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).predict_on_batch(keras.ops.zeros((1, 1)))
    forbid(room)
    return convert(file, room, scaling)


def convert(file: Path, room: Path, scaling: str) -> dict[str, Any]:
    """The facts about a network, which is written to room/model.keras with its scaling inside.

    scaling: a word of SCALINGS, or empty: as it is found; where none is found, nothing is written.
    """
    from iconoclass.backend import keras
    from iconoclass.prediction.vetting import vet

    vet(file)
    readable = _of_this_keras(file, room) if file.suffix == ".h5" else file
    model = keras.saving.load_model(readable, compile=False, safe_mode=True)
    facts = _facts(model)
    found = scaling or facts["scaling"]
    if not facts["refused"] and found:
        _with_pixels(model, *SCALINGS[found], facts).save(room / "model.keras")
    return facts


def _of_this_keras(file: Path, room: Path) -> Path:
    """A copy of an HDF5 file whose description Keras 3 understands, if Keras 2 wrote it."""
    import shutil

    import h5py

    copy = room / "model.h5"
    shutil.copyfile(file, copy)
    with h5py.File(copy, "r+") as opened:
        if str(opened.attrs.get("keras_version", "2")).startswith("2"):
            description = json.loads(opened.attrs["model_config"])
            _renew(description)
            opened.attrs["model_config"] = json.dumps(description)
    return copy


def _renew(thing: Any) -> None:
    """Drop what Keras 3 no longer knows: the groups of a depthwise convolution, which are always 1, and the modules of
    Keras 2. And let a network with one output answer a tensor, not a list of one.
    """
    if isinstance(thing, dict):
        for key in ("module", "registered_name", "build_config"):
            thing.pop(key, None)
        if thing.get("class_name") == "DepthwiseConv2D":
            thing["config"].pop("groups", None)
        for key in ("input_layers", "output_layers"):
            if isinstance(thing.get(key), list) and len(thing[key]) == 1 and isinstance(thing[key][0], list):
                thing[key] = thing[key][0]
        for value in thing.values():
            _renew(value)
    elif isinstance(thing, list):
        for value in thing:
            _renew(value)


def _facts(model: Any) -> dict[str, Any]:
    """What must be known to ask the network, and why it cannot be, if so."""
    shapes, outputs = [tuple(each.shape) for each in model.inputs], [tuple(each.shape) for each in model.outputs]
    refused = ""
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in (1, 3):
        refused = f"it takes {shapes}, and not pictures (batch, height, width, 1 or 3)"
    elif None in shapes[0][1:]:
        refused = "it takes pictures of any size: Iconoclass needs to know one"
    elif len(outputs) != 1 or len(outputs[0]) != 2:
        refused = f"it answers {outputs}, and not a probability for each class"
    last = _last_activation(model)
    return {
        "shape": list(shapes[0][1:]),
        "classes": 2 if outputs[0][-1] == 1 else outputs[0][-1],
        "activation": last,
        "scaling": "0-255" if _scales_itself(model) else "",
        "network": re.sub(r"[^\w-]+", "-", str(model.name)),
        "refused": refused,
    }


def _scales_itself(model: Any) -> bool:
    """Whether a layer that brings pixels to another range comes before any layer with a kernel."""
    from iconoclass.exports.network import steps

    for step in steps(model):
        if type(step.layer).__name__ in {"Rescaling", "Normalization"}:
            return True
        if hasattr(step.layer, "kernel"):
            return False
    return False


def _last_activation(model: Any) -> str:
    from iconoclass.exports.network import steps

    last = steps(model)[-1].layer
    return (
        "softmax"
        if type(last).__name__ == "Softmax"
        else str(getattr(getattr(last, "activation", None), "__name__", ""))
    )


def _with_pixels(model: Any, scale: float, offset: float, facts: dict[str, Any]) -> Any:
    """The network that takes pixels in [0, 255] and answers probabilities that sum to 1."""
    from iconoclass.backend import keras

    layers = keras.layers
    inputs = keras.Input(tuple(facts["shape"]))
    x = inputs if (scale, offset) == (1.0, 0.0) else layers.Rescaling(scale, offset=offset, name="pixels")(inputs)
    answers = model(x)
    if model.outputs[0].shape[-1] == 1:  # one number: the probability of the second class, or its logit
        if facts["activation"] != "sigmoid":
            answers = layers.Activation("sigmoid")(answers)
        answers = layers.Concatenate()([layers.Rescaling(-1.0, offset=1.0)(answers), answers])
    elif facts["activation"] != "softmax":
        answers = layers.Softmax(name="probabilities")(answers)
    return keras.Model(inputs, answers, name=facts["network"])


if __name__ == "__main__":
    from iconoclass.errors import IconoclassError

    limit()
    try:
        said = main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except IconoclassError as error:
        said = {"refused": error.what}
    except MemoryError:
        said = {"refused": "it needs more memory than a classifier does"}
    except Exception as error:  # whatever Keras makes of bytes that it does not understand
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        said = {"refused": f"Keras cannot open it: {first_line}"}
    print(json.dumps(said), flush=True)
    os._exit(0)
