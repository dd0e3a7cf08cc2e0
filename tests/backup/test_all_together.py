"""Retention, erasure and restore on one log, and then again on what was restored: none of them undoes another."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select

from audit import archive, holds
from audit.checkpoint import VerifierKey, verify_tlog_proof
from audit.database import make_owner
from audit.eraser import make_eraser
from audit.erasure import Erasures, Held
from audit.fsck import check as fsck
from audit.log import Log
from audit.merkle import leaf_hash
from audit.retained import PARTITION
from audit.retention import Retention, State
from audit.subjects import Hold, lifting, setting
from audit.tables import entries, payloads
from audit.verifier.note import Vkey
from audit.verifier.report import Verdict
from gateway.commitments import commit, person_key
from gateway.entries import EntryType
from gateway.ports import Append, Purpose
from tests.audit.conftest import draft
from tests.audit.export.house import House as Exporting
from tests.audit.export.house import check, said
from tests.backup.conftest import back_up, put_back, reopened
from tests.pipeline.house import ORIGIN, House, close_house

SECOND, THIRD = f"{ORIGIN}/second", f"{ORIGIN}/third"
LATER = 30 * 31 * 86_400.0
"""So much later retention is applied: everything that is whole is due by then."""
HELEN = person_key("helen@example.com")
"""Whose data is held."""


@dataclass
class Keeper:
    """What an operator does beside a gateway."""

    house: House
    erasures: Erasures
    retention: Retention

    async def keep(self, name: str) -> str:
        """A value of a person; its commitment."""
        value = commit(f"what {name} said".encode(), person_key(name))
        await self.house.log.append(Append([draft(context_id=None, plan_id=None, fields={"args": value})]))
        return value.commitment

    async def erase(self, name: str) -> None:
        await self.erasures.request("default", person_key(name), by="p-9")
        assert await self.erasures.advance()

    async def fill(self, partitions: int) -> None:
        """Append until the log has so many whole partitions; nothing in them is anybody's."""
        while (left := partitions * PARTITION + 1 - self.house.log.reader.head()[0]) > 0:
            size = self.house.log.reader.head()[0]
            numbers = range(size, size + min(left, 500))
            some = [draft(number, context_id=f"c{number // PARTITION}") for number in numbers]
            await self.house.log.append(Append(some))

    async def states(self) -> list[State]:
        return [one.state for one in await self.retention.survey()]

    def rows(self, partition: int) -> int:
        query = select(func.count()).select_from(entries)
        within = (entries.c.idx >= partition * PARTITION, entries.c.idx < (partition + 1) * PARTITION)
        with self.house.log.reader.connect() as connection:
            return int(connection.execute(query.where(*within)).scalar_one())

    def stored(self, commitment: str) -> bool:
        query = select(payloads.c.idx).where(payloads.c.commitment == commitment)
        with self.house.log.reader.connect() as connection:
            return connection.execute(query).first() is not None


def keys(house: House, *names: str) -> list[VerifierKey]:
    return [VerifierKey(name, key.raw) for name in names for key in house.keyset.public_bytes(Purpose.CHECKPOINT)]


@contextlib.asynccontextmanager
async def keeping(house: House, name: str) -> AsyncIterator[Keeper]:
    log, eraser = house.log, make_eraser(house.settings.database_url)
    epochs, owner = log._opener._epochs, make_owner(house.settings.database_url)
    owners = Log(owner, house.settings.log, house.keyset, epochs, "retention")
    await owners.start()
    retention = Retention(owner, owners, keys(house, name), 24, None, 60, lambda: time.time() + LATER)
    try:
        yield Keeper(house, Erasures(log, log.reader, eraser, epochs), retention)
    finally:
        await owners.close()
        owner.dispose()
        eraser.dispose()


async def hold(keeper: Keeper, hold_id: str) -> None:
    row = Hold(hold_id, "default", HELEN, "legal_claim", float(int(time.time())), "p-9", None)
    async with keeper.erasures.steady() as every:
        entry = draft(type=EntryType.HOLD_SET, context_id=None, plan_id=None, facts={"hold": hold_id})
        await keeper.house.log.append(Append([entry], [setting(every[-1], row)]))


async def evidence(house: House, restored_at: int, *former: str) -> None:
    """A stranger's verifier, which has the verifier keys of the ``former`` names too, explains the log's name."""
    log = Exporting(house.log, house.keyset)
    await log.record_keys()
    report = check(await log.bundle(first=restored_at - 3), log.key, *map(Vkey.parse, former))
    assert said(report, Verdict.FAILED) == {}
    assert f"entry {restored_at} says" in said(report, Verdict.PROVED)["names"]


