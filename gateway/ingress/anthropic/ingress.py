"""The Messages ingress: a request becomes a plan of one step, ``model.messages`` on a model's hand, and its answer goes
out while it comes, less the calls that policy does not let go.

The order that invariant 1 asks for: the request's decision and intent are durable before the provider hears of it; a
call is released on record before the client sees it; the answer's end goes out when the outcome is on record. What was
already passed on of an answer whose outcome cannot be recorded cannot be taken back: it is text, and the stream ends
with an error before the client takes it for a whole message.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson
import structlog

from gateway.canonical import parse
from gateway.errors import Absent, HandrailError, Refused
from gateway.ingress.anthropic import notices
from gateway.ingress.anthropic.calls import CONNECTOR, Calls, Context, Released, Step, Takes, rested
from gateway.ingress.anthropic.channel import Channel
from gateway.ingress.anthropic.holding import PING, Holder, ToolUse, call_of, turned, unmistakable
from gateway.ingress.anthropic.redacting import redact
from gateway.ingress.anthropic.request import MessagesRequest, context_id, past_calls, read, too_many
from gateway.ingress.connector import signed
from gateway.manifest import Manifest
from gateway.messages_api.blocks import ANSWERED, TOOL_USE
from gateway.messages_api.events import StreamEvent
from gateway.model import Principal, StepStatus
from gateway.ports import Hands, Signer
from gateway.reasons import TEXTS, Reason
from gateway.settings import Settings

_log = structlog.get_logger(__name__)

ADAPTER: Final = "anthropic"
ACTION: Final = "model.messages"
GRACE_SECONDS: Final = 30.0
"""Beyond the deadline of the call: for being decided and recorded."""
PAST_CALLS_MAX: Final = 32
"""Calls of a conversation, the newest, by which its context is looked for."""
CREDENTIALS: Final = ("authorization", "x-api-key")

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
    def pipeline(self) -> Takes:
        """The one way."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as HTTP has it.

    Attributes:
        headers: names in lower case; of those that came twice, none.
        betas: values of every ``anthropic-beta``.
        beta: ``?beta=true``.
        own_credential: of the client's own headers, its credential for the provider, where it named its Handrail key in
            a header of its own.
    """

    caller: Principal
    raw: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    betas: Sequence[str] = ()
    beta: bool = False
    own_credential: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as HTTP has it; ``parts`` is to be closed, also where it was not read to its end."""

    status: int
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


class Unsuccessful(HandrailError):
    """The request's step did not succeed: its reason, and what may be said of it."""

    def __init__(self, reason: Reason, said: str) -> None:
        super().__init__(reason, "the step did not succeed")
        self.said = said


