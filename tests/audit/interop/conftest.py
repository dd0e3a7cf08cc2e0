"""Real witnesses for the tests of one module."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.audit.interop.litewitness import LiteWitness, litewitness


@pytest.fixture(scope="module")
def witnesses() -> Iterator[list[LiteWitness]]:
    """Two that run."""
    with litewitness("witness.example/w1") as one, litewitness("witness.example/w2") as two:
        yield [one, two]


@pytest.fixture(scope="module")
def dead_witness() -> dict[str, Any]:
    """Settings of one that ran once."""
    with litewitness("witness.example/w3") as third:
        return third.settings
