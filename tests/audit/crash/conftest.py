import shutil
import sys

import pytest

from tests import services


@pytest.fixture
def compiler():
    if sys.platform != "linux":
        pytest.skip("power_cut.c knows Linux alone")
    services.require(shutil.which("cc"), "a C compiler", "Install gcc and libc6-dev.")
