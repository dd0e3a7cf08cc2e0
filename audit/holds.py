"""Legal holds on entries: what must stay although its retention is over.

A hold *is* its entry in the log, until another one lifts it: there is no row that could be taken away, and both entries
stand (``gateway.entries.STANDING``). It names what it holds by what entries say of themselves; everything that it names
has to fit. Holds on a person's data are another thing (``audit.subjects``): they keep the values in the side table, and
a partition whose values are still there is not dropped.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, select

from audit.history import TREE_SIZE
from audit.retained import PARTITION
from audit.tables import dropped_partitions, entries
from gateway.entries import EntryDraft, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.ports import Unless

_KINDS: Final = (EntryType.ENTRIES_HELD, EntryType.ENTRIES_RELEASED)
_SET_SINCE: Final = select(entries.c.idx).where(
    entries.c.tenant == DEFAULT_TENANT,
    entries.c.type == str(EntryType.ENTRIES_HELD),
    entries.c.idx >= bindparam("since"),
    entries.c.idx < bindparam("before"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Which entries a hold is about; every given member must fit, and without one it is about all.

    Attributes:
        first, last: log indices, both inclusive.
        principal: a pseudonym, as entries show it.
    """

    first: int | None = None
    last: int | None = None
    tenant: str | None = None
    context_id: str | None = None
    plan_id: str | None = None
    principal: str | None = None

    def facts(self) -> dict[str, str | int]:
        """The members that are given."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        found: list[ColumnElement[bool]] = []
        for name, value in self.facts().items():
            if name == "first":
                found.append(entries.c.idx >= value)
            elif name == "last":
                found.append(entries.c.idx <= value)
            else:
                found.append(entries.c[name] == value)
        return found

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.facts().items()) or "every entry"


@dataclass(frozen=True, slots=True)
class EntriesHold:
    """A hold in force.

    Attributes:
        case: the operator's reference for it.
        index: of the entry that set it.
    """

    hold_id: str
    case: str
    held: Held
    index: int
    time: str


class EntriesAreHeld(Exception):
    """Entries have to stay; ``holds`` say why."""

    def __init__(self, holds: Sequence[EntriesHold]) -> None:
        super().__init__("held by " + ", ".join(hold.hold_id for hold in holds))
        self.holds = holds


def setting(held: Held, case: str) -> tuple[str, EntryDraft]:
    """The id of a new hold, and the entry that it is."""
    hold_id = secrets.token_hex(8)
    facts = {"hold": hold_id, "case": case, **held.facts()}
    return hold_id, EntryDraft(EntryType.ENTRIES_HELD, DEFAULT_TENANT, facts=facts)


def lifting(hold: EntriesHold) -> EntryDraft:
    """The entry that ends a hold."""
    return EntryDraft(EntryType.ENTRIES_RELEASED, DEFAULT_TENANT, facts={"hold": hold.hold_id, "case": hold.case})


def in_force(connection: Connection) -> list[EntriesHold]:
    """The holds that nobody lifted, oldest first."""
    found: dict[str, EntriesHold] = {}
    query = (
        select(entries.c.idx, entries.c.type, entries.c.time, entries.c.body)
        .where(
            entries.c.tenant == DEFAULT_TENANT,
            entries.c.type.in_([str(kind) for kind in _KINDS]),
            entries.c.idx < TREE_SIZE,
        )
        .order_by(entries.c.idx)
    )
    for row in connection.execute(query):
        facts: dict[str, Any] = json.loads(bytes(row.body)).get("facts", {})
        hold_id = str(facts.get("hold", ""))
        if row.type == EntryType.ENTRIES_RELEASED:
            found.pop(hold_id, None)
        else:
            held = Held(**{item.name: facts.get(item.name) for item in fields(Held)})
            found[hold_id] = EntriesHold(hold_id, str(facts.get("case", "")), held, row.idx, row.time)
    return list(found.values())


def holding(connection: Connection, holds: Sequence[EntriesHold], start: int, end: int) -> list[EntriesHold]:
    """Those of ``holds`` that are about an entry of ``[start, end)``."""
    found = []
    for hold in holds:
        query = select(entries.c.idx).where(entries.c.idx >= start, entries.c.idx < end, *hold.held.conditions())
        if connection.execute(query.limit(1)).first() is not None:
            found.append(hold)
    return found


def beyond(held: Held, size: int) -> tuple[int, int | None] | None:
    """First and last place that a hold names and a log of ``size`` entries does not have yet, or that there is none.

    The hold is on what comes there; whoever mistyped an index should hear of it. A range that is open to the end is
    meant to be so, unless it begins beyond it.
    """
    if held.first is not None and held.first >= size:
        return held.first, held.last
    if held.last is not None and held.last >= size:
        return size, held.last
    return None


def none_set_since(since: int) -> Unless:
    """That no hold was set from the log index ``since`` on."""
    return Unless(_SET_SINCE, {"since": since})


def too_late(connection: Connection, held: Held, index: int) -> list[tuple[int, int]]:
    """First and last entry of each stretch that was dropped before the hold at ``index`` was set, and that it may have
    been meant for: nobody can say of a dropped entry whether a hold by context, plan or principal would fit.
    """
    query = select(dropped_partitions.c.partition).where(dropped_partitions.c.idx < index)
    found: list[tuple[int, int]] = []
    for number in connection.execute(query.order_by(dropped_partitions.c.partition)).scalars():
        first, last = number * PARTITION, (number + 1) * PARTITION - 1
        if (held.first or 0) > last or (held.last is not None and held.last < first):
            continue
        if found and found[-1][1] == first - 1:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
