"""Lookups that are remembered for a moment, and made together when they must be made.

A hit costs a dictionary lookup and never leaves the event loop. Misses are gathered: one read is under way at a time,
for as many keys as have come up meanwhile, so that a flood of unknown keys costs one connection and not a read each.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.store.reading import in_thread

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

BATCH: Final = 256
"""Keys in one read."""
WAITING_MAX: Final = 4096
"""Lookups that may wait at once; beyond it they are told to come back."""
PRESENT_MAX: Final = 16_384
ABSENT_MAX: Final = 4096


class Unknown:
    """The type of :data:`UNKNOWN`."""


UNKNOWN: Final = Unknown()
"""Neither present nor absent: it must be read."""


class Lookups(Generic[Key, Value]):
    """Remembers what was found for ``present_seconds`` and what was not for ``absent_seconds``, counted from *before*
    the read. Belongs to one event loop.

    ``fetch`` runs in a thread; it maps the keys that exist to their values and raises ``HandrailError`` alone.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[Key]], Mapping[Key, Value]],
        clock: Callable[[], float],
        *,
        present_seconds: float,
        absent_seconds: float,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._present_seconds = present_seconds
        self._absent_seconds = absent_seconds
        self._present: dict[Key, tuple[float, Value]] = {}
        self._absent: dict[Key, float] = {}
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._epoch = 0

    def forget(self) -> None:
        """Believe nothing that was read until now, also by a read that is still under way."""
        self._epoch += 1
        self._present.clear()
        self._absent.clear()

    def known(self, key: Key) -> Value | Unknown | None:
        """What is remembered: the value, ``None`` for absent, or :data:`UNKNOWN`."""
        found = self._present.get(key)
        now = self._clock()
        # An age below zero means that the clock was set back: nobody can say how old the memory is.
        if found is not None and 0 <= now - found[0] < self._present_seconds:
            return found[1]
        missed = self._absent.get(key)
        if missed is not None and 0 <= now - missed < self._absent_seconds:
            return None
        return UNKNOWN

    async def get(self, key: Key) -> Value | None:
        """The value, or ``None`` where there is none.

        Raises:
            Unavailable: ``gateway.overloaded`` where too many lookups wait; whatever ``fetch`` raised.
        """
        found = self.known(key)
        if not isinstance(found, Unknown):
            return found
        future = self._waiting.get(key)
        if future is None:
            if len(self._waiting) >= WAITING_MAX:
                raise Unavailable(Reason.OVERLOADED, "too many lookups wait for the database")
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read())
        return await asyncio.shield(future)

    async def _read(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            epoch, read_at = self._epoch, self._clock()
            try:
                found = await in_thread("directory", self._fetch, batch)
            except BaseException as exc:
                self._fail(batch, exc)
                if not isinstance(exc, Exception):
                    raise
                continue
            if epoch != self._epoch:
                # Something was revoked while this was read; whoever waits may have asked after that.
                continue
            for key in batch:
                self._remember(key, found.get(key), read_at)

    def _remember(self, key: Key, value: Value | None, read_at: float) -> None:
        self._present.pop(key, None)
        self._absent.pop(key, None)
        if value is None:
            if len(self._absent) >= ABSENT_MAX:
                del self._absent[next(iter(self._absent))]
            self._absent[key] = read_at
        else:
            if len(self._present) >= PRESENT_MAX:
                del self._present[next(iter(self._present))]
            self._present[key] = (read_at, value)
        future = self._waiting.pop(key)
        if not future.done():
            future.set_result(value)

    def _fail(self, batch: Sequence[Key], exc: BaseException) -> None:
        for key in batch:
            future = self._waiting.pop(key)
            if future.done():
                continue
            if isinstance(exc, Exception):
                future.set_exception(exc)
                future.exception()  # whoever waited may be gone; that is no fault to report
            else:
                future.cancel()
