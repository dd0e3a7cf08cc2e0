"""People log in at another issuer: OpenID Connect's authorization code flow with PKCE (RFC 7636, RFC 9700).

A login that is under way is kept by the browser alone, in a cookie of random bytes with a MAC. What must not be guessed
(``state``, ``nonce``, the code verifier) is derived from it, so that any gateway with the same key finishes what
another began, an answer is worth nothing in another browser, and the browser itself never sees the verifier.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from gateway.canonical import b64url_decode, b64url_encode, parse
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.identity.provider import Endpoints, Provider
from gateway.reasons import Reason
from gateway.secret_files import read_secret
from gateway.settings import LoginSettings
from keys.access_tokens import VerifiedToken, peek
from keys.id_tokens import IdTokenProfile, verify_id_token

PENDING_SECONDS: Final = 600
"""How long a person may take at the issuer."""
ANSWER_MAX_BYTES: Final = 65_536
CODE_MAX: Final = 4096
_PENDING_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Pending:
    """A login that is under way.

    Attributes:
        cookie: what the browser keeps of it.
        issuer: the name in the settings of where it goes on.
        onward: the page that it leads to.
    """

    cookie: str
    issuer: str
    onward: str
    expires_at: int


class PendingLogins:
    """Makes and reads the cookies of logins under way."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        """Use ``key`` (32 bytes from outside the database) for every derivation."""
        self._key = key
        self._clock = clock

    def begin(self, issuer: str, onward: str) -> Pending:
        """A new one."""
        expires_at = int(self._clock()) + PENDING_SECONDS
        parts = (secrets.token_urlsafe(32), str(expires_at), issuer, b64url_encode(onward.encode()))
        body = "~".join(parts)
        return Pending(f"{body}~{self._mac('cookie', body)}", issuer, onward, expires_at)

    def read(self, cookie: str | None, issuer: str) -> Pending:
        """The login of a cookie.

        Raises:
            Refused: ``auth.invalid``: there is none, it is not ours, of another issuer, or over.
        """
        body, _, mac = (cookie or "").rpartition("~")
        parts = body.split("~")
        ours = hmac.compare_digest(mac.encode(), self._mac("cookie", body).encode())
        if len(body) > _PENDING_MAX or len(parts) != 4 or not ours:
            raise Refused(Reason.AUTH_INVALID, "login: no login is under way in this browser")
        _, expires_at, named, onward = parts
        if named != issuer or self._clock() >= int(expires_at):
            raise Refused(Reason.AUTH_INVALID, "login: of another issuer, or it took too long")
        return Pending(cookie or "", named, b64url_decode(onward).decode(), int(expires_at))

    def state(self, pending: Pending) -> str:
        """What the issuer gives back with its answer."""
        return self._mac("state", pending.cookie)

    def nonce(self, pending: Pending) -> str:
        """What the ID token must hold."""
        return self._mac("nonce", pending.cookie)

    def verifier(self, pending: Pending) -> str:
        """The PKCE code verifier (RFC 7636 section 4.1: 43 characters)."""
        return self._mac("verifier", pending.cookie)

    def _mac(self, purpose: str, text: str) -> str:
        return b64url_encode(hmac.digest(self._key, f"login {purpose} {text}".encode(), hashlib.sha256))


class IssuerLogin:
    """Logins at one issuer."""

    def __init__(self, provider: Provider, settings: LoginSettings, pending: PendingLogins) -> None:
        """Read the client's secret.

        Raises:
            SettingsError: the file cannot be used.
        """
        self.name = provider.name
        self.title = settings.title or provider.name
        self.provider = provider
        self._settings = settings
        self._pending = pending
        self._secret = (
            None
            if settings.client_secret_file is None
            else read_secret(settings.client_secret_file, f"identity.{provider.name}.login.client_secret_file")
        )
        self._profile = IdTokenProfile(
            issuer=provider.settings.issuer,
            algorithm=provider.settings.algorithm,
            client_id=settings.client_id,
            skew_seconds=provider.settings.clock_skew_seconds,
            max_age_seconds=settings.max_age_seconds,
            acr_values=settings.acr_values,
        )

    async def begin(self, redirect_uri: str, onward: str) -> tuple[str, Pending]:
        """Where the browser goes, and what it keeps.

        Raises:
            Unavailable: ``auth.unavailable``.
        """
        pages = await self.provider.endpoints()
        pending = self._pending.begin(self.name, onward)
        settings = self._settings
        url: str = prepare_grant_uri(
            pages.authorization,
            settings.client_id,
            "code",
            redirect_uri,
            list(dict.fromkeys(["openid", *settings.scopes])),
            self._pending.state(pending),
            nonce=self._pending.nonce(pending),
            code_challenge=create_s256_code_challenge(self._pending.verifier(pending)),
            code_challenge_method="S256",
            acr_values=" ".join(settings.acr_values) or None,
            max_age=settings.max_age_seconds,
        )
        return url, pending

    async def finish(
        self, cookie: str | None, answer: Mapping[str, str], redirect_uri: str, now: float
    ) -> tuple[VerifiedToken, Pending]:
        """Who logged in, by the issuer's answer that a browser brings.

        Args:
            cookie: what the browser kept.
            answer: the parameters of the answer (RFC 6749 section 4.1.2); others than known ones mean nothing.
            now: seconds since the epoch.

        Raises:
            Refused: ``auth.invalid``, ``auth.expired``, ``auth.forbidden``.
            Unavailable: ``auth.unavailable``.
        """
        pending = self._pending.read(cookie, self.name)
        if not hmac.compare_digest(answer.get("state", "").encode(), self._pending.state(pending).encode()):
            raise Refused(Reason.AUTH_INVALID, "login: the answer is to another login")
        pages = await self.provider.endpoints()
        named = answer.get("iss")
        if named != self._profile.issuer and (pages.names_itself or named is not None):
            # RFC 9207 section 2.4: an answer of another issuer was mixed in.
            raise Refused(Reason.AUTH_INVALID, "login: the answer is of another issuer")
        if "error" in answer:
            raise Refused(Reason.AUTH_FORBIDDEN, f"login: the issuer refused ({_code_of(answer['error'])})")
        code = answer.get("code", "")
        if not 0 < len(code) <= CODE_MAX or not code.isascii():
            raise Refused(Reason.AUTH_INVALID, "login: no code")
        token = peek(await self._exchange(pages, code, self._pending.verifier(pending), redirect_uri))
        if token.issuer != self._profile.issuer:
            raise Refused(Reason.AUTH_INVALID, "login: an ID token of another issuer")
        key = await self.provider.key(token.kid)
        return verify_id_token(token, self._profile, key, nonce=self._pending.nonce(pending), now=now), pending

    async def _exchange(self, pages: Endpoints, code: str, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code."""
        settings = self._settings
        form = prepare_token_request("authorization_code", "", redirect_uri, code=code, code_verifier=verifier)
        method = "none" if self._secret is None else settings.client_authentication
        client = ClientAuth(settings.client_id, self._secret, method)
        headers: dict[str, str] = {}
        _, headers, form = client.prepare("POST", pages.token, headers, form)
        status, raw = await self.provider.fetcher.post(
            pages.token,
            form,
            headers,
            timeout_seconds=self.provider.settings.timeout_seconds,
            answer_max_bytes=ANSWER_MAX_BYTES,
        )
        document = self._object(raw)
        if status != 200:
            self._failed(status, document)
        token = document.get("id_token")
        if not isinstance(token, str):
            raise Unavailable(Reason.AUTH_UNAVAILABLE, f"issuer {self.name}: no ID token for a code")
        return token

    def _failed(self, status: int, document: Mapping[str, Any]) -> NoReturn:
        code = _code_of(document.get("error"))
        if code == "invalid_grant":
            # Spent, over, or of another client: nothing that waiting would mend.
            raise Refused(Reason.AUTH_INVALID, "login: the issuer does not take the code")
        raise Unavailable(Reason.AUTH_UNAVAILABLE, f"issuer {self.name}: the token endpoint answers {status} {code}")

    def _object(self, raw: bytes) -> dict[str, Any]:
        try:
            document = parse(raw)
        except HandrailError:
            document = None
        if not isinstance(document, dict):
            raise Unavailable(Reason.AUTH_UNAVAILABLE, f"issuer {self.name}: the token endpoint answers no JSON object")
        return document


def _code_of(value: object) -> str:
    """An error code of OAuth, fit for a log; anything else is told by its absence."""
    known = isinstance(value, str) and len(value) <= 64 and value.isascii() and value.replace("_", "").isalnum()
    return str(value) if known else "an error without a code"
