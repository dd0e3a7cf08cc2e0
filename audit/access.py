"""What the log holds about a person: the values that their keys open, and the entries that speak of them. Synchronous;
call it in a thread. Page by page, so that a long life with many entries needs no more memory than a short one.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from audit.buckets import Buckets
from audit.epochs import EpochKeys
from audit.errors import SealBroken
from audit.opening import OPENING, Opener, unseal
from audit.query import PAGE_MAX, Filter, StoredEntry
from audit.reader import Reader
from audit.subjects import KeyRow, keys_of
from audit.tables import payload_keys, payloads

_PAGE: Final = 200
_INDICES: Final = 500


@dataclass(frozen=True, slots=True)
class HeldValue:
    """A sealed value that concerns a person.

    Attributes:
        index: of the first entry that commits to it.
        created_at: seconds since the epoch.
        value: ``None`` where it does not open any more.
        shared_with: how many others it concerns, too: whoever hands it out looks at it first (GDPR art. 15(4)).
    """

    commitment: str
    index: int
    created_at: float
    value: bytes | None
    shared_with: int


class Access:
    """Thread-safe."""

    def __init__(self, reader: Reader, epochs: EpochKeys) -> None:
        self._reader = reader
        self._epochs = epochs

    def keys(self, tenant: str, subjects: Collection[str]) -> list[KeyRow]:
        """The data keys of these subjects. Raises ``LogUnavailable`` or ``SealBroken``."""
        with self._reader.connect() as connection:
            return keys_of(connection, Buckets.load(connection, self._epochs), tenant, subjects)

    def values(self, keys: Sequence[KeyRow]) -> Iterator[HeldValue]:
        """Every value that these keys seal, alone or with others; one that concerns the person twice comes twice."""
        opener = Opener(self._epochs)
        for key in keys:
            after = ""
            while page := self._page(opener, key.key_id, after):
                yield from page
                after = page[-1].commitment

    def count(self, keys: Sequence[KeyRow]) -> tuple[int, int]:
        """How many values these keys seal, and how many of them concern somebody else, too."""
        found: dict[str, int] = {}
        with self._reader.connect() as connection:
            for key in keys:
                for row in connection.execute(_of_key(key.key_id)):
                    found[row.commitment] = row.owners
        return len(found), sum(1 for owners in found.values() if owners > 1)

    def entries_of(self, tenant: str, pseudonym: str) -> Iterator[StoredEntry]:
        """What a principal did, oldest first."""
        after: int | None = None
        while True:
            page = self._reader.query(Filter(tenant=tenant, principal=pseudonym), after=after, limit=PAGE_MAX)
            yield from page.entries
            if page.next is None:
                return
            after = page.next

    def entries_at(self, indices: Collection[int]) -> Iterator[StoredEntry]:
        """The entries at these places, oldest first."""
        ordered = sorted(set(indices))
        for start in range(0, len(ordered), _INDICES):
            for index in ordered[start : start + _INDICES]:
                yield self._reader.entry(index)

    def _page(self, opener: Opener, key_id: str, after: str) -> list[HeldValue]:
        with self._reader.connect() as connection:
            query = _of_key(key_id).where(payloads.c.commitment > after).order_by(payloads.c.commitment).limit(_PAGE)
            about = {row.commitment: row for row in connection.execute(query)}
            rows = connection.execute(OPENING.where(payloads.c.commitment.in_(list(about)))).all() if about else []
            values = {row.commitment: self._value(opener, connection, row) for row in rows}
        return [
            HeldValue(name, row.idx, row.created_at, values.get(name), row.owners - 1) for name, row in about.items()
        ]

    @staticmethod
    def _value(opener: Opener, connection: Any, row: Any) -> bytes | None:
        try:
            cipher = opener.ciphers(connection, [row]).get(row.commitment)
            return None if cipher is None else unseal(cipher, row.commitment, row.sealed)[1]
        except SealBroken:
            return None


def _of_key(key_id: str) -> Any:
    shared = select(payload_keys.c.commitment).where(payload_keys.c.key_id == key_id)
    return select(payloads.c.commitment, payloads.c.idx, payloads.c.owners, payloads.c.created_at).where(
        (payloads.c.key_id == key_id) | payloads.c.commitment.in_(shared)
    )
