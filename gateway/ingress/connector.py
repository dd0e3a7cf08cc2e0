"""Plans that an ingress makes of what its clients ask, signed by the gateway's own connector key."""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.canonical import canonical
from gateway.model import CONNECTOR_PREFIX, Principal, UnverifiedPlan
from gateway.ports import Purpose, Signer, Typ
from gateway.settings import Settings

LIFETIME_SECONDS: Final = 60
_ENVELOPE_MAX_BYTES: Final = 65_536
"""Of a plan beside what its client sent."""


def signed(
    name: str,
    settings: Settings,
    signer: Signer,
    caller: Principal,
    context_id: str,
    actions: Sequence[Mapping[str, Any]],
    purpose: str | None = None,
) -> UnverifiedPlan:
    """A plan of ``actions`` (``{id, hand, action, args}``) for ``caller``, received now.

    Args:
        name: of the connector.

    It may be as large as what the largest body of that ingress becomes: base64 makes it a third longer.

    Raises:
        HandrailError: an arg has no canonical JSON, or the key is unavailable.
    """
    now = time.time()
    issued_at = int(now)
    payload: dict[str, Any] = {
        "v": 1,
        "iss": f"{CONNECTOR_PREFIX}{name}",
        "sub": caller.id,
        "aud": settings.log.origin,
        "tenant": caller.tenant,
        "context_id": context_id,
        "jti": secrets.token_hex(16),
        "iat": issued_at,
        "exp": issued_at + min(LIFETIME_SECONDS, settings.plans.lifetime_max_seconds),
        "nonce": secrets.token_hex(16),
        "actions": [{"depends_on": [], **action} for action in actions],
    }
    if purpose is not None:
        payload["purpose"] = purpose
    token = signer.sign(Purpose.CONNECTOR, Typ.PLAN, canonical(payload))
    max_bytes = max(settings.server.body_max_bytes, (settings.anthropic.body_max_bytes + _ENVELOPE_MAX_BYTES) * 4 // 3)
    return UnverifiedPlan(token.encode("ascii"), caller, now, max_bytes)
