"""docs/ingress.md and the server of docs/mcp-servers.md that it speaks with, done as they stand; only ports differ."""

import asyncio
import os
import re
import socket
import sys
import tomllib

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from gateway.ingress.mcp.failures import REFUSED
from gateway.ingress.mcp.methods import LEFT_OUT
from tests.mcp_conformance.legs import governed
from tests.meta.tree import ROOT
from tests.ports import free_port
from tests.until import until

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGE = (ROOT / "docs" / "ingress.md").read_text(encoding="utf-8")
SECTION = (ROOT / "docs" / "mcp-servers.md").read_text(encoding="utf-8").partition("## Resources, prompts")[2]
BLOCKS = {kind: text for kind, text in FENCED.findall(PAGE) if kind != "python" or "# ask.py" in text}
SERVER = dict(FENCED.findall(SECTION.partition("\n## ")[0]))
OPEN = "package handrail\n\ndecisions contains decision if some decision in data.handrail.library.decisions\n"


@pytest.fixture
async def governed_library(tmp_path):
    """The page's server behind the page's hand, under the page's rule: URL of the gateway, and a key."""
    port = str(free_port())
    program = tmp_path / "library.py"
    program.write_text(SERVER["python"].replace("9200", port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: _listens(int(port)))
        hands = tomllib.loads(SERVER["toml"].replace("9200", port))["hands"]
        async with governed(hands, tmp_path, {"library.rego": BLOCKS["rego"], "open.rego": OPEN}) as found:
            yield found
    finally:
        process.kill()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_the_page_s_client_reads_the_page_s_server_and_its_rule_denies_the_rest(governed_library, tmp_path):
    url, key = governed_library
    program = tmp_path / "ask.py"
    program.write_text(BLOCKS["python"].replace("http://127.0.0.1:8080", url))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        env={**os.environ, "HANDRAIL_API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert out.decode().splitlines() == ["note://one", "Chairs are in room three.", "Review this: x = 1"], (
        errors.decode()
    )
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):
        [resource] = (await client.list_resources()).resources
        assert resource.uri == "handrail://library/note://one"
        with pytest.raises(MCPError) as denied:
            await client.read_resource("handrail://library/file:///etc/passwd")
    assert denied.value.code == REFUSED
    assert denied.value.message.splitlines()[1:] == ["library.not_a_note: Only notes are read."]


def test_the_page_names_codes_and_members_as_they_are():
    for word in (f"`{REFUSED}`", LEFT_OUT, "`-32002`", "`-32602`", "handrail://<hand>/U"):
        assert word in PAGE
