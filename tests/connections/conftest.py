from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.connections.world import Api, World, opened, opened_api, server


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with opened_api() as running:
        yield running


@pytest.fixture
async def world(tmp_path: Path, api: Api) -> AsyncIterator[World]:
    async with server(tmp_path) as provider, opened(tmp_path / "one", api, provider) as here:
        yield here
