"""The task that has a log's full blocks indexed (:mod:`audit.indexing`), beside the writer and one block at a time."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection

from audit import indexing
from audit.committer import Committer
from audit.errors import LogDamaged
from audit.postings import BLOCK
from audit.reader import Reader
from gateway.errors import HandrailError

RETRY_SECONDS: Final = 60
"""How long after a failure it is tried again, where no further block fills before."""

_logger: Final = structlog.get_logger("handrail.audit")
Result = TypeVar("Result")


class Indexer:
    """Indexes what is missing when it starts, and every block that fills afterwards.

    Args:
        read: runs a function in a thread for reads, with a deadline.
        write: runs a function of the committer in the writer's thread, between two commits.
    """

    def __init__(
        self,
        reader: Reader,
        read: Callable[[Callable[[], Any]], Awaitable[Any]],
        write: Callable[[Callable[[Committer], None]], Awaitable[None]],
    ) -> None:
        self._reader = reader
        self._read = read
        self._write = write
        self._wanted = asyncio.Event()
        self._block = 0
        self._leaving = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; to be called in the event loop."""
        self._wanted.set()
        self._task = asyncio.create_task(self._run())

    def appended(self, index: int) -> None:
        """Told of the last entry of an append: a block may have become full."""
        if index // BLOCK != self._block:
            self._block = index // BLOCK
            self._wanted.set()

    async def stop(self, seconds: float) -> None:
        """End after the block that is being made, or at the latest after so many seconds."""
        if self._task is None:
            return
        self._leaving = True
        self._wanted.set()
        await asyncio.wait([self._task], timeout=seconds)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        patience: float | None = None
        while not self._leaving:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._wanted.wait()
            self._wanted.clear()
            patience = None
            try:
                for block in await self._reading(indexing.missing):
                    if self._leaving:
                        break
                    await self._index(block)
            except HandrailError as exc:  # until it succeeds those are looked through
                _logger.warning("log.not_indexed", error=type(exc).__name__, detail=exc.detail)
                patience = RETRY_SECONDS
            except Exception:  # the index outlives any fault: later blocks want theirs
                _logger.exception("log.index_fault")

    async def _index(self, block: int) -> None:
        try:
            made = await self._reading(functools.partial(indexing.make, block=block))
            await self._write(functools.partial(Committer.transact, work=indexing.storing(made)))
        except LogDamaged as exc:  # keeps no other block from being indexed
            _logger.warning("log.not_indexed", block=block, error=type(exc).__name__, detail=exc.detail)

    async def _reading(self, work: Callable[[Connection], Result]) -> Result:
        def with_connection() -> Result:
            with self._reader.connect() as connection:
                return work(connection)

        found: Result = await self._read(with_connection)
        return found
