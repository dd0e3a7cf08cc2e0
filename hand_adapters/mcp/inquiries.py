"""Requests about tasks, which are sent at once and answered beside the turns of a session: neither does a person who
thinks about a task's question keep other calls waiting, nor does a call that takes long keep a server from being told
that a task is over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mcp import Client, MCPError
from mcp_types import INVALID_PARAMS

from gateway.calls import HandResult
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.mcp import tasks
from hand_adapters.mcp.answers import Answer, outcome, refused, result
from hand_adapters.mcp.channel import BESIDE, Beside, Channel
from hand_adapters.mcp.endings import SDK_ERRORS, broken
from hand_adapters.mcp.jobs import Job
from hand_adapters.mcp.talk import Talk
from hand_adapters.mcp.tasks import Inquiry, Method, Task, asked_about


class _Left(Exception):
    """Nobody waits for the answer to an inquiry any more."""


class Inquiries:
    """Those of one channel."""

    def __init__(self, client: Client, channel: Channel, talk: Talk, leave: Callable[[Reason, str], None]) -> None:
        """
        Args:
            leave: ends the channel as soon as no call runs, for a server that does not call its task off.
        """
        self._client = client
        self._channel = channel
        self._talk = talk
        self._leave = leave
        self._running: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> bool:
        """Whether one is under way."""
        return bool(self._running)

    def begin(self, job: Job, inquiry: Inquiry) -> None:
        """Send one, and tell whoever waits what came of it."""
        running = asyncio.get_running_loop().create_task(self._tell(job, inquiry))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def end(self) -> None:
        """Give up those that are under way: the channel is about to end."""
        running = tuple(self._running)
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _tell(self, job: Job, inquiry: Inquiry) -> None:
        try:
            job.tell(await self.ask(job, inquiry))
        except HandError as error:
            job.tell(error)
        except asyncio.CancelledError:
            job.tell(broken(self._channel, began=True))
            raise

    async def ask(self, job: Job, inquiry: Inquiry) -> HandResult | Task | None:
        """The answer; that to a request that only tells says nothing.

        Raises:
            HandError: as the task ended, or the request.
        """
        job.started = True
        beside = Beside(job.call)
        BESIDE.set(beside)  # of this task's own context
        self._talk.follow(inquiry.task_id, job.call)
        try:
            said = await _while_wanted(job.answer, tasks.ask(self._client, inquiry))
            return self._came(inquiry, said)
        except _Left:
            self._channel.forgo(beside.requests)
            if inquiry.method is Method.CANCEL:
                self._over(inquiry)
                self._leave(Reason.HAND_TIMEOUT, "the server does not call its task off")
            raise HandError(Reason.HAND_CANCELLED, HandFailure.UNKNOWN, "nobody waits") from None
        except MCPError as exc:
            self._over(inquiry)
            if self._channel.fault is not None:
                raise broken(self._channel, began=True) from None
            if inquiry.method is Method.CANCEL and exc.code != INVALID_PARAMS:
                self._leave(Reason.HAND_CANCELLED, "the server does not call its task off")
            raise refused(exc, job.call, inquiry, sent=True) from None
        except SDK_ERRORS as exc:
            self._channel.fail(Reason.HAND_PROTOCOL, type(exc).__name__)
            raise broken(self._channel, began=True) from None
        finally:
            BESIDE.set(None)

    def _came(self, inquiry: Inquiry, said: dict[str, object]) -> HandResult | Task | None:
        if inquiry.method is Method.UPDATE:
            return None
        if inquiry.method is Method.GET:
            task = asked_about(inquiry, said)
            if task.over:
                self._over(inquiry)
            return outcome(task, self._channel)
        self._over(inquiry)
        if inquiry.method is Method.CANCEL:
            return None
        return result(Answer.model_validate(said, by_name=False), self._channel)

    def _over(self, inquiry: Inquiry) -> None:
        self._talk.forget(inquiry.task_id)


async def _while_wanted(waiter: "asyncio.Future[Any]", asked: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Wait for what was asked as long as somebody waits for what comes of it. Raises ``_Left``."""
    task = asyncio.ensure_future(asked)
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        raise _Left
    return task.result()
