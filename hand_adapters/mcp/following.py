"""A call that its server took as a task, followed to its end: asked how it stands, its questions put to the client, its
result fetched, and called off where nobody waits any more.

Requests about a task are answered beside the calls of its session (``inquiries``). A connection that is lost between
two of them is not the end: the server is asked again, in a new session if need be.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from gateway.calls import HandCall, HandResult
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp.takeback import TakenBack, unless_cancelled
from hand_adapters.mcp.talk import QUESTIONS_MAX, Declared, answers
from hand_adapters.mcp.tasks import Inquiry, Method, Task

POLL_SECONDS: Final = 1.0
"""Between two looks, where the server names no time."""
POLL_MIN_SECONDS: Final = 0.1
POLL_MAX_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 20.0
"""How long a server may take to say how a task stands."""
LOST_MAX: Final = 3
"""Looks in a row whose answers may be lost."""
PARTING_SECONDS: Final = 2.0
"""How long a server may take to be told that nobody waits for a task any more."""

_LOST: Final = frozenset(
    {Reason.HAND_UNAVAILABLE, Reason.HAND_LOST_REPLY, Reason.HAND_CRASHED, Reason.HAND_TIMEOUT, Reason.OVERLOADED}
)
AskOnce = Callable[[HandCall, Inquiry], Awaitable[object]]


async def follow(call: HandCall, declared: Declared, task: Task, once: AskOnce, ends: float) -> HandResult:
    """The result of a task.

    Args:
        once: asks one thing about it.
        ends: event loop time of the call's deadline. The server is told that it passed, as it is where the client takes
            its call back or the gateway ends the call.

    Raises:
        HandError: ``hand.failed``, executed, where the task ended in an error; everything else is unknown.
    """
    try:
        async with asyncio.timeout_at(ends):
            return await unless_cancelled(call, _Followed(call, declared, once, ends).to_its_end(task))
    except TimeoutError:
        why, detail = Reason.HAND_TIMEOUT, "waiting for the task"
    except TakenBack:
        why, detail = Reason.HAND_CANCELLED, "the client took its call back"
    except (asyncio.CancelledError, HandError):
        await _call_off(call, task, once)
        raise
    await _call_off(call, task, once)
    raise HandError(why, HandFailure.UNKNOWN, detail)


async def _call_off(call: HandCall, task: Task, once: AskOnce) -> None:
    with suppress(HandError):
        await once(replace(call, deadline_seconds=PARTING_SECONDS), Inquiry(Method.CANCEL, task.id))


class _Followed:
    """One task, while it is followed."""

    def __init__(self, call: HandCall, declared: Declared, once: AskOnce, ends: float) -> None:
        self._call = call
        self._declared = declared
        self._once = once
        self._ends = ends
        self._answers: dict[str, Any] = {}
        self._lost = 0

    async def to_its_end(self, task: Task) -> HandResult:
        """See :func:`follow`."""
        while not task.over:
            wanted = POLL_SECONDS if task.poll_milliseconds is None else task.poll_milliseconds / 1000
            await asyncio.sleep(min(max(wanted, POLL_MIN_SECONDS), POLL_MAX_SECONDS))
            found = await self._ask(Method.GET, task, ANSWER_SECONDS)
            if isinstance(found, HandResult):
                return found
            if found is None:
                continue
            task = found
            if task.requests:
                await self._answer(task)
            elif task.status == "input_required":
                break  # up to 2025-11-25 it asks while its result is waited for
        if task.status == "cancelled":
            raise HandError(Reason.HAND_FAILED, HandFailure.UNKNOWN, "the server cancelled the task")
        while True:
            left = self._ends - asyncio.get_running_loop().time()
            found = await self._ask(Method.RESULT, task, left + PARTING_SECONDS)
            if isinstance(found, HandResult):
                return found
            await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, method: Method, task: Task, seconds: float) -> HandResult | Task | None:
        """What the server says; ``None`` where that was lost, and may be asked again."""
        try:
            found = await self._once(replace(self._call, deadline_seconds=seconds), Inquiry(method, task.id))
        except HandError as error:
            self._lost += 1
            if error.reason in _LOST and self._lost <= LOST_MAX:
                return None
            if error.failure is HandFailure.NOT_EXECUTED:
                # So it is with this request. The server has the call since the task was made, and may have acted.
                error.failure = HandFailure.UNKNOWN
            raise
        self._lost = 0
        return found if isinstance(found, HandResult | Task) else None

    async def _answer(self, task: Task) -> None:
        """Have the client answer what is asked, each question once, and tell the server."""
        new = {key: one for key, one in task.requests.items() if key not in self._answers}
        try:
            if len(self._answers) + len(new) > QUESTIONS_MAX:
                raise HandError(Reason.HAND_PROTOCOL, HandFailure.UNKNOWN, "too many questions")
            if new:
                self._answers |= await answers(self._call, self._declared, new)
        except HandError:
            await _call_off(self._call, task, self._once)
            raise
        given: Mapping[str, Any] = {key: self._answers[key] for key in task.requests}
        update = Inquiry(Method.UPDATE, task.id, {"inputResponses": given})
        with suppress(HandError):  # whether it heard is seen at the next look
            await self._once(replace(self._call, deadline_seconds=ANSWER_SECONDS), update)
