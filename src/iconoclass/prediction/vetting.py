"""VETTERS: model files looked into before the library that runs them sees them.

Each reads structure and sizes only, and lets through only what is on a list: layers, operations, members. What a file
could do beyond computing (run code, open other files, fill the memory) is refused before anything is done with it.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iconoclass.errors import IntegrityError, RunError
from iconoclass.prediction import wire

SAVED_MODEL = "saved_model"  # a folder of this kind
NAME = "iconoclass.json"  # the card, in archives and folders
DAMAGED = "Get it again, or export it again."

MOST_BYTES = 2 << 30
MOST_NODES = 100_000
MOST_UNITS = 65_536  # of one layer
MOST_DEPTH = 100  # of lists and tables in a description

UNSAFE = {
    ".pkl": "a pickle runs code when it is opened",
    ".pickle": "a pickle runs code when it is opened",
    ".joblib": "it is a pickle, which runs code when it is opened",
    ".pt": "it is a pickle, which runs code when it is opened",
    ".pth": "it is a pickle, which runs code when it is opened",
    ".npz": "it may hold pickled objects, and no network",
    ".npy": "it may hold pickled objects, and no network",
}
_INSTEAD = "Export it as ONNX or .keras where it was made."


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Suspicious(ValueError):
    """What a vetter found."""


def kind_of(path: Path) -> str:
    """The suffix; "saved_model" for a folder that is one; empty for other folders."""
    if path.is_dir():
        return SAVED_MODEL if (path / "saved_model.pb").is_file() else ""
    return path.suffix.lower()


def vet_kind(path: Path) -> None:
    """Raises: IntegrityError, if files of this kind are never opened; RunError, if it is no model file."""
    kind = kind_of(path)
    if kind in UNSAFE:
        raise IntegrityError(f"{path} is not opened: {UNSAFE[kind]}", hint=_INSTEAD, code="MODEL_UNSAFE")
    if kind not in VETTERS:
        raise RunError(f"{path} is no kind of model file", hint=f"Allowed: {', '.join(VETTERS)}, or a run's folder.")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        what = f"{path} is larger than {MOST_BYTES >> 30} GiB"
        raise IntegrityError(what, hint="No network of ours is.", code="MODEL_UNSAFE")


def vet(path: Path) -> None:
    """Let a model file pass, or refuse it; nothing of it is run.

    Raises: IntegrityError, if it holds what no network of ours holds, or is damaged; RunError, if it is no model file.
    """
    vet_kind(path)
    try:
        VETTERS[kind_of(path)](path)
    except Suspicious as error:
        raise IntegrityError(f"{path} is refused: {error}", hint=_INSTEAD, code="MODEL_UNSAFE") from error
    # What the readers of zip, JSON, HDF5 and protocol buffers raise on damaged bytes.
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise IntegrityError(f"{path} cannot be loaded: {reason}", hint=DAMAGED) from error


# -- Keras -----------------------------------------------------------------------------------------------------------

_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}

# Layers that compute with numbers, and nothing else. Those that run code (Lambda), call another library (TFSMLayer,
# TorchModuleWrapper, JaxLayer) or read files (StringLookup, TextVectorization) are not among them.
LAYERS = _words(
    """
    Functional Model Sequential InputLayer Rescaling Normalization Conv2D DepthwiseConv2D SeparableConv2D
    Conv2DTranspose Dense EinsumDense BatchNormalization LayerNormalization GroupNormalization UnitNormalization
    LayerScale StochasticDepth ReLU LeakyReLU PReLU ELU Softmax Activation Dropout SpatialDropout2D
    GaussianNoise GaussianDropout AlphaDropout MaxPooling2D AveragePooling2D GlobalMaxPooling2D
    GlobalAveragePooling2D Flatten Reshape Permute ZeroPadding2D Cropping2D UpSampling2D Add Subtract Multiply
    Average Maximum Minimum Concatenate Resizing CenterCrop Identity RandomFlip RandomRotation RandomZoom
    RandomTranslation RandomContrast RandomBrightness RandomCrop ActivityRegularization
    """
)
_OPERATIONS = frozenset(
    {"Flip", "GetItem", "Log", "Maximum", "Divide", "TrueDivide", "Multiply", "Add", "Subtract", "Cast"}
)
_FUNCTIONS = _words(
    """
    linear relu relu6 elu selu gelu silu swish mish sigmoid hard_sigmoid hard_silu hard_swish tanh softplus
    softsign softmax log_softmax leaky_relu exponential
    """
)
# What describes training and beginnings: never run when a network is only asked.
_PASSIVE_MODULES = (
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.optimizers",
    "keras.losses",
    "keras.metrics",
    "keras.random",
    "keras.dtype_policies",
)
_PASSIVE_NAMES = frozenset(
    {"DTypePolicy", "FloatDTypePolicy", "Policy", "SeedGenerator", "__tensor__", "__keras_tensor__", "__numpy__"}
)
_OLD_PASSIVE = _words(
    """
    GlorotUniform GlorotNormal HeNormal HeUniform LecunNormal LecunUniform VarianceScaling TruncatedNormal
    RandomNormal RandomUniform Zeros Ones Constant Orthogonal Identity L1 L2 L1L2 MaxNorm NonNeg UnitNorm
    MinMaxNorm Adam AdamW SGD RMSprop CategoricalCrossentropy SparseCategoricalCrossentropy BinaryCrossentropy
    CategoricalAccuracy SparseCategoricalAccuracy MeanMetricWrapper Mean
    """
)


def vet_keras(path: Path) -> None:
    """A zip of just the members that Keras writes, a description with no layer that we do not know, and arrays."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(set(names)) < len(names):
            raise Suspicious("two members have one name")
        if strange := sorted(set(names) - _MEMBERS - {NAME}):
            raise Suspicious(f"it holds {strange[0]!r}, which no network needs")
        if missing := sorted(_MEMBERS - set(names)):
            raise ValueError(f"it has no {missing[0]}")
        if sum(member.file_size for member in members) > max(2 * path.stat().st_size, 16 << 20):
            raise Suspicious("its members claim to be larger than the file can be")
        config = archive.read("config.json")
        weights = archive.read("model.weights.h5")
    description = _json(config)
    vet_description(description)
    shapes = list(_arrays(io.BytesIO(weights), len(weights)))
    _match_units(description, shapes)


