"""A client's call as a plan of one step: signed by the connector, on the one way that every plan takes."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.canonical import canonical, parse
from gateway.connector import signed_plan
from gateway.conversations import Conversation, Conversations
from gateway.errors import HandrailError, Refused
from gateway.freeze import Concern
from gateway.ingress.plans import Submits
from gateway.menus import Menus
from gateway.model import UNNAMED_CONTEXT, PlanStatus, Principal, UnverifiedPlan
from gateway.ports import AuditLog, Directory, Freezes, Hands, Signer
from gateway.ports.undelivered import CALL, MCP_ISSUER, NAMED, Undelivered
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.state import PlanState
from gateway.times import parse_time

CALL_WAIT_SECONDS: Final = 50.0
"""How long a call waits for its outcome: less than the 60 s after which common clients give up."""
TALK_WAIT_SECONDS: Final = 3600.0
"""The longest deadline of an action: while its client is asked something, a call goes on until then."""
MONTH_MILLISECONDS: Final = 28 * 86_400_000
"""The shortest one."""


class Pipeline(Submits, Protocol):
    """The one way, and what passes beside it."""

    @property
    def conversations(self) -> Conversations:
        """Where a call's client is found while the call runs."""

    @property
    def directory(self) -> Directory:
        """Who is who, now."""

    @property
    def freezes(self) -> Freezes:
        """What is frozen, now."""

    async def view(self, plan_id: str, viewer: Principal) -> dict[str, Any]:
        """The plan as it stands."""

    async def load(self, plan_id: str, viewer: Principal | None = None) -> PlanState:
        """The plan itself. Raises ``request.not_found``."""

    def events(self, plan_id: str, viewer: Principal, after: int = 0) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        """The plan's progress; the last event is ``done``, unless the follower was too slow."""


class Withdraws(Protocol):
    """Takes back what waits for people."""

    async def withdraw(self, plan_id: str, reason: Reason) -> bool:
        """See :func:`gateway.approvals.withdrawal.withdraw`."""


