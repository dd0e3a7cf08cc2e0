"""What a test says when a real service that it needs is not on this machine."""

import os
from typing import Final, NoReturn

import pytest

UNDER_CI: Final = os.environ.get("HANDRAIL_CI") == "1"
"""Read once, at import: each test runs with every HANDRAIL_* variable removed."""


ACCEPTED_SKIPS: Final = ("needs root", "forbids mounting", "no node on this machine")
"""What a reason may say under CI: things that no package can bring."""


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test, saying what is missing and how to get it; under ``.ci/run`` fail it.

    Args:
        what: the service or program, in the words of ``handrail doctor``.
        remedy: one sentence on how to get it.
    """
    message = f"{what} is not here. {remedy}"
    if UNDER_CI:
        pytest.fail(f"{message} CI skips nothing that can be installed.", pytrace=False)
    pytest.skip(message)


def require(present: object, what: str, remedy: str) -> None:
    """Call :func:`missing` unless ``present`` is true."""
    if not present:
        missing(what, remedy)
