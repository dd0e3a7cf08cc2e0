"""A house with 20 entries: the log's opening, its keys, some of one tenant and some of another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.audit.conftest import Opener
from tests.audit.export.house import OTHERS, House, make_keyset


@pytest.fixture
async def house(sqlite_engine: Engine, open_log: Opener, tmp_path: Path) -> AsyncIterator[House]:
    async with open_log(sqlite_engine) as log:
        made = House(log, make_keyset(tmp_path))
        await made.record_keys()
        await made.fill(3)
        await made.fill(2, OTHERS)
        await made.fill(2)
        yield made
