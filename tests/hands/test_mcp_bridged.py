"""Old clients and new servers, and the reverse, through a whole gateway: the policy, the pin and the log are real."""

import pytest
from mcp import MCPError
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import PromptReference, ResourceTemplateReference

from tests.hands import mcp_http
from tests.hands.mcp_http import old_server
from tests.hands.servers.library import library
from tests.mcp_conformance.legs import through


@pytest.fixture(params=["old server", "new server"])
async def server(request, uvicorns):
    """URL of a server of either era, and a resource of it."""
    if request.param == "new server":
        yield await uvicorns(library().streamable_http_app(stateless_http=True)), "note://one", "first"
        return
    gone = {"error": {"code": -32002, "message": "secret words"}}
    one = old_server()
    read = one.answers["resources/read"]
    one.answers["resources/read"] = lambda message: gone if "none" in message["params"]["uri"] else read(message)
    async with mcp_http.served(one.handle) as url:
        yield url, "note://1", "one"


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_either_client_reads_either_server(server, mode, tmp_path):
    url, uri, text = server
    async with through(url, tmp_path) as endpoint, Client(streamable_http_client(endpoint), mode=mode) as client:
        assert uri in {one.uri for one in (await client.list_resources()).resources}
        [template] = (await client.list_resource_templates()).resource_templates
        [contents] = (await client.read_resource(uri)).contents
        assert (contents.uri, contents.text) == (uri, text)
        assert "review" in {one.name for one in (await client.list_prompts()).prompts}
        assert (await client.get_prompt("review", {"code": "x"})).messages
        argument = {"name": "code", "value": ""}
        for ref in (PromptReference(name="review"), ResourceTemplateReference(uri=template.uri_template)):
            assert (await client.complete(ref, argument)).completion.values
        with pytest.raises(MCPError) as missing:
            await client.read_resource("note://none")
        assert missing.value.code == (-32002 if mode == "legacy" else -32602)
        assert (missing.value.message, missing.value.data) == ("Resource not found", {"uri": "note://none"})
        for length in (5_000, 65_536) if mode == "legacy" else (5_000,):  # the new era has it in a header, too
            with pytest.raises(MCPError) as long:
                await client.read_resource("note://" + "x" * length)
            assert (long.value.code, long.value.message.startswith("schema.args: ")) == (-32602, True)
