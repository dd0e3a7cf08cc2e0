"""Names of people: who a row speaks of, where it names them by a random id.

A name is the data subject of a data key that seals no value. The key's row is all that knows it: wrapped under the
bucket key of its slot, bound to the key's id, and found by the keyed hash beside it (:mod:`audit.sealing`). So a name
ends as values do: an erasure marks its key and destroys what wraps it, and from then on no copy of the row tells the
name, or can be asked whether it is one that somebody guesses. A name whose key is gone is nobody's, and free.
"""

import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, bindparam, or_, select

from audit.buckets import SLOTS, open_bucket, slot_of
from audit.epochs import EpochKeys
from audit.errors import SealBroken
from audit.tables import data_keys, erased_keys, key_buckets
from audit.wrapping import WrappingKey
from gateway.canonical import canonical

_AT_ONCE: Final = 500
_SLOTS_AT_ONCE: Final = 8
"""To be asked for by name; more are picked from all."""
_CACHE: Final = 65_536
"""Names remembered until something is erased: some megabytes."""
_KEYS: Final = (
    select(
        data_keys.c.key_id,
        data_keys.c.wrapped.label("name"),
        key_buckets.c.bucket,
        key_buckets.c.epoch,
        key_buckets.c.wrapped,
        key_buckets.c.created_at,
    )
    .join_from(data_keys, key_buckets, key_buckets.c.bucket == data_keys.c.bucket)
    .where(
        data_keys.c.key_id.in_(bindparam("key_ids", expanding=True)),
        ~select(erased_keys.c.key_id).where(erased_keys.c.key_id == data_keys.c.key_id).exists(),
    )
)
"""A key with its bucket in one statement: a rotation that goes on meanwhile is seen whole or not at all."""
_TAGGED: Final = select(data_keys.c.key_id, data_keys.c.bucket, data_keys.c.subject).where(
    data_keys.c.tenant == bindparam("tenant"), data_keys.c.subject.in_(bindparam("tags", expanding=True))
)
_LOOKS: Final = 5

_log: Final = structlog.get_logger("handrail.audit")


class Names:
    """Opens and finds names. Thread-safe; synchronous."""

    def __init__(self, engine: Engine, epochs: EpochKeys) -> None:
        """Look again through ``engine`` where the caller's own transaction is older than the epoch keys."""
        self._engine = engine
        self._epochs = epochs
        self._lock = threading.Lock()
        self._known: OrderedDict[str, str] = OrderedDict()
        self._forgotten = 0

    def open(self, connection: Connection, key_ids: Collection[str]) -> dict[str, str]:
        """Key id -> subject, of those whose keys are all there. One that is not what was wrapped is left out, loudly.

        Raises:
            SealBroken: the epoch keys cannot be used.
        """
        wanted, found = sorted(set(key_ids)), dict[str, str]()
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            found |= self._open(connection, some)
            left = [key_id for key_id in some if key_id not in found]
            if left:
                found |= self._anew(partial(self._open, key_ids=left))
        return found

    def find(self, connection: Connection, tenant: str, subjects: Iterable[str]) -> dict[str, str]:
        """Subject -> key id, of the names that are somebody's in a tenant.

        Raises:
            SealBroken: the epoch keys cannot be used.
        """
        by_slot: dict[int, list[str]] = {}
        for subject in set(subjects):
            by_slot.setdefault(self._epochs.slot((tenant, subject)) % SLOTS, []).append(subject)
        if not by_slot:
            return {}
        found = self._find(connection, tenant, by_slot)
        if len(found) < sum(map(len, by_slot.values())):
            found |= self._anew(lambda fresh: self._find(fresh, tenant, by_slot))
        return found

    def stand_in(self, *words: str) -> str:
        """32 hexadecimal digits that stand for what has no random id yet, such as somebody who is about to be added:
        the same for the same words, until the next erasure destroys the key that they are hashed under. From then on
        nobody can be asked whether they stand for a guess."""
        _, key = self._epochs.current()
        return hmac.digest(key, canonical(["stand-in", *words]), "sha256").hex()[:32]

    def forget(self) -> None:
        """Remember no name: one was erased."""
        with self._lock:
            self._forgotten += 1
            self._known.clear()

    def _anew(self, look: Callable[[Connection], dict[str, str]]) -> dict[str, str]:
        """What is found for certain.

        A transaction sees rows as they were; the key above them may be destroyed since, and the rows be under the next
        one. Where no epoch key came or went during a look, what it does not open nobody ever will.
        """
        for _ in range(_LOOKS):
            before = self._epochs.names()
            with self._engine.connect() as fresh:
                found = look(fresh)
            if self._epochs.names() == before:
                return found
        raise SealBroken("the epoch keys change all the time")

    def _find(self, connection: Connection, tenant: str, by_slot: Mapping[int, Collection[str]]) -> dict[str, str]:
        tags: dict[tuple[str, str], str] = {}
        for row in connection.execute(_buckets_of(by_slot)):
            subjects = by_slot.get(slot_of(row.bucket), ())
            bucket = self._bucket(row) if subjects else None
            if bucket is not None:
                tags |= {(row.bucket, bucket.tag((tenant, subject))): subject for subject in subjects}
        wanted = {"tenant": tenant, "tags": sorted({tag for _, tag in tags})}
        rows = connection.execute(_TAGGED, wanted).all() if tags else ()
        hits = {row.key_id: tags.get((row.bucket, row.subject)) for row in rows}
        named = self._open(connection, [key_id for key_id, subject in hits.items() if subject is not None])
        return {subject: key_id for key_id, subject in named.items() if hits[key_id] == subject}

    def _open(self, connection: Connection, key_ids: Collection[str]) -> dict[str, str]:
        with self._lock:
            forgotten = self._forgotten
        rows = connection.execute(_KEYS, {"key_ids": list(key_ids)}).all()
        buckets: dict[str, WrappingKey | None] = {}
        found: dict[str, str] = {}
        for row in rows:
            name = self._known.get(row.key_id)
            if name is None:
                if row.bucket not in buckets:
                    buckets[row.bucket] = self._bucket(row)
                bucket = buckets[row.bucket]
                if bucket is None:
                    continue
                try:
                    name = bucket.unwrap(row.key_id, row.name)[1]
                except SealBroken as exc:
                    _log.error("row refused", reason=str(exc.reason), detail=exc.detail)
                    continue
            found[row.key_id] = name
        self._remember(found, forgotten)
        return found

    def _remember(self, found: Mapping[str, str], forgotten: int) -> None:
        with self._lock:
            if forgotten != self._forgotten:
                return  # something was erased while this was read
            self._known.update(found)
            while len(self._known) > _CACHE:
                self._known.popitem(last=False)

    def _bucket(self, row: Any) -> WrappingKey | None:
        key = self._epochs.get(row.epoch)
        try:
            return open_bucket(row, {} if key is None else {row.epoch: WrappingKey.of(row.epoch, key)})
        except SealBroken as exc:
            _log.error("row refused", reason=str(exc.reason), detail=exc.detail)
            return None


def _buckets_of(slots: Iterable[int]) -> Any:
    some = list(slots)
    if len(some) > _SLOTS_AT_ONCE:
        return select(key_buckets)
    return select(key_buckets).where(or_(*(key_buckets.c.bucket.endswith(f"-{slot:03d}") for slot in some)))
