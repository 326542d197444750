"""Access: who may ask. Closed by default: only this machine, or whoever has a key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iconoclass.errors import EnvironmentFault, UsageError
from iconoclass.serving.problems import RequestError

VARIABLE = "ICONOCLASS_API_KEY"
SHORTEST_KEY = 16


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_keys(file: Path | None) -> list[str]:
    """The keys of a file, one a line, and that of the environment.

    Raises: UsageError, if one is too short to be a secret; EnvironmentFault, if the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFault(
            f"{file} cannot be read: {type(error).__name__}", hint="Check its permissions."
        ) from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    keys += [key] if (key := os.environ.get(VARIABLE, "").strip()) else []
    if any(len(key) < SHORTEST_KEY for key in keys):
        hint = "For example: python -c 'import secrets; print(secrets.token_urlsafe())'"
        raise UsageError(f"an API key has fewer than {SHORTEST_KEY} characters", hint=hint)
    if file and not keys:
        raise UsageError(f"{file} holds no API key", hint="One a line.")
    return keys


@dataclass
class _Allowance:
    """So many requests a second on average, and as many at once."""

    left: float
    at: float


@dataclass
class Access:
    """keys: as they were given; only their digests are compared. hosts: names by which the server may be called, so
    that a page from elsewhere cannot reach it by a name of its own; empty: any. rate: requests a second a key.
    """

    keys: list[str]
    hosts: frozenset[str] = frozenset()
    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    _allowances: dict[bytes, _Allowance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._digests = [_digest(key) for key in self.keys]

    @classmethod
    def at(cls, host: str, keys: list[str], *, insecure: bool, rate: float | None) -> Access:
        """Raises: UsageError, if everybody could ask and nobody has said that they may."""
        if not is_loopback(host) and not keys and not insecure:
            raise UsageError(
                f"{host} can be reached from other machines, and there is no API key",
                hint=f"Give --api-key-file FILE or ${VARIABLE}, or say --insecure-no-auth.",
            )
        local = frozenset({"localhost", "127.0.0.1", "[::1]", host}) if is_loopback(host) else frozenset()
        return cls(keys, local, rate)

    def refuse_foreign(self, headers: Mapping[str, str]) -> None:
        """Raises: RequestError, for names that are not ours, and for pages of other sites."""
        host = headers.get("host", "")
        if self.hosts and _name_of(host) not in self.hosts:
            raise RequestError("the server is not called by this name", code="FORBIDDEN")
        origin = headers.get("origin")
        if origin and origin.partition("://")[2] != host:
            raise RequestError("pages of other sites may not ask", code="FORBIDDEN")

    def admit(self, headers: Mapping[str, str]) -> None:
        """Raises: RequestError, without a key that is known, or where it has been used too often."""
        key = self._key_of(headers)
        if self.rate is not None:
            self._take(key, self.rate)

    def _key_of(self, headers: Mapping[str, str]) -> bytes:
        if not self._digests:
            return b""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = _digest(bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", ""))
        # All are compared, whichever fits: the time says nothing about which, nor how much of it is right.
        fitting = [digest for digest in self._digests if hmac.compare_digest(digest, given)]
        if not fitting:
            hint = "Send it in the header: Authorization: Bearer KEY."
            raise RequestError("there is no API key, or it is not a known one", hint=hint, code="KEY")
        return fitting[0]

    def _take(self, key: bytes, rate: float) -> None:
        now, most = self.clock(), max(rate, 1.0)
        allowance = self._allowances.setdefault(key, _Allowance(most, now))
        allowance.left = min(most, allowance.left + (now - allowance.at) * rate)
        allowance.at = now
        if allowance.left < 1:
            what = f"more than {rate:g} requests a second"
            raise RequestError(what, hint="Ask more slowly.", code="RATE", retry_s=(1 - allowance.left) / rate)
        allowance.left -= 1


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _name_of(host: str) -> str:
    """Without the port.

    >>> [_name_of(host) for host in ("localhost:80", "[::1]:80", "127.0.0.1")]
    ['localhost', '[::1]', '127.0.0.1']
    """
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
