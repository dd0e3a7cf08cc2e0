"""One request for a message and its answer: passed on while it comes, or told from the record."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import orjson
import structlog

from gateway.calls import Relay
from gateway.canonical import parse
from gateway.errors import HandrailError, Refused
from gateway.ingress.anthropic import notices
from gateway.ingress.anthropic.calls import Calls, Context
from gateway.ingress.anthropic.channel import Channel
from gateway.ingress.anthropic.holding import PING, Holder, ToolUse, call_of, turned, unmistakable
from gateway.ingress.anthropic.request import MessagesRequest
from gateway.ingress.client_calls import ClientCalls
from gateway.ingress.resting import Follows, rested
from gateway.messages_api.blocks import ANSWERED, TOOL_USE
from gateway.messages_api.events import StreamEvent
from gateway.model import Principal, StepStatus, UnverifiedPlan
from gateway.personal_data import Scanner
from gateway.plans.live import Instead, Redact
from gateway.ports import Hands, Signer
from gateway.reasons import Reason
from gateway.settings import Settings

_log = structlog.get_logger(__name__)

_ENDINGS: Final[Mapping[str, Reason]] = {
    StepStatus.DENIED: Reason.POLICY_DENIED,
    StepStatus.EXPIRED: Reason.APPROVAL_EXPIRED,
    StepStatus.CANCELLED: Reason.FREEZE_ACTIVE,
}
"""Why a step did not succeed, where nothing else says so."""

SSE_HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
}
_ANSWER_HEADERS: Final = frozenset({"content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry"})
_ANSWER_PREFIX: Final = "anthropic-"
_UTF8: Final = re.compile(r'charset="?utf-8"?')


class Takes(Follows, Protocol):
    """What this ingress asks of the pipeline."""

    scanner: Scanner

    async def submit(
        self,
        unverified: UnverifiedPlan,
        *,
        wait_seconds: float = 0.0,
        relay: Relay | None = None,
        instead: Instead | None = None,
        redact: Redact | None = None,
    ) -> dict[str, Any]:
        """Take a plan through the pipeline; see ``Pipeline.submit``."""


class GatewayParts(Protocol):
    """What this ingress uses of the gateway."""

    settings: Settings

    @property
    def keyset(self) -> Signer:
        """The gateway's keys."""

    @property
    def hands(self) -> Hands:
        """The registry."""

    @property
    def client_calls(self) -> ClientCalls:
        """The judge of what clients run themselves."""

    @property
    def pipeline(self) -> Takes:
        """The one way."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as HTTP has it. Whoever has it closes ``parts`` and sets ``gone``, whether or not it was read."""

    status: int
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Exchange:
    """One request and its answer."""

    def __init__(
        self,
        gateway: GatewayParts,
        calls: Calls,
        caller: Principal,
        context: Context,
        request: MessagesRequest,
        channel: Channel,
        step: asyncio.Task[dict[str, Any]],
        status_of: Callable[[Reason], int],
    ) -> None:
        self._gateway = gateway
        self._settings = gateway.settings.anthropic
        self._calls = calls
        self._caller = caller
        self._context = context
        self._request = request
        self._channel = channel
        self._step = step
        self._status_of = status_of

    async def answer(self) -> Answer:
        """The head of the answer, as soon as it is known, and its parts.

        Raises:
            HandrailError: nothing of it may go out.
        """
        try:
            return await self._answer()
        except BaseException:
            self._channel.gone.set()
            raise

    async def _answer(self) -> Answer:
        if not await self._channel.head(self._step):
            return await self._without_relay(self._step.result())
        headers = passed(self._channel.answered)
        if self._channel.status == 200 and _is_stream(self._channel.answered):
            return Answer(200, {**SSE_HEADERS, **headers}, self._stream(), self._channel.gone)
        status, body, _ = await self.recorded()
        if status != 200:
            return Answer(status, headers, once(body))
        message = message_of(judgeable(body))
        denied = await self.judged_calls(message)
        return Answer(200, headers, once(body if not denied else notices.whole(less(message, denied))))

    # --- what comes while it comes -----------------------------------------------------------------------------------

    async def _stream(self) -> AsyncIterator[bytes]:
        """The events that go out. From here on an error is an event."""
        holder = Holder()
        try:
            while True:
                event = await self._channel.take(self._step)
                if not isinstance(event, StreamEvent):
                    break
                if not holder.failed:
                    async for out in self._let_through(holder, event):
                        yield out
            async for ping in self._pings(self._step):
                yield ping
            recorded = self.succeeded(self._step.result())
            if holder.failed:
                return
            if holder.last is None or recorded is None:
                raise Refused(Reason.HAND_LOST_REPLY)
            yield holder.last
        except HandrailError as error:
            if not holder.failed:
                _log.info("answer broken off", code=str(error.reason), detail=error.detail)
                yield notices.refused_event(error, self._status_of(error.reason))
        finally:
            self._channel.gone.set()

    async def _let_through(self, holder: Holder, event: StreamEvent) -> AsyncIterator[bytes]:
        for out in holder.take(event):
            yield out
        if holder.waiting:
            judging = asyncio.ensure_future(self._calls.judge(self._caller, self._context, holder.waiting))
            async for ping in self._pings(judging):
                yield ping
            for out in holder.judged(judging.result()):
                yield out

    async def _pings(self, work: asyncio.Future[Any]) -> AsyncIterator[bytes]:
        """Signs of life while something is waited for; nothing of it is sent on where the client goes."""
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=self._settings.ping_seconds)
                if not work.done():
                    yield PING
        finally:
            if work is not self._step and not work.done():
                work.cancel()

    async def recorded(self) -> tuple[int, bytes, dict[str, Any]]:
        """Status and body of an answer in one piece, as they came, and the view of the step: once its outcome is on
        record. Where nothing was passed on the body is empty, and the view has what there is.

        Raises:
            HandrailError: it did not succeed, and the provider did not say why, or that is not on record.
        """
        parts: list[bytes] = []
        try:
            while isinstance(part := await self._channel.take(self._step), bytes):
                parts.append(part)
            view = await asyncio.shield(self._step)
        finally:
            self._channel.gone.set()  # whatever came: a client that left waits for no more of it
        step = view["steps"][0]
        said_by_provider = self._channel.begun and self._channel.status >= 400
        told = said_by_provider and step["status"] == StepStatus.FAILED and "receipt" in step
        if not told and await self._collect(view) is None:
            raise Refused(Reason.HAND_LOST_REPLY)
        return self._channel.status or 200, b"".join(parts), view

    @property
    def head(self) -> Mapping[str, str]:
        """What of the provider's head goes to the client."""
        return passed(self._channel.answered)

    # --- what comes from the record ----------------------------------------------------------------------------------

    async def _without_relay(self, view: dict[str, Any]) -> Answer:
        """The answer of a step that was not passed on: it was refused, it waits for a person, or something was taken
        out of its result."""
        # A step that stands for this one has its conversation, and what came of it, in its own context.
        self._context = replace(self._context, id=view["context_id"])
        if view["steps"][0]["status"] not in {StepStatus.HELD, StepStatus.RUNNING}:
            failure = _told_by_provider(view["steps"][0])
            if failure is not None:
                return failure
            return self._from_record(await self._told_once(view))
        if self._request.stream:
            return Answer(200, SSE_HEADERS, self._held_stream(view))
        view = await self._rested(view)
        return self._from_record(await self._after_hold(view))

    async def _held_stream(self, view: dict[str, Any]) -> AsyncIterator[bytes]:
        """Pings until a person answered, or for as long as the settings say; then the message."""
        try:
            resting = asyncio.ensure_future(self._rested(view))
            async for ping in self._pings(resting):
                yield ping
            for out in notices.streamed(await self._after_hold(resting.result())):
                yield out
        except HandrailError as error:
            yield notices.refused_event(error, self._status_of(error.reason))

    async def _rested(self, view: dict[str, Any]) -> dict[str, Any]:
        """Once a person answered, or after as long as the settings say."""
        seconds = self._settings.ask_hold_seconds
        return await rested(self._gateway.pipeline, view, view["steps"][0]["id"], self._caller, seconds)

    async def _after_hold(self, view: dict[str, Any]) -> dict[str, Any]:
        step = view["steps"][0]
        if not StepStatus(step["status"]).final:
            model = str(self._request.body["model"])
            return notices.held_message(view, step, model, self._gateway.settings.public_url)
        return await self._told_once(view)

    async def _told_once(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """The message of a step on record, less what is denied; of one that people were asked about, only once."""
        message = await self._collect(view)
        if message is None:
            raise Refused(Reason.HAND_LOST_REPLY)
        return await self._less_denied(message)

    async def _collect(self, view: Mapping[str, Any]) -> dict[str, Any] | None:
        """See :meth:`succeeded`. With that the approval is used up, unless it was when the step was found; and ``None``
        where somebody else was told."""
        message, step = self.succeeded(view), view["steps"][0]
        if message is None or "approval_id" not in step or self._channel.collected:
            return message
        return message if await self._calls.deliver(self._caller, view["plan_id"], step["id"]) else None

    def _from_record(self, message: Mapping[str, Any]) -> Answer:
        if self._request.stream:
            return Answer(200, SSE_HEADERS, _each(notices.streamed(message)))
        return Answer(200, {"content-type": "application/json"}, once(notices.whole(message)))

    # --- judging -----------------------------------------------------------------------------------------------------

    async def _less_denied(self, message: dict[str, Any]) -> dict[str, Any]:
        denied = await self.judged_calls(message_of(message))
        return less(message, denied) if denied else message

    async def judged_calls(self, message: Mapping[str, Any]) -> Mapping[int, str]:
        """Index of each call of a whole message that is not let go -> what stands in its place; see ``Calls.judge``."""
        uses: Iterable[ToolUse] = (
            call_of(index, block) for index, block in enumerate(message["content"]) if block["type"] == TOOL_USE
        )
        found = unmistakable(uses)
        return await self._calls.judge(self._caller, self._context, found) if found else {}

    def succeeded(self, view: Mapping[str, Any]) -> dict[str, Any] | None:
        """The message of the request's step, where it succeeded, on record.

        Raises:
            Unsuccessful: it did not.
        """
        step = view["steps"][0]
        if step["status"] == StepStatus.SUCCEEDED and "receipt" in step:
            structured = (step.get("result") or {}).get("structured")  # none where it was erased
            return structured if isinstance(structured, dict) else None
        if step["status"] == StepStatus.HELD:
            raise notices.Unsuccessful(Reason.POLICY_DENIED, notices.approval(step, self._gateway.settings.public_url))
        error = step.get("error") or {}
        reason = Reason(error["code"]) if "code" in error else _ENDINGS.get(step["status"], Reason.HAND_TIMEOUT)
        said = notices.why(view["plan_id"], step, self._gateway.settings.public_url)
        raise notices.Unsuccessful(reason, said, error.get("retry_after_seconds"))


def _told_by_provider(step: Mapping[str, Any]) -> Answer | None:
    """The provider's own error, as far as the record has it."""
    said = (step.get("result") or {}).get("structured") if step["status"] == StepStatus.FAILED else None
    if not isinstance(said, dict) or not isinstance(said.get("type"), str) or "message" not in said:
        return None
    status = said.get("status")
    if not isinstance(status, int) or not 400 <= status < 600:
        return None
    request_id = str(said.get("request_id", ""))
    body = orjson.dumps(notices.error_document(said["type"], str(said["message"]), request_id))
    headers = {"content-type": "application/json", **({"request-id": request_id} if request_id else {})}
    return Answer(status, headers, once(body))


def judgeable(body: bytes) -> Any:
    """A body of the provider's as JSON.

    Raises:
        Refused: ``hand.protocol``.
    """
    try:
        return parse(body)
    except Refused:
        raise Refused(Reason.HAND_PROTOCOL, "an answer that is no JSON") from None


def message_of(said: Any) -> Mapping[str, Any]:
    """A whole message whose every block is known.

    Raises:
        Refused: ``hand.protocol``.
    """
    content = said.get("content") if isinstance(said, dict) else None
    if not isinstance(content, list):
        raise Refused(Reason.HAND_PROTOCOL, "no message")
    for block in content:
        if not isinstance(block, dict) or block.get("type") not in ANSWERED:
            raise Refused(Reason.HAND_PROTOCOL, "a block that is unknown")
    found: Mapping[str, Any] = said
    return found


def less(message: Mapping[str, Any], denied: Mapping[int, str]) -> dict[str, Any]:
    """A whole message with texts in place of the calls that are not let go."""
    calls = sum(block["type"] == TOOL_USE for block in message["content"])
    stop_reason = message.get("stop_reason")
    return notices.without(message, denied, turned(stop_reason) if calls == len(denied) else stop_reason)


def passed(headers: Mapping[str, str]) -> dict[str, str]:
    """What of the provider's head goes to the client. An answer is judged as UTF-8, so nobody is told to read it as
    something else."""
    kept = {
        name.lower(): value
        for name, value in headers.items()
        if (name.lower() in _ANSWER_HEADERS or name.lower().startswith(_ANSWER_PREFIX)) and value.isascii()
    }
    kind, _, parameters = kept.get("content-type", "").partition(";")
    if parameters and _UTF8.fullmatch(parameters.strip().lower()) is None:
        kept["content-type"] = kind.strip()
    return kept


def _is_stream(headers: Mapping[str, str]) -> bool:
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


async def once(body: bytes) -> AsyncIterator[bytes]:
    """A body as the parts of an answer."""
    yield body


async def _each(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
