"""What a hand embeds: the check that a request is one exact step which a gateway let go, once.

    from handrail.hand import Verifier
    verifier = Verifier("https://gateway.example/.well-known/jwks.json", issuer="handrail.local/log", hand="crm")
    step = verifier.verify(request.headers, "add_note", args, method=request.method, url=PUBLIC_URL + request.url.path)

The checks and their order are docs/step-credentials.md; ``vectors/step-credentials.json`` beside this file holds them
for other languages. Shares no code with the gateway that mints (docs/adr/0008, docs/adr/0043).
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from handrail import jws
from handrail.errors import JwsError, MalformedError, StepRefused
from handrail.keys import VerifyKey
from handrail.single_use import LATE_SECONDS, MemoryUses, Uses
from handrail.step_keys import StepKeys
from handrail.strict import b64url_encode, parse, sha256_canonical

LIFETIME_MAX_SECONDS: Final = 60
TOKEN_MAX_BYTES: Final = 65_536
PROOF_MAX_BYTES: Final = 8_192
_PROOF_MEMBERS: Final = frozenset({"alg", "jwk", "typ"})
_KID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_PORTS: Final = {"http": 80, "https": 443}

Headers = Mapping[str, str] | Message | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Step:
    """The step that a hand was asked for. Times are seconds since the epoch.

    Attributes:
        subject: for whom it acts.
        actor: the issuer that signed the plan.
        binding: what was decided and approved: ``tenant, plan_id, step_id, hand, action, args_sha256, policy_digest,
            manifest_digest``.
    """

    jti: str
    action: str
    subject: str
    actor: str
    context_id: str
    issued_at: int
    expires_at: int
    binding: Mapping[str, str]


class Verifier:
    """Checks step credentials for one hand. Thread-safe; make one and keep it."""

    def __init__(
        self,
        jwks: str | Path | Mapping[str, Any],
        *,
        issuer: str,
        hand: str,
        ca_file: Path | None = None,
        uses: Uses | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Fetch nothing yet.

        Args:
            jwks: where the gateway's keys are; see :class:`handrail.step_keys.StepKeys`.
            issuer: the gateway's log origin (``GET /v1/trust``).
            hand: the hand's id, as the operator declared it.
            ca_file: as for :class:`~handrail.step_keys.StepKeys`.
            uses: what remembers used credentials; memory where ``None``.
            clock: seconds since the epoch.
        """
        self._keys = StepKeys(jwks, ca_file=ca_file)
        self._issuer = issuer
        self._hand = hand
        self._uses = uses or MemoryUses()
        self._clock = clock

    def verify(self, headers: Headers, action: str, args: Mapping[str, Any], *, method: str, url: str) -> Step:
        """Check one request, and take its credential: a second request with it is refused.

        Args:
            headers: of the request, in any case: a mapping, what ``http.server`` gives, or pairs of texts. One of the
                latter two, where a name may stand twice.
            action: what the request asks for, in the manifest's words.
            args: all its arguments, wherever they stood, with the types that the action's schema gives them.
            method: the request's.
            url: the address at which the gateway calls this hand, with the request's path as it came. Not made from
                the request's ``Host``, which is the sender's to choose.

        Raises:
            StepRefused: do nothing, and answer 401.
        """
        now = self._clock()
        token, proof = _presented(headers)
        claims = self._signed(token, now)
        step, jkt = _read(claims)
        _for_this_hand(claims, self._issuer, self._hand)
        _timely(step, now)
        _for_this_call(step, self._hand, action, args)
        _proved(proof, token, jkt, method, url, now)
        self._uses.claim(step.jti, step.expires_at, now)
        return step

    def claimed(self, token: str, action: str, args: Mapping[str, Any], jkt: str) -> Step:
        """Check a credential that this hand claimed for itself, over a key of its own (docs/remote-hands.md).

        What it was claimed with, the key, is younger than this process; so the token's times need no second look, and
        the clock of this machine may be wrong.

        Args:
            jkt: thumbprint of the key that it was claimed with.

        Raises:
            StepRefused: do nothing.
        """
        claims = self._signed(token, self._clock())
        step, bound = _read(claims)
        _for_this_hand(claims, self._issuer, self._hand)
        _for_this_call(step, self._hand, action, args)
        if bound != jkt:
            raise StepRefused("proof.refused", "bound to another key")
        self._uses.claim(step.jti, step.expires_at, step.issued_at)
        return step

    def _signed(self, token: str, now: float) -> dict[str, Any]:
        header, body, signed, signature = _taken_apart(token, jws.MEMBERS, "step+jws", TOKEN_MAX_BYTES)
        kid = header["kid"]
        if not isinstance(kid, str) or _KID.fullmatch(kid) is None:
            raise StepRefused("verify.header", "the kid is not a thumbprint")
        _holds(self._keys.get(kid, now), signature, signed)
        return _claims(body, "credential.refused")


def _presented(headers: Headers) -> tuple[str, str]:
    """The credential and the proof: each header once, no other scheme."""
    pairs = headers.items() if isinstance(headers, Mapping | Message) else headers
    found: dict[str, list[Any]] = {"authorization": [], "dpop": []}
    for pair in pairs:
        match pair:
            case (str() as name, value):
                found.get(name.lower(), []).append(value)
            case _:
                raise StepRefused("credential.missing", "headers are pairs of texts")
    if not all(isinstance(value, str) for values in found.values() for value in values):
        raise StepRefused("credential.missing", "the Authorization or DPoP header is no text")
    if len(found["authorization"]) != 1 or len(found["dpop"]) != 1:
        raise StepRefused("credential.missing", "one Authorization and one DPoP header are needed")
    scheme, _, token = found["authorization"][0].partition(" ")
    if scheme.lower() != "dpop":
        raise StepRefused("credential.missing", "the scheme is not DPoP")
    return token, found["dpop"][0]


