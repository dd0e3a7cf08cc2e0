"""What a commit must rest on to be acknowledged: synchronisation, and files that still bear their names."""

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

import migrations
from audit.database import configure, make_engine
from audit.errors import LogMisconfigured, LogUnavailable, LogUncertain
from audit.fsck import check
from gateway.ports import Append
from tests.audit.conftest import draft
from tests.postgres import Cluster

pytestmark = pytest.mark.durable

SUFFIXES = ["", "-wal", "-shm"]


@pytest.fixture
def file(tmp_path):
    """Of ``sqlite_engine``."""
    return tmp_path / "log.db"


@pytest.mark.postgres
async def test_a_server_that_does_not_synchronise_is_refused(open_log):
    with tempfile.TemporaryDirectory(prefix="hrpg", ignore_cleanup_errors=True) as home:
        cluster = Cluster(Path(home))
        cluster.initialise()
        engine = make_engine(cluster.start("fsync=off").create_database())
        try:
            migrations.upgrade(engine)
            with pytest.raises(LogMisconfigured) as caught:
                async with open_log(engine):
                    pass
            assert "fsync" in caught.value.detail
            cluster.stop("fast")
            cluster.start()
            async with open_log(engine) as log:
                assert await log.append(Append([draft()])) == range(1, 2)
        finally:
            engine.dispose()
            cluster.stop()


def test_a_file_system_without_shared_memory_is_refused(file):
    engine = create_engine(f"sqlite:///file:{file}?vfs=unix-dotfile&uri=true")
    configure(engine)
    with pytest.raises(OperationalError, match="write-ahead log"):
        engine.connect()


def test_a_database_that_went_missing_is_not_made_anew(sqlite_engine, file):
    with sqlite_engine.connect():
        pass
    sqlite_engine.dispose()
    file.unlink()
    with pytest.raises(OperationalError):
        sqlite_engine.connect()
    assert not file.exists()


async def settled(log):
    """One entry, under a checkpoint: the log touches its files only when it is told to."""
    await log.append(Append([draft()]))
    await log.checkpoint()


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_nothing_is_acknowledged_into_a_file_that_lost_its_name(sqlite_engine, file, open_log, suffix):
    named, elsewhere = file.with_name(file.name + suffix), file.with_name("elsewhere")
    async with open_log(sqlite_engine) as log:
        await settled(log)
        named.rename(elsewhere)
        with pytest.raises(LogUnavailable) as caught:
            await log.append(Append([draft()]))
        assert "moved, replaced or deleted" in caught.value.detail
        if not suffix:
            assert not file.exists()
            elsewhere.rename(file)
        assert await log.append(Append([draft()])) == range(2, 3)
    assert list(check(sqlite_engine)) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_nothing_is_acknowledged_into_a_file_that_another_one_replaced(sqlite_engine, file, open_log, suffix):
    named, copy = file.with_name(file.name + suffix), file.with_name("copy")
    async with open_log(sqlite_engine) as log:
        await settled(log)
        shutil.copyfile(named, copy)
        copy.rename(named)
        with pytest.raises(LogUnavailable) as caught:
            await log.append(Append([draft()]))
        assert "moved, replaced or deleted" in caught.value.detail


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_file_that_is_deleted_during_a_commit_leaves_its_outcome_uncertain(
    sqlite_engine, file, open_log, suffix
):
    named, elsewhere = file.with_name(file.name + suffix), file.with_name("elsewhere")

    def move_away(_indices):
        named.rename(elsewhere)
        return []

    async with open_log(sqlite_engine) as log:
        await settled(log)
        with pytest.raises(LogUncertain):
            await log.append(Append([draft()], finalise=move_away))


async def test_a_log_that_lacks_what_was_there_takes_no_entry_until_it_is_back(sqlite_engine, file, open_log):
    names = [file.with_name(file.name + suffix) for suffix in SUFFIXES]
    aside, older = file.with_name("aside"), file.with_name("older")
    aside.mkdir()
    async with open_log(sqlite_engine) as log:
        await settled(log)
        with contextlib.closing(sqlite3.connect(file)) as other:
            other.execute("VACUUM INTO ?", (str(older),))
        await log.append(Append([draft()]))
        for name in names:
            name.rename(aside / name.name)
        older.rename(file)
        details = []
        for _ in range(3):
            with pytest.raises(LogUnavailable) as caught:
                await log.append(Append([draft()]))
            details.append(caught.value.detail)
        assert details[-1] == "the log has 2 entries and had 3"
        with pytest.raises(LogUnavailable):
            await log.ready()
        for left in file.parent.glob("log.db*"):
            left.unlink()
        for name in names:
            if (aside / name.name).exists():
                (aside / name.name).rename(name)
        with pytest.raises(LogUnavailable):
            await log.append(Append([draft()]))
        assert await log.append(Append([draft()])) == range(3, 4)
    assert list(check(sqlite_engine)) == []
