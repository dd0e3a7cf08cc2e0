"""Rows of sessions at Anthropic. Writes are handed to the log's writer; reads use connections of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine, bindparam, exists, insert, literal, select, update

from gateway.errors import Overtaken, Refused
from gateway.ports import Guard, Unless, Write
from gateway.ports.managed_agents import SessionRecord, State, UseRecord, UseState
from gateway.reasons import Conflict, Reason, because
from gateway.store.reading import reading
from gateway.store.row_macs import RowMacs, sound
from gateway.store.tables import managed_sessions as sessions
from gateway.store.tables import managed_uses as uses
from gateway.store.upsert import upsert

LISTED_MAX: Final = 1000
_FOLLOWED: Final = [str(state) for state in State if state.followed]
_ONE: Final = (sessions.c.connector == bindparam("the_connector")) & (sessions.c.session_id == bindparam("the_session"))
_INSERT_SESSION: Final = insert(sessions)
_INSERT_USE: Final = insert(uses)
_LEASE: Final = (
    update(sessions).where(_ONE).values(owner=bindparam("new_owner"), owned_until=bindparam("new_owned_until"))
)
_OTHERS: Final = (sessions.c.owner != bindparam("me")) & (sessions.c.owned_until > bindparam("the_time"))
_TAKEN: Final = select(literal(1)).where(exists().where(_ONE, _OTHERS | sessions.c.state.not_in(_FOLLOWED)))
_OURS: Final = (sessions.c.owner == bindparam("me")) & (sessions.c.owned_until > bindparam("the_time"))
_LOST: Final = select(literal(1)).where(~exists().where(_ONE, _OURS, sessions.c.state.in_(_FOLLOWED)))


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
        self._upsert_session = upsert(sessions, engine.dialect.name)
        self._upsert_use = upsert(uses, engine.dialect.name)

    # --- writes, carried by the log ----------------------------------------------------------------------------------

    def insert_session(self, session: SessionRecord) -> Guard:
        """See ``Records``."""
        return Guard(_INSERT_SESSION, self._sealed_session(session), _followed)

    def save_session(self, session: SessionRecord) -> Write:
        """See ``Records``."""
        return Write(self._upsert_session, self._sealed_session(session))

    def lease(self, session: SessionRecord, until: float) -> Write:
        """See ``Records``."""
        return Write(_LEASE, {**_which(session), "new_owner": self.owner, "new_owned_until": until})

    def unless_taken(self, session: SessionRecord, now: float) -> Unless:
        """See ``Records``."""
        return Unless(_TAKEN, {**_which(session), "me": self.owner, "the_time": now})

    def unless_lost(self, session: SessionRecord, now: float) -> Unless:
        """See ``Records``."""
        return Unless(_LOST, {**_which(session), "me": self.owner, "the_time": now})

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
            .where(sessions.c.connector == connector, sessions.c.state.in_(_FOLLOWED), sessions.c.owned_until <= now)
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


def _which(session: SessionRecord) -> dict[str, str]:
    return {"the_connector": session.connector, "the_session": session.session_id}


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
