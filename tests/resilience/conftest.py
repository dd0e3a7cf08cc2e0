from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.pipeline.house import House, close_house, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    opened = await open_house(tmp_path)
    yield opened
    await close_house(opened)
