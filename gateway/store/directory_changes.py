"""What every change of the directory shares: reads in threads, one append, and what must not be shared."""

import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, NoReturn, TypeVar

import structlog
from sqlalchemy import Connection, Engine, bindparam, exists, literal, select

from audit.history import TREE_SIZE
from audit.names import Names
from gateway.canonical import canonical
from gateway.commitments import Committed, commit, subject_key
from gateway.dual_control import NEW, Thresholds, TrustChange
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Overtaken, Refused
from gateway.model import Principal, Role
from gateway.ports import Append, AuditLog, Standing
from gateway.reasons import Conflict, Reason, because
from gateway.store import directory_rows as rows
from gateway.store.administrators import Administrators, AdministratorsOnRecord, nobody_changed
from gateway.store.directory_reads import DirectoryReads, Found
from gateway.store.reading import Result, blocking_read, in_thread, reading
from gateway.store.row_macs import RowMacs
from gateway.store.tables import principals
from gateway.trust_journal import TrustJournal

_CONTEXT: Final = "@directory"
"""Stands for the context in the data subject of a record of the directory itself."""
CHANGED: Final = select(literal(1)).where(
    ~exists().where(
        principals.c.pseudonym == bindparam("named"),
        principals.c.mac == bindparam("old_mac"),
    )
)
"""Finds something where a principal's row is not as it was read: changed, revoked or erased."""


_log = structlog.get_logger("handrail.trust")

_LOOKS_MAX: Final = 5
"""How often a change looks again at who the security admins are, where they change at the same moment."""

View = TypeVar("View")


async def _nothing() -> None:
    """The ``look`` of a directory beside which nothing is frozen."""


def _anybody_acts(_person: Principal) -> None:
    """The ``check_acts`` of the same."""


@dataclass(frozen=True, slots=True)
class Change(Generic[View]):
    """A change that is ready to be made.

    Attributes:
        view: what the API shows once it is.
        trust: what it does to trust; ``None`` where one person may make it in any case.
    """

    item: Append
    view: View
    trust: TrustChange | None = None


