"""The end of a payload's time: what is older than the retention says is deleted, with the keys that no value needs.

A deleted row can lie on in a backup. What makes it unreadable there is that its data key goes: a key seals for a week
(``sealing.SEALING_SECONDS``), so a week after the last value that it sealed has ended, no row needs it; it is deleted,
and with the next epoch the key that wrapped it is destroyed.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, delete, func, or_, select

from audit.epochs import EpochKeys
from audit.eraser import erasing
from audit.erasure import delete_payloads
from audit.errors import LogUnavailable
from audit.reader import Reader
from audit.rotation import Rotation
from audit.sealing import SEALING_SECONDS, every_epoch
from audit.subjects import holds_of, keys_of
from audit.tables import data_keys, holds, key_epochs, payload_keys, payloads
from gateway.entries import EntryDraft, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append, AuditLog

EPOCH_SECONDS: Final = 86_400.0
"""Deleted keys wait for so long, at most, until the epoch key above them is destroyed."""
_GRACE_SECONDS: Final = 3_600.0
"""A key that no longer seals may be in use by a commit that is under way."""
_POLL_SECONDS: Final = 0.05
_STEADY_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Purged:
    """How much was deleted."""

    payloads: int
    keys: int


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
            if await asyncio.to_thread(self._stale):
                await self._rotation.begin()  # what follows is ``Erasures.advance``'s
            return purged

    async def rotate(self) -> str:
        """Begin an epoch now; what is under the old ones is wrapped anew by ``Erasures.advance``.

        Returns:
            The epoch's name.

        Raises:
            LogUnavailable: the epoch keys are in use just now, or the log cannot be written.
            SealBroken: the directory of epoch keys cannot be used.
        """
        with self._epochs.turn() as mine:
            epoch = await self._rotation.begin() if mine else None
        if epoch is None:
            raise LogUnavailable("the epoch keys are in use")
        return epoch

    def _purge(self, before: float) -> Purged:
        count = 0
        while found := self._delete_some(before):
            count += found
        with erasing(self._eraser) as connection:
            keys = connection.execute(delete(data_keys).where(*self._idle())).rowcount
        return Purged(count, keys)

    def _delete_some(self, before: float) -> int:
        """Payloads of one transaction. No hold is set between the look at the holds and the end of it."""
        for _ in range(_STEADY_TRIES):
            with self._epochs.steady() as mine:
                if mine:
                    self._epochs.forget()
                    return delete_payloads(self._eraser, self._over(before))
            time.sleep(_POLL_SECONDS)
        return 0  # the rest is found the next time

    def _over(self, before: float) -> Any:
        kept = self._kept()
        wanted = select(payloads.c.commitment).where(payloads.c.created_at < before)
        if not kept:
            return wanted
        shared = select(payload_keys.c.commitment).where(payload_keys.c.key_id.in_(kept))
        return wanted.where(payloads.c.key_id.not_in(kept), payloads.c.commitment.not_in(shared))

    def _idle(self) -> list[ColumnElement[bool]]:
        used = or_(
            select(payloads.c.key_id).where(payloads.c.key_id == data_keys.c.key_id).exists(),
            select(payload_keys.c.key_id).where(payload_keys.c.key_id == data_keys.c.key_id).exists(),
        )
        return [data_keys.c.created_at < self._clock() - SEALING_SECONDS - _GRACE_SECONDS, ~used]

    def _kept(self) -> list[str]:
        """Data keys of people whose data is held."""
        every, now = every_epoch(self._epochs), self._clock()
        kept: list[str] = []
        with self._reader.connect() as connection:
            for tenant in connection.execute(select(holds.c.tenant).distinct()).scalars().all():
                for hold in holds_of(connection, every, tenant):
                    if hold.holds_at(now):
                        names = [hold.subject, *self._aliases(tenant, hold.subject)]
                        kept.extend(key.key_id for key in keys_of(connection, every, tenant, names))
        return kept

    def _stale(self) -> bool:
        """Whether an epoch has lasted long enough, and something was sealed in it."""
        with self._reader.connect() as connection:
            oldest = connection.execute(select(func.min(data_keys.c.created_at))).scalar()
            begun = connection.execute(select(func.max(key_epochs.c.begun_at))).scalar()
        since = begun if begun is not None else oldest
        return since is not None and since < self._clock() - EPOCH_SECONDS
