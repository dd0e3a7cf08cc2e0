"""What every change of the directory shares: reads in threads, one append, and what must not be shared."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, NoReturn, TypeVar

from sqlalchemy import Connection, Engine, bindparam, exists, literal, select

from audit.names import Names
from gateway.canonical import canonical
from gateway.commitments import Committed, commit, subject_key
from gateway.dual_control import NEW, Thresholds, TrustChange
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Overtaken, Refused
from gateway.ports import Append, AuditLog
from gateway.reasons import Conflict, Reason, because
from gateway.store import directory_rows as rows
from gateway.store.administrators import Administrators, AdministratorsOnRecord
from gateway.store.directory_reads import DirectoryReads, Found
from gateway.store.reading import Result, blocking_read, in_thread, reading
from gateway.store.row_macs import RowMacs
from gateway.store.tables import principals

_CONTEXT: Final = "@directory"
"""Stands for the context in the data subject of a record of the directory itself."""
CHANGED: Final = select(literal(1)).where(
    ~exists().where(
        principals.c.pseudonym == bindparam("named"),
        principals.c.mac == bindparam("old_mac"),
    )
)
"""Finds something where a principal's row is not as it was read: changed, revoked or erased."""


_LOOKS_MAX: Final = 5
"""How often a change looks again at who the security admins are, where they change at the same moment."""

View = TypeVar("View")


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

    def __init__(
        self, engine: Engine, log: AuditLog, macs: RowMacs, names: Names, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._log = log
        self._macs = macs
        self._known_names = names
        self._reads = DirectoryReads(macs, names)
        self._clock = clock
        self._on_record = AdministratorsOnRecord()

    def forget(self) -> None:
        """Drop what is remembered of rows; called after every change."""

    async def administrators(self, tenant: str) -> Administrators:
        """A tenant's security admins, as the log says. Raises ``log.unavailable``."""
        return await self._read(lambda connection: self._on_record.read(connection, tenant))

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
            people = change.trust.people(self.thresholds, len(known.pseudonyms))
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
