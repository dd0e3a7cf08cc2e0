"""One authorization server as a client sees it: OAuth 2.0 (RFC 6749) with PKCE (RFC 7636), as RFC 9700 narrows it.

Where its endpoints are comes from its metadata (RFC 8414) or from the settings, and from nothing that an answer says.
Authlib writes the requests; the gateway's dialer sends them, and follows no redirect.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol
from urllib.parse import urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7009 import prepare_revoke_token_request
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oauth2.rfc8414 import get_well_known_url
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from gateway.canonical import parse, sha256_canonical
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.reasons import Reason
from gateway.secrets.values import is_fit
from gateway.settings import ConnectionSettings

METADATA_SECONDS: Final = 300.0
"""How long metadata is believed before it is fetched anew."""
ANSWER_MAX_BYTES: Final = 65_536
DOCUMENT_MAX_BYTES: Final = 262_144
URL_MAX: Final = 1024
TOKEN_MAX: Final = 8192
_LIFETIME_MAX_SECONDS: Final = 366 * 86_400
_ALGORITHMS: Final = frozenset({"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "Ed25519", "EdDSA"})
"""Of client assertions. No HMAC: that would be another method."""

Monotonic = Callable[[], float]
ReadsSecret = Callable[[], Awaitable[str]]
"""Gives the client's secret as its store has it now."""


