"""One warm channel to a server for one principal: opened, asked for its tools, then called one step at a time;
requests about tasks go beside (``inquiries``).

A task of its own owns the channel from start to end, because the SDK's task groups must be left by the task that
entered them. Callers put jobs into its queue and wait. A channel whose server broke a rule is never used again.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Container
from contextlib import AsyncExitStack
from typing import Final

from mcp import Client, MCPError
from mcp.client.session import IncomingMessage
from mcp_types import Implementation

from gateway.calls import HandCall
from gateway.conversations import Conversation
from gateway.errors import HandrailError
from gateway.manifest import Manifest
from gateway.mcp_methods import McpMethod
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.egress import EgressGate, serving
from hand_adapters.jail import JailError
from hand_adapters.mcp import methods, tasks
from hand_adapters.mcp.answers import Answer, refused, result
from hand_adapters.mcp.calling import Calling
from hand_adapters.mcp.changes import Changes
from hand_adapters.mcp.channel import Channel, answer_max_bytes
from hand_adapters.mcp.endings import SDK_ERRORS, broken, first, held, in_step, opening
from hand_adapters.mcp.inquiries import Inquiries
from hand_adapters.mcp.jobs import Job
from hand_adapters.mcp.listing import LISTING_MAX_BYTES, Described
from hand_adapters.mcp.rounds import Outcome, Round
from hand_adapters.mcp.takeback import TakenBack
from hand_adapters.mcp.talk import Talk
from hand_adapters.mcp.tasks import Created, Inquiry, Method
from hand_adapters.mcp.watches import Watches

OPEN_SECONDS: Final = 30.0
"""How long a server may take to start, agree on a protocol and list its tools."""
WAITING_MAX: Final = 64
"""Calls that may wait for one session."""
WHO: Final = Implementation(name="client", version="0")


def drift(offered: Manifest, call: HandCall) -> HandError | None:
    """Why what a server offers is not what a call was decided on, or ``None``."""
    return None if offered.digest == call.manifest_digest else HandDrifted(offered)


class Session:
    """A channel to a server and its queue.

    Attributes:
        opened: resolves to the manifest the server offers, or raises the ``HandError`` that kept it from opening.
        idle_since: event loop time of the last answer, for eviction.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Channel]],
        describe: Callable[[Client], Awaitable[Described]],
        idle_seconds: float,
        way_out: EgressGate | None = None,
        *,
        drift: Callable[[Manifest, HandCall], HandError | None] = drift,
        asks_each_time: bool = False,
        declared: Container[str] = (),
        talk: Talk | None = None,
    ) -> None:
        """
        Args:
            start: opens the channel; raises ``JailError`` where there is no process to speak with.
            describe: what the server offers, asked through the client.
            drift: why what is offered is not what a call was decided on.
            asks_each_time: the server is not trusted to say when its tools change.
            declared: the actions that the operator speaks of: what else than tools is watched for changes.
            talk: what the server may say to the client of a call; nothing by default.
        """
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[Manifest] = loop.create_future()
        self.opened.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.idle_since = loop.time()
        self._start = start
        self._way_out = way_out
        self._describe = describe
        self._drift = drift
        self._asks_each_time = asks_each_time
        self._talk = talk or Talk()
        self._watches = Watches()
        self._calling = Calling(self._talk)
        self._inquiries: Inquiries | None = None
        self._leaving: tuple[Reason, str] | None = None
        self._unwelcome = False
        self._idle_seconds = idle_seconds
        self._jobs: deque[Job] = deque()
        self._wake = asyncio.Event()
        self._running: Job | None = None
        self._closing = False
        self._channel: Channel | None = None
        self._described: Described | None = None
        self._changes = Changes(declared, asks_each_time=asks_each_time)
        # In a context of its own: the channel outlives the call that started it, and serves others.
        self._owner = loop.create_task(self._live(), context=contextvars.Context())

    @property
    def ended(self) -> bool:
        """Whether it takes no more calls."""
        return self._closing or self._owner.done() or (self._channel is not None and self._channel.fault is not None)

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits, a resource is watched, or a task goes on."""
        asked = self._inquiries is not None and self._inquiries.active
        return self._running is not None or bool(self._jobs) or self._watches.active or self._talk.follows or asked

    async def call(self, call: HandCall, again: Round | Inquiry | None = None) -> Outcome:
        """Wait for its turn, where it takes one, run ``call``, and answer within its deadline.

        Args:
            again: what goes with it where the server answered with a question before, or what is asked instead where it
                made a task of it.

        Raises:
            HandDrifted: the server offers something else than ``call.manifest_digest``.
            HandError: as ``HandAdapter.run`` says.
        """
        loop = asyncio.get_running_loop()
        job = Job(call, loop.create_future(), again)
        if self._inquiries is not None and (inquiry := self._inquiry_of(job)) is not None:
            self._inquiries.begin(job, inquiry)
        elif len(self._jobs) >= WAITING_MAX:
            raise HandError(Reason.OVERLOADED, HandFailure.NOT_EXECUTED, "too many calls wait for this session")
        else:
            self._jobs.append(job)
            self._wake.set()
        timer = loop.call_later(call.deadline_seconds, self._expire, job)
        job.answer.add_done_callback(lambda _: timer.cancel())
        if call.conversation is not None and not isinstance(again, Inquiry):
            taken_back = loop.create_task(self._take_back(job, call.conversation))
            job.answer.add_done_callback(lambda _: taken_back.cancel())
        try:
            return await job.answer
        except asyncio.CancelledError:
            # Nobody would know what a server in mid-step still does.
            if job.started and self._channel is not None and not isinstance(again, Inquiry):
                self._channel.fail(Reason.HAND_CRASHED, "the caller left")
            raise

    async def close(self) -> None:
        """End the channel and wait until it is gone."""
        self._closing = True
        self._wake.set()
        if self._channel is not None:
            self._channel.close()
        else:
            self._owner.cancel()
        await asyncio.wait({self._owner})

    async def _take_back(self, job: Job, conversation: Conversation) -> None:
        """End a call whose client does not want it any more before its turn came; :meth:`_run` ends the others."""
        await conversation.cancelled.wait()
        if not job.started:
            job.tell(HandError(Reason.HAND_CANCELLED, HandFailure.NOT_EXECUTED, "its turn had not come"))

    def _expire(self, job: Job) -> None:
        if job.answer.done():
            return
        if job.started and isinstance(job.again, Inquiry):
            job.tell(HandError(Reason.HAND_TIMEOUT, HandFailure.UNKNOWN, "asked about the task"))
        elif job.started and self._channel is not None:
            self._channel.fail(Reason.HAND_TIMEOUT)
        else:
            job.answer.set_exception(HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED, "never began"))

    # --- the owner ---------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        failure: HandError | None = None
        try:
            for mode in self._talk.modes:
                failure = await self._drive(await self._start(), mode)
                if not self._unwelcome:  # it was greeted in a way that it knows, or is not there
                    break
        except JailError as exc:
            failure = HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, exc.detail)
        finally:
            if self._way_out is not None:
                self._way_out.close()
            self._closing = True
            self._settle(failure or HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, "closed"))

    async def _drive(self, channel: Channel, mode: str) -> HandError | None:
        """Open the channel and serve its queue; what kept it from opening, or ``None``."""
        self._channel = channel
        greeted = False
        self._unwelcome = False
        # Whoever comes first and still waits, it is opened for.
        channel.call = next((job.call for job in self._jobs if not job.answer.done()), None)
        channel.window(LISTING_MAX_BYTES)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(OPEN_SECONDS, channel.fail, Reason.HAND_TIMEOUT, "opening")
        try:
            async with (
                Client(
                    channel.streams(),
                    mode=mode,
                    cache=None,
                    client_info=WHO,
                    extensions=[tasks.Extension()],
                    message_handler=self._heard,
                    **self._talk.options(),
                ) as client,
                AsyncExitStack() as stack,
            ):
                greeted = True
                try:
                    await self._open(client, stack, channel)
                except HandrailError as exc:
                    return opening(exc, channel)
                timer.cancel()
                await self._serve(client, channel)
        except SDK_ERRORS as exc:
            if not greeted and isinstance(held(exc), MCPError) and (channel.left or channel.fault is None):
                # It answered, and takes no such greeting. Until it is greeted otherwise, there is no channel.
                self._unwelcome, self._channel = True, None
            return opening(broken(channel, began=False, otherwise=Reason.HAND_PROTOCOL, detail=first(exc)), channel)
        finally:
            timer.cancel()
            self._watches.close()
            channel.close()
            await channel.gone()
        return None

    async def _heard(self, message: IncomingMessage) -> None:
        await self._changes.heard(message)
        await self._watches.heard(message)
        await self._talk.heard(message)

    async def _open(self, client: Client, stack: AsyncExitStack, channel: Channel) -> None:
        await self._changes.watch(client, stack)
        if not self._asks_each_time or channel.call is None:
            self._described = await self._describe(client)
            if not self.opened.done():
                self.opened.set_result(self._described.manifest)
        channel.window(0)
        channel.call = None

    async def _serve(self, client: Client, channel: Channel) -> None:
        """Run jobs in their order until the channel ends, is closed, or was idle for long enough."""
        self._talk.asker = channel.asker
        self._inquiries = Inquiries(client, channel, self._talk, self._leave)
        ended = asyncio.get_running_loop().create_task(channel.ended.wait())
        ended.add_done_callback(lambda _: self._wake.set())
        try:
            while channel.fault is None and not self._closing:
                if not self._jobs:
                    self._wake.clear()
                    try:
                        async with asyncio.timeout(self._idle_seconds):
                            await self._wake.wait()
                    except TimeoutError:
                        # No await between this and the end of taking calls, so none is lost.
                        self._closing = not self.busy
                    continue
                job = self._jobs.popleft()
                if job.answer.done():
                    continue
                if (inquiry := self._inquiry_of(job)) is not None:
                    self._inquiries.begin(job, inquiry)
                    continue
                self._running = job
                try:
                    result = await self._turn(client, channel, self._inquiries, job)
                except HandError as exc:
                    job.tell(exc)
                else:
                    job.tell(result)
                finally:
                    self._running = None
                    self.idle_since = asyncio.get_running_loop().time()
                    if self._leaving is not None:
                        channel.fail(*self._leaving)
        finally:
            ended.cancel()
            await self._inquiries.end()
            self._inquiries = None

    def _inquiry_of(self, job: Job) -> Inquiry | None:
        """What is asked about a task, where it takes no turn. A jail that reaches out does so for one call at a time,
        and its server may have to for a result."""
        inquiry = job.again if isinstance(job.again, Inquiry) else None
        return None if inquiry is None or (inquiry.method is Method.RESULT and self._way_out is not None) else inquiry

    def _leave(self, reason: Reason, detail: str) -> None:
        """End the channel, once the call that runs is over."""
        if self._running is None and self._channel is not None:
            self._channel.fail(reason, detail)
        else:
            self._leaving = (reason, detail)

    async def _turn(self, client: Client, channel: Channel, inquiries: Inquiries, job: Job) -> Outcome:
        if not isinstance(job.again, Inquiry):
            return await self._run(client, channel, job, job.again)
        async with serving(self._way_out, job.call):
            return await inquiries.ask(job, job.again)

    async def _run(self, client: Client, channel: Channel, job: Job, again: Round | None) -> Outcome:
        call = job.call
        sent: int | None = None
        job.started = True
        channel.call = call
        try:
            if self._changes.stale():
                channel.window(LISTING_MAX_BYTES)
                self._described = await self._describe(client)
            if self._described is None:
                raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, "no manifest")
            if (drifted := self._drift(self._described.manifest, call)) is not None:
                raise drifted
            sent = channel.sent
            channel.window(answer_max_bytes(call))
            self._talk.begin(call)
            async with serving(self._way_out, call):
                if call.action == McpMethod.RESOURCES_SUBSCRIBE:
                    return await self._watches.begin(client, call, unasked=channel.unasked)
                as_task = call.action in self._described.as_tasks
                answer = await self._calling.send(client, call, again, as_task=as_task)
        except MCPError as exc:
            if channel.fault is None:
                raise refused(exc, call, again, sent=sent is not None) from None
            raise in_step(channel, sent) from None
        except TakenBack:
            channel.fail(Reason.HAND_CANCELLED, "the client took its call back")
            raise HandError(Reason.HAND_CANCELLED, HandFailure.UNKNOWN, "the client took its call back") from None
        except methods.Faulty as fault:
            channel.fail(fault.reason, fault.detail)
            raise in_step(channel, sent) from None
        except SDK_ERRORS as exc:
            channel.fail(Reason.HAND_PROTOCOL, type(exc).__name__)
            raise in_step(channel, sent) from None
        finally:
            self._talk.end()
            channel.window(0)
            channel.call = None
        if isinstance(answer, Created):
            if not answer.task.over:
                self._talk.keep(answer.task.id, call)
            return answer.task
        return result(answer, channel) if isinstance(answer, Answer) else answer

    def _settle(self, failure: HandError) -> None:
        """Tell everybody who still waits. No job in the queue was ever sent."""
        if not self.opened.done():
            self.opened.set_exception(failure)
        while self._jobs:
            never_sent = HandError(failure.reason, HandFailure.NOT_EXECUTED, failure.detail, **failure.facts)
            self._jobs.popleft().tell(never_sent)
