"""Consents under way. Whoever began one ends it: the same principal, in the same session, within ten minutes, once.

Nothing is kept of a consent: its ``state`` is random bytes and a time with a MAC over them, the person, the session,
the server and the way back. Any gateway with the same key finishes what another began, and elsewhere a state is worth
nothing: a link to an answer, sent to somebody else, ends nothing (RFC 9700 section 4.7, RFC 6819 section 4.4.1.8). The
PKCE verifier is derived from the same, and never in a browser.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.canonical import b64url_encode
from gateway.connections.server import refused

CONSENT_SECONDS: Final = 600
"""How long a person may take at the service."""
_STATE: Final = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9]{10})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Beginner:
    """Who begins a consent, and where the answer has to come back to.

    Attributes:
        subject: the person's pseudonym.
        session: the secret of the session in which the person is logged in.
        server: ``AuthorizationServer.identity`` of where the person was sent: their code goes nowhere else.
    """

    tenant: str
    subject: str
    session: str
    connection: str
    server: str
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent under way.

    Attributes:
        verifier: of PKCE (RFC 7636 section 4.1: 43 characters).
        expires_at: seconds since the epoch.
    """

    state: str
    verifier: str
    expires_at: int

    @property
    def sha256(self) -> str:
        """By which it is remembered once its answer came."""
        return hashlib.sha256(self.state.encode("ascii")).hexdigest()


class Consents:
    """Makes and reads the states of consents."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        """Use ``key`` (32 bytes from outside the database) for every derivation."""
        self._key = key
        self._clock = clock

    def begin(self, beginner: Beginner) -> Consent:
        """A new one."""
        expires_at = int(self._clock()) + CONSENT_SECONDS
        head = f"{secrets.token_urlsafe(16)}.{expires_at:010d}"
        state = f"{head}.{self._mac('state', head, beginner)}"
        return Consent(state, self._mac("verifier", head, beginner), expires_at)

    def read(self, state: str, beginner: Beginner) -> Consent:
        """The consent of an answer.

        Raises:
            Refused: ``connection.refused``: it is none of ours, somebody else's, of another session, service or way
                back, or took too long.
        """
        found = _STATE.fullmatch(state)
        head, _, mac = state.rpartition(".")
        if found is None or not hmac.compare_digest(mac.encode(), self._mac("state", head, beginner).encode()):
            raise refused("state", "the answer is not to a consent that this person began in this session")
        expires_at = int(found[2])
        if self._clock() >= expires_at:
            raise refused("late", "the consent took too long")
        return Consent(state, self._mac("verifier", head, beginner), expires_at)

    def _mac(self, purpose: str, head: str, by: Beginner) -> str:
        text = orjson.dumps(
            [purpose, head, by.tenant, by.subject, by.session, by.connection, by.server, by.redirect_uri]
        )
        return b64url_encode(hmac.digest(self._key, text, hashlib.sha256))
