"""Between a client of MCP that speaks stdio and the gateway's ``/mcp``: each line is one message, sent on as it stands
over streamable HTTP, and what the gateway answers is a line again.

Both eras pass. What belongs to HTTP alone is kept here: the session (to 2025-11-25), the headers that repeat a message
(2026-07-28), and the stream on which the gateway speaks first. Every request gets one answer, whatever becomes of the
gateway: where none can be had, an error that says what is known of the call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx2
from handrail.connection import unreachable
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types import CONNECTION_CLOSED, HEADER_MISMATCH, INVALID_REQUEST, PARSE_ERROR

from gateway.cli.stdio_answers import (
    ANSWER_MAX_BYTES,
    SILENT,
    UNKNOWN,
    Failed,
    Stale,
    body_of,
    kind_of,
    refused,
    with_id,
)
from gateway.cli.stdio_lines import LinesIn, LinesOut, TooLong
from gateway.cli.stdio_messages import (
    NoMessage,
    RequestId,
    cancelled,
    error,
    is_request,
    line,
    parameters,
    read,
    request_id,
    stateless_headers,
    stateless_version,
)
from gateway.ingress.mcp.requests import SESSION_HEADER

LINE_MAX_BYTES: Final = 33_554_432
"""Of what a client writes: more than any gateway takes ([server] body_max_bytes), so that the gateway says so."""
REQUESTS_MAX: Final = 256
"""Of one client at the same time."""
RECONNECT_SECONDS: Final = 10.0
"""How long a message that did not leave yet waits for a gateway that starts anew."""
SILENCE_SECONDS: Final = 60.0
"""A stream on which nothing comes for so long is broken: the gateway sends a sign of life every 15 seconds."""
DRAIN_SECONDS: Final = 60.0
"""How long answers are still written after the client said that it asks nothing more."""
FAREWELL_SECONDS: Final = 2.0
_STREAM: Final = "text/event-stream"
_HEADERS: Final = {"content-type": "application/json", "accept": f"application/json, {_STREAM}"}
_LISTEN: Final = "subscriptions/listen"


class Bridge:
    """One client's connection.

    Args:
        http: sends the caller's key with every request, and to the gateway alone.
        url: of the endpoint.
        say: takes a line for people.
    """

    def __init__(self, http: httpx2.AsyncClient, url: str, out: LinesOut, say: Callable[[str], None]) -> None:
        self._http = http
        self._url = url
        self._out = out
        self._say = say
        self._timeout = httpx2.Timeout(SILENCE_SECONDS, connect=RECONNECT_SECONDS, pool=None)
        self._requests: dict[RequestId, asyncio.Task[None]] = {}
        self._listening: set[RequestId] = set()
        self._schemas: dict[str, Mapping[tuple[str, ...], str]] = {}
        self._initialize: bytes | None = None
        self._session: str | None = None
        self._version: str | None = None
        self._opening = asyncio.Lock()
        self._hearing: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, lines: LinesIn) -> None:
        """Serve until the client closes its side.

        Raises:
            OSError: the client reads no more.
        """
        serving = asyncio.create_task(self._serve(lines))
        try:
            await asyncio.wait({serving, self._broken}, return_when=asyncio.FIRST_COMPLETED)
            await (self._broken if self._broken.done() else serving)
        finally:
            tasks = [serving, *self._requests.values(), *([self._hearing] if self._hearing is not None else [])]
            for task in tasks:
                task.cancel()
            self._broken.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(httpx2.HTTPError, TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._leave()

    async def _serve(self, lines: LinesIn) -> None:
        async for one in lines:
            await self._take(one)
        left = [task for id_, task in self._requests.items() if id_ not in self._listening]
        if left:
            await asyncio.wait(left, timeout=DRAIN_SECONDS)

    # --- what the client says ----------------------------------------------------------------------------------------

    async def _take(self, one: bytes | TooLong) -> None:
        if isinstance(one, TooLong):
            text = f"A message is longer than {LINE_MAX_BYTES} bytes"
            await self._out.write(error(None, PARSE_ERROR, text))
            return
        if not one.strip():
            return
        try:
            message = read(one)
        except NoMessage as wrong:
            await self._out.write(error(None, wrong.code, wrong.text))
            return
        if not is_request(message):
            await self._tell(one, message)
            return
        id_ = request_id(message)
        if id_ is None:
            await self._out.write(error(None, INVALID_REQUEST, "The id of a request is a string or an integer"))
        elif message.get("method") == "initialize" and stateless_version(message) is None:
            # What follows belongs to the session that this opens.
            self._initialize, self._session, self._version = one, None, None
            await self._request(id_, one, message)
        elif len(self._requests) >= REQUESTS_MAX:
            text = f"{REQUESTS_MAX} requests are under way; nothing was sent"
            await self._out.write(error(id_, CONNECTION_CLOSED, text))
        else:
            if (before := self._requests.get(id_)) is not None:
                before.cancel()  # an id that is used again stands for the newer request
            if message.get("method") == _LISTEN:
                self._listening.add(id_)
            task = asyncio.create_task(self._request(id_, one, message))
            self._requests[id_] = task
            task.add_done_callback(lambda done: self._over(id_, done))

    def _over(self, id_: RequestId, task: asyncio.Task[None]) -> None:
        if self._requests.get(id_) is task:
            del self._requests[id_]
            self._listening.discard(id_)
        if not task.cancelled() and (failure := task.exception()) is not None and not self._broken.done():
            self._broken.set_exception(failure)

    async def _tell(self, one: bytes, message: Mapping[str, Any]) -> None:
        """Send on a notification, or the answer to a request of the gateway's; neither is answered."""
        called_off = cancelled(message)
        if self._session is None and called_off is not None:
            # Without a session a request is called off by hanging up (MCP 2026-07-28, transports, cancellation).
            if (task := self._requests.get(called_off)) is not None:
                task.cancel()
            return
        try:
            async with self._sent(one, message) as response:
                if response.status_code >= 400:
                    raise await refused(response)
        except Stale:
            return  # it was about something that the gateway does not know any more
        except Failed as failed:
            self._say(failed.text)
            return
        if message.get("method") == "notifications/initialized":
            self._hear()

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _request(self, id_: RequestId, one: bytes, message: Mapping[str, Any]) -> None:
        try:
            try:
                await self._exchange(id_, one, message, again=False)
            except Stale as stale:
                if stale.session is not None:
                    await self._open_anew(stale.session)
                else:
                    await self._learn(message)
                await self._exchange(id_, one, message, again=True)
        except Failed as failed:
            self._say(failed.text)
            await self._out.write(error(id_, failed.code, failed.text))
        except Stale:
            text = "The gateway ended the session again as it began; nothing was done."
            await self._out.write(error(id_, CONNECTION_CLOSED, text))

    async def _exchange(self, id_: RequestId, one: bytes, message: Mapping[str, Any], *, again: bool) -> None:
        """Send a request, and write what comes back on its stream up to its answer.

        Raises:
            Stale: it was not taken, for a reason that can be mended.
            Failed: there will be no answer.
        """
        async with self._sent(one, message) as response:
            async for text, said in self._messages(response):
                if "method" in said:
                    await self._out.write(line(text))
                    continue
                answered = request_id(said)
                if answered != id_ and not (answered is None and "error" in said):
                    self._say("The gateway answered something else than was asked; that is left out.")
                    continue
                code = said["error"].get("code") if isinstance(said.get("error"), dict) else None
                headed = message.get("method") == "tools/call" and stateless_version(message) is not None
                if code == HEADER_MISMATCH and not again and headed:
                    raise Stale(None)
                if message.get("method") == "initialize":
                    self._opened(response, said)
                self._schemas |= parameters(said)
                await self._out.write(line(text) if answered == id_ else with_id(said, id_))
                return
        raise Failed(CONNECTION_CLOSED, f"The connection to {self._url} ended before an answer came. {UNKNOWN}")

    async def _messages(self, response: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """What the gateway says in answer to one request.

        Raises:
            Failed: it refused, or what it says is no JSON-RPC.
        """
        kind = kind_of(response)
        try:
            if kind == _STREAM and response.status_code == 200:
                async for event in httpx2.EventSource(response, max_event_size=ANSWER_MAX_BYTES):
                    if event.data:
                        yield event.data, read(event.data)
            else:
                body = await body_of(response)
                said = read(body) if kind == "application/json" else {}
                if said.get("jsonrpc") != "2.0":
                    raise await refused(response, body)
                yield body.decode(), said
        except (NoMessage, UnicodeDecodeError):
            text = f"{self._url} answered with something that is no message of MCP. {UNKNOWN}"
            raise Failed(CONNECTION_CLOSED, text) from None

    @asynccontextmanager
    async def _sent(self, one: bytes, message: Mapping[str, Any]) -> AsyncIterator[httpx2.Response]:
        """POST a message. As long as nothing of it left it is tried again, for :data:`RECONNECT_SECONDS`.

        Raises:
            Stale: its session is not there any more.
            Failed: the gateway cannot be reached, or the connection broke.
        """
        version = stateless_version(message)
        session = self._session if version is None else None
        headers = _HEADERS | (self._of_session() if version is None else {})
        if version is not None:
            headers |= stateless_headers(message, version, self._schemas)
        request = self._http.build_request("POST", self._url, content=one, headers=headers, timeout=self._timeout)
        response = await self._connected(request)
        try:
            if response.status_code == 404 and session is not None and kind_of(response) != "application/problem+json":
                raise Stale(session)
            yield response
        except httpx2.TimeoutException:
            raise Failed(CONNECTION_CLOSED, f"{self._url} {SILENT}") from None
        except httpx2.HTTPError as broken:
            text = f"The connection to {self._url} broke ({type(broken).__name__}). {UNKNOWN}"
            raise Failed(CONNECTION_CLOSED, text) from None
        finally:
            await response.aclose()

    async def _connected(self, request: httpx2.Request) -> httpx2.Response:
        pause, deadline = 0.1, asyncio.get_running_loop().time() + RECONNECT_SECONDS
        while True:
            try:
                return await self._http.send(request, stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as away:
                text = str(unreachable(request.url, away))
                if not text.startswith("no answer") or asyncio.get_running_loop().time() + pause > deadline:
                    raise Failed(CONNECTION_CLOSED, f"{text}. Nothing was sent.") from None
                if pause == 0.1:
                    self._say(f"{text}; trying again")
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)
            except httpx2.ReadTimeout:
                raise Failed(CONNECTION_CLOSED, f"{self._url} {SILENT}") from None
            except httpx2.HTTPError as broken:
                text = f"{unreachable(request.url, broken)}. {UNKNOWN}"
                raise Failed(CONNECTION_CLOSED, text) from None

    # --- the session -------------------------------------------------------------------------------------------------

    def _of_session(self) -> dict[str, str]:
        headers = {} if self._session is None else {SESSION_HEADER: self._session}
        return headers | ({} if self._version is None else {MCP_PROTOCOL_VERSION_HEADER: self._version})

    def _opened(self, response: httpx2.Response, said: Mapping[str, Any]) -> None:
        result = said.get("result")
        version = result.get("protocolVersion") if isinstance(result, dict) else None
        if isinstance(version, str) and version.isascii() and version.isprintable():
            self._session, self._version = response.headers.get(SESSION_HEADER), version

    async def _open_anew(self, ended: str) -> None:
        """Greet the gateway as the client did: it does not know the session any more, since it started anew.

        Args:
            ended: the session, unless another request opened a new one meanwhile.

        Raises:
            Failed: it does not take the greeting, or means another version than the client was told.
        """
        async with self._opening:
            if self._session not in {None, ended}:
                return
            version = self._version
            if self._initialize is None:
                raise Failed(CONNECTION_CLOSED, "The session is over; nothing was done.")
            self._session = self._version = None
            greeting = read(self._initialize)
            async with self._sent(self._initialize, greeting) as response:
                async for _, said in self._messages(response):
                    if "method" not in said:
                        self._opened(response, said)
                        break
            if self._session is None or self._version != version:
                self._session, self._version = None, version
                raise Failed(CONNECTION_CLOSED, "The gateway started anew and speaks otherwise: connect again.")
            ready = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
            await self._tell(ready, read(ready))
            self._say("The gateway had ended the session; a new one is open.")

    def _hear(self) -> None:
        """Listen to what the gateway says first, as long as there is a session."""
        if self._hearing is not None:
            self._hearing.cancel()
        if self._session is not None:
            self._hearing = asyncio.create_task(self._heard(self._session))

    async def _heard(self, session: str) -> None:
        pause = 0.1
        while self._session == session:
            headers = self._of_session() | {"accept": _STREAM}
            with suppress(httpx2.HTTPError, Failed):
                async with self._http.stream("GET", self._url, headers=headers, timeout=self._timeout) as response:
                    if response.status_code >= 400:
                        return  # it says nothing first, or knows no such session
                    async for text, said in self._messages(response):
                        pause = 0.1
                        if "method" in said:
                            await self._out.write(line(text))
            await asyncio.sleep(pause)
            pause = min(2 * pause, 10.0)

    async def _learn(self, message: Mapping[str, Any]) -> None:
        """Ask for the tools as the client would: what of their arguments goes into headers is told with them."""
        params = {"_meta": message["params"]["_meta"]}
        asked = {"jsonrpc": "2.0", "id": "handrail-tools", "method": "tools/list", "params": params}
        async with self._sent(httpx2.Request("POST", self._url, json=asked).content, asked) as response:
            async for _, said in self._messages(response):
                self._schemas |= parameters(said)

    async def _leave(self) -> None:
        """Tell the gateway that the session is over."""
        if self._session is not None:
            await self._http.delete(self._url, headers=self._of_session(), timeout=FAREWELL_SECONDS)
