"""MCP servers that are reached over streamable HTTP: real ones, of both eras."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.mcp import McpHttpAdapter
from tests import services
from tests.hands import mcp_http
from tests.hands.hands_support import need
from tests.hands.mcp_http import ECHO, SESSION, Server, answer, said
from tests.until import until

UNKNOWN, EXECUTED, NOT_EXECUTED = HandFailure.UNKNOWN, HandFailure.EXECUTED, HandFailure.NOT_EXECUTED
EVERYTHING = Path(__file__).parents[2] / ".tools/mcp-servers/node_modules/@modelcontextprotocol/server-everything"


async def refused(awaitable) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


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


def the_sdks_server() -> MCPServer:
    server = MCPServer("adder", instructions="Adds.")

    @server.tool()
    def add(first: int, second: int) -> int:
        """Adds two numbers."""
        return first + second

    @server.tool()
    async def slowly(context: Context, steps: int) -> str:
        """Tells how far it is."""
        for step in range(steps):
            await context.report_progress(step, steps)
        return "done"

    return server


@pytest.mark.parametrize("json_response", [False, True])
@pytest.mark.parametrize("stateless", [False, True])
async def test_the_sdks_own_server_adds(uvicorns, json_response, stateless):
    application = the_sdks_server().streamable_http_app(json_response=json_response, stateless_http=stateless)
    async with mcp_http.hand(await uvicorns(application)) as hand:
        manifest = await hand.adapter.manifest()
        assert manifest.actions["add"].description == "Adds two numbers."
        assert manifest.instructions == "Adds."
        from tests.hands.hands_support import call

        added = await hand.adapter.run(call("h", "add", {"first": 2, "second": 3}, hand.digest))
        assert added.structured == {"result": 5}
        done = await hand.adapter.run(call("h", "slowly", {"steps": 20}, hand.digest))
        assert done.content[0]["text"] == "done"