class GatewayParts(Protocol):
    """What this ingress uses of the gateway."""

    settings: Settings

    @property
    def approval_upkeep(self) -> Withdraws:
        """Where requests for approval are taken back."""

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
    def menus(self) -> Menus:
        """What callers are not shown."""

    @property
    def pipeline(self) -> Pipeline:
        """The one way."""

    @property
    def undelivered(self) -> Undelivered:
        """The record of answers that nobody is known to have got."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call under way.

    Attributes:
        view: of its plan, once that is at rest.
        talk: with its client, where it was begun with one.
        followed: whether it was begun before, so that ``view`` only looks on, for one request.
    """

    plan_id: str
    caller: Principal
    view: "asyncio.Task[dict[str, Any]]"
    talk: Conversation | None = None
    followed: bool = False


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is known of a call before anything of it is on record."""

    call: Call
    bound: bytes
    context_id: str
    key: str | None


class Calls:
    """The calls under way."""

    def __init__(self, gateway: GatewayParts) -> None:
        self._gateway = gateway
        self._calls: set[asyncio.Task[dict[str, Any]]] = set()
        self._begun: dict[str, _Begun] = {}

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
        conversations = self._gateway.pipeline.conversations
        within = conversations.carried(plan_id(plan)) if carried else nullcontext()
        return await asyncio.shield(self._begin(plan, self.patience_seconds, within))

    def begin(
        self,
        caller: Principal,
        hand: str,
        action: str,
        arguments: Mapping[str, Any],
        context_id: str,
        talk: Conversation,
        key: str | None = None,
    ) -> Call:
        """The same of a call whose client can be talked to while it runs, for as long as that takes.

        Args:
            key: digest of an idempotency key. A second plan by it is refused: ``verify.replayed``.
        """
        plan = self._signed(caller, hand, action, arguments, context_id, _jti(key))
        its_id = plan_id(plan)
        within = self._gateway.pipeline.conversations.opened(its_id, talk)
        call = Call(its_id, caller, self._begin(plan, TALK_WAIT_SECONDS, within), talk)
        self._begun[its_id] = _Begun(call, call_bytes(caller, hand, action, arguments), context_id, key)
        call.view.add_done_callback(lambda _: self._begun.pop(its_id, None))
        return call

    async def start(
        self,
        caller: Principal,
        hand: str,
        action: str,
        arguments: Mapping[str, Any],
        context_id: str,
        talk: Conversation,
        key: str | None = None,
    ) -> str:
        """The same of a call that nobody waits for: the id of its plan, once that is on record.

        Raises:
            HandrailError: the whole plan is refused.
        """
        plan = self._signed(caller, hand, action, arguments, context_id, _jti(key))
        its_id, on_record = plan_id(plan), asyncio.Event()
        pipeline = self._gateway.pipeline

        async def run() -> dict[str, Any]:
            with pipeline.conversations.opened(its_id, talk):
                view = await pipeline.submit(plan, wait_seconds=0)
                on_record.set()
                if view["status"] == PlanStatus.RUNNING:
                    await self._rest(its_id, caller, people=False)
                return view

        running, recorded = self._kept(run()), asyncio.create_task(on_record.wait())
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({running, recorded}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            recorded.cancel()
        if not on_record.is_set():
            await running
        return its_id

    def under_way(self, bound: bytes, context_id: str, key: str | None) -> Sequence[Call]:
        """The calls that were begun here and did not come to rest yet: by an idempotency key, or else the same calls.

        Args:
            bound: see :func:`call_bytes`.
        """
        return [
            begun.call
            for begun in self._begun.values()
            if begun.bound == bound
            and begun.key == key
            and (key is not None or same_context(begun.context_id, context_id))
        ]

    def goes_on(self, plan_id: str) -> bool:
        """Whether a call was begun here and did not come to rest yet."""
        return plan_id in self._begun

    def forget(self, plan_ids: Collection[str]) -> None:
        """Nobody asks for the outcome of these any more."""
        for one in plan_ids:
            self._begun.pop(one, None)

    def follow(self, plan_id: str, caller: Principal, *, people: bool) -> Call:
        """A call that was begun before.

        Args:
            people: whether it is waited for also when that takes a person's answer.
        """

        async def outcome() -> dict[str, Any]:
            await self._rest(plan_id, caller, people=people)
            return await self._gateway.pipeline.view(plan_id, caller)

        return Call(plan_id, caller, self._kept(outcome()), followed=True)

    async def answered(self, plan_id: str, caller: Principal) -> dict[str, Any]:
        """The view of a plan once it does not wait for people."""
        while (view := await self.view(plan_id, caller))["status"] == PlanStatus.WAITING:
            async for _, _, now in self._gateway.pipeline.events(plan_id, caller):
                if now.get("status") in {PlanStatus.RUNNING, PlanStatus.DONE}:
                    break
        return view

    async def may_hear(self, caller: Principal, hand: str | None, context_id: str) -> bool:
        """Whether a caller may still be told what comes of something that was decided earlier and goes on: not where it
        was revoked, lost the hand, or is frozen, as the hand or the context may be.

        Args:
            hand: ``None`` where it is about no one hand.

        Raises:
            Unavailable: it cannot be known.
        """
        pipeline = self._gateway.pipeline
        try:
            now = await pipeline.directory.person(caller.tenant, caller.pseudonym)
        except Refused:
            return False
        frozen = await pipeline.freezes.current()
        concern = Concern(caller.tenant, {caller.pseudonym}, hand, context_id)
        return (hand is None or now.may_use(hand)) and frozen.stopping(concern) is None

    @property
    def public_url(self) -> str:
        """Base URL of the pages for people."""
        return self._gateway.settings.public_url

    async def load(self, plan_id: str, caller: Principal) -> PlanState | None:
        """The plan of a call; ``None`` where there is none of this caller's."""
        try:
            return await self._gateway.pipeline.load(plan_id, caller)
        except Refused as refused:
            if refused.reason is Reason.REQUEST_NOT_FOUND:
                return None
            raise

    async def now(self, call: Call) -> dict[str, Any] | None:
        """The view of a call that goes on; ``None`` where it is not on record yet."""
        try:
            return await self.view(call.plan_id, call.caller)
        except Refused as refused:
            if refused.reason is Reason.REQUEST_NOT_FOUND:
                return None
            raise

    async def view(self, plan_id: str, caller: Principal) -> dict[str, Any]:
        """The plan as it stands."""
        return await self._gateway.pipeline.view(plan_id, caller)

    async def take_back(self, plan_id: str) -> bool:
        """Have a call not go on: one that waits for people is over, and one that runs here is called off at its tool.

        Returns:
            Whether anything came of it.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        try:
            if await self._gateway.approval_upkeep.withdraw(plan_id, Reason.HAND_CANCELLED):
                return True
        except Refused as refused:
            if refused.reason is not Reason.REQUEST_CONFLICT:
                raise
        talk = self._gateway.pipeline.conversations.of(plan_id)
        if talk is not None:
            talk.cancelled.set()
        return talk is not None

    @property
    def kept_milliseconds(self) -> int:
        """How long what became of a call is kept at least, unless it is erased before."""
        return self._gateway.settings.log.retention_months * MONTH_MILLISECONDS

    async def changed_at(self, plan: PlanState) -> float:
        """When a plan changed last, in seconds since the epoch, by the log."""
        newest = max(index for index in (plan.log_index, *(state.log_index for state in plan), 0) if index is not None)
        try:
            entry = parse(await self._gateway.log.entry(newest))
        except HandrailError:  # dropped by retention, or not to be had now
            return plan.plan.received_at
        return parse_time(entry["time"])

    @property
    def patience_seconds(self) -> float:
        """How long a client waits for a call that asks it nothing."""
        return min(CALL_WAIT_SECONDS, self._gateway.settings.server.wait_max_seconds)

    def _begin(
        self, plan: UnverifiedPlan, wait_seconds: float, within: AbstractContextManager[None]
    ) -> "asyncio.Task[dict[str, Any]]":
        async def run() -> dict[str, Any]:
            with within:
                return await self._gateway.pipeline.submit(plan, wait_seconds=wait_seconds)

        return self._kept(run())

    def _kept(self, outcome: Coroutine[Any, Any, dict[str, Any]]) -> "asyncio.Task[dict[str, Any]]":
        call = asyncio.create_task(outcome)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    async def _rest(self, plan_id: str, caller: Principal, *, people: bool) -> None:
        async for _, _, now in self._gateway.pipeline.events(plan_id, caller):
            if now.get("status") == PlanStatus.DONE or (now.get("status") == PlanStatus.WAITING and not people):
                break

    def _signed(
        self,
        caller: Principal,
        hand: str,
        action: str,
        arguments: Mapping[str, Any],
        context_id: str,
        jti: str | None = None,
    ) -> UnverifiedPlan:
        gateway = self._gateway
        actions = [{"id": "call", "hand": hand, "action": action, "args": dict(arguments)}]
        return signed_plan(
            MCP_ISSUER, gateway.keyset, gateway.settings, caller, context_id, actions, now=time.time(), jti=jti
        )


def call_bytes(caller: Principal, hand: str, action: str, arguments: Mapping[str, Any]) -> bytes:
    """What makes two calls the same: the principal, the hand, the action, and the arguments by their digest."""
    digest = hashlib.sha256(canonical(dict(arguments))).hexdigest()
    return canonical([caller.tenant, caller.id, hand, action, digest])


def same_context(one: str, other: str) -> bool:
    """Whether two calls are of one context, or of clients that keep none."""
    return one == other or (one.startswith(UNNAMED_CONTEXT) and other.startswith(UNNAMED_CONTEXT))


def plan_id(plan: UnverifiedPlan) -> str:
    """The id that it has once it is verified."""
    return hashlib.sha256(plan.raw).hexdigest()


def _jti(key: str | None) -> str:
    """The plan's ``jti``: of its own, or the one that an idempotency key stands for."""
    return f"{CALL}{secrets.token_hex(16)}" if key is None else f"{NAMED}{key}"
