"""Who a tenant's security admins are: by the log, by their rows, and by what the home remembers, whichever knows more.

Whoever writes to the database can take rows away, write an entry's columns anew, and append an entry that says that
somebody was revoked. None of that may take away the second person whom a change of trust needs. So a security admin is
whom any of the three knows, and is none any more where the gateway itself sealed that: in the row, and in the entry,
which is still there when the row has gone with an erasure.
"""

import hmac
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Connection, bindparam, or_, select

from audit.history import TREE_SIZE, facts_of
from audit.tables import entries
from gateway.entries import EntryType
from gateway.model import DEFAULT_TENANT, Role
from gateway.ports import Unless
from gateway.store.directory_reads import DirectoryReads
from gateway.trust_journal import TrustJournal

_log = structlog.get_logger("handrail.trust")

_CHANGED: Final = (
    select(entries.c.idx)
    .where(
        entries.c.idx >= bindparam("as_of"),
        entries.c.idx < bindparam("before"),
        or_(
            (entries.c.tenant == bindparam("in_tenant")) & (entries.c.type == str(EntryType.PRINCIPAL_CHANGED)),
            entries.c.tenant.in_([bindparam("in_tenant"), DEFAULT_TENANT]) & (entries.c.type == str(EntryType.FROZEN)),
        ),
    )
    .limit(1)
)

_GRANTS: Final = frozenset({"added", "provisioned", "roles_widened"})
"""Changes that give a role. What else is told of a principal names its roles, too, also after its revocation."""
_NOBODY: Final[frozenset[str]] = frozenset()


def nobody_changed(tenant: str, as_of: int) -> Unless:
    """That of a tenant nobody was added, revoked or frozen, or given or lost a key, since the log had that size."""
    return Unless(_CHANGED, {"in_tenant": tenant, "as_of": as_of})


@dataclass(frozen=True, slots=True)
class Administrators:
    """A tenant's security admins who are not revoked.

    Attributes:
        pseudonyms: of them all, frozen ones too.
        keyed: pseudonyms of everybody in the tenant who ever enrolled a security key, also one that is revoked.
        claimed: pseudonym -> links by which claims made somebody, and may give them more.
        as_of: size of the log that says so.
    """

    tenant: str
    pseudonyms: frozenset[str]
    as_of: int
    keyed: frozenset[str] = _NOBODY
    claimed: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def unchanged(self) -> Unless:
        """That nobody was added, revoked or frozen since, by the time of a commit."""
        return nobody_changed(self.tenant, self.as_of)


@dataclass(slots=True)
class _Told:
    """What the log has told of one tenant so far."""

    read_to: int = -1
    admins: set[str] = field(default_factory=set)
    keyed: set[str] = field(default_factory=set)
    claimed: dict[str, frozenset[str]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Revoked by an entry that the gateway sealed."""

    def take(self, index: int, facts: Mapping[str, Any], seal_of: Callable[[str], str]) -> None:
        if index <= self.read_to:
            return  # another thread was faster
        self.read_to = index
        subject, change = str(facts.get("subject", "")), facts.get("change")
        if change == "revoked":
            self.admins.discard(subject)
            if hmac.compare_digest(str(facts.get("seal", "")).encode(), seal_of(subject).encode()):
                self.ended.add(subject)
        elif change in _GRANTS and Role.SECURITY_ADMIN in str(facts.get("roles", "")).split(","):
            self.admins.add(subject)
        if change == "security_key_added":
            self.keyed.add(subject)
        if change == "provisioned":
            self.claimed[subject] = self.claimed.get(subject, _NOBODY) | {str(facts.get("link", ""))}


class AdministratorsOnRecord:
    """Reads who they are; the log is read on from where the last reading ended. Thread-safe.

    Args:
        journal: of the home; ``None`` for who only looks.
    """

    def __init__(self, reads: DirectoryReads, journal: TrustJournal | None = None) -> None:
        self._reads = reads
        self._journal = journal
        self._lock = threading.Lock()
        self._told: dict[str, _Told] = {}
        self._kept: dict[str, frozenset[str]] | None = None

    def read(self, connection: Connection, tenant: str) -> Administrators:
        """Those of a tenant now. SQLAlchemy's exceptions are the caller's.

        Raises:
            HandrailError: ``gateway.internal``; what the home remembers cannot be read.
        """
        size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
        with self._lock:
            seen = self._told[tenant].read_to if tenant in self._told else -1
        found = list(facts_of(connection, tenant, [EntryType.PRINCIPAL_CHANGED], seen))
        live, gone = self._reads.administrators(connection, tenant)
        with self._lock:
            told = self._told.setdefault(tenant, _Told())
            for index, facts in found:
                told.take(index, facts, partial(self._reads.end_seal, tenant))
            gone |= told.ended
            known = (told.admins | live | self._remembered(tenant)) - gone
            if hidden := self._remembered(tenant) - told.admins - gone:
                _log.error(
                    "the log does not know security admins that this home does", tenant=tenant, admins=len(hidden)
                )
            self._keep(tenant, frozenset(known))
            return Administrators(tenant, frozenset(known), size, frozenset(told.keyed), dict(told.claimed))

    # --- inside, with the lock ---------------------------------------------------------------------------------------

    def _remembered(self, tenant: str) -> frozenset[str]:
        if self._kept is None:
            self._kept = {} if self._journal is None else self._journal.load()
        return self._kept.get(tenant, _NOBODY)

    def _keep(self, tenant: str, known: frozenset[str]) -> None:
        if self._journal is None or self._kept is None or self._kept.get(tenant, _NOBODY) == known:
            return
        self._kept[tenant] = known
        try:
            self._journal.keep(self._kept)
        except OSError as error:
            _log.error("who the security admins are was not kept in the home", error=type(error).__name__)
