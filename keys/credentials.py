"""Step credentials: short-lived, single-use tokens for one exact step (JWT shaped after RFC 8693 and RFC 9396)."""

import hmac
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import orjson

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.model import Binding, Plan
from gateway.ports import Purpose, Typ
from gateway.randomness import random_id
from gateway.reasons import Reason
from keys import jws
from keys.errors import JwsRefused
from keys.proof import ProofKey

LIFETIME_MAX_SECONDS: Final = 60
SKEW_MAX_SECONDS: Final = 5
DETAIL_TYPE: Final = "handrail_step"
"""``type`` of the one ``authorization_details`` element (RFC 9396 section 2)."""


class Signs(Protocol):
    """The part of ``gateway.ports.Signer`` that minting needs."""

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        """See ``gateway.ports.Signer.sign``."""


class Minted(NamedTuple):
    """A fresh credential: the compact JWS, and the ``jti`` under which it is recorded."""

    token: str
    jti: str


@dataclass(frozen=True, slots=True)
class StepCredential:
    """What a hand may rely on after :func:`verify_credential`. Times are seconds since the epoch."""

    jti: str
    hand: str
    action: str
    subject: str
    actor: str
    context_id: str
    binding: Binding
    issued_at: int
    expires_at: int
    jkt: str | None


def mint(
    signer: Signs,
    *,
    issuer: str,
    binding: Binding,
    hand: str,
    action: str,
    subject: str,
    actor: str,
    context_id: str,
    now: float,
    lifetime_seconds: int,
    jkt: str | None = None,
    jti: str | None = None,
) -> Minted:
    """Mint the credential of one step.

    ``issuer`` is the gateway's log origin; ``subject`` the principal the plan acts for (``sub``); ``actor`` who acts
    for that principal, which is the issuer that signed the plan (``act.sub``, RFC 8693 section 4.1);
    ``lifetime_seconds`` 1 to 60; ``jkt`` the thumbprint of the hand's DPoP key, where it has one (``cnf.jkt``, RFC 9449
    section 6.1); ``jti`` the step's own, where it was given one before (a fresh one otherwise).

    Raises:
        JwsRefused: ``credential.refused`` for a lifetime outside 1 to 60.
        KeyUnavailable: from the signer.
    """
    if not 1 <= lifetime_seconds <= LIFETIME_MAX_SECONDS:
        raise JwsRefused(Reason.CREDENTIAL_REFUSED, "lifetime outside 1..60 s")
    issued_at = int(now)
    jti = jti or random_id()
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": subject,
        "aud": f"hand:{hand}",
        "scope": action,
        "txn": context_id,
        "jti": jti,
        "iat": issued_at,
        "exp": issued_at + lifetime_seconds,
        "act": {"sub": actor},
        "authorization_details": [{"type": DETAIL_TYPE, **binding.document()}],
    }
    if jkt is not None:
        claims["cnf"] = {"jkt": jkt}
    return Minted(signer.sign(Purpose.STEP, Typ.STEP, orjson.dumps(claims)), jti)


class StepCredentials:
    """Mints for the pipeline (``gateway.ports.Credentials``)."""

    def __init__(self, signer: Signs, origin: str, proof_key: ProofKey) -> None:
        self._signer = signer
        self._origin = origin
        self._proof_key = proof_key

    def mint(self, plan: Plan, hand: str, action: str, binding: Binding, ttl_seconds: int, now: float) -> Minted:
        """See :func:`mint`; bound to this process's proof key."""
        return mint(
            self._signer,
            issuer=self._origin,
            binding=binding,
            hand=hand,
            action=action,
            subject=plan.principal.id,
            actor=plan.issuer.id,
            context_id=plan.context_id,
            now=now,
            lifetime_seconds=ttl_seconds,
            jkt=self._proof_key.jkt,
        )

    def hand_out(
        self, plan: Plan, hand: str, action: str, binding: Binding, ttl_seconds: int, now: float, *, jkt: str, jti: str
    ) -> str:
        """See :func:`mint`; bound to the key of the hand that claims the step ``jti``."""
        return mint(
            self._signer,
            issuer=self._origin,
            binding=binding,
            hand=hand,
            action=action,
            subject=plan.principal.id,
            actor=plan.issuer.id,
            context_id=plan.context_id,
            now=now,
            lifetime_seconds=ttl_seconds,
            jkt=jkt,
            jti=jti,
        ).token

    def prove(self, credential: str, method: str, url: str) -> str:
        """See :meth:`keys.proof.ProofKey.prove`."""
        return self._proof_key.prove(credential, method, url)


