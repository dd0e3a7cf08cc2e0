"""Calls that are issued again. A client whose connection broke does not know what became of its call, and calls again
under a new id: it gets the outcome on record, and nothing runs, or is asked of people, a second time.

The same call is one of the same principal with the same hand, action and arguments, in the same session or context, or
of a client that keeps neither; and only while its outcome was not delivered, and for a while. A client that names an
idempotency key (``_meta``) gets the outcome of the key's call in any case.
"""

import asyncio
import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext

from gateway.canonical import canonical
from gateway.errors import Unavailable
from gateway.ingress.mcp.calls import Call, Calls, same_context
from gateway.ingress.mcp.exchange import Exchange, exchange_here
from gateway.ingress.mcp.parking import Target
from gateway.model import Principal
from gateway.ports.undelivered import MCP_ISSUER, Issued, Undelivered
from gateway.state import PlanState

_log = structlog.get_logger(__name__)

IDEMPOTENCY_META_KEY: Final = "handrail/idempotency_key"
KEY_MAX_CHARACTERS: Final = 256
AGAIN_SECONDS: Final = 600.0
"""How long after it was received a call that was not held can be the one that is issued again."""
ELSEWHERE_SECONDS: Final = 5.0
"""How long another gateway is given to deliver an answer before its client counts as gone."""
LOOK_SECONDS: Final = 0.25
MISSED_MAX: Final = 4096
TOLD_MAX: Final = 4096
"""Deliveries on record that are remembered for those who read the record before."""


def named(ctx: ServerRequestContext[Any], caller: Principal) -> str | None:
    """Digest of the idempotency key that a client named for its call; ``None`` where it named none.

    Raises:
        MCPError: it is no key.
    """
    key = (ctx.meta or {}).get(IDEMPOTENCY_META_KEY)
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= KEY_MAX_CHARACTERS:
        raise MCPError(types.INVALID_PARAMS, f"Invalid _meta {IDEMPOTENCY_META_KEY}")
    return hashlib.sha256(canonical([caller.tenant, caller.pseudonym, key])).hexdigest()


