"""Calls of the MCP ingress whose answer nobody is known to have got, so that one that is issued again gets the recorded
outcome. A row is written with its plan's first record, and goes once the answer was delivered.

A row says nothing of a call but that a key outside of the database gives its digest; what it was, and whose, is read
from its plan, and from nothing that a writer of rows could change.
"""

import hmac
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, delete, insert, not_, select

from gateway.canonical import canonical
from gateway.model import Principal
from gateway.ports import Append, AuditLog, Guard, Write
from gateway.ports.undelivered import CALL, MCP_ISSUER, NAMED, Issued
from gateway.state import PlanState
from gateway.store import plan_writes as writes
from gateway.store.reading import reading
from gateway.store.tables.undelivered import undelivered

FOUND_MAX: Final = 8
NAMED_SECONDS: Final = 86_400.0
"""How long an idempotency key stands for its call."""

_INSERT: Final = insert(undelivered)
_DELETE: Final = delete(undelivered).where(undelivered.c.plan_id == bindparam("the_plan"), not_(undelivered.c.named))
_FORGET: Final = delete(undelivered).where(undelivered.c.received_at < bindparam("past"))


class SqlUndelivered:
    """``ports.undelivered.Undelivered`` over SQLAlchemy Core."""

    def __init__(self, engine: Engine, log: AuditLog, owner: str, mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            owner: this gateway's id.
            mac_key: 32 bytes from outside the database. Without it a row does not tell what was called.
        """
        self._engine = engine
        self._log = log
        self._owner = owner
        self._mac_key = mac_key

    def guards(self, plan: PlanState) -> Sequence[Guard]:
        """The row of a plan whose client waits for its outcome; of any other none. A second plan by one idempotency key
        is refused, whichever gateway it came to: ``verify.replayed``."""
        the = plan.plan
        if the.issuer.id != MCP_ISSUER or not the.jti.startswith((CALL, NAMED)):
            return []
        [step] = the.steps.values()
        named = the.jti.removeprefix(NAMED) if the.jti.startswith(NAMED) else None
        row = {
            "plan_id": the.plan_id,
            "tenant": the.tenant,
            "principal": the.caller.pseudonym,
            "call_key": self._key(the.caller, step.hand, step.action, step.args, named),
            "named": named is not None,
            "owner": self._owner,
            "received_at": the.received_at,
        }
        return [Guard(_INSERT, row, writes.replayed)]

    async def find(
        self, caller: Principal, hand: str, action: str, args: Mapping[str, Any], named: str | None
    ) -> Sequence[Issued]:
        """See ``ports.undelivered.Undelivered``."""
        key = self._key(caller, hand, action, args, named)
        the = undelivered.c
        query = (
            select(the.plan_id, the.owner, the.received_at)
            .where(the.tenant == caller.tenant, the.principal == caller.pseudonym, the.call_key == key)
            .order_by(the.received_at.desc())
            .limit(FOUND_MAX)
        )

        def read(connection: Connection) -> Sequence[Issued]:
            rows = connection.execute(query)
            return [Issued(row.plan_id, row.owner == self._owner, row.received_at) for row in rows]

        return await reading(self._engine, "undelivered", read)

    async def delivered(self, plan_ids: Collection[str]) -> None:
        """See ``ports.undelivered.Undelivered``."""
        await self._log.append(Append((), [Write(_DELETE, {"the_plan": one}) for one in plan_ids]))

    def _key(self, caller: Principal, hand: str, action: str, args: Mapping[str, Any], named: str | None) -> str:
        call = ["named", named] if named is not None else ["call", hand, action, dict(args)]
        covered = canonical([caller.tenant, caller.pseudonym, *call])
        return hmac.digest(self._mac_key, covered, "sha256").hex()


def forget_undelivered(before: float) -> Write:
    """Drop the rows of calls that were received earlier (seconds since the epoch)."""
    return Write(_FORGET, {"past": before})
