"""The calls that a model has its client make: each message's as one plan, on the hands that clients run themselves.

A step of such a plan has the API's own id of the call, so that what the client says later came of ``toolu_...`` is the
report of exactly that step, whichever gateway hears it, and after any restart.
"""

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gateway.calls import HandResult, Relay
from gateway.client_steps.known_calls import KnownCalls
from gateway.connector import signed_plan
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.ingress.anthropic import notices
from gateway.ingress.anthropic.holding import ToolUse
from gateway.ingress.anthropic.request import ToolResult
from gateway.model import CONNECTOR_PREFIX, Effect, Principal, StepStatus, UnverifiedPlan
from gateway.personal_data import Scanner
from gateway.plans.followers import Event
from gateway.ports import Hands, Signer
from gateway.reasons import Reason
from gateway.settings import Settings

_log = structlog.get_logger(__name__)

ISSUER: Final = f"{CONNECTOR_PREFIX}anthropic"
SETTLE_SECONDS: Final = 30.0
"""How long a plan of calls may take to be decided; nothing of it runs here."""
_ILL_FORMED: Final = "schema."
"""How the reasons begin for which a plan is refused that could not be one."""
_STEP_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOBODY: Final = "client"
"""The hand that an unknown tool, or one that two hands have, is looked for on: there is none of it, so that the call is
denied, on record. Where there is a hand of that name, it has a number."""


@dataclass(frozen=True, slots=True)
class Context:
    """The context of a request.

    Attributes:
        said: whether it follows from something that the client says; else it is a new one.
    """

    id: str
    said: bool

    @property
    def named(self) -> str | None:
        """The context where the client says which."""
        return self.id if self.said else None


class Takes(Protocol):
    """What the ingress asks of the pipeline."""

    scanner: Scanner

    async def submit(
        self, unverified: UnverifiedPlan, *, wait_seconds: float = 0.0, relay: Relay | None = None
    ) -> dict[str, Any]:
        """Take a plan through the pipeline; its view after at most ``wait_seconds``."""

    async def view(self, plan_id: str, viewer: Principal) -> dict[str, Any]:
        """A plan as it stands."""

    def events(self, plan_id: str, viewer: Principal, after: int = 0) -> AsyncIterator[Event]:
        """Its progress."""


