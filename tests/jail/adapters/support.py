"""What the tests of the adapters that run code share."""

from collections.abc import Awaitable
from typing import Any

import pytest

from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError

UNKNOWN, EXECUTED, NOT_EXECUTED = HandFailure.UNKNOWN, HandFailure.EXECUTED, HandFailure.NOT_EXECUTED


async def refused(running: Awaitable[Any]) -> tuple[Reason, HandFailure]:
    """Why a call gave no result, and what is known of it."""
    with pytest.raises(HandError) as caught:
        await running
    return caught.value.reason, caught.value.failure


def schema(*required: str, **properties: Any) -> dict[str, Any]:
    """An object schema; a property is a type's name or a schema."""
    named = {name: {"type": kind} if isinstance(kind, str) else kind for name, kind in properties.items()}
    return {"type": "object", "properties": named, "required": list(required)}
