from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lifecycle.repository import Repository
from tests.lifecycle.town import Town, open_town


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
async def town(tmp_path: Path, repository: Repository) -> AsyncIterator[Town]:
    opened = await open_town(tmp_path / "home", repository)
    yield opened
    await opened.gateway.close()
