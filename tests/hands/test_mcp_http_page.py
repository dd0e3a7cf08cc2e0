"""What docs/mcp-servers.md says of servers elsewhere, done as it stands there; only ports and files are replaced."""

import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.settings import HandSettings
from hand_adapters.mcp import McpHttpAdapter
from tests.hands.hands_support import call
from tests.meta.tree import ROOT
from tests.ports import free_port
from tests.until import until

PAGE = (ROOT / "docs" / "mcp-servers.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## MCP servers elsewhere")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
[PROGRAM] = [text for language, text in BLOCKS if language == "python"]
[COMMAND] = [text for language, text in BLOCKS if language == "console"]
DECLARED: dict[str, Any] = {}
for language, text in BLOCKS:
    if language == "toml":
        DECLARED |= tomllib.loads(text)["hands"]


@pytest.fixture
async def port(tmp_path: Path):
    """The page's server, on a free port."""
    found = free_port()
    program = tmp_path / "orders.py"
    program.write_text(PROGRAM.replace("9100", str(found)))
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: _listens(found))
        yield found
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def here(text: str, port: int) -> str:
    return text.replace("9100", str(port)).replace("https://mcp.tracker.example", f"http://127.0.0.1:{port}")


async def test_the_page_s_server_behind_the_page_s_hand(port: int) -> None:
    settings = HandSettings.model_validate({**DECLARED["orders"], "url": here(DECLARED["orders"]["url"], port)})
    McpHttpAdapter.validate("orders", settings)
    adapter = McpHttpAdapter("orders", settings, None)
    try:
        manifest = await adapter.manifest()
        assert manifest.instructions == "Ask for an order by its number."
        assert str(manifest.actions["find_order"].side_effects) == "none"
        found = await adapter.run(call("orders", "find_order", {"number": 7}, manifest.digest))
        assert found.content[0]["text"] == "order 7: three chairs"
    finally:
        await adapter.close()


def test_the_page_s_command_writes_what_the_page_s_hand_reads(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token.txt").write_text("a-token-of-mine-4711\n")
    words = here(COMMAND, port).removeprefix("$ handrail ").split()
    done = CliRunner().invoke(app, [*words, "--private-network"])
    assert done.exit_code == 0, done.output
    declared = {**DECLARED["tracker"], "url": here(DECLARED["tracker"]["url"], port), "private_network": True}
    settings = HandSettings.model_validate(declared)
    McpHttpAdapter.validate("tracker", settings)
    assert McpHttpAdapter("tracker", settings, None)._listed.actions.keys() == {"find_order"}
