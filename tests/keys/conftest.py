"""What several tests of keys share."""

import pytest

from tests.keys.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
