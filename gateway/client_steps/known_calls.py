"""Calls that a person approved after their client had stopped waiting: the same call, asked for again, passes once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.calls import HandResult
from gateway.canonical import canonical
from gateway.client_steps.collecting import Collecting
from gateway.client_steps.reports import ClientReports
from gateway.errors import Refused
from gateway.model import Principal
from gateway.pipeline import Pipeline
from gateway.ports import Append, Guard, StoredCall
from gateway.state import Reported


class FindsCalls(Protocol):
    """Steps that clients run, by what the clients call them (``store.client_calls``)."""

    async def released(
        self, caller: Principal, call_ids: Collection[str], context_id: str | None = None
    ) -> Mapping[str, StoredCall]:
        """Call id -> its released step, of the caller's."""

    async def approved(self, caller: Principal, hand: str, action: str, since: float) -> Collection[StoredCall]:
        """Steps of the caller's on an action that people approved, newest first."""

    def naming(self, caller: Principal, call_id: str, plan_id: str, step_id: str) -> Guard:
        """The insert that gives a released step another name."""


@dataclass(slots=True)
class KnownCalls:
    """What is known of the calls that clients make themselves, and of requests that waited for people."""

    pipeline: Pipeline
    collecting: Collecting
    reports: ClientReports
    rows: FindsCalls

    async def find(
        self, caller: Principal, call_ids: Collection[str], context_id: str | None = None
    ) -> Mapping[str, StoredCall]:
        """Call id -> its released step, of those that the caller asked for, in this context where there are several.
        Raises ``log.unavailable``."""
        return await self.rows.released(caller, call_ids, context_id)

    async def name(self, caller: Principal, call_id: str, plan_id: str, step_id: str) -> None:
        """Have the caller's ``call_id`` mean a step of its plan, too; the same once more changes nothing.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        guard = self.rows.naming(caller, call_id, plan_id, step_id)
        try:
            await self.pipeline.log.append(Append((), (), [guard]))
        except Refused as refused:
            known = (await self.rows.released(caller, [call_id])).get(call_id)
            if known is None or (known.plan_id, known.step_id) != (plan_id, step_id):
                raise refused from None

    async def report(self, caller: Principal, step: StoredCall, result: HandResult) -> Reported:
        """Put on record what came of a call; see :meth:`ClientReports.report`."""
        return await self.reports.report(caller, step.plan_id, step.step_id, result)

    async def collect(
        self,
        caller: Principal,
        context_id: str | None,
        call: Mapping[str, Any],
    ) -> StoredCall | None:
        """The step of an earlier plan by which exactly this call was approved, and went; ``None`` where there is none
        any more. Each is given once, at whichever gateway.

        What was approved is what goes: the same caller, hand, action and args, by the manifest that was pinned then and
        the policy that asked, in its time, and while nothing of it is frozen.

        Args:
            context_id: in which it was approved; ``None`` where the client names none, so that any of its is meant.
            call: ``{id, hand, action, args}``. Where its client runs it, the step is known by this ``id``, too.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        now = self.pipeline.clock()
        since = now - self.pipeline.settings.plans.approval_ttl_seconds
        approved = await self.rows.approved(caller, call["hand"], call["action"], since)
        args = canonical(call["args"]) if approved else b""
        for found in approved:
            if context_id not in {None, found.context_id}:
                continue
            place = found.plan_id, found.step_id
            naming = None if call["id"] == found.step_id else self.rows.naming(caller, call["id"], *place)
            if await self.collecting.collect(caller, *place, args_bytes=args, naming=naming):
                return found
        return None

    async def deliver(self, caller: Principal, plan_id: str, step_id: str) -> bool:
        """Use an approval up for a client that waited for it. False where it was used up before, or holds no more.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        return await self.collecting.collect(caller, plan_id, step_id)
