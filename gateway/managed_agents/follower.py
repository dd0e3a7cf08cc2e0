"""Follows one session: reads its events, has its tool uses judged and answered, and sees what goes past.

The stream of events has no position to go on from. On every break it is opened anew, *then* the list of events is read,
so that nothing falls between the two; what comes twice is known by its id.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import structlog

from gateway.calls import HandResult
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Overtaken, Refused, Unavailable
from gateway.managed_agents import events, policies
from gateway.managed_agents.answers import Verdict
from gateway.managed_agents.conversation import Bypass, Cause
from gateway.managed_agents.events import MOMENT, ToolUse
from gateway.managed_agents.following import BYPASSED, Following, Parts
from gateway.managed_agents.judging import Judge
from gateway.managed_agents.service import LISTED_MAX, ServiceError
from gateway.ports import Append
from gateway.ports.managed_agents import State, UseRecord, UseState
from gateway.reasons import Reason

_log = structlog.get_logger("handrail.managed_agents")

OVERLAP: Final = timedelta(seconds=60)
"""Events may become known in another order than that of their moments."""
INTERRUPT: Final = ({"type": "user.interrupt"},)
_GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class _Ended(Exception):
    """Nothing more comes."""


@dataclass(slots=True)
class Follower:
    """Follows one session, until it ends or this gateway does not follow it any more.

    Attributes:
        problem: why it is not followed at this moment.
    """

    following: Following
    parts: Parts
    judge: Judge
    problem: HandrailError | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _asked_for: set[str] = field(default_factory=set)
    """Events that were looked for in the list, and were not there."""
    _lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Follow. Returns when nothing more is to be done here."""
        reading = asyncio.create_task(self._read_for_ever())
        lost = asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait({reading, lost}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            for task in (reading, lost, *self._tasks):
                task.cancel()
            await asyncio.gather(reading, lost, *self._tasks, return_exceptions=True)

    def lose(self) -> None:
        """Another gateway follows the session now: nothing more is sent from here."""
        self._lost.set()

    async def _read_for_ever(self) -> None:
        failures = 0
        resumed = False
        while True:
            before = self.following.conversation.newest
            try:
                async with self.following.api.stream(self.following.record.session_id) as stream:
                    await self._catch_up()
                    self.problem = None
                    self.parts.troubles.over("session is not followed now", self.following.record.session_id)
                    if not resumed:
                        resumed = True
                        await self._look_at_policies()
                        await self._resume()
                    await self._act()
                    async for document in stream:
                        if self._hear([document]):
                            await self._act()
            except _Ended:
                await self._end()
                return
            except Overtaken:
                return
            except HandrailError as error:
                self.problem = error
                if isinstance(error, ServiceError) and error.status in _GONE:
                    await self._end()
                    return
                self.parts.troubles.tell("session is not followed now", self.following.record.session_id, error)
            except Exception:  # noqa: BLE001 - whatever a service sends, its session is followed again
                self.problem = HandrailError(Reason.INTERNAL)
                _log.exception("session is not followed now")
            self.parts.metrics.agent_reconnects.labels(self.following.record.connector).inc()
            # A stream that said something new is no failure, however it ended.
            failures = 1 if self.following.conversation.newest != before else failures + 1
            error_ = self.problem
            at_least = error_.retry_after_seconds if isinstance(error_, ServiceError) else 0.0
            await self.parts.pause(failures, at_least)

    # --- events ------------------------------------------------------------------------------------------------------

    def _hear(self, documents: Sequence[Mapping[str, Any]]) -> int:
        """Take events in; how many are new."""
        conversation = self.following.conversation
        unknown, broken = conversation.unknown, conversation.broken
        new = conversation.hear_all(events.read(document) for document in documents)
        counted = self.parts.metrics.agent_events
        connector = self.following.record.connector
        counted.labels(connector, "new").inc(new)
        counted.labels(connector, "duplicate").inc(len(documents) - new)
        counted.labels(connector, "unknown").inc(conversation.unknown - unknown)
        counted.labels(connector, "broken").inc(conversation.broken - broken)
        return new

    async def _catch_up(self) -> None:
        """Read the list from where what is known ends, less an overlap."""
        conversation = self.following.conversation
        since = _earlier(conversation.newest or self.following.record.since)
        while True:
            listed = await self.following.api.events(self.following.record.session_id, since)
            self._hear(listed)
            if len(listed) < LISTED_MAX or conversation.newest <= since:
                return
            since = conversation.newest

    async def _act(self) -> None:
        """Do what the events ask for. Raises ``Unavailable`` where it has to be tried again; ``Overtaken``."""
        following = self.following
        conversation = following.conversation
        unseen = conversation.unseen() - self._asked_for
        if unseen:
            await self._catch_up()
            self._asked_for |= conversation.unseen()
        for change in conversation.agents:
            await self._judge_policies(change.agent or {}, change.id)
        conversation.agents.clear()
        let_go = following.answered_with(Verdict.ALLOW, Verdict.RESULT)
        denied = following.answered_with(Verdict.DENY)
        await self._tell(conversation.bypasses(let_go, denied, following.record.since))
        waiting = [] if self.parts.leaving else conversation.waiting(following.uses)
        if waiting:
            for group in await self.judge.take(following, waiting):
                self._spawn(self.judge.see_through(following, group))
        for use_id, result in list(conversation.results.items()):
            row = following.uses.get(use_id)
            if row is not None and row.plan_id and not row.reported and row.verdict == Verdict.ALLOW:
                content = tuple(dict(block) for block in result.content)
                await self._report(row, HandResult(content, None, is_error=result.is_error))
        if conversation.ended:
            raise _Ended

    async def _resume(self) -> None:
        """Go on with what an earlier life, or another gateway, left."""
        following = self.following
        groups: dict[str, list[ToolUse]] = {}
        unfinished = {UseState.JUDGED, UseState.ANSWERING, UseState.AMBIGUOUS}
        for row in following.uses.values():
            use = following.conversation.uses.get(row.event_id)
            if use is not None and row.state in unfinished:
                groups.setdefault(row.plan_id or row.event_id, []).append(use)
        for group in groups.values():
            self._spawn(self.judge.see_through(following, group))

    async def _report(self, row: UseRecord, result: HandResult) -> None:
        """Have what came of a tool that the service ran on record beside its step."""
        following = self.following
        directory = self.parts.pipeline.directory
        try:
            caller = await directory.person(following.record.tenant, following.record.subject)
            await self.parts.reports.report(caller, row.plan_id, row.event_id, result)
        except Unavailable:
            raise
        except HandrailError as error:
            _log.warning("a result is not on record", reason=str(error.reason), detail=error.detail)
        await following.turn(self.parts, row.event_id, reported=True)

    # --- what goes past ----------------------------------------------------------------------------------------------

    async def _look_at_policies(self) -> None:
        session = await self.following.api.session(self.following.record.session_id)
        agent = session.get("agent")
        # Of this adoption: one that was let go and is followed again is looked at anew.
        adoption = f"policies-{int(self.following.record.adopted_at * 1000)}"
        await self._judge_policies(agent if isinstance(agent, Mapping) else {}, adoption)

    async def _judge_policies(self, agent: Mapping[str, Any], event_id: str) -> None:
        """A session whose policies let go without asking is not followed as if it were governed."""
        found = policies.needs(agent, self.following.tools)
        if not found.closed or found.others:
            names = [word.tool for word in found.open] or [*found.unknown, *found.others]
            await self._tell([Bypass(Cause.POLICY, event_id, names[0][:64])])

    async def _tell(self, bypasses: Sequence[Bypass]) -> None:
        """Have on record what went past, each once; from the first on nothing is let go any more, and the session is
        interrupted.

        Raises:
            Overtaken: another gateway follows the session now.
            Unavailable: it is not on record yet.
        """
        following = self.following
        new = [one for one in bypasses if following.uses.get(one.event_id, _NONE).verdict != BYPASSED]
        if not new:
            return
        first = following.record.state is not State.BYPASSED
        entries = [self._bypass_entry(one) for one in new]
        rows = [self._bypass_row(one) for one in new]
        if first:
            bypassed = replace(following.record, state=State.BYPASSED)
            records, now = self.parts.records, self.parts.clock()
            unless = records.unless_lost(following.record, now)
            await self.parts.log.append(Append((), [records.save_session(bypassed)], unless=unless))
            following.record = bypassed
        await following.save(self.parts, entries, *rows)
        for one in new:
            self.parts.metrics.agent_bypasses.labels(following.record.connector, str(one.cause)).inc()
            _log.error(
                "an agent's session went past the gateway", cause=str(one.cause), session=following.record.session_id
            )
        self._spawn(self._interrupt())

    def _bypass_row(self, one: Bypass) -> UseRecord:
        the = self.following.record
        known = self.following.uses.get(one.event_id)
        if known is not None:
            return replace(known, state=UseState.OVER, verdict=BYPASSED)
        return UseRecord(the.connector, the.session_id, one.event_id, "", 0.0, UseState.OVER, BYPASSED)

    def _bypass_entry(self, one: Bypass) -> EntryDraft:
        use = self.following.conversation.uses.get(one.event_id)
        entry = self.following.entry(EntryType.AGENT_BYPASSED, use, cause=str(one.cause))
        return replace(entry, reasons=(str(Reason.AGENTS_BYPASSED),))

    async def _interrupt(self) -> None:
        """Stop what the agent does at the service."""
        failures = 0
        while True:
            try:
                await self.following.api.send(self.following.record.session_id, INTERRUPT)
            except ServiceError as error:
                if error.final or error.arrived:
                    _log.error("the session may not be interrupted", detail=error.detail)
                    return
            except HandrailError as error:
                _log.error("the session is not interrupted yet", reason=str(error.reason), detail=error.detail)
            else:
                return
            failures += 1
            await self.parts.pause(failures)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """The session is over; what was held of it is answered to nobody."""
        following = self.following
        failures = 0
        while True:
            records, now = self.parts.records, self.parts.clock()
            ended = replace(following.record, state=State.ENDED)
            entry = following.entry(EntryType.AGENT_SESSION_ENDED, answered=len(following.answered_with(*Verdict)))
            try:
                unless = records.unless_lost(following.record, now)
                writes = [records.save_session(ended), records.drop(ended)]
                await self.parts.log.append(Append([entry], writes, unless=unless))
            except Overtaken:
                return
            except Unavailable:
                failures += 1
                await self.parts.pause(failures)
                continue
            following.record = ended
            return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Overtaken:
            self.lose()
        except Refused as error:
            _log.error("a tool use is not answered", reason=str(error.reason), detail=error.detail)
        except Exception:  # noqa: BLE001 - one bad tool use must not keep the others of the session from an answer
            _log.exception("a tool use is not answered")


_NONE: Final = UseRecord("", "", "", "", 0.0, UseState.JUDGED)


def _earlier(moment: str) -> str:
    """A moment less the overlap; empty for the beginning."""
    if not moment:
        return ""
    at = datetime.strptime(moment, MOMENT).replace(tzinfo=UTC)
    return (at - OVERLAP).strftime(MOMENT)
