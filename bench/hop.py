"""The bare hop that Handrail is measured against: Starlette and uvicorn in, one aiohttp session out, nothing between.

``python -m bench.hop PORT UPSTREAM_PORT``
"""

import contextlib
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def create_app(upstream: str) -> Starlette:
    """Forward every GET to ``upstream`` and give back status, type and body."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3600)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            app.state.session = session
            yield

    async def forward(request: Request) -> Response:
        session: aiohttp.ClientSession = request.app.state.session
        async with session.get(upstream + request.url.path) as answer:
            body = await answer.read()
            return Response(body, answer.status, media_type=answer.headers.get("Content-Type"))

    return Starlette(routes=[Route("/{path:path}", forward)], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(
        create_app(f"http://127.0.0.1:{int(sys.argv[2])}"),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
