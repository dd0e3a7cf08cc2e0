"""Who the gateway is for Transit: a token that something else keeps fresh, or a login that gives one."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import orjson

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.files import read_bounded
from keys.errors import KeyUnavailable
from keys.stores.transit.http import Answer, Http

CREDENTIAL_MAX_BYTES: Final = 16_384
RENEWAL: Final = 2 / 3
"""The part of a token's life after which another is asked for."""
AGE_MIN_SECONDS: Final = 30.0
"""A refused token is replaced where it is older. A younger one was refused for want of a right, which another does not
have either, and each login is a lease that the server keeps."""


def read_credential(file: Path) -> str:
    """The one line of a file, as it is now: agents write it anew. Raises ``KeyUnavailable``."""
    try:
        content = read_bounded(file, CREDENTIAL_MAX_BYTES)
    except OSError as exc:
        raise KeyUnavailable(f"{file}: {exc.strerror}") from None
    text = content.decode("ascii", errors="replace").strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise KeyUnavailable(f"{file}: not one line of ASCII")
    return text


class Login(Protocol):
    """Gives the token that a request carries."""

    def token(self) -> str:
        """The token to use now. Raises ``KeyUnavailable``."""

    def replaced(self, token: str) -> bool:
        """Whether there is another one to try after the server refused ``token``. Raises ``KeyUnavailable``."""


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token in a file, read for each request."""

    file: Path

    def token(self) -> str:
        """See ``Login.token``."""
        return read_credential(self.file)

    def replaced(self, token: str) -> bool:
        """See ``Login.replaced``."""
        return read_credential(self.file) != token


@dataclass(frozen=True, slots=True)
class _Issued:
    token: str = field(repr=False)
    at: float
    life_seconds: float


class Exchange:
    """A login by role and credential: AppRole's secret id, or a JWT, which is how Kubernetes logs in too.

    Args:
        path: of the login, for example ``/v1/auth/kubernetes/login``.
        body: gives what is posted there, reading the credential's file.
    """

    def __init__(
        self,
        http: Http,
        path: str,
        headers: Mapping[str, str],
        body: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http, self._path, self._headers, self._body = http, path, headers, body
        self._clock = clock
        self._lock = threading.Lock()
        self._issued: _Issued | None = None

    def token(self) -> str:
        """See ``Login.token``."""
        with self._lock:
            issued = self._issued
            if issued is None or (0 < issued.life_seconds * RENEWAL <= self._clock() - issued.at):
                issued = self._issued = self._log_in()
            return issued.token

    def replaced(self, token: str) -> bool:
        """See ``Login.replaced``."""
        with self._lock:
            if self._issued is None or self._issued.token != token:
                return True  # another thread was faster
            if self._clock() - self._issued.at < AGE_MIN_SECONDS:
                return False
            self._issued = self._log_in()
            return True

    def _log_in(self) -> _Issued:
        answer = self._http.exchange("POST", self._path, self._headers, orjson.dumps(self._body()))
        return _issued(answer, self._clock(), f"{self._http.where}{self._path}")


def _issued(answer: Answer, at: float, where: str) -> _Issued:
    if answer.status != 200:
        raise KeyUnavailable(f"{where}: the login was refused ({answer.status})")
    try:
        said = parse(answer.body)
        token, life = said["auth"]["client_token"], said["auth"]["lease_duration"]
    except (Refused, KeyError, TypeError):
        token, life = None, None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or type(life) is not int:
        raise KeyUnavailable(f"{where}: the answer to the login has no token")
    return _Issued(token, at, float(life))
