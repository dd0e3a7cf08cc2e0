"""Which entries match a filter, and how many. Synchronous; inside a reader's connection.

The blocks of the log that have postings (:mod:`audit.postings`) are answered from those; the newest entries, and any
block that has none yet, are looked through. Where a filter names one plan or context, the table's own index of those
leads to its rows, and the postings are not asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby, islice
from typing import Any, Final

import orjson
from sqlalchemy import Boolean, ColumnElement, Connection, bindparam, func, literal, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from audit import retained
from audit.errors import LogDamaged
from audit.postings import BLOCK, EVERY, TERMS, decode, mask, offsets_of, term
from audit.tables import entries, posting_blocks, postings

PAGE_MAX: Final = 1_000
_BLOCKS: Final = 256
"""Blocks whose postings are read at a time."""
_ROWS: Final = 1_000
_ALL: Final = (1 << BLOCK) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """All that a reader may see, whatever they ask for: entries of these hands, and entries of these types."""

    hands: frozenset[str]
    types: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to look for; every given member must match.

    Attributes:
        scope: ``None`` for a reader who may see every hand.
        step_id: by itself no index leads to it; with ``plan_id`` the plan's does.
        control: a control id, as entries carry it (``gdpr:5(2)``).
        since: entries at or after this time (RFC 3339, UTC, milliseconds, as entries write it).
        until: entries before this time.
    """

    tenant: str | None = None
    scope: Scope | None = None
    type: str | None = None
    effect: str | None = None
    context_id: str | None = None
    plan_id: str | None = None
    step_id: str | None = None
    hand: str | None = None
    action: str | None = None
    principal: str | None = None
    policy_digest: str | None = None
    reason: str | None = None
    control: str | None = None
    since: str | None = None
    until: str | None = None


