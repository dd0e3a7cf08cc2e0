from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.managed_agents.stand_in import StandIn, running
from tests.managed_agents.world import World, opened


@pytest.fixture
async def service() -> AsyncIterator[StandIn]:
    async with running() as one:
        yield one


@pytest.fixture
async def world(tmp_path: Path, service: StandIn) -> AsyncIterator[World]:
    async with opened(tmp_path / "one", service) as here:
        yield here
