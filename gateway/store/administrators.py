"""Who are a tenant's security admins, as the log says: whoever writes to the database can take rows away, and with them
the second person whom a change of trust needs.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, or_, select

from audit.history import TREE_SIZE, facts_of
from audit.tables import entries
from gateway.entries import EntryType
from gateway.model import DEFAULT_TENANT, Role
from gateway.ports import Unless

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


@dataclass(frozen=True, slots=True)
class Administrators:
    """A tenant's security admins who are not revoked.

    Attributes:
        pseudonyms: of them all, frozen ones too.
        as_of: size of the log that says so.
    """

    tenant: str
    pseudonyms: frozenset[str]
    as_of: int

    def unchanged(self) -> Unless:
        """That nobody was added, revoked or frozen since, by the time of a commit."""
        return Unless(_CHANGED, {"in_tenant": self.tenant, "as_of": self.as_of})


class AdministratorsOnRecord:
    """Reads who they are; read on from where the last reading ended. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_to: dict[str, int] = {}
        self._admins: dict[str, set[str]] = {}

    def read(self, connection: Connection, tenant: str) -> Administrators:
        """Those of a tenant now. SQLAlchemy's exceptions are the caller's."""
        size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
        seen = self._read_to.get(tenant, -1)
        found = list(facts_of(connection, tenant, [EntryType.PRINCIPAL_CHANGED], seen))
        with self._lock:
            admins = self._admins.setdefault(tenant, set())
            for index, facts in found:
                if index > self._read_to.get(tenant, -1):
                    self._read_to[tenant] = index
                    _apply(admins, facts)
            return Administrators(tenant, frozenset(admins), size)


def _apply(admins: set[str], facts: Mapping[str, Any]) -> None:
    subject = str(facts.get("subject", ""))
    if facts.get("change") == "revoked":
        admins.discard(subject)
    elif facts.get("change") in _GRANTS and Role.SECURITY_ADMIN in str(facts.get("roles", "")).split(","):
        admins.add(subject)
