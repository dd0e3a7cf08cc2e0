"""A gateway's house whose database is backed up, and places to put backups back to."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from audit.restore import Restored
from gateway import backups
from gateway.backups import Made
from gateway.settings import Settings
from tests.pipeline.house import House, close_house, open_house

NEW: str = "handrail.test/log/restored"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """URLs of databases that hold nothing yet."""
    numbers = itertools.count()
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
    server = request.getfixturevalue("postgres_server")
    return lambda: str(server.create_database())


@pytest.fixture
async def house(tmp_path: Path, new_database: Callable[[], str]) -> AsyncIterator[House]:
    opened = await open_house(tmp_path / "home", database={"url": new_database()})
    yield opened
    await close_house(opened)


async def back_up(house: House, out: Path) -> Made:
    """What ``handrail backup create`` does beside the house."""
    return await asyncio.to_thread(backups.create, house.settings, out)


async def put_back(settings: Settings, directory: Path, into: str, origin: str = NEW, **given: Any) -> Restored:
    """What ``handrail backup restore`` does at the house's home."""
    kept = given.pop("kept", [])
    return await asyncio.to_thread(backups.restore, settings, directory, into, origin, given.pop("trusted", []), kept)


async def reopened(house: House, url: str, origin: str = NEW) -> House:
    """A gateway on the restored database, with what was under way taken up."""
    return await open_house(house.settings.home, brain=house.brain, database={"url": url}, origin=origin)
