import asyncio
from types import SimpleNamespace

import pytest
import uvicorn

from gateway.model import Principal, Role
from hand_adapters.mcp import McpAdapter
from tests.hands.hands_support import call, hostile
from tests.hands.testing_only_plain_jail import PlainJail
from tests.until import until


@pytest.fixture
async def plain_jail():
    jail = PlainJail()
    yield jail
    await jail.close()


@pytest.fixture
async def mcp_hand(plain_jail):
    """``await mcp_hand(mode)`` -> adapter, its manifest, and ``say(text, **call changes)``."""
    opened = []

    async def make(mode: str, *more: str, **settings):
        adapter = McpAdapter("h", hostile(mode, *more, **settings), plain_jail)
        opened.append(adapter)
        manifest = await adapter.manifest()

        async def say(text: str = "hello", **changes):
            return await adapter.run(call("h", "echo", {"text": text}, manifest.digest, **changes))

        return SimpleNamespace(adapter=adapter, manifest=manifest, say=say, jail=plain_jail)

    yield make
    for adapter in opened:
        await adapter.close()
    assert plain_jail.alive == 0


@pytest.fixture
async def uvicorns():
    """``await uvicorns(app)`` -> its endpoint."""
    running = []

    async def serve(application):
        server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, timeout_graceful_shutdown=1))
        task = asyncio.create_task(server.serve())
        running.append((server, task))
        await until(lambda: server.started)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"

    yield serve
    for server, task in running:
        server.should_exit = True
        await task


@pytest.fixture
def operator():
    return Principal("olga", "default", "pseudo-olga", frozenset({Role.OPERATOR}))
