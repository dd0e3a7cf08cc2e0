"""A real OPA server for tests that ask one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.policy.private_opa import find_opa, private_opa
from tests import services


@pytest.fixture(scope="session")
def opa_program() -> Path:
    """The ``opa`` program; skips without one, fails under ``.ci/run``."""
    program = find_opa()
    if program is None:
        services.missing("OPA", "'make tools' builds it into .tools/bin.")
    return program


@pytest.fixture
async def opa_url(opa_program: Path) -> AsyncIterator[str]:
    """URL of an empty OPA server on a free loopback port, for this test alone."""
    async with private_opa(opa_program) as url:
        yield url
