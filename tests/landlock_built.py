"""Jails of tests have ``landlock-exec``, whether or not the checkout was built: it is compiled once for a run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hand_adapters.jail import landlock_exec
from tests import services


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``landlock-exec``, freshly compiled."""
    services.require(shutil.which("cc"), "a C compiler", "Install it: apt-get install gcc.")
    return landlock_exec.build(tmp_path_factory.mktemp("landlock") / "landlock-exec").path


@pytest.fixture(autouse=True)
def _built(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("jail") is None or shutil.which("cc") is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landlock_exec, "BUILT", request.getfixturevalue("built"))
        yield
