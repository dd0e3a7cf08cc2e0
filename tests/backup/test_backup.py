"""Backups under load, and logs that go on from one: rehearsed on both databases, and attacked."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, func, select

from audit.backup import DATABASE, MANIFEST, TRUST
from audit.checkpoint import VerifierKey, verify_tlog_proof
from audit.database import make_engine
from audit.errors import BackupRefused
from audit.findings import Fault
from audit.fsck import check
from audit.merkle import leaf_hash, verify_consistency
from audit.tables import entries, payloads
from gateway import backups
from gateway.calls import HandCall, HandResult
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Refused
from gateway.model import Answer
from gateway.ports import Append, Purpose
from gateway.reasons import Reason
from gateway.store.tables import plans, sessions
from tests.backup.conftest import NEW, back_up, put_back, reopened
from tests.pipeline.house import APPROVER, ORIGIN, House, close_house, step

Databases = Callable[[], str]


def keys(house: House, name: str = ORIGIN) -> list[VerifierKey]:
    return [VerifierKey(name, key.raw) for key in house.keyset.public_bytes(Purpose.CHECKPOINT)]


def findings(url: str, **options: Any) -> list[Any]:
    engine = make_engine(url)
    try:
        return [(finding.fault, finding.first, finding.last) for finding in check(engine, **options)]
    finally:
        engine.dispose()


async def test_a_backup_made_under_load_becomes_a_log_that_says_what_was_lost(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    stop = asyncio.Event()

    async def load() -> int:
        sent = 0
        while not stop.is_set():
            await house.plan(step("a"))
            sent += 1
        return sent

    await house.plan(step("a"))
    loads = [asyncio.create_task(load()) for _ in range(4)]
    made = await back_up(house, tmp_path / "backup")
    stop.set()
    assert sum(await asyncio.gather(*loads)) > 0
    size = made.manifest.size
    recorded = house.entries()[made.index]
    assert made.index >= size
    assert recorded["type"] == EntryType.BACKUP_MADE
    assert recorded["facts"] == {"size": size, "root": made.manifest.root, "backup": made.manifest.digest}

    newest = (await house.log._signed())[1]
    known = int(newest.split("\n")[1])
    old_proof = await house.log.proof(0)
    into = new_database()
    done = await put_back(house.settings, tmp_path / "backup", into, kept=[newest])
    assert (done.size, done.known) == (size, known)
    assert findings(into, keys=[*keys(house), *keys(house, NEW)], kept=[done.checkpoint]) == []
    # Whoever kept the newer checkpoint finds exactly what was lost.
    assert findings(into, kept=[newest]) == [(Fault.TRUNCATED, size, known - 1)]

    again = await reopened(house, into)
    try:
        first = again.entries()[size]
        assert (first["type"], first["origin"]) == (EntryType.BACKUP_RESTORED, NEW)
        assert first["facts"]["checkpoint"] == newest
        said = [first["facts"][name] for name in ("origin", "size", "known_size", "lost")]
        assert said == [ORIGIN, size, known, known - size]
        assert again.entries()[:size] == house.entries()[:size]
        # Old proofs hold, new ones of old entries are under the old name, and the old root leads to the new one.
        leaf = leaf_hash(again.log.reader.entry(0).body)
        for proof in (old_proof, await again.log.proof(0)):
            assert verify_tlog_proof(proof, leaf, keys(house), ORIGIN)[0] == 0
        newer = leaf_hash(again.log.reader.entry(size).body)
        assert verify_tlog_proof(await again.log.proof(size), newer, keys(house, NEW), NEW)[0] == size
        head_size, head_root = again.log.reader.head()
        path = again.log.reader.consistency(size, head_size)
        verify_consistency(size, head_size, path, bytes.fromhex(made.manifest.root), head_root)
        assert again.log.former == (ORIGIN,)
        # What was signed for the old name is refused; what is signed for the new one runs.
        with pytest.raises(Refused) as refusal:
            await again.plan(step("a"))
        assert refusal.value.reason is Reason.VERIFY_AUDIENCE
        assert (await again.plan(step("a"), aud=NEW))["status"] == "done"
    finally:
        await close_house(again)


async def test_nothing_that_was_under_way_in_a_backup_runs_again(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    started, let_go = asyncio.Event(), asyncio.Event()

    async def slow(_call: HandCall) -> HandResult:
        started.set()
        await let_go.wait()
        return HandResult((), {})

    house.hands.behaviour["typed"] = slow
    held = await house.plan(step("ask", "write"), step("then", depends_on=["ask"]))
    running = asyncio.create_task(house.plan(step("slow", "typed")))
    await started.wait()
    await back_up(house, tmp_path / "backup")
    # After the backup the held step is approved and runs, and the running one ends. All of that is lost.
    (approval,) = (await house.approvals.list(APPROVER))["approvals"]
    await house.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
    let_go.set()
    done = await running
    assert (await house.until_settled(held["plan_id"]))["status"] == "done"

    into = new_database()
    await put_back(house.settings, tmp_path / "backup", into)
    again = await reopened(house, into)
    try:
        for plan_id in (held["plan_id"], done["plan_id"]):
            view = (await again.pipeline.load(plan_id)).view()
            assert view["status"] == "done"
            assert {one["status"] for one in view["steps"]} == {"ambiguous"}
            assert {one["error"]["code"] for one in view["steps"]} == {Reason.LOG_RESTORED}
        with pytest.raises(Refused):
            await again.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
        (shown,) = (await again.approvals.list(APPROVER))["approvals"]
        assert shown["status"] == "voided"
        assert again.hands.calls == []
        assert findings(into) == []
    finally:
        await close_house(again)


async def test_what_was_erased_since_stays_unreadable_after_a_restore(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    await house.plan(step("a"))
    with house.log.reader.connect() as connection:
        sealed = list(connection.execute(select(payloads.c.commitment)).scalars())
    assert await house.log.open(sealed)
    await back_up(house, tmp_path / "backup")
    epochs = house.log._opener._epochs
    old, _ = epochs.current()
    epochs.rotate()
    epochs.destroy(old)
    into = new_database()
    await put_back(house.settings, tmp_path / "backup", into)
    again = await reopened(house, into)
    try:
        assert await again.log.open(sealed) == {}
    finally:
        await close_house(again)


async def test_a_backup_holds_no_key(house: House, tmp_path: Path) -> None:
    await house.plan(step("a", args={"text": "a secret nobody may read"}))
    made = await back_up(house, tmp_path / "backup")
    whole = b"".join((tmp_path / "backup" / name).read_bytes() for name in (DATABASE, TRUST, MANIFEST))
    home = house.settings.home
    master = (home / "master.key").read_text().strip()
    assert master.encode() not in whole
    assert bytes.fromhex(master) not in whole
    sealed = [file for part in ("epochs", "keys") for file in (home / part).rglob("*") if file.is_file()]
    assert len(sealed) > 2
    for file in sealed:
        content = file.read_bytes()
        assert not content or content not in whole, file.name
    assert b"a secret nobody may read" not in whole
    assert set(made.manifest.files) == {DATABASE, TRUST}
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {DATABASE, TRUST, MANIFEST}
    assert ((tmp_path / "backup").stat().st_mode & 0o777) == 0o700


async def test_nobody_stays_logged_in_through_a_restore(house: House, tmp_path: Path, new_database: Databases) -> None:
    assert sessions not in backups.tables()
    await house.plan(step("w", "write"))
    await back_up(house, tmp_path / "backup")
    into = new_database()
    await put_back(house.settings, tmp_path / "backup", into)
    engine = make_engine(into)
    with engine.connect() as connection:
        (owner,) = connection.execute(select(plans.c.owner)).scalars()
    engine.dispose()
    assert owner == (house.settings.home / "gateway-id").read_text().strip()


# --- what is refused -------------------------------------------------------------------------------------------------


def altered(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        at = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[how]
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


async def test_a_backup_that_was_changed_is_refused_whatever_was_changed(house: House, tmp_path: Path) -> None:
    await house.plan(step("a"))
    await back_up(house, tmp_path / "backup")
    kept = {name: (tmp_path / "backup" / name).read_bytes() for name in (DATABASE, TRUST, MANIFEST)}
    settings = house.settings
    for name, content in kept.items():
        for how in ("gone", "cut", "first", "middle", "last"):
            altered(tmp_path / "backup" / name, how)
            with pytest.raises(BackupRefused):
                await asyncio.to_thread(backups.verify, settings, tmp_path / "backup", [], [])
            (tmp_path / "backup" / name).write_bytes(content)
    assert (await asyncio.to_thread(backups.verify, settings, tmp_path / "backup", [], [])).size


async def test_a_backup_that_another_key_signed_is_refused(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    await house.plan(step("a"))
    await back_up(house, tmp_path / "backup")
    stranger = house.settings.model_copy(update={"home": tmp_path / "other"})
    foreign = VerifierKey(ORIGIN, os.urandom(32))
    with pytest.raises(BackupRefused, match="no known key"):
        await asyncio.to_thread(backups.verify, stranger, tmp_path / "backup", [str(foreign)], [])
    with pytest.raises(BackupRefused, match="no keys to check"):
        await asyncio.to_thread(backups.verify, stranger, tmp_path / "backup", [], [])
    with pytest.raises(BackupRefused, match="no master key"):
        await put_back(stranger, tmp_path / "backup", new_database())
    assert not (tmp_path / "other").exists()
    assert await asyncio.to_thread(backups.verify, stranger, tmp_path / "backup", list(map(str, keys(house))), [])


async def test_nothing_is_overwritten_and_no_name_is_used_twice(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    await house.plan(step("a"))
    await back_up(house, tmp_path / "backup")
    with pytest.raises(BackupRefused, match="exists already"):
        await back_up(house, tmp_path / "backup")
    with pytest.raises(BackupRefused, match=r"exists already|not empty"):
        await put_back(house.settings, tmp_path / "backup", house.settings.database_url)
    with pytest.raises(BackupRefused, match="had this name before"):
        await put_back(house.settings, tmp_path / "backup", new_database(), ORIGIN)
    once = new_database()
    await put_back(house.settings, tmp_path / "backup", once)
    again = await reopened(house, once)
    try:
        await back_up(again, tmp_path / "second")
        for name in (ORIGIN, NEW):
            with pytest.raises(BackupRefused, match="had this name before"):
                await put_back(again.settings, tmp_path / "second", new_database(), name)
        twice = new_database()
        await put_back(again.settings, tmp_path / "second", twice, "handrail.test/third")
        assert findings(twice, keys=[*keys(house), *keys(house, NEW), *keys(house, "handrail.test/third")]) == []
    finally:
        await close_house(again)


async def test_a_kept_checkpoint_that_the_backup_contradicts_is_refused(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    await house.plan(step("a"))
    await back_up(house, tmp_path / "backup")
    true = (await house.log.checkpoint()).split("\n")
    text = "\n".join([true[0], "2", true[2]]) + "\n"  # signed by the right key, and of a history that never was
    lie = backups.sign_note(text, keys(house)[0], lambda raw: house.keyset.sign_raw(Purpose.CHECKPOINT, raw))
    for kept, words in ((lie, "not what the kept checkpoint"), ("garbage", "a kept checkpoint")):
        with pytest.raises(BackupRefused, match=words):
            await put_back(house.settings, tmp_path / "backup", new_database(), kept=[kept])


async def test_a_log_that_is_not_sound_is_not_backed_up(house: House, tmp_path: Path) -> None:
    await house.plan(step("a"))
    engine = create_engine(house.settings.database_url)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER entries_no_delete")
        else:
            connection.exec_driver_sql("ALTER TABLE entries DISABLE TRIGGER ALL")
        connection.execute(delete(entries).where(entries.c.idx == 1))
    engine.dispose()
    with pytest.raises(BackupRefused, match="entry 1"):
        await back_up(house, tmp_path / "backup")
    assert not list(tmp_path.glob("*backup*"))


# --- crashes ---------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from gateway import backups
from gateway.settings import Settings
home, url, what, directory, into, last = sys.argv[1:]
settings = Settings(home=Path(home), log={"origin": "handrail.test/log"}, database={"url": url})
calls = 0
def killed(done, total):
    global calls
    calls += 1
    if calls == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
if what == "create":
    backups.create(settings, Path(directory), killed)
else:
    backups.restore(settings, Path(directory), into, "handrail.test/log/restored", [], [], killed)
print(calls)
"""


