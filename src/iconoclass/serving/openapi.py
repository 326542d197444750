"""What openapi.json says of the routes that take pictures and of the model, beyond what their docstrings say."""

from __future__ import annotations

from typing import Any

TOP = 5  # classes in an answer, unless asked for more
MEANS = "1: the answer loses most when this place is hidden; 0: it loses nothing"

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_PICTURE = {"type": "string", "format": "binary"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_PROBLEM: dict[str, Schema] = {"type": _TEXT, "title": _TEXT, "status": _COUNT, "code": _TEXT, "detail": _TEXT}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _body(file: Schema) -> Schema:
    form = _object(file=file)
    return {"required": True, "content": {"multipart/form-data": {"schema": form}, "image/*": {"schema": _PICTURE}}}


def _answers(schema: Schema) -> Schema:
    """What comes back; whatever goes wrong is a problem (RFC 9457)."""
    return {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": schema}}},
        "default": {
            "description": "What is wrong, and what to do.",
            "content": {"application/problem+json": {"schema": _object(**_PROBLEM, request_id=_TEXT)}},
        },
    }


_MODEL = _object(name=_TEXT, version=_TEXT)
_UNKNOWN = {"type": ["string", "null"], "description": "Why the picture is probably none of the classes; null, if not."}
_ANSWERED = _object(
    file={**_TEXT, "description": "The name that was sent; empty for a raw body."},
    status={"const": 200},
    class_name=_TEXT,
    confidence=_SHARE,
    unknown=_UNKNOWN,
    top=_list(_object(class_name=_TEXT, probability=_SHARE), minItems=1, description="The likeliest first."),
)
_REFUSED = _object(file=_TEXT, status={"type": "integer", "minimum": 400}, error=_object(**_PROBLEM))
_PREDICTIONS = _object(
    model=_MODEL,
    predictions=_list({"oneOf": [_ANSWERED, _REFUSED]}, description="One for each picture, in the order sent."),
    request_id=_TEXT,
)
_MAP = _object(
    rows=_COUNT,
    columns=_COUNT,
    values=_list(_list(_SHARE), description=MEANS),
    covers=_list(
        {"type": "number"},
        minItems=4,
        maxItems=4,
        description="The part of the picture that the model sees, over which the map lies: left, top, right, bottom as "
        "shares of its width and height; beyond 0 and 1 where the model sees black around it.",
    ),
    means=_TEXT,
)
_EXPLANATION = _object(
    model=_MODEL, file=_TEXT, class_name=_TEXT, confidence=_SHARE, unknown=_UNKNOWN, map=_MAP, request_id=_TEXT
)
_DESCRIPTION = _object(
    name=_TEXT,
    version=_TEXT,
    class_names=_list(_TEXT),
    image=_object(height=_COUNT, width=_COUNT, channels=_COUNT),
    examples=_list(_object(class_name=_TEXT, picture={**_TEXT, "description": "A data: address."})),
    limits=_object(bytes=_COUNT, pictures=_COUNT),
    has_report={"type": "boolean"},
)
DESCRIBED: dict[str, Schema] = {
    "/predict": {
        "requestBody": _body(_list(_PICTURE)),
        "parameters": [
            {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": TOP}},
            {"name": "strict", "in": "query", "schema": {"type": "boolean", "default": False}},
        ],
        "responses": _answers(_PREDICTIONS),
    },
    "/explain": {"requestBody": _body(_PICTURE), "responses": _answers(_EXPLANATION)},
    "/model": {"responses": _answers(_DESCRIPTION)},
}
