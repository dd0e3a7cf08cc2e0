"""A server that talks while a call runs: it asks, says how far it is, and logs. In either era, by the means of each."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
)
from starlette.types import ASGIApp, Receive, Scope, Send

RESULTS = {
    "elicitation/create": ElicitResult,
    "sampling/createMessage": CreateMessageResult,
    "roots/list": ListRootsResult,
}


class Talker:
    """The server, and what it saw.

    Attributes:
        seen: capabilities of the client of each call, as it was told them.
        waiting, cancelled: of the calls of ``wait``.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.waiting = 0
        self.cancelled = 0
        self.release = asyncio.Event()

    def server(self) -> MCPServer:
        """A fresh server of these tools."""
        server = MCPServer(name="talker")
        for tool in (self.name, self.visit, self.think, self.where, self.steps, self.speak, self.wait, self.touch):
            server.add_tool(tool)

        @server.resource("note://one")
        def one() -> str:
            return "one"

        return server

    async def _ask(self, ctx: Context, request: Any, key: str = "q") -> Any:
        """The answer, by either era's means; ``InputRequiredResult`` where it has to be asked for."""
        capabilities = ctx.session.client_capabilities
        self.seen.append({} if capabilities is None else capabilities.model_dump(exclude_none=True))
        if ctx.session.can_send_request:
            metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
            return await ctx.session.send_request(request, RESULTS[request.method], metadata=metadata)
        responses = ctx.input_responses or {}
        if key in responses and ctx.request_state == "theirs":
            return responses[key]
        return InputRequiredResult(input_requests={key: request}, request_state="theirs")

    async def name(self, ctx: Context, message: str = "What is your name?") -> str | InputRequiredResult:
        """Asks the person."""
        form = {"type": "object", "properties": {"name": {"type": "string"}}}
        params = {"mode": "form", "message": message, "requestedSchema": form}
        answer = await self._ask(ctx, ElicitRequest.model_validate({"method": "elicitation/create", "params": params}))
        if isinstance(answer, InputRequiredResult):
            return answer
        return f"{answer.action} {(answer.content or {}).get('name')}"

    async def visit(self, ctx: Context, url: str) -> str | InputRequiredResult:
        """Sends the person somewhere."""
        params = {"mode": "url", "message": "Sign in.", "url": url, "elicitationId": "e1"}
        answer = await self._ask(ctx, ElicitRequest.model_validate({"method": "elicitation/create", "params": params}))
        if isinstance(answer, InputRequiredResult):
            return answer
        if ctx.session.can_send_request:
            for page in ("e1", "e2"):
                await ctx.session.send_elicit_complete(page, related_request_id=ctx.request_id)
        return str(answer.action)

    async def think(self, ctx: Context, prompt: str) -> str | InputRequiredResult:
        """Asks the client's model."""
        said = {"role": "user", "content": {"type": "text", "text": prompt}}
        params = {"messages": [said], "maxTokens": 10, "includeContext": "allServers"}
        request = CreateMessageRequest.model_validate({"method": "sampling/createMessage", "params": params})
        answer = await self._ask(ctx, request)
        return answer if isinstance(answer, InputRequiredResult) else f"model said {answer.content.text}"

    async def where(self, ctx: Context) -> str | InputRequiredResult:
        """Asks for the client's directories."""
        answer = await self._ask(ctx, ListRootsRequest())
        return answer if isinstance(answer, InputRequiredResult) else " ".join(str(one.uri) for one in answer.roots)

    async def steps(self, ctx: Context, reports: list[float], message: str | None = None) -> str:
        """Says how far it is."""
        for reached in reports:
            await ctx.report_progress(reached, 100, message)
        return "done"

    async def speak(self, ctx: Context, levels: list[str], data: Any = "words") -> str:
        """Logs."""
        for level in levels:
            params = LoggingMessageNotificationParams.model_validate({"level": level, "data": data})
            note = LoggingMessageNotification(params=params)
            await ctx.session.send_notification(note, related_request_id=ctx.request_id)
        return "said"

    async def touch(self, ctx: Context, uri: str) -> str:
        """Says that a resource changed."""
        await ctx.notify_resource_updated(uri)
        return "touched"

    async def wait(self) -> str:
        """Takes its time."""
        self.waiting += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "waited"


def refusing(app: ASGIApp, *methods: str) -> ASGIApp:
    """The app without some methods of the protocol: a server of one era alone."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        found = next((method for method in methods if f'"method":"{method}"'.encode() in body), None)
        if found is None:
            given = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def again() -> Any:
                return next(given, None) or await receive()

            await app(scope, again, send)
            return
        answer = b'{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}' % _id(body)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return refuse


def _id(body: bytes) -> bytes:
    return json.dumps(json.loads(body)["id"]).encode()


ERAS: dict[str, Sequence[str]] = {"handshake": ("server/discover",), "stateless": ("initialize",), "both": ()}
