"""Erasure of what is held about a person, so that no copy of the database gives it back (GDPR art. 17).

    request   one append: the entry, the erasure's row, the person's data keys marked as erased, and whatever rows the
              caller adds. From its commit on no gateway opens what these keys sealed, and none seals by them again.
    delete    values and salts.
    rotate    to a new epoch (:mod:`audit.rotation`), with new buckets for the slots of the person's keys, which are
              deleted: survivors are rewrapped, the old epoch key is destroyed.
    done      an entry with counts, and no name.

The request names the person in memory alone; what comes after goes by ids of keys. So a crash at any point leaves
something that any gateway of the database completes, and nobody can read from it who asked to be forgotten.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, Executable, bindparam, delete, func, insert, select, text, update

from audit.buckets import Buckets, slot_of
from audit.epochs import EpochKeys
from audit.eraser import DELETE_AT_ONCE, delete_values, erasing
from audit.errors import LogUnavailable, NotLogged
from audit.reader import Reader
from audit.rotation import Rotation
from audit.subjects import Hold, holds_of, keys_of, new_id, no_hold_since, nothing_shared_since
from audit.tables import data_keys, erased_keys, erasures, head, payload_keys, payloads
from audit.threads import at_length
from audit.wrapping import WrappingKey, every_epoch
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Overtaken
from gateway.ports import Append, AuditLog, Unless, Write

_STEADY_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_LOOKS: Final = 20
"""How often the holds are looked at, where others go on setting some."""

_MARK: Final = (
    f"INSERT INTO {erased_keys.name} (key_id, erasure_id) "  # noqa: S608
    f"SELECT k.key_id, CAST(:erasure AS VARCHAR(32)) FROM {data_keys.name} k "
    "WHERE k.tenant = :the_tenant AND k.subject IN (SELECT %s) "
    f"AND NOT EXISTS (SELECT 1 FROM {erased_keys.name} e WHERE e.key_id = k.key_id)"
)
_MARKS: Final = {
    "sqlite": text(_MARK % "value FROM json_each(:tags)"),
    "postgresql": text(_MARK % "json_array_elements_text(CAST(:tags AS json))"),
}
"""Exact while the log's head is locked, as it is in an append: whoever seals holds that lock."""
_INSERT: Final = insert(erasures)
_BEGUN: Final = (
    update(erasures).where(erasures.c.erasure_id == bindparam("the_erasure")).values(epoch=bindparam("the_epoch"))
)
_DONE: Final = (
    update(erasures)
    .where(erasures.c.erasure_id == bindparam("the_erasure"))
    .values(done_at=bindparam("at"), done_index=bindparam("index"))
)
_OPEN: Final = select(erasures).where(erasures.c.done_at.is_(None)).order_by(erasures.c.requested_at)


