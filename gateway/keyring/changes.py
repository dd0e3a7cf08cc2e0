"""Changes of the gateway's keys and their place on record. No I/O of its own.

A key store and the log share no transaction, so a change can be durable while its entry is not. Such entries wait here
and are offered to the log again until it takes them; meanwhile no further change is begun on a caller's word.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog

from gateway.entries import EntryDraft
from gateway.errors import HandrailError, Unavailable
from gateway.ports import Append, AuditLog
from gateway.reasons import Reason
from keys.entries import drafts
from keys.rotation import KeyRecord

_log = structlog.get_logger(__name__)

WAITING_MAX: Final = 1024
"""Entries that may wait. A change makes about three, and none is begun while this many wait."""

Argument = TypeVar("Argument")


class KeyChanges:
    """Makes changes of keys one after the other and puts each on record. Belongs to one event loop."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._waiting: deque[EntryDraft] = deque()
        self._one_at_a_time = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Entries of changes that stand and are not on record."""
        return len(self._waiting)

    async def make(
        self, change: Callable[[Argument], Sequence[KeyRecord]], argument: Argument, tenant: str, principal: str
    ) -> None:
        """Make a change on a caller's word, in a thread; a caller that leaves does not interrupt it.

        Args:
            principal: pseudonym of who asked for it.

        Raises:
            Unavailable: ``log.unavailable``, and nothing was changed; with the fact ``changed: 1`` the change stands
                and its entry follows once the log can be written.
            HandrailError: what ``change`` raised.
        """
        task = asyncio.create_task(self._make(change, argument, tenant, principal))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.shield(task)

    async def _make(
        self, change: Callable[[Argument], Sequence[KeyRecord]], argument: Argument, tenant: str, principal: str
    ) -> None:
        await self._log.ready()
        async with self._one_at_a_time:
            await self._write()  # what waits comes first, and shows that the log can be written
            self.note(await asyncio.to_thread(change, argument), tenant, principal)
            try:
                await self._write()
            except HandrailError as error:
                detail = f"keys changed, not yet on record: {error.detail}"
                raise Unavailable(Reason.LOG_UNAVAILABLE, detail, changed=1) from error

    def note(self, changed: Sequence[KeyRecord], tenant: str, principal: str) -> None:
        """Let the entries of what the gateway itself changed wait for :meth:`settle`."""
        self._waiting.extend(drafts(changed, tenant, principal))

    async def settle(self) -> None:
        """Offer what waits to the log. Raises ``log.unavailable``; the entries go on waiting."""
        async with self._one_at_a_time:
            await self._write()

    @property
    def full(self) -> bool:
        """Whether so much waits that no key should change."""
        return len(self._waiting) >= WAITING_MAX

    async def close(self) -> None:
        """Finish what is under way, offer the log what waits once more, and say what it did not take."""
        await asyncio.gather(*self._running, return_exceptions=True)
        try:
            await self.settle()
        except HandrailError as error:
            _log.error("changes of keys are not on record", entries=self.waiting, detail=error.detail)

    async def _write(self) -> None:
        """Append everything that waits. An entry whose append is uncertain goes on waiting: better twice than never."""
        offered = list(self._waiting)
        if not offered:
            return
        await self._log.append(Append(offered))
        for _ in offered:
            self._waiting.popleft()
