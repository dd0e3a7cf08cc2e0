"""What the gateway adds to a turn of a run: ``python -m bench.runs``. JSON on standard output.

A turn is a question to the model and the call of the tool that it asks for. The tests' stand-in for the Messages API
asks for one in each of ten turns, and then has done. Directly, the SDK's tool runner asks it and posts to the tool;
governed, a gateway in a process of its own (``handrail serve``, SQLite on this disk) is asked by ``POST /v1/runs``, and
its progress followed to the end. Both on kept connections, in turns; client, stand-in and tool share one core.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import httpx2
from aiohttp import web
from anthropic import beta_async_tool
from anthropic.types import Message

from bench.load import BenchError
from bench.messages import CONFIGURATION, added, document, prepare
from bench.page import BEGIN_RUNS, machine, write_page
from bench.processes import LOAD_CORE, SERVER_CORE, free_port, pinned
from gateway.settings import load
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import KEY, StandIn, serving

TURNS: Final = 10
RUNS: Final = 4
ROUNDS: Final = 6
MODEL: Final = "claude-opus-4-6"
PROMPT: Final = "Look at the desk, ten times."
BRAIN: Final = """
[brains.claude]
model = "{model}"
"""
DESK: Final = """
[hands.desk]
adapter = "http"
base_url = "{desk}"
private_network = true

[hands.desk.actions.look]
method = "POST"
path = "/look"
side_effects = "none"
description = "Looks at the desk."

[hands.desk.actions.look.args_schema]
type = "object"
additionalProperties = false
required = ["text"]

[hands.desk.actions.look.args_schema.properties.text]
type = "string"
"""


def decide(asked: Mapping[str, Any]) -> Message:
    """The next call of the one tool, until there were :data:`TURNS`."""
    [tool] = asked["tools"]
    answered = sum(one["role"] == "assistant" for one in asked["messages"])
    if answered == TURNS:
        return message("That is all.")
    return message("I look.", tool_use(tool["name"], {"text": f"number {answered}"}))


@asynccontextmanager
async def desk() -> AsyncIterator[str]:
    """The tool's own API; its URL."""

    async def look(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"seen": True})

    app = web.Application()
    app.router.add_post("/look", look)
    runner, port = web.AppRunner(app), free_port()
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def direct(client: anthropic.AsyncAnthropic, http: httpx2.AsyncClient, url: str) -> float:
    """Milliseconds a turn by the SDK's tool runner."""

    @beta_async_tool
    async def look(text: str) -> str:
        """Looks at the desk."""
        return (await http.post(f"{url}/look", json={"text": text})).text

    begun = time.perf_counter()
    runner = client.beta.messages.tool_runner(
        max_tokens=1024,
        model=MODEL,
        tools=[look],
        messages=[{"role": "user", "content": PROMPT}],
        thread=False,  # the stand-in keeps none: each question holds the whole conversation, as the gateway's does
    )
    last = await runner.until_done()
    if last.stop_reason != "end_turn":
        raise BenchError(f"the model stopped with {last.stop_reason}")
    return (time.perf_counter() - begun) * 1000 / TURNS


async def governed(http: httpx2.AsyncClient, url: str, key: str) -> float:
    """Milliseconds a turn by ``POST /v1/runs``."""
    headers = {"authorization": f"Bearer {key}"}
    asked = {"prompt": PROMPT, "hands": ["desk"], "budget": {"steps": 100, "tokens": 1_000_000}}
    begun = time.perf_counter()
    started = await http.post(f"{url}/v1/runs", json=asked, headers=headers)
    if started.status_code != 202:
        raise BenchError(f"answered {started.status_code}: {started.text}")
    at = f"{url}{started.headers['location']}"
    async with http.stream("GET", f"{at}/events", headers=headers) as progress:
        async for _ in progress.aiter_raw():
            pass
    taken = (time.perf_counter() - begun) * 1000 / TURNS
    view = (await http.get(at, headers=headers)).json()
    if view["status"] != "done":
        raise BenchError(f"the run ended as {view['status']}: {view.get('error')}")
    return taken


async def measure(runs: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a turn, both ways."""
    os.sched_setaffinity(0, {LOAD_CORE % (os.cpu_count() or 1)})
    async with serving() as api, desk() as tool:
        api.decide = decide
        with tempfile.TemporaryDirectory() as directory:
            return await _measure(Path(directory), api, tool, runs, rounds)


async def _measure(directory: Path, api: StandIn, tool: str, runs: int, rounds: int) -> dict[str, dict[str, float]]:
    port = free_port()
    configuration = directory / "handrail.toml"
    names = {"home": directory / "home", "port": port, "api": api.url, "desk": tool, "model": MODEL}
    configuration.write_text((CONFIGURATION + BRAIN + DESK).format(**names), encoding="utf-8")
    key = await prepare(load(configuration))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDRAIL_")}
    command = [sys.executable, "-m", "bench.serve", "serve", "--config", str(configuration)]
    times: dict[str, list[float]] = {"direct": [], "governed": []}
    with pinned(SERVER_CORE, command, port, directory / "gateway.log", environment):
        client = anthropic.AsyncAnthropic(api_key=KEY, base_url=api.url)
        async with client, httpx2.AsyncClient(timeout=120) as http:
            for number in range(rounds + 1):
                plain = [await direct(client, http, tool) for _ in range(runs)]
                through = [await governed(http, f"http://127.0.0.1:{port}", key) for _ in range(runs)]
                if number:  # the first round warms up
                    times["direct"] += plain
                    times["governed"] += through
    return {"a question and its call": added(times["direct"], times["governed"])}


def measured_alone() -> dict[str, dict[str, float]]:
    """:func:`measure` as ``make bench`` asks for it."""
    return asyncio.run(measure(RUNS, ROUNDS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="each way in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--record", action="store_true", help="also write the figures into docs/performance.md")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.runs, options.rounds))
    print(json.dumps(figures, indent=2))
    if options.record:
        write_page(document(figures, machine(), "a turn"), BEGIN_RUNS)
