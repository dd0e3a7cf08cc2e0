"""One warm jailed worker for one principal: started, given the module, then asked one call at a time."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters import exchange
from hand_adapters.contract import HandError
from hand_adapters.jail import JailedProcess, JailError

OPEN_SECONDS: Final = 30.0
"""How long a worker may take to start and to compile the module."""
GRACE_SECONDS: Final = 1.0
"""How long a worker may take to say that a call's time is over, before it is killed."""
LISTING_MAX_BYTES: Final = 1_048_576
WAITING_MAX: Final = 64
"""Calls that may wait for one worker."""


class Session:
    """A worker and its queue.

    Attributes:
        opened: resolves to what the module exports, name -> (parameters, results), or raises the ``HandError`` that
            kept the worker from opening.
        idle_since: event loop time of the last answer, for eviction.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[JailedProcess]],
        setup: Mapping[str, Any],
        module: bytes,
        idle_seconds: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.idle_since = loop.time()
        self._start = start
        self._hello = orjson.dumps({**setup, "bytes": len(module)}) + b"\n" + module
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: JailedProcess | None = None
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._farewell: asyncio.Task[None] | None = None
        # In a context of its own: the process outlives the call that started it.
        self.opened: asyncio.Task[Mapping[str, tuple[str, str]]] = loop.create_task(
            self._open(), context=contextvars.Context()
        )
        self.opened.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def ended(self) -> bool:
        """Whether it takes no more calls."""
        return self._closing or (self._process is not None and self._process.returncode is not None)

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits."""
        return self._waiting > 0

    async def call(self, question: Mapping[str, Any], deadline_seconds: float, answer_max_bytes: int) -> dict[str, Any]:
        """Run one call when its turn comes; ``seconds`` is added to the question.

        Raises:
            HandError: not executed, where the call never came to its turn or the worker never opened; else executed:
                a module acts on nothing but its answer, so nothing of it is left half done.
        """
        if self._waiting >= WAITING_MAX:
            raise HandError(Reason.OVERLOADED, HandFailure.NOT_EXECUTED, "too many calls wait for this worker")
        self._waiting += 1
        until = asyncio.get_running_loop().time() + deadline_seconds
        began = False
        try:
            async with asyncio.timeout_at(until + GRACE_SECONDS):
                async with asyncio.timeout_at(until):
                    await self._turn.acquire()
                try:
                    async with asyncio.timeout_at(until):
                        await asyncio.shield(self.opened)
                    began = True
                    return await self._ask(question, until, answer_max_bytes)
                finally:
                    self._turn.release()
        except TimeoutError:
            failure = HandFailure.EXECUTED if began else HandFailure.NOT_EXECUTED
            raise HandError(Reason.HAND_TIMEOUT, failure) from None
        finally:
            self._waiting -= 1
            self._rest()

    async def close(self) -> None:
        """Kill the worker and wait until it is gone."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self.opened.cancel()
        await asyncio.wait({self.opened})
        if self._process is not None:
            await self._process.kill()

    async def _open(self) -> Mapping[str, tuple[str, str]]:
        try:
            self._process = process = await self._start()
        except JailError as exc:
            self._closing = True
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, exc.detail) from None
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                said = await exchange.ask(process, self._hello, LISTING_MAX_BYTES, HandFailure.NOT_EXECUTED)
        except TimeoutError:
            await self._end()
            raise HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED, "opening") from None
        except HandrailError as exc:
            await self._end()
            words = exchange.last_words(process)
            detail = f"{exc.detail}; it said: {words}" if words else exc.detail
            raise HandError(exc.reason, HandFailure.NOT_EXECUTED, detail) from None
        self._hello = b""
        if "refused" in said:
            await self._end()
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, f"the module: {said['refused']}")
        self._rest()
        return {name: (parameters, results) for name, (parameters, results) in said["exports"].items()}

    async def _ask(self, question: Mapping[str, Any], until: float, answer_max_bytes: int) -> dict[str, Any]:
        process, left = self._process, until - asyncio.get_running_loop().time()
        if process is None or self._closing or left <= 0:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, "closed")
        line = orjson.dumps({**question, "seconds": left}) + b"\n"
        try:
            return await exchange.ask(process, line, answer_max_bytes, HandFailure.EXECUTED)
        except BaseException:
            # Nobody knows what it would say next.
            self._closing = True
            self._farewell = asyncio.get_running_loop().create_task(process.kill())
            raise

    async def _end(self) -> None:
        self._closing = True
        if self._process is not None:
            await self._process.kill()

    def _rest(self) -> None:
        """A worker is stopped after its idle time."""
        loop = asyncio.get_running_loop()
        self.idle_since = loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(self._idle_seconds, self._idle)

    def _idle(self) -> None:
        if not self.busy and not self._closing:
            self._closing = True
            self._farewell = asyncio.get_running_loop().create_task(self.close())
