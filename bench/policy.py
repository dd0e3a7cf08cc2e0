"""Decisions of the shipped policies: per second by both engines for ``make bench``, and in microseconds in detail.

``python -m bench.policy [--json] [--rounds N]``. For plans of 1, 10 and 100 steps the median and the 99th percentile of
single questions asked one after another (latency), the mean with four under way (throughput), and what of it is the
pipe alone.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from bench.load import BenchError
from gateway.policy.bundle import Bundle, Module, load
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.opa import OpaEngine
from gateway.policy.pool import EvaluatorPool
from gateway.policy.private_opa import find_opa, private_opa
from gateway.policy.reloading import Backend

POLICIES: Final = Path(__file__).resolve().parents[1] / "policies"
SILENT: Final = Module("silent.rego", "package handrail\n\ndecisions := []\n")
EMBEDDED: Final = "embedded"
OPA: Final = "opa"
SIZES: Final = (1, 10, 100)
"""Steps of the plans."""
UNDER_WAY: Final = 4
"""Plans that are judged at the same time, as a gateway with as many callers would ask."""
INPUT_MAX_BYTES: Final = 1_048_576
COLUMNS: Final[Mapping[str, str]] = {
    "engine": "engine",
    "steps": "steps of a plan",
    "plans_per_second": "plans/s",
    "decisions_per_second": "decisions/s",
    "p50_milliseconds": "p50 ms",
    "p99_milliseconds": "p99 ms",
}
"""Of a row of :func:`decisions_per_second`: member -> title."""


def plan(steps: int) -> dict[str, Any]:
    """A policy input as the gateway makes it: ``steps`` reads of two hands, with the context that an agent has after
    some minutes. All are allowed."""
    sums = {"steps": 12, "changes": 2, "amount": 0}
    asked = {"source": "request", "match": "exact"}
    past = {"hand": "git", "action": "git_status", "effect": "allow", "side_effects": "none", "status": "succeeded"}
    reads = (
        ("git", "git_status", {"repo_path": "/repo/service"}, "/repo_path"),
        ("files", "read_text_file", {"path": "/repo/service/README.md", "head": 200}, "/path"),
    )
    return {
        "v": 1,
        "tenant": "default",
        "environment": "production",
        "now": "2026-11-21T02:14:33Z",
        "principal": {"id": "bench", "tenant": "default", "roles": ["agent"]},
        "plan": {"id": "0" * 64, "context_id": "bench", "issuer": "bench", "purpose": None},
        "steps": [
            {
                "id": f"s{number}",
                "hand": hand,
                "action": action,
                "args": args,
                "args_sha256": "0" * 64,
                "data_subjects": [],
                "provenance": {pointer: [asked]},
            }
            for number in range(steps)
            for hand, action, args, pointer in (reads[number % 2],)
        ],
        "hands": {
            hand: {
                "region": None,
                "trust": "untrusted",
                "labels": ["root:/repo"],
                "manifest_digest": "0" * 64,
                "actions": {action: {"side_effects": "none", "idempotent": True, "args": {pointer: "path"}}},
            }
            for hand, action, _, pointer in reads[:steps]
        },
        "context": {
            "data_region": None,
            "spent": {
                "steps": 0,
                "changes": 0,
                "context": sums,
                "principal": {"minute": sums, "hour": sums, "day": sums},
            },
            "history": [{**past, "seconds_ago": 20 * age} for age in range(12)],
            "taint": [{"hand": "git", "action": "git_status", "trust": "untrusted"}],
            "principal_taint": [],
            "private": [{"hand": "git", "action": "git_status"}],
        },
    }


async def _nothing() -> None:
    """An activation that nobody records."""


@contextlib.asynccontextmanager
async def _embedded() -> AsyncIterator[Backend]:
    engine = EmbeddedEngine(workers=2, deadline_seconds=2.0, input_max_bytes=INPUT_MAX_BYTES)
    try:
        await engine.activate(load(POLICIES), _nothing)
        yield engine
    finally:
        await engine.close()


@contextlib.asynccontextmanager
async def _opa(program: Path) -> AsyncIterator[Backend]:
    async with private_opa(program) as url:
        engine = OpaEngine(url, None, deadline_seconds=5.0, input_max_bytes=INPUT_MAX_BYTES)
        try:
            await engine.activate(load(POLICIES), _nothing)
            yield engine
        finally:
            await engine.close()


async def decisions_per_second(seconds: float, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """What each engine decides in ``seconds`` at each size of a plan, on all cores of the machine.

    Raises:
        BenchError: a plan was not allowed, so that something else would be measured.
    """
    engines = {EMBEDDED: _embedded()}
    program = find_opa()
    if program is None:
        say("opa is not installed (make tools): only the embedded engine is measured")
    else:
        engines[OPA] = _opa(program)
    rows = []
    for name, opened in engines.items():
        async with opened as engine:
            for steps in SIZES:
                say(f"policy engine {name}, plans of {steps}")
                rows.append({"engine": name, "steps": steps, **await _rate(engine, plan(steps), seconds)})
    return rows


async def _rate(engine: Backend, asked: dict[str, Any], seconds: float) -> dict[str, float]:
    took: list[float] = []

    async def client(until: float) -> None:
        while (began := time.perf_counter()) < until:
            decisions = await engine.decide(asked)
            took.append(time.perf_counter() - began)
            if any(decision.effect != "allow" for decision in decisions.values()):
                raise BenchError("the measured plan is not allowed, so this measures the wrong thing")

    async def together(length: float) -> float:
        took.clear()
        began = time.perf_counter()
        await asyncio.gather(*(client(began + length) for _ in range(UNDER_WAY)))
        return time.perf_counter() - began

    await together(min(0.5, seconds))  # to warm it up
    elapsed = await together(seconds)
    ordered = sorted(took)
    return {
        "plans_per_second": len(ordered) / elapsed,
        "decisions_per_second": len(ordered) * len(asked["steps"]) / elapsed,
        "p50_milliseconds": ordered[len(ordered) // 2] * 1e3,
        "p99_milliseconds": ordered[int(len(ordered) * 0.99)] * 1e3,
    }


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of :func:`decisions_per_second` as text, in the order of :data:`COLUMNS`."""
    return [
        f"{row[name]:.2f}" if name.endswith("milliseconds") else row[name] if name == "engine" else f"{row[name]:,.0f}"
        for name in COLUMNS
    ]


