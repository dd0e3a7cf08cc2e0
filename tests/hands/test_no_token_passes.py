"""What a client shows the gateway goes no further: its key is counted at the server behind, and found nowhere."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.mcp_methods import McpMethod
from tests.hands.mcp_http import old_server, served
from tests.mcp_conformance.legs import governed

SHOWN = {
    "cookie": "session=canary-of-the-client",
    "x-api-key": "canary-of-the-client",
    "proxy-authorization": "Bearer canary-of-the-client",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "mcp-param-token": "canary-of-the-client",
}
"""What a client may send beside its key; of these, too, nothing arrives."""


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_of_the_clients_credentials_none_reaches_the_server_behind(tmp_path: Path, mode: str) -> None:
    server = old_server()
    async with served(server.handle) as behind:
        methods: Any = {str(method): {"side_effects": "none"} for method in McpMethod}
        hand = {"adapter": "mcp", "url": behind, "private_network": True, "actions": methods}
        async with (
            governed({"box": hand}, tmp_path) as (url, key),
            httpx2.AsyncClient(headers={"authorization": f"Bearer {key}", **SHOWN}, timeout=60) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
        ):
            called = await client.call_tool("box__echo", {"text": "hello"})
            await client.list_resources()
            await client.read_resource("handrail://box/note://1")
            await client.get_prompt("box__review", {"code": "x"})
    assert called.content[0].text == "hello"  # type: ignore[union-attr]
    methods_asked = {message.get("method") for _, _, message in server.asked}
    assert {"tools/call", "resources/list", "resources/read", "prompts/get"} <= methods_asked
    heard = json.dumps([[dict(headers), message] for _, headers, message in server.asked])
    secret = key.partition("_")[2]
    forwarded = sum(heard.count(one) for one in (key, secret, "canary-of-the-client", SHOWN["traceparent"]))
    assert forwarded == 0