class SingleUse:
    """Remembers each ``jti`` until it has expired; for one hand supervisor. Thread-safe."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def claim(self, jti: str, expires_at: int, now: float) -> None:
        """Take ``jti`` once.

        Raises:
            JwsRefused: ``verify.replayed``; ``credential.refused`` where more live credentials are known than fit,
                because forgetting one would let it in again.
        """
        with self._lock:
            if jti in self._seen:
                raise JwsRefused(Reason.VERIFY_REPLAYED)
            if len(self._seen) >= self._capacity:
                self._seen = {known: end for known, end in self._seen.items() if end + SKEW_MAX_SECONDS >= now}
                if len(self._seen) >= self._capacity:
                    raise JwsRefused(Reason.CREDENTIAL_REFUSED, "too many live credentials")
            self._seen[jti] = expires_at


def verify_credential(
    token: str,
    *,
    key_for: jws.KeyFor,
    issuer: str,
    hand: str,
    action: str,
    args_sha256: str,
    now: float,
    claim: Callable[[str, int, float], None],
    jkt: str | None = None,
    skew_seconds: int = SKEW_MAX_SECONDS,
) -> StepCredential:
    """Check a credential as a hand must, for the call that it is about to make.

    ``key_for`` gives the gateway's keys of purpose ``step``, and no others; ``args_sha256`` is what the hand computed
    over the args that it holds; ``claim`` takes the ``jti`` with ``exp`` and ``now``, or raises, and is called last, so
    that a token which fails elsewhere is not used up (:meth:`SingleUse.claim`); ``jkt`` is the thumbprint of the key
    with which the hand proved itself, and must equal ``cnf.jkt`` also in being absent.

    Raises:
        JwsRefused: ``verify.*``; ``credential.refused`` where issuer, action, args or key are not this call's.
    """
    try:
        raw = token.encode("ascii")
    except UnicodeEncodeError:
        raise JwsRefused(Reason.VERIFY_MALFORMED, "not ASCII") from None
    credential, named_issuer = _read(jws.verify(raw, Typ.STEP, key_for).payload)
    if named_issuer != issuer:
        raise JwsRefused(Reason.CREDENTIAL_REFUSED, "another issuer")
    if credential.hand != hand:
        raise JwsRefused(Reason.VERIFY_AUDIENCE)
    if not 0 < credential.expires_at - credential.issued_at <= LIFETIME_MAX_SECONDS:
        raise JwsRefused(Reason.VERIFY_LIFETIME)
    if credential.issued_at > now + skew_seconds:
        raise JwsRefused(Reason.VERIFY_NOT_YET_VALID)
    if credential.expires_at + skew_seconds <= now:
        raise JwsRefused(Reason.VERIFY_EXPIRED)
    if credential.action != action:
        raise JwsRefused(Reason.CREDENTIAL_REFUSED, "another action")
    if (credential.binding.hand, credential.binding.action) != (hand, action):
        raise JwsRefused(Reason.CREDENTIAL_REFUSED, "bound to another call")
    if not hmac.compare_digest(credential.binding.args_sha256.encode(), args_sha256.encode()):
        raise JwsRefused(Reason.CREDENTIAL_REFUSED, "other args")
    if credential.jkt != jkt:
        raise JwsRefused(Reason.CREDENTIAL_REFUSED, "another proof key")
    claim(credential.jti, credential.expires_at, now)
    return credential


def _read(payload: bytes) -> tuple[StepCredential, str]:
    """The claims as a type, with ``iss``; exactly the shape that :func:`mint` writes."""
    try:
        claims = parse(payload)
        [detail] = claims["authorization_details"]
        audience = _text(claims, "aud")
        if not audience.startswith("hand:") or detail["type"] != DETAIL_TYPE:
            raise ValueError("no step credential")
        binding = Binding(
            tenant=_text(detail, "tenant"),
            plan_id=_text(detail, "plan_id"),
            step_id=_text(detail, "step_id"),
            hand=_text(detail, "hand"),
            action=_text(detail, "action"),
            args_sha256=_text(detail, "args_sha256"),
            policy_digest=_text(detail, "policy_digest"),
            manifest_digest=_text(detail, "manifest_digest"),
        )
        confirmation = claims.get("cnf")
        return StepCredential(
            jti=_text(claims, "jti"),
            hand=audience.removeprefix("hand:"),
            action=_text(claims, "scope"),
            subject=_text(claims, "sub"),
            actor=_text(claims["act"], "sub"),
            context_id=_text(claims, "txn"),
            binding=binding,
            issued_at=_seconds(claims, "iat"),
            expires_at=_seconds(claims, "exp"),
            jkt=None if confirmation is None else _text(confirmation, "jkt"),
        ), _text(claims, "iss")
    except (Refused, KeyError, TypeError, ValueError, AttributeError):
        raise JwsRefused(Reason.CREDENTIAL_REFUSED, "claims are not those of a step credential") from None


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or not value:
        raise ValueError(name)
    return value


def _seconds(members: Mapping[str, Any], name: str) -> int:
    value = members[name]
    if type(value) is not int:
        raise ValueError(name)
    return value
