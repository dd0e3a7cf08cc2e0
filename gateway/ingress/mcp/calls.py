"""A client's call as a plan of one step: signed by the connector, on the one way that every plan takes."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from gateway.canonical import canonical
from gateway.ingress.plans import Submits
from gateway.model import CONNECTOR_PREFIX, Principal, UnverifiedPlan
from gateway.ports import AuditLog, Hands, Purpose, Signer, Typ
from gateway.settings import Settings

ISSUER: Final = f"{CONNECTOR_PREFIX}mcp"
CALL_WAIT_SECONDS: Final = 50.0
"""How long a call waits for its outcome: less than the 60 s after which common clients give up."""
PLAN_LIFETIME_SECONDS: Final = 60


class GatewayParts(Protocol):
    """What this ingress uses of the gateway."""

    settings: Settings

    @property
    def log(self) -> AuditLog:
        """The audit log."""

    @property
    def keyset(self) -> Signer:
        """The gateway's keys."""

    @property
    def hands(self) -> Hands:
        """The registry."""

    @property
    def pipeline(self) -> Submits:
        """The one way."""


class Calls:
    """The calls under way."""

    def __init__(self, gateway: GatewayParts) -> None:
        self._gateway = gateway
        self._calls: set[asyncio.Task[dict[str, Any]]] = set()

    async def submit(
        self, caller: Principal, hand: str, action: str, arguments: Mapping[str, Any], context_id: str
    ) -> dict[str, Any]:
        """Sign the one-step plan and send it on its way, which a client that hangs up does not interrupt.

        Raises:
            HandrailError: the whole plan is refused.
        """
        now = time.time()
        settings = self._gateway.settings
        issued_at = int(now)
        payload = canonical(
            {
                "v": 1,
                "iss": ISSUER,
                "sub": caller.id,
                "aud": settings.log.origin,
                "tenant": caller.tenant,
                "context_id": context_id,
                "jti": secrets.token_hex(16),
                "iat": issued_at,
                "exp": issued_at + min(PLAN_LIFETIME_SECONDS, settings.plans.lifetime_max_seconds),
                "nonce": secrets.token_hex(16),
                "actions": [
                    {
                        "id": "call",
                        "hand": hand,
                        "action": action,
                        "args": dict(arguments),
                        "depends_on": [],
                    }
                ],
            }
        )
        signed = self._gateway.keyset.sign(Purpose.CONNECTOR, Typ.PLAN, payload)
        wait = min(CALL_WAIT_SECONDS, settings.server.wait_max_seconds)
        unverified = UnverifiedPlan(signed.encode("ascii"), caller, now)
        call = asyncio.create_task(self._gateway.pipeline.submit(unverified, wait_seconds=wait))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)