def run_until(house: House, what: str, directory: Path, into: str, last: int) -> subprocess.CompletedProcess[str]:
    arguments = [str(house.settings.home), house.settings.database_url, what, str(directory), into, str(last)]
    return subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


async def test_a_kill_leaves_nothing_that_looks_whole(house: House, tmp_path: Path, new_database: Databases) -> None:
    for number in range(3):
        await house.plan(step(f"s{number}"))
    for last in (1, 4, 9):
        done = await asyncio.to_thread(run_until, house, "create", tmp_path / "backup", "", last)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (tmp_path / "backup").exists()
        for left in tmp_path.glob(".backup.*"):
            with pytest.raises(BackupRefused, match="never finished"):
                await asyncio.to_thread(backups.verify, house.settings, left, [], [])
    await back_up(house, tmp_path / "backup")
    into = new_database()
    for last in (2, 5, 9):
        done = await asyncio.to_thread(run_until, house, "restore", tmp_path / "backup", into, last)
        assert done.returncode == -signal.SIGKILL, done.stderr
        if into.startswith("sqlite"):
            assert not Path(into.removeprefix("sqlite:///")).exists()
        else:
            engine = make_engine(into)
            with engine.connect() as connection:
                there = "SELECT to_regclass('entries') IS NOT NULL"
                if connection.exec_driver_sql(there).scalar():
                    assert connection.execute(select(func.count()).select_from(entries)).scalar() == 0
            engine.dispose()
    await put_back(house.settings, tmp_path / "backup", into)
    assert findings(into) == []