class Fetcher(Protocol):
    """Sends requests to one server. See ``hand_adapters.fetcher``."""

    async def get(self, url: str, *, timeout_seconds: float, answer_max_bytes: int) -> bytes:
        """The body of a 200 answer. Raises ``Unavailable``."""

    async def post(
        self, url: str, form: str, headers: Mapping[str, str], *, timeout_seconds: float, answer_max_bytes: int
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a form. Raises ``Unavailable``."""

    async def close(self) -> None:
        """Close its connections."""


class ConsentOver(Exception):
    """The server says that the grant is spent, revoked or expired (``invalid_grant``): only the person can mend it."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where what is asked at a server.

    Attributes:
        issuer: as it calls itself; ``None`` where the settings name endpoints.
        revocation: ``None`` where it takes no tokens back.
        names_itself: whether its answers carry ``iss`` (RFC 9207), so that one without it is somebody else's.
    """

    issuer: str | None
    authorization: str
    token: str
    revocation: str | None
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a server gave for one person. Times are seconds since the epoch.

    Attributes:
        due_at: from when on the access token is refreshed before it is used; ``None`` for one without an end.
        expires_at: when its time is over.
        scopes: those that the person granted, as the server says them; those that were asked for where it says none.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    due_at: float | None
    expires_at: float | None
    scopes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON, to be sealed."""
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "due_at": self.due_at,
            "expires_at": self.expires_at,
            "scopes": list(self.scopes),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Tokens":
        """Rebuild from :meth:`document`."""
        return cls(
            document["access_token"],
            document["refresh_token"],
            document["due_at"],
            document["expires_at"],
            tuple(document["scopes"]),
        )


class AuthorizationServer:
    """The authorization server of one connection. Belongs to one event loop.

    Attributes:
        identity: hash of what decides who gets a person's tokens. Tokens are good under this one alone: whoever changes
            the configuration has nobody's refresh token sent elsewhere.
    """

    def __init__(
        self,
        name: str,
        settings: ConnectionSettings,
        fetcher: Fetcher,
        secret: ReadsSecret,
        clock: Callable[[], float] = time.time,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            name: of its table in the settings.
        """
        self.name = name
        self.settings = settings
        self._fetcher = fetcher
        self._secret = secret
        self._clock = clock
        self._monotonic = monotonic
        self._known: tuple[float, Endpoints] | None = None
        self.identity = sha256_canonical(
            [
                settings.issuer,
                settings.authorization_endpoint,
                settings.token_endpoint,
                settings.revocation_endpoint,
                settings.client_id,
                settings.resource,
                settings.audience,
                list(settings.origins),
            ]
        )

    @property
    def title(self) -> str:
        """What people call the service."""
        return self.settings.title or self.name

    async def endpoints(self) -> Endpoints:
        """Where it is asked. Raises ``connection.unavailable``."""
        settings = self.settings
        if settings.issuer is None:
            return Endpoints(
                None,
                settings.authorization_endpoint or "",
                settings.token_endpoint or "",
                settings.revocation_endpoint,
                names_itself=False,
            )
        now = self._monotonic()
        if self._known is None or now - self._known[0] >= METADATA_SECONDS:
            self._known = (now, await self._read_metadata(settings.issuer))
        return self._known[1]

    def consent_url(self, pages: Endpoints, state: str, verifier: str, redirect_uri: str) -> str:
        """The page at which a person consents (RFC 6749 section 4.1.1)."""
        settings = self.settings
        url: str = prepare_grant_uri(
            pages.authorization,
            settings.client_id,
            "code",
            redirect_uri,
            list(settings.scopes),
            state,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
            resource=settings.resource,
            audience=settings.audience,
            **settings.parameters,
        )
        return url

    async def exchange(self, pages: Endpoints, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """The tokens for a code (RFC 6749 section 4.1.3).

        Raises:
            ConsentOver: it is spent, or of somebody else.
            Unavailable: ``connection.unavailable``.
        """
        form = prepare_token_request(
            "authorization_code", "", redirect_uri, code=code, code_verifier=verifier, resource=self.settings.resource
        )
        return self._tokens(await self._ask_for_tokens(pages, form), None)

    async def refresh(self, tokens: Tokens) -> Tokens:
        """New tokens for those of a person (RFC 6749 section 6). Where the server gives no new refresh token, the one
        before stays.

        Raises:
            ConsentOver: only the person can mend it.
            Unavailable: ``connection.unavailable``; whether the server gave tokens is not known.
        """
        pages = await self.endpoints()
        form = prepare_token_request(
            "refresh_token", "", refresh_token=tokens.refresh_token, resource=self.settings.resource
        )
        return self._tokens(await self._ask_for_tokens(pages, form), tokens)

    async def revoke(self, tokens: Tokens) -> bool:
        """Take tokens back at the server (RFC 7009); whether it said that they are. With a refresh token goes
        everything that it gave."""
        try:
            pages = await self.endpoints()
            if pages.revocation is None:
                return False
            hint = "access_token" if tokens.refresh_token is None else "refresh_token"
            form, headers = prepare_revoke_token_request(tokens.refresh_token or tokens.access_token, hint)
            status, _ = await self._post(pages, pages.revocation, form, headers)
        except HandrailError:
            return False
        return status == 200

    async def close(self) -> None:
        """Close the connections."""
        await self._fetcher.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _ask_for_tokens(self, pages: Endpoints, form: str) -> dict[str, Any]:
        status, raw = await self._post(pages, pages.token, form, {})
        try:
            document = parse(raw)
        except HandrailError:
            document = None
        if not isinstance(document, dict):
            self._unavailable(f"the token endpoint answers {status} and no JSON object")
        if status != 200:
            code = document.get("error")
            if code == "invalid_grant":
                raise ConsentOver
            shown = code if isinstance(code, str) and code.replace("_", "").isalnum() and code.isascii() else "?"
            self._unavailable(f"the token endpoint answers {status} {shown[:64]}")
        return document

    async def _post(self, pages: Endpoints, url: str, form: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        sent = dict(headers)
        _, sent, form = (await self._client(pages)).prepare("POST", url, sent, form)
        return await self._fetcher.post(
            url, form, sent, timeout_seconds=self.settings.timeout_seconds, answer_max_bytes=ANSWER_MAX_BYTES
        )

    async def _client(self, pages: Endpoints) -> ClientAuth:
        """What proves who asks. The audience of an assertion is the issuer where there is one, so that no endpoint that
        somebody else named can use it (RFC 7523 section 3)."""
        settings = self.settings
        if settings.client_authentication == "none":
            return ClientAuth(settings.client_id, None, "none")
        secret = await self._secret()
        if settings.client_authentication != "private_key_jwt":
            return ClientAuth(settings.client_id, secret, settings.client_authentication)
        try:
            jwk = json.loads(secret)
            algorithm, kid = jwk["alg"], jwk.get("kid")
            if algorithm not in _ALGORITHMS or jwk.get("kty") == "oct":
                raise ValueError
            key = import_key(jwk)
            key.check_key_op("sign")
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            self._unavailable("its client_secret is no private JWK with alg and kid")
        header = {} if kid is None else {"kid": kid}
        method = PrivateKeyJWT(pages.issuer or pages.token, headers=header, alg=algorithm)
        return ClientAuth(settings.client_id, key, method)

    def _tokens(self, answer: Mapping[str, Any], before: Tokens | None) -> Tokens:
        """Read a good answer (RFC 6749 section 5.1). What could not be sent as a bearer token is none."""
        access, refresh = answer.get("access_token"), answer.get("refresh_token")
        kind, seconds, scope = answer.get("token_type"), answer.get("expires_in"), answer.get("scope")
        if not isinstance(access, str) or not is_fit(access):
            self._unavailable("an access token that no header can carry")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            self._unavailable("a token of another type than Bearer")
        if refresh is None and before is not None:
            refresh = before.refresh_token
        if refresh is not None and not (isinstance(refresh, str) and 0 < len(refresh) <= TOKEN_MAX):
            self._unavailable("a refresh token that is no text")
        if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
            seconds = int(seconds)  # as some servers have it
        if seconds is not None and (type(seconds) is not int or not 0 < seconds <= _LIFETIME_MAX_SECONDS):
            self._unavailable("a token whose lifetime is no number of seconds")
        if scope is not None and not (isinstance(scope, str) and len(scope) <= TOKEN_MAX):
            self._unavailable("scopes that are no text")
        asked = self.settings.scopes if before is None else before.scopes
        scopes = asked if scope is None else tuple(scope.split())
        if seconds is None:
            return Tokens(access, refresh, None, None, scopes)
        now = self._clock()
        return Tokens(access, refresh, now + seconds - min(EARLY_SECONDS, seconds / 5), now + seconds, scopes)

    async def _read_metadata(self, issuer: str) -> Endpoints:
        """RFC 8414 section 3; where there is no such document, OpenID Connect Discovery's, which says the same."""
        try:
            raw = await self._get(get_well_known_url(issuer, external=True))
        except Unavailable:
            raw = await self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            document = parse(raw)
        except HandrailError:
            document = None
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            # Section 3.3: exactly equal, or somebody else's document was found there.
            self._unavailable("its metadata is no JSON, or of another issuer")
        if "S256" not in (document.get("code_challenge_methods_supported") or ["S256"]):
            self._unavailable("it knows no PKCE with S256")
        return Endpoints(
            issuer,
            self._secure(document, "authorization_endpoint"),
            self._secure(document, "token_endpoint"),
            self._secure(document, "revocation_endpoint") if "revocation_endpoint" in document else None,
            document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _secure(self, document: Mapping[str, Any], member: str) -> str:
        url = document.get(member)
        if not isinstance(url, str) or len(url) > URL_MAX:
            self._unavailable(f"its metadata has no {member}")
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and self.settings.private_network):
            self._unavailable(f"its {member} is no https:// URL")
        if not parts.hostname or parts.username or parts.password or parts.fragment:
            self._unavailable(f"its {member} has no host, or credentials")
        return url

    async def _get(self, url: str) -> bytes:
        return await self._fetcher.get(
            url, timeout_seconds=self.settings.timeout_seconds, answer_max_bytes=DOCUMENT_MAX_BYTES
        )

    def _unavailable(self, detail: str) -> NoReturn:
        raise Unavailable(Reason.CONNECTION_UNAVAILABLE, f"connection {self.name}: {detail}")


EARLY_SECONDS: Final = 60.0
"""How long before its end a token is refreshed, at most; a fifth of its life where that is shorter."""


def refused(problem: str, detail: str) -> Refused:
    """A consent that does not come to its end; ``problem`` is a word for programs and for the log."""
    return Refused(Reason.CONNECTION_REFUSED, detail, problem=problem)
