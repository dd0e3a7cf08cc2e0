"""A log that cannot be written answers in time, writes nothing later, and recovers without a hand."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

import migrations
from audit import committer as committer_module
from audit.database import make_engine
from audit.errors import LogUnavailable, LogUncertain
from audit.fsck import check
from audit.tables import entries
from gateway.ports import Append, Guard
from gateway.reasons import Reason
from tests.audit.conftest import claims, draft
from tests.postgres import children, running

pytestmark = pytest.mark.durable


def size(engine):
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(entries)).scalar()


async def outcomes(log, count, **settings):
    return await asyncio.gather(
        *(log.append(Append([draft(number)], **settings)) for number in range(count)), return_exceptions=True
    )


def fill(file):
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        while opened.write(b"\0" * 4096) == 4096:
            pass


async def recovered(log):
    """The first append that gets through again."""
    while True:
        try:
            return await log.append(Append([draft(99)]))
        except LogUnavailable:
            continue


async def test_a_locked_sqlite_file_refuses_in_time_and_nothing_is_written_later(sqlite_engine, open_log):
    async with open_log(sqlite_engine, append_deadline_seconds=0.5) as log:
        await log.append(Append([draft()]))
        holder = sqlite_engine.connect()
        holder.connection.driver_connection.execute("BEGIN EXCLUSIVE")
        refused = await outcomes(log, 50)
        with pytest.raises(LogUnavailable):
            await log.ready()
        holder.connection.driver_connection.execute("ROLLBACK")
        holder.close()
        assert {type(outcome) for outcome in refused} == {LogUnavailable}
        assert {outcome.reason for outcome in refused} == {Reason.LOG_UNAVAILABLE}
        assert await recovered(log) == range(2, 3)
    assert size(sqlite_engine) == 3
    assert list(check(sqlite_engine)) == []


@pytest.mark.postgres
async def test_a_locked_postgresql_head_refuses_in_time_and_nothing_is_written_later(postgres_url, open_log):
    engine = make_engine(postgres_url)
    migrations.upgrade(engine)
    async with open_log(engine, append_deadline_seconds=0.5) as log:
        await log.append(Append([draft()]))
        with engine.connect() as holder:
            holder.execute(text("LOCK TABLE head IN ACCESS EXCLUSIVE MODE"))
            refused = await outcomes(log, 50)
            holder.rollback()
        assert {type(outcome) for outcome in refused} == {LogUnavailable}
        assert await recovered(log) == range(2, 3)
    assert size(engine) == 3
    engine.dispose()


@pytest.mark.postgres
async def test_a_stopped_postgresql_holds_no_caller_and_a_restarted_one_needs_no_hand(open_log):
    with running() as server:
        engine = make_engine(server.create_database())
        migrations.upgrade(engine)
        async with open_log(engine, append_deadline_seconds=0.5) as log:
            await log.append(Append([draft()]))
            stopped = children(server.pid)  # the postmaster itself goes on, as a kernel would keep its sockets open
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            refused = await outcomes(log, 20)
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            assert all(isinstance(outcome, LogUnavailable) for outcome in refused)
            done = await recovered(log)
            certain = sum(1 for outcome in refused if not isinstance(outcome, LogUncertain))
            assert size(engine) == done[0] + 1
            assert size(engine) <= 3 + len(refused) - certain
            # Every connection is cut: the next append reconnects by itself.
            with engine.connect() as connection:
                others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                connection.execute(text(f"{others} AND backend_type = 'client backend'"))
            assert await log.append(Append([draft()])) == range(done[0] + 1, done[0] + 2)
        assert list(check(engine)) == []
        engine.dispose()


async def test_a_database_that_hangs_for_ever_before_the_commit_never_writes_what_was_refused(engine, open_log):
    stuck, release = threading.Event(), threading.Event()

    def hang(_connection):
        raise AssertionError

    def finalise(_indices):
        stuck.set()
        release.wait(30)
        return []

    async with open_log(engine, append_deadline_seconds=0.3) as log:
        await log.append(Append([draft()], guards=[Guard(claims.insert(), {"name": "a", "owner": "b"}, hang)]))
        first = asyncio.create_task(log.append(Append([draft()], finalise=finalise)))
        await asyncio.to_thread(stuck.wait, 10)
        refused = [*await asyncio.gather(first, return_exceptions=True), *await outcomes(log, 20)]
        assert {type(outcome) for outcome in refused} == {LogUnavailable}
        release.set()
        assert await recovered(log) == range(2, 3)
    assert size(engine) == 3
    assert list(check(engine)) == []


async def test_a_commit_that_hangs_is_reported_as_uncertain(engine, open_log, monkeypatch):
    stuck, release = threading.Event(), threading.Event()

    async with open_log(engine, append_deadline_seconds=0.3) as log:
        await log.append(Append([draft()]))
        await log.checkpoint()
        committer = log._writer._committer
        claim = committer._claim

        def claim_and_hang(jobs):
            claimed = claim(jobs)
            stuck.set()
            release.wait(30)
            return claimed

        monkeypatch.setattr(committer, "_claim", claim_and_hang)
        with pytest.raises(LogUncertain) as caught:
            await log.append(Append([draft()]))
        monkeypatch.undo()
        assert caught.value.reason is Reason.LOG_UNAVAILABLE
        release.set()
        # It was under way, and here it did arrive: only the log itself can tell.
        assert (await recovered(log))[0] == 3
    assert list(check(engine)) == []


async def test_a_caller_that_walked_away_is_not_written(engine, open_log):
    stuck, release = threading.Event(), threading.Event()

    def finalise(_indices):
        stuck.set()
        release.wait(30)
        return []

    async with open_log(engine) as log:
        busy = asyncio.create_task(log.append(Append([draft(1)], finalise=finalise)))
        await asyncio.to_thread(stuck.wait, 10)
        waiting = asyncio.create_task(log.append(Append([draft(2)])))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        release.set()
        assert await busy == range(1, 2)
        assert await log.append(Append([draft(3)])) == range(2, 3)
    assert waiting.cancelled()
    assert size(engine) == 3


async def test_more_appends_than_the_queue_holds_are_refused_at_once(sqlite_engine, open_log, monkeypatch):
    monkeypatch.setattr("audit.writer.QUEUE_MAX", 10)
    async with open_log(sqlite_engine) as log:
        found = await outcomes(log, 40)
    refused = [outcome for outcome in found if isinstance(outcome, LogUnavailable)]
    assert refused
    assert {outcome.detail for outcome in refused} == {"too many appends wait"}
    assert size(sqlite_engine) == 1 + len(found) - len(refused)


async def test_a_full_disk_refuses_and_a_freed_one_needs_no_hand(tmp_path, open_log):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine forbids mounting a tmpfs: {mounted.stderr.strip()}")
    try:
        engine = make_engine(f"sqlite:///{mount / 'log.db'}")
        migrations.upgrade(engine)
        async with open_log(engine) as log:
            await log.append(Append([draft()]))
            filler = Path(mount / "filler")
            fill(filler)
            refused = await outcomes(log, 300)
            assert any(isinstance(outcome, LogUnavailable) for outcome in refused)
            filler.unlink()
            done = await recovered(log)
            durable = [outcome for outcome in refused if not isinstance(outcome, LogUnavailable)]
            assert done[0] == 2 + len(durable)
        assert list(check(engine)) == []
        engine.dispose()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


async def test_a_fault_in_the_writer_itself_does_not_end_it(sqlite_engine, open_log, monkeypatch):
    async with open_log(sqlite_engine) as log:
        await log.append(Append([draft()]))

        def explode(*_):
            raise ZeroDivisionError

        monkeypatch.setattr(committer_module.Committer, "write", explode)
        with pytest.raises(LogUncertain):
            await log.append(Append([draft()]))
        monkeypatch.undo()
        assert await log.append(Append([draft()])) == range(2, 3)


async def test_a_log_without_its_tables_does_not_start(empty_url, open_log):
    engine = make_engine(empty_url)
    with pytest.raises(LogUnavailable):
        async with open_log(engine):
            pass
    engine.dispose()
