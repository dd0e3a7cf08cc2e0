"""What docs/mcp-servers.md shows of a server that talks while a call runs, done as it stands; only ports differ."""

import asyncio
import re
import socket
import sys
import tomllib

import pytest

from gateway.conversations import Conversations
from tests.hands.talk_support import Person, client, text
from tests.mcp_conformance.legs import governed
from tests.meta.tree import ROOT
from tests.ports import free_port
from tests.until import until

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGE = (ROOT / "docs" / "mcp-servers.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## What a server says")[2].partition("\n## ")[0]
BLOCKS = dict(FENCED.findall(SECTION))
OPEN = "package handrail\n\ndecisions contains decision if some decision in data.handrail.greeter.decisions\n"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_page_s_server_asks_for_a_name_and_its_rule_keeps_card_numbers_here(tmp_path, mode):
    port = str(free_port())
    program = tmp_path / "greeter.py"
    program.write_text(BLOCKS["python"].replace("9300", port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    hands = tomllib.loads(BLOCKS["toml"].replace("9300", port))["hands"]
    rules = {"greeter.rego": BLOCKS["rego"], "open.rego": OPEN}
    person = Person()
    try:
        await until(lambda: _listens(int(port)))
        async with governed(hands, tmp_path, rules) as (url, key):
            endpoint = f"{url}/mcp/greeter", {"authorization": f"Bearer {key}"}
            async with client(endpoint, mode, person) as made:
                greeted = await made.call_tool("greet", {}, progress_callback=person.report)
                assert text(greeted) == "Hello, Ada."
                assert person.progress == [(1, 1, "Asked.")]
                person.name = "4111111111111111"
                assert text(await made.call_tool("greet", {})) == "Hello, whoever you are."
    finally:
        process.kill()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_question_that_no_call_asks_is_of_nobody():
    conversations = Conversations()
    with conversations.carried("p"):
        assert conversations.carries("p")
    assert (conversations.carries("p"), conversations.of("p")) == (False, None)
