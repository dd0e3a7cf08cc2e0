"""The gateway's keys for step credentials, from its JWKS: fetched when needed, and no more often than that."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from handrail.errors import ClientError, MalformedError, StepRefused
from handrail.keys import VerifyKey
from handrail.strict import parse

JWKS_MAX_BYTES: Final = 1_048_576
LIFETIME_SECONDS: Final = 300
"""Older keys are fetched again before they are believed, so that a revoked one ages out."""
PAUSE_SECONDS: Final = 10
"""Between two fetches. A key id that is not known asks for one, and anybody can invent those."""
TIMEOUT_SECONDS: Final = 5
"""For a whole fetch, however slowly its bytes come."""
_CANCEL_SECONDS: Final = 1
"""For a fetch that is over its time to let go of its connection."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Fetch = Callable[[], bytes]


class _Known(NamedTuple):
    """What the last fetch gave, and when."""

    keys: Mapping[str, VerifyKey]
    fetched_at: float

    def stale(self, now: float) -> bool:
        return not 0 <= now - self.fetched_at < LIFETIME_SECONDS


class StepKeys:
    """Thread-safe. Keys of other purposes in the set are never given out.

    One thread fetches at a time. Who asks for a key that is known and young waits for no fetch.
    """

    def __init__(self, jwks: str | Path | Mapping[str, Any], *, ca_file: Path | None = None) -> None:
        """Fetch nothing yet.

        Args:
            jwks: the address of ``/.well-known/jwks.json`` (``https``, or ``http`` on this machine), a file that
                somebody keeps current, or the set itself.
            ca_file: authorities (PEM) that the address is verified by, instead of the system's.

        Raises:
            StepRefused: ``verify.unknown_key``: an address that could be answered by anybody, or a set that is none.
            ClientError: for a ``ca_file`` without authorities, or with ``http``.
        """
        self._known = _Known({}, float("-inf"))
        self._fetch: Fetch | None = None
        self._tried_at = float("-inf")
        self._fetching = threading.Lock()
        if isinstance(jwks, Mapping):
            self._known = _Known(_read(jwks), float("-inf"))
        elif isinstance(jwks, Path):
            self._fetch = jwks.read_bytes
        else:
            self._fetch = _address(jwks, ca_file)

    def get(self, kid: str, now: float) -> VerifyKey:
        """The step key of that thumbprint; ``now`` in seconds of any one clock.

        Raises:
            StepRefused: ``verify.unknown_key``.
        """
        known = self._known
        if self._fetch is not None and (known.stale(now) or kid not in known.keys):
            with self._fetching:
                known = self._known
                if known.stale(now) or kid not in known.keys:
                    self._refresh(self._fetch, now, stale=known.stale(now))
                    known = self._known
        key = known.keys.get(kid)
        if key is None:
            raise StepRefused("verify.unknown_key", "no key of the gateway's for steps")
        return key

    def _refresh(self, fetch: Fetch, now: float, *, stale: bool) -> None:
        problem = "asked for a moment ago"
        if not 0 <= now - self._tried_at < PAUSE_SECONDS:
            self._tried_at = now
            try:
                self._known = _Known(_read(parse(fetch())), now)
            except (OSError, MalformedError, StepRefused) as exc:
                problem = str(exc)
            else:
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


def _verifying(scheme: str, ca_file: Path) -> ssl.SSLContext:
    if scheme != "https":
        raise ClientError("authorities go with https:// alone: over http:// nobody is verified")
    from handrail.connection import tls_context  # noqa: PLC0415 - a hand that reads a file needs no HTTP client

    return tls_context(ca_file)


def _address(url: str, ca_file: Path | None) -> Fetch:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise StepRefused("verify.unknown_key", "keys come over https, or from this machine")
    verify = True if ca_file is None else _verifying(parts.scheme, ca_file)

    async def download() -> bytes:
        import httpx2  # noqa: PLC0415 - a hand that reads a file needs no HTTP client

        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                httpx2.AsyncClient(verify=verify, follow_redirects=False, trust_env=False, timeout=None) as client,
                client.stream("GET", url) as answer,
            ):
                if answer.status_code != 200:
                    raise OSError(f"status {answer.status_code}")
                content = bytearray()
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > JWKS_MAX_BYTES:
                        raise OSError("the JWKS is too large")
                return bytes(content)
        except httpx2.HTTPError as exc:
            raise OSError(type(exc).__name__) from None
        except TimeoutError:
            raise OSError("timeout") from None

    def fetch() -> bytes:
        # A thread of its own, because the caller's may run an event loop, and because a name server that does not
        # answer cannot be cancelled: then the caller goes on, and the thread ends by itself.
        done: Future[bytes] = Future()

        def work() -> None:
            try:
                done.set_result(asyncio.run(download()))
            except BaseException as exc:  # noqa: BLE001 - raised again in the thread that waits
                done.set_exception(exc)

        threading.Thread(target=work, name="handrail-jwks", daemon=True).start()
        try:
            return done.result(TIMEOUT_SECONDS + _CANCEL_SECONDS)
        except TimeoutError:
            raise OSError("timeout") from None

    return fetch