def vet_h5(path: Path) -> None:
    """Keras's whole-model HDF5: a description with no layer that we do not know, and arrays that are in this file."""
    import h5py

    shapes = list(_arrays(path, path.stat().st_size))
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise RunError(f"{path} holds weights without a network", hint="model.save() writes both.")
        descriptions = [_json(file.attrs[name]) for name in ("model_config", "training_config") if name in file.attrs]
    for description in descriptions:
        vet_description(description)
    _match_units(descriptions[0], shapes)


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Suspicious("its description is nested too deep") from error


def _arrays(source: Path | io.BytesIO, size: int) -> Iterator[tuple[int, ...]]:
    """The shape of each array, none of which is read, and all of which are as large as they claim to be."""
    import h5py

    from iconoclass.models.weights import checked_arrays

    claimed = 0
    with h5py.File(source, "r") as file:
        for dataset in checked_arrays(file):
            claimed += math.prod(dataset.shape) * dataset.dtype.itemsize
            if claimed > size:
                raise Suspicious("its arrays claim to be larger than the file is")
            yield dataset.shape


def vet_description(description: Any, depth: int = 0) -> None:
    """Go through a network's description as Keras keeps it.

    Raises: Suspicious, naming the first thing in it that we do not know.
    """
    if depth > MOST_DEPTH:
        raise Suspicious("its description is nested too deep")
    if isinstance(description, dict):
        _vet_object(description)
        for value in description.values():
            vet_description(value, depth + 1)
    elif isinstance(description, list):
        for value in description:
            vet_description(value, depth + 1)
    elif isinstance(description, float) and description != description:
        raise Suspicious("its description holds NaN")


