"""Gateways with runs as processes of their own, to be killed."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from tests.anthropic_api.server import StandIn
from tests.runs.world import Desk, model_hand, rules

COMMAND = [sys.executable, "-c", "from gateway.cli.main import run; run()", "serve", "--json"]


def _environment(home: Path, api: StandIn, at: Desk, database_url: str | None) -> dict[str, str]:
    """The same gateway as ``world`` makes, for a process of its own."""
    database = {} if database_url is None else {"HANDRAIL_DATABASE__URL": database_url}
    return {
        **os.environ,
        **database,
        "HANDRAIL_HOME": str(home),
        "HANDRAIL_SERVER__PORT": "0",
        "HANDRAIL_POLICY__BUNDLE": str(rules(home)),
        "HANDRAIL_HANDS": json.dumps({"claude": model_hand(api.url), "desk": at.hand()}),
        "HANDRAIL_BRAINS": json.dumps({"claude": {"model": "claude-opus-4-6"}}),
    }


@asynccontextmanager
async def process(
    home: Path, api: StandIn, at: Desk, database_url: str | None = None
) -> AsyncIterator[tuple["subprocess.Popen[str]", str]]:
    """A gateway as a process: it, and its URL.

    Args:
        database_url: of a database that is none of the home's own.
    """
    environment = _environment(home, api, at, database_url)
    running = subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield running, await asyncio.to_thread(_url, running)
    finally:
        if running.poll() is None:
            running.kill()
        await asyncio.to_thread(running.wait, 30)
        if running.stdout is not None:
            running.stdout.close()


def _url(running: "subprocess.Popen[str]") -> str:
    assert running.stdout is not None
    lines = []
    for line in running.stdout:
        lines.append(line)
        if line.startswith("}"):
            return str(json.loads("".join(lines))["listening"][0])
    raise RuntimeError(f"the gateway did not start: {lines}")


async def begun(url: str, key: str) -> str:
    """Begin a run there; its id."""
    async with httpx2.AsyncClient(base_url=url, timeout=60, headers={"authorization": f"Bearer {key}"}) as http:
        answer = await http.post("/v1/runs", json={"prompt": "Look."})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["run_id"])
