from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.pipeline.house import House, close_house, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    opened = await open_house(tmp_path)
    yield opened
    await close_house(opened)


@pytest.fixture(params=["sqlite", "postgresql"])
async def pair(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[House, House]]:
    """Two gateways on one database."""
    url = {} if request.param == "sqlite" else {"database": {"url": request.getfixturevalue("postgres_url")}}
    one = await open_house(tmp_path, gateway="gw-one", **url)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    two = await open_house(tmp_path, gateway="gw-two", brain=one.brain, journal=elsewhere, **url)
    yield one, two
    await close_house(two)
    await close_house(one)
