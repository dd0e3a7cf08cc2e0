"""What one call of a tool costs by each way in: ``python -m bench.calls``. JSON on standard output.

One client makes one call after another: of an MCP server's tool, directly and through ``/mcp``, with a session and
without; and it asks about a tool that it runs itself, by ``POST /v1/calls`` and by Claude Code's hook. The gateway is a
process of its own (``handrail serve``, the shipped policies, SQLite on this disk), and so is the server. Each call has
other arguments. Ways take turns, so that other load on the machine falls on all alike.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.load import BenchError
from bench.messages import prepare
from bench.page import BEGIN_CALLS, machine, measured, write_page
from bench.processes import CONFIGURED, LOAD_CORE, SERVER_CORE, free_port, pinned
from gateway.settings import load

CALLS: Final = 25
ROUNDS: Final = 8
ERAS: Final[Mapping[str, str]] = {"MCP, with a session": "legacy", "MCP, without one": "2026-07-28"}
"""Name -> mode of the SDK's client."""
OWN: Final = ("POST /v1/calls", "Claude Code's hook")
COLUMNS: Final[Mapping[str, str]] = {
    "direct_p50_ms": "direct p50 ms",
    "governed_p50_ms": "governed p50 ms",
    "added_p50_ms": "added p50 ms",
    "governed_p90_ms": "governed p90 ms",
    "governed_least_ms": "governed, least ms",
}
CONFIGURATION: Final = (
    CONFIGURED
    + """
[hands.desk]
adapter = "mcp"
url = "{tools}"
private_network = true
actions.look.side_effects = "none"

[hands.claude-code]
adapter = "client"
actions.Look.side_effects = "none"
"""
)

Call: TypeAlias = Callable[[str], Awaitable[None]]
"""Makes one call about what has that name."""


async def of_tool(stack: AsyncExitStack, url: str, mode: str, headers: Mapping[str, str]) -> Call:
    """Calls of the tool at an endpoint of MCP."""
    http = await stack.enter_async_context(httpx2.AsyncClient(headers=dict(headers), timeout=60))
    client = await stack.enter_async_context(Client(streamable_http_client(url, http_client=http), mode=mode))

    async def call(name: str) -> None:
        result = await client.call_tool("look", {"name": name})
        if result.is_error or result.content[0].text != f"{name} lies on the desk.":  # type: ignore[union-attr]
            raise BenchError(f"the tool answered {result}")

    return call


async def own_tools(stack: AsyncExitStack, url: str, headers: Mapping[str, str]) -> Iterator[tuple[str, Call]]:
    """Questions about a tool that the client runs itself, in both ways."""
    http = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, headers=dict(headers), timeout=60))

    async def judged(name: str) -> None:
        asked = {"context_id": "bench", "calls": [{"hand": "claude-code", "action": "Look", "args": {"name": name}}]}
        answer = await http.post("/v1/calls", json=asked)
        if answer.status_code != 200 or not answer.json()["calls"][0]["go"]:
            raise BenchError(f"answered {answer.status_code}: {answer.text}")

    async def hooked(name: str) -> None:
        asked = {"session_id": "bench", "hook_event_name": "PreToolUse", "tool_name": "Look"}
        answer = await http.post(
            "/v1/hooks/claude-code", json={**asked, "tool_use_id": f"toolu_{name}", "tool_input": {"name": name}}
        )
        if answer.status_code != 200 or '"allow"' not in answer.text:
            raise BenchError(f"answered {answer.status_code}: {answer.text}")

    return zip(OWN, (judged, hooked), strict=True)


async def ready(url: str) -> None:
    """Wait until the gateway has asked its hands what they offer.

    Raises:
        BenchError: it has not after a minute.
    """
    async with httpx2.AsyncClient() as http:
        for _ in range(600):
            if (await http.get(f"{url}/readyz")).status_code == 200:
                return
            await asyncio.sleep(0.1)
    raise BenchError("the gateway does not become ready")


async def compare(ways: Mapping[tuple[str, str], Call], calls: int, rounds: int) -> dict[str, dict[str, float]]:
    """What is called -> milliseconds of a call."""
    times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    names = (f"item{number}" for number in itertools.count())
    for number in range(rounds + 1):
        for way, call in ways.items():
            for _ in range(calls):
                begun = time.perf_counter()
                await call(next(names))
                if number:  # the first round warms up
                    times[way].append((time.perf_counter() - begun) * 1000)
    found: dict[str, dict[str, float]] = {}
    for subject in dict.fromkeys(subject for subject, _ in ways):
        governed = sorted(times[subject, "governed"])
        direct = times.get((subject, "direct"))
        row = found[subject] = {"governed_p50_ms": round(statistics.median(governed), 2)}
        row["governed_p90_ms"] = round(statistics.quantiles(governed, n=10)[-1], 2)
        row["governed_least_ms"] = round(governed[0], 2)
        if direct is not None:
            row["direct_p50_ms"] = round(statistics.median(direct), 2)
            row["added_p50_ms"] = round(statistics.median(governed) - statistics.median(direct), 2)
    return found


def cells(times: Mapping[str, float]) -> list[str]:
    """One row's columns; what has nothing to be compared with has none of that."""
    return [f"{times[name]:.2f}" if name in times else "" for name in COLUMNS]


def document(found: Mapping[str, Mapping[str, float]], about: dict[str, Any]) -> str:
    """Milliseconds as the Markdown that docs/performance.md holds."""
    lines = [measured(about), "", f"| a call by | {' | '.join(COLUMNS.values())} |", "|---|" + "---:|" * len(COLUMNS)]
    lines += [f"| {subject} | {' | '.join(cells(times))} |" for subject, times in found.items()]
    return "\n".join(lines)


async def measure(calls: int, rounds: int) -> dict[str, dict[str, float]]:
    """Prepare, serve, compare.

    Raises:
        BenchError: something did not start, or answered wrongly.
    """
    core = LOAD_CORE % (os.cpu_count() or 1)
    os.sched_setaffinity(0, {core})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDRAIL_")}
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        tool_port, port = free_port(), free_port()
        tools, url = f"http://127.0.0.1:{tool_port}/mcp", f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "bench.tool_server", str(tool_port)]
        with pinned(core, command, tool_port, directory / "tools.log", environment):
            configuration = directory / "handrail.toml"
            text = CONFIGURATION.format(home=directory / "home", port=port, tools=tools)
            configuration.write_text(text, encoding="utf-8")
            headers = {"authorization": f"Bearer {await prepare(load(configuration))}"}
            command = [sys.executable, "-m", "bench.serve", "serve", "--config", str(configuration)]
            with pinned(SERVER_CORE, command, port, directory / "gateway.log", environment):
                await ready(url)
                async with AsyncExitStack() as stack:
                    ways: dict[tuple[str, str], Call] = {}
                    for subject, mode in ERAS.items():
                        ways[subject, "direct"] = await of_tool(stack, tools, mode, {})
                        ways[subject, "governed"] = await of_tool(stack, f"{url}/mcp/desk", mode, headers)
                    for subject, call in await own_tools(stack, url, headers):
                        ways[subject, "governed"] = call
                    return await compare(ways, calls, rounds)


def measured_alone() -> dict[str, dict[str, float]]:
    """:func:`measure` as ``make bench`` asks for it."""
    return asyncio.run(measure(CALLS, ROUNDS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--record", action="store_true", help="also write the figures into docs/performance.md")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.calls, options.rounds))
    print(json.dumps(figures, indent=2))
    if options.record:
        write_page(document(figures, machine()), BEGIN_CALLS)
