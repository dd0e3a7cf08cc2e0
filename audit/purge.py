"""The end of a payload's time: what is older than the retention says is deleted, with the keys that no value needs.

A deleted row can lie on in a backup. What makes it unreadable there is that its data key goes: a key seals for a week
(``sealing.SEALING_SECONDS``), so a week after the last value that it sealed has ended, no row needs it; it is deleted,
and when the bucket that wrapped it is a day old, that is replaced, and destroyed with the epoch above it.

What is held is compared page by page, here and not in the database: a statement takes thousands of parameters, and a
hold can keep more keys than that.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, Engine, delete, or_, select, tuple_

from audit.buckets import SLOTS, Buckets, slot_of
from audit.epochs import EpochKeys
from audit.eraser import DELETE_AT_ONCE, delete_values, erasing, no_hold_is_set
from audit.errors import LogUnavailable
from audit.reader import Reader
from audit.rotation import Rotation
from audit.sealing import SEALING_SECONDS
from audit.subjects import holds_of, keys_of
from audit.tables import data_keys, holds, key_buckets, payload_keys, payloads
from audit.wrapping import every_epoch
from gateway.commitments import NAME_KEY
from gateway.entries import EntryDraft, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append, AuditLog

BUCKET_SECONDS: Final = 20 * 3_600.0
"""After so long a bucket is replaced: deleted keys wait no longer until what wrapped them is destroyed."""
RENEWED_AT_ONCE: Final = SLOTS // 8
"""Buckets: an erasure that comes meanwhile waits for no more of them."""
_GRACE_SECONDS: Final = 3_600.0
"""A key that no longer seals may be in use by a commit that is under way."""
_AGE: Final = tuple_(payloads.c.created_at, payloads.c.commitment)


@dataclass(frozen=True, slots=True)
class Purged:
    """How much was deleted."""

    payloads: int
    keys: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What the holds that were set by some moment keep.

    Attributes:
        hold_ids: all of them, ended ones too.
        keys: data keys of people whose data is held.
        tenants: those with a hold of which nobody can say whose data it keeps.
    """

    hold_ids: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    tenants: set[str] = field(default_factory=set)

    def keeps(self, tenant: str, owners: Iterable[str]) -> bool:
        """Whether a value sealed by the keys ``owners`` has to stay."""
        return tenant in self.tenants or not self.keys.isdisjoint(owners)


