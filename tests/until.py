"""The one way in which tests wait for something that is brought about elsewhere."""

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Final

PATIENCE_SECONDS: Final = 120.0
"""A bound against hanging, no measure of speed."""
_PAUSE_SECONDS: Final = 0.01
"""Between two looks; long enough for another process on the same core."""


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Look until ``condition()``, awaited where it can be, is true; what it gave.

    Raises:
        TimeoutError: it never was.
    """
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(_PAUSE_SECONDS)
