from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proposals.support import Bench, open_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    opened = await open_bench(tmp_path)
    yield opened
    await opened.close()
