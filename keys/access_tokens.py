"""Access tokens that other issuers signed: JWTs (RFC 7519) in the profile of RFC 9068, against one issuer's own rules.

Whoever reads a token first learns only who it claims to be from (:func:`peek`), so that the rules and keys of exactly
that issuer are applied (:func:`verify`). The algorithm is the operator's word, never the token's; a header may name a
key and bring none. Handrail's own messages have a closed profile of their own (``keys.jws``). No I/O, no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from gateway.canonical import b64url_decode, parse
from gateway.errors import Refused
from gateway.reasons import Reason
from keys.provider_jwks import KID_MAX, ProviderKey

TOKEN_MAX_BYTES: Final = 16_384
"""Group claims make tokens of some kilobytes; a head of 32 KiB is all that a request may have."""
HEADER_MAX_BYTES: Final = 512
SUBJECT_MAX: Final = 255
"""OpenID Connect Core section 2 on ``sub``."""

_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""All that a header may have. ``jwk, jku, x5u, x5c`` bring a key, ``crit, b64, zip, cty`` rules of their own; ``x5t``
only names one, and is not looked at."""
_OTHER_TOKENS: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
"""Claims of ID tokens (OpenID Connect Core sections 2 and 3.3.2.11), and of security events, whose class an issuer may
fail to say in ``typ``."""
_FOREIGN_CLASSES: Final = frozenset({"id", "refresh", "offline", "logout"})
"""What some issuers say in a claim ``typ`` of tokens that are not for resource servers."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What one issuer's access tokens must be.

    Attributes:
        algorithm: the one ``alg`` (RFC 7518, RFC 8037, RFC 9864).
        audiences: every audience that a token may name; it names one at least.
        typ: the header's ``typ``, lower case: ``at+jwt`` (RFC 9068 section 2.1), or ``jwt`` where that is all it says.
        clients: the clients that tokens may have been issued to; ``None`` for any.
        scopes: every one of these must have been granted.
    """

    issuer: str
    algorithm: str
    audiences: frozenset[str]
    typ: str
    clients: frozenset[str] | None
    scopes: frozenset[str]
    lifetime_max_seconds: int
    skew_seconds: int


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token taken apart; only :func:`peek` builds one. Nothing in it is believed."""

    compact: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def issuer(self) -> str:
        """Who the token claims to be from."""
        return str(self.claims["iss"])

    @property
    def kid(self) -> str:
        """The key that it claims to be signed with."""
        return str(self.header["kid"])


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token that its issuer signed for this gateway and that is good now."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]


def peek(token: str) -> UnverifiedToken:
    """Take a token apart, to learn by whose rules and keys it is judged.

    Raises:
        Refused: ``auth.invalid``: not one spelling of one JWT, or a header with more than names in it.
    """
    segments = token.split(".")
    if len(segments) != 3 or not all(segments) or len(token) > TOKEN_MAX_BYTES or len(segments[0]) > HEADER_MAX_BYTES:
        raise _invalid("not a compact JWS")
    try:
        head, body, _signature = map(b64url_decode, segments)
        header, claims = parse(head), parse(body)
    except Refused as refusal:
        raise _invalid(f"not strict JSON in canonical base64url: {refusal.detail}") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _invalid("header and claims must be objects")
    if not header.keys() <= _HEADER_MEMBERS:
        raise _invalid("a header member that brings keys or rules")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_MAX:
        raise _invalid("no kid")
    if not isinstance(claims.get("iss"), str):
        raise _invalid("no iss")
    return UnverifiedToken(token, MappingProxyType(header), MappingProxyType(claims))


def verify(token: UnverifiedToken, profile: Profile, key: ProviderKey, now: float) -> VerifiedToken:
    """Check one token, in the order: algorithm, class, signature, issuer, audience, times, whose it is, binding.

    Args:
        key: the issuer's key of the token's ``kid``, usable with the profile's algorithm.
        now: seconds since the epoch.

    Raises:
        Refused: ``auth.expired``; ``auth.scope``; ``auth.invalid`` for anything else.
    """
    _check_algorithm(token, profile.algorithm)
    typ = token.header.get("typ", "jwt")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") != profile.typ:
        raise _invalid("another class of token")
    verify_signature(token, profile.algorithm, key)
    claims = token.claims
    if claims["iss"] != profile.issuer:
        raise _invalid("another issuer")
    _check_class(claims)
    _check_audience(claims, profile)
    _check_times(claims, profile, now)
    if claims.get("cnf") is not None:
        # Bound to a key (RFC 8705, RFC 9449), so nobody's who has the token alone; no proof of a key is taken here.
        raise _invalid("bound to a key")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not subject.isprintable():
        raise _invalid("no sub")
    if not profile.scopes <= granted(claims):
        raise Refused(Reason.AUTH_SCOPE, "a scope is missing")
    return VerifiedToken(profile.issuer, subject, claims)


def verify_signature(token: UnverifiedToken, algorithm: str, key: ProviderKey) -> None:
    """Check who signed a token, by the one algorithm that the operator pinned. Nothing else of it is believed by this.

    Raises:
        Refused: ``auth.invalid``.
    """
    _check_algorithm(token, algorithm)
    try:
        jws.deserialize_compact(token.compact, key.key, registry=JWSRegistry(algorithms=[algorithm]))
    except (JoseError, ValueError) as exc:
        raise _invalid(f"signature: {type(exc).__name__}") from None


def granted(claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes of a token: ``scope`` as a text (RFC 8693 section 4.2), or ``scp`` as some issuers write it."""
    found = claims.get("scope", claims.get("scp", ""))
    values = found.split(" ") if isinstance(found, str) else found
    return frozenset(item for item in values if isinstance(item, str)) if isinstance(values, list) else frozenset()


