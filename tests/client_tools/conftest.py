from collections.abc import Iterator

import pytest

from tests.client_tools.world import World, world


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("client-tools")) as running:
        yield running
