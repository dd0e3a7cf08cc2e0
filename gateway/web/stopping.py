"""A server that stops without losing what it took: it says that it will, takes nothing new, and ends what it has."""

import asyncio
import socket
from collections.abc import Coroutine
from types import FrameType
from typing import Any, Final, Protocol

import structlog
import uvicorn
from sse_starlette.sse import AppStatus

from gateway.draining import Drain
from gateway.settings import Settings

_log = structlog.get_logger("handrail.stop")

_MESSAGE: Final = "stop"


class Stops(Protocol):
    """What a stop asks of the gateway."""

    settings: Settings
    drain: Drain

    async def finish(self) -> None:
        """Returns when nothing that was taken is under way any more."""


class DrainingServer(uvicorn.Server):
    """The first signal drains within ``limits.drain_seconds``, a second one ends the process at once: what was
    acknowledged is on record either way, and the next start takes it up.
    """

    def __init__(self, config: uvicorn.Config, gateway: Stops) -> None:
        super().__init__(config)
        # Where the SDK of MCP answers by a stream, this library would end it half a second after the first signal.
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
        self._gateway = gateway
        self._forced = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See ``uvicorn.Server``, which forces for a second SIGINT alone."""
        again = self.should_exit
        super().handle_exit(sig, frame)
        if again:
            self.force_exit = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._forced.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, while it still listens, then stop."""
        self._loop = asyncio.get_running_loop()
        if not self.force_exit:
            await self._drain()
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        limits, drain = self._gateway.settings.limits, self._gateway.drain
        drain.announce()
        if limits.drain_notice_seconds:
            _log.info(_MESSAGE, phase=str(drain.phase), seconds=limits.drain_notice_seconds)
            await self._unless_forced(asyncio.sleep(limits.drain_notice_seconds), None)
        drain.begin()
        taken = set(self.server_state.tasks)
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                cycle.keep_alive = False
        _log.info(_MESSAGE, phase=str(drain.phase), requests=len(taken))
        if await self._unless_forced(self._finish(taken), limits.drain_seconds):
            _log.info(_MESSAGE, phase="drained")
        else:
            _log.warning(_MESSAGE, phase="given up", requests=len(self.server_state.tasks))

    async def _finish(self, taken: set[asyncio.Task[None]]) -> None:
        """Requests that began before, for one may still be taken; then plans. What is asked from now on is refused, and
        waiting for it too would let whoever asks on and on keep the rest from its end."""
        if taken:
            await asyncio.wait(taken)
        await self._gateway.finish()

    async def _unless_forced(self, work: Coroutine[Any, Any, None], seconds: float | None) -> bool:
        """Whether ``work`` ended within ``seconds``, and before a second signal."""
        task, forced = asyncio.ensure_future(work), asyncio.ensure_future(self._forced.wait())
        await asyncio.wait({task, forced}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ended = task.done()
        task.cancel()
        forced.cancel()
        await asyncio.gather(task, forced, return_exceptions=True)
        return ended