async def test_retention_erasure_and_restore_go_together_twice(
    house: House, tmp_path: Path, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.audit.export.house.NOW", int(time.time()))
    epochs = house.log._opener._epochs
    async with keeping(house, ORIGIN) as first:
        helens, anns, bobs = [await first.keep(f"{name}@example.com") for name in ("helen", "ann", "bob")]
        await hold(first, "h1")
        await first.fill(4)
        held_id, entry = holds.setting(holds.Held(context_id="c2"), "2026/17")
        await house.log.append(Append([entry]))
        assert await first.states() == [State.VALUES, State.DUE, State.HELD, State.DUE]
        old_leaf, old_proof = (
            leaf_hash(house.log.reader.entry(PARTITION + 5).body),
            await house.log.proof(PARTITION + 5),
        )
        await first.erase("ann@example.com")
        assert await first.retention.drop(1) > 4000
        made = await back_up(house, tmp_path / "one")

        await first.erase("bob@example.com")
        with pytest.raises(Held):
            await first.erase("helen@example.com")
        assert await first.retention.drop(3) > 4000
        assert set(await house.log.open([helens, anns, bobs])) == {helens}
        kept = (await house.log.signed_head())[1]
    url = new_database()
    restored = await put_back(house.settings, tmp_path / "one", url, SECOND, kept=[kept])
    known, size = int(kept.split("\n")[1]), made.manifest.size
    assert (restored.size, restored.known) == (size, known)

    second = await reopened(house, url, SECOND)
    try:
        async with keeping(second, SECOND) as keeper:
            opened = second.entries()
            [told] = [one for one in opened if one["type"] == EntryType.BACKUP_RESTORED]
            assert (told["origin"], told["facts"]["origin"], told["facts"]["lost"]) == (SECOND, ORIGIN, known - size)
            # Nothing that was erased is readable, before the backup or after it; what is held has its rows.
            assert await second.log.open([anns, bobs]) == {}
            assert (keeper.stored(anns), keeper.stored(helens)) == (False, True)
            assert (keeper.rows(1) < 10, keeper.rows(2), keeper.rows(3)) == (True, PARTITION, PARTITION)
            assert (await keeper.states())[:4] == [State.VALUES, State.DROPPED, State.HELD, State.DUE]
            both = keys(house, ORIGIN, SECOND)
            assert list(fsck(second.log._engine, keys=both, kept=[restored.checkpoint], epochs=epochs)) == []
            for proof in (old_proof, await second.log.proof(PARTITION + 5)):
                assert verify_tlog_proof(proof, old_leaf, keys(house, ORIGIN), ORIGIN)[0] == PARTITION + 5
            await evidence(second, size, house.log.vkey())
            # Whom the hold is on nobody can say any more: it stands against every erasure until it is set anew.
            with pytest.raises(Held) as refused:
                await keeper.erase("carol@example.com")
            assert [(one.hold_id, one.subject) for one in refused.value.holds] == [("h1", None)]
            helens, carols = await keeper.keep("helen@example.com"), await keeper.keep("carol@example.com")
            await hold(keeper, "h2")
            lifted = draft(type=EntryType.HOLD_LIFTED, context_id=None, plan_id=None, facts={"hold": "h1"})
            await second.log.append(Append([lifted], [lifting("h1")]))
            with pytest.raises(Held):
                await keeper.erase("helen@example.com")

            # And once more, on the log that came of it.
            await keeper.erase("carol@example.com")
            await keeper.fill(5)
            assert await keeper.retention.drop(3) > 4000
            with second.log.reader.connect() as connection:
                data = archive.make(connection, 2, (await second.log.proofs([3 * PARTITION - 1]))[0])
            assert archive.verify(data, both, SECOND).partition == 2
            again, second_key = await back_up(second, tmp_path / "two"), second.log.vkey()
            daves = await keeper.keep("dave@example.com")
            await keeper.erase("dave@example.com")
            kept = (await second.log.signed_head())[1]
        last = new_database()
        restored = await put_back(second.settings, tmp_path / "two", last, THIRD, kept=[kept])
    finally:
        await close_house(second)

    third = await reopened(house, last, THIRD)
    try:
        async with keeping(third, THIRD) as keeper:
            told = [one for one in third.entries() if one["type"] == EntryType.BACKUP_RESTORED][-1]
            lost = int(kept.split("\n")[1]) - again.manifest.size
            assert (told["origin"], told["facts"]["origin"], told["facts"]["lost"]) == (THIRD, SECOND, lost)
            assert await third.log.open([anns, bobs, carols, daves]) == {}
            assert keeper.stored(helens)
            assert (await keeper.states())[:4] == [State.VALUES, State.DROPPED, State.HELD, State.DROPPED]
            with third.log.reader.connect() as connection:
                assert [one.hold_id for one in holds.in_force(connection)] == [held_id]
            every = keys(house, ORIGIN, SECOND, THIRD)
            assert list(fsck(third.log._engine, keys=every, kept=[restored.checkpoint], epochs=epochs)) == []
            assert third.log.former == (ORIGIN, SECOND)
            assert verify_tlog_proof(await third.log.proof(PARTITION + 5), old_leaf, every, ORIGIN)[0] == PARTITION + 5
            await evidence(third, again.manifest.size, house.log.vkey(), second_key)
            carols = await keeper.keep("carol@example.com")
            assert set(await third.log.open([carols])) == {carols}, "and it goes on"
    finally:
        await close_house(third)
