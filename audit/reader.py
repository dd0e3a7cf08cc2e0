"""Reading the log: entries by filter, and proofs from stored nodes. Synchronous; call it in a thread.

The log only grows, so a reader needs no snapshot: it reads the head first, and whatever it reads below that size can
never change.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from audit import query, retained
from audit.errors import Dropped, LogUnavailable, NotLogged
from audit.history import former_origins
from audit.merkle import HASH_BYTES, Frontier, Node, consistency, cover, fold, inclusion, last_leaf
from audit.query import Filter, Page, StoredEntry
from audit.tables import checkpoints, entries, head
from gateway.entries import EntryType
from gateway.model import DEFAULT_TENANT

_HASHES: Final = select(entries.c.idx, entries.c.hashes).where(entries.c.idx.in_(bindparam("wanted", expanding=True)))
_ENTRY: Final = select(entries.c.idx, entries.c.type, entries.c.body, entries.c.fields).where(
    entries.c.idx == bindparam("idx")
)
_TIME: Final = select(entries.c.time).where(entries.c.idx == bindparam("idx"))
_HEAD: Final = select(head.c.tree_size, head.c.root).where(head.c.id == 1)
_LATEST: Final = select(checkpoints.c.tree_size, checkpoints.c.note).order_by(checkpoints.c.tree_size.desc()).limit(1)
_RENAMED: Final = select(func.min(entries.c.idx)).where(
    entries.c.tenant == DEFAULT_TENANT,
    entries.c.type == str(EntryType.BACKUP_RESTORED),
    entries.c.idx > bindparam("idx"),
)
"""The first entry after another that has a newer origin."""


class Reader:
    """Reads through its own pooled connections. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def connect(self) -> AbstractContextManager[Connection]:
        """A read connection, whose failures become ``LogUnavailable``."""
        return _Reading(self._engine)

    def head(self) -> tuple[int, bytes]:
        """Tree size and root."""
        with self.connect() as connection:
            return _head(connection)

    def former(self) -> tuple[str, ...]:
        """Origins that the log had before it was restored from a backup, the oldest first."""
        with self.connect() as connection:
            return tuple(former_origins(connection))

    def former_checkpoint(self, index: int) -> tuple[int, str] | None:
        """Size and note of the last checkpoint under the name that the entry at ``index`` has, where that is a former
        one; ``None`` where it is the present one."""
        with self.connect() as connection:
            renamed = connection.execute(_RENAMED, {"idx": index}).scalar()
            if renamed is None:
                return None
            row = connection.execute(_LATEST.where(checkpoints.c.tree_size <= renamed)).one_or_none()
        if row is None or row.tree_size <= index:
            raise NotLogged(f"entry {index}")
        return row.tree_size, row.note

    def newest_time(self) -> float:
        """When the newest entry was written, in seconds since the epoch; 0 for an empty log."""
        with self.connect() as connection:
            size, _ = _head(connection)
            time = connection.execute(_TIME, {"idx": size - 1}).scalar_one_or_none() if size else None
        return 0.0 if time is None else datetime.fromisoformat(time).timestamp()

    def query(
        self,
        wanted: Filter,
        *,
        after: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
        counted: bool = False,
    ) -> Page:
        """One page of the entries that match.

        Args:
            after: the index of the last entry seen (exclusive), in the direction of reading.
            limit: at most ``audit.query.PAGE_MAX``.
            counted: whether to say how many match in all.
        """
        with self.connect() as connection:
            size, _ = _head(connection)
            page = query.page(connection, wanted, size, after=after, limit=limit, newest_first=newest_first)
            return replace(page, matches=query.count(connection, wanted, size)) if counted else page

    def entry(self, index: int) -> StoredEntry:
        """Raises ``NotLogged``, or ``Dropped``."""
        with self.connect() as connection:
            row = connection.execute(_ENTRY, {"idx": index}).one_or_none() if 0 <= index < 2**63 else None
            if row is None and 0 <= index < 2**63 and retained.dropped(connection, index, index + 1):
                raise Dropped(f"entry {index}")
        if row is None:
            raise NotLogged(f"entry {index}")
        return query.stored(row)

    def root(self, size: int) -> bytes:
        """Root of the tree when it had ``size`` leaves. Raises ``NotLogged`` beyond the head."""
        with self.connect() as connection:
            _within(connection, size)
            return load_frontier(connection, size).root()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """RFC 6962 audit path of the entry at ``index`` in the tree of ``size``. Raises ``NotLogged``."""
        with self.connect() as connection:
            if not 0 <= index < size:
                raise NotLogged(f"entry {index} in a tree of {size}")
            _within(connection, size)
            return _folded(connection, inclusion(index, size))

    def inclusions(self, indices: Sequence[int], size: int) -> dict[int, list[bytes]]:
        """:meth:`inclusion` for several entries, from one look at the tree. Raises ``NotLogged``."""
        with self.connect() as connection:
            if not all(0 <= index < size for index in indices):
                raise NotLogged(f"entries in a tree of {size}")
            _within(connection, size)
            paths = {index: inclusion(index, size) for index in indices}
            found = _found(connection, {node for path in paths.values() for part in path for node in part})
            return {index: [fold([found[node] for node in part]) for part in path] for index, path in paths.items()}

    def consistency(self, old: int, new: int) -> list[bytes]:
        """RFC 6962 consistency proof; empty from the empty tree. Raises ``NotLogged``."""
        with self.connect() as connection:
            if not 0 <= old <= new:
                raise NotLogged(f"sizes {old}, {new}")
            _within(connection, new)
            return _folded(connection, consistency(old, new)) if old else []

    def checkpoint(self) -> tuple[int, str] | None:
        """Size and note of the newest stored checkpoint."""
        with self.connect() as connection:
            row = connection.execute(_LATEST).one_or_none()
        return None if row is None else (row.tree_size, row.note)


