"""Step 2: who signed this, for whom, for which gateway, and when. Pure: no database, no network, no clock.

The order of the checks is part of the contract (docs/api.md): nothing of the payload is believed before the
signature holds, except the ``iss`` that selects the key which then has to verify it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import orjson

from gateway.canonical import b64url_decode, parse
from gateway.errors import Refused
from gateway.model import EMPTY, RETRIES, Detached, Issuer, IssuerKey, Principal, UnverifiedPlan, VerifiedPlan
from gateway.ports import Typ
from gateway.reasons import Reason
from gateway.settings import PlanSettings

IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
"""Issuers, subjects, tenants."""


class Verified(Protocol):
    """A JWS whose signature holds."""

    @property
    def payload(self) -> bytes:
        """The signed bytes."""


class Jws(Protocol):
    """What this stage needs from ``keys.jws``."""

    def peek(self, token: bytes) -> Any:
        """Take a token apart without believing it; the outcome has a ``payload`` and goes into :meth:`verify`."""

    def verify(self, token: Any, typ: Typ, key_for: Callable[[str], Mapping[str, str]]) -> Verified:
        """Check header, type and signature; ``key_for`` maps a ``kid`` to a public JWK or refuses it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A token taken apart, and the ``iss`` that it claims: good for nothing but choosing whose key must verify it."""

    token: Any
    issuer: str
    subject: str = ""


def claimed_issuer(unverified: UnverifiedPlan, jws: Jws) -> Claimed:
    """Whom the plan claims to be from.

    Raises:
        Refused: ``verify.malformed``, ``schema.json`` or ``verify.unknown_issuer``.
    """
    token = jws.peek(unverified.raw)
    try:
        payload = orjson.loads(token.payload)
    except orjson.JSONDecodeError:
        payload = parse(token.payload)  # it says what is wrong with it
    issuer = payload.get("iss") if isinstance(payload, dict) else None
    if not isinstance(issuer, str) or not IDENTIFIER.fullmatch(issuer):
        raise Refused(Reason.VERIFY_UNKNOWN_ISSUER, "iss is absent or ill-formed")
    subject = payload.get("sub")
    return Claimed(token, issuer, subject if isinstance(subject, str) and IDENTIFIER.fullmatch(subject) else "")


def speaking(issuer: Issuer, claimed: Claimed) -> Issuer:
    """The issuer with everybody whom it may speak for. What it retries for whoever asked first, the gateway itself
    signs in their name: no other issuer has that id, and nobody else its key."""
    return replace(issuer, speaks_for=frozenset({claimed.subject})) if issuer.id == RETRIES else issuer


def verify(
    unverified: UnverifiedPlan,
    claimed: Claimed,
    issuer: Issuer,
    jws: Jws,
    *,
    audience: str,
    limits: PlanSettings,
    principals: Callable[[str], Principal | None],
) -> VerifiedPlan:
    """Believe a plan, or refuse it.

    Args:
        claimed: the same plan, taken apart by :func:`claimed_issuer`.
        issuer: the registered issuer that it claims, of the caller's tenant.
        audience: the gateway's log origin.
        principals: the tenant's principal by id, for a subject other than the caller.

    Raises:
        Refused: ``verify.*`` naming the first check that failed, or ``schema.json`` for a payload that is not strict
            JSON.
    """
    now = unverified.received_at
    chosen: list[IssuerKey] = []

    def key_for(kid: str) -> Mapping[str, str]:
        key = issuer.keys.get(kid)
        if key is None:
            raise Refused(Reason.VERIFY_UNKNOWN_KEY)
        if key.revoked_at is not None and key.revoked_at <= now:
            raise Refused(Reason.VERIFY_REVOKED_KEY, "revoked")
        chosen.append(key)
        return key.jwk

    payload = jws.verify(claimed.token, Typ.PLAN, key_for).payload
    claims = parse(payload)
    if not isinstance(claims, dict):
        raise Refused(Reason.SCHEMA_PLAN, "payload is not an object")
    if claims.get("iss") != issuer.id:
        # A duplicate member could show one issuer to the peek and another here; parse() refused that already.
        raise Refused(Reason.VERIFY_UNKNOWN_ISSUER, "iss changed between peek and parse")
    if claims.get("aud") != audience:
        raise Refused(Reason.VERIFY_AUDIENCE)
    if issuer.tenant != unverified.caller.tenant or claims.get("tenant") != issuer.tenant:
        raise Refused(Reason.VERIFY_TENANT)
    _check_times(claims, chosen[0], now, limits)
    return VerifiedPlan(
        raw=unverified.raw,
        plan_id=hashlib.sha256(unverified.raw).hexdigest(),
        claims=claims,
        issuer=issuer,
        kid=chosen[0].kid,
        principal=_subject(claims.get("sub"), issuer, unverified.caller, principals),
        caller=unverified.caller,
        received_at=now,
        detached=unverified.detached,
    )


def restore(
    raw: bytes,
    plan_id: str,
    issuer: Issuer,
    kid: str,
    principal: Principal,
    caller: Principal,
    received_at: float,
    args: Mapping[str, bytes],
) -> VerifiedPlan:
    """A plan that was verified when it came in, from the exact bytes on record.

    Args:
        args: step id -> canonical args, as far as they are on record.

    Raises:
        Refused: ``verify.malformed`` where the bytes are not those that the id names, or the args not those that the
            plan names; ``verify.subject`` where they are not from and for those whom the record names.
    """
    if hashlib.sha256(raw).hexdigest() != plan_id:
        raise Refused(Reason.VERIFY_MALFORMED, "the record holds other bytes")
    payload = raw.split(b".")[1]
    claims = parse(b64url_decode(payload.decode("ascii")))
    if (claims["iss"], claims["sub"]) != (issuer.id, principal.id):
        raise Refused(Reason.VERIFY_SUBJECT, "the record names somebody else")
    beside = {action["id"]: _restored(action, args) for action in claims["actions"] if "args_sha256" in action}
    return VerifiedPlan(raw, plan_id, claims, issuer, kid, principal, caller, received_at, beside)


def _restored(action: Mapping[str, Any], args: Mapping[str, bytes]) -> Detached:
    """The args that an action names by their hash. Of those that are not on record, no more than that is known."""
    raw = args.get(action["id"])
    if raw is None:
        return Detached(EMPTY, b"", action["args_sha256"])
    if hashlib.sha256(raw).hexdigest() != action["args_sha256"]:
        raise Refused(Reason.VERIFY_MALFORMED, "the record holds other args")
    return Detached(orjson.loads(raw), raw, action["args_sha256"])


def _check_times(claims: Mapping[str, Any], key: IssuerKey, now: float, limits: PlanSettings) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int or not 0 <= issued < expires:
        raise Refused(Reason.SCHEMA_PLAN, "iat and exp must be integers, iat before exp")
    if expires - issued > limits.lifetime_max_seconds:
        raise Refused(Reason.VERIFY_LIFETIME, limit_seconds=limits.lifetime_max_seconds)
    if issued > now + limits.clock_skew_seconds:
        raise Refused(Reason.VERIFY_NOT_YET_VALID)
    if expires <= now - limits.clock_skew_seconds:
        raise Refused(Reason.VERIFY_EXPIRED)
    skew = limits.clock_skew_seconds
    if issued < key.not_before - skew or (key.not_after is not None and issued > key.not_after):
        raise Refused(Reason.VERIFY_REVOKED_KEY, "outside the key's validity")


def _subject(
    subject: Any, issuer: Issuer, caller: Principal, principals: Callable[[str], Principal | None]
) -> Principal:
    if subject == caller.id:
        return caller
    if isinstance(subject, str) and subject in issuer.speaks_for:
        principal = principals(subject)
        if principal is not None:
            return principal
    raise Refused(Reason.VERIFY_SUBJECT)
