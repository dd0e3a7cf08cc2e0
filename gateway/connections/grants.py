"""What people granted, as rows of the database: each person's tokens of a connection, sealed under the data root.

Tokens are AES-256-GCM under a key derived from the data root, with tenant, person, connection and the index of the
row's entry as associated data: whoever can write to the table can move, relabel or exchange nothing. A row that is put
back whole opens; the log, which only grows, has a later entry about the same grant, and then the row is none. A grant
that is refreshed takes the place of the one before; one that is removed, lost or erased is nowhere.
"""

import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, bindparam, delete, exists, insert, literal, select, update

from audit.history import TREE_SIZE
from audit.tables import entries
from gateway.canonical import b64url_decode, b64url_encode
from gateway.connections.consents import Consent
from gateway.connections.server import Tokens, refused
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Overtaken, Refused, Unavailable
from gateway.ports import Append, AuditLog, Guard, Unless, Write
from gateway.reasons import Reason
from gateway.store.reading import reading, snapshot
from gateway.store.tables import connection_grants as table
from gateway.store.tables import principals, spent_consents
from gateway.store.upsert import upsert

LABEL: Final = "connection grants"
"""What the key is derived for."""
CHANGES: Final = (
    EntryType.CONNECTION_GRANTED,
    EntryType.CONNECTION_REFRESHED,
    EntryType.CONNECTION_LOST,
    EntryType.CONNECTION_REMOVED,
)
CHECKED_MAX: Final = 4096
"""Grants of which is remembered how far the log was read; the one that was used longest ago goes."""
_NONCE_BYTES: Final = 12
_KINDS: Final = [str(kind) for kind in CHANGES]
_ITS: Final = (table.c.tenant == bindparam("the_tenant")) & (table.c.subject == bindparam("the_subject"))
_ONE: Final = _ITS & (table.c.connection == bindparam("the_connection"))
_THE_ROW: Final = select(table).where(_ONE)
_ROWS: Final = select(table).where(_ITS)
_PERSON: Final = (
    (entries.c.tenant == bindparam("the_tenant"))
    & (entries.c.principal == bindparam("the_subject"))
    & entries.c.type.in_(_KINDS)
)
_LATER: Final = (
    select(entries.c.body)
    .where(_PERSON, entries.c.idx > bindparam("after"), entries.c.idx < TREE_SIZE)
    .order_by(entries.c.idx)
)
_SAID: Final = (
    select(entries.c.type, entries.c.body)
    .where(_PERSON, entries.c.type != str(EntryType.CONNECTION_REFRESHED), entries.c.idx < TREE_SIZE)
    .order_by(entries.c.idx)
)
_SINCE: Final = select(entries.c.idx).where(
    _PERSON, entries.c.idx >= bindparam("since"), entries.c.idx < bindparam("before")
)
_FREE: Final = exists().where(
    _ONE, table.c.entry_index == bindparam("the_index"), table.c.refreshing_until <= bindparam("the_time")
)
_TAKEN: Final = select(literal(1)).where(~_FREE)
_THIS_ONE: Final = _ONE & (table.c.entry_index == bindparam("the_index"))
_LEASE: Final = update(table).where(_THIS_ONE).values(refreshing_until=bindparam("until"))
_RELEASE: Final = _LEASE.where(table.c.refreshing_until == bindparam("held"))
_DELETE: Final = delete(table).where(_ONE)
_GONE: Final = select(literal(1)).where(
    ~exists().where(
        principals.c.tenant == bindparam("the_tenant"),
        principals.c.pseudonym == bindparam("the_subject"),
        principals.c.revoked_at.is_(None),
    )
)
"""Finds something where the person was revoked or forgotten."""
_LEFT: Final = (
    select(table.c.tenant, table.c.subject)
    .distinct()
    .where(
        ~exists().where(
            principals.c.tenant == table.c.tenant,
            principals.c.pseudonym == table.c.subject,
            principals.c.revoked_at.is_(None),
        )
    )
    .order_by(table.c.tenant, table.c.subject)
    .limit(bindparam("most"))
)
"""Believed without a look at the MACs of people: whoever can change these rows could delete the grants as well."""
_SPEND: Final = insert(spent_consents)
_FORGET: Final = delete(spent_consents).where(spent_consents.c.expires_at <= bindparam("past"))