def _taken_apart(token: str, members: frozenset[str], typ: str, max_bytes: int) -> jws.Parts:
    try:
        return jws.take_apart(token, members, typ, max_bytes)
    except JwsError as exc:
        raise StepRefused(exc.code, str(exc)) from None


def _holds(key: VerifyKey, signature: bytes, signed: bytes) -> None:
    try:
        key.verify(signature, signed)
    except MalformedError as exc:
        raise StepRefused("verify.signature", str(exc)) from None


def _claims(payload: bytes, code: str) -> dict[str, Any]:
    try:
        claims = parse(payload)
    except MalformedError as exc:
        raise StepRefused(code, str(exc)) from None
    if not isinstance(claims, dict):
        raise StepRefused(code, "the payload is not a JSON object")
    return claims


def _read(claims: Mapping[str, Any]) -> tuple[Step, str]:
    """The claims as a type, and the thumbprint of the proof key; exactly the shape that a gateway writes."""
    try:
        [detail] = claims["authorization_details"]
        if detail["type"] != "handrail_step":
            raise ValueError("type")
        names = ("tenant", "plan_id", "step_id", "hand", "action", "args_sha256", "policy_digest", "manifest_digest")
        step = Step(
            jti=_text(claims, "jti"),
            action=_text(claims, "scope"),
            subject=_text(claims, "sub"),
            actor=_text(claims["act"], "sub"),
            context_id=_text(claims, "txn"),
            issued_at=_seconds(claims, "iat"),
            expires_at=_seconds(claims, "exp"),
            binding={name: _text(detail, name) for name in names},
        )
        _text(claims, "iss")
        if not _text(claims, "aud").startswith("hand:"):
            raise ValueError("aud")
        return step, _text(claims["cnf"], "jkt")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StepRefused("credential.refused", "the claims are not those of a step credential") from None


def _for_this_hand(claims: Mapping[str, Any], issuer: str, hand: str) -> None:
    if claims["iss"] != issuer:
        raise StepRefused("credential.refused", "another gateway's")
    if claims["aud"] != f"hand:{hand}":
        raise StepRefused("verify.audience", "another hand's")


def _timely(step: Step, now: float) -> None:
    if not 0 < step.expires_at - step.issued_at <= LIFETIME_MAX_SECONDS:
        raise StepRefused("verify.lifetime", "longer than a minute")
    if step.issued_at > now + LATE_SECONDS:
        raise StepRefused("verify.not_yet_valid", "from the future")
    if step.expires_at + LATE_SECONDS <= now:
        raise StepRefused("verify.expired", "expired")


def _for_this_call(step: Step, hand: str, action: str, args: Mapping[str, Any]) -> None:
    if step.action != action:
        raise StepRefused("credential.refused", "for another action")
    if (step.binding["hand"], step.binding["action"]) != (hand, action):
        raise StepRefused("credential.refused", "bound to another call")
    try:
        digest = sha256_canonical(args)
    except MalformedError as exc:
        raise StepRefused("credential.refused", str(exc)) from None
    if not hmac.compare_digest(step.binding["args_sha256"].encode(), digest.encode()):
        raise StepRefused("credential.refused", "for other args")


def _proved(proof: str, token: str, jkt: str, method: str, url: str, now: float) -> None:
    """RFC 9449 section 4.3. A proof's ``jti`` needs no memory: ``ath`` ties it to a credential that is used once."""
    try:
        header, body, signed, signature = _taken_apart(proof, _PROOF_MEMBERS, "dpop+jwt", PROOF_MAX_BYTES)
        if not isinstance(header["jwk"], dict) or set(header["jwk"]) != {"kty", "crv", "x"}:
            raise StepRefused("proof.refused", "the jwk is not exactly kty, crv and x")
        key = VerifyKey.from_jwk(header["jwk"])
        _holds(key, signature, signed)
        claims = _claims(body, "proof.refused")
        issued_at, jti = _seconds(claims, "iat"), _text(claims, "jti")
        bound = (_text(claims, "htm"), _target(_text(claims, "htu")), _text(claims, "ath"))
        wanted = (method, _target(url), b64url_encode(hashlib.sha256(token.encode("ascii")).digest()))
    except (StepRefused, MalformedError, KeyError, ValueError) as exc:
        raise StepRefused("proof.refused", str(exc)) from None
    if key.kid != jkt:
        raise StepRefused("proof.refused", "by another key")
    if bound != wanted:
        raise StepRefused("proof.refused", "for another request")
    if not now - LIFETIME_MAX_SECONDS - LATE_SECONDS < issued_at <= now + LATE_SECONDS:
        raise StepRefused("proof.refused", "too old, or from the future")
    if len(jti) > 256:
        raise StepRefused("proof.refused", "the jti is too long")


def _target(url: str) -> tuple[str, str | None, int | None, str]:
    """Scheme, host, port and path (RFC 3986 section 6.2.2 and 6.2.3 as far as case, default port and empty path go)."""
    parts: SplitResult = urlsplit(url)
    if not parts.scheme or not parts.hostname:
        raise ValueError("not an absolute URL")
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path or "/"


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
