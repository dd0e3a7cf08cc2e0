"""The application over the fake gateway: in process, and behind a real server on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from gateway.web.asgi import create_app
from gateway.web.server import uvicorn_config
from tests.web.fake import testing_only_Gateway


@pytest.fixture
def gateway() -> testing_only_Gateway:
    return testing_only_Gateway()


@pytest.fixture
def app(gateway: testing_only_Gateway) -> Starlette:
    return create_app(gateway)  # type: ignore[arg-type]


@asynccontextmanager
async def alive(app: Starlette) -> AsyncIterator[None]:
    """The application's lifespan, entered and left by one task of its own, as a server does it (a fixture's setup and
    teardown are two tasks, which cancel scopes do not survive).
    """
    started, stopping = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            started.set()
            await stopping.wait()

    task = asyncio.create_task(live())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not task.done():
            yield
    finally:
        stopping.set()
        await task


@asynccontextmanager
async def in_process(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running application without a socket."""
    async with alive(app):
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True, client=("192.0.2.7", 5))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            yield client


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with in_process(app) as running:
        yield running


@asynccontextmanager
async def serving(app: ASGIApp, settings: Any, **options: Any) -> AsyncIterator[int]:
    """The application behind uvicorn on a loopback port, which is yielded. Clients that come early wait in line."""
    # asyncio sends small writes at once only on sockets that say that they are TCP, as a server's own do.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn_config(app, settings, **options))
    task = asyncio.create_task(server._serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest.fixture
async def port(app: Starlette, gateway: testing_only_Gateway) -> AsyncIterator[int]:
    async with serving(app, gateway.settings) as number:
        yield number
