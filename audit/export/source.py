"""What an export reads: one tenant's entries below a tree size that stays the same from the first byte to the last.

The log only grows, so no transaction is held open: every page is a statement of its own, however slow the reader is.
Synchronous; call it in a thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_, select

from audit import retained
from audit.errors import LogUnavailable, NotLogged
from audit.merkle import Node
from audit.predating import KEY_CHANGES
from audit.query import Filter, StoredEntry, conditions, stored
from audit.reader import Reader, load_nodes
from audit.tables import checkpoints, entries
from gateway.entries import EntryType

_BESIDE: Final = (*KEY_CHANGES, EntryType.BACKUP_RESTORED)
"""What a bundle encloses beside what was asked for: a reader believes the gateway's keys, and the log's former names,
by these entries."""
_NODES_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Selection:
    """What is exported.

    Attributes:
        wanted: filter; its tenant is set always.
        first, end: log indices, from ``first`` up to and not including ``end``.
        tree_size: size of the log that is exported from; ``end`` is not beyond it.
        key_changes: whether the tenant's :data:`~audit.predating.KEY_CHANGES`, and what says that the log was restored,
            come along wherever they stand.
    """

    wanted: Filter
    first: int
    end: int
    tree_size: int
    key_changes: bool = False

    def condition(self) -> ColumnElement[bool]:
        """As SQL."""
        chosen: ColumnElement[bool] = and_(*conditions(self.wanted, self.first, self.end))
        if self.key_changes:
            chosen = or_(
                chosen,
                and_(entries.c.tenant == self.wanted.tenant, entries.c.type.in_([str(kind) for kind in _BESIDE])),
            )
        return and_(chosen, entries.c.idx < self.tree_size)

    def filters(self) -> dict[str, str]:
        """Filter -> value, without the tenant: what a bundle says that it was asked for."""
        values = {item.name: getattr(self.wanted, item.name) for item in fields(Filter)}
        return {name: value for name, value in values.items() if value is not None and name not in {"tenant", "scope"}}

    def scope(self) -> dict[str, list[str]]:
        """The hands and the types that the reader is bound to, as a bundle says it; empty where they see every hand."""
        bound = self.wanted.scope
        return {} if bound is None else {"hands": sorted(bound.hands), "types": sorted(bound.types)}


class LogSource:
    """Reads what a :class:`Selection` selects. Thread-safe.

    Every method raises ``LogUnavailable`` where the database cannot be read.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def count(self, selection: Selection, after: int = -1) -> int:
        """How many entries there are after the index ``after``."""
        statement = select(func.count()).select_from(entries).where(selection.condition(), entries.c.idx > after)
        with self._reader.connect() as connection:
            return int(connection.execute(statement).scalar_one())

    def dropped(self, selection: Selection) -> list[tuple[int, int]]:
        """The stretches of the range, (first, last) each, whose retention is over: only standing entries are left."""
        with self._reader.connect() as connection:
            return retained.dropped(connection, selection.first, selection.end)

    def page(self, selection: Selection, after: int, limit: int) -> Sequence[StoredEntry]:
        """The next entries after the index ``after``, oldest first."""
        statement = (
            select(entries.c.idx, entries.c.type, entries.c.body, entries.c.fields)
            .where(selection.condition(), entries.c.idx > after)
            .order_by(entries.c.idx)
            .limit(limit)
        )
        with self._reader.connect() as connection:
            rows = connection.execute(statement).all()
        return [stored(row) for row in rows]

    def hashes(self, nodes: Sequence[Node]) -> dict[Node, bytes]:
        """The hash of each complete subtree."""
        found: dict[Node, bytes] = {}
        with self._reader.connect() as connection:
            for start in range(0, len(nodes), _NODES_AT_ONCE):
                found |= load_nodes(connection, nodes[start : start + _NODES_AT_ONCE])
        if len(found) != len(set(nodes)):
            raise LogUnavailable("a node of the tree is missing: run fsck")
        return found

    def checkpoint(self, tree_size: int) -> str:
        """The stored checkpoint of exactly that size. Raises ``NotLogged`` where none was signed."""
        statement = select(checkpoints.c.note).where(checkpoints.c.tree_size == tree_size)
        with self._reader.connect() as connection:
            note = connection.execute(statement).scalar_one_or_none()
        if note is None:
            raise NotLogged(f"a checkpoint of {tree_size} entries")
        return str(note)
