"""MCP servers over HTTP, written by hand, to be honest or not; and a hand in front of one."""

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gateway.calls import Injections
from gateway.settings import HandSettings
from hand_adapters.mcp import McpHttpAdapter
from tests.hands.hands_support import call

ECHO = {
    "name": "echo",
    "description": "says it again",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
SESSION = "session-1"
HAS = {"resources": {}, "prompts": {}, "completions": {}}
PROMPT = {"name": "review", "description": "Reviews code.", "arguments": [{"name": "code", "required": True}]}
TEMPLATE = {"uriTemplate": "note://{id}", "name": "note"}


@dataclass
class Server:
    """A server of the era with sessions (2025-11-25).

    Attributes:
        asked: every request: method of HTTP, headers, and message.
        called: what is done with a ``tools/call`` instead of the answer.
        tools: what is offered.
        answers: other methods that it has -> what makes a result, or ``{"error": ...}``, of a message.
        capabilities: what it says of itself beside tools.
    """

    called: Callable[["Server", web.Request, Mapping[str, Any]], Any] | None = None
    listed: Callable[["Server", web.Request, Mapping[str, Any]], Any] | None = None
    initialized: Callable[["Server", web.Request, Mapping[str, Any]], Any] | None = None
    tools: list[Mapping[str, Any]] = field(default_factory=lambda: [dict(ECHO)])
    session_header: str | None = SESSION
    answers: dict[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    capabilities: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str], Mapping[str, Any]]] = field(default_factory=list)

    def messages(self, method: str) -> list[Mapping[str, Any]]:
        """The messages of a JSON-RPC method."""
        return [message for _, _, message in self.asked if message.get("method") == method]

    def headers(self, method: str) -> list[Mapping[str, str]]:
        """The headers that such messages came with."""
        return [headers for _, headers, message in self.asked if message.get("method") == method]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        message = json.loads(raw) if raw else {}
        self.asked.append((request.method, dict(request.headers), message))
        method = message.get("method")
        if request.method == "DELETE":
            return web.Response(status=200)
        if method == "server/discover":
            return answer(message, error={"code": -32601, "message": "no"}, status=404)
        if method == "initialize":
            if self.initialized is not None:
                return await self.initialized(self, request, message)
            return self.welcome(message)
        if method == "tools/list":
            if self.listed is not None:
                return await self.listed(self, request, message)
            return answer(message, {"tools": self.tools})
        if method in self.answers:
            given = self.answers[method](message)
            return answer(message, error=given["error"]) if "error" in given else answer(message, given)
        if method == "tools/call":
            if self.called is not None:
                return await self.called(self, request, message)
            return said(message)
        return web.Response(status=202)

    def welcome(self, message: Mapping[str, Any]) -> web.Response:
        """The answer to ``initialize``."""
        headers = {} if self.session_header is None else {"Mcp-Session-Id": self.session_header}
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": True}, **self.capabilities},
            "serverInfo": {"name": "s", "version": "1"},
            "instructions": "Call echo.",
        }
        return answer(message, result, headers=headers)


def old_server(**answers) -> Server:
    """A server of the era with sessions that has all of it."""
    server = Server(capabilities=dict(HAS))
    server.answers = {
        "prompts/list": lambda message: {"prompts": [PROMPT]},
        "resources/templates/list": lambda message: {"resourceTemplates": [TEMPLATE]},
        "resources/list": lambda message: {"resources": [{"uri": "note://1", "name": "1"}]},
        "resources/read": lambda message: {"contents": [{"uri": message["params"]["uri"], "text": "one"}]},
        "prompts/get": lambda message: {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]},
        "completion/complete": lambda message: {"completion": {"values": ["a"]}},
        **answers,
    }
    return server


def answer(
    message: Mapping[str, Any],
    result: Any = None,
    *,
    error: Any = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A JSON answer."""
    body = {"jsonrpc": "2.0", "id": message.get("id"), **({"error": error} if error else {"result": result})}
    return web.json_response(body, status=status, headers=headers)


def result(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """What ``echo`` gives for a call."""
    return {"content": [{"type": "text", "text": message["params"]["arguments"].get("text", "")}]}


def said(message: Mapping[str, Any]) -> web.Response:
    """The answer of ``echo``."""
    return answer(message, result(message))


def event(document: Any) -> bytes:
    """One server-sent event."""
    return b"event: message\ndata: " + json.dumps(document).encode() + b"\n\n"


async def streaming(request: web.Request) -> web.StreamResponse:
    """A stream of events that was begun."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


@dataclass
class Hand:
    """A hand in front of a server."""

    adapter: McpHttpAdapter
    digest: str

    async def say(self, text: str = "hello", action: str = "echo", **changes: Any) -> Any:
        return await self.adapter.run(call("h", action, {"text": text}, self.digest, **changes))


@contextlib.asynccontextmanager
async def served(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """URL of an endpoint that is handled so."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def threaded(handler: Callable[[web.Request], Any]) -> Iterator[str]:
    """:func:`served` for whoever has no event loop, or one that blocks."""
    started: queue.Queue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        over = asyncio.Event()
        async with served(handler) as url:
            started.put((url, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    url, loop, over = started.get()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


@contextlib.asynccontextmanager
async def hand(url: str, **more: Any) -> AsyncIterator[Hand]:
    """The hand of a URL, asked what it offers."""
    settings = HandSettings(adapter="mcp", url=url, **{"private_network": True, **more})
    adapter = McpHttpAdapter("h", settings, None)  # type: ignore[arg-type]  # it needs no jail
    try:
        yield Hand(adapter, (await adapter.manifest()).digest)
    finally:
        await adapter.close()


def injecting(**headers: str) -> Callable[..., Any]:
    """``HandCall.inject`` of a step that is given these."""

    async def inject(*target: Any) -> Injections:
        return Injections(headers, {})

    return inject