@dataclass(frozen=True, slots=True)
class Whose:
    """Which grant: of whom, of which connection. ``subject`` is a pseudonym."""

    tenant: str
    subject: str
    connection: str

    @property
    def parameters(self) -> dict[str, str]:
        """As the queries have it."""
        return {"the_tenant": self.tenant, "the_subject": self.subject, "the_connection": self.connection}


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's tokens of a connection.

    Attributes:
        index: of the entry that it was written with, which is its version.
        server: ``AuthorizationServer.identity`` of who gave them.
    """

    index: int
    tokens: Tokens
    server: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a grant.

    Attributes:
        grant: ``None`` where there is none, or none that is as it was written.
        there: whether there is a row.
        size: of the log at that moment.
        leased_until: until when one gateway alone refreshes it.
    """

    grant: Grant | None
    there: bool
    size: int
    leased_until: float = 0.0


class Grants:
    """Reads and writes grants. Safe for any number of gateways."""

    def __init__(self, engine: Engine, log: AuditLog, key: bytes, clock: Callable[[], float]) -> None:
        """Use ``key`` (32 bytes from outside the database) to seal."""
        self._engine = engine
        self._log = log
        self._aead = AESGCM(key)
        self._clock = clock
        self._upsert = upsert(table, engine.dialect.name)
        self._checked: OrderedDict[tuple[Whose, int], int] = OrderedDict()
        """Grant and its index -> size of the log in which no later change of it was."""

    async def find(self, whose: Whose, *, lenient: bool = False) -> Known:
        """The grant as it is now.

        Args:
            lenient: for who puts something else in the row's place, whatever it is.

        Raises:
            Unavailable: ``log.unavailable``; ``connection.unavailable`` for a row that is not the one that was written
                last, or that another root sealed.
        """

        def read(connection: Connection) -> Known:
            snapshot(connection)
            size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
            row = connection.execute(_THE_ROW, whose.parameters).mappings().one_or_none()
            if row is None:
                return Known(None, there=False, size=size)
            index = row["entry_index"]
            later = connection.execute(
                _LATER, {**_person(whose), "after": max(index, self._checked.get((whose, index), 0) - 1)}
            )
            if any(_named(found.body) == whose.connection for found in later):
                raise _unavailable(whose, "the log knows of a later change than the row")
            return Known(self._opened(whose, dict(row)), True, size, row["refreshing_until"])

        def read_leniently(connection: Connection) -> Known:
            try:
                return read(connection)
            except Unavailable:
                return Known(None, there=True, size=connection.execute(select(TREE_SIZE)).scalar_one())

        known = await reading(self._engine, "grants", read_leniently if lenient else read)
        if known.grant is not None:
            self._checked[whose, known.grant.index] = known.size
            self._checked.move_to_end((whose, known.grant.index))
            while len(self._checked) > CHECKED_MAX:
                self._checked.popitem(last=False)
        return known

    async def every(self, tenant: str, subject: str) -> tuple[list[str], dict[str, EntryType]]:
        """The connections of which a person has a grant, and connection -> what became of it last, as the log says."""

        def read(connection: Connection) -> tuple[list[str], dict[str, EntryType]]:
            snapshot(connection)
            person = {"the_tenant": tenant, "the_subject": subject}
            rows = connection.execute(_ROWS, person).mappings().all()
            said = {_named(row.body): EntryType(row.type) for row in connection.execute(_SAID, person)}
            return [str(row["connection"]) for row in rows], said

        return await reading(self._engine, "grants", read)

    async def left(self, most: int) -> list[tuple[str, str]]:
        """Tenant and pseudonym of people who were revoked or forgotten and have grants. Raises ``log.unavailable``."""

        def read(connection: Connection) -> list[tuple[str, str]]:
            return [(row.tenant, row.subject) for row in connection.execute(_LEFT, {"most": most})]

        return await reading(self._engine, "grants", read)

    async def keep(self, whose: Whose, tokens: Tokens, server: str, kind: EntryType, since: int) -> Grant:
        """Put tokens in the place of what there is; on record with the same commit.

        Args:
            kind: ``CONNECTION_GRANTED`` or ``CONNECTION_REFRESHED``.
            since: size of the log when it was decided; nothing about the person's grants was written from there on.

        Raises:
            Overtaken: something was.
            Refused: ``auth.forbidden``: the person was revoked or forgotten while the server answered. Of somebody who
                is forgotten, nobody would ever take away what came after.
            Unavailable: ``log.unavailable``; nothing was changed.
        """

        def written(indices: Sequence[int]) -> Sequence[Write]:
            return [Write(self._upsert, self._row(whose, tokens, server, indices[0]))]

        entry = _entry(whose, kind, scopes=len(tokens.scopes))
        gone = Unless(_GONE, _person(whose))
        item = Append([entry], finalise=written, unless=[_unchanged(whose, since), gone])

        def look(connection: Connection) -> bool:
            return connection.execute(gone.query, gone.parameters).first() is not None

        try:
            return Grant((await self._log.append(item))[0], tokens, server)
        except Overtaken:
            if not await reading(self._engine, "grants", look):
                raise
            raise Refused(Reason.AUTH_FORBIDDEN, "revoked or forgotten meanwhile") from None

    async def end(self, whose: Whose, kind: EntryType, since: int, **facts: str) -> None:
        """Forget a grant, on record with the same commit, with ``facts``. Raises as :meth:`keep`."""
        entry = _entry(whose, kind, **facts)
        item = Append([entry], [Write(_DELETE, whose.parameters)], unless=[_unchanged(whose, since)])
        await self._log.append(item)

    async def lease(self, whose: Whose, grant: Grant, now: float, until: float) -> bool:
        """Whether this gateway alone refreshes the grant from now until then (seconds since the epoch): not where
        another one does, or it is another grant by now. Raises ``log.unavailable``."""
        asked = {**whose.parameters, "the_index": grant.index}
        write = Write(_LEASE, {**asked, "until": until})
        try:
            await self._log.append(Append((), [write], unless=[Unless(_TAKEN, {**asked, "the_time": now})]))
        except Overtaken:
            return False
        return True

    async def release(self, whose: Whose, grant: Grant, held: float, until: float) -> None:
        """Have another try wait until then. Raises ``log.unavailable``.

        Args:
            held: until when this gateway's turn is, or was: somebody else's is not touched.
        """
        asked = {**whose.parameters, "the_index": grant.index, "held": held, "until": until}
        await self._log.append(Append((), [Write(_RELEASE, asked)]))

    async def spend(self, consent: Consent) -> None:
        """Take a consent's answer, once.

        Raises:
            Refused: ``connection.refused``: it was taken before.
            Unavailable: ``log.unavailable``.
        """

        def spent(_: Connection) -> None:
            raise refused("spent", "the consent was taken to its end before")

        row = {"consent_sha256": consent.sha256, "expires_at": float(consent.expires_at)}
        forget = Write(_FORGET, {"past": self._clock()})
        await self._log.append(Append((), [forget], guards=[Guard(_SPEND, row, spent)]))

    async def refuse(self, whose: Whose, reason: Reason, cause: str) -> None:
        """Have a consent on record that did not come to its end. Raises ``log.unavailable``."""
        facts = {"connection": whose.connection, "cause": cause}
        entry = EntryDraft(
            EntryType.CONNECTION_REFUSED,
            whose.tenant,
            principal=whose.subject,
            reasons=(str(reason),),
            facts=facts,
        )
        await self._log.append(Append([entry]))

    async def failed(self, whose: Whose, reason: Reason) -> None:
        """Have a refresh on record that failed for now. Raises ``log.unavailable``."""
        facts = {"connection": whose.connection}
        entry = EntryDraft(
            EntryType.CONNECTION_FAILED, whose.tenant, principal=whose.subject, reasons=(str(reason),), facts=facts
        )
        await self._log.append(Append([entry]))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _row(self, whose: Whose, tokens: Tokens, server: str, index: int) -> dict[str, Any]:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = orjson.dumps({"tokens": tokens.document(), "server": server})
        sealed = nonce + self._aead.encrypt(nonce, plain, _bound(whose, index))
        return {
            "tenant": whose.tenant,
            "subject": whose.subject,
            "connection": whose.connection,
            "entry_index": index,
            "sealed": b64url_encode(sealed),
            "refreshing_until": 0.0,
        }

    def _opened(self, whose: Whose, row: Mapping[str, Any]) -> Grant:
        try:
            sealed = b64url_decode(row["sealed"])
            bound = _bound(whose, row["entry_index"])
            document = orjson.loads(self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound))
            return Grant(row["entry_index"], Tokens.from_document(document["tokens"]), document["server"])
        except (InvalidTag, Refused, ValueError, TypeError, KeyError):
            raise _unavailable(whose, "changed, moved, or sealed under another root") from None


def _entry(whose: Whose, kind: EntryType, **facts: str | int) -> EntryDraft:
    said = {"connection": whose.connection, **facts}
    return EntryDraft(kind, whose.tenant, principal=whose.subject, facts=said)


def _unchanged(whose: Whose, since: int) -> Unless:
    return Unless(_SINCE, {**_person(whose), "since": since})


def _person(whose: Whose) -> dict[str, str]:
    return {"the_tenant": whose.tenant, "the_subject": whose.subject}


def _named(body: bytes) -> str:
    return str(json.loads(body)["facts"]["connection"])


def _bound(whose: Whose, index: int) -> bytes:
    """Associated data: whose grant of what this is, and which."""
    return orjson.dumps(["handrail grant", 1, whose.tenant, whose.subject, whose.connection, index])


def _unavailable(whose: Whose, detail: str) -> Unavailable:
    return Unavailable(Reason.CONNECTION_UNAVAILABLE, f"connection {whose.connection}: {detail}")