def _check_algorithm(token: UnverifiedToken, algorithm: str) -> None:
    if token.header.get("alg") != algorithm:
        raise _invalid("another algorithm than the issuer's pinned one")


def _check_class(claims: Mapping[str, Any]) -> None:
    if not _OTHER_TOKENS.isdisjoint(claims):
        raise _invalid("an ID token or an event where an access token belongs")
    named = claims.get("typ")
    if isinstance(named, str) and named.lower() in _FOREIGN_CLASSES:
        raise _invalid("the token says that it is no access token")


def _check_audience(claims: Mapping[str, Any], profile: Profile) -> None:
    """Also a token that is for somebody else *as well* is refused: they could use it here."""
    named = claims.get("aud")
    audiences = [named] if isinstance(named, str) else named
    if not isinstance(audiences, list) or not audiences or not all(isinstance(one, str) for one in audiences):
        raise _invalid("no aud")
    if not profile.audiences.issuperset(audiences):
        raise _invalid("for another audience")
    parties = {claims[name] for name in ("azp", "client_id") if isinstance(claims.get(name), str)}
    if len(parties) > 1:
        raise _invalid("azp and client_id differ")
    if profile.clients is not None and not (parties and parties <= profile.clients):
        raise _invalid("issued to another client")


def _check_times(claims: Mapping[str, Any], profile: Profile, now: float) -> None:
    expires, issued, begins = (_time(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None or issued is None:
        raise _invalid("no exp or iat")
    if issued > now + profile.skew_seconds or (begins is not None and begins > now + profile.skew_seconds):
        raise _invalid("from the future")
    if not 0 < expires - issued <= profile.lifetime_max_seconds:
        raise _invalid("lives too long")
    if now >= expires + profile.skew_seconds:
        raise Refused(Reason.AUTH_EXPIRED, "the token is over")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if type(value) not in {int, float}:
        raise _invalid(f"{name} is no time")
    return float(value)


def _invalid(detail: str) -> Refused:
    return Refused(Reason.AUTH_INVALID, f"bearer token: {detail}")