class Reissues:
    """Knows which calls' clients are there, and finds the call that another one repeats. Belongs to one event loop."""

    def __init__(self, calls: Calls, record: Undelivered, clock: Callable[[], float] = time.time) -> None:
        self._calls = calls
        self._record = record
        self._clock = clock
        self._present: Counter[str] = Counter()
        self._asked: set[str] = set()
        self._delivered: set[str] = set()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._missed: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._closing = False
        self._telling: asyncio.Task[None] | None = None

    # --- who is there ------------------------------------------------------------------------------------------------

    def waits(self, exchange: Exchange, plan_id: str) -> None:
        """A plan's client waits for its outcome in this exchange."""
        if not exchange.over and plan_id not in exchange.plans:
            exchange.plans.add(plan_id)
            self._present[plan_id] += 1
        self._asked.discard(plan_id)

    def has(self, exchange: Exchange, plan_id: str) -> None:
        """The answer that is about to be sent in this exchange is a plan's outcome."""
        if exchange.over:
            self._miss(exchange, plan_id)
        else:
            exchange.answered.add(plan_id)

    def asks(self, exchange: Exchange, call: Call, give_up: Callable[[], None]) -> None:
        """The answer that is about to be sent in this exchange asks a call's client something.

        Args:
            give_up: nobody was asked, and so nobody answers.
        """
        if exchange.over:
            give_up()
            return
        exchange.asked[call.plan_id] = give_up
        call.view.add_done_callback(lambda _: self._asked.discard(call.plan_id))

    def over(self, exchange: Exchange) -> None:
        """Nothing more is sent in this exchange."""
        exchange.over = True
        self._present -= Counter(exchange.plans)
        if exchange.delivered:
            self._asked |= {plan_id for plan_id in exchange.asked if self._calls.goes_on(plan_id)}
            self.forgo(exchange.answered)
        else:
            for give_up in exchange.asked.values():
                give_up()
            for plan_id in exchange.answered:
                self._miss(exchange, plan_id)

    def replayed(self, session: str, stream: str) -> None:
        """The answer that was sent on a stream of a session is sent again in the exchange of this context."""
        plan_id, exchange = self._missed.pop((session, stream), None), exchange_here()
        if plan_id is not None and exchange is not None:
            exchange.stream = (session, stream)
            self.has(exchange, plan_id)

    def _miss(self, exchange: Exchange, plan_id: str) -> None:
        """An outcome was not delivered, and its client may ask for the rest of its stream."""
        if exchange.stream is not None:
            self._missed[exchange.stream] = plan_id
            if len(self._missed) > MISSED_MAX:
                self._missed.popitem(last=False)

    def forgo(self, plan_ids: Collection[str]) -> None:
        """The clients of these plans have the outcome, or said that they do not want it."""
        self._delivered |= set(plan_ids)
        self._calls.forget(plan_ids)
        if self._delivered and self._telling is None:
            self._telling = asyncio.create_task(self._tell())

    def unwanted(self, plan_id: str) -> None:
        """A client called its call off; unless it is the gateway that stops, in which case nobody said so."""
        if not self._closing:
            self.forgo({plan_id})

    def open(self) -> None:
        """Clients may come."""
        self._closing = False

    def stop(self) -> None:
        """The gateway is about to end what is under way."""
        self._closing = True

    async def close(self) -> None:
        """Put on record what was delivered."""
        if self._telling is not None:
            await self._telling

    async def _tell(self) -> None:
        try:
            while told := frozenset(self._delivered):
                await self._record.delivered(told)
                self._told |= dict.fromkeys(told)
                self._delivered -= told
                while len(self._told) > TOLD_MAX:
                    self._told.popitem(last=False)
        except Unavailable as away:
            # Remembered here, and told with the next; a restart would give one of these outcomes again.
            _log.warning("deliveries not recorded", reason=str(away.reason))
        finally:
            self._telling = None

    # --- the same call -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self, target: Target) -> AsyncIterator[None]:
        """Of several same calls one looks for the one that it repeats, and is begun, at a time: until a call is begun,
        none of the others can find it."""
        bound = target.bound()
        async with self._turns.setdefault(bound, asyncio.Lock()):
            yield

    async def again(self, target: Target, context_id: str, key: str | None, *, people: bool) -> Call | None:
        """The call that this one repeats; ``None`` where it is a new one.

        Args:
            key: see :func:`named`.
            people: see :meth:`Calls.follow`.

        Raises:
            HandrailError: the record cannot be read, or contradicts itself.
            MCPError: the idempotency key was used for another call.
        """
        if (begun := self._begun(target, context_id, key)) is not None:
            return begun
        found = await self._record.find(target.caller, target.hand, target.action, target.arguments, key)
        for issued in found:
            if key is None and (self._is_there(issued.plan_id) or not await self._left(target, issued)):
                continue
            plan = await self._calls.load(issued.plan_id, target.caller)
            if plan is None or not is_of(plan, target):
                if key is not None and plan is not None:
                    raise MCPError(types.INVALID_PARAMS, "The idempotency key was used for another call")
                continue
            if key is None and not (same_context(plan.plan.context_id, context_id) and self._recent(plan, issued)):
                continue
            if key is None and self._is_there(issued.plan_id):
                continue  # while this was looked up, another one took it up
            return self._calls.follow(issued.plan_id, target.caller, people=people)
        return self._begun(target, context_id, key)

    def _begun(self, target: Target, context_id: str, key: str | None) -> Call | None:
        under_way = self._calls.under_way(target.bound(), context_id, key)
        return next((call for call in under_way if key is not None or not self._is_there(call.plan_id)), None)

    def _is_there(self, plan_id: str) -> bool:
        """Whether the client of a call is there, or has its outcome, also where a row says otherwise: it may have been
        read before that was put on record."""
        has_it = plan_id in self._delivered or plan_id in self._told
        return has_it or self._present[plan_id] > 0 or plan_id in self._asked

    async def _left(self, target: Target, issued: Issued) -> bool:
        """Whether the client of a call is gone. Another gateway is given time to say that it got its answer; where it
        does not, the call may still run there with its client, and is not run here beside it."""
        if issued.here:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(ELSEWHERE_SECONDS):
                while True:
                    await asyncio.sleep(LOOK_SECONDS)
                    rows = await self._record.find(target.caller, target.hand, target.action, target.arguments, None)
                    if issued.plan_id not in {row.plan_id for row in rows}:
                        return False
        return True

    def _recent(self, plan: PlanState, issued: Issued) -> bool:
        """A call that waited for a person has been told so, and may come for its outcome as long as that is kept."""
        held = any(state.approval_id is not None for state in plan)
        return held or self._clock() - issued.received_at <= AGAIN_SECONDS


def is_of(plan: PlanState, target: Target) -> bool:
    """Whether a plan, as its record vouches for it, is exactly this call of this principal. One whose arguments were
    erased is not known to be any."""
    the = plan.plan
    if (the.issuer.id, the.tenant, the.caller.pseudonym) != (MCP_ISSUER, target.caller.tenant, target.caller.pseudonym):
        return False
    [state] = plan
    if state.args is None or (state.step.hand, state.step.action) != (target.hand, target.action):
        return False
    return canonical(state.args) == canonical(dict(target.arguments))
