"""An answer of the Messages API that is passed on while it comes.

The caller's own bytes are sent, for the order of members in a schema is something to a model, and to the cache of its
prompts: but only where they say exactly the args that were decided on. What comes back goes to the relay as it is, and
is put together here for the record.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Final, TypeVar

import aiohttp

from gateway.calls import HandCall, HandResult, Relay
from gateway.canonical import canonical, parse
from gateway.errors import HandrailError, Refused
from gateway.messages_api.assembling import Assembly
from gateway.messages_api.events import EventReader, StreamEvent
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters import http_answer
from hand_adapters.anthropic.routes import BETAS, ROUTES, Route
from hand_adapters.contract import HandError
from hand_adapters.dialer import Disconnected

_RECORDED_LINES_MAX: Final = 100_000
_LINES: Final = frozenset({"application/x-jsonl", "application/x-jsonlines", "application/jsonl"})
_CHUNK_BYTES: Final = 65_536
_EVENT_STREAM: Final = "text/event-stream"
_AFTER_SECONDS: Final = 0.2
"""How long the end of a body may take to come after the event that ends the message; then its connection is closed,
where it would be used again."""
_ERROR_TEXT_MAX: Final = 2000
_LEFT: Final[Mapping[str, Any]] = {"type": "text", "text": "The caller left before the answer began."}
Result = TypeVar("Result")


async def forward(http: aiohttp.ClientSession, base_url: str, call: HandCall, relay: Relay | None) -> HandResult:
    """Ask once, and pass the answer on, where somebody takes it.

    Its result is the Message; where the answer was an error, or broke off, a result that is marked as one. From the
    beginning of an answer on nothing is raised that would have it asked again.

    Raises:
        HandError: ``hand.unavailable`` (no connection: not executed), ``hand.timeout``, ``hand.lost_reply`` (unknown),
            ``hand.protocol`` (a redirect, a coded answer, a status that is neither 200 nor an error; executed) before
            anything was passed on.
    """
    route = ROUTES[call.action]
    body = _body(route, relay, call)
    began = time.monotonic()
    url = route.url(base_url, call.args)
    added = await call.inject(url.scheme, url.raw_host or "", url.port or 0, route.method, url.raw_path)
    headers = {"anthropic-version": "2023-06-01", **({} if relay is None else relay.headers)}
    if body is not None:
        headers["content-type"] = "application/json"
    if call.args.get(BETAS):
        headers["anthropic-beta"] = ",".join(call.args[BETAS])
    ours = {name.lower() for name in added.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in ours} | dict(added.headers)
    async with http_answer.attempted(call.deadline_seconds):
        asking = http.request(route.method, url, data=body, headers=headers, allow_redirects=False)
        try:
            response = await (asking if relay is None else _unless_gone(asking, relay.gone))
        except _Gone:
            return HandResult((_LEFT,), {"type": "broken_off", "message": "nobody waits"}, is_error=True)
    async with response:
        if response.status != 200 and not 400 <= response.status < 600:
            # Clients take any 2xx for a message; only that of a 200 is looked through.
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, f"status {response.status}")
        if response.headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "a coded answer that was not asked for")
        if relay is not None:
            relay.begin(response.status, await _headers(response, call))
        left = max(0.0, call.deadline_seconds - (time.monotonic() - began))
        streamed = response.status == 200 and response.content_type == _EVENT_STREAM
        taking = _Stream(response, relay, call) if streamed and relay is not None else _Whole(response, relay, call)
        try:
            async with asyncio.timeout(left):
                await (taking.take() if relay is None else _unless_gone(taking.take(), relay.gone))
        except (aiohttp.ClientError, OSError, Disconnected, TimeoutError, _Gone) as error:
            return taking.broken(type(error).__name__)
        except HandrailError as error:
            return taking.broken(error.detail or str(error.reason))
        return taking.result()


class _Gone(Exception):
    """Nobody waits for the answer any more."""


class _Whole:
    """An answer in one piece: a Message or another object, its lines, or an error."""

    def __init__(self, response: aiohttp.ClientResponse, relay: Relay | None, call: HandCall) -> None:
        self._response = response
        self._relay = relay
        self._call = call
        self._limit = call.result_max_bytes
        self._body = bytearray()

    async def take(self) -> None:
        async for chunk in self._response.content.iter_chunked(_CHUNK_BYTES):
            self._body += chunk
            if len(self._body) > self._limit:
                raise HandError(Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED, "answer too large")
        if self._relay is not None:
            # An endpoint, or a proxy before it, may tell a key back, in an error above all.
            said = self._body.decode("latin-1")
            found = await self._call.search(said)
            await self._relay.chunk(bytes(self._body) if found == said else found.encode("latin-1"))

    def result(self) -> HandResult:
        said = _read(bytes(self._body), lines=self._response.content_type in _LINES)
        if self._response.status == 200 and isinstance(said, dict):
            return HandResult((), said)
        return _failure(self._response, said)

    def broken(self, why: str) -> HandResult:
        return _broken(self._response, why, {})


class _Stream:
    """An answer event by event."""

    def __init__(self, response: aiohttp.ClientResponse, relay: Relay, call: HandCall) -> None:
        self._response = response
        self._relay = relay
        self._call = call
        self._room = call.result_max_bytes
        self._assembly = Assembly()

    async def take(self) -> None:
        chunks, reader = self._response.content.iter_any(), EventReader()
        async for chunk in chunks:
            await self._pass(self._counted(reader, chunk))
            if self._assembly.ended:
                break
        # What comes after the message is its body's end, or events that no client waits for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AFTER_SECONDS if self._assembly.ended else None):
                async for chunk in chunks:
                    await self._pass(self._counted(reader, chunk))
        await self._pass(reader.end())

    def _counted(self, reader: EventReader, chunk: bytes) -> Iterator[StreamEvent]:
        self._room -= len(chunk)
        if self._room < 0:
            raise HandError(Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED, "answer too large")
        return reader.feed(chunk)

    async def _pass(self, events: Iterator[StreamEvent]) -> None:
        for event in events:
            self._assembly.take(event)
            said = event.raw.decode("utf-8")
            if await self._call.search(said) != said:
                raise HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, "an event with a secret of the hand")
            await self._relay.event(event)

    def result(self) -> HandResult:
        if self._assembly.ended and self._assembly.error is None:
            return HandResult((), self._assembly.message)
        if self._assembly.error is not None:
            return _failure(self._response, {"error": self._assembly.error}, self._assembly.message)
        return self.broken("no end")

    def broken(self, why: str) -> HandResult:
        return _broken(self._response, why, self._assembly.message)


async def _headers(response: aiohttp.ClientResponse, call: HandCall) -> dict[str, str]:
    """Of the answer; where they hold a secret of the hand, the kind of its body alone."""
    headers = dict(response.headers)
    said = "\n".join(headers.values())
    if await call.search(said) == said:
        return headers
    return {"content-type": response.content_type}


def _read(body: bytes, *, lines: bool) -> Any:
    """An object, or the lines of one each as ``{lines}``; ``None`` where it is neither."""
    try:
        if not lines:
            return parse(body)
        return {"lines": [parse(line) for line in body.split(b"\n", _RECORDED_LINES_MAX) if line]}
    except Refused:
        return None


def _body(route: Route, relay: Relay | None, call: HandCall) -> bytes | None:
    """The body of the request: the caller's bytes, where they say what was decided.

    Raises:
        HandError: ``hand.protocol``, not executed: they say something else.
    """
    if not route.body:
        return None
    args = {name: value for name, value in call.args.items() if name != BETAS}
    decided = call.args_bytes if BETAS not in call.args else canonical(args)
    if relay is None:
        return decided
    body = relay.body
    try:
        same = canonical(parse(body)) == decided
    except Refused:
        same = False
    if not same:
        raise HandError(Reason.HAND_PROTOCOL, HandFailure.NOT_EXECUTED, "another body than the one that was decided")
    return body


async def _unless_gone(work: Awaitable[Result], gone: asyncio.Event) -> Result:
    """What the work gives, unless and until nobody waits for it."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _Gone
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
    return working.result()


