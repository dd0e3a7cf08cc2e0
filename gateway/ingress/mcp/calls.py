"""A client's call as a plan of one step: signed by the connector, on the one way that every plan takes."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.canonical import canonical
from gateway.conversations import Conversation, Conversations
from gateway.ingress.plans import Submits
from gateway.model import CONNECTOR_PREFIX, Principal, UnverifiedPlan
from gateway.ports import AuditLog, Hands, Purpose, Signer, Typ
from gateway.settings import Settings

ISSUER: Final = f"{CONNECTOR_PREFIX}mcp"
CALL_WAIT_SECONDS: Final = 50.0
"""How long a call waits for its outcome: less than the 60 s after which common clients give up."""
TALK_WAIT_SECONDS: Final = 3600.0
"""The longest deadline of an action: while its client is asked something, a call goes on until then."""
PLAN_LIFETIME_SECONDS: Final = 60


class Pipeline(Submits, Protocol):
    """The one way, and what passes beside it."""

    @property
    def conversations(self) -> Conversations:
        """Where a call's client is found while the call runs."""

    async def view(self, plan_id: str, viewer: Principal) -> dict[str, Any]:
        """The plan as it stands."""


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
    def pipeline(self) -> Pipeline:
        """The one way."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call under way.

    Attributes:
        view: of its plan, once that is at rest.
    """

    plan_id: str
    caller: Principal
    view: "asyncio.Task[dict[str, Any]]"


class Calls:
    """The calls under way."""

    def __init__(self, gateway: GatewayParts) -> None:
        self._gateway = gateway
        self._calls: set[asyncio.Task[dict[str, Any]]] = set()

    async def submit(
        self,
        caller: Principal,
        hand: str,
        action: str,
        arguments: Mapping[str, Any],
        context_id: str,
        *,
        carried: bool = False,
    ) -> dict[str, Any]:
        """Sign the one-step plan and send it on its way, which a client that hangs up does not interrupt.

        Args:
            carried: it is a question, or an answer, of a call that runs here.

        Raises:
            HandrailError: the whole plan is refused.
        """
        plan = self._signed(caller, hand, action, arguments, context_id)
        wait = min(CALL_WAIT_SECONDS, self._gateway.settings.server.wait_max_seconds)
        conversations = self._gateway.pipeline.conversations
        within = conversations.carried(plan_id(plan)) if carried else nullcontext()
        return await asyncio.shield(self._begin(plan, wait, within))

    def begin(
        self,
        caller: Principal,
        hand: str,
        action: str,
        arguments: Mapping[str, Any],
        context_id: str,
        talk: Conversation,
    ) -> Call:
        """The same of a call whose client can be talked to while it runs, for as long as that takes."""
        plan = self._signed(caller, hand, action, arguments, context_id)
        within = self._gateway.pipeline.conversations.opened(plan_id(plan), talk)
        return Call(plan_id(plan), caller, self._begin(plan, TALK_WAIT_SECONDS, within))

    async def now(self, call: Call) -> dict[str, Any]:
        """The view of a call that goes on."""
        return await self._gateway.pipeline.view(call.plan_id, call.caller)

    def _begin(
        self, plan: UnverifiedPlan, wait_seconds: float, within: AbstractContextManager[None]
    ) -> "asyncio.Task[dict[str, Any]]":
        async def run() -> dict[str, Any]:
            with within:
                return await self._gateway.pipeline.submit(plan, wait_seconds=wait_seconds)

        call = asyncio.create_task(run())
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    def _signed(
        self, caller: Principal, hand: str, action: str, arguments: Mapping[str, Any], context_id: str
    ) -> UnverifiedPlan:
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
        return UnverifiedPlan(signed.encode("ascii"), caller, now)


def plan_id(plan: UnverifiedPlan) -> str:
    """The id that it has once it is verified."""
    return hashlib.sha256(plan.raw).hexdigest()
