"""Who is logged in to the pages. A session is 32 random bytes in a cookie; its row knows their hash alone.

A row carries a MAC, so that whoever writes to the database logs nobody in, and it is held against the log, so that one
that is put back logs nobody in again. A session ends at its time, with what opened it (an API key, or the link by which
somebody logged in at an issuer), with its principal, or when the person leaves; it survives a restart, and holds at
every gateway of the database.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select

from audit.history import facts_of
from gateway.entries import EntryDraft, EntryType
from gateway.model import Principal, Role
from gateway.ports import Append, AuditLog, Write
from gateway.store.reading import blocking_read, in_thread
from gateway.store.row_macs import RowChanged, RowMacs, sound
from gateway.store.tables import sessions

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_OPEN: Final = insert(sessions)
_CLOSE: Final = delete(sessions).where(sessions.c.session_sha256 == bindparam("closed"))
_PURGE: Final = delete(sessions).where(sessions.c.expires_at <= bindparam("past"))


@dataclass(frozen=True, slots=True)
class Session:
    """A person's login.

    Attributes:
        token: what the cookie holds.
        csrf_token: what every form of the session's pages carries; it cannot be told from without the cookie.
        key_id: of the API key that opened it; ``None`` where a login at an issuer did.
        link_id: of the link of whoever logged in at an issuer.
        roles: those that the login gave; ``None`` for the principal's.
        hands: likewise.
        expires_at: seconds since the epoch.
    """

    token: str = field(repr=False)
    csrf_token: str = field(repr=False)
    tenant: str
    pseudonym: str
    key_id: str | None
    link_id: str | None
    roles: frozenset[Role] | None
    hands: frozenset[str] | None
    expires_at: float

    def narrowed(self, person: Principal) -> Principal:
        """What the person may in this session: no more than the login gave, and no more than they may now."""
        roles = person.roles if self.roles is None else person.roles & self.roles
        scopes = [scope for scope in (self.hands, person.hands) if scope is not None]
        return replace(person, roles=roles, hands=frozenset.intersection(*scopes) if scopes else None)


class SqlSessions:
    """Opens, finds and closes sessions. Belongs to one event loop."""

    def __init__(self, engine: Engine, log: AuditLog, mac_key: bytes, clock: Callable[[], float] = time.time) -> None:
        """Use ``engine`` for reads and ``log`` for changes.

        Args:
            mac_key: 32 bytes from outside the database.
        """
        self._engine = engine
        self._log = log
        self._macs = RowMacs(mac_key)
        self._csrf_key = hmac.digest(mac_key, b"csrf", "sha256")
        self._clock = clock

    async def open(
        self, person: Principal, lifetime_seconds: float, *, key_id: str | None = None, link_id: str | None = None
    ) -> Session:
        """Log a person in; what is past its time goes with the same record.

        Args:
            person: with the roles and hands that a login at an issuer gives.
            key_id: of the API key that was shown, or else
            link_id: of the link of whoever logged in at an issuer.

        Raises:
            Unavailable: ``log.unavailable``; nobody is logged in.
        """
        now = self._clock()
        token = secrets.token_urlsafe(32)
        row = {
            "session_sha256": _hashed(token),
            "tenant": person.tenant,
            "pseudonym": person.pseudonym,
            "key_id": key_id,
            "link_id": link_id,
            "roles": None if link_id is None else json.dumps(sorted(person.roles)),
            "hands": None if link_id is None or person.hands is None else json.dumps(sorted(person.hands)),
            "opened_at": now,
            "expires_at": now + lifetime_seconds,
        }
        facts = _facts(key_id, link_id, token)
        entry = EntryDraft(EntryType.SESSION_OPENED, person.tenant, principal=person.pseudonym, facts=facts)

        def opened(indices: Sequence[int]) -> Sequence[Write]:
            return [Write(_OPEN, self._macs.seal(sessions, {**row, "opened_index": indices[0]}))]

        await self._log.append(Append([entry], [Write(_PURGE, {"past": now})], finalise=opened))
        return self._session(token, row)

    async def find(self, token: str) -> Session | None:
        """The session of a cookie; ``None`` where there is none, or it is over.

        Raises:
            Unavailable: ``log.unavailable``; the database cannot be read.
        """
        if _TOKEN.fullmatch(token) is None:
            return None
        row = await in_thread("sessions", self._read, token)
        if row is None or self._clock() >= row["expires_at"]:
            return None
        return self._session(token, row)

    async def close(self, session: Session, person: Principal) -> None:
        """Log a person out.

        Raises:
            Unavailable: ``log.unavailable``; the session may still hold.
        """
        facts = _facts(session.key_id, session.link_id, session.token)
        entry = EntryDraft(EntryType.SESSION_CLOSED, person.tenant, principal=person.pseudonym, facts=facts)
        await self._log.append(Append([entry], [Write(_CLOSE, {"closed": _hashed(session.token)})]))

    def _read(self, token: str) -> dict[str, Any] | None:
        return blocking_read(self._engine, "sessions", lambda connection: self._found(connection, token))

    def _found(self, connection: Connection, token: str) -> dict[str, Any] | None:
        query = select(sessions).where(sessions.c.session_sha256 == _hashed(token))

        def verify(row: Mapping[str, Any]) -> None:
            self._macs.verify_row(sessions, row)
            closed = facts_of(connection, row["tenant"], {EntryType.SESSION_CLOSED}, row["opened_index"])
            if any(facts.get("session") == _name(token) for _, facts in closed):
                raise RowChanged(sessions, row, "was put back after its session was closed")

        rows = sound(connection.execute(query).mappings().all(), verify)
        return rows[0] if rows else None

    def _session(self, token: str, row: dict[str, Any]) -> Session:
        csrf_token = hmac.digest(self._csrf_key, token.encode(), "sha256").hex()
        return Session(
            token,
            csrf_token,
            row["tenant"],
            row["pseudonym"],
            row["key_id"],
            row["link_id"],
            None if row["roles"] is None else frozenset(Role(role) for role in json.loads(row["roles"])),
            None if row["hands"] is None else frozenset(json.loads(row["hands"])),
            row["expires_at"],
        )


def _facts(key_id: str | None, link_id: str | None, token: str) -> dict[str, str | int]:
    opener = {"key_id": key_id} if key_id is not None else {"link": link_id or ""}
    return {**opener, "session": _name(token)}


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _name(token: str) -> str:
    """By which entries name a session: it leads neither to the cookie nor to the row."""
    return hashlib.sha256(f"session {token}".encode()).hexdigest()[:32]
