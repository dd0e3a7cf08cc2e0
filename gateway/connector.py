"""Plans that the gateway signs itself, with its connector key: for what its clients ask in other forms than a plan, for
what a model asks for, and for a dead letter that is tried again. They take the one way that every plan takes."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.canonical import canonical
from gateway.model import EMPTY, Detached, Principal, UnverifiedPlan
from gateway.ports import Purpose, Signer, Typ
from gateway.settings import Settings

LIFETIME_SECONDS: Final = 60
"""How long such a plan may be accepted: it is submitted at once."""
_ENVELOPE_MAX_BYTES: Final = 65_536
"""Of a plan beside what its client sent."""


def signed_plan(
    issuer: str,
    signer: Signer,
    settings: Settings,
    caller: Principal,
    context_id: str,
    actions: Sequence[Mapping[str, Any]],
    *,
    now: float,
    jti: str | None = None,
    claims: Mapping[str, Any] = EMPTY,
) -> UnverifiedPlan:
    """A plan of ``actions`` (``{id, hand, action, args, ...}``; without ``depends_on`` on none) that ``caller`` sends.
    Args that are :class:`Detached` go beside it.

    Args:
        issuer: id of the connector (``model.CONNECTOR_PREFIX``).
        now: seconds since the epoch, when it is signed and received.
        jti: where the caller says which plan may come only once; else one is drawn.
        claims: further members of the plan, which may name another ``sub`` than the caller.

    It may be as large as what the largest body of an ingress becomes: base64 makes it a third longer.

    Raises:
        HandrailError: an arg has no canonical JSON, or the key is unavailable.
    """
    issued_at = int(now)
    payload = {
        "v": 1,
        "iss": issuer,
        "sub": caller.id,
        "aud": settings.log.origin,
        "tenant": caller.tenant,
        "context_id": context_id,
        "jti": secrets.token_hex(16) if jti is None else jti,
        "iat": issued_at,
        "exp": issued_at + min(LIFETIME_SECONDS, settings.plans.lifetime_max_seconds),
        "nonce": secrets.token_hex(16),
        "actions": [{"depends_on": [], **_named(action)} for action in actions],
        **claims,
    }
    beside = {str(action["id"]): action["args"] for action in actions if isinstance(action["args"], Detached)}
    token = signer.sign(Purpose.CONNECTOR, Typ.PLAN, canonical(payload))
    max_bytes = max(settings.server.body_max_bytes, (settings.anthropic.body_max_bytes + _ENVELOPE_MAX_BYTES) * 4 // 3)
    return UnverifiedPlan(token.encode("ascii"), caller, now, max_bytes, beside)


def detached(args: Mapping[str, Any]) -> Detached:
    """Args that are to go beside a plan: what their canonical form reads as, whatever types they had here.

    Raises:
        Refused: ``schema.json`` where they have no canonical JSON.
    """
    raw = canonical(args)
    return Detached(orjson.loads(raw), raw, hashlib.sha256(raw).hexdigest())


def _named(action: Mapping[str, Any]) -> Mapping[str, Any]:
    args = action["args"]
    if not isinstance(args, Detached):
        return action
    return {**{name: value for name, value in action.items() if name != "args"}, "args_sha256": args.sha256}
