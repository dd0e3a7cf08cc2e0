"""A client that does not want the result of its call any more."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from gateway.calls import HandCall

T = TypeVar("T")


class TakenBack(Exception):
    """The client took its call back while it was awaited."""


async def unless_cancelled(call: HandCall, awaited: Awaitable[T]) -> T:
    """Wait for something of a call; where its client takes it back meanwhile, end it. The SDK tells the server that a
    request of which nobody waits for the answer any more is cancelled.

    Raises:
        TakenBack: it was.
    """
    if call.conversation is None:
        return await awaited
    task = asyncio.ensure_future(awaited)
    left = asyncio.ensure_future(call.conversation.cancelled.wait())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        raise TakenBack
    return task.result()