_EQUAL: Final = tuple(
    item.name for item in fields(Filter) if item.name not in {"scope", "reason", "control", "since", "until"}
)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry as stored."""

    index: int
    code: str
    body: bytes
    """Canonical JSON."""
    fields: Mapping[str, str]
    """Field name -> commitment."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in the order of reading, and what the answer covers.

    Between ``first`` and ``last`` no entry but these matches, in the tree of ``tree_size``; but of entries that were
    ``dropped`` when their retention was over it cannot be said whether they did.
    """

    entries: Sequence[StoredEntry]
    next: int | None
    """Pass as ``after`` for the following page; ``None`` at the end."""
    tree_size: int
    first: int
    """The lowest index that the page speaks for."""
    last: int
    """The highest; below ``first`` where it speaks for none."""
    matches: int | None = None
    """How many entries match in the whole tree, where that was asked."""
    dropped: Sequence[tuple[int, int]] = ()
    """Stretches between the two, (first, last) each, of which only standing entries are left."""


_STORED: Final = (entries.c.idx, entries.c.type, entries.c.body, entries.c.fields)
_WANTED: Final = select(*_STORED).where(entries.c.idx.in_(bindparam("wanted", expanding=True)))
_POSTINGS: Final = select(postings.c.block, postings.c.term, postings.c.offsets).where(
    postings.c.tenant == bindparam("tenant"),
    postings.c.term.in_(bindparam("terms", expanding=True)),
    postings.c.block >= bindparam("low"),
    postings.c.block < bindparam("high"),
)
_INDEXED: Final = select(posting_blocks).where(
    posting_blocks.c.block >= bindparam("low"), posting_blocks.c.block < bindparam("high")
)


def page(
    connection: Connection, wanted: Filter, size: int, *, after: int | None, limit: int, newest_first: bool
) -> Page:
    """One page of the entries below ``size`` that match; see :meth:`audit.reader.Reader.query`."""
    limit = max(1, min(limit, PAGE_MAX))
    low, high = 0, size
    if after is not None:
        low, high = (0, min(size, max(after, 0))) if newest_first else (min(size, max(after + 1, 0)), size)
    looked = _entries(connection, wanted, low, high, size // BLOCK, limit + 1, newest_first=newest_first)
    found = list(islice(looked, limit + 1))
    more = len(found) > limit
    found = found[:limit]
    if more:
        low, high = (found[-1].index, high) if newest_first else (low, found[-1].index + 1)
    return Page(
        found, found[-1].index if more else None, size, low, high - 1, dropped=retained.dropped(connection, low, high)
    )


def count(connection: Connection, wanted: Filter, size: int) -> int:
    """How many entries below ``size`` match."""
    if _by_key(wanted):
        return _counted(connection, wanted, 0, size)
    total = 0
    unindexed = []
    for part in _parts(connection, wanted, 0, size, size // BLOCK, newest_first=False):
        if part.bits is None:
            unindexed.append(part)
        else:
            total += part.bits.bit_count()
    total += sum(_counted(connection, wanted, part.low, part.high) for part in _joined(iter(unindexed)))
    return total


def _counted(connection: Connection, wanted: Filter, low: int, high: int) -> int:
    statement = select(func.count()).select_from(entries).where(*conditions(wanted, low, high))
    return int(connection.execute(statement).scalar_one())


# --- two ways to find entries ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """Neighbouring entries ``[low, high)`` and which of them match, as a bit mask from the start of their block;
    ``None`` where they have no postings."""

    low: int
    high: int
    bits: int | None


def _by_key(wanted: Filter) -> bool:
    return wanted.tenant is None or not (wanted.plan_id is wanted.step_id is wanted.context_id is None)


def _entries(
    connection: Connection, wanted: Filter, low: int, high: int, full: int, limit: int, *, newest_first: bool
) -> Iterator[StoredEntry]:
    if _by_key(wanted):
        yield from _scan(connection, wanted, low, high, newest_first=newest_first)
        return
    for whether, parts in groupby(
        _parts(connection, wanted, low, high, full, newest_first=newest_first), key=lambda part: part.bits is None
    ):
        if whether:
            for part in _joined(parts):
                yield from _scan(connection, wanted, part.low, part.high, newest_first=newest_first)
        else:
            indices = _indices(parts, newest_first=newest_first)
            while batch := list(islice(indices, limit)):
                yield from _fetch(connection, wanted, batch)


def _joined(parts: Iterator[_Part]) -> Iterator[_Part]:
    """Neighbours as one, in either direction: where much was dropped, a look at each block would cost more than what is
    left there."""
    joined: _Part | None = None
    for part in parts:
        if joined is not None and part.low == joined.high:
            joined = _Part(joined.low, part.high, None)
        elif joined is not None and part.high == joined.low:
            joined = _Part(part.low, joined.high, None)
        else:
            if joined is not None:
                yield joined
            joined = part
    if joined is not None:
        yield joined


def _indices(parts: Iterator[_Part], *, newest_first: bool) -> Iterator[int]:
    for part in parts:
        start = part.low - part.low % BLOCK
        for offset in offsets_of(part.bits or 0, descending=newest_first):
            yield start + offset


def _fetch(connection: Connection, wanted: Filter, indices: Sequence[int]) -> Iterator[StoredEntry]:
    rows = {row.idx: row for row in connection.execute(_WANTED, {"wanted": list(indices)})}
    for index in indices:
        if index not in rows:
            if retained.dropped(connection, index, index + 1):
                continue  # between the look at the index and this one
            raise LogDamaged("the index of the log names an entry that is not there: run fsck")
        found = stored(rows[index])
        if not _matches(wanted, found.body):
            raise LogDamaged("the index of the log names an entry that does not match: run fsck")
        yield found


def _scan(connection: Connection, wanted: Filter, low: int, high: int, *, newest_first: bool) -> Iterator[StoredEntry]:
    """Look through ``[low, high)``, in pages."""
    while low < high:
        statement = select(*_STORED).where(*conditions(wanted, low, high))
        statement = statement.order_by(entries.c.idx.desc() if newest_first else entries.c.idx).limit(_ROWS)
        rows = connection.execute(statement).all()
        yield from map(stored, rows)
        if len(rows) < _ROWS:
            return
        low, high = (low, rows[-1].idx) if newest_first else (rows[-1].idx + 1, high)


def conditions(wanted: Filter, low: int, high: int) -> list[ColumnElement[bool]]:
    """The filter in SQL, for the entries ``[low, high)``."""
    found: list[ColumnElement[bool]] = [entries.c.idx >= low, entries.c.idx < high]
    found += [entries.c[name] == value for name in _EQUAL if (value := getattr(wanted, name)) is not None]
    if wanted.scope is not None:
        found.append(or_(entries.c.hand.in_(wanted.scope.hands), entries.c.type.in_(wanted.scope.types)))
    if wanted.reason is not None:
        # Not LIKE, which takes a capital letter for a small one in SQLite.
        found.append(_within_bytes(entries.c.reasons, literal(orjson.dumps(wanted.reason).decode())))
    if wanted.control is not None:
        # In canonical JSON only an element of a list stands between these: a member's name is followed by a colon, its
        # value comes after one, and inside a string every quotation mark is escaped.
        text = orjson.dumps(wanted.control)
        found.append(
            or_(*(_within_bytes(entries.c.body, literal(a + text + b)) for a in (b"[", b",") for b in (b",", b"]")))
        )
    if wanted.since is not None:
        found.append(entries.c.time >= wanted.since)
    if wanted.until is not None:
        found.append(entries.c.time < wanted.until)
    return found


class _within_bytes(FunctionElement[bool]):  # noqa: N801 - it is a function of SQL
    """Whether the bytes, or the text, given second stand in those given first."""

    type = Boolean()
    inherit_cache = True


@compiles(_within_bytes)
def _instr(element: Any, compiler: Any, **kwargs: Any) -> str:
    return f"instr({compiler.process(element.clauses, **kwargs)}) > 0"


@compiles(_within_bytes, "postgresql")
def _position(element: Any, compiler: Any, **kwargs: Any) -> str:
    whole, part = (compiler.process(one, **kwargs) for one in element.clauses)
    return f"position({part} IN {whole}) > 0"


# --- postings --------------------------------------------------------------------------------------------------------


def _parts(
    connection: Connection, wanted: Filter, low: int, high: int, full: int, *, newest_first: bool
) -> Iterator[_Part]:
    """What the postings say of ``[low, high)``, block after block.

    Args:
        full: number of the first block that is not full. It and those after it have no postings, whatever is stored: a
            row beforehand would hide what is written later.
    """
    terms, scope = _terms(wanted), _scope_terms(wanted)
    first, last = low // BLOCK, -(-high // BLOCK)
    starts = range(first, last, _BLOCKS)
    for start in reversed(starts) if newest_first else starts:
        end = min(start + _BLOCKS, last)
        span = {"low": start, "high": end}
        indexed = {row.block: row for row in connection.execute(_INDEXED, span)}
        masks: dict[int, dict[str, int]] = {}
        looked_up = list({*terms, *(scope or ())})
        for block, found, raw in connection.execute(_POSTINGS, {"tenant": wanted.tenant, "terms": looked_up, **span}):
            masks.setdefault(block, {})[found] = decode(bytes(raw))
        blocks = range(start, end)
        for block in reversed(blocks) if newest_first else blocks:
            part = (max(low, block * BLOCK), min(high, (block + 1) * BLOCK))
            if block not in indexed or block >= full:
                yield _Part(*part, None)
                continue
            bits = _carrying(masks.get(block, {}), terms, scope) & _within(block, *part)
            if bits:
                bits &= _timely(connection, wanted, indexed[block])
            if bits:
                yield _Part(*part, bits)


def _carrying(masks: Mapping[str, int], terms: Sequence[str], scope: Sequence[str] | None) -> int:
    """The offsets that carry every one of ``terms``, and one of ``scope`` where there is one."""
    bits = _ALL
    for one in terms:
        bits &= masks.get(one, 0)
    if scope is not None:
        within = 0
        for one in scope:
            within |= masks.get(one, 0)
        bits &= within
    return bits


def _scope_terms(wanted: Filter) -> list[str] | None:
    if wanted.scope is None:
        return None
    return [term("hand", one) for one in wanted.scope.hands] + [term("type", one) for one in wanted.scope.types]


def _terms(wanted: Filter) -> list[str]:
    found = [term(name, value) for column, name in TERMS.items() if (value := getattr(wanted, column)) is not None]
    found += [term(name, value) for name in ("reason", "control") if (value := getattr(wanted, name)) is not None]
    return found or [EVERY]


def _within(block: int, low: int, high: int) -> int:
    """The offsets of ``[low, high)`` in ``block``."""
    start = block * BLOCK
    return ((1 << (high - start)) - 1) & ~((1 << (low - start)) - 1)


def _timely(connection: Connection, wanted: Filter, block: Any) -> int:
    """The offsets of the entries of ``block`` (a row of ``posting_blocks``) within the times asked for."""
    since, until = wanted.since or block.first_time, wanted.until
    if block.last_time < since or (until is not None and block.first_time >= until):
        return 0
    if block.first_time >= since and (until is None or block.last_time < until):
        return _ALL
    start = block.block * BLOCK
    times = Filter(since=wanted.since, until=until)
    statement = select(entries.c.idx).where(*conditions(times, start, start + BLOCK))
    return mask(idx - start for idx in connection.execute(statement).scalars())


def _matches(wanted: Filter, body: bytes) -> bool:
    entry = orjson.loads(body)
    if any((value := getattr(wanted, name)) is not None and entry.get(name) != value for name in _EQUAL):
        return False
    scope = wanted.scope
    if scope is not None and entry.get("hand") not in scope.hands and entry["type"] not in scope.types:
        return False
    if wanted.reason is not None and wanted.reason not in entry["reasons"]:
        return False
    if wanted.control is not None and wanted.control not in entry["controls"]:
        return False
    early = wanted.since is not None and entry["time"] < wanted.since
    return not early and (wanted.until is None or entry["time"] < wanted.until)


def stored(row: Any) -> StoredEntry:
    """An entry from its row."""
    return StoredEntry(row.idx, row.type, bytes(row.body), orjson.loads(row.fields) if row.fields else {})
