"""The gateway's keys for step credentials, from its JWKS: fetched when needed, and no more often than that."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from handrail.errors import MalformedError, StepRefused
from handrail.keys import VerifyKey
from handrail.strict import parse

JWKS_MAX_BYTES: Final = 1_048_576
LIFETIME_SECONDS: Final = 300
"""Older keys are fetched again before they are believed, so that a revoked one ages out."""
PAUSE_SECONDS: Final = 10
"""Between two fetches. A key id that is not known asks for one, and anybody can invent those."""
TIMEOUT_SECONDS: Final = 5
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Fetch = Callable[[], bytes]


class StepKeys:
    """Thread-safe. Keys of other purposes in the set are never given out."""

    def __init__(self, jwks: str | Path | Mapping[str, Any]) -> None:
        """Fetch nothing yet.

        Args:
            jwks: the address of ``/.well-known/jwks.json`` (``https``, or ``http`` on this machine), a file that
                somebody keeps current, or the set itself.

        Raises:
            StepRefused: ``verify.unknown_key``: an address that could be answered by anybody, or a set that is none.
        """
        self._keys: Mapping[str, VerifyKey] = {}
        self._fetch: Fetch | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = threading.Lock()
        if isinstance(jwks, Mapping):
            self._keys = _read(jwks)
        elif isinstance(jwks, Path):
            self._fetch = jwks.read_bytes
        else:
            self._fetch = _address(jwks)

    def get(self, kid: str, now: float) -> VerifyKey:
        """The step key of that thumbprint; ``now`` in seconds of any one clock.

        Raises:
            StepRefused: ``verify.unknown_key``.
        """
        with self._lock:
            stale = not 0 <= now - self._fetched_at < LIFETIME_SECONDS
            if self._fetch is not None and (stale or kid not in self._keys):
                self._refresh(self._fetch, now, stale=stale)
            key = self._keys.get(kid)
        if key is None:
            raise StepRefused("verify.unknown_key", "no key of the gateway's for steps")
        return key

    def _refresh(self, fetch: Fetch, now: float, *, stale: bool) -> None:
        problem = "asked for a moment ago"
        if not 0 <= now - self._tried_at < PAUSE_SECONDS:
            self._tried_at = now
            try:
                self._keys = _read(parse(fetch()))
            except (OSError, MalformedError, StepRefused) as exc:
                problem = str(exc)
            else:
                self._fetched_at = now
                return
        if stale:
            raise StepRefused("verify.unknown_key", f"the gateway's keys are not here: {problem}")


def _read(document: Any) -> dict[str, VerifyKey]:
    """Thumbprint -> key of a JWKS, of purpose ``step`` alone, the revoked left out."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list) or not all(isinstance(jwk, dict) for jwk in listed):
        raise StepRefused("verify.unknown_key", "not a JWKS")
    try:
        keys = [
            VerifyKey.from_jwk(jwk)
            for jwk in listed
            if jwk.get("purpose") == "step" and jwk.get("state") != "revoked" and jwk.get("revoked_at") is None
        ]
    except MalformedError as exc:
        raise StepRefused("verify.unknown_key", f"a key of the JWKS: {exc}") from None
    return {key.kid: key for key in keys}


def _address(url: str) -> Fetch:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise StepRefused("verify.unknown_key", "keys come over https, or from this machine")

    def fetch() -> bytes:
        import httpx2  # noqa: PLC0415 - a hand that reads a file needs no HTTP client

        try:
            with httpx2.stream("GET", url, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False) as answer:
                if answer.status_code != 200:
                    raise OSError(f"status {answer.status_code}")
                content = bytearray()
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > JWKS_MAX_BYTES:
                        raise OSError("the JWKS is too large")
                return bytes(content)
        except httpx2.HTTPError as exc:
            raise OSError(type(exc).__name__) from None

    return fetch
