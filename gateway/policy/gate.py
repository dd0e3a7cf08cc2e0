"""A gate that many pass, and that one may close to be alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Many may pass while it is open; whoever closes it waits for those inside, and later ones wait for the opening."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()
        self._inside = 0
        self._shut = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Inside, nobody closes it."""
        if self._shut:
            async with self._condition:
                await self._condition.wait_for(lambda: not self._shut)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if self._shut and not self._inside:
                async with self._condition:
                    self._condition.notify_all()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Inside, nobody else is."""
        async with self._condition:
            await self._condition.wait_for(lambda: not self._shut)
            self._shut = True
            try:
                await self._condition.wait_for(lambda: not self._inside)
            except BaseException:
                self._shut = False
                self._condition.notify_all()
                raise
        try:
            yield
        finally:
            self._shut = False
            async with self._condition:
                self._condition.notify_all()
