"""One issuer's keys: found through its discovery document (OpenID Connect Discovery, RFC 8414), kept, fetched anew, and
not believed for longer than the operator said.

A token brings no key and no address: where the keys are comes from the issuer that the operator configured, and from
nothing that a caller sends. An unknown ``kid`` has the keys fetched again, at most once in :data:`THROTTLE_SECONDS`, so
that a flood of invented ones costs the issuer nothing. Belongs to one event loop.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

import structlog

from gateway.canonical import parse
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.reasons import Reason
from gateway.settings import IdentitySettings
from gateway.telemetry import Metrics
from keys.provider_jwks import ProviderKey, read_jwks

_log = structlog.get_logger("handrail.identity")

THROTTLE_SECONDS: Final = 10.0
"""Between two fetches that an unknown ``kid``, or a failure, is the reason for."""
DOCUMENT_MAX_BYTES: Final = 262_144
URL_MAX: Final = 1024


class Fetcher(Protocol):
    """Asks one issuer for JSON documents."""

    async def get(self, url: str, *, timeout_seconds: float, answer_max_bytes: int) -> bytes:
        """The body of a 200 answer. Follows no redirect.

        Raises:
            Unavailable: ``auth.unavailable``.
        """

    async def post(
        self, url: str, form: str, headers: Mapping[str, str], *, timeout_seconds: float, answer_max_bytes: int
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a form. Follows no redirect.

        Raises:
            Unavailable: ``auth.unavailable``: no answer in time, or one that is longer.
        """

    async def close(self) -> None:
        """Close its connections."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where people log in at an issuer (RFC 8414 section 2).

    Attributes:
        authorization: the page that a browser is sent to.
        token: where a code is exchanged.
        names_itself: whether its answers carry ``iss`` (RFC 9207), so that one without it is somebody else's.
    """

    authorization: str
    token: str
    names_itself: bool


class Provider:
    """The keys of one configured issuer, and where it may be found."""

    def __init__(
        self,
        name: str,
        settings: IdentitySettings,
        fetcher: Fetcher,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is fetched before the first token.

        Args:
            name: of its table in the settings.
            monotonic: seconds that only grow; ages are told by it, so that setting a clock back renews nothing.
        """
        self.name = name
        self.settings = settings
        self._monotonic = monotonic
        self.fetcher = fetcher
        self._keys: dict[str, ProviderKey] = {}
        self._endpoints: Endpoints | None = None
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._good = metrics.identity_good.labels(name)
        self._fetches = metrics.identity_fetches

    async def key(self, kid: str) -> ProviderKey:
        """The issuer's key of that id.

        Raises:
            Refused: ``auth.invalid``: it has none.
            Unavailable: ``auth.unavailable``: its keys could not be had, or not anew for too long.
        """
        await self._renewed(wanted=kid in self._keys)
        found = self._keys.get(kid)
        if found is None:
            raise Refused(Reason.AUTH_INVALID, f"issuer {self.name}: no such key")
        return found

    async def endpoints(self) -> Endpoints:
        """Where people log in.

        Raises:
            Unavailable: ``auth.unavailable``: its discovery document could not be had, or names no such pages.
        """
        await self._renewed(wanted=self._endpoints is not None)
        if self._endpoints is None:
            raise _unavailable(f"issuer {self.name} names no pages for a login")
        return self._endpoints

    async def close(self) -> None:
        """End a fetch that is under way, and close the connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self.fetcher.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _renewed(self, *, wanted: bool) -> None:
        """Have what is known be young enough.

        Args:
            wanted: whether what the caller wants is among it.
        """
        age = self._age()
        if age is None or age >= self.settings.keys_max_age_seconds or not wanted:
            await self._fetch()
        elif age >= self.settings.keys_refresh_seconds:
            # What is known is good for now, so nobody waits; a failure shows in metrics and log.
            self._begin()
        age = self._age()
        if age is None or age >= self.settings.keys_max_age_seconds:
            raise Unavailable(Reason.AUTH_UNAVAILABLE, f"issuer {self.name}: no keys that can be believed")

    def _age(self) -> float | None:
        """How old the keys are, in seconds since *before* they were asked for; ``None`` where there are none."""
        return None if self._fetched_at is None else self._monotonic() - self._fetched_at

    async def _fetch(self) -> None:
        fetching = self._begin()
        if fetching is not None:
            await asyncio.shield(fetching)

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one; ``None`` where the last one is too recent."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now = self._monotonic()
        if self._tried_at is not None and now - self._tried_at < THROTTLE_SECONDS:
            return None
        self._tried_at = now
        self._fetching = asyncio.create_task(self._renew(now))
        return self._fetching

    async def _renew(self, now: float) -> None:
        try:
            keys, endpoints = await self._read()
        except HandrailError as failure:
            self._fetches.labels(self.name, "failed").inc()
            _log.warning("keys of an issuer not fetched", issuer=self.name, detail=failure.detail)
            return
        self._keys, self._endpoints, self._fetched_at = keys, endpoints, now
        self._fetches.labels(self.name, "good").inc()
        self._good.set_to_current_time()

    async def _read(self) -> tuple[dict[str, ProviderKey], Endpoints | None]:
        document = self._object(await self._get(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"))
        # Discovery section 4.3: exactly equal, or somebody else's document was found there.
        if document.get("issuer") != self.settings.issuer:
            raise _unavailable("the discovery document names another issuer")
        keys = read_jwks(await self._get(self._secure(document, "jwks_uri")), self.settings.algorithm)
        return keys, self._pages(document)

    def _pages(self, document: dict[str, object]) -> Endpoints | None:
        """Where people log in; callers with tokens need no such pages, so that they may be missing."""
        if self.settings.login is None:
            return None
        try:
            return Endpoints(
                self._secure(document, "authorization_endpoint"),
                self._secure(document, "token_endpoint"),
                document.get("authorization_response_iss_parameter_supported") is True,
            )
        except Unavailable as failure:
            _log.warning("nobody can log in at an issuer", issuer=self.name, detail=failure.detail)
            return None

    def _secure(self, document: dict[str, object], member: str) -> str:
        """An address that the issuer gave, if it may be asked."""
        url = document.get(member)
        if not isinstance(url, str) or len(url) > URL_MAX:
            raise _unavailable(f"the discovery document has no {member}")
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and self.settings.private_network):
            raise _unavailable(f"its {member} is no https:// URL")
        if not parts.hostname or parts.username or parts.password or parts.fragment:
            raise _unavailable(f"its {member} has no host, or credentials")
        return url

    async def _get(self, url: str) -> bytes:
        return await self.fetcher.get(
            url, timeout_seconds=self.settings.timeout_seconds, answer_max_bytes=DOCUMENT_MAX_BYTES
        )

    @staticmethod
    def _object(raw: bytes) -> dict[str, object]:
        try:
            document = parse(raw)
        except Refused:
            raise _unavailable("the discovery document is not strict JSON") from None
        if not isinstance(document, dict):
            raise _unavailable("the discovery document is no object")
        return document


def _unavailable(detail: str) -> Unavailable:
    return Unavailable(Reason.AUTH_UNAVAILABLE, detail)
