"""Streamable HTTP as the MCP SDK's streams: a POST for each message, and what answers it, counted as it arrives.

The SDK's own HTTP client is not used: it resolves names itself, obeys redirects within an origin, takes up a stream
that broke off, and takes an answer whatever id the server wrote. Here a request leaves once, over the gateway's dialer,
and its answer comes back on its own POST or not at all. No GET stream is held open: what a server says between two
steps nobody asked for.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

import aiohttp
import anyio
from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from yarl import URL

from gateway.calls import HandCall
from gateway.canonical import parse
from gateway.errors import Refused
from gateway.mcp_methods import METHODS
from gateway.model import EMPTY
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.dialer import CURRENT, Attempt, Disconnected
from hand_adapters.http_answer import UNKNOWN_STATUSES
from hand_adapters.mcp.channel import BESIDE, NOTE_MAX_BYTES, Channel, Streams, Writer, written
from hand_adapters.mcp.counted import Counted
from hand_adapters.mcp.events import EventStream, TooLong

SESSION_HEADER: Final = "Mcp-Session-Id"
PARTING_SECONDS: Final = 2.0
"""How long a server may take to be told that its session is over."""
RESUMED_MAX: Final = 16
"""How often one answer's stream is taken up again."""
RESUME_SECONDS: Final = 1.0
RESUME_MAX_SECONDS: Final = 5.0
"""Before that, where the server names no time, and at most."""
REFUSALS_MAX: Final = 16
"""Requests of a server's own that are refused in one window; each refusal is a request to it."""
# Visible ASCII (MCP 2025-11-25, transports, session management).
_SESSION_ID: Final = re.compile(r"[\x21-\x7e]{1,1024}")
# The server says that it did not take the request: who asks, or that they ask now (RFC 9110 section 15.5, RFC 6585).
_NOT_TAKEN: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


