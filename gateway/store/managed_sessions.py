"""Rows of sessions at Anthropic. Writes are handed to the log's writer; reads use connections of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine, bindparam, exists, insert, literal, select

from gateway.errors import Overtaken, Refused
from gateway.ports import Guard, Unless, Write
from gateway.ports.managed_agents import SessionRecord, State, UseRecord, UseState
from gateway.reasons import Conflict, Reason, because
from gateway.store.leases import LeaseKind, SqlLeases
from gateway.store.reading import reading
from gateway.store.row_macs import RowMacs, sound
from gateway.store.tables import leases
from gateway.store.tables import managed_sessions as sessions
from gateway.store.tables import managed_uses as uses
from gateway.store.upsert import upsert

LISTED_MAX: Final = 1000
_FOLLOWED: Final = [str(state) for state in State if state.followed]
_ONE: Final = (sessions.c.connector == bindparam("the_connector")) & (sessions.c.session_id == bindparam("the_session"))
_INSERT_SESSION: Final = insert(sessions)
_INSERT_USE: Final = insert(uses)
_OVER: Final = select(literal(1)).where(~exists().where(_ONE, sessions.c.state.in_(_FOLLOWED)))


_BETWEEN: Final = "/"
"""Connector and session in the name of a lease; no connector has one in its name."""
_LEASED: Final = (leases.c.kind == str(LeaseKind.SESSION)) & (
    leases.c.name == sessions.c.connector + _BETWEEN + sessions.c.session_id
)


class SqlManagedSessions:
    """``ports.managed_agents.Records`` over SQLAlchemy Core."""

    def __init__(self, engine: Engine, owner: str, mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            owner: this gateway's id.
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key makes no session of
                somebody else's, and takes no answer back.
        """
        self._engine = engine
        self.owner = owner
        self._macs = RowMacs(mac_key)
        self._leases = SqlLeases(engine, LeaseKind.SESSION, owner)
        self._upsert_session = upsert(sessions, engine.dialect.name)
        self._upsert_use = upsert(uses, engine.dialect.name)

    # --- writes, carried by the log ----------------------------------------------------------------------------------

    def insert_session(self, session: SessionRecord) -> Guard:
        """See ``Records``."""
        return Guard(_INSERT_SESSION, self._sealed_session(session), _followed)

    def save_session(self, session: SessionRecord) -> Write:
        """See ``Records``."""
        return Write(self._upsert_session, self._sealed_session(session))

    def take(self, session: SessionRecord, now: float, until: float) -> tuple[Sequence[Unless], Write]:
        """See ``Records``."""
        name = _name(session)
        return [self._leases.unless_taken(name, now), _unless_over(session)], self._leases.take(name, until)

    def leave(self, session: SessionRecord, now: float) -> Write:
        """See ``Records``."""
        return self._leases.leave(_name(session), now)

    def drop(self, session: SessionRecord) -> Write:
        """See ``Records``."""
        return self._leases.drop(_name(session))

    def unless_lost(self, session: SessionRecord, now: float) -> Sequence[Unless]:
        """See ``Records``."""
        return [self._leases.unless_lost(_name(session), now), _unless_over(session)]

    def insert_use(self, use: UseRecord) -> Guard:
        """See ``Records``."""
        return Guard(_INSERT_USE, self._sealed_use(use), _known)

    def save_use(self, use: UseRecord) -> Write:
        """See ``Records``."""
        return Write(self._upsert_use, self._sealed_use(use))

    def _sealed_session(self, session: SessionRecord) -> dict[str, Any]:
        return self._macs.seal(sessions, {**asdict(session), "state": str(session.state)})

    def _sealed_use(self, use: UseRecord) -> dict[str, Any]:
        return self._macs.seal(uses, {**asdict(use), "state": str(use.state)})

    # --- reads -------------------------------------------------------------------------------------------------------

    async def session(self, connector: str, session_id: str) -> SessionRecord | None:
        """See ``Records``."""

        def read(connection: Connection) -> SessionRecord | None:
            wanted = select(sessions).where(sessions.c.connector == connector, sessions.c.session_id == session_id)
            row = connection.execute(wanted).mappings().one_or_none()
            if row is None:
                return None
            self._macs.verify_row(sessions, dict(row))
            return _session(dict(row))

        return await reading(self._engine, "managed sessions", read)

    async def sessions(self, tenant: str | None = None) -> Sequence[SessionRecord]:
        """See ``Records``."""
        wanted = select(sessions).order_by(sessions.c.adopted_at.desc()).limit(LISTED_MAX)
        return await self._sessions(wanted if tenant is None else wanted.where(sessions.c.tenant == tenant))

    async def free(self, connector: str, now: float, limit: int) -> Sequence[SessionRecord]:
        """See ``Records``."""
        wanted = (
            select(sessions)
            .where(
                sessions.c.connector == connector,
                sessions.c.state.in_(_FOLLOWED),
                ~exists().where(_LEASED, leases.c.until > now),
            )
            .order_by(sessions.c.adopted_at)
            .limit(limit)
        )
        return await self._sessions(wanted)

    async def uses(self, connector: str, session_id: str) -> Sequence[UseRecord]:
        """See ``Records``."""
        wanted = select(uses).where(uses.c.connector == connector, uses.c.session_id == session_id)

        def read(connection: Connection) -> list[UseRecord]:
            rows = connection.execute(wanted).mappings().all()
            kept = sound(rows, lambda row: self._macs.verify_row(uses, row), strict=True)
            return [_use(row) for row in kept]

        return await reading(self._engine, "managed uses", read)

    async def _sessions(self, wanted: Any) -> Sequence[SessionRecord]:
        def read(connection: Connection) -> list[SessionRecord]:
            rows = connection.execute(wanted).mappings().all()
            return [_session(row) for row in sound(rows, lambda row: self._macs.verify_row(sessions, row))]

        return await reading(self._engine, "managed sessions", read)


def _name(session: SessionRecord) -> str:
    """Of its lease."""
    return f"{session.connector}{_BETWEEN}{session.session_id}"


def _unless_over(session: SessionRecord) -> Unless:
    return Unless(_OVER, {"the_connector": session.connector, "the_session": session.session_id})


def _session(row: Mapping[str, Any]) -> SessionRecord:
    named = {name: row[name] for name in SessionRecord.__slots__ if name != "state"}
    return SessionRecord(**named, state=State(row["state"]))


def _use(row: Mapping[str, Any]) -> UseRecord:
    named = {name: row[name] for name in UseRecord.__slots__ if name != "state"}
    return UseRecord(**named, state=UseState(row["state"]))


def _followed(_: Connection) -> NoReturn:
    raise Refused(Reason.REQUEST_CONFLICT, "followed before", **because(Conflict.AGENT_SESSION))


def _known(_: Connection) -> NoReturn:
    raise Overtaken