class MessagesIngress:
    """``POST /anthropic/v1/messages``. Belongs to one event loop."""

    def __init__(self, gateway: GatewayParts, released: Released) -> None:
        self._gateway = gateway
        self._calls = Calls(gateway.settings, gateway.keyset, gateway.hands, gateway.pipeline, released)
        self._released = released
        self._under_way: set[asyncio.Task[Any]] = set()

    async def messages(self, asked: Asked) -> Answer:
        """Ask the model, and answer.

        Raises:
            HandrailError: nothing was asked, or nothing of the answer may go out.
        """
        gateway, caller = self._gateway, asked.caller
        settings = gateway.settings.anthropic
        if len(asked.raw) > settings.body_max_bytes:
            raise too_many(asked.raw, settings.body_max_bytes)
        manifest = self._manifest(caller)
        request = read(asked.raw, asked.headers, asked.betas, beta=asked.beta)
        if settings.redact_secrets or settings.redact_personal:
            scanner = gateway.settings.results.scanner()
            request = await asyncio.to_thread(
                redact, request, scanner, secrets=settings.redact_secrets, kinds=settings.redact_personal
            )
        named = context_id(request, asked.headers, caller) or await self._calls.context_of(
            caller, past_calls(request.body)[:PAST_CALLS_MAX]
        )
        context = Context(named or f"anthropic-{secrets.token_hex(16)}", said=named is not None)
        await self._calls.hear(caller, request.results)
        return await self._exchange(asked, request, manifest, context)

    async def _exchange(self, asked: Asked, request: MessagesRequest, manifest: Manifest, context: Context) -> Answer:
        gateway = self._gateway
        own = asked.own_credential if gateway.settings.anthropic.pass_credentials else {}
        channel = Channel({**request.headers, **own}, request.raw)
        action = {"id": "ask", "hand": manifest.hand, "action": ACTION, "args": request.args}
        approved = await self._released.collect(asked.caller, context.named, action)
        if approved is not None:
            return await self._collected(asked.caller, context, request, approved)
        plan = signed(
            CONNECTOR, gateway.settings, gateway.keyset, asked.caller, context.id, [action], purpose=request.purpose
        )
        seconds = manifest.actions[ACTION].deadline_seconds + GRACE_SECONDS
        # A client that hangs up ends the call at the provider (``channel.gone``), not the record of it.
        step = asyncio.create_task(gateway.pipeline.submit(plan, wait_seconds=seconds, relay=channel))
        self._under_way.add(step)
        step.add_done_callback(self._under_way.discard)
        step.add_done_callback(lambda task: task.cancelled() or task.exception())
        exchange = _Exchange(gateway, self._calls, asked.caller, context, request, channel, step)
        try:
            return await exchange.answer()
        except BaseException:
            channel.gone.set()
            raise

    async def _collected(self, caller: Principal, context: Context, request: MessagesRequest, step: Step) -> Answer:
        """The answer that is on record since a person approved exactly this request."""
        view = await self._gateway.pipeline.view(step.plan_id, caller)
        done: asyncio.Task[dict[str, Any]] = asyncio.create_task(_already(view))
        await done
        channel = Channel({}, request.raw)
        return await _Exchange(self._gateway, self._calls, caller, context, request, channel, done).answer()

    def _manifest(self, caller: Principal) -> Manifest:
        """Of the model's hand that the caller's requests go to.

        Raises:
            Absent: there is none, or more than one and nothing says which.
        """
        named = self._gateway.settings.anthropic.hand
        found = [
            manifest
            for manifest in self._gateway.hands.listed(caller)
            if manifest.adapter == ADAPTER and named in {None, manifest.hand}
        ]
        if len(found) != 1:
            raise Absent("hand", named or ADAPTER)
        return found[0]


