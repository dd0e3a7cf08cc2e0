"""Bucket keys: between the epoch key and the data keys, so that an erasure wraps a few of these anew and not all.

A data subject belongs to one of :data:`SLOTS` slots, by a hash under a key that lies outside the database. Each slot
has a *bucket*: a random key that wraps the data keys of the slot's subjects and hashes their names, and that an epoch
key wraps. Who is erased, has the bucket replaced: the other data keys of that slot are wrapped by a new one, every
bucket key is wrapped by a new epoch key, and with the old epoch key the old bucket key is gone from every copy.

A bucket's name is that of the epoch in which it was made, and its slot: of two of one slot the greater name is newer.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select

from audit.epochs import KEY_BYTES, EpochKeys
from audit.errors import SealBroken
from audit.tables import key_buckets
from audit.wrapping import Subject, WrappingKey, every_epoch
from gateway.ports import Unless, Write

SLOTS: Final = 256
"""An erasure wraps one in so many data keys anew. Also what an old copy tells of a subject's name to whoever has the
data root: eight bits."""

BUCKETS: Final = f"SELECT bucket, epoch, wrapped, created_at FROM {key_buckets.name}"  # noqa: S608
"""What :meth:`Buckets.of` wants of each."""
_INSERT: Final = insert(key_buckets)
_MADE: Final = select(key_buckets.c.bucket).where(key_buckets.c.bucket.in_(bindparam("names", expanding=True)))
_ALL: Final = select(key_buckets.c.bucket, key_buckets.c.epoch, key_buckets.c.wrapped, key_buckets.c.created_at)


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A row of ``key_buckets``."""

    bucket: str
    epoch: str
    wrapped: bytes
    created_at: float


def slot_of(bucket: str) -> int:
    """The slot that a bucket's name says; -1 where it is not one."""
    digits = bucket.rpartition("-")[2]
    return int(digits) if digits.isdecimal() and int(digits) < SLOTS else -1


def label(row: Any) -> str:
    """What the wrapping of a bucket key is bound to."""
    return json.dumps([row.bucket, float(row.created_at)])


def make(slots: Collection[int], epoch: WrappingKey, now: float) -> list[BucketRow]:
    """New buckets for some slots, made in ``epoch``."""
    made = []
    for slot in sorted(slots):
        named = BucketRow(f"{epoch.name}-{slot:03d}", epoch.name, b"", now)
        wrapped = epoch.wrap(label(named), os.urandom(KEY_BYTES), "")
        made.append(BucketRow(named.bucket, named.epoch, wrapped, now))
    return made


def writes(rows: Iterable[BucketRow]) -> list[Write]:
    """That they are there."""
    return [
        Write(
            _INSERT,
            {"bucket": row.bucket, "epoch": row.epoch, "wrapped": row.wrapped, "created_at": row.created_at},
        )
        for row in rows
    ]


def open_bucket(row: Any, epochs: Mapping[str, WrappingKey]) -> WrappingKey | None:
    """The key of a bucket, or ``None`` where its epoch key was destroyed. Raises ``SealBroken``."""
    epoch = epochs.get(row.epoch)
    return None if epoch is None else WrappingKey.of(row.bucket, epoch.unwrap(label(row), row.wrapped)[0])


@dataclass(slots=True)
class Buckets:
    """The buckets that open, by slot. Immutable once it is made."""

    _epochs: EpochKeys
    by_name: dict[str, WrappingKey] = field(default_factory=dict)
    _by_slot: dict[int, list[WrappingKey]] = field(default_factory=dict)
    _broken: dict[int, SealBroken] = field(default_factory=dict)

    @classmethod
    def of(cls, epochs: EpochKeys, rows: Iterable[Any]) -> "Buckets":
        """From rows of ``key_buckets``. Raises ``SealBroken`` where the epoch keys cannot be used."""
        found, every = cls(epochs), {epoch.name: epoch for epoch in every_epoch(epochs)}
        for row in sorted(rows, key=lambda row: str(row.bucket)):
            slot = slot_of(row.bucket)
            try:
                key = open_bucket(row, every)
            except SealBroken as exc:
                found._broken[slot] = exc
                continue
            if key is not None:
                found.by_name[key.name] = key
                found._by_slot.setdefault(slot, []).append(key)
        return found

    @classmethod
    def load(cls, connection: Connection, epochs: EpochKeys) -> "Buckets":
        """As the database has them. Raises ``SealBroken``."""
        return cls.of(epochs, connection.execute(_ALL).all())

    @property
    def missing(self) -> set[int]:
        """Slots without a bucket that opens: all of a new database, or of one that was put back from before an
        erasure."""
        return set(range(SLOTS)) - self._by_slot.keys() - self._broken.keys()

    def superseded(self) -> list[tuple[WrappingKey, WrappingKey]]:
        """Each bucket that has a newer one of its slot, and that newer one."""
        return [(old, keys[-1]) for keys in self._by_slot.values() for old in keys[:-1]]

    def of_subject(self, subject: Subject) -> Sequence[WrappingKey]:
        """The buckets in which keys of ``subject`` may be, the one that seals last.

        Raises:
            SealBroken: one of them was changed.
        """
        slot = self._epochs.slot(subject) % SLOTS
        if slot in self._broken:
            raise SealBroken(self._broken[slot].detail)
        return self._by_slot.get(slot, ())

    def tags(self, tenant: str, subjects: Iterable[str]) -> dict[tuple[str, str], str]:
        """``(bucket, keyed hash)`` -> subject, of all buckets in which keys of these subjects may be."""
        return {
            (bucket.name, bucket.tag((tenant, subject))): subject
            for subject in subjects
            for bucket in self.of_subject((tenant, subject))
        }

    def none_made(self, tenant: str, subjects: Iterable[str]) -> list[Unless]:
        """That :meth:`tags` of these subjects is all there is: no slot of theirs has got its first bucket since."""
        newest = self._epochs.current()[0]
        slots = {self._epochs.slot((tenant, subject)) % SLOTS for subject in subjects} & self.missing
        names = [f"{newest}-{slot:03d}" for slot in sorted(slots)]
        return [Unless(_MADE, {"names": names})] if names else []
