"""A body -> the pictures in it, held in memory under every limit; nothing is written to disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from iconoclass.files import printable
from iconoclass.serving.batching import BusyError
from iconoclass.serving.limits import Limits
from iconoclass.serving.problems import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "file"
MOST_BOUNDARY, MOST_NAME = 200, 200
FORMS = "multipart/form-data"
NOT_PICTURES = frozenset({"application/json", "application/x-www-form-urlencoded"})

_HOW = f"Send multipart/form-data with pictures in the field '{FIELD}', or one picture as the body."


@dataclass
class Upload:
    """A picture that was sent. name: as the client calls it, harmless to print; empty for a raw body."""

    content: bytes
    name: str = ""


class Memory:
    """What all bodies together take: clients who each keep within their limit may be many."""

    def __init__(self, most: int) -> None:
        self.left = most

    def share(self) -> _Share:
        """What takes so many bytes more, until the end of the block. It raises BusyError where there are none left."""
        return _Share(self)


class _Share:
    def __init__(self, memory: Memory) -> None:
        self._memory, self._mine = memory, 0

    def __enter__(self) -> Callable[[int], None]:
        return self._take

    def __exit__(self, *_: object) -> None:
        self._memory.left += self._mine

    def _take(self, size: int) -> None:
        if size > self._memory.left:
            raise BusyError("as much as may be in memory is waiting")
        self._memory.left -= size
        self._mine += size


def uploads(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """The pictures of a body, in the order sent.

    Raises: RequestError, if there is none, another field, too many, or the form is malformed.
    """
    kind, options = parse_options_header(content_type)
    words = kind.decode("latin-1").strip().lower()
    if words == FORMS:
        return _of_form(body, options.get(b"boundary", b""), limits)
    if words in NOT_PICTURES or words.startswith("multipart/"):
        raise RequestError(f"the body is {words}", hint=_HOW, code="MEDIA_TYPE")
    # What a picture is, its bytes say; clients often do not know.
    if not body:
        raise RequestError("the body is empty", hint=_HOW)
    return [Upload(body)]


def _of_form(body: bytes, boundary: bytes, limits: Limits) -> list[Upload]:
    if not 0 < len(boundary) <= MOST_BOUNDARY:
        raise RequestError(f"the form has no boundary of 1 to {MOST_BOUNDARY} characters", hint=_HOW)
    form = _Form(limits.pictures)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise RequestError("the form is malformed", hint=_HOW) from None
    if not form.is_whole:
        raise RequestError("the form is cut off", hint=_HOW)
    if not form.found:
        raise RequestError(f"the field '{FIELD}' is missing", hint=_HOW)
    return form.found


@dataclass
class _Form:
    """What the parser tells, as uploads."""

    most: int
    found: list[Upload] = field(default_factory=list)
    is_whole: bool = False
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytes = b""
    _value: bytes = b""
    _parts: list[bytes] = field(default_factory=list)

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._whole,
        }

    def _begin(self) -> None:
        if len(self.found) >= self.most:
            raise RequestError(f"a request may have {self.most} pictures", hint="Send several requests.")
        self._headers, self._parts = {}, []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._parts.append(data[start:end])

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        named = options.get(b"name", b"").decode("utf-8", "replace")
        if named != FIELD:
            raise RequestError(f"there is no field {_harmless(named)!r}", hint=_HOW)
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        self.found.append(Upload(b"".join(self._parts), _harmless(name)))

    def _whole(self) -> None:
        self.is_whole = True


def _harmless(name: str) -> str:
    """A name from somebody else, to be shown: its last part, without control characters, not endless."""
    return printable(name.replace("\\", "/").rpartition("/")[2])[:MOST_NAME]
