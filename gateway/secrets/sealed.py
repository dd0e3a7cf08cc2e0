"""The store that is always there: rows of the database, each value sealed under the data root.

A value is AES-256-GCM under a key derived from the data root, with tenant, name, version, and who set it when, as
associated data: whoever can write to the table can move, relabel or exchange nothing. An older row that is put back
whole opens; the log, which only grows, knows the newest version of each name, and no other is given. A change of the
master key does not touch the rows: it wraps the root anew. A new value takes the place of the one before, which is then
nowhere.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, bindparam, select

from audit.history import TREE_SIZE
from audit.tables import entries
from gateway.canonical import b64url_decode, b64url_encode
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Malformed, Overtaken, Refused
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.ports import Append, AuditLog, SecretValue, Unless, Write
from gateway.reasons import Conflict, Reason, because
from gateway.secrets.values import EXPECTED, is_fit, missing, taken, unavailable
from gateway.store.reading import reading, snapshot
from gateway.store.tables import secrets as table
from gateway.store.upsert import upsert
from gateway.times import format_time

Result = TypeVar("Result")

LABEL: Final = "secret values"
"""What the key is derived for."""
CHANGES: Final = (EntryType.SECRET_SET, EntryType.SECRET_ROTATED, EntryType.SECRET_REMOVED)
_NONCE_BYTES: Final = 12
_TRIES: Final = 5
"""Of one change, beside others of the tenant."""
_OURS: Final = select(table).where(table.c.tenant == bindparam("tenant")).order_by(table.c.name)
_ONE: Final = select(table).where(table.c.tenant == bindparam("tenant"), table.c.name == bindparam("name"))
_NEWEST: Final = (
    select(entries.c.idx, entries.c.type, entries.c.body)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.type.in_([str(kind) for kind in CHANGES]),
        entries.c.idx < TREE_SIZE,
    )
    .order_by(entries.c.idx.desc())
)
_SINCE: Final = select(entries.c.idx).where(
    entries.c.tenant == bindparam("tenant"),
    entries.c.type.in_([str(kind) for kind in CHANGES]),
    entries.c.idx >= bindparam("since"),
    entries.c.idx < bindparam("before"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a secret, beside its value. ``set_by`` is a pseudonym; ``set_at`` is seconds since the epoch."""

    name: str
    version: int
    set_by: str
    set_at: float

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "version": str(self.version),
            "set_by": self.set_by,
            "set_at": format_time(self.set_at),
        }


