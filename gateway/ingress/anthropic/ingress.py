"""The Messages ingress: a request becomes a plan of one step, ``model.messages`` on a model's hand, and its answer goes
out while it comes, less the calls that policy does not let go.

The order that invariant 1 asks for: the request's decision and intent are durable before the provider hears of it; a
call is released on record before the client sees it; the answer's end goes out when the outcome is on record. What was
already passed on of an answer whose outcome cannot be recorded cannot be taken back: it is text, and the stream ends
with an error before the client takes it for a whole message.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog

from gateway.canonical import canonical, parse
from gateway.client_steps.collecting import Call
from gateway.client_steps.known_calls import KnownCalls
from gateway.connector import detached, signed_plan
from gateway.errors import Absent
from gateway.ingress.anthropic.calls import Calls, Context
from gateway.ingress.anthropic.channel import Channel
from gateway.ingress.anthropic.exchange import Answer, Exchange, GatewayParts
from gateway.ingress.anthropic.request import MessagesRequest, context_id, past_calls, read, rewritten
from gateway.manifest import MESSAGES, MODEL, Manifest
from gateway.model import MESSAGES_API, UNNAMED_CONTEXT, Principal, UnverifiedPlan
from gateway.personal_data import SECRET_KIND, taken_out
from gateway.ports import StoredCall
from gateway.reasons import Reason

_log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 30.0
"""Beyond the deadline of the call: for being decided and recorded."""
PAST_CALLS_MAX: Final = 32
"""Calls of a conversation, the newest, by which its context is looked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as HTTP has it.

    Attributes:
        headers: names in lower case; of those that came twice, none.
        betas: values of every ``anthropic-beta``.
        beta: ``?beta=true``.
        own_credential: of the client's own headers, its credential for the provider, where it named its Handrail key in
            a header of its own.
        base_url: of this API at the gateway, as the client reaches it.
    """

    caller: Principal
    raw: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    betas: Sequence[str] = ()
    beta: bool = False
    own_credential: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_url: str = ""


class MessagesIngress:
    """The routes below ``/anthropic``. Belongs to one event loop."""

    def __init__(self, gateway: GatewayParts, known: KnownCalls, status_of: Callable[[Reason], int]) -> None:
        self._gateway = gateway
        self._known = known
        self._status_of = status_of
        self._calls = Calls(gateway.settings, gateway.hands, gateway.client_calls, known)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def messages(self, asked: Asked) -> Answer:
        """Ask the model, and answer.

        Raises:
            HandrailError: nothing was asked, or nothing of the answer may go out.
        """
        caller = asked.caller
        request = await self.read(asked)
        named = context_id(request, asked.headers, caller) or await self._calls.context_of(
            caller, past_calls(request.body)[:PAST_CALLS_MAX]
        )
        context = Context(named or new_context(), said=named is not None)
        await self._calls.hear(caller, context, request.results)
        return await (await self.exchange(asked, request, MESSAGES, request.args, context)).answer()

    async def read(self, asked: Asked) -> MessagesRequest:
        """The request in a body, less what is to be taken out of it.

        Raises:
            Refused: see ``request.read`` and :meth:`less`.
        """
        request = read(asked.raw, asked.headers, asked.betas, beta=asked.beta)
        body = await self.less(request.body)
        return request if body is request.body else rewritten(request, body)

    async def less(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A body, of a batch too, without what the settings say is to be taken out of it; the very same where there is
        nothing.

        Raises:
            Refused: see ``personal_data.requests.taken_out``.
        """
        settings = self._gateway.settings.anthropic
        kinds = [*settings.redact_personal, *([SECRET_KIND] if settings.redact_secrets else [])]
        return await asyncio.to_thread(taken_out, body, self._gateway.pipeline.scanner, kinds) if kinds else body

    async def exchange(
        self, asked: Asked, request: MessagesRequest, action: str, args: Mapping[str, Any], context: Context
    ) -> Exchange:
        """Ask, and give what there is to answer with: of now, or of when a person approved exactly this.

        Raises:
            HandrailError: nothing can be asked.
        """
        gateway, caller = self._gateway, asked.caller
        manifest = self.manifest(caller)
        passes = gateway.settings.anthropic.pass_credentials and not manifest.secrets
        own = asked.own_credential if passes else {}
        # What goes out is the body, so that what it says is read from it, also where it was written anew here.
        sent = request.body if request.raw is asked.raw else parse(request.raw) if request.raw else None
        beside = detached(args)
        says = b"" if sent is None else beside.raw if sent is args else canonical(sent)
        channel = Channel({**request.headers, **own}, request.raw, says)
        claims = {} if request.purpose is None else {"purpose": request.purpose}
        asks = {"id": "ask", "hand": manifest.hand, "action": action}

        def plan() -> UnverifiedPlan:
            parts = (gateway.keyset, gateway.settings, caller, context.id, [{**asks, "args": beside}])
            return signed_plan(MESSAGES_API, *parts, now=time.time(), claims=claims)

        async def redacted(kinds: Sequence[str]) -> UnverifiedPlan:
            nonlocal args, beside
            args = await asyncio.to_thread(taken_out, args, gateway.pipeline.scanner, kinds)
            beside = detached(args)
            channel.body = orjson.dumps({name: value for name, value in args.items() if name != "betas"})
            channel.says = canonical(parse(channel.body))
            return plan()

        async def approved() -> StoredCall | None:
            call = Call(manifest.hand, action, args)
            found = await self._known.collecting.standing(caller, context.named, call)
            channel.collected = found is not None and found.collected
            return None if found is None else found.step

        seconds = manifest.actions[action].deadline_seconds + GRACE_SECONDS
        # A client that hangs up ends the call at the provider (``channel.gone``), not the record of it.
        step = asyncio.create_task(
            gateway.pipeline.submit(plan(), wait_seconds=seconds, relay=channel, instead=approved, redact=redacted)
        )
        self._under_way.add(step)
        step.add_done_callback(self._ended)
        return Exchange(gateway, self._calls, caller, context, request, channel, step, self._status_of)

    def _ended(self, step: asyncio.Task[dict[str, Any]]) -> None:
        self._under_way.discard(step)
        if not step.cancelled():
            step.exception()  # whoever waits for the answer is told; if nobody does, it is on record all the same

    @property
    def calls(self) -> Calls:
        """What judges the calls in answers."""
        return self._calls

    @property
    def known(self) -> KnownCalls:
        """What is known of earlier calls."""
        return self._known

    def manifest(self, caller: Principal) -> Manifest:
        """Of the model's hand that the caller's requests go to.

        Raises:
            Absent: there is none, or more than one and nothing says which.
        """
        named = self._gateway.settings.anthropic.hand
        found = [
            manifest
            for manifest in self._gateway.hands.listed(caller)
            if manifest.model and named in {None, manifest.hand}
        ]
        if len(found) != 1:
            raise Absent("hand", named or MODEL)
        return found[0]


def new_context() -> str:
    """A context that nobody used before."""
    return f"{UNNAMED_CONTEXT}{secrets.token_hex(16)}"
