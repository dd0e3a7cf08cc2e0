"""Threads of one store's own: a store that is mute takes none that anybody else waits for."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Result = TypeVar("Result")

THREADS: Final = 4
"""Reads of one store at a time; one that is given up keeps its thread until the system or the library gives up too."""


class StoreThreads:
    """Makes a store's blocking calls. A thread begins with the first that needs it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "secret store")

    async def run(self, work: Callable[..., Result], *args: object) -> Result:
        """What ``work`` gives or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(work, *args))

    def end(self) -> None:
        """Begin no call any more, and wait for none."""
        self._threads.shutdown(wait=False, cancel_futures=True)
