from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.anthropic_api.server import StandIn, serving
from tests.runs.world import Desk, World, desk, world


@pytest.fixture
async def api() -> AsyncIterator[StandIn]:
    async with serving() as stand_in:
        yield stand_in


@pytest.fixture
async def at() -> AsyncIterator[Desk]:
    async with desk() as one:
        yield one


@pytest.fixture
async def here(tmp_path: Path, api: StandIn, at: Desk) -> AsyncIterator[World]:
    async with world(tmp_path, api, at) as built:
        yield built
