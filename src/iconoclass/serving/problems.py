"""Problem: an error as HTTP tells it: a status, application/problem+json, and nothing of the inside of the server."""

from __future__ import annotations

import http
import json
import math
from typing import Any

from starlette.responses import Response

from iconoclass.errors import IconoclassError, ImageError
from iconoclass.serving.batching import BusyError
from iconoclass.serving.worker import WorkerLostError


class RequestError(IconoclassError):
    """A request is not one that can be answered. code: a word of STATUS."""

    code = "REQUEST"

    def __init__(self, what: str, *, hint: str = "", code: str | None = None, retry_s: float | None = None) -> None:
        super().__init__(what, hint=hint, code=code)
        self.retry_s = retry_s


class GoingDownError(RequestError):
    """What came after SIGTERM."""

    code = "NOT_READY"

    def __init__(self) -> None:
        super().__init__("the server is going down", hint="Ask another.", retry_s=1)


def status_of(error: IconoclassError) -> int:
    """What HTTP calls it. A code that we have not thought of is a fault of ours, and says nothing more."""
    if isinstance(error, ImageError):
        return 415 if error.code in {"IMG_NOT_IMAGE", "IMG_FORMAT"} else 422
    return STATUS.get(error.code, 500)


def content_of(error: IconoclassError) -> dict[str, Any]:
    """The part of a problem that may stand in a list too. Source: RFC 9457."""
    status = status_of(error)
    known = status != 500 or error.code in STATUS
    detail = " ".join(filter(None, [_sentence(error.what), error.hint])) if known else "This is a fault of the server."
    return {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "code": error.code if known else "BUG",
        "detail": detail,
    }


def _sentence(what: str) -> str:
    what = what[:1].upper() + what[1:]
    return what if what.endswith((".", "?", "!")) else what + "."


def headers_of(error: IconoclassError) -> dict[str, str]:
    headers = {}
    retry_s = error.retry_s if isinstance(error, (BusyError, RequestError, WorkerLostError)) else None
    if retry_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_s)))
    if error.code == "KEY":
        headers["www-authenticate"] = "Bearer"
    return headers


def problem(error: IconoclassError, request_id: str) -> Response:
    return Response(
        json.dumps(content_of(error) | {"request_id": request_id}, ensure_ascii=False),
        status_of(error),
        headers_of(error),
        "application/problem+json",
    )


STATUS = {
    "REQUEST": 400,
    "KEY": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD": 405,
    "SLOW": 408,
    "TOO_LARGE": 413,
    "MEDIA_TYPE": 415,
    "BUSY": 429,
    "RATE": 429,
    "MODEL_NAN": 500,
    "NOT_READY": 503,
    "WORKER": 503,
    "DEADLINE": 504,
}
