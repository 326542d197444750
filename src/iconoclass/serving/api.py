"""The API: routes over an engine. Every answer passes through `guard`, or looks like it where `shedding` is sooner;
every error is one of ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from iconoclass import __version__
from iconoclass.errors import IconoclassError, ImageError
from iconoclass.serving import inference_protocol as protocol
from iconoclass.serving import page
from iconoclass.serving.access import Access
from iconoclass.serving.bodies import Memory, Upload, uploads
from iconoclass.serving.calls import Call
from iconoclass.serving.engine import Answered, Engine, Explained
from iconoclass.serving.guard import Guard, of_framework, refusal
from iconoclass.serving.metrics import Metrics
from iconoclass.serving.model import Answer, Model
from iconoclass.serving.openapi import DESCRIBED, MEANS, TOP
from iconoclass.serving.problems import GoingDownError, RequestError, content_of

JSON = "application/json"


@dataclass
class State:
    """What the routes share. is_ready: false before the first model is warm and while the server drains."""

    engine: Engine
    metrics: Metrics
    report: Path | None = None
    is_ready: bool = True

    @property
    def model(self) -> Model:
        return self.engine.model

    def refuse_leaving(self) -> None:
        if not self.is_ready:
            raise GoingDownError

    def refuse_unready(self) -> None:
        """As above, or where nobody is there to answer; a request may wait for a worker, a balancer should not."""
        self.refuse_leaving()
        if not self.engine.workers:
            raise RequestError("no worker is there at the moment", hint="One is starting.", code="NOT_READY", retry_s=1)


def build(state: State, access: Access) -> ASGIApp:
    """The whole application, guarded."""
    app = FastAPI(title="Iconoclass", version=__version__, docs_url=None, redoc_url=None)
    engine = state.engine
    state.metrics.watch(lambda: engine.accepted, lambda: engine.workers, lambda: state.is_ready and engine.workers > 0)
    state.metrics.tell_model(state.model.name, state.model.version)
    routes = _Routes(state)
    for path, (method, name) in ROUTES.items():
        described = DESCRIBED.get(path)
        app.add_api_route(path, getattr(routes, name), methods=[method], response_model=None, openapi_extra=described)
    app.add_exception_handler(IconoclassError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    return Guard(_Express(app, routes), access, state.metrics)


async def _refused(request: Request, error: Exception) -> Response:
    ours = of_framework(error) if isinstance(error, HTTPException) else error
    if not isinstance(ours, IconoclassError):
        raise error
    return refusal(ours, request.scope)


class _Express:
    """`/predict` straight to its function: a framework takes longer than the answer about a small picture."""

    def __init__(self, app: ASGIApp, routes: _Routes) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (call := scope["state"]["call"]).path == "/predict" and call.is_post:
            body = (await self._routes.answered(call)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await self._app(scope, receive, send)


class _Routes:
    """A method a route. What it says in its docstring stands in openapi.json."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._memory = Memory(state.engine.limits.held)

    async def predict(self, request: Request) -> Response:
        """What pictures show: multipart/form-data with pictures in the field `file`, or one picture as the body."""
        return Response(await self.answered(request.state.call), media_type=JSON)

    async def answered(self, call: Call) -> str:
        """The answer to a call of `/predict`, as JSON."""
        engine = self._state.engine
        with self._memory.share() as take:
            body = await call.body(engine.limits, take)
            self._state.refuse_leaving()
            top = _top_of(call)
            sent = uploads(body, call.headers.get("content-type", ""), engine.limits)
            answered = await engine.answer([upload.content for upload in sent])
        is_strict = len(sent) == 1 or call.query.get("strict") == "true"
        if is_strict and (refused := [answer for answer in answered.answers if isinstance(answer, ImageError)]):
            raise refused[0]
        return _as_json(_content(answered, sent, top) | {"request_id": call.id})

    async def explain(self, request: Request) -> Response:
        """What one picture shows, and a map of what the answer rests on: parts of the picture are hidden, and the model
        is asked again. It takes hundreds of answers, so one picture at a time is explained, at low priority.
        """
        engine, call = self._state.engine, request.state.call
        with self._memory.share() as take:
            body = await call.body(engine.limits, take)
            self._state.refuse_leaving()
            sent = uploads(body, call.headers.get("content-type", ""), engine.limits)
            if len(sent) != 1:
                raise RequestError("one picture is explained at a time", hint="Send one.")
            explained = await engine.explain(sent[0].content)
        return _json(_reasons(explained, sent[0].name) | {"request_id": call.id})

    async def model(self, request: Request) -> Response:
        """The model that answers: name, version, classes, the size of its pictures, and some to try."""
        model, limits = self._state.model, self._state.engine.limits
        height, width, channels = model.image_shape
        return _json(
            {
                "name": model.name,
                "version": model.version,
                "class_names": model.class_names,
                "image": {"height": height, "width": width, "channels": channels},
                "examples": [{"class_name": each.class_name, "picture": each.as_url} for each in model.examples],
                "limits": {"bytes": limits.bytes, "pictures": limits.pictures},
                "has_report": self._state.report is not None,
            }
        )

    async def health(self, request: Request) -> Response:
        """Whether the server is alive."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Whether it takes requests, and somebody is there to answer them."""
        self._state.refuse_unready()
        return PlainTextResponse("ready\n")

    async def metrics(self, request: Request) -> Response:
        """Counters for Prometheus."""
        return Response(self._state.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def report(self, request: Request) -> Response:
        """The run's report."""
        if self._state.report is None:
            raise RequestError("there is no report", code="NOT_FOUND")
        # The report allows its own script, by digest, and nothing else; in a sandbox it cannot act in our name.
        return FileResponse(self._state.report, headers={"content-security-policy": "sandbox allow-scripts"})

    async def home(self, request: Request) -> Response:
        """The page for people."""
        return page.file("page.html")

    async def static(self, request: Request) -> Response:
        """What the page consists of."""
        return page.file(request.path_params["name"])

    # -- the Open Inference Protocol ---------------------------------------------------------------------------------

    async def v2(self, request: Request) -> Response:
        """Metadata of the server."""
        return _json(protocol.server_metadata())

    async def v2_live(self, request: Request) -> Response:
        """Whether the server is alive."""
        return _json({"live": True})

    async def v2_ready(self, request: Request) -> Response:
        """Whether it takes requests."""
        self._state.refuse_unready()
        return _json({"ready": True})

    async def v2_model(self, request: Request) -> Response:
        """Metadata of the model."""
        self._refuse_other(request)
        return _json(protocol.model_metadata(self._state.model))

    async def v2_model_ready(self, request: Request) -> Response:
        """Whether the model answers."""
        self._refuse_other(request)
        self._state.refuse_unready()
        return _json({"name": self._state.model.name, "ready": True})

    async def v2_infer(self, request: Request) -> Response:
        """Probabilities of pixels."""
        engine = self._state.engine
        self._refuse_other(request)
        with self._memory.share() as take:
            body = await request.state.call.body(engine.limits, take)
            self._state.refuse_leaving()
            pixels, given = protocol.pixels_of(body, self._state.model, engine.limits)
            return _json(protocol.inferred(await engine.ask(pixels), given))

    def _refuse_other(self, request: Request) -> None:
        given = request.path_params
        protocol.refuse_other(self._state.model, given["name"], given.get("version"))


def _top_of(call: Call) -> int:
    given = call.query.get("top")
    if given is None:
        return TOP
    if not (given.isascii() and given.isdigit() and 1 <= len(given) <= 6 and int(given) > 0):
        raise RequestError("top must be a number above 0")
    return int(given)


def _content(answered: Answered, sent: list[Upload], top: int) -> dict[str, Any]:
    model = answered.model
    answers = zip(sent, answered.answers, strict=True)
    return {
        "model": {"name": model.name, "version": model.version},
        "predictions": [{"file": upload.name, **_said(answer, model, top)} for upload, answer in answers],
    }


def _said(answer: Answer | ImageError, model: Model, top: int) -> dict[str, Any]:
    """One picture, in the words of `iconoclass predict --json`."""
    if isinstance(answer, ImageError):
        return {"status": content_of(answer)["status"], "error": content_of(answer)}
    shares, names = answer.probabilities.tolist(), model.class_names
    order = sorted(range(len(names)), key=shares.__getitem__, reverse=True)[:top]
    return {
        "status": 200,
        "class_name": names[order[0]],
        "confidence": shares[order[0]],
        "unknown": answer.unknown,
        "top": [{"class_name": names[at], "probability": shares[at]} for at in order],
    }


def _reasons(explained: Explained, name: str) -> dict[str, Any]:
    model, found = explained.model, explained.explanation
    said = _said(found.answer, model, 1)
    rows, columns = found.attention.shape
    return {
        "model": {"name": model.name, "version": model.version},
        "file": name,
        **{word: said[word] for word in ("class_name", "confidence", "unknown")},
        "map": {
            "rows": rows,
            "columns": columns,
            "values": [[round(value, 3) for value in row] for row in found.attention.tolist()],
            "covers": [round(share, 6) for share in found.covers],
            "means": MEANS,
        },
    }


def _json(content: Any) -> Response:
    return Response(_as_json(content), media_type=JSON)


_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


_MODEL = "/v2/models/{name}"
_VERSION = _MODEL + "/versions/{version}"
ROUTES = {
    "/": ("GET", "home"),
    "/static/{name}": ("GET", "static"),
    "/model": ("GET", "model"),
    "/report": ("GET", "report"),
    "/predict": ("POST", "predict"),
    "/explain": ("POST", "explain"),
    "/healthz": ("GET", "health"),
    "/readyz": ("GET", "ready"),
    "/metrics": ("GET", "metrics"),
    "/v2": ("GET", "v2"),
    "/v2/": ("GET", "v2"),
    "/v2/health/live": ("GET", "v2_live"),
    "/v2/health/ready": ("GET", "v2_ready"),
    _MODEL: ("GET", "v2_model"),
    _VERSION: ("GET", "v2_model"),
    _MODEL + "/ready": ("GET", "v2_model_ready"),
    _VERSION + "/ready": ("GET", "v2_model_ready"),
    _MODEL + "/infer": ("POST", "v2_infer"),
    _VERSION + "/infer": ("POST", "v2_infer"),
}
