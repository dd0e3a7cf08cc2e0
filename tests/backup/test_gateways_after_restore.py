"""Several gateways on one restored database: what was under way is settled once, whoever starts first."""

import asyncio
import dataclasses
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, inspect, select
from structlog.testing import capture_logs

from audit.database import make_engine
from audit.errors import BackupRefused
from audit.fsck import check
from audit.merkle import EMPTY_ROOT
from audit.tables import entries, head
from gateway import backups, recovery
from gateway.calls import HandCall, HandResult
from gateway.entries import EntryType
from gateway.errors import Unavailable
from gateway.recovery import recover
from gateway.stages.record import Recorder
from gateway.store.tables import plans, steps
from tests.backup.conftest import NEW, back_up, put_back
from tests.pipeline.house import House, close_house, open_house, step
from tests.postgres import Server
from tests.until import until

Databases = Callable[[], str]
PLANS = 6


async def opened(house: House, url: str, gateway: str) -> House:
    """A gateway on a restored database that has not looked at what was under way yet."""
    return await open_house(
        house.settings.home, brain=house.brain, start=False, gateway=gateway, origin=NEW, database={"url": url}
    )


@pytest.fixture
async def restored(house: House, tmp_path: Path, new_database: Databases) -> AsyncIterator[tuple[House, House]]:
    """Two gateways on a restored database, in which :data:`PLANS` plans wait for people and one step ran."""
    started, let_go = asyncio.Event(), asyncio.Event()

    async def slow(_call: HandCall) -> HandResult:
        started.set()
        await let_go.wait()
        return HandResult((), {})

    house.hands.behaviour["typed"] = slow
    for _ in range(PLANS):
        await house.plan(step("one", "write"), step("two", "write"))
    running = asyncio.create_task(house.plan(step("one", "typed"), step("two", "write")))
    await started.wait()
    await back_up(house, tmp_path / "backup")
    let_go.set()
    await running
    into = new_database()
    await put_back(house.settings, tmp_path / "backup", into)
    both = await opened(house, into, "gw-test"), await opened(house, into, "gw-other")
    yield both
    for one in both:
        await close_house(one)


def settled(house: House) -> bool:
    """Whether each step ended once, and nothing is under way."""
    ended = Counter(
        (entry["plan_id"], entry["step_id"]) for entry in house.entries() if entry["type"] == EntryType.STEP_AMBIGUOUS
    )
    with house.log.reader.connect() as connection:
        named = {tuple(row) for row in connection.execute(select(steps.c.plan_id, steps.c.step_id)).all()}
        statuses = set(connection.execute(select(plans.c.status)).scalars())
    return ended == dict.fromkeys(named, 1) and statuses == {"done"} and len(named) == 2 * (PLANS + 1)


async def test_gateways_that_start_together_settle_each_step_once(restored: tuple[House, House]) -> None:
    async def begin(house: House) -> bool:
        await recover(house.pipeline, first=True)
        return settled(house)

    assert await asyncio.gather(*map(begin, restored)) == [True, True]


@pytest.mark.parametrize("dies", [False, True])
async def test_whoever_comes_second_does_not_serve_before_all_is_settled(
    restored: tuple[House, House], monkeypatch: pytest.MonkeyPatch, *, dies: bool
) -> None:
    """And where the first one dies over it, it goes on with what is left."""
    first, second = restored
    half_way, let_go = asyncio.Event(), asyncio.Event()
    ended: list[Any] = []

    class Halting(Recorder):
        async def outcome(self, *args: Any) -> None:
            if len(ended) == PLANS:
                half_way.set()
                await let_go.wait()
            ended.append(args)
            await super().outcome(*args)

    real = first.pipeline.recorder
    parts = {field.name: getattr(real, field.name) for field in dataclasses.fields(real)}
    monkeypatch.setattr(first.pipeline, "recorder", Halting(**parts))
    one = asyncio.create_task(recover(first.pipeline, first=True))
    await half_way.wait()
    with capture_logs() as said:
        two = asyncio.create_task(recover(second.pipeline, first=True))
        await until(lambda: two.done() or any("waiting for it" in line["event"] for line in said))
        assert not two.done()
        if dies:
            one.cancel()
        let_go.set()
        await two
    assert settled(second)
    await asyncio.gather(one, return_exceptions=True)
    assert one.cancelled() is dies


async def test_whoever_waits_too_long_says_what_to_do(
    restored: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "WAIT_SECONDS", 0.0)
    first, second = restored
    async with first.store.alone() as mine:
        assert mine
        with pytest.raises(Unavailable, match="start this one when that one serves"):
            await recover(second.pipeline, first=True)
    await recover(second.pipeline, first=True)
    assert settled(second)


RESTORE = """
import sys
from pathlib import Path

from gateway import backups
from gateway.settings import Settings

home, url, directory, into, name = sys.argv[1:]
settings = Settings(home=Path(home), database={"url": url}, log={"origin": "handrail.test/log"})
print(backups.restore(settings, Path(directory), into, name, [], []).checkpoint, end="")
"""


def restore_in_a_process(house: House, directory: Path, into: str, name: str) -> subprocess.CompletedProcess[str]:
    arguments = [str(house.settings.home), house.settings.database_url, str(directory), into, name]
    command = [sys.executable, "-c", RESTORE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


async def test_of_several_restores_into_one_database_one_fills_it(
    house: House, tmp_path: Path, new_database: Databases
) -> None:
    await house.plan(step("a"))
    await back_up(house, tmp_path / "backup")
    into = new_database()
    names = [f"handrail.test/{number}" for number in range(3)]
    done = await asyncio.gather(
        *(asyncio.to_thread(restore_in_a_process, house, tmp_path / "backup", into, name) for name in names)
    )
    (won,) = (one for one in done if one.returncode == 0)
    for lost in done:
        assert lost is won or "BackupRefused" in lost.stderr, lost.stderr
        assert lost is won or re.search("exists already|not empty", lost.stderr), lost.stderr
    engine = make_engine(into)
    assert list(check(engine, kept=[won.stdout])) == []
    engine.dispose()


@pytest.mark.postgres
async def test_a_gateway_that_starts_on_a_database_that_is_being_filled_has_the_restore_say_so(
    house: House, tmp_path: Path, postgres_server: Server
) -> None:
    await house.plan(step("a"))
    await back_up(house, tmp_path / "backup")
    into = postgres_server.create_database()

    def begin(_done: int, _total: int | None) -> None:
        engine = make_engine(into)
        with engine.connect() as connection, connection.begin():
            if inspect(connection).has_table("head") and connection.execute(select(head)).first() is None:
                connection.execute(insert(head).values(id=1, tree_size=0, root=EMPTY_ROOT, origin=NEW))
        engine.dispose()

    with pytest.raises(BackupRefused, match="somebody else wrote to it"):
        await asyncio.to_thread(backups.restore, house.settings, tmp_path / "backup", into, NEW, [], [], begin)
    engine = make_engine(into)
    with engine.connect() as connection:
        assert connection.execute(select(entries)).first() is None
    engine.dispose()