class SealedSecrets:
    """A ``SecretStore``, and the only one that the gateway writes to. Safe for any number of gateways."""

    def __init__(self, engine: Engine, log: AuditLog, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._log = log
        self._aead = AESGCM(key)
        self._clock = clock
        self._upsert = upsert(table, engine.dialect.name)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def read(self, tenant: str, name: str) -> SecretValue:
        """See ``SecretStore``. The version counts from 1 on; a name that was removed and set anew goes on counting."""
        found = await self._read(lambda connection: self._found(connection, tenant, name))
        if found is None:
            raise missing(f"sealed: there is no {name}")
        row, value = found
        return taken(value, str(row["version"]), f"sealed: {name}")

    async def known(self, actor: Principal) -> list[Known]:
        """The secrets of the actor's tenant, by name. No value is in what is returned.

        Raises:
            Refused: ``auth.forbidden``.
            Unavailable: ``secret.unavailable``, also where a row is not the one that the gateway wrote last.
        """
        require(actor, Permission.SECRETS_MANAGE)

        def every(connection: Connection) -> list[Known]:
            rows = _rows(connection, _OURS, {"tenant": actor.tenant})
            newest = _newest(connection, actor.tenant)
            return [_known(row) for row in rows if self._opened(row, newest.get(row["name"])) is not None]

        return await self._read(every)

    async def close(self) -> None:
        """Nothing is open: the gateway closes its database."""

    # --- changing ----------------------------------------------------------------------------------------------------

    async def set(self, actor: Principal, name: str, value: str) -> Known:
        """Keep a secret under a name that has none.

        Raises:
            Refused: ``auth.forbidden``; ``request.malformed`` for a value that could not be sent; ``request.conflict``
                where the name has one, or somebody else changed it at the same moment.
            Unavailable: ``log.unavailable``; nothing was changed.
        """
        return await self._change(actor, name, _fit(value), EntryType.SECRET_SET)

    async def rotate(self, actor: Principal, name: str, value: str) -> Known:
        """Put a new value in the place of the one before. Steps under way keep that one until they end.

        Raises:
            Refused: as :meth:`set`; ``request.not_found`` where the name has none.
            Unavailable: ``log.unavailable``; nothing was changed.
        """
        return await self._change(actor, name, _fit(value), EntryType.SECRET_ROTATED)

    async def remove(self, actor: Principal, name: str) -> Known:
        """Forget a secret: its value is nowhere any more, and no step is given it again.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found`` where the name has none; ``request.conflict`` where
                somebody else changed it at the same moment.
            Unavailable: ``log.unavailable``; nothing was changed.
        """
        return await self._change(actor, name, None, EntryType.SECRET_REMOVED)

    async def _change(self, actor: Principal, name: str, value: str | None, kind: EntryType) -> Known:
        require(actor, Permission.SECRETS_MANAGE)
        for _ in range(_TRIES):
            size, before, there = await self._read(lambda connection: _state(connection, actor.tenant, name))
            if kind is EntryType.SECRET_SET and there:
                raise Refused(Reason.REQUEST_CONFLICT, "it is set", **because(Conflict.SECRET_EXISTS))
            if kind is not EntryType.SECRET_SET and not there:
                raise Refused(Reason.REQUEST_NOT_FOUND, "no such secret")
            counted = 0 if before is None else before.version
            version = counted if kind is EntryType.SECRET_REMOVED else counted + 1
            known = Known(name, version, actor.pseudonym, self._clock())
            entry = EntryDraft(
                kind, actor.tenant, principal=actor.pseudonym, facts={"secret": name, "version": str(version)}
            )
            write = Write(self._upsert, self._row(actor.tenant, known, value))
            unless = Unless(_SINCE, {"tenant": actor.tenant, "since": size})
            try:
                await self._log.append(Append([entry], [write], unless=[unless]))
            except Overtaken:
                continue
            return known
        raise Refused(Reason.REQUEST_CONFLICT, "others change it", **because(Conflict.SECRET_CHANGED))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _row(self, tenant: str, known: Known, value: str | None) -> dict[str, Any]:
        row = {
            "tenant": tenant,
            "name": known.name,
            "version": known.version,
            "set_by": known.set_by,
            "set_at": known.set_at,
        }
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, orjson.dumps(value), _bound(row))
        return {**row, "sealed": b64url_encode(sealed)}

    def _found(self, connection: Connection, tenant: str, name: str) -> tuple[Mapping[str, Any], str] | None:
        rows = _rows(connection, _ONE, {"tenant": tenant, "name": name})
        newest = _newest(connection, tenant, name).get(name)
        if not rows:
            return None
        value = self._opened(rows[0], newest)
        return None if value is None else (rows[0], value)

    def _opened(self, row: Mapping[str, Any], newest: "_Newest | None") -> str | None:
        """The row's value; ``None`` where it was removed. Raises where the row is not the one that was written last."""
        place = f"sealed: {row['name']}"
        if newest is None or newest.version != row["version"]:
            raise unavailable(f"{place}: the log knows of another version than {row['version']}")
        try:
            sealed = b64url_decode(row["sealed"])
            plain = self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(row))
            value = orjson.loads(plain)
        except (InvalidTag, Refused, ValueError, TypeError):
            raise unavailable(f"{place}: changed, moved, or sealed under another root") from None
        if (value is not None) != newest.there:
            raise unavailable(f"{place}: the log says that it was {'set' if newest.there else 'removed'}")
        return value if isinstance(value, str) else None

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        try:
            return await reading(self._engine, "secrets", read)
        except HandrailError as error:
            if error.reason in {Reason.LOG_UNAVAILABLE, Reason.INTERNAL}:
                raise unavailable(f"sealed: {error.detail}") from None
            raise


@dataclass(frozen=True, slots=True)
class _Newest:
    """What the log says of a name: the version of its newest entry, and whether there is a value since."""

    version: int
    there: bool


def _newest(connection: Connection, tenant: str, name: str | None = None) -> Mapping[str, _Newest]:
    """Name -> what the log last said of it; of one name, or of all."""
    found: dict[str, _Newest] = {}
    for row in connection.execute(_NEWEST, {"tenant": tenant}):
        facts = json.loads(row.body)["facts"]
        found.setdefault(facts["secret"], _Newest(int(facts["version"]), row.type != str(EntryType.SECRET_REMOVED)))
        if name in found:
            break
    return found


def _state(connection: Connection, tenant: str, name: str) -> tuple[int, _Newest | None, bool]:
    """How many entries the log has, what it says of a name, and whether a value is there; of the same moment.

    A row that is gone, as after a restore from a backup, leaves nothing there whatever the log says; one that somebody
    changed is there, so that it can be rotated.
    """
    rows = _rows(connection, _ONE, {"tenant": tenant, "name": name})
    size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
    newest = _newest(connection, tenant, name).get(name)
    return size, newest, bool(rows) and newest is not None and newest.there


def _rows(connection: Connection, query: Any, parameters: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    snapshot(connection)
    return [dict(row) for row in connection.execute(query, parameters).mappings()]


def _known(row: Mapping[str, Any]) -> Known:
    return Known(row["name"], row["version"], row["set_by"], row["set_at"])


def _bound(row: Mapping[str, Any]) -> bytes:
    """Associated data: whose and which secret this is, in which version, and who set it when."""
    return orjson.dumps(
        ["handrail secret", 1, row["tenant"], row["name"], row["version"], row["set_by"], float(row["set_at"])]
    )


def _fit(value: str) -> str:
    if not is_fit(value):
        raise Malformed("value of a secret", pointer="/value", problem="unfit", expected=EXPECTED)
    return value
