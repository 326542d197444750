"""The page for people: files beside this one, served as they are, in the colours of every page that we write."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.responses import Response

from iconoclass.pages import STYLE
from iconoclass.serving.problems import RequestError


def file(name: str) -> Response:
    """Raises: RequestError, if the page has no such part: names are looked up in a table, never on the disk."""
    if name not in PARTS:
        raise RequestError("there is nothing here", code="NOT_FOUND")
    return Response(_content(name), media_type=PARTS[name])


@cache
def _content(name: str) -> bytes:
    content = (Path(__file__).parent / name).read_bytes()
    return STYLE.encode() + content if name == "page.css" else content


_SCRIPT = "text/javascript"
PARTS = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": _SCRIPT,
    "asking.js": _SCRIPT,
    "camera.js": _SCRIPT,
    "canvas.js": _SCRIPT,
    "gallery.js": _SCRIPT,
    "why.js": _SCRIPT,
}
