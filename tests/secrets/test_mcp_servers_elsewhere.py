"""Through a whole gateway to an MCP server elsewhere: its secret, its step credential, and what it repeats."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web
from handrail.hand import StepRefused, Verifier

from gateway.reasons import Reason
from tests.canaries import Canaries, rows_of
from tests.hands import mcp_http
from tests.hands.mcp_http import ECHO, Server, answer
from tests.secrets.world import Api, World, opened

TOOL = {**ECHO, "name": "call", "inputSchema": {"type": "object", "properties": {"how": {"type": "string"}}}}
ACTIONS = {"call": {"side_effects": "none"}}


async def repeats(server: Server, request: web.Request, message: Mapping[str, Any]) -> web.Response:
    """What it was sent, as text and as structure."""
    headers = dict(request.headers)
    text = [{"type": "text", "text": f"you are {headers.get('Authorization')}"}]
    return answer(message, {"content": text, "structuredContent": {"headers": headers}})


def declared(tmp_path: Path, url: str) -> dict[str, Any]:
    listing = tmp_path / "tools.json"
    listing.write_text(json.dumps({"tools": [TOOL]}))
    secrets = {"token": {"place": "bearer"}}
    base = {"adapter": "mcp", "url": url, "private_network": True, "actions": ACTIONS}
    return {**base, "listing": listing, "secrets": secrets}


async def test_a_server_that_repeats_its_secret_has_it_taken_out(tmp_path: Path, api: Api, canaries: Canaries) -> None:
    server = Server(tools=[TOOL], called=repeats)
    async with mcp_http.served(server.handle) as url, opened(tmp_path, api, {}, crm=declared(tmp_path, url)) as world:
        assert server.asked == [], "it was pinned by its file"
        value = canaries.plant("awkward")
        await world.gateway.secrets.set(world.people["admin"], "token", value)
        step = await world.call()
        assert step["status"] == "succeeded", step
        assert {headers["Authorization"] for _, headers, _ in server.asked} == {f"Bearer {value}"}
        assert step["result"]["content"][0]["text"] == "you are Bearer [secret]"
        origin = url.removesuffix("/mcp")
        [used] = world.entries("SECUSE")
        assert used["facts"] == {"secret": "token", "store": "sealed", "target": origin, "version": "1"}
        assert len(world.entries("SECECH")) == 1
        async with httpx2.AsyncClient() as http:
            shown = (await http.get(f"{world.url}/v1/hands/crm", headers=world.tokens["op"])).json()
        assert (shown["endpoint"], shown["secrets"][0]["targets"]) == (url, [origin])
        server.tools = [{**TOOL, "description": f"for {value}"}]
        drifted = await world.call()
        assert drifted["error"]["code"] == Reason.HAND_DRIFTED
        hands = json.dumps(world.gateway.hands.describe("default"))
        canaries.must_not_be_in("what the operator is shown", hands.encode())
        canaries.must_not_be_in("the database", rows_of(world.gateway.engine))


async def test_without_its_secret_nothing_is_said_to_the_server(tmp_path: Path, api: Api) -> None:
    server = Server(tools=[TOOL])
    async with mcp_http.served(server.handle) as url, opened(tmp_path, api, {}, crm=declared(tmp_path, url)) as world:
        step = await world.call()
        assert (step["status"], step["error"]["code"]) == ("failed", Reason.SECRET_MISSING)
        assert server.asked == []


async def test_a_server_can_check_the_step_credential_of_a_call(tmp_path: Path, api: Api) -> None:
    server = Server(tools=[TOOL])
    settings = {"adapter": "mcp", "private_network": True, "actions": ACTIONS}
    async with mcp_http.served(server.handle) as url, opened(tmp_path, api, {}, crm={**settings, "url": url}) as world:
        assert (await world.call("a"))["status"] == "succeeded"
        [headers], [message] = server.headers("tools/call"), server.messages("tools/call")
        verifier = Verifier(await jwks(world), issuer=world.gateway.log.origin, hand="crm")
        asked = {"method": "POST", "url": url}
        arguments = message["params"]["arguments"]
        assert verifier.verify(headers.items(), "call", arguments, **asked).action == "call"
        for other in ({"how": "b"}, arguments):  # another call, and the same once more
            with pytest.raises(StepRefused):
                verifier.verify(headers.items(), "call", other, **asked)
        assert all("DPoP" not in headers for headers in server.headers("tools/list"))


async def jwks(world: World) -> Any:
    async with httpx2.AsyncClient() as http:
        return (await http.get(f"{world.url}/.well-known/jwks.json")).json()
