"""What other writers of the same log appended, about the contexts and principals that somebody here asked to watch.

Several gateways may append to one log. Each keeps in memory what it knows of a context, and needs to know when that is
not all any more. Whoever takes the head's lock sees at once whether another writer moved it; only then are the entries
between looked at. So a gateway that is alone asks the database nothing for this.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sqlalchemy import Dialect

from audit.tables import entries
from gateway.entries import FORGETTING, FREEZING, OUTDATING, PAST
from gateway.ports import FREEZES, Topic, TopicKind

RANGE_MAX: Final = 20_000
"""Entries of others that are looked at together; of more, nobody is told which they were: every topic is lost."""
INDICES_MAX: Final = 1024
"""Entries of others that are kept for one topic; whoever has not read the older ones by then has lost them."""


class Rows(Protocol):
    """A connection that holds the head's lock."""

    def fetch(self, text: str, parameters: Any = ()) -> list[Any]:
        """Rows of a query."""


@dataclass(slots=True)
class _Heard:
    """Log indices of others' entries about one topic, rising; those below ``lost`` may be missing."""

    lost: int = 0
    indices: list[int] = field(default_factory=list)

    @property
    def newest(self) -> int:
        indices = self.indices  # read once: the writer may replace it meanwhile
        return indices[-1] if indices else self.lost - 1


class Others:
    """``ports.Others``. Written in the log's writer, read anywhere."""

    def __init__(self, dialect: Dialect) -> None:
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        self._all = _between(mark, PAST | FORGETTING | FREEZING | OUTDATING)
        self._outdating = _between(mark, FORGETTING | OUTDATING)
        self._forget: list[Callable[[], None]] = []
        self._outdate: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._heard: dict[Topic, _Heard] = {}
        self._seen = 0

    # --- ports.Others ------------------------------------------------------------------------------------------------

    def watch(self, topic: Topic) -> None:
        """See ``ports.Others``."""
        with self._lock:
            # From now on: what came while nobody listened, after an earlier watch ended, was not heard.
            self._heard.setdefault(topic, _Heard(self._seen))

    def unwatch(self, topic: Topic) -> None:
        """See ``ports.Others``."""
        with self._lock:
            self._heard.pop(topic, None)

    def in_step(self, topic: Topic, as_of: int) -> bool:
        """See ``ports.Others``."""
        heard = self._heard.get(topic)
        return heard is not None and heard.newest < as_of

    def since(self, topic: Topic, as_of: int) -> Sequence[int] | None:
        """See ``ports.Others``."""
        with self._lock:
            heard = self._heard.get(topic)
            if heard is None or as_of < heard.lost:
                return None
            return heard.indices[bisect_left(heard.indices, as_of) :]

    def on_forgetting(self, forget: Callable[[], None]) -> None:
        """Have ``forget`` called, in the writer's thread, when an entry says that something was erased. It must be
        quick, and raise nothing."""
        self._forget.append(forget)

    def on_outdating(self, outdate: Callable[[], None]) -> None:
        """The same of an entry that says that what hands answered before is worth nothing any more."""
        self._outdate.append(outdate)

    # --- in the writer -----------------------------------------------------------------------------------------------

    def all_in_step(self, rests_on: Mapping[Topic, int]) -> bool:
        """Whether nobody else wrote about any of these since; exact while the head is locked and was looked at."""
        return all(self.in_step(topic, as_of) for topic, as_of in rests_on.items())

    def look(self, rows: Rows, size: int) -> None:
        """The head is locked, at ``size``: take in what others appended since."""
        if size == self._seen:
            return
        seen, self._seen = self._seen, size
        if not 0 < size - seen <= RANGE_MAX:
            self.told(OUTDATING, max(size, seen))  # whatever is in there
            return
        found = rows.fetch(self._all if self._heard else self._outdating, (seen, size))
        for index, kind, tenant, context_id, principal in found:
            if kind in PAST:
                self._note(Topic(TopicKind.CONTEXT, tenant, context_id), index)
                self._note(Topic(TopicKind.PRINCIPAL, tenant, principal), index)
            elif kind in FREEZING:
                self._note(FREEZES, index)
        self.told({kind for _, kind, *_ in found}, size)

    def told(self, kinds: Collection[str], size: int) -> None:
        """What kinds of entries were appended up to ``size``, by others or here."""
        if not OUTDATING.isdisjoint(kinds):
            for outdate in self._outdate:
                outdate()
        if not FORGETTING.isdisjoint(kinds):
            self.forgetting(size)

    def forgetting(self, size: int) -> None:
        """Values and keys that processes may remember were erased, up to ``size``: every topic must be read anew, and
        whoever asked by :meth:`on_forgetting` is told."""
        with self._lock:
            for heard in self._heard.values():
                heard.lost, heard.indices = size, []
        for forget in self._forget:
            forget()

    def own(self, size: int) -> None:
        """Note that this writer itself committed up to ``size``, right after it looked."""
        self._seen = size

    def _note(self, topic: Topic, index: int) -> None:
        heard = self._heard.get(topic)
        if heard is None:
            return
        with self._lock:
            heard.indices.append(index)
            if len(heard.indices) > INDICES_MAX:
                cut = INDICES_MAX // 2
                heard.lost = heard.indices[cut - 1] + 1
                del heard.indices[:cut]


def _between(mark: str, kinds: Collection[str]) -> str:
    wanted = ", ".join(f"'{kind}'" for kind in sorted(kinds))
    return (
        f"SELECT idx, type, tenant, context_id, principal FROM {entries.name} "  # noqa: S608
        f"WHERE idx >= {mark} AND idx < {mark} AND type IN ({wanted}) ORDER BY idx"
    )
