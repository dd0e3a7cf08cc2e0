"""An endpoint of the Messages API over real sockets that answers whatever a test has it answer, and keeps what it
got."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "content": [{"type": "text", "text": "Grüße"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 7, "output_tokens": 3, "of_tomorrow": 1},
}


@dataclass
class Endpoint:
    """Attributes:
    answer: what it answers to each request.
    got: method, path with query, headers in lower case, body.
    """

    answer: Callable[[], Awaitable[web.StreamResponse] | web.StreamResponse] = field(
        default=lambda: web.json_response(MESSAGE)
    )
    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    silent: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.got.append((request.method, request.path_qs, headers, await request.read()))
        self.asked.set()
        if self.silent:
            await self.over.wait()
        answer = self.answer()
        return answer if isinstance(answer, web.StreamResponse) else await answer


@asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """The endpoint, on a port of loopback, for as long as the context lasts."""
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", endpoint.handle)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield endpoint
    finally:
        endpoint.over.set()
        await runner.cleanup()
