"""The verdict: every acknowledged entry is there unaltered, and the log follows from its entries."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from audit.database import make_engine
from audit.fsck import check
from audit.merkle import Frontier, leaf_hash
from audit.opening import Opener
from audit.tables import entries, head
from tests.audit.crash.appender import VERIFIER, epoch_keys, plan_id, value

_RANGE = 2_000


class Lost(Exception):
    """Something that was acknowledged is missing or altered, or the log does not fit together."""


@dataclass
class Ledger:
    """What was acknowledged so far, and how far the log was checked. A log only grows, so each verdict goes on where
    the last one ended; ``whole`` starts at the beginning.
    """

    url: str
    home: Path
    acknowledged: int = 0
    checks: int = 0
    _edge: Frontier = field(default_factory=Frontier)
    _unread: dict[int, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self._edge.size

    def hear(self, lines: bytes) -> None:
        """Take in acknowledgements; a line that the kill cut off is none."""
        for line in lines.split(b"\n")[:-1]:
            index, number = map(int, line.split())
            self._unread[index] = number
            self.acknowledged += 1

    def judge(self, *, whole: bool) -> None:
        """Raises ``Lost``."""
        engine = make_engine(self.url)
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "postgresql":  # others may be appending: look at one moment alone
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
                self._follow(connection)
            if self._unread:
                raise Lost(f"{len(self._unread)} acknowledged entries are missing; the log has {self.size}")
            if whole:
                self.checks += 1
                for finding in check(engine, keys=[VERIFIER], epochs=epoch_keys(self.home)):
                    raise Lost(f"fsck: {finding}")
        except SQLAlchemyError as exc:
            raise Lost(f"the database cannot be read: {exc}") from exc
        finally:
            engine.dispose()  # this process forks: nothing stays open

    def _follow(self, connection: Connection) -> None:
        # Committed before an earlier verdict, acknowledged after it.
        late = sorted(index for index in self._unread if index < self.size)
        for start in range(0, len(late), _RANGE):
            chosen = entries.c.idx.in_(late[start : start + _RANGE])
            for found in connection.execute(select(entries.c.idx, entries.c.body, entries.c.fields).where(chosen)):
                self._compare(connection, found.idx, bytes(found.body), found.fields)
        row = connection.execute(select(head.c.tree_size, head.c.root)).one_or_none()
        size, root = (0, self._edge.root()) if row is None else (row.tree_size, bytes(row.root))
        if size < self.size:
            raise Lost(f"the log shrank from {self.size} entries to {size}")
        while self.size < size:
            first = self.size
            wanted = select(entries.c.idx, entries.c.body, entries.c.hashes, entries.c.fields)
            wanted = wanted.where(entries.c.idx >= first, entries.c.idx < min(size, first + _RANGE))
            for found in connection.execute(wanted.order_by(entries.c.idx)).all():
                self._take(connection, found.idx, bytes(found.body), bytes(found.hashes), found.fields)
            if self.size == first:
                raise Lost(f"entry {first} is missing")
        if self._edge.root() != root:
            raise Lost(f"the head of size {size} does not follow from the entries")
        if connection.execute(select(entries.c.idx).where(entries.c.idx >= size).limit(1)).first() is not None:
            raise Lost(f"there are rows beyond the head of {size}")

    def _take(self, connection: Connection, index: int, body: bytes, hashes: bytes, fields: str | None) -> None:
        if index != self.size:
            raise Lost(f"entry {self.size} is missing")
        leaf = leaf_hash(body)
        if b"".join((leaf, *self._edge.append(leaf))) != hashes:
            raise Lost(f"entry {index}: its hashes do not follow from its body")
        self._compare(connection, index, body, fields)

    def _compare(self, connection: Connection, index: int, body: bytes, fields: str | None) -> None:
        number = self._unread.pop(index, None)
        if number is None:
            return
        if json.loads(body).get("plan_id") != plan_id(number):
            raise Lost(f"entry {index} is not the one that was acknowledged there")
        content = value(number)
        if content is not None:
            (commitment,) = json.loads(fields or "{}").values()
            opened = Opener(epoch_keys(self.home)).open(connection, [commitment])
            if commitment not in opened or opened[commitment][1] != content:
                raise Lost(f"entry {index}: the value sealed beside it does not open")
