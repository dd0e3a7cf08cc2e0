"""The calls that a model has its client make: each message's as one plan, on the hands that clients run themselves.

A step of such a plan has the API's own id of the call, so that what the client says later came of ``toolu_...`` is the
report of exactly that step, whichever gateway hears it, and after any restart.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.calls import HandResult
from gateway.client_steps.collecting import Call
from gateway.client_steps.known_calls import KnownCalls
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.ingress.anthropic import notices
from gateway.ingress.anthropic.holding import ToolUse
from gateway.ingress.anthropic.request import ToolResult
from gateway.ingress.client_calls import ClientCalls
from gateway.model import MESSAGES_API, Principal, StepStatus
from gateway.ports import Hands
from gateway.reasons import Reason
from gateway.settings import Settings

_log = structlog.get_logger(__name__)

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


class Calls:
    """Judges the calls of messages, and hears what came of them."""

    def __init__(self, settings: Settings, hands: Hands, clients: ClientCalls, known: KnownCalls) -> None:
        self._settings = settings
        self._hands = hands
        self._clients = clients
        self._known = known

    async def judge(self, caller: Principal, context: Context, uses: Sequence[ToolUse]) -> Mapping[int, str]:
        """Index of each call that is not let go -> what stands in its place. Returns when those that are let go are on
        record as released; those that a person is asked about are waited for, as long as the settings say.

        Raises:
            HandrailError: nothing is let go.
        """
        denied = {use.index: notices.unreadable(use.name) for use in uses if not _sound(use)}
        sound = [use for use in uses if use.index not in denied]
        if not sound:
            return denied
        places = self._places(caller)
        calls = [
            Call(*(places.get(use.name) or (self._fallback(caller), use.name)), args=use.args or {}, id=use.id)
            for use in sound
        ]
        try:
            judged = await self._clients.judge(
                caller,
                context.id,
                calls,
                issuer=MESSAGES_API,
                wait_seconds=self._settings.anthropic.ask_hold_seconds,
                anywhere=not context.said,
            )
        except Refused as refused:
            if not refused.reason.startswith(_ILL_FORMED):
                raise
            # The model wrote calls that no hand takes. They are one plan, so none of them is let go, and it is told.
            return denied | {use.index: notices.ill_formed(use.name, refused) for use in sound}
        for use, one in zip(sound, judged, strict=True):
            if one.status in {StepStatus.RUNNING, StepStatus.DEFERRED}:
                raise Unavailable(Reason.OVERLOADED, "a call that was not decided in time")
            if not one.go:
                denied[use.index] = notices.withheld(use.name, one.plan_id, one.step, self._settings.public_url)
        return denied

    async def deliver(self, caller: Principal, plan_id: str, step_id: str) -> bool:
        """Use the approval of a step up; see ``Collecting.collect``."""
        return await self._known.collecting.collect(caller, plan_id, step_id)

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


def _nobodies() -> Iterator[str]:
    yield _NOBODY
    yield from (f"{_NOBODY}-{number}" for number in itertools.count(1))


def _sound(use: ToolUse) -> bool:
    return use.args is not None and _STEP_ID.fullmatch(use.id) is not None and len(use.name) <= 128