class Calls:
    """Judges the calls of messages, and hears what came of them."""

    def __init__(self, settings: Settings, signer: Signer, hands: Hands, pipeline: Takes, known: KnownCalls) -> None:
        self._settings = settings
        self._signer = signer
        self._hands = hands
        self._pipeline = pipeline
        self._known = known

    async def judge(self, caller: Principal, context: Context, uses: Sequence[ToolUse]) -> Mapping[int, str]:
        """Index of each call that is not let go -> what stands in its place. Returns when those that are let go are on
        record as released; those that a person is asked about are waited for, as long as the settings say.

        Raises:
            HandrailError: nothing is let go.
        """
        denied = {use.index: notices.unreadable(use.name) for use in uses if not _sound(use)}
        judged = [use for use in uses if use.index not in denied]
        if not judged:
            return denied
        places = self._places(caller)
        actions = {
            use.index: {"id": use.id, "hand": hand, "action": action, "args": dict(use.args or {})}
            for use in judged
            for hand, action in [places.get(use.name, (self._fallback(caller), use.name))]
        }
        approved = {
            index for index, one in actions.items() if await self._known.collect(caller, context.named, one) is not None
        }
        left = [actions[use.index] for use in judged if use.index not in approved]
        if not left:
            return denied
        plan = signed_plan(ISSUER, self._signer, self._settings, caller, context.id, left, now=time.time())
        try:
            view = await self._pipeline.submit(plan, wait_seconds=SETTLE_SECONDS)
        except Refused as refused:
            if not refused.reason.startswith(_ILL_FORMED):
                raise
            # The model wrote calls that no hand takes. They are one plan, so none of them is let go, and it is told.
            wrong = {use.index: notices.ill_formed(use.name, refused) for use in judged if use.index not in approved}
            return denied | wrong
        view = await rested(self._pipeline, view, caller, self._settings.anthropic.ask_hold_seconds)
        steps = {step["id"]: step for step in view["steps"]}
        for use in judged:
            step = steps.get(use.id)
            if use.index in approved or (step is not None and await self._let_go(caller, view["plan_id"], step)):
                continue
            if step is None or step["status"] in {StepStatus.RUNNING, StepStatus.DEFERRED}:
                raise Unavailable(Reason.OVERLOADED, "a call that was not decided in time")
            denied[use.index] = notices.withheld(use.name, view, step, self._settings.public_url)
        return denied

    async def deliver(self, caller: Principal, plan_id: str, step_id: str) -> bool:
        """Use the approval of a step up; see :class:`KnownCalls`."""
        return await self._known.deliver(caller, plan_id, step_id)

    async def _let_go(self, caller: Principal, plan_id: str, step: Mapping[str, Any]) -> bool:
        """Whether the client may be given a call. One that a person approved uses the approval up."""
        if step["status"] != StepStatus.RELEASED:
            return False
        asked = (step.get("decision") or {}).get("effect") == Effect.ASK
        return not asked or await self._known.deliver(caller, plan_id, step["id"])

    async def hear(self, caller: Principal, context: Context, results: Sequence[ToolResult]) -> None:
        """Put on record what the client says came of its calls. What was never let go here, or is reported otherwise
        than before, is no report: it is part of a conversation, as whoever sent it says.

        Raises:
            Unavailable: it cannot be recorded, so that the conversation cannot go on.
        """
        if not results:
            return
        found = await self._known.find(caller, [one.call_id for one in results], context.id)
        for one in results:
            if one.call_id not in found:
                continue
            try:
                await self._known.report(caller, found[one.call_id], HandResult(one.content, None, one.is_error))
            except Unavailable:
                raise
            except HandrailError as error:
                _log.info(
                    "not a report", plan_id=found[one.call_id].plan_id, code=str(error.reason), detail=error.detail
                )

    async def context_of(self, caller: Principal, call_ids: Sequence[str]) -> str | None:
        """The context in which one of these calls was let go, the first of them that was."""
        found = await self._known.find(caller, call_ids) if call_ids else {}
        return next((found[one].context_id for one in call_ids if one in found), None)

    def _places(self, caller: Principal) -> Mapping[str, tuple[str, str]]:
        """Name of a tool -> hand and action. A name that two hands have is nobody's."""
        found: dict[str, tuple[str, str]] = {}
        contested: set[str] = set()
        for manifest in self._hands.listed(caller):
            if manifest.client:
                for action in manifest.actions:
                    if found.setdefault(action, (manifest.hand, action))[0] != manifest.hand:
                        contested.add(action)
        return {name: place for name, place in found.items() if name not in contested}

    def _fallback(self, caller: Principal) -> str:
        """The hand that a tool which no hand has is denied on."""
        hands = [manifest.hand for manifest in self._hands.listed(caller) if manifest.client]
        if len(hands) == 1:
            return hands[0]
        return next(name for name in _nobodies() if self._hands.manifest(caller.tenant, name) is None)


async def rested(pipeline: Takes, view: dict[str, Any], caller: Principal, seconds: float) -> dict[str, Any]:
    """The plan's view once no step of it waits for a person any more, or ``seconds`` later."""
    if not _held(view) or seconds <= 0:
        return view
    plan_id = view["plan_id"]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while _busy(view):
                async with contextlib.aclosing(pipeline.events(plan_id, caller)) as events:  # type: ignore[type-var]
                    async for _ in events:
                        view = await pipeline.view(plan_id, caller)
                        if not _busy(view):
                            break
    return await pipeline.view(plan_id, caller)


def _nobodies() -> Iterator[str]:
    yield _NOBODY
    yield from (f"{_NOBODY}-{number}" for number in itertools.count(1))


def _held(view: Mapping[str, Any]) -> bool:
    return any(step["status"] == StepStatus.HELD for step in view["steps"])


def _busy(view: Mapping[str, Any]) -> bool:
    return any(not StepStatus(step["status"]).final for step in view["steps"])


def _sound(use: ToolUse) -> bool:
    return use.args is not None and _STEP_ID.fullmatch(use.id) is not None and len(use.name) <= 128
