from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.calls import HandResult
from gateway.settings import HandSettings
from hand_adapters.contract import HandAdapter
from hand_adapters.jail import Jail
from tests.hands.hands_support import call

Run = Callable[..., Awaitable[HandResult]]


@pytest.fixture
async def opened(jail: Jail) -> AsyncIterator[Callable[..., Awaitable[tuple[HandAdapter, Run]]]]:
    """``await opened(Adapter, **settings)`` -> the adapter, and ``run(action, args, **call changes)``."""
    made: list[HandAdapter] = []

    async def make(kind: type[HandAdapter], **settings: Any) -> tuple[HandAdapter, Run]:
        declared = HandSettings(**settings)
        kind.validate("h", declared)
        hand = kind("h", declared, jail)
        made.append(hand)
        pinned = (await hand.manifest()).digest

        async def run(action: str, args: dict[str, Any] | None = None, **changes: Any) -> HandResult:
            return await hand.run(call("h", action, args or {}, pinned, **changes))

        return hand, run

    yield make
    for hand in made:
        await hand.close()