class Held(Exception):
    """The person's data has to stay (GDPR art. 17(3)), or what it shares with somebody whose data has to; ``holds`` say
    why."""

    def __init__(self, holds: Sequence[Hold]) -> None:
        super().__init__("held")
        self.holds = holds


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure, under way or done. Times are seconds since the epoch."""

    erasure_id: str
    tenant: str
    requested_at: float
    requested_by: str
    requested_index: int
    epoch: str | None
    keys: int
    payloads: int
    done_at: float | None
    done_index: int | None


class Erasures:
    """Takes erasures in and carries them out. Belongs to one event loop.

    Args:
        eraser: from ``audit.eraser.make_eraser``.
        aliases: tenant and subject -> other subjects that are the same person, whose values a hold keeps, too.
    """

    def __init__(
        self,
        log: AuditLog,
        reader: Reader,
        eraser: Engine,
        epochs: EpochKeys,
        clock: Callable[[], float] = time.time,
        aliases: Callable[[str, str], list[str]] = lambda _tenant, _subject: [],
    ) -> None:
        self._log = log
        self._reader = reader
        self._eraser = eraser
        self._epochs = epochs
        self._clock = clock
        self._aliases = aliases
        self.rotation = Rotation(log, reader, eraser, epochs, clock)

    async def request(
        self,
        tenant: str,
        person: str,
        others: Sequence[str] = (),
        *,
        by: str,
        entries: Sequence[EntryDraft] = (),
        writes: Sequence[Write] = (),
    ) -> str:
        """Erase data subjects of a tenant; returns the erasure's id. What this wrote stays even if nobody goes on.

        Args:
            person: the subject by which the person may be held.
            others: more subjects that are the same person.
            by: pseudonym of who asks.
            entries, writes: what goes in the same append.

        Raises:
            Held: there is a hold on the person, or on somebody whose values are the person's, too; nothing was erased.
            LogUnavailable: it may be on record, or not; asking again is harmless.
        """
        erasure_id = new_id()
        row = {
            "erasure_id": erasure_id,
            "tenant": tenant,
            "requested_at": self._clock(),
            "requested_by": by,
            "epoch": None,
            "payloads": 0,
            "done_at": None,
            "done_index": None,
        }
        entry = EntryDraft(EntryType.ERASURE_REQUESTED, tenant, principal=by, facts={"erasure": erasure_id})

        def numbered(indices: Sequence[int]) -> Sequence[Write]:
            return [Write(_INSERT, {**row, "requested_index": indices[0]})]

        async with self.steady() as every:
            for _ in range(_LOOKS):
                names, unless = await at_length(self._unheld, every, tenant, person, others)
                values = {"erasure": erasure_id, "the_tenant": tenant, "tags": names}
                mark = Write(_MARKS[self._eraser.dialect.name], values)
                item = Append([entry, *entries], [mark, *writes], finalise=numbered, unless=unless)
                with suppress(Overtaken):
                    await self._log.append(item)
                    return erasure_id
        raise LogUnavailable("the holds that could be about that person go on changing")

    async def holding(self, tenant: str, person: str, others: Sequence[str] = ()) -> list[Hold]:
        """The holds for which :meth:`request` would raise ``Held`` now. Raises ``LogUnavailable`` or ``SealBroken``."""
        async with self.steady() as every:
            return await at_length(self._holding, every, tenant, person, others)

    async def advance(self) -> bool:
        """Carry out what was asked for, whoever took it in; whether nothing is left to do.

        Raises:
            LogUnavailable, SealBroken: it will be tried again.
        """
        pending = await asyncio.to_thread(self._pending)
        if not pending and not await self.rotation.due():
            return True
        with self._epochs.turn() as mine:
            return mine and await self._advance()

    async def state(self, tenant: str, erasure_id: str) -> Erasure:
        """How far an erasure is. Raises ``NotLogged``."""
        return await at_length(self._state, tenant, erasure_id)

    @asynccontextmanager
    async def steady(self) -> Any:
        """Every epoch, while none begins; not for long.

        Raises:
            LogUnavailable: somebody else holds them for seconds.
        """
        until = time.monotonic() + _STEADY_SECONDS
        while True:
            with self._epochs.steady() as mine:
                if mine:
                    self._epochs.forget()
                    yield await asyncio.to_thread(every_epoch, self._epochs)
                    return
            if time.monotonic() > until:
                raise LogUnavailable("the epoch keys are in use")
            await asyncio.sleep(_POLL_SECONDS)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _advance(self) -> bool:
        self._epochs.forget()
        # One that is asked for from here on waits for the next round: what it erases may be rewrapped in this one.
        pending = await asyncio.to_thread(self._pending)
        await asyncio.to_thread(self._delete_values, pending)
        fresh = [row.erasure_id for row in pending if row.epoch is None]

        def begun(epoch: str) -> Sequence[Write]:
            return [Write(_BEGUN, {"the_erasure": one, "the_epoch": epoch}) for one in fresh]

        if fresh or not await self.rotation.is_begun():
            slots = await asyncio.to_thread(self._slots, fresh)
            if await self.rotation.begin(slots, begun) is None:
                return False
        # Only now: until the new buckets are on record, the rows say which ones have to be.
        await asyncio.to_thread(self._delete_keys, pending)
        if not await self.rotation.finish():
            return False
        for row in pending:
            await self._done(row.tenant, row.erasure_id)
        return not await asyncio.to_thread(self._pending)

    async def _done(self, tenant: str, erasure_id: str) -> None:
        row = await self.state(tenant, erasure_id)
        facts: dict[str, str | int] = {
            "erasure": row.erasure_id,
            "requested": row.requested_index,
            "keys": row.keys,
            "payloads": row.payloads,
            "epoch": row.epoch or "",
        }
        entry = EntryDraft(EntryType.ERASURE_DONE, row.tenant, principal=row.requested_by, facts=facts)
        now = self._clock()

        def numbered(indices: Sequence[int]) -> Sequence[Write]:
            return [Write(_DONE, {"the_erasure": row.erasure_id, "at": now, "index": indices[0]})]

        await self._log.append(Append([entry], finalise=numbered))

    def _pending(self) -> Sequence[Any]:
        with self._reader.connect() as connection:
            return connection.execute(_OPEN).all()

    def _unheld(
        self, every: Sequence[WrappingKey], tenant: str, person: str, others: Sequence[str]
    ) -> tuple[str, Sequence[Unless]]:
        """Every keyed hash of these subjects, as JSON; and what must not come in between this look and the act.

        Raises:
            Held: nobody may erase them.
        """
        with self._reader.connect() as connection:
            # First: what is read after it may be newer, never older.
            seen = connection.execute(select(head.c.tree_size)).scalar() or 0
            buckets = Buckets.load(connection, self._epochs)
        held = self._holding(every, tenant, person, others)
        if held:
            raise Held(held)
        names = orjson.dumps(sorted({tag for _, tag in buckets.tags(tenant, (person, *others))})).decode()
        with self._reader.connect() as connection:
            anybody = any(hold.holds_at(self._clock()) for hold in holds_of(connection, every, tenant))
        unless = [no_hold_since(tenant, seen), *buckets.none_made(tenant, (person, *others))]
        if anybody:
            unless.append(nothing_shared_since(self._eraser.dialect.name, tenant, names, seen))
        return names, unless

    def _holding(self, every: Sequence[WrappingKey], tenant: str, person: str, others: Sequence[str]) -> list[Hold]:
        now = self._clock()
        with self._reader.connect() as connection:
            in_force = [hold for hold in holds_of(connection, every, tenant) if hold.holds_at(now)]
            mine = [hold for hold in in_force if hold.subject in (person, None)]
            if mine or not in_force:
                return mine
            buckets = Buckets.load(connection, self._epochs)
            keys = [key.key_id for key in keys_of(connection, buckets, tenant, (person, *others))]
            return [
                hold for hold in in_force if _share(connection, keys, self._keys_of_held(connection, buckets, hold))
            ]

    def _keys_of_held(self, connection: Connection, buckets: Buckets, hold: Hold) -> set[str]:
        names = () if hold.subject is None else (hold.subject, *self._aliases(hold.tenant, hold.subject))
        return {key.key_id for key in keys_of(connection, buckets, hold.tenant, names)}

    def _state(self, tenant: str, erasure_id: str) -> Erasure:
        with self._reader.connect() as connection:
            query = select(erasures).where(erasures.c.erasure_id == erasure_id, erasures.c.tenant == tenant)
            row = connection.execute(query).one_or_none()
            if row is None:
                raise NotLogged(f"erasure {erasure_id}")
            count = select(func.count()).select_from(erased_keys).where(erased_keys.c.erasure_id == erasure_id)
            return Erasure(
                row.erasure_id,
                row.tenant,
                row.requested_at,
                row.requested_by,
                row.requested_index,
                row.epoch,
                connection.execute(count).scalar_one(),
                row.payloads,
                row.done_at,
                row.done_index,
            )

    def _delete_values(self, pending: Sequence[Any]) -> None:
        """Values of erasures that are under way."""
        for row in pending:
            mine = select(erased_keys.c.key_id).where(erased_keys.c.erasure_id == row.erasure_id)
            alone = select(payloads.c.commitment).where(payloads.c.key_id.in_(mine))
            shared = select(payload_keys.c.commitment).where(payload_keys.c.key_id.in_(mine))
            for query in (shared, alone):
                while delete_payloads(self._eraser, query, _counting(row.erasure_id)):
                    pass

    def _slots(self, erasure_ids: Sequence[str]) -> set[int]:
        """Slots in whose buckets keys of these erasures are."""
        found: set[int] = set()
        for erasure_id in erasure_ids:
            query = (
                select(data_keys.c.bucket)
                .join_from(data_keys, erased_keys, erased_keys.c.key_id == data_keys.c.key_id)
                .where(erased_keys.c.erasure_id == erasure_id)
                .distinct()
            )
            with self._reader.connect() as connection:
                found.update(slot_of(bucket) for bucket in connection.execute(query).scalars())
        return found

    def _delete_keys(self, pending: Sequence[Any]) -> None:
        """Data keys of erasures that are under way."""
        for row in pending:
            mine = select(erased_keys.c.key_id).where(erased_keys.c.erasure_id == row.erasure_id)
            with erasing(self._eraser) as connection:
                connection.execute(delete(data_keys).where(data_keys.c.key_id.in_(mine)))


def _share(connection: Connection, mine: Sequence[str], theirs: set[str]) -> bool:
    """Whether a value is sealed by one of ``mine`` and one of ``theirs``."""
    for key_id in mine:
        of_it = select(payload_keys.c.commitment).where(payload_keys.c.key_id == key_id)
        owners = select(payload_keys.c.key_id).where(payload_keys.c.commitment.in_(of_it)).distinct()
        if not theirs.isdisjoint(connection.execute(owners).scalars()):
            return True
    return False


def delete_payloads(eraser: Engine, wanted: Any, also: Callable[[Connection, int], None]) -> int:
    """Delete some of the payloads whose commitments ``wanted`` selects; returns how many it found, 0 at the end."""
    with erasing(eraser) as connection:
        found = connection.execute(wanted.limit(DELETE_AT_ONCE)).scalars().all()
        if found:
            also(connection, delete_values(connection, found))
        return len(found)


def _counting(erasure_id: str) -> Callable[[Connection, int], None]:
    counted: Executable = (
        update(erasures)
        .where(erasures.c.erasure_id == erasure_id)
        .values(payloads=erasures.c.payloads + bindparam("gone"))
    )

    def count(connection: Connection, gone: int) -> None:
        connection.execute(counted, {"gone": gone})

    return count
