from collections.abc import AsyncIterator

import pytest

from tests.secrets.canaries import canaries
from tests.secrets.world import Api, opened_api

__all__ = ["canaries"]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with opened_api() as running:
        yield running
