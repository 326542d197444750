"""The Open Inference Protocol, version 2, under /v2: what other servers' clients speak. REST form, UINT8 in, FP32 out.

Source: https://github.com/open-inference/open-inference-protocol, specification/protocol/inference_rest.md
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np

from iconoclass import __version__
from iconoclass.serving.engine import Answered
from iconoclass.serving.limits import Limits
from iconoclass.serving.model import Answer, Model, Pixels
from iconoclass.serving.problems import RequestError

INPUT, OUTPUT = "pixels", "probabilities"


def server_metadata() -> dict[str, Any]:
    return {"name": "iconoclass", "version": __version__, "extensions": []}


def model_metadata(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *model.image_shape]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(model.class_names)]}],
    }


def refuse_other(model: Model, name: str, version: str | None = None) -> None:
    """Raises: RequestError, if another model or version is meant."""
    if name != model.name or version not in (None, model.version):
        hint = "GET /model says which there is."
        raise RequestError("there is no such model or version", hint=hint, code="NOT_FOUND")


def pixels_of(body: bytes, model: Model, limits: Limits) -> tuple[list[Pixels], str | None]:
    """The pictures of an inference request, and the id that the client gave.

    Raises: RequestError, which says where in the request something is wrong.
    """
    content = _json(body)
    if not isinstance(content, dict):
        _refuse("/", "must be an object")
    inputs, given = content.get("inputs"), content.get("id")
    if given is not None and not isinstance(given, str):
        _refuse("/id", "must be a string")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        _refuse("/inputs", f"must be a list of one tensor, {INPUT}")
    return list(_tensor(inputs[0], model, limits)), given


def _tensor(tensor: dict[str, Any], model: Model, limits: Limits) -> Pixels:
    if tensor.get("name") != INPUT:
        _refuse("/inputs/0/name", f"must be {INPUT!r}")
    if tensor.get("datatype") != "UINT8":
        _refuse("/inputs/0/datatype", "must be 'UINT8'")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        _refuse("/inputs/0/shape", "must be a list of whole numbers")
    if shape[1:] != list(model.image_shape) or not 1 <= shape[0] <= limits.pictures:
        sides = ", ".join(map(str, model.image_shape))
        _refuse("/inputs/0/shape", f"must be [1 to {limits.pictures}, {sides}]")
    return _numbers(tensor.get("data"), shape)


def _numbers(data: Any, shape: list[int]) -> Pixels:
    where = "/inputs/0/data"
    if not isinstance(data, list):
        _refuse(where, "must be a list")
    try:
        found = np.array(data)
    except ValueError:
        _refuse(where, "is ragged")
    if found.dtype.kind not in "iu" or found.size == 0 or found.min() < 0 or found.max() > 255:
        _refuse(where, "must be whole numbers from 0 to 255")
    if found.size != math.prod(shape) or (found.ndim > 1 and list(found.shape) != shape):
        _refuse(where, f"holds {found.size} numbers in the shape {list(found.shape)}, not {shape}")
    return found.astype(np.uint8).reshape(shape)


def inferred(answered: Answered, given: str | None) -> dict[str, Any]:
    rows = [answer.probabilities.tolist() for answer in answered.answers if isinstance(answer, Answer)]
    model = answered.model
    content: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if given is not None:
        content["id"] = given
    shape = [len(rows), len(model.class_names)]
    flat = [number for row in rows for number in row]
    content["outputs"] = [{"name": OUTPUT, "datatype": "FP32", "shape": shape, "data": flat}]
    return content


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise RequestError("the JSON is nested too deep") from None
    except ValueError:
        raise RequestError("the body is no JSON") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RequestError("the JSON has a key twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise RequestError(f"the JSON holds {word}, which is no number")


def _refuse(where: str, what: str) -> NoReturn:
    raise RequestError(f"{where} {what}")