class HttpChannel(Channel):
    """One session with one server (or none, where the server keeps none)."""

    unasked: ClassVar[bool] = False

    def __init__(
        self, http: aiohttp.ClientSession, endpoint: URL, *, parts: bool, headers: Mapping[str, str] = EMPTY
    ) -> None:
        """
        Args:
            http: over the gateway's dialer; shared by all channels to this server.
            parts: whether the server is told that its session is over. Outside of a step nobody is given a secret to
                say that with.
            headers: sent with every message, for whoever asks outside of a step.
        """
        super().__init__()
        self._http = http
        self._endpoint = endpoint
        self._parts = parts
        self._headers = headers
        self._session_id: str | None = None
        self._version: str | None = None
        self._status = 0
        self._refusals = 0
        self._posts: set[asyncio.Task[None]] = set()
        self._requests: dict[Any, asyncio.Task[None]] = {}
        self._askers: dict[Any, HandCall | None] = {}
        self._outward: MemoryObjectSendStream[SessionMessage | Exception] | None = None

    def window(self, answer_max_bytes: int) -> None:
        """See ``Channel``."""
        super().window(answer_max_bytes)
        self._refusals = 0

    def forgo(self, requests: Iterable[Any]) -> None:
        """See ``Channel``. Their answers would come on their own connections, which are closed."""
        for request_id in set(requests) & self._requests.keys():
            self._settle(request_id)
            self._requests[request_id].cancel()

    def _end(self) -> None:
        for post in self._posts:
            post.cancel()
        if self._outward is not None:
            self._outward.close()

    async def gone(self) -> None:
        """See ``Channel``: no request is under way any more."""
        while self._posts:
            await asyncio.wait(self._posts)

    def last_words(self) -> str:
        """See ``Channel``: the status of an answer that was none."""
        return f"status {self._status}" if self._status >= HTTPStatus.MULTIPLE_CHOICES else ""

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """See ``Channel``."""
        self._outward, inward = anyio.create_memory_object_stream[SessionMessage | Exception](16)
        try:
            yield inward, _PostWriter(self)
        finally:
            self.close()
            inward.close()
            await self.gone()
            if self._parts and self._session_id is not None and not self.session_over:
                await self._part()

    async def post(self, item: SessionMessage) -> None:
        """Send one message. A request's answer is awaited in the background, anything else is sent when this returns.

        Raises:
            anyio.BrokenResourceError: the channel has ended.
        """
        if self.fault is not None:
            raise anyio.BrokenResourceError
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self._refusals += 1
            if self._refusals > REFUSALS_MAX:
                self.fail(Reason.HAND_PROTOCOL, "flood of requests")
                raise anyio.BrokenResourceError
        if self._cancels(item.message):
            return
        task = asyncio.get_running_loop().create_task(self._post(item))
        if isinstance(item.message, JSONRPCRequest):
            request_id = item.message.id
            self._requests[request_id] = task
            task.add_done_callback(lambda _: self._requests.pop(request_id, None))
        self._posts.add(task)
        task.add_done_callback(self._posted)
        if not isinstance(item.message, JSONRPCRequest):
            await asyncio.wait({task})
            if self.fault is not None:
                raise anyio.BrokenResourceError

    def _cancels(self, message: JSONRPCMessage) -> bool:
        """From 2026-07-28 on a request is cancelled by leaving its answer, and nothing is sent (MCP, cancellation)."""
        if not isinstance(message, JSONRPCNotification) or message.method != "notifications/cancelled":
            return False
        if self._version not in MODERN_PROTOCOL_VERSIONS:
            return False
        request_id = (message.params or {}).get("requestId")
        self.forgo([request_id])
        return True

    def _posted(self, task: "asyncio.Task[None]") -> None:
        self._posts.discard(task)
        if not task.cancelled() and (unforeseen := task.exception()) is not None:
            self.fail(Reason.HAND_PROTOCOL, type(unforeseen).__name__)

    async def _post(self, item: SessionMessage) -> None:
        message = item.message
        counts = isinstance(message, JSONRPCRequest) and BESIDE.get() is None
        attempt = Counted(self) if counts else Attempt()
        CURRENT.set(attempt)  # of this task's own context
        try:
            body = written(message)
            url, headers = await self._addressed(message, _headers(item))
            if isinstance(message, JSONRPCRequest):
                self.expect(message.id)
            async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await self._answered(message, response)
        except HandError as error:
            self.fail(error.reason, error.detail, **error.facts)
        except (aiohttp.ClientError, OSError, Disconnected, ValueError) as exc:
            self.fail(Reason.HAND_LOST_REPLY if attempt.connected else Reason.HAND_UNAVAILABLE, type(exc).__name__)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.fail(Reason.HAND_PROTOCOL, "nobody reads")

    async def _addressed(self, message: JSONRPCMessage, given: dict[str, str]) -> tuple[URL, dict[str, str]]:
        """URL and headers of a message, with what the gateway adds to it."""
        if isinstance(message, JSONRPCRequest) and message.method == "initialize":
            self._version = None
        elif MCP_PROTOCOL_VERSION_HEADER in given:
            self._version = given[MCP_PROTOCOL_VERSION_HEADER]
        call = self._owner(message)
        url, headers = await self._injected(call, "POST", self._ours() | given)
        if call is None:
            return url, headers
        named = any(name.lower() == "authorization" for name in headers)
        acts = call.action if call.action in METHODS else "tools/call"
        if isinstance(message, JSONRPCRequest) and message.method == acts and not named:
            headers |= {"Authorization": f"DPoP {call.credential}", "DPoP": call.prove("POST", str(self._endpoint))}
        return url, headers

    def asker(self, question_id: Any) -> HandCall | None:
        """See ``Channel``."""
        return self._askers.get(question_id)

    def _owner(self, message: JSONRPCMessage | None = None) -> HandCall | None:
        """The call that a message is of: an answer is of the one in whose stream the question came."""
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            return self._askers.pop(message.id, self.call)
        beside = BESIDE.get()
        return self.call if beside is None else beside.call

    async def _injected(
        self, call: HandCall | None, method: str, headers: dict[str, str]
    ) -> tuple[URL, dict[str, str]]:
        """The URL, and the headers, with what the gateway adds to a request of the call's."""
        url = self._endpoint
        if call is None:
            return url, headers
        added = await call.inject(url.scheme, url.raw_host or "", url.port or 0, method, url.raw_path)
        if added.query:
            url = URL(f"{url}?{urlencode(added.query, quote_via=quote)}", encoded=True)
        return url, headers | dict(added.headers)

    def _ours(self) -> dict[str, str]:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        headers |= self._headers
        if self._session_id is not None:
            headers[SESSION_HEADER] = self._session_id
        if self._version is not None:
            headers[MCP_PROTOCOL_VERSION_HEADER] = self._version
        return headers

    async def _answered(self, message: JSONRPCMessage, response: aiohttp.ClientResponse) -> None:
        self._status = status = response.status
        if self._turned_away(message, status):
            return None
        if not isinstance(message, JSONRPCRequest):
            # What answers a notification or a refusal is nobody's to read.
            if status >= HTTPStatus.BAD_REQUEST:
                self.fail(Reason.HAND_PROTOCOL, f"status {status}")
            return None
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"identity", ""}:
            return self.fail(Reason.HAND_PROTOCOL, "a content coding that nobody asked for")
        if status >= HTTPStatus.BAD_REQUEST:
            return await self._refused(message, response)
        if message.method == "initialize":
            self._take_session(response)
        if response.content_type == "text/event-stream":
            return await self._events(message, response)
        if response.content_type == "application/json" and status == HTTPStatus.OK:
            content = await self._body(response, self._message_max)
            if content is not None and not await self._take(message, content):
                self.fail(Reason.HAND_PROTOCOL, "no answer")
            return None
        return self.fail(Reason.HAND_PROTOCOL, "neither JSON nor events")

    def _turned_away(self, message: JSONRPCMessage, status: int) -> bool:
        """Whether a status alone ends the channel. What a server says to a message of ours that belongs to a request
        (the refusal of one of its own, say), or that is beside it, tells nothing of that request, which it may have
        begun."""
        of_the_request = (isinstance(message, JSONRPCRequest) and BESIDE.get() is None) or not self._expected
        if status in _NOT_TAKEN:
            self.not_taken = of_the_request
            self.fail(Reason.HAND_FAILED, f"status {status}")
        elif status in UNKNOWN_STATUSES:
            self.fail(Reason.HAND_LOST_REPLY, f"status {status}")
        elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            self.fail(Reason.HAND_PROTOCOL, "a redirect, which is not followed")
        elif self._session_id is not None and _forgotten(message, status):
            self.session_over = of_the_request
            self.fail(Reason.HAND_UNAVAILABLE, "the server no longer knows the session")
        return self.fault is not None

    def _take_session(self, response: aiohttp.ClientResponse) -> None:
        given = response.headers.getall(SESSION_HEADER, [])
        if not given:
            return
        if len(given) > 1 or _SESSION_ID.fullmatch(given[0]) is None:
            self.fail(Reason.HAND_PROTOCOL, "a session id that is none")
            return
        self._session_id = given[0]

    async def _refused(self, request: JSONRPCRequest, response: aiohttp.ClientResponse) -> None:
        """An error status: the JSON-RPC error in its body, whatever id that has, or one that says as much."""
        code = METHOD_NOT_FOUND if response.status == HTTPStatus.NOT_FOUND else INTERNAL_ERROR
        error = ErrorData(code=code, message=f"status {response.status}")
        if response.content_type == "application/json":
            content = await self._body(response, NOTE_MAX_BYTES)
            if content is None:
                return
            with contextlib.suppress(Refused, ValidationError):
                said = jsonrpc_message_adapter.validate_python(parse(content), by_name=False)
                if isinstance(said, JSONRPCError):
                    error = said.error
        self._settle(request.id)
        await self._forward(JSONRPCError(jsonrpc="2.0", id=request.id, error=error))

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes | None:
        content = bytearray()
        while chunk := await response.content.readany():
            content += chunk
            if len(content) > limit:
                self.fail(Reason.HAND_RESULT_TOO_LARGE, "answer")
                return None
        return bytes(content)

    async def _events(self, request: JSONRPCRequest, response: aiohttp.ClientResponse) -> None:
        """Read the stream to the answer, and on from where the server ended it (2025-11-25, resumability)."""
        stream = EventStream()
        if await self._read(request, response, stream):
            return
        for _ in range(RESUMED_MAX):
            if stream.last_id is None or self._session_id is None or self._version in MODERN_PROTOCOL_VERSIONS:
                break
            wanted = RESUME_SECONDS if stream.retry_seconds is None else stream.retry_seconds
            await asyncio.sleep(min(wanted, RESUME_MAX_SECONDS))
            url, headers = await self._injected(self._owner(), "GET", self._ours())
            headers |= {"Accept": "text/event-stream", "Last-Event-ID": stream.last_id}
            async with self._http.get(url, headers=headers, allow_redirects=False) as more:
                if more.status != HTTPStatus.OK or more.content_type != "text/event-stream":
                    break
                stream = EventStream(stream.last_id)
                if await self._read(request, more, stream):
                    return
        self.fail(Reason.HAND_LOST_REPLY, "the stream ended without the answer")

    async def _read(self, request: JSONRPCRequest, response: aiohttp.ClientResponse, stream: EventStream) -> bool:
        """Whether the stream held the answer, or a fault."""
        while chunk := await response.content.readany():
            self._budget -= len(chunk)
            try:
                for content in stream.feed(chunk, self._message_max):
                    if await self._take(request, content) or self.fault is not None:
                        return True
            except TooLong:
                self.fail(Reason.HAND_RESULT_TOO_LARGE, "event")
                return True
            if self._budget < 0:
                self.fail(Reason.HAND_PROTOCOL, "flood")
                return True
        return False

    async def _take(self, request: JSONRPCRequest, content: bytes) -> bool:
        """Hand on one message; whether it is the answer to the request."""
        message = self.message(content)
        if message is None or self.fault is not None:
            return False
        if not isinstance(message, JSONRPCResponse | JSONRPCError):
            if isinstance(message, JSONRPCRequest):
                self._askers[message.id] = self._owner()
            await self._forward(message)
            return False
        if message.id != request.id:
            self.fail(Reason.HAND_PROTOCOL, "the answer to another question")
            return False
        await self._forward(message)
        return True

    async def _forward(self, message: JSONRPCMessage) -> None:
        if self._outward is not None:
            await self._outward.send(SessionMessage(message))

    async def _part(self) -> None:
        """Tell the server that the session is over. Whatever it says, it is."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError, Disconnected, ValueError):
            async with asyncio.timeout(PARTING_SECONDS):
                response = await self._http.delete(self._endpoint, headers=self._ours(), allow_redirects=False)
                response.close()


class _PostWriter(Writer):
    """The SDK's write stream."""

    def __init__(self, channel: HttpChannel) -> None:
        self._channel = channel

    async def send(self, item: SessionMessage, /) -> None:
        """Post one message. Raises ``anyio.BrokenResourceError`` once the channel has ended."""
        await self._channel.post(item)


def _forgotten(message: JSONRPCMessage, status: int) -> bool:
    """Whether a status within a session says that there is none: 404, and, of servers that answer 400 instead, only
    where nothing but the list of tools was asked."""
    if status == HTTPStatus.NOT_FOUND:
        return True
    listing = isinstance(message, JSONRPCRequest) and message.method == "tools/list"
    return listing and status == HTTPStatus.BAD_REQUEST


def _headers(item: SessionMessage) -> dict[str, Any]:
    metadata = item.metadata
    return dict(metadata.headers or {}) if isinstance(metadata, ClientMessageMetadata) else {}
