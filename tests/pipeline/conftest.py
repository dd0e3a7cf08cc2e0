from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.pipeline.house import House, close_house, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    opened = await open_house(tmp_path)
    yield opened
    await close_house(opened)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The ``[database]`` settings of a house."""
    if request.param == "sqlite":
        return {"url": f"sqlite:///{tmp_path / 'handrail.db'}"}
    return {"url": str(request.getfixturevalue("postgres_url"))}