async def test_a_log_that_cannot_take_the_entry_leaves_no_backup(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.plan(step("a"))
    real = backups.copying.create

    def moved(*args: Any, **options: Any) -> Any:
        """While the copy is checked, the log gets another name: nothing more can be entered under the old one."""
        made = real(*args, **options)
        engine = create_engine(house.settings.database_url)
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("DROP TRIGGER head_no_shrink")
            else:
                connection.exec_driver_sql("ALTER TABLE head DISABLE TRIGGER ALL")
            connection.exec_driver_sql("UPDATE head SET origin = 'handrail.test/other', tree_size = 0")
        engine.dispose()
        return made

    monkeypatch.setattr(backups.copying, "create", moved)
    with pytest.raises(backups.LogUnavailable):
        await back_up(house, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


async def test_an_append_of_old_indices_goes_on_after_a_restore(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    await house.plan(step("a"))
    await back_up(house, tmp_path / "backup")
    into = new_database()
    done = await put_back(house.settings, tmp_path / "backup", into)
    again = await reopened(house, into)
    try:
        (index,) = await again.log.append(Append([EntryDraft(EntryType.LOG_VERIFIED, "default")]))
        assert index == done.size + 1
        assert json.loads(await again.log.entry(index))["origin"] == NEW
    finally:
        await close_house(again)
