"""What answers under /v2 must look like, as JSON schemas, a little stricter than the protocol where that is vague.

Source: https://github.com/open-inference/open-inference-protocol, specification/protocol/open_inference_rest.yaml
"""

from __future__ import annotations

from typing import Any

TEXT, NUMBERS = {"type": "string"}, {"type": "array", "items": {"type": "integer"}}
WHOLE = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
DATATYPES = [*WHOLE, "BOOL", "FP16", "FP32", "FP64", "BYTES"]


def having(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def listing(each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": each}


TENSOR = {"name": TEXT, "datatype": {"enum": DATATYPES}, "shape": NUMBERS}
OUTPUT = having(
    TENSOR | {"data": listing({"type": ["number", "string", "boolean"]})}, {"parameters": {"type": "object"}}
)

SERVER = having({"name": TEXT, "version": TEXT, "extensions": listing(TEXT)})
MODEL = having(
    {"name": TEXT, "platform": TEXT},
    {
        "versions": listing(TEXT),
        "inputs": listing(having(TENSOR)),
        "outputs": listing(having(TENSOR)),
        "properties": {"type": "object"},
    },
)
INFERRED = having(
    {"model_name": TEXT, "outputs": listing(OUTPUT)},
    {"model_version": TEXT, "id": TEXT, "parameters": {"type": "object"}},
)
ERROR = having({"error": TEXT})
LIVE, READY = having({"live": {"type": "boolean"}}), having({"ready": {"type": "boolean"}})
MODEL_READY = having({"name": TEXT, "ready": {"type": "boolean"}})
