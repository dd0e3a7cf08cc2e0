"""An MCP server elsewhere is sent the token of the person who asked, in a session of that person's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.reasons import Reason
from tests.connections import world as worlds
from tests.connections.world import Api, claims, opened, server
from tests.hands import mcp_http
from tests.hands.mcp_http import ECHO, Server, answer

TOOL = {**ECHO, "name": "whoami", "inputSchema": {"type": "object", "properties": {"how": {"type": "string"}}}}


async def whoami(one: Server, request: web.Request, message: Mapping[str, Any]) -> web.Response:
    """Whose token it was sent, and the token itself."""
    token = request.headers["Authorization"].removeprefix("Bearer ")
    return answer(message, {"content": [], "structuredContent": {"sub": claims(token)["sub"], "echo": token}})


async def test_each_person_has_a_session_of_their_own_and_is_known_by_their_own_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Server(tools=[TOOL], called=whoami)
    listing = tmp_path / "tools.json"
    listing.write_text(json.dumps({"tools": [TOOL]}))
    async with mcp_http.served(known.handle) as url, server(tmp_path) as provider:
        hand = {"adapter": "mcp", "url": url, "private_network": True, "listing": listing}
        secrets = {"hub-token": {"connection": "hub"}}
        actions = {"whoami": {"side_effects": "none"}}
        monkeypatch.setattr(worlds, "hands", lambda api: {"hub": {**hand, "secrets": secrets, "actions": actions}})
        async with opened(tmp_path / "one", Api(url.removesuffix("/mcp")), provider) as world:
            step = await world.call("ann")
            assert (step["error"]["code"], step["error"]["page"]) == (
                Reason.CONNECTION_NEEDED,
                f"{world.url}/connections",
            )
            assert known.asked == []
            await world.connect("ann", "ann@hub")
            await world.connect("bob", "bob@hub")
            step = await world.call("ann")
            assert step["result"]["structured"] == {"sub": "ann@hub", "echo": "[secret]"}
            assert [await world.whose(who) for who in ("bob", "ann")] == ["bob@hub", "ann@hub"]
            assert await world.whose("ann", caller="bot") == "ann@hub"
            assert len(known.messages("initialize")) == 2, "one for ann, one for bob"
