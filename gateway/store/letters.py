"""Rows of dead letters. Writes are handed to the log's writer; reads use connections of their own.

A row of ``dead_letters`` is there to be listed: whether a step is one is read from its plan. That one was settled is a
row which the database takes once, and an entry of the log.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, and_, bindparam, insert, literal, select

from audit.history import TREE_SIZE
from audit.retained import dropped_since
from audit.tables import entries
from gateway.entries import EntryType
from gateway.errors import Refused
from gateway.ports import Guard, Write
from gateway.ports.letters import Letter, LetterStatus, Settled, Verdict
from gateway.reasons import Conflict, Reason, because
from gateway.state import PlanState, StepState
from gateway.store.reading import reading
from gateway.store.tables.letters import dead_letter_ends, dead_letters

_NAMES: Final = tuple(column.name for column in dead_letters.c)
_LISTED: Final = select(literal(1)).where(
    dead_letters.c.plan_id == bindparam("plan_id"), dead_letters.c.step_id == bindparam("step_id")
)
_ADD: Final = insert(dead_letters).from_select(
    list(_NAMES),
    select(*(bindparam(name, type_=dead_letters.c[name].type) for name in _NAMES)).where(~_LISTED.exists()),
)
_SETTLE: Final = insert(dead_letter_ends)
_JOINED: Final = and_(
    dead_letters.c.plan_id == dead_letter_ends.c.plan_id, dead_letters.c.step_id == dead_letter_ends.c.step_id
)
_SETTLING: Final = (str(EntryType.STEP_RETRIED), str(EntryType.STEP_DISCARDED))
_SAID: Final = (
    select(entries.c.idx)
    .where(
        entries.c.plan_id == bindparam("plan_id"),
        entries.c.step_id == bindparam("step_id"),
        entries.c.type.in_(_SETTLING),
        entries.c.idx < TREE_SIZE,
    )
    .limit(1)
)


class SqlLetters:
    """``ports.Letters`` over SQLAlchemy Core."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine`` for reads."""
        self._engine = engine

    def add(self, plan: PlanState, state: StepState, at: float, log_index: int) -> Write:
        """See ``ports.Letters``."""
        hand, action = state.names
        row = {
            "plan_id": plan.plan.plan_id,
            "step_id": state.step.id,
            "tenant": plan.plan.tenant,
            "context_id": plan.plan.context_id,
            "principal": plan.plan.principal.pseudonym,
            "hand": hand,
            "action": action,
            "status": str(state.status),
            "reason": str(Reason.INTERNAL if state.error is None else state.error.reason),
            "ended_at": at,
            "log_index": log_index,
        }
        return Write(_ADD, row)

    def settle(self, tenant: str, plan_id: str, step_id: str, settled: Settled) -> Guard:
        """See ``ports.Letters``."""
        row = {
            "plan_id": plan_id,
            "step_id": step_id,
            "tenant": tenant,
            "verdict": str(settled.verdict),
            "settled_by": settled.by,
            "settled_at": settled.at,
            "retry_plan": settled.retry_plan,
        }
        return Guard(_SETTLE, row, _settled)

    async def page(
        self, tenant: str, status: LetterStatus, hands: Collection[str] | None, *, after: int | None, limit: int
    ) -> Sequence[Letter]:
        """See ``ports.Letters``."""
        ends = dead_letter_ends.c
        wanted = [dead_letters.c.tenant == tenant]
        wanted.append(ends.verdict.is_(None) if status is LetterStatus.OPEN else ends.verdict == str(status))
        if hands is not None:
            wanted.append(dead_letters.c.hand.in_(sorted(hands)))
        if after is not None:
            wanted.append(dead_letters.c.log_index < after)
        query = (
            select(dead_letters, ends.verdict, ends.settled_by, ends.settled_at, ends.retry_plan)
            .outerjoin_from(dead_letters, dead_letter_ends, _JOINED)
            .where(*wanted)
            .order_by(dead_letters.c.log_index.desc())
            .limit(limit)
        )
        rows = await reading(self._engine, "dead letters", lambda connection: connection.execute(query).all())
        return [Letter(**{name: getattr(row, name) for name in _NAMES}, settled=_verdict(row)) for row in rows]

    async def settled(self, plan_id: str) -> Mapping[str, Settled]:
        """See ``ports.Letters``."""
        query = select(dead_letter_ends).where(dead_letter_ends.c.plan_id == plan_id)
        rows = await reading(self._engine, "dead letters", lambda connection: connection.execute(query).all())
        return {row.step_id: found for row in rows if (found := _verdict(row)) is not None}

    async def check(self, plan_id: str, step_id: str, log_index: int, *, retry: bool) -> None:
        """See ``ports.Letters``."""
        which = {"plan_id": plan_id, "step_id": step_id}
        ended = select(literal(1)).where(dead_letter_ends.c.plan_id == plan_id, dead_letter_ends.c.step_id == step_id)

        def read(connection: Connection) -> None:
            if connection.execute(ended).first() or connection.execute(_SAID, which).first():
                _settled(connection)
            if retry and dropped_since(connection, log_index):
                raise Refused(Reason.REQUEST_CONFLICT, "entries were dropped since", **because(Conflict.LETTER_OLD))

        await reading(self._engine, "dead letters", read)


def _verdict(row: Row[Any]) -> Settled | None:
    if row.verdict is None:
        return None
    return Settled(Verdict(row.verdict), row.settled_by, row.settled_at, row.retry_plan)


def _settled(_: Connection) -> None:
    raise Refused(Reason.REQUEST_CONFLICT, "settled before", **because(Conflict.LETTER_SETTLED))
