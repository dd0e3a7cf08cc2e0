"""What the log remembers of rows that can be written over. A row that was put back from an older copy has a MAC that
holds; the log, which only grows, knows better.

Entries count only below the head: rows beyond it are nobody's. Blocking; SQLAlchemy's exceptions are the caller's.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from audit.tables import entries, head
from gateway.entries import EntryType

DIRECTORY: Final = (EntryType.PRINCIPAL_CHANGED, EntryType.ISSUER_CHANGED)
"""What changes principals, their keys and issuers."""

_SIZE: Final = select(head.c.tree_size).where(head.c.id == 1).scalar_subquery()
_DIRECTORY: Final = (
    select(entries.c.idx, entries.c.body)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.type.in_([str(kind) for kind in DIRECTORY]),
        entries.c.idx > bindparam("after"),
        entries.c.idx < _SIZE,
    )
    .order_by(entries.c.idx)
)


def directory_changes(connection: Connection, tenant: str, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and facts of each change of the tenant's principals and issuers after index ``after``, oldest first."""
    for row in connection.execute(_DIRECTORY, {"tenant": tenant, "after": after}):
        yield row.idx, json.loads(row.body).get("facts", {})
