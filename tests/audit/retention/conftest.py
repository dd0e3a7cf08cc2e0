"""A log with partitions of different ages, and a clock that stands where the test says."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import migrations
from audit.checkpoint import VerifierKey
from audit.database import make_owner
from audit.epochs import EpochKeys
from audit.log import Log
from audit.retained import PARTITION
from audit.retention import Retention
from gateway.entries import EntryDraft, EntryType
from gateway.ports import Append
from gateway.settings import LogSettings
from tests.audit.conftest import CONTROLS, TIME, CheckpointSigner, draft
from tests.until import until

MONTH = 31 * 86_400.0
KINDS = (EntryType.POLICY_ALLOWED, EntryType.STEP_EXECUTED, EntryType.POLICY_DENIED)


class Clock:
    def __init__(self) -> None:
        self.now = TIME - 40 * MONTH

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Opened = Callable[..., AbstractAsyncContextManager[Log]]


@pytest.fixture
def opened(engine: Engine, epochs: Any, signer: Any, clock: Clock) -> Opened:
    """``async with opened() as log``, by the test's clock."""

    @contextlib.asynccontextmanager
    async def opening(on: Engine | None = None) -> AsyncIterator[Log]:
        log = Log(on or engine, LogSettings(), signer, epochs, "g1", clock, controls=CONTROLS)
        await log.start()
        try:
            yield log
        finally:
            await log.close()

    return opening


def drafts(first: int, count: int) -> list[EntryDraft]:
    """Every 1000th entry stands; a context is used in one partition alone."""

    def context(number: int) -> str:
        return f"c{number // PARTITION}-{number % 5}"

    return [
        draft(number, type=EntryType.PRINCIPAL_CHANGED, context_id=None, plan_id=None, facts={"number": number})
        if number % 1000 == 7
        else draft(
            number,
            type=KINDS[number % 3],
            context_id=context(number),
            hand="git",
            tenant="other" if number % 500 == 9 else "default",
        )
        for number in range(first, first + count)
    ]


async def fill(log: Log, size: int) -> None:
    """Append until the log has so many entries. The first, that the log was opened, is the log's own."""
    at = max(log.reader.head()[0], 1)
    while at < size:
        count = min(1500, size - at)
        await log.append(Append(drafts(at, count)))
        at += count


async def indexed(log: Log, blocks: int) -> None:
    """Until so many blocks have postings."""

    def count() -> int:
        with log.reader.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM posting_blocks").scalar() or 0)

    await until(lambda: count() == blocks)


async def grow(log: Log, clock: Clock) -> None:
    """Two partitions that are 40 months old, one of today, and the beginning of a fourth."""
    await fill(log, 2 * PARTITION)
    await log.checkpoint()
    clock.now = TIME
    await fill(log, 3 * PARTITION + 50)
    await indexed(log, 3)


@pytest.fixture(scope="session")
def signer() -> CheckpointSigner:
    return CheckpointSigner()


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory, signer: CheckpointSigner) -> Path:
    """A database file with such a log, to be copied."""
    home = tmp_path_factory.mktemp("grown")

    async def build() -> None:
        clock, engine = Clock(), make_owner(f"sqlite:///{home / 'log.db'}")
        migrations.upgrade(engine)
        log = Log(engine, LogSettings(), signer, EpochKeys(home / "e", bytes(32)), "g1", clock, controls=CONTROLS)
        await log.start()
        await grow(log, clock)
        await log.close()
        engine.dispose()

    asyncio.run(build())
    return home / "log.db"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """SQLite; ``test_retention_postgres`` has its own."""
    engine = make_owner(f"sqlite:///{tmp_path / 'log.db'}")
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def aged(grown: Path, tmp_path: Path, clock: Clock) -> Iterator[Engine]:
    """A copy of the grown log."""
    clock.now = TIME
    shutil.copy(grown, tmp_path / "aged.db")
    engine = make_owner(f"sqlite:///{tmp_path / 'aged.db'}")
    yield engine
    engine.dispose()


def retention(engine: Engine, log: Log, clock: Clock, archive: Any = None, months: int = 24) -> Retention:
    return Retention(engine, log, [VerifierKey.parse(log.vkey())], months, archive, 60, clock)