def _vet_object(thing: dict[str, Any]) -> None:
    name = thing.get("class_name")
    if name is not None and not _is_known(str(name), str(thing.get("module") or ""), thing):
        where = thing.get("config", {}).get("name", "") if isinstance(thing.get("config"), dict) else ""
        raise Suspicious(f"{name!r}{f' ({where})' if where else ''} is no layer that Iconoclass lets in")
    for key in ("activation", "recurrent_activation"):
        value = thing.get(key)
        if isinstance(value, str) and value not in _FUNCTIONS:
            raise Suspicious(f"the activation {value!r} is none of Keras's")
    for key in ("units", "filters"):
        if isinstance(value := thing.get(key), int) and value > MOST_UNITS:
            raise Suspicious(f"a layer of {value:,} {key}")


def _is_known(name: str, module: str, thing: dict[str, Any]) -> bool:
    if name == "function":
        return thing.get("config") in _FUNCTIONS
    if name in _OPERATIONS and (module in ("", "keras.ops") or module.startswith("keras.src.ops.")):
        return True
    if module.startswith(_PASSIVE_MODULES):
        return not name.startswith("__")
    # Files of Keras 2 name no modules.
    is_kerass = module in ("", "builtins", "keras") or module.startswith(("keras.", "tensorflow.keras.", "tf_keras."))
    is_passive = name in _PASSIVE_NAMES or name.removeprefix("Custom>") in _OLD_PASSIVE
    return is_kerass and (name in LAYERS or is_passive)


def _match_units(description: Any, shapes: list[tuple[int, ...]]) -> None:
    """A layer as wide as no array would fill the memory before Keras sees that they do not fit."""
    widths = {shape[-1] for shape in shapes if shape}
    for thing in _tables(description):
        units = thing.get("units") or thing.get("filters")
        if isinstance(units, int) and units not in widths:
            raise Suspicious(f"it describes a layer of {units:,} units, and has no array of that width")


def _tables(description: Any) -> Iterator[dict[str, Any]]:
    if isinstance(description, dict):
        yield description
        for value in description.values():
            yield from _tables(value)
    elif isinstance(description, list):
        for value in description:
            yield from _tables(value)


# -- ONNX ------------------------------------------------------------------------------------------------------------

# What our own writer writes, and what ONNX Runtime's quantizer adds. None of it has a graph inside, or touches a file.
ONNX_OPERATIONS = _words(
    """
    Add AveragePool BatchNormalization Cast Clip Concat Conv DequantizeLinear Div Elu Erf Exp Flatten Gelu Gemm
    GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity LayerNormalization LeakyRelu Log MatMul Max
    MaxPool Min Mul Pad Pow QuantizeLinear ReduceMax ReduceMean Relu Reshape Selu Sigmoid Slice Softmax Softplus
    Softsign Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze
    """
)
_GRAPH, _FUNCTIONS_FIELD = 7, 25  # ModelProto
_NODE, _INITIALIZER = 1, 5  # GraphProto
_OP_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7  # NodeProto
_A_GRAPH, _GRAPHS = 6, 11  # AttributeProto
_DATA_TYPE, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 2, 9, 13, 14  # TensorProto
_ONNX_FLOAT = 1