def load_nodes(connection: Connection, wanted: Iterable[Node]) -> dict[Node, bytes]:
    """Hashes of complete subtrees; a missing one is missing. Each lies with the leaf that closed it, or is kept of a
    dropped partition."""
    by_leaf: dict[int, list[Node]] = {}
    for node in set(wanted):
        by_leaf.setdefault(last_leaf(node), []).append(node)
    if not by_leaf:
        return {}
    found: dict[Node, bytes] = {}
    for leaf, hashes in connection.execute(_HASHES, {"wanted": list(by_leaf)}):
        for node in by_leaf[leaf]:
            value = bytes(hashes[node[0] * HASH_BYTES : (node[0] + 1) * HASH_BYTES])
            if len(value) == HASH_BYTES:
                found[node] = value
    missing = {node for nodes in by_leaf.values() for node in nodes} - found.keys()
    return found | retained.nodes(connection, missing) if missing else found


def load_frontier(connection: Connection, size: int) -> Frontier:
    """The right edge of the tree of ``size``. Raises ``LogUnavailable`` where a node is missing."""
    wanted = cover(0, size)
    found = load_nodes(connection, wanted)
    if len(found) != len(wanted):
        raise LogUnavailable("a node of the tree is missing: run fsck")
    return Frontier(size, [found[node] for node in wanted])


def _folded(connection: Connection, path: Sequence[Sequence[Node]]) -> list[bytes]:
    found = _found(connection, {node for part in path for node in part})
    return [fold([found[node] for node in part]) for part in path]


def _found(connection: Connection, wanted: set[Node]) -> dict[Node, bytes]:
    found = load_nodes(connection, wanted)
    if len(found) != len(wanted):
        raise LogUnavailable("a node of the tree is missing: run fsck")
    return found


def _head(connection: Connection) -> tuple[int, bytes]:
    row = connection.execute(_HEAD).one_or_none()
    if row is None:
        raise NotLogged("the log was never opened")
    return row.tree_size, bytes(row.root)


def _within(connection: Connection, size: int) -> None:
    if not 0 <= size <= _head(connection)[0]:
        raise NotLogged(f"a tree of {size}")


class _Reading(AbstractContextManager[Connection]):
    """A read connection whose failures are ours."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def __enter__(self) -> Connection:
        try:
            self._connection = self._engine.connect()
        except SQLAlchemyError as exc:
            raise LogUnavailable(type(exc).__name__) from exc
        return self._connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._connection is not None:
            self._connection.close()
        if isinstance(error, SQLAlchemyError):
            raise LogUnavailable(type(error).__name__) from error
