from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.trust.hall import Hall, hall


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def town(tmp_path: Path, database: str | None) -> AsyncIterator[Hall]:
    """Two security admins, and the thresholds as they are by default."""
    async with hall(tmp_path / "home", database) as made:
        yield made
