"""What the gateway adds to the time to a model's first token: ``python -m bench.messages``. JSON on standard output.

One client asks the tests' stand-in for the Messages API for a stream, one request after another on a kept connection:
directly, and through a gateway in a process of its own (``handrail serve``, SQLite on this disk). The time is from
sending the request to the first bytes of the answer's body. Rounds alternate, so that other load on the machine falls
on both alike; client and stand-in share one process and core. Bodies have the sizes of a plain question and of a first
turn of Claude Code.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2

from bench.page import BEGIN_MESSAGES, machine, measured, write_page
from bench.processes import CONFIGURED, LOAD_CORE, SERVER_CORE, free_port, pinned
from gateway.app import build
from gateway.settings import Settings, load
from gateway.store.directory_rows import NewPrincipal
from gateway.telemetry import configure_logging
from tests.anthropic_api.blocks import message
from tests.anthropic_api.server import KEY, StandIn, serving

SIZES: Final[Mapping[str, int]] = {"question": 0, "coding turn": 49_000}
"""Name -> bytes of tool definitions in the body."""
REQUESTS: Final = 25
ROUNDS: Final = 8
COLUMNS: Final[Mapping[str, str]] = {
    "direct_p50_ms": "direct p50 ms",
    "governed_p50_ms": "governed p50 ms",
    "added_p50_ms": "added p50 ms",
    "added_p90_ms": "added p90 ms",
    "added_least_ms": "added, least ms",
}
CONFIGURATION: Final = (
    CONFIGURED
    + """
[hands.claude]
adapter = "anthropic"
base_url = "{api}"
private_network = true

[hands.claude.secrets.claude-key]
place = "header"
parameter = "x-api-key"
"""
)


def body(tools_bytes: int) -> bytes:
    """A request for a stream."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    tools = [
        {"name": f"Tool{number}", "description": "x" * (tools_bytes // 30), "input_schema": schema}
        for number in range(30 if tools_bytes else 0)
    ]
    asked: dict[str, Any] = {
        "model": "claude-opus-4-6",
        "max_tokens": 64,
        "stream": True,
        "messages": [{"role": "user", "content": "hello"}],
    }
    # Compact, as the SDKs and Claude Code write it.
    return json.dumps({**asked, "tools": tools} if tools else asked, separators=(",", ":")).encode()


async def prepare(settings: Settings, key: str = KEY) -> str:
    """The first principals, the pins of the hands and ``key`` as the service's; returns the agent's own key."""
    configure_logging(settings.telemetry)
    gateway = build(settings)
    await gateway.start()
    try:
        people = [NewPrincipal("agent", ["agent"]), NewPrincipal("admin", ["security_admin", "operator"])]
        added = await gateway.directory.bootstrap(people)
        tokens = {view["principal"]["id"]: str(view["api_key"]["token"]) for view in added}
        admin = await gateway.directory.authenticate(tokens["admin"], time.time())
        for hand in settings.hands:
            offered = await gateway.hands.offer(hand)
            await gateway.hands.pin(hand, offered.digest, admin)
        await gateway.secrets.set(admin, "claude-key", key)
    finally:
        await gateway.close()
    return tokens["agent"]


async def first_token(http: httpx2.AsyncClient, url: str, key: str, asked: bytes) -> float:
    """Milliseconds until the first bytes of the answer; the whole of it is read."""
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": key}
    begun = time.perf_counter()
    first = 0.0
    async with http.stream("POST", f"{url}/v1/messages", content=asked, headers=headers) as answer:
        async for _ in answer.aiter_raw():
            first = first or (time.perf_counter() - begun) * 1000
    if answer.status_code != 200 or not first:
        raise RuntimeError(f"answered {answer.status_code}")
    return first


async def compare(ways: Mapping[str, tuple[str, str]], requests: int, rounds: int) -> dict[str, dict[str, float]]:
    """Size and way -> milliseconds to the first token."""
    times: dict[tuple[str, str], list[float]] = {(size, way): [] for size in SIZES for way in ways}
    async with httpx2.AsyncClient(timeout=60) as http:
        for number in range(rounds + 1):
            for size, tools_bytes in SIZES.items():
                asked = body(tools_bytes)
                for way, (url, key) in ways.items():
                    taken = [await first_token(http, url, key, asked) for _ in range(requests)]
                    times[size, way] += taken if number else []  # the first round warms up
    return {size: added(times[size, "direct"], times[size, "governed"]) for size in SIZES}


def added(direct: Sequence[float], governed: Sequence[float]) -> dict[str, float]:
    """What was measured both ways, by the names of :data:`COLUMNS`."""
    usual = statistics.median(direct)
    more = sorted(taken - usual for taken in governed)
    return {
        "direct_p50_ms": round(usual, 2),
        "governed_p50_ms": round(statistics.median(governed), 2),
        "added_p50_ms": round(statistics.median(more), 2),
        "added_p90_ms": round(statistics.quantiles(more, n=10)[-1], 2),
        "added_least_ms": round(more[0], 2),
    }


def document(found: Mapping[str, Mapping[str, float]], about: dict[str, Any], what: str = "a request") -> str:
    """Milliseconds as the Markdown that docs/performance.md holds."""
    lines = [measured(about), "", f"| {what} | {' | '.join(COLUMNS.values())} |", "|---|" + "---:|" * len(COLUMNS)]
    lines += [f"| {size} | {' | '.join(str(times[name]) for name in COLUMNS)} |" for size, times in found.items()]
    return "\n".join(lines)


async def measure(requests: int, rounds: int) -> dict[str, dict[str, float]]:
    """Prepare, serve, compare."""
    os.sched_setaffinity(0, {LOAD_CORE % (os.cpu_count() or 1)})
    async with serving() as api:
        with tempfile.TemporaryDirectory() as directory:
            return await _measure(Path(directory), api, requests, rounds)


async def _measure(directory: Path, api: StandIn, requests: int, rounds: int) -> dict[str, dict[str, float]]:
    whole = message("Hello there, how can I help you today?")
    api.decide = lambda _: whole
    port = free_port()
    configuration = directory / "handrail.toml"
    configuration.write_text(CONFIGURATION.format(home=directory / "home", port=port, api=api.url), encoding="utf-8")
    token = await prepare(load(configuration))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDRAIL_")}
    command = [sys.executable, "-m", "bench.serve", "serve", "--config", str(configuration)]
    with pinned(SERVER_CORE, command, port, directory / "gateway.log", environment):
        ways = {"direct": (api.url, KEY), "governed": (f"http://127.0.0.1:{port}/anthropic", token)}
        return await compare(ways, requests, rounds)


def measured_alone() -> dict[str, dict[str, float]]:
    """:func:`measure` as ``make bench`` asks for it."""
    return asyncio.run(measure(REQUESTS, ROUNDS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--record", action="store_true", help="also write the figures into docs/performance.md")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.requests, options.rounds))
    print(json.dumps(figures, indent=2))
    if options.record:
        write_page(document(figures, machine()), BEGIN_MESSAGES)
