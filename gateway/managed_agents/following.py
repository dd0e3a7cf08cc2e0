"""A session as this gateway follows it, and what following one needs of the gateway."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from gateway.calls import HandResult
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError
from gateway.managed_agents.conversation import Conversation
from gateway.managed_agents.events import ToolUse
from gateway.managed_agents.mapping import Tools, Way
from gateway.model import Principal
from gateway.pipeline import Pipeline
from gateway.ports import Append, AuditLog
from gateway.ports.managed_agents import Records, SessionRecord, UseRecord, UseState
from gateway.reasons import Reason
from gateway.telemetry import Metrics

if TYPE_CHECKING:
    from gateway.managed_agents.api import SessionsApi

_log = structlog.get_logger("handrail.managed_agents")

BACKOFF_MAX_SECONDS: Final = 30.0
BYPASSED: Final = "bypassed"
"""Verdict of a tool use that went past the gateway: the last word on it."""


class Troubles:
    """What keeps things from going on: each is told the log once, again where it is another, and when it is over."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Reason, str]] = {}

    def tell(self, what: str, about: str, error: HandrailError) -> None:
        """``what`` does not go on with ``about``, for this reason."""
        told = (error.reason, error.detail)
        if self._known.get((what, about)) != told:
            self._known[what, about] = told
            _log.warning(what, about=about, reason=str(error.reason), detail=error.detail)

    def over(self, what: str, about: str) -> None:
        """It goes on."""
        if self._known.pop((what, about), None) is not None:
            _log.info("no longer so", what=what, about=about)


class Reports(Protocol):
    """Takes what came of a released step."""

    async def report(self, caller: Principal, plan_id: str, step_id: str, result: HandResult) -> object:
        """Have it on record, once. Raises ``HandrailError``."""


@dataclass(slots=True)
class Parts:
    """What of the gateway every session shares.

    Attributes:
        pace_seconds: the first pause after something failed; it doubles up to :data:`BACKOFF_MAX_SECONDS`.
        leaving: this gateway is about to stop. What it has judged is answered; everything else waits for the next.
    """

    pipeline: Pipeline
    records: Records
    reports: Reports
    clock: Callable[[], float]
    pace_seconds: float = 0.5
    leaving: bool = False
    troubles: Troubles = field(default_factory=Troubles)

    @property
    def log(self) -> AuditLog:
        """The audit log."""
        return self.pipeline.log

    @property
    def metrics(self) -> Metrics:
        """The metrics."""
        return self.pipeline.metrics

    async def pause(self, failures: int, at_least: float = 0.0) -> None:
        """Wait after ``failures`` (1 or more) in a row: doubling, with jitter, at least what the service asks."""
        most = min(self.pace_seconds * 2.0 ** min(failures - 1, 16), BACKOFF_MAX_SECONDS)
        await asyncio.sleep(max(random.uniform(most / 2, most), at_least))  # noqa: S311 - jitter, not a secret


@dataclass(slots=True)
class Following:
    """One session.

    Attributes:
        principal_id: whose its tool calls are.
        answer_seconds: how long a request to the service may take; after that it has it, or never will.
    """

    record: SessionRecord
    tools: Tools
    api: "SessionsApi"
    principal_id: str
    answer_seconds: float
    conversation: Conversation = field(default_factory=Conversation)
    uses: dict[str, UseRecord] = field(default_factory=dict)
    _saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    def new_use(self, use: ToolUse, plan_id: str, signed_at: float) -> UseRecord:
        """The row of a tool use that was just judged."""
        the = self.record
        return UseRecord(the.connector, the.session_id, use.id, plan_id, signed_at, UseState.JUDGED)

    def entry(self, kind: EntryType, use: ToolUse | None = None, **facts: str | int) -> EntryDraft:
        """An entry about the session, or about a tool use of it."""
        the = self.record
        mapped = None if use is None else self.tools.of(use)
        known = None if use is None else self.uses.get(use.id)
        hand = None if mapped is None or mapped.way is Way.DENIED else mapped
        said: dict[str, str | int] = {"connector": the.connector, "session": the.session_id, **facts}
        if use is not None:
            said["event"] = use.id
        return EntryDraft(
            kind,
            the.tenant,
            context_id=the.context_id,
            plan_id=(known.plan_id or None) if known is not None else None,
            step_id=use.id if use is not None and known is not None and known.plan_id else None,
            principal=the.subject,
            hand=None if hand is None else hand.hand,
            action=None if hand is None else hand.action,
            facts=said,
        )

    async def save(self, parts: Parts, entries: Sequence[EntryDraft], *uses: UseRecord) -> None:
        """Make entries and rows of tool uses durable, as long as this gateway follows the session.

        Raises:
            Overtaken: it does not any more.
            Unavailable: ``log.unavailable``; nothing was changed.
        """
        async with self._saving:
            kept = [self._final(use) for use in uses]
            new = [use for use in kept if use.event_id not in self.uses]
            old = [use for use in kept if use.event_id in self.uses]
            await parts.log.append(
                Append(
                    entries,
                    [parts.records.save_use(use) for use in old],
                    [parts.records.insert_use(use) for use in new],
                    unless=parts.records.unless_lost(self.record, parts.clock()),
                )
            )
            self.uses.update({use.event_id: use for use in kept})

    def _final(self, use: UseRecord) -> UseRecord:
        """A row as it may be written: that a use went past the gateway is not taken back by whoever judged it
        meanwhile."""
        known = self.uses.get(use.event_id)
        if known is None or known.verdict != BYPASSED:
            return use
        return replace(use, state=known.state, verdict=BYPASSED)

    async def turn(self, parts: Parts, event_id: str, **changes: Any) -> UseRecord:
        """Change the row of a tool use. Raises as :meth:`save`."""
        await self.save(parts, (), replace(self.uses[event_id], **changes))
        return self.uses[event_id]

    def answered_with(self, *verdicts: str) -> set[str]:
        """Tool uses that this gateway answered so, or may have."""
        sent = {UseState.ANSWERING, UseState.ANSWERED, UseState.AMBIGUOUS}
        return {one.event_id for one in self.uses.values() if one.state in sent and one.verdict in verdicts}
