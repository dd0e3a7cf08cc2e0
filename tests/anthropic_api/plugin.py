"""The stand-in as a fixture."""

from collections.abc import AsyncIterator

import pytest

from tests.anthropic_api.server import StandIn, serving


@pytest.fixture
async def anthropic_api() -> AsyncIterator[StandIn]:
    """A stand-in for the Messages API that serves on loopback for one test."""
    async with serving() as stand_in:
        yield stand_in