async def timed(ask: Callable[[], Awaitable[object]], rounds: int) -> dict[str, float]:
    """Microseconds of one question: median and 99th percentile alone, and mean with four under way."""
    for _ in range(100):
        await ask()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1e6)

    async def client() -> None:
        for _ in range(rounds // 4):
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(4)))
    together = (time.perf_counter() - began) * 1e6 / (rounds // 4 * 4)
    took.sort()
    return {
        "p50_us": round(statistics.median(took), 1),
        "p99_us": round(took[int(len(took) * 0.99)], 1),
        "mean_us_at_4": round(together, 1),
    }


async def measure(rounds: int) -> dict[str, Any]:
    """All measurements of one run of this module."""
    found: dict[str, Any] = {}
    silent = EvaluatorPool(Bundle((SILENT,), b"{}", (), ""), workers=2, deadline_seconds=2.0)
    await silent.start()
    began = time.perf_counter()
    try:
        async with _embedded() as engine:
            found["activation_ms"] = round((time.perf_counter() - began) * 1e3, 1)
            for steps in SIZES:
                asked = plan(steps)
                decisions = await engine.decide(asked)
                if {str(decision.effect) for decision in decisions.values()} != {"allow"}:
                    raise SystemExit("the measured plan is not allowed, so this measures the wrong thing")
                found[f"decide_{steps}_steps"] = await timed(partial(engine.decide, asked), rounds)
                found[f"pipe_only_{steps}_steps"] = await timed(partial(silent.evaluate, orjson.dumps(asked)), rounds)
    finally:
        await silent.close()
    return found


def main() -> None:
    """Measure under uvloop, as the server runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = {"python": platform.python_version(), **uvloop.run(measure(chosen.rounds))}
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    print(f"activation {found['activation_ms']} ms")
    for name, figures in found.items():
        if isinstance(figures, dict):
            print(f"{name:22}", "  ".join(f"{key} {value:8.1f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
