"""docs/ingress.md for clients that speak stdio, done as it stands there; only the port and the key differ."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client

from gateway.web.asgi import create_app
from tests.mcp_conformance.suite import node
from tests.meta.tree import ROOT
from tests.services import require
from tests.web.conftest import serving
from tests.web.fake import step, testing_only_Gateway, view

PAGE = (ROOT / "docs" / "ingress.md").read_text(encoding="utf-8")
PART = PAGE.partition("### Clients that speak stdio")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PART, re.DOTALL | re.MULTILINE)
INSPECTOR = ROOT / ".tools/mcp-inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
ADDRESS = "http://127.0.0.1:8080"
TOOLS = ["clock__now", "clock__set", "git__commit", "git__status"]


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A ``PATH`` on which ``handrail`` is this checkout's."""
    program = tmp_path / "bin" / "handrail"
    program.parent.mkdir()
    run = f'PYTHONPATH={shlex.quote(os.pathsep.join(sys.path))} exec {shlex.quote(sys.executable)} -c "{_RUN}" "$@"'
    program.write_text(f"#!/bin/sh\n{run}\n")
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


_RUN = "from gateway.cli.main import run; run()"


async def listed(server: StdioServerParameters) -> list[str]:
    async with Client(stdio_client(server), mode="auto") as client:
        return sorted(tool.name for tool in (await client.list_tools()).tools)


async def test_the_pages_file_serves_the_inspector_which_lists_and_calls(programs: str, tmp_path: Path) -> None:
    require(INSPECTOR.exists(), "the Inspector", "make tools installs it")
    file = tmp_path / "claude_desktop_config.json"
    [words] = [shlex.split(text.removeprefix("$ ")) for _, text in BLOCKS if "inspector" in text]
    assert words[:3] == ["npx", "@modelcontextprotocol/inspector", "--cli"]

    async def inspect(*more: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            *(node(), str(INSPECTOR), *words[2:], *more),
            cwd=tmp_path,
            env={**os.environ, "PATH": programs, "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return json.loads(out)

    gateway = testing_only_Gateway()
    gateway.pipeline.answer = view("done", step(result={"content": [{"type": "text", "text": "clean"}]}))
    async with serving(create_app(gateway), gateway.settings) as port:  # type: ignore[arg-type]
        [text] = [text for kind, text in BLOCKS if kind == "json"]
        file.write_text(text.replace(ADDRESS, f"http://127.0.0.1:{port}").replace("hr_...", "hr_agent_key"))
        tools = await inspect()
        words[words.index("tools/list")] = "tools/call"
        called = await inspect("--tool-name", "git__status", "--tool-arg", "n=1")
    assert sorted(tool["name"] for tool in tools["tools"]) == TOOLS
    assert called["content"] == [{"type": "text", "text": "clean"}]
    assert gateway.pipeline.claims()["actions"][0]["args"] == {"n": 1}


async def test_the_servers_that_the_page_has_clients_start_serve(programs: str, tmp_path: Path) -> None:
    gateway = testing_only_Gateway()
    environment = {"PATH": programs, "HANDRAIL_API_KEY": "hr_agent_key", "HANDRAIL_HOME": str(tmp_path)}
    async with serving(create_app(gateway), gateway.settings) as port:  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{port}"
        [text] = [text for kind, text in BLOCKS if kind == "json"]
        entry = json.loads(text.replace(ADDRESS, url))["mcpServers"]["handrail"]
        assert set(entry["env"]) == {"HANDRAIL_API_KEY"}
        [added] = [shlex.split(text.replace(ADDRESS, url)) for _, text in BLOCKS if "claude mcp add" in text]
        for command, *args in ([entry["command"], *entry["args"]], added[added.index("--") + 1 :]):
            assert await listed(StdioServerParameters(command=command, args=args, env=environment)) == TOOLS
