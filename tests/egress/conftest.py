from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import Jail
from tests import services
from tests.authority import Authority
from tests.egress.world import Names, World


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World(Names(monkeypatch), Authority(tmp_path / "authority"))
    yield made
    for server in made.servers:
        server.close()


@pytest.fixture
async def jail(tmp_path: Path) -> AsyncIterator[Jail]:
    home = tmp_path / "home"
    home.mkdir()
    made = Jail(JailSettings(), home)
    problems = made.missing()
    services.require(not problems, "a working jail", " ".join(problems) or "-")
    yield made
    await made.close()
