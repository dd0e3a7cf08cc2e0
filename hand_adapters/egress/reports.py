"""Entries of the log about what jails send."""

from collections.abc import Callable, Mapping

from gateway.calls import HandCall
from gateway.commitments import commit, subject_key
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append, AuditLog


class Reports:
    """``HandCall.record`` of every call."""

    def __init__(self, log: AuditLog, count: Callable[[str, str, int], None]) -> None:
        """``count`` is told hand, outcome and how many: a metric."""
        self._log = log
        self._count = count

    async def record(self, call: HandCall, code: str, facts: Mapping[str, str | int], personal: bytes) -> None:
        """One entry about the call. What the jail chose (a path, a name) may tell of people: the entry commits to it.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        kind = EntryType(code)
        subject = subject_key(call.tenant, call.principal_id, call.context_id)
        await self._log.append(
            Append(
                [
                    EntryDraft(
                        kind,
                        call.tenant,
                        context_id=call.context_id,
                        plan_id=call.plan_id,
                        step_id=call.step_id,
                        hand=call.hand,
                        action=call.action,
                        manifest_digest=call.manifest_digest,
                        facts=dict(facts),
                        fields={"target": commit(personal, subject)} if personal else {},
                    )
                ]
            )
        )
        if kind is not EntryType.EGRESS_ENDED:
            self._count(call.hand, str(facts.get("cause", "connected")), int(facts.get("count", 1)))
