"""Calls that clients make themselves, by what the clients call them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.calls import HandResult
from gateway.client_steps.collecting import Collecting
from gateway.client_steps.reports import ClientReports
from gateway.errors import Refused
from gateway.model import Principal
from gateway.ports import Append, StoredCall
from gateway.ports.client_calls import ClientCallRows
from gateway.state import Reported


@dataclass(slots=True)
class KnownCalls:
    """What is known of calls by their names, and of those that waited for people."""

    collecting: Collecting
    reports: ClientReports

    @property
    def _rows(self) -> ClientCallRows:
        return self.collecting.rows

    async def find(
        self, caller: Principal, call_ids: Collection[str], context_id: str | None = None
    ) -> Mapping[str, StoredCall]:
        """Call id -> its released step, of those that the caller asked for, in this context where there are several.
        Raises ``log.unavailable``."""
        return await self._rows.released(caller, call_ids, context_id)

    async def name(self, caller: Principal, call_id: str, plan_id: str, step_id: str) -> None:
        """Have the caller's ``call_id`` mean a step of its plan, too; the same once more changes nothing.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        guard = self._rows.naming(caller, call_id, plan_id, step_id)
        try:
            await self.collecting.pipeline.log.append(Append((), (), [guard]))
        except Refused as refused:
            known = (await self.find(caller, [call_id])).get(call_id)
            if known is None or (known.plan_id, known.step_id) != (plan_id, step_id):
                raise refused from None

    async def report(self, caller: Principal, step: StoredCall, result: HandResult) -> Reported:
        """Put on record what came of a call; see :meth:`ClientReports.report`."""
        return await self.reports.report(caller, step.plan_id, step.step_id, result)
