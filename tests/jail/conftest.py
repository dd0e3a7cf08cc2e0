"""A real jail for each test that asks for one, and a host to attack from inside."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import Jail
from tests import services


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
async def jail(home: Path) -> AsyncIterator[Jail]:
    made = Jail(JailSettings(), home)
    problems = made.missing()
    services.require(not problems, "a working jail", " ".join(problems) or "-")
    yield made
    await made.close()


@pytest.fixture
def scratch(home: Path, jail: Jail) -> Path:
    """A directory that belongs to the jail's uid."""
    made = home / "work" / "scratch"
    made.mkdir(parents=True)
    jail.adopt(made)
    return made
