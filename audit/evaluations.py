"""Recorded policy evaluations, page by page, opened from the erasable side table. Synchronous; call it in a thread.

Every step's decision entry commits to the evaluation that it came from, so several entries lead to one document: a page
gives each once. What was erased or does not open is named with its reason and never guessed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from audit.errors import SealBroken
from audit.history import TREE_SIZE
from audit.opening import Opener
from audit.query import PAGE_MAX
from audit.reader import Reader
from audit.tables import entries
from gateway.commitments import fields_root
from gateway.entries import EntryType
from gateway.evaluation import FIELD
from gateway.model import Effect

JUDGEMENTS: Final[Mapping[EntryType, Effect]] = {
    EntryType.POLICY_ALLOWED: Effect.ALLOW,
    EntryType.POLICY_DENIED: Effect.DENY,
    EntryType.POLICY_OBSERVED: Effect.ALLOW,
    EntryType.APPROVAL_REQUESTED: Effect.ASK,
}
"""Entries that a judgement leaves, with its effect. The same type with another effect tells of later things (a person
refused, a caller was revoked) and repeats an old evaluation."""
BYTES_MAX: Final = 4_194_304
"""Documents on one page; the one that exceeds it is still given."""
_OPEN_AT_ONCE: Final = 64

_OF_TYPE: Final = (
    select(entries.c.idx)
    .where(
        entries.c.tenant == bindparam("tenant"),
        entries.c.type == bindparam("type"),
        entries.c.idx > bindparam("after"),
        entries.c.idx < bindparam("end"),
    )
    .order_by(entries.c.idx)
    .limit(bindparam("limit"))
)
"""One type at a time: its index gives them in order, whatever a planner thinks of a list of types."""
_ROWS: Final = (
    select(entries.c.idx, entries.c.type, entries.c.time, entries.c.effect, entries.c.body, entries.c.fields)
    .where(entries.c.idx.in_(bindparam("wanted", expanding=True)))
    .order_by(entries.c.idx)
)
_FROM: Final = (
    select(entries.c.idx).where(entries.c.time >= bindparam("time")).order_by(entries.c.time, entries.c.idx).limit(1)
)


class Fault(StrEnum):
    """Why a recorded evaluation cannot be given."""

    ERASED = "erased"
    """Its value, its key or its salt is gone, as the law or the retention wanted it."""
    UNREADABLE = "unreadable"
    """What is stored is not what the log committed to."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded evaluation.

    Attributes:
        index: of the first entry on this page that commits to it.
        value: its document as JSON; ``None`` where ``fault`` says why.
    """

    index: int
    time: str
    commitment: str
    value: bytes | None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """Recorded evaluations, oldest first.

    Attributes:
        first: index at which the asked time begins, and
        end: where it ends, so that a reader knows how far it has come.
        next: pass as ``after`` for the following page; ``None`` at the end.
    """

    evaluations: Sequence[Recorded]
    first: int
    end: int
    next: int | None
    tree_size: int


def page(
    reader: Reader,
    opener: Opener,
    tenant: str,
    *,
    since: str | None = None,
    until: str | None = None,
    after: int | None = None,
    limit: int = PAGE_MAX,
    bytes_max: int = BYTES_MAX,
) -> EvaluationPage:
    """One page of the tenant's recorded evaluations.

    Args:
        since: those at or after this time (as entries write it), and
        until: before this one.
        after: ``next`` of the page before.
        limit: decision entries looked at, at most :data:`audit.reader.PAGE_MAX`.
        bytes_max: size of the documents on the page.

    Raises:
        LogUnavailable: the database cannot be read.
    """
    limit = max(1, min(limit, PAGE_MAX))
    with reader.connect() as connection:
        size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
        first = _index_at(connection, since, size) if since is not None else 0
        end = _index_at(connection, until, size) if until is not None else size
        start = max(first - 1, -1 if after is None else after)
        wanted = _judgements(connection, tenant, start, end, limit)
        rows = connection.execute(_ROWS, {"wanted": wanted[:limit]}).all() if wanted else []
        found, last = _open(connection, opener, rows, bytes_max)
    more = len(wanted) > limit or (last is not None and last < wanted[min(limit, len(wanted)) - 1])
    return EvaluationPage(found, min(first, end), end, last if more else None, size)


def _index_at(connection: Connection, time: str, size: int) -> int:
    """Index of the first entry at or after ``time``; the size of the log where there is none yet."""
    found = connection.execute(_FROM, {"time": time}).scalar_one_or_none()
    return size if found is None else min(int(found), size)


def _judgements(connection: Connection, tenant: str, after: int, end: int, limit: int) -> list[int]:
    """Indices of the next ``limit`` decision entries, and of one more where there is one."""
    found: list[int] = []
    for kind in JUDGEMENTS:
        asked = {"tenant": tenant, "type": str(kind), "after": after, "end": end, "limit": limit + 1}
        found.extend(connection.execute(_OF_TYPE, asked).scalars())
    return sorted(found)[: limit + 1]


def _open(
    connection: Connection, opener: Opener, rows: Sequence[Any], bytes_max: int
) -> tuple[list[Recorded], int | None]:
    """The evaluations of ``rows``, and the index of the last row that was looked at."""
    found: dict[str, Recorded] = {}
    size = 0
    last: int | None = None
    pending = iter(rows)
    while size < bytes_max and (some := list(islice(pending, _OPEN_AT_ONCE))):
        wanted = {_key(one): one for one in reversed(_committed(some)) if _key(one) not in found}
        values = _values(connection, opener, [one.commitment for one in wanted.values() if one.fault is None])
        for name, one in reversed(wanted.items()):
            value = one.fault or values[name]
            if isinstance(value, bytes):
                size += len(value)
                found[name] = replace(one, value=value)
            else:
                found[name] = replace(one, fault=value)
        last = some[-1].idx
    return list(found.values()), last


def _key(one: Recorded) -> str:
    """The first entry that commits to an evaluation stands for it; one that cannot be believed stands for itself."""
    return one.commitment if one.fault is None else f"entry {one.index}"


def _committed(rows: Sequence[Any]) -> list[Recorded]:
    """What each row commits to. A row whose list of commitments is not the one that its entry vouches for guides
    nobody."""
    found = []
    for row in rows:
        fields: dict[str, str] = json.loads(row.fields) if row.fields else {}
        if row.effect == JUDGEMENTS[EntryType(row.type)] and FIELD in fields:
            sound = json.loads(row.body).get("commitment") == fields_root(fields)
            found.append(Recorded(row.idx, row.time, fields[FIELD], None, None if sound else Fault.UNREADABLE))
    return found


def _values(connection: Connection, opener: Opener, commitments: Sequence[str]) -> dict[str, bytes | Fault]:
    """Commitment -> value, or why there is none."""
    try:
        opened = opener.open(connection, list(dict.fromkeys(commitments)))
    except SealBroken:
        if len(commitments) == 1:
            return {commitments[0]: Fault.UNREADABLE}
        alone = [_values(connection, opener, [commitment]) for commitment in commitments]
        return {name: value for one in alone for name, value in one.items()}
    return {name: opened[name][1] if name in opened else Fault.ERASED for name in commitments}
