"""Call: a request as it came. Most are about one small picture: what each costs is counted in microseconds."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from iconoclass.serving.limits import Limits
from iconoclass.serving.problems import RequestError

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Call:
    """headers: by name in small letters, the first of each; query: likewise; id: the client's, or one of ours."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.path: str = scope["path"]
        self.is_post = scope["method"] == "POST"
        sent = reversed(scope["headers"])
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent}
        asked = scope["query_string"].decode("latin-1")
        self.query = dict(reversed(parse_qsl(asked, keep_blank_values=True))) if asked else {}
        given = self.headers.get("x-request-id", "")
        self.id = given if _ID.fullmatch(given) else secrets.token_hex(8)

    async def body(self, limits: Limits, take: Callable[[int], None] = lambda size: None) -> bytes:
        """All of it, if it is not too much and comes in time. take: is told how much memory each part needs.

        Raises: RequestError: TOO_LARGE, before the first byte where the client says so; SLOW; MEDIA_TYPE, if
        compressed; ClientDisconnect; what `take` raises.
        """
        self._refuse_by_headers(limits)
        # The first part is mostly here already, and often all. Where it is not, the connection sees to it that it comes
        # in time, or that nothing comes then: a timer for every request would take longer than all else here.
        due = asyncio.get_running_loop().time() + limits.body_s
        first, is_more = await self._part(limits, take, 0)
        if not is_more:
            return first
        parts, size = [first], len(first)
        try:
            async with asyncio.timeout_at(due):
                while is_more:
                    part, is_more = await self._part(limits, take, size)
                    parts.append(part)
                    size += len(part)
        except TimeoutError:
            raise RequestError(f"the body did not arrive within {limits.body_s:g} s", code="SLOW") from None
        return b"".join(parts)

    def _refuse_by_headers(self, limits: Limits) -> None:
        if self.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise RequestError("the body is compressed", hint="Send it as it is.", code="MEDIA_TYPE")
        declared = self.headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()):
            raise RequestError("Content-Length is no number")
        if len(declared) > 18 or int(declared) > limits.bytes:
            raise _too_large(limits)

    async def _part(self, limits: Limits, take: Callable[[int], None], size: int) -> tuple[bytes, bool]:
        """What comes next, after so many bytes, and whether there is more."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        take(len(part))
        if size + len(part) > limits.bytes:
            raise _too_large(limits)
        return part, message.get("more_body", False)


def _too_large(limits: Limits) -> RequestError:
    what = f"a body may have {limits.bytes:,} bytes"
    return RequestError(what, hint="Send fewer pictures at once, or smaller ones.", code="TOO_LARGE")
