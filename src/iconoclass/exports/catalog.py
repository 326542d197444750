"""EXPORTERS: a network -> a model file of each format. And how their numbers are made smaller."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iconoclass import backend
from iconoclass.backend import BACKEND
from iconoclass.errors import EnvironmentFault, UsageError, pick
from iconoclass.exports import onnx_writer
from iconoclass.exports.network import in_layers_only, steps
from iconoclass.prediction.runtimes import needed
from iconoclass.process import silence

Pixels = npt.NDArray[np.uint8]

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
CALIBRATION_PICTURES = 200  # of the training part: by their ranges int8 is chosen


@dataclass(frozen=True)
class Exporter:
    """write: (network, path, numbers, training pictures by which int8 is chosen), the file takes raw pixels and gives
    probabilities, in batches of any size; numbers: what the weights can be kept in.
    """

    write: Callable[[Any, Path, str, Pixels], None]
    file: str
    numbers: tuple[str, ...]
    purpose: str


def exporter_of(name: str, numbers: str) -> Exporter:
    """What writes that format.

    Raises: UsageError, if there is no such format, or its weights cannot be kept in such numbers.
    """
    exporter = pick(EXPORTERS, name, "format")
    if numbers not in exporter.numbers:
        able = [other for other, entry in EXPORTERS.items() if numbers in entry.numbers]
        what = f"the format {name} keeps its numbers in {' or '.join(exporter.numbers)}. Received: {numbers}"
        raise UsageError(what, hint=f"{numbers} is for: {', '.join(able)}." if able else "Allowed: int8, float16.")
    return exporter


def _keras(network: Any, path: Path, numbers: str, calibration: Pixels) -> None:
    network.save(path)


def _h5(network: Any, path: Path, numbers: str, calibration: Pixels) -> None:
    import warnings

    with warnings.catch_warnings(), _quiet_absl():
        warnings.simplefilter("ignore")  # that the format is an old one, which whoever asks for it knows
        in_layers_only(network).save(path)


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    import logging

    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


# -- ONNX ------------------------------------------------------------------------------------------------------------


def _onnx(network: Any, path: Path, numbers: str, calibration: Pixels) -> None:
    if numbers != INT8:
        onnx_writer.write(network, path, half=numbers == FLOAT16)
        return
    with tempfile.TemporaryDirectory() as room:
        plain, folded = Path(room) / "plain.onnx", Path(room) / "folded.onnx"
        onnx_writer.write(network, plain)
        _fold(plain, folded)
        _quantize(folded, path, calibration, _behind_the_logits(network))


def _fold(path: Path, folded: Path) -> None:
    """Batch norm into the convolutions before it: quantized apart, each would lose more."""
    runtime = needed("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Calibration:
    """What ONNX Runtime's quantizer reads pictures from."""

    def __init__(self, pixels: Pixels) -> None:
        self.batches = iter([pixels[at : at + 25] for at in range(0, len(pixels), 25)])

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def _behind_the_logits(network: Any) -> set[str]:
    """The layers after the last one with a kernel: what they compute are probabilities, or nearly so."""
    layers = [step.layer for step in steps(network)]
    last = max(place for place, layer in enumerate(layers) if hasattr(layer, "kernel"))
    return {layer.name for layer in layers[last + 1 :]}


def _quantize(path: Path, to: Path, calibration: Pixels, spared: set[str]) -> None:
    onnx = needed("onnx", "onnx")
    names = [node.name for node in onnx.load(str(path)).graph.node]
    quantization = needed("onnxruntime.quantization", "onnx")
    with _quiet_logging():
        quantization.quantize_static(
            str(path),
            str(to),
            _Calibration(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "MaxPool", "GlobalAveragePool", "Mul"],
            nodes_to_exclude=[name for name in names if name.partition("/")[0] in spared],
            per_channel=True,
            # AVX2 adds pairs of products in 16 bits, which full 8-bit weights overflow; with VNNI nothing is lost.
            reduce_range=not _has_vnni(),
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )


def _has_vnni() -> bool:
    return bool({"avx512_vnni", "avx_vnni"} & backend.processor_features())


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


# -- TensorFlow ------------------------------------------------------------------------------------------------------


def _serving(network: Any) -> tuple[Any, Any]:
    """TensorFlow and the function of the network: uint8 pixels in, {"probabilities": ...} out.

    Raises: EnvironmentFault, if another backend is at work.
    """
    if BACKEND != "tensorflow":
        hint = "KERAS_BACKEND=tensorflow iconoclass export ...; a run of any backend can be exported so."
        raise EnvironmentFault(f"this format is made by TensorFlow, and the backend is {BACKEND}", hint=hint)
    tensorflow: Any = backend.import_tensorflow()
    asked = tensorflow.TensorSpec((None, *network.inputs[0].shape[1:]), tensorflow.uint8, name="pixels")

    @tensorflow.function(input_signature=[asked])  # type: ignore[untyped-decorator, unused-ignore]
    def serve(pixels: Any) -> dict[str, Any]:
        return {"probabilities": network(tensorflow.cast(pixels, tensorflow.float32), training=False)}

    return tensorflow, serve


def _saved_model(network: Any, path: Path, numbers: str, calibration: Pixels) -> None:
    tensorflow, serve = _serving(network)
    module = tensorflow.Module()
    module.variables_of_network = [variable.value for variable in network.variables]
    module.serve = serve
    with _silent():
        tensorflow.saved_model.save(module, str(path), signatures={"serving_default": serve})


def _litert(network: Any, path: Path, numbers: str, calibration: Pixels) -> None:
    tensorflow, serve = _serving(network)
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with _silent():
        frozen = convert_variables_to_constants_v2(serve.get_concrete_function())
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([frozen], None)
        if numbers != FLOAT32:
            converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        if numbers == FLOAT16:
            converter.target_spec.supported_types = [tensorflow.float16]
        if numbers == INT8:
            converter.representative_dataset = lambda: ([pixels[None]] for pixels in calibration)
        path.write_bytes(converter.convert())


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hold back what TensorFlow's converters write, from Python and from C++; nobody can do anything about it."""
    import warnings

    with (
        silence(),
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        warnings.catch_warnings(),
        _quiet_logging(),
    ):
        warnings.simplefilter("ignore")
        yield


EXPORTERS = {
    "keras": Exporter(_keras, "model.keras", (FLOAT32,), "Keras 3 on any backend"),
    "h5": Exporter(_h5, "model.h5", (FLOAT32,), "what needs Keras's older HDF5 file"),
    "saved_model": Exporter(_saved_model, "saved_model", (FLOAT32,), "TensorFlow and TensorFlow Serving"),
    "onnx": Exporter(_onnx, "model.onnx", (FLOAT32, FLOAT16, INT8), "servers, browsers, C++, C#, Java: ONNX Runtime"),
    "litert": Exporter(_litert, "model.tflite", (FLOAT32, FLOAT16, INT8), "Android, iOS, small devices: LiteRT"),
}
