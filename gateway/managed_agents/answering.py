"""Answers on their way to the service: on record before they are sent, and each sent once.

The service has no key by which it knows a request that is repeated. Whether one arrived whose answer was lost is read
in the session's own list of events; it counts as lost only where the list, read again after as long as a request may
take, still does not have it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Overtaken, Unavailable
from gateway.managed_agents import events
from gateway.managed_agents.answers import Answer
from gateway.managed_agents.events import ToolUse
from gateway.managed_agents.following import Following, Parts
from gateway.managed_agents.service import ServiceError
from gateway.ports.managed_agents import UseRecord, UseState
from gateway.reasons import Reason

_log = structlog.get_logger("handrail.managed_agents")

AMBIGUOUS: Final = "ambiguous"


@dataclass(slots=True)
class Answerer:
    """Sends the answers of any session."""

    parts: Parts

    async def answer(self, following: Following, use: ToolUse, answer: Answer) -> None:
        """Have an answer on record, and send it.

        Raises:
            Overtaken: another gateway follows the session now; nothing was sent.
        """
        failures = 0
        while True:
            try:
                await self._record(following, use, answer)
                break
            except Unavailable as error:
                failures += 1
                _log.warning("an answer waits for the log", reason=str(error.reason), detail=error.detail)
                await self.parts.pause(failures)
        if not await self._send(following, use, answer):

            async def same() -> Answer:
                return answer

            await self.settle(following, use, same)

    async def settle(self, following: Following, use: ToolUse, again: Callable[[], Awaitable[Answer]]) -> None:
        """Find out whether an answer that may have been sent arrived; send it again where it did not.

        Args:
            again: the answer, made anew.

        Raises:
            Overtaken: another gateway follows the session now.
        """
        failures = 0
        while True:
            try:
                if await self._found(following, use):
                    return
                await asyncio.sleep(following.answer_seconds)
                if await self._found(following, use):
                    return
                answer = await again()
                await self._record(following, use, answer)
            except Overtaken:
                raise
            except HandrailError as error:
                failures += 1
                _log.warning("an answer's fate is not known", reason=str(error.reason), detail=error.detail)
                await self.parts.pause(failures)
                continue
            if await self._send(following, use, answer):
                return

    async def _record(self, following: Following, use: ToolUse, answer: Answer) -> None:
        entry = following.entry(EntryType.AGENT_ANSWERED, use, verdict=str(answer.verdict))
        reasons = (answer.reason,) if answer.reason else ()
        row = following.uses[use.id]
        changed = _with(row, UseState.ANSWERING, str(answer.verdict))
        await following.save(self.parts, [_because(entry, reasons)], changed)

    async def _send(self, following: Following, use: ToolUse, answer: Answer) -> bool:
        """Whether it is known what became of it."""
        failures = 0
        while True:
            try:
                await following.api.send(following.record.session_id, answer.events)
            except ServiceError as error:
                if error.arrived:
                    await self._ambiguous(following, use, error)
                    return False
                if error.final:
                    return await self._refused(following, use, error)
                failures += 1
                _log.warning("an answer was not sent", reason=str(error.reason), detail=error.detail)
                await self.parts.pause(failures, error.retry_after_seconds)
            except HandrailError as error:
                failures += 1
                _log.warning("an answer was not sent", reason=str(error.reason), detail=error.detail)
                await self.parts.pause(failures)
            else:
                await self._done(following, use, UseState.ANSWERED, str(answer.verdict))
                return True

    async def _ambiguous(self, following: Following, use: ToolUse, error: ServiceError) -> None:
        self.parts.metrics.agent_answers.labels(following.record.connector, AMBIGUOUS).inc()
        _log.error("an answer was sent, and whether it arrived is not known", detail=error.detail)
        entry = following.entry(EntryType.AGENT_ANSWER_AMBIGUOUS, use)
        row = _with(following.uses[use.id], UseState.AMBIGUOUS)
        try:
            await following.save(self.parts, [_because(entry, (str(Reason.AGENTS_AMBIGUOUS),))], row)
        except Unavailable:
            _log.error("an ambiguous answer could not be recorded")  # its row says that it may have been sent

    async def _refused(self, following: Following, use: ToolUse, error: ServiceError) -> bool:
        """The service does not take it: the session does not wait for it any more, or somebody else was faster."""
        _log.warning("the service takes no answer", status=error.status)
        try:
            if await self._found(following, use):
                return True
        except HandrailError:
            return False
        await self._done(following, use, UseState.OVER, "refused")
        return True

    async def _found(self, following: Following, use: ToolUse) -> bool:
        """Whether the session has an answer to a tool use, by its own list of events."""
        conversation = following.conversation
        listed = await following.api.events(following.record.session_id, use.at)
        conversation.hear_all(events.read(document) for document in listed)
        if use.id in conversation.answered:
            await self._done(following, use, UseState.ANSWERED, following.uses[use.id].verdict)
            return True
        if conversation.ended:
            await self._done(following, use, UseState.OVER, "ended")
            return True
        return False

    async def _done(self, following: Following, use: ToolUse, state: UseState, outcome: str) -> None:
        self.parts.metrics.agent_answers.labels(following.record.connector, outcome).inc()
        failures = 0
        while True:
            try:
                await following.turn(self.parts, use.id, state=state)
            except Unavailable:
                failures += 1
                await self.parts.pause(failures)
            else:
                return


def _with(row: UseRecord, state: UseState, verdict: str | None = None) -> UseRecord:
    return replace(row, state=state, verdict=row.verdict if verdict is None else verdict)


def _because(entry: EntryDraft, reasons: tuple[str, ...]) -> EntryDraft:
    return replace(entry, reasons=reasons)