def _failure(response: aiohttp.ClientResponse, said: Any, message: Mapping[str, Any] | None = None) -> HandResult:
    """The API's own account of what went wrong."""
    error = said.get("error") if isinstance(said, dict) else None
    told = {
        name: error[name][:_ERROR_TEXT_MAX]
        for name in ("type", "message")
        if isinstance(error, dict) and isinstance(error.get(name), str)
    }
    structured = {"status": response.status, **told, **_beside(response, message)}
    text = f"{told.get('type', 'error')}: {told.get('message', f'status {response.status}')}"
    return HandResult(({"type": "text", "text": text},), structured, is_error=True)


def _broken(response: aiohttp.ClientResponse, why: str, message: Mapping[str, Any]) -> HandResult:
    """An answer that did not come to its end, with what is known of it."""
    structured = {"status": response.status, "type": "broken_off", "message": why, **_beside(response, message)}
    return HandResult(({"type": "text", "text": f"The answer broke off: {why}."},), structured, is_error=True)


def _beside(response: aiohttp.ClientResponse, message: Mapping[str, Any] | None) -> dict[str, Any]:
    request_id = response.headers.get("request-id")
    said: dict[str, Any] = {"request_id": request_id[:128]} if request_id else {}
    return {**said, "so_far": message} if message else said
