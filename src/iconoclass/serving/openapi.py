"""What openapi.json says of the routes that take pictures, beyond what their docstrings say."""

from __future__ import annotations

from typing import Any

TOP = 5  # classes in an answer, unless asked for more
MEANS = "1: the answer loses most when this place is hidden; 0: it loses nothing"

_PICTURE = {"type": "string", "format": "binary"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def _body(file: dict[str, Any]) -> dict[str, Any]:
    form = {"type": "object", "required": ["file"], "properties": {"file": file}}
    return {"required": True, "content": {"multipart/form-data": {"schema": form}, "image/*": {"schema": _PICTURE}}}


_MAP = {
    "type": "object",
    "properties": {
        "rows": {"type": "integer"},
        "columns": {"type": "integer"},
        "values": {"type": "array", "items": {"type": "array", "items": _SHARE}, "description": MEANS},
        "covers": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 4,
            "description": "The part of the picture that the model sees, over which the map lies: left, top, right, "
            "bottom as shares of its width and height; beyond 0 and 1 where the model sees black around it.",
        },
        "means": {"type": "string"},
    },
}
_EXPLANATION = {
    "type": "object",
    "properties": {
        "model": {"type": "object", "properties": {"name": {"type": "string"}, "version": {"type": "string"}}},
        "file": {"type": "string"},
        "class_name": {"type": "string"},
        "confidence": _SHARE,
        "unknown": {"type": ["string", "null"]},
        "map": _MAP,
        "request_id": {"type": "string"},
    },
}
DESCRIBED: dict[str, dict[str, Any]] = {
    "/predict": {
        "requestBody": _body({"type": "array", "items": _PICTURE}),
        "parameters": [
            {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": TOP}},
            {"name": "strict", "in": "query", "schema": {"type": "boolean", "default": False}},
        ],
    },
    "/explain": {
        "requestBody": _body(_PICTURE),
        "responses": {"200": {"content": {"application/json": {"schema": _EXPLANATION}}}},
    },
}