class _Exchange:
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
    ) -> None:
        self._gateway = gateway
        self._settings = gateway.settings.anthropic
        self._calls = calls
        self._caller = caller
        self._context = context
        self._request = request
        self._channel = channel
        self._step = step

    async def answer(self) -> Answer:
        """The head of the answer, as soon as it is known, and its parts."""
        begun = asyncio.ensure_future(self._channel.begun.wait())
        try:
            await asyncio.wait({begun, self._step}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        if not self._channel.begun.is_set():
            return await self._without_relay(self._step.result())
        headers = _passed(self._channel.answered)
        if self._channel.status == 200 and _is_stream(self._channel.answered):
            return Answer(200, {**SSE_HEADERS, **headers}, self._stream())
        body = await self._whole()
        return Answer(self._channel.status, headers, _once(body))

    # --- what comes while it comes -----------------------------------------------------------------------------------

    async def _stream(self) -> AsyncIterator[bytes]:
        """The events that go out. From here on an error is an event."""
        holder = Holder()
        try:
            while True:
                event = await self._channel.take(self._step)
                if not isinstance(event, StreamEvent):
                    break
                if holder.failed:
                    continue
                for out in holder.take(event):
                    yield out
                if holder.waiting:
                    judging = asyncio.ensure_future(self._calls.judge(self._caller, self._context, holder.waiting))
                    async for ping in self._pings(judging):
                        yield ping
                    for out in holder.judged(judging.result()):
                        yield out
            async for ping in self._pings(self._step):
                yield ping
            recorded = self._succeeded(self._step.result())
            if holder.failed:
                return
            if holder.last is None or recorded is None:
                raise Refused(Reason.HAND_LOST_REPLY)
            yield holder.last
        except HandrailError as error:
            if not holder.failed:
                _log.info("answer broken off", code=str(error.reason), detail=error.detail)
                yield notices.refused_event(error)
        finally:
            self._channel.gone.set()

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

    async def _whole(self) -> bytes:
        """An answer in one piece: an error as it came, a message less the calls that are not let go."""
        parts: list[bytes] = []
        while isinstance(part := await self._channel.take(self._step), bytes):
            parts.append(part)
        body = b"".join(parts)
        view = await asyncio.shield(self._step)
        if self._channel.status != 200:
            step = view["steps"][0]
            # Only an outcome that is on record lets anything out.
            if step["status"] != StepStatus.FAILED or "receipt" not in step:
                self._succeeded(view)
            return body
        if self._succeeded(view) is None:
            raise Refused(Reason.HAND_LOST_REPLY)
        message = _message(parse(body))
        denied = await self._judged(message)
        return body if not denied else notices.whole(_less(message, denied))

    # --- what comes from the record ----------------------------------------------------------------------------------

    async def _without_relay(self, view: dict[str, Any]) -> Answer:
        """The answer of a step that was not passed on: it was refused, it waits for a person, or something was taken out
        of its result."""
        if view["steps"][0]["status"] != StepStatus.HELD:
            failure = _told_by_provider(view["steps"][0])
            if failure is not None:
                return failure
            message = self._succeeded(view)
            if message is None:
                raise Refused(Reason.HAND_LOST_REPLY)
            return self._from_record(await self._less_denied(message))
        if self._request.stream:
            return Answer(200, SSE_HEADERS, self._held_stream(view))
        view = await rested(self._gateway.pipeline, view, self._caller, self._settings.ask_hold_seconds)
        return self._from_record(await self._after_hold(view))

    async def _held_stream(self, view: dict[str, Any]) -> AsyncIterator[bytes]:
        """Pings until a person answered, or for as long as the settings say; then the message."""
        try:
            resting = asyncio.ensure_future(
                rested(self._gateway.pipeline, view, self._caller, self._settings.ask_hold_seconds)
            )
            async for ping in self._pings(resting):
                yield ping
            for out in notices.streamed(await self._after_hold(resting.result())):
                yield out
        except HandrailError as error:
            yield notices.refused_event(error)

    async def _after_hold(self, view: dict[str, Any]) -> dict[str, Any]:
        step = view["steps"][0]
        if not StepStatus(step["status"]).final:
            model = str(self._request.body["model"])
            return notices.held_message(view, step, model, self._gateway.settings.public_url)
        message = self._succeeded(view)
        if message is None:
            raise Refused(Reason.HAND_LOST_REPLY)
        return await self._less_denied(message)

    def _from_record(self, message: Mapping[str, Any]) -> Answer:
        if self._request.stream:
            return Answer(200, SSE_HEADERS, _each(notices.streamed(message)))
        return Answer(200, {"content-type": "application/json"}, _once(notices.whole(message)))

    # --- judging -----------------------------------------------------------------------------------------------------

    async def _less_denied(self, message: dict[str, Any]) -> dict[str, Any]:
        denied = await self._judged(_message(message))
        return _less(message, denied) if denied else message

    async def _judged(self, message: Mapping[str, Any]) -> Mapping[int, str]:
        uses: Iterable[ToolUse] = (
            call_of(index, block) for index, block in enumerate(message["content"]) if block["type"] == TOOL_USE
        )
        found = unmistakable(uses)
        return await self._calls.judge(self._caller, self._context, found) if found else {}

    def _succeeded(self, view: Mapping[str, Any]) -> dict[str, Any] | None:
        """The message of the request's step, where it succeeded, on record.

        Raises:
            Unsuccessful: it did not.
        """
        step = view["steps"][0]
        if step["status"] == StepStatus.SUCCEEDED and "receipt" in step:
            structured = step["result"]["structured"]
            return structured if isinstance(structured, dict) else None
        error = step.get("error") or {}
        reason = Reason(error["code"]) if "code" in error else _ENDINGS.get(step["status"], Reason.HAND_TIMEOUT)
        raise Unsuccessful(reason, notices.why(view, step, self._gateway.settings.public_url))


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
    return Answer(status, headers, _once(body))


def _message(said: Any) -> Mapping[str, Any]:
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


def _less(message: Mapping[str, Any], denied: Mapping[int, str]) -> dict[str, Any]:
    calls = sum(block["type"] == TOOL_USE for block in message["content"])
    stop_reason = message.get("stop_reason")
    return notices.without(message, denied, turned(stop_reason) if calls == len(denied) else stop_reason)


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    """What of the provider's head goes to the client."""
    return {
        name.lower(): value
        for name, value in headers.items()
        if name.lower() in _ANSWER_HEADERS or name.lower().startswith(_ANSWER_PREFIX)
    }


def _is_stream(headers: Mapping[str, str]) -> bool:
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


async def _already(view: dict[str, Any]) -> dict[str, Any]:
    return view


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _each(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def said_of(error: HandrailError) -> str:
    """What a client is told of an error."""
    return error.said if isinstance(error, Unsuccessful) else f"{error.reason}: {TEXTS[error.reason]}"


def error_body(error: HandrailError, status: int, request_id: str) -> bytes:
    """An error in the API's form."""
    return orjson.dumps(notices.error_document(notices.error_type(status), said_of(error), request_id))