class Purge:
    """Belongs to one event loop.

    Args:
        aliases: tenant and subject -> other subjects that are the same person, whose values a hold keeps, too.
    """

    def __init__(
        self,
        log: AuditLog,
        reader: Reader,
        eraser: Engine,
        epochs: EpochKeys,
        aliases: Callable[[str, str], list[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._reader = reader
        self._eraser = eraser
        self._epochs = epochs
        self._aliases = aliases
        self._clock = clock
        self._rotation = Rotation(log, reader, eraser, epochs, clock)

    async def run(self, days: int) -> Purged:
        """Delete payloads older than ``days`` days, except those of people whose data is held.

        Raises:
            LogUnavailable, SealBroken: it will be tried again.
        """
        with self._epochs.turn() as mine:
            if not mine:
                return Purged(0, 0)
            purged = await asyncio.to_thread(self._purge, self._clock() - days * 86_400.0)
            if purged.payloads or purged.keys:
                facts: dict[str, str | int] = {
                    "what": "payloads",
                    "payloads": purged.payloads,
                    "keys": purged.keys,
                    "days": days,
                }
                await self._log.append(Append([EntryDraft(EntryType.RETENTION_APPLIED, DEFAULT_TENANT, facts=facts)]))
            old = await asyncio.to_thread(self._old_slots)
            if old:
                await self._rotation.begin(old)  # what follows is ``Erasures.advance``'s
            return purged

    async def rotate(self) -> str:
        """Begin an epoch now; the bucket keys are wrapped anew by ``Erasures.advance``, which destroys the old one.

        Returns:
            The epoch's name.

        Raises:
            LogUnavailable: the epoch keys are in use just now, or the log cannot be written.
            SealBroken: the directory of epoch keys cannot be used.
        """
        with self._epochs.turn() as mine:
            epoch = await self._rotation.begin(()) if mine else None
        if epoch is None:
            raise LogUnavailable("the epoch keys are in use")
        return epoch

    def _purge(self, before: float) -> Purged:
        self._epochs.forget()
        held, count = self._held(), 0
        for page in self._pages(before):
            while (gone := self._delete(page, held)) is None:
                held = self._held()
            count += gone
        return Purged(count, sum(self._delete_keys(page) for page in self._idle_keys()))

    def _pages(self, before: float) -> Iterator[list[tuple[str, str, set[str]]]]:
        """Commitment, tenant and data keys of the values that are older, the oldest first."""
        wanted = select(payloads.c.created_at, payloads.c.commitment, payloads.c.tenant, payloads.c.key_id)
        wanted = wanted.where(payloads.c.created_at < before)
        wanted = wanted.order_by(payloads.c.created_at, payloads.c.commitment).limit(DELETE_AT_ONCE)
        query = wanted
        while True:
            with self._reader.connect() as connection:
                rows = connection.execute(query).all()
                if not rows:
                    return
                page = {row.commitment: (row.commitment, row.tenant, {row.key_id}) for row in rows}
                shared = select(payload_keys).where(payload_keys.c.commitment.in_(list(page)))
                for commitment, key_id in connection.execute(shared):
                    page[commitment][2].add(key_id)
            yield list(page.values())
            query = wanted.where(tuple_(rows[-1].created_at, rows[-1].commitment) < _AGE)

    def _delete(self, page: Sequence[tuple[str, str, set[str]]], held: _Held) -> int | None:
        """Those of ``page`` that ``held`` does not keep; ``None``, and nothing, where a hold was set since."""
        over = [commitment for commitment, tenant, owners in page if not held.keeps(tenant, owners)]
        if not over:
            return 0
        with erasing(self._eraser) as connection:
            no_hold_is_set(connection)
            if not held.hold_ids.issuperset(connection.execute(select(holds.c.hold_id)).scalars()):
                return None
            return delete_values(connection, over)

    def _held(self) -> _Held:
        every, now, held = every_epoch(self._epochs), self._clock(), _Held()
        with self._reader.connect() as connection:
            buckets = Buckets.load(connection, self._epochs)
            for tenant in connection.execute(select(holds.c.tenant).distinct()).scalars().all():
                for hold in holds_of(connection, every, tenant):
                    held.hold_ids.add(hold.hold_id)
                    if not hold.holds_at(now):
                        continue
                    if hold.subject is None:
                        held.tenants.add(tenant)
                    else:
                        names = [hold.subject, *self._aliases(tenant, hold.subject)]
                        held.keys.update(key.key_id for key in keys_of(connection, buckets, tenant, names))
        return held

    def _idle_keys(self) -> Iterator[list[str]]:
        """Data keys that seal no more and that no value needs."""
        after = ""
        while True:
            query = select(data_keys.c.key_id).where(data_keys.c.key_id > after, *self._idle())
            with self._reader.connect() as connection:
                found = connection.execute(query.order_by(data_keys.c.key_id).limit(DELETE_AT_ONCE)).scalars().all()
            if not found:
                return
            yield list(found)
            after = found[-1]

    def _delete_keys(self, key_ids: Sequence[str]) -> int:
        with erasing(self._eraser) as connection:
            query = delete(data_keys).where(data_keys.c.key_id.in_(key_ids), *self._idle())
            return int(connection.execute(query).rowcount)

    def _idle(self) -> list[ColumnElement[bool]]:
        used = or_(
            select(payloads.c.key_id).where(payloads.c.key_id == data_keys.c.key_id).exists(),
            select(payload_keys.c.key_id).where(payload_keys.c.key_id == data_keys.c.key_id).exists(),
        )
        over = data_keys.c.created_at < self._clock() - SEALING_SECONDS - _GRACE_SECONDS
        return [over, ~data_keys.c.key_id.startswith(NAME_KEY), ~used]

    def _old_slots(self) -> list[int]:
        """Some slots whose newest bucket is old, the oldest first."""
        newest: dict[int, float] = {}
        with self._reader.connect() as connection:
            for bucket, made_at in connection.execute(select(key_buckets.c.bucket, key_buckets.c.created_at)):
                newest[slot_of(bucket)] = max(made_at, newest.get(slot_of(bucket), 0.0))
        before = self._clock() - BUCKET_SECONDS
        old = sorted((made_at, slot) for slot, made_at in newest.items() if made_at < before and slot >= 0)
        return [slot for _, slot in old[:RENEWED_AT_ONCE]]
