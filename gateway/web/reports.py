"""Reports that take a while: how far each one is, one at a time for each caller, ended when nobody waits for it.

A report is made whole before a byte of it is sent, so that a slow reader holds its text and nothing of the database.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp

from gateway.errors import HandrailError, Unavailable
from gateway.model import Principal
from gateway.plans.followers import Event
from gateway.reasons import Reason
from gateway.web.access import ResponseAborted
from gateway.web.authentication import still_permitted
from gateway.web.routing import JsonResponse
from gateway.web.sse import EventStream, departed

EVENTS: Final = "text/event-stream"
PROGRESS_SECONDS: Final = 0.25
"""How often it is looked how far a report is."""


class _Unwanted(HandrailError):
    """Ends the making of a report, in its thread."""


class Progress:
    """How far a report is: told by the thread that makes it, read by the loop that passes it on.

    Attributes:
        done, total: steps.
    """

    def __init__(self) -> None:
        self.done = self.total = 0
        self._unwanted = False

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is. Raises where nobody wants it any more."""
        if self._unwanted:
            raise _Unwanted(Reason.INTERNAL, "nobody waits for the report")
        self.done, self.total = done, total

    def stop(self) -> None:
        """Have the next word of the thread be its last."""
        self._unwanted = True


Make = Callable[[Progress], Awaitable[dict[str, Any]]]


class Reports:
    """Reports in the making, at most one of each caller."""

    def __init__(self) -> None:
        self._callers: set[str] = set()

    async def answer(self, request: Request, principal: Principal, make: Make) -> ASGIApp:
        """The report as JSON; or as events, ``progress`` and at last ``report``, for who accepts those.

        A caller that goes away before ends it at its next step.

        Raises:
            Unavailable: ``limit.reports``.
        """
        caller = f"{principal.tenant}/{principal.pseudonym}"
        events = self.events(caller, make)
        if _accepts_events(request):
            permitted = partial(still_permitted, request.scope)
            return EventStream(events, request.app.state.streams, caller, permitted)
        gone = asyncio.create_task(departed(request.receive))
        try:
            async with aclosing(events):
                async for _, kind, document in events:
                    if kind == "report":
                        return JsonResponse(document)
                    if gone.done():
                        break
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        raise ResponseAborted

    async def events(self, caller: str, make: Make) -> AsyncGenerator[Event, None]:
        """``(number, "progress", {done, total})`` whenever that changed, and ``(number, "report", ...)`` at the end.

        Closing it before the end stops the report, and returns when its thread has stopped.
        """
        if caller in self._callers:
            raise Unavailable(Reason.LIMIT_REPORTS)
        self._callers.add(caller)
        progress = Progress()
        making = asyncio.ensure_future(make(progress))
        number, shown = 0, (0, 0)
        try:
            while not (await asyncio.wait({making}, timeout=PROGRESS_SECONDS))[0]:
                now = (progress.done, progress.total)
                if now != shown:
                    number, shown = number + 1, now
                    yield number, "progress", {"done": now[0], "total": now[1]}
            yield number + 1, "report", making.result()
        finally:
            progress.stop()
            await asyncio.gather(making, return_exceptions=True)
            self._callers.discard(caller)


def _accepts_events(request: Request) -> bool:
    ranges = ",".join(request.headers.getlist("accept")).split(",")
    return any(one.partition(";")[0].strip().lower() == EVENTS for one in ranges)
