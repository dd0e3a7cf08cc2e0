"""The shipped policies, inspected once for a process of the run: it is most of what a gateway's start costs, and nearly
every gateway of the tests starts with them. Other bundles are inspected whenever they are loaded.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.policy import bundle, inspection
from gateway.policy.bundle import Bundle
from gateway.policy.engine import SHIPPED
from gateway.policy.inspection import Inspected


@pytest.fixture(scope="session", autouse=True)
def _inspected() -> Iterator[None]:
    parse, check, shipped = inspection._parse, inspection._check, bundle.load(SHIPPED)
    known: list[Inspected] = []

    async def parsed(one: Bundle) -> Any:
        return None if known and one == shipped else await parse(one)

    def checked(one: Bundle, trees: Any) -> Inspected:
        if one != shipped:
            return check(one, trees)
        if not known:
            known.append(check(one, trees))
        return known[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "_parse", parsed)
        patch.setattr(inspection, "_check", checked)
        yield
