"""ID tokens: what an OpenID provider says about a person who has just logged in there.

OpenID Connect Core 1.0 section 3.1.3.7, with nothing left to the token: the algorithm is the operator's word, there is
one audience and it is this client, and the nonce is of this very login. The access token that comes with it is not
used, so ``at_hash`` is not looked at. No I/O, no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from gateway.errors import Refused
from gateway.reasons import Reason
from keys.access_tokens import SUBJECT_MAX, UnverifiedToken, VerifiedToken, verify_signature
from keys.provider_jwks import ProviderKey

LIFETIME_MAX_SECONDS: Final = 86_400
"""Some providers say a day. A token is looked at once, moments after it was made, so this is no window for anybody."""
FRESH_SECONDS: Final = 600
"""How long ago an ID token may have been issued: it is fetched by us, in exchange for a code that is fresh itself."""


@dataclass(frozen=True, slots=True)
class IdTokenProfile:
    """What the ID tokens of one issuer must be.

    Attributes:
        algorithm: the one ``alg``.
        client_id: this gateway's name at the issuer: the one audience.
        max_age_seconds: how long ago the person may have proved who they are; ``None`` for any time.
        acr_values: the token shows one of these (Core section 2, ``acr``); empty for any.
    """

    issuer: str
    algorithm: str
    client_id: str
    skew_seconds: int
    max_age_seconds: int | None = None
    acr_values: Sequence[str] = ()


def verify_id_token(
    token: UnverifiedToken,
    profile: IdTokenProfile,
    key: ProviderKey,
    *,
    nonce: str,
    now: float,
) -> VerifiedToken:
    """Check one ID token.

    Args:
        key: the issuer's key of the token's ``kid``.
        nonce: of the login that this token answers.
        now: seconds since the epoch.

    Raises:
        Refused: ``auth.expired`` where the person's proof is too old; ``auth.invalid`` for anything else.
    """
    typ = token.header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.upper() != "JWT":
        # An access token of RFC 9068 says at+jwt; a token of another class is no statement about a login.
        raise _invalid("another class of token")
    verify_signature(token, profile.algorithm, key)
    claims = dict(token.claims)
    params = {"nonce": nonce, "client_id": profile.client_id}
    options: Any = {
        "iss": {"essential": True, "value": profile.issuer},
        "nonce": {"essential": True, "value": nonce},
    }
    try:
        CodeIDToken(claims, dict(token.header), options, params).validate(int(now), profile.skew_seconds)
    except (JoseError, ValueError, TypeError) as exc:
        raise _invalid(f"{type(exc).__name__} {getattr(exc, 'claim', '')}".strip()) from None
    if claims["aud"] not in (profile.client_id, [profile.client_id]):
        raise _invalid("for somebody else as well")
    _check_times(claims, profile, now)
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not subject.isprintable():
        raise _invalid("no sub")
    if profile.acr_values and claims.get("acr") not in profile.acr_values:
        raise Refused(Reason.AUTH_FORBIDDEN, "ID token: the login was not of a required class (acr)")
    return VerifiedToken(profile.issuer, subject, token.claims, None)


def _check_times(claims: dict[str, Any], profile: IdTokenProfile, now: float) -> None:
    expires, issued = (_seconds(claims, name) for name in ("exp", "iat"))
    if not 0 < expires - issued <= LIFETIME_MAX_SECONDS:
        raise _invalid("lives too long")
    if not -profile.skew_seconds <= now - issued <= FRESH_SECONDS:
        raise _invalid("not fresh")
    if profile.max_age_seconds is None:
        return
    proved_ago = now - _seconds(claims, "auth_time")
    if not proved_ago >= -profile.skew_seconds:
        # A time that is ahead would stay young for as long as it is ahead.
        raise _invalid("the person proves themselves in the future")
    if proved_ago > profile.max_age_seconds + profile.skew_seconds:
        raise Refused(Reason.AUTH_EXPIRED, "ID token: the person proved themselves too long ago")


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if type(value) not in {int, float}:
        raise _invalid(f"{name} is no time")
    return float(value)  # type: ignore[arg-type]


def _invalid(detail: str) -> Refused:
    return Refused(Reason.AUTH_INVALID, f"ID token: {detail}")
