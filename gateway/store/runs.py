"""Rows of runs. Writes are handed to the log's writer; reads use connections of their own.

A row is read as the gateway left it, or not at all. Turns only grow: the database's own triggers keep the end of a run
from being taken away, and its key from being given twice.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, bindparam, exists, func, insert, select

from audit.history import NEWEST_RESTORE
from gateway.errors import Refused
from gateway.model import Plan, PlanStatus, RunTurn, TurnKind
from gateway.ports import Guard, Unless, Write
from gateway.ports.runs import Run, RunPage, RunStatus, Turn
from gateway.reasons import Conflict, Reason, because
from gateway.store.leases import LeaseKind, SqlLeases, until_of
from gateway.store.reading import Result, reading
from gateway.store.row_macs import RowMacs, sound
from gateway.store.tables import plans
from gateway.store.tables.runs import run_turns, runs

_INSERT: Final = insert(runs)
_INSERT_TURN: Final = insert(run_turns)
_ENDED: Final = select(run_turns.c.number).where(
    run_turns.c.run_id == bindparam("the_run"), run_turns.c.kind == str(TurnKind.END)
)
_COPIED: Final = (
    "run_id",
    "tenant",
    "principal",
    "brain",
    "commitment",
    "steps_max",
    "tokens_max",
    "money_max",
    "currency",
    "created_at",
    "deadline_at",
    "log_index",
)
WAITING_MAX: Final = 64


class SqlRuns:
    """``ports.RunStore`` over SQLAlchemy Core."""

    def __init__(self, engine: Engine, gateway: str, mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            gateway: this gateway's id.
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key begins no run, and gives
                none a turn.
        """
        self._engine = engine
        self._gateway = gateway
        self._macs = RowMacs(mac_key)
        self._leases = SqlLeases(engine, LeaseKind.RUN, gateway)

    # --- writes, carried by the log ----------------------------------------------------------------------------------

    def begin(self, run: Run, until: float) -> Sequence[Write]:
        """See ``ports.RunStore``."""
        hands = None if run.hands is None else json.dumps(run.hands)
        row = self._macs.seal(runs, {**{name: getattr(run, name) for name in _COPIED}, "hands": hands})
        return [Write(_INSERT, row), self._leases.take(run.run_id, until)]

    def taken(self, plan: Plan, run: RunTurn, at: float) -> Guard:
        """See ``ports.Turns``."""
        return self._guard(Turn(run, plan.plan_id, self._gateway, at))

    def end(self, run: Run, turn: Turn) -> tuple[Sequence[Guard], Sequence[Write]]:
        """See ``ports.RunStore``."""
        return [self._guard(turn)], [self._leases.drop(run.run_id)]

    def _guard(self, turn: Turn) -> Guard:
        the = turn.turn
        row = {
            "run_id": the.run_id,
            "number": the.number,
            "kind": str(the.kind),
            "brain": the.brain,
            "attempt": the.attempt,
            "steps": the.steps,
            "tokens": the.tokens,
            "spent": the.spent,
            "plan_id": turn.plan_id,
            "gateway": turn.gateway,
            "at": turn.at,
            "status": "" if turn.status is None else str(turn.status),
            "reason": turn.reason,
            "note": turn.note,
        }
        return Guard(_INSERT_TURN, self._macs.seal(run_turns, row), _turn_taken)

    def take_over(self, run_id: str, now: float, until: float) -> tuple[Sequence[Unless], Write]:
        """See ``ports.RunStore``."""
        unless = [self._leases.unless_taken(run_id, now), Unless(_ENDED, {"the_run": run_id})]
        return unless, self._leases.take(run_id, until)

    def hold(self, run_id: str, until: float) -> Write:
        """See ``ports.RunStore``."""
        return self._leases.hold(run_id, until)

    def leave(self, run_id: str, now: float) -> Write:
        """See ``ports.RunStore``."""
        return self._leases.leave(run_id, now)

    # --- reads -------------------------------------------------------------------------------------------------------

    async def due(self, now: float) -> Sequence[str]:
        """See ``ports.RunStore``."""
        return [lease.name for lease in await self._leases.takable(now)]

    async def driven_until(self, run_id: str) -> float | None:
        """See ``ports.RunStore``."""
        return await self._read(lambda connection: until_of(connection, LeaseKind.RUN, [run_id]).get(run_id))

    async def find(self, run_id: str) -> Run | None:
        """See ``ports.RunStore``."""

        def read(connection: Connection) -> Run | None:
            rows = connection.execute(select(runs).where(runs.c.run_id == run_id)).mappings()
            return next((_run(row) for row in sound(rows, self._verify(runs), strict=True)), None)

        return await self._read(read)

    async def turns(self, run_id: str, after: int = -1) -> Sequence[Turn]:
        """See ``ports.RunStore``."""

        def read(connection: Connection) -> Sequence[Turn]:
            query = select(run_turns).where(run_turns.c.run_id == run_id, run_turns.c.number > after)
            rows = connection.execute(query.order_by(run_turns.c.number)).mappings()
            return [_turn(row) for row in sound(rows, self._verify(run_turns), strict=True)]

        return await self._read(read)

    async def page(self, tenant: str, principal: str | None, *, after: int | None, limit: int) -> RunPage:
        """See ``ports.RunStore``."""
        each = run_turns.alias()
        newest = select(func.max(each.c.number)).where(each.c.run_id == run_turns.c.run_id).scalar_subquery()
        wanted = [runs.c.tenant == tenant]
        if principal is not None:
            wanted.append(runs.c.principal == principal)
        if after is not None:
            wanted.append(runs.c.log_index < after)
        chosen = select(runs).where(*wanted).order_by(runs.c.log_index.desc()).limit(limit)

        def read(connection: Connection) -> RunPage:
            found = [_run(row) for row in sound(connection.execute(chosen).mappings(), self._verify(runs))]
            names = [run.run_id for run in found]
            query = select(run_turns).where(run_turns.c.run_id.in_(names), run_turns.c.number == newest)
            rows = sound(connection.execute(query).mappings(), self._verify(run_turns))
            last = {turn.turn.run_id: turn for turn in map(_turn, rows)}
            until = until_of(connection, LeaseKind.RUN, names)
            return RunPage([(run, last.get(run.run_id), until.get(run.run_id)) for run in found])

        return await self._read(read)

    async def left_waiting(self) -> Sequence[str]:
        """See ``ports.RunStore``."""
        end = run_turns.alias()
        over = exists().where(and_(end.c.run_id == run_turns.c.run_id, end.c.kind == str(TurnKind.END)))
        query = (
            select(plans.c.plan_id)
            .join(run_turns, run_turns.c.plan_id == plans.c.plan_id)
            .where(plans.c.status == str(PlanStatus.WAITING), over)
            .limit(WAITING_MAX)
        )
        return await self._read(lambda connection: list(connection.execute(query).scalars()))

    async def restored(self, run_id: str) -> bool:
        """See ``ports.RunStore``."""
        query = select(runs.c.run_id).where(runs.c.run_id == run_id, runs.c.log_index < NEWEST_RESTORE)
        return await self._read(lambda connection: connection.execute(query).first() is not None)

    def _verify(self, table: Any) -> Callable[[Mapping[str, Any]], None]:
        return lambda row: self._macs.verify_row(table, row)

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        return await reading(self._engine, "runs", read)


def _run(row: Mapping[str, Any]) -> Run:
    hands = None if row["hands"] is None else tuple(json.loads(row["hands"]))
    return Run(**{name: row[name] for name in _COPIED}, hands=hands)


def _turn(row: Mapping[str, Any]) -> Turn:
    turn = RunTurn(
        row["run_id"],
        row["number"],
        TurnKind(row["kind"]),
        row["brain"],
        row["attempt"],
        row["steps"],
        row["tokens"],
        row["spent"],
    )
    status = RunStatus(row["status"]) if row["status"] else None
    return Turn(turn, row["plan_id"], row["gateway"], row["at"], status, row["reason"], row["note"])


def _turn_taken(_: Connection) -> None:
    raise Refused(Reason.REQUEST_CONFLICT, "the turn was taken before", **because(Conflict.RUN_TURN))
