"""What all rivals do with a picture, as their documentation does it: Pillow, NumPy, ONNX Runtime."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

MODEL = os.environ.get("MODEL", "")  # an exported .onnx file
CLASSES = os.environ.get("CLASSES", "").split(",")


def opened() -> Any:
    """A session with one thread: each of the rivals runs as many processes as there are cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def decoded(picture: bytes, shape: Sequence[int]) -> np.ndarray:
    height, width, channels = shape
    image = Image.open(io.BytesIO(picture)).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels)


def told(probabilities: np.ndarray) -> dict[str, Any]:
    order = probabilities.argsort()[::-1][:5]
    top = [{"class_name": CLASSES[at], "probability": float(probabilities[at])} for at in order]
    return {"class_name": top[0]["class_name"], "confidence": top[0]["probability"], "top": top}
