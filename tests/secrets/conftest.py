from collections.abc import AsyncIterator

import pytest

from tests.secrets.world import Api, opened_api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with opened_api() as running:
        yield running