class Changes:
    """Base of the operations. Belongs to one event loop.

    Attributes:
        thresholds: how many security admins have to agree to a change of trust.
    """

    thresholds: Thresholds = Thresholds()
    check_acts: Callable[[Principal], None] = staticmethod(_anybody_acts)
    """Raises ``freeze.active`` for whoever is frozen."""
    look: Callable[[], Awaitable[None]] = staticmethod(_nothing)
    """Learn what was frozen until now."""

    def __init__(
        self, engine: Engine, log: AuditLog, macs: RowMacs, names: Names, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._log = log
        self._macs = macs
        self._known_names = names
        self._reads = DirectoryReads(macs, names)
        self._clock = clock
        self._on_record = AdministratorsOnRecord(self._reads)

    def remember(self, journal: TrustJournal) -> None:
        """Keep in the home who the security admins are; to be called before anything is asked."""
        self._on_record = AdministratorsOnRecord(self._reads, journal)

    def forget(self) -> None:
        """Drop what is remembered of rows; called after every change."""

    async def administrators(self, tenant: str) -> Administrators:
        """A tenant's security admins. Raises ``log.unavailable``."""
        return await self._read(lambda connection: self._on_record.read(connection, tenant))

    async def keep_administrators(self) -> None:
        """Have the home remember those of every tenant. Raises ``log.unavailable``."""
        for tenant in await self._read(self._reads.administered):
            await self.administrators(tenant)

    async def able(self, known: Administrators, pseudonyms: Collection[str]) -> dict[str, Principal]:
        """Of these people, by pseudonym, the security admins whose word counts now, frozen ones too. Raises
        ``log.unavailable``."""
        wanted = [(known.tenant, pseudonym) for pseudonym in sorted(known.pseudonyms.intersection(pseudonyms))]
        if not wanted:
            return {}
        found = await self._read(lambda connection: self._reads.people(connection, wanted))
        return {one.pseudonym: one for one in found.values()}

    async def standing(self, tenant: str, pseudonyms: Collection[str]) -> Standing:
        """See ``gateway.ports.Directory``. Raises ``log.unavailable``."""
        wanted = [(tenant, pseudonym) for pseudonym in sorted(set(pseudonyms))]

        def read(connection: Connection) -> tuple[int, list[Principal]]:
            # The size first: what comes after it is for the commit to see.
            size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
            return size, list(self._reads.people(connection, wanted).values())

        size, found = await self._read(read)
        await self.look()
        people = {}
        for person in found:
            with suppress(Refused):
                self.check_acts(person)
                people[person.pseudonym] = person
        return Standing(people, nobody_changed(tenant, size))

    async def administrators_left(self, known: Administrators, without: str) -> int:
        """How many security admins who could agree to a change now are left without one of them.

        Raises:
            Refused: ``request.conflict`` where that is nobody: no change of trust could be agreed to any more.
        """
        await self.look()
        left = 0
        for person in (await self.able(known, known.pseudonyms - {without})).values():
            with suppress(Refused):
                self.check_acts(person)
                left += 1
        if not left:
            raise Refused(
                Reason.REQUEST_CONFLICT, "the last security admin who could sign", **because(Conflict.LAST_ADMIN)
            )
        return left

    async def has_key(self, tenant: str, pseudonym: str) -> bool:
        """Whether somebody ever enrolled a security key: then only a key of theirs speaks for them. Raises
        ``log.unavailable``."""
        known = await self.administrators(tenant)
        return pseudonym in known.keyed or bool(
            await self._read(lambda connection: self._reads.security_key_rows(connection, tenant, pseudonym))
        )

    async def grows(self, tenant: str, pseudonym: str) -> bool:
        """Whether tokens may give a principal more roles at any time: then a further credential of it is one of whoever
        it becomes. The log says which claims made it; only a row that the gateway sealed says that a link is no more.

        Raises:
            Unavailable: ``log.unavailable``.
            RowChanged: ``gateway.internal``.
        """
        claimed = (await self.administrators(tenant)).claimed.get(pseudonym, frozenset())
        held = await self._read(lambda connection: self._reads.link_rows(connection, tenant, pseudonym))
        revoked = {row["link_id"] for row in held if row["revoked_at"] is not None}
        return bool(claimed - revoked) or any(map(rows.grows, held))

    async def _make(self, tenant: str, change: Change[View]) -> View:
        """Make a change on one person's word.

        Raises:
            Refused: ``proposal.required`` where it takes more people.
        """
        if change.trust is None:
            await self._append(change.item)
            return change.view
        for look in range(_LOOKS_MAX):
            known = await self.administrators(tenant)
            left = len(known.pseudonyms)
            if change.trust.removes_admin:
                left = await self.administrators_left(known, change.trust.target)
            people = change.trust.people(self.thresholds, len(known.pseudonyms), left)
            if people > 1:
                raise Refused(Reason.PROPOSAL_REQUIRED, change.trust.name, needed=people)
            try:
                await self._append(replace(change.item, unless=[*change.item.unless, known.unchanged()]))
            except Overtaken:
                if look + 1 == _LOOKS_MAX:
                    raise
            else:
                break
        return change.view

    async def _stand_in(self, *words: str) -> str:
        """The target of a change that makes something new."""
        return f"{NEW}{await in_thread('directory', self._known_names.stand_in, *words)}"

    async def _append(self, item: Append) -> None:
        try:
            await self._log.append(item)
        finally:
            # Also where it failed: an append whose outcome is uncertain may have been written.
            self.forget()
        for tenant in {draft.tenant for draft in item.entries if _about_admins(draft)}:
            await self._kept(tenant)

    async def _kept(self, tenant: str) -> None:
        """Have the home remember who the security admins are by now. It is durable already, whatever comes of this."""
        try:
            await self.administrators(tenant)
        except HandrailError as error:
            _log.error("who the security admins are could not be kept", reason=str(error.reason), detail=error.detail)

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        return await reading(self._engine, "directory", read)

    def _blocking_read(self, read: Callable[[Connection], Result]) -> Result:
        return blocking_read(self._engine, "directory", read)

    async def _refuse_shared(self, tenant: str, column: Any, text: str) -> None:
        """A key with which a person approves is nobody else's and signs no plans (invariant 9)."""
        query = select(column).where(column.table.c.tenant == tenant, column == text).limit(1)
        if await self._read(lambda connection: connection.execute(query).first()) is not None:
            raise Refused(Reason.REQUEST_CONFLICT, "the key is in use", member="jwk", **because(Conflict.KEY_TAKEN))


def committed(document: Mapping[str, Any], tenant: str, subject: str) -> Committed:
    """A record of the directory as a committed field, sealed under the key of whom it is about."""
    return commit(canonical(document), subject_key(tenant, subject, _CONTEXT))


def conflict(_connection: Connection | None = None) -> NoReturn:
    """The ``on_conflict`` of every guard here, and the ``on_taken`` of every name."""
    raise Refused(Reason.REQUEST_CONFLICT, "the id or key is taken", member="id", **because(Conflict.ID_TAKEN))


def _about_admins(draft: EntryDraft) -> bool:
    return Role.SECURITY_ADMIN in str((draft.facts or {}).get("roles", "")).split(",")


def state(row: Found) -> dict[str, Any]:
    """What a change of trust shows of a principal: what it may do, and by which key it signs."""
    enrolled = None if row["approval_jwk"] is None else rows.public_key(json.loads(row["approval_jwk"]), "").kid
    hands = None if row["hands"] is None else json.loads(row["hands"])
    return {"roles": json.loads(row["roles"]), "hands": hands, "approval_kid": enrolled}


def principal_entry(row: Found, actor: str, change: str, key: tuple[str, float] | None = None) -> EntryDraft:
    """What somebody may do stands in clear, for access reviews that replay these; who it is lies under the commitment.

    Args:
        key: id and end of the API key that it is about.
    """
    tenant, principal_id = row["tenant"], row["id"]
    facts: dict[str, str | int] = {
        "change": change,
        "subject": row["pseudonym"],
        "roles": ",".join(json.loads(row["roles"])),
    }
    scope = None if row["hands"] is None else json.loads(row["hands"])
    facts["hands"] = "*" if scope is None else ",".join(scope)
    if row["approval_jwk"] is not None:
        facts["approval_kid"] = rows.public_key(json.loads(row["approval_jwk"]), "/approval_jwk").kid
    if key is not None:
        facts |= {"key_id": key[0], "key_expires_at": int(key[1])}
    return EntryDraft(
        EntryType.PRINCIPAL_CHANGED,
        tenant,
        principal=actor,
        facts=facts,
        fields={"principal": committed({"id": principal_id, "hands": scope}, tenant, principal_id)},
    )
