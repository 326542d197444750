"""Guard: what is true of every request and every answer, whichever route: an id, access, security headers, problems."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iconoclass.errors import IconoclassError
from iconoclass.serving.access import Access
from iconoclass.serving.calls import Call
from iconoclass.serving.metrics import Metrics
from iconoclass.serving.problems import GoingDownError, RequestError, content_of, headers_of, problem, status_of

log = logging.getLogger("iconoclass.serving")

LEFT = 499  # what is counted where nobody was there to be answered
# The page holds nothing that is the user's; the others are asked by machines that have no key.
OPEN = frozenset({"/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/favicon.ico"})
OPEN_PREFIX = "/static/"
KNOWN = (
    "/predict",
    "/explain",
    "/model",
    "/metrics",
    "/healthz",
    "/readyz",
    "/v2",
    "/static",
    "/report",
    "/openapi.json",
)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
]
_NAMES = frozenset(name for name, _ in HEADERS)


class Guard:
    """The outermost layer: whatever is below, no answer leaves without it."""

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics) -> None:
        self.app, self.access, self.metrics = app, access, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()


class _Exchange:
    """One request and its answer. Routes find the call in the scope's state."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self.guard, self.scope, self.receive, self._send = guard, scope, receive, send
        self.call = Call(scope, receive)
        self.began = time.perf_counter()
        self.status = 0
        scope.setdefault("state", {})["call"] = self.call

    async def run(self) -> None:
        try:
            self._admit()
            await self.guard.app(self.scope, self.receive, self.send)
        except ClientDisconnect:
            self.status = LEFT
            self.guard.metrics.cancelled.inc()
        except IconoclassError as error:
            await self._refuse(error)
        except asyncio.CancelledError:  # the server leaves, and waits no longer
            await self._refuse(GoingDownError())
        except Exception:
            # The answer says nothing of it; the log says all.
            log.exception("request %s failed", self.call.id)
            await self._refuse(RequestError("this is a fault of the server", code="BUG"))
        self.guard.metrics.count(_route_of(self.call.path), self.status, time.perf_counter() - self.began)

    def _admit(self) -> None:
        self.guard.access.refuse_foreign(self.call.headers)
        path = self.call.path
        if path not in OPEN and not path.startswith(OPEN_PREFIX):
            self.guard.access.admit(self.call.headers)

    async def _refuse(self, error: IconoclassError) -> None:
        if not self.status:  # else it is too late: the answer has begun
            await refusal(error, self.scope)(self.scope, self.receive, self.send)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status == 429:
                self.guard.metrics.shed.inc()
            answered = message["headers"]
            said = {name for name, _ in answered}
            ours = HEADERS if _NAMES.isdisjoint(said) else [header for header in HEADERS if header[0] not in said]
            message["headers"] = [*answered, *ours, (b"x-request-id", self.call.id.encode())]
        await self._send(message)


def _route_of(path: str) -> str:
    """The beginning of a known path: made-up paths must not make new rows."""
    return next((known for known in KNOWN if path.startswith(known)), "/" if path == "/" else "other")


def refusal(error: IconoclassError, scope: Scope) -> Response:
    """An error in the form of the route: that of the inference protocol below /v2, elsewhere a problem."""
    answer = v2_fault(error) if scope["path"].startswith("/v2") else problem(error, scope["state"]["call"].id)
    # The rest of the body is not wanted; or who comes back should find that the door is closed.
    if status_of(error) in {408, 413} or isinstance(error, GoingDownError):
        answer.headers["connection"] = "close"
    return answer


def v2_fault(error: IconoclassError) -> Response:
    return JSONResponse({"error": content_of(error)["detail"]}, status_of(error), headers_of(error))


def of_framework(error: HTTPException) -> RequestError:
    """What the router refuses, in our words."""
    code = {404: "NOT_FOUND", 405: "METHOD"}.get(error.status_code, "REQUEST")
    what = {404: "there is nothing here", 405: "this method is not allowed here"}.get(error.status_code)
    return RequestError(what or "the request is malformed", code=code)