def vet_onnx(path: Path) -> None:
    """A graph of known operations, one deep, with all of its numbers inside the file.

    Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    content = path.read_bytes()
    graphs = list(wire.messages(content, _GRAPH))
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs")
    if next(wire.messages(content, _FUNCTIONS_FIELD), None) is not None:
        raise Suspicious("it defines operations of its own")
    for count, node in enumerate(wire.messages(graphs[0], _NODE)):
        name, domain = wire.text(node, _OP_TYPE), wire.text(node, _DOMAIN)
        if name not in ONNX_OPERATIONS or domain not in ("", "ai.onnx"):
            raise Suspicious(f"the operation {domain + '.' if domain else ''}{name} is none that a classifier needs")
        for attribute in wire.messages(node, _ATTRIBUTE):
            if any(number in (_A_GRAPH, _GRAPHS) for number, _ in wire.fields(attribute)):
                raise Suspicious(f"the operation {name} has a graph inside")
        if count > MOST_NODES:
            raise Suspicious(f"it has more than {MOST_NODES:,} operations")
    for tensor in wire.messages(graphs[0], _INITIALIZER):
        _vet_tensor(tensor)


def _vet_tensor(tensor: memoryview) -> None:
    import numpy as np

    if any(number == _EXTERNAL_DATA for number, _ in wire.fields(tensor)) or wire.number(tensor, _DATA_LOCATION):
        raise Suspicious("it keeps numbers in another file")
    if wire.number(tensor, _DATA_TYPE) == _ONNX_FLOAT:
        for numbers in wire.messages(tensor, _RAW_DATA):
            if not np.isfinite(np.frombuffer(numbers, np.float32)).all():
                raise ValueError("its weights hold NaN or infinity")


# -- LiteRT and SavedModel -------------------------------------------------------------------------------------------


def vet_tflite(path: Path) -> None:
    """The mark at its beginning. LiteRT itself checks every offset in the file before it follows one."""
    with path.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise ValueError("it does not begin as a LiteRT file does")


# What the networks that can be chosen become, and what restores their variables.
TENSORFLOW_OPERATIONS = _words(
    """
    Add AddN AddV2 AssignVariableOp AvgPool BiasAdd BroadcastTo Cast ConcatV2 Const Conv2D DepthwiseConv2dNative
    DivNoNan Elu Erf Erfc Exp ExpandDims FusedBatchNormV3 GatherV2 Identity IdentityN LeakyRelu Log LogSoftmax
    MatMul Max MaxPool Maximum Mean MergeV2Checkpoints Min Minimum Mul Neg NoOp Pack Pad PadV2 PartitionedCall
    Placeholder Prod ReadVariableOp RealDiv Relu Relu6 Reshape ResourceGather RestoreV2 ReverseV2 Rsqrt SaveV2
    Select SelectV2 Selu Shape ShardedFilename Sigmoid Softmax Softplus Softsign Sqrt Square SquaredDifference
    Squeeze StatefulPartitionedCall StaticRegexFullMatch StopGradient StridedSlice StringJoin Sub Sum Tanh Tile
    Transpose Unpack VarHandleOp VarIsInitializedOp ZerosLike DisableCopyOnRead Fill Range Greater Less
    GreaterEqual LessEqual Equal LogicalAnd
    """
)


def vet_saved_model(path: Path) -> None:
    """A graph of known operations: none that reads or writes a file of another's choosing, or runs Python.

    Source: the messages SavedModel, MetaGraphDef, GraphDef, FunctionDefLibrary and FunctionDef of TensorFlow.
    """
    if any(file.is_symlink() for file in path.rglob("*")):
        raise Suspicious("it holds a link that leads elsewhere")
    content = (path / "saved_model.pb").read_bytes()
    nodes = 0
    for graph in wire.messages(content, 2, 2):
        for node in (*wire.messages(graph, 1), *wire.messages(graph, 2, 1, 3)):
            nodes += 1
            if (name := wire.text(node, 2)) not in TENSORFLOW_OPERATIONS:
                raise Suspicious(f"the operation {name} is none that a classifier needs")
    if not nodes:
        raise ValueError("it has no graph")


VETTERS: dict[str, Callable[[Path], None]] = {
    ".keras": vet_keras,
    ".h5": vet_h5,
    ".onnx": vet_onnx,
    ".tflite": vet_tflite,
    SAVED_MODEL: vet_saved_model,
}
