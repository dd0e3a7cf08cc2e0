"""Microseconds per decision through the evaluator pool: the shipped policies, plans of 1 and 10 steps.

``python -m bench.policy [--json] [--rounds N]``. For each shape the median and the 99th percentile of single questions
asked one after another (latency), the mean with four under way (throughput), and what of it is the pipe alone.
"""

import argparse
import asyncio
import json
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from gateway.policy.bundle import Bundle, Module, load
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.pool import EvaluatorPool

POLICIES = Path(__file__).resolve().parents[1] / "policies"
SILENT = Module("silent.rego", "package handrail\n\ndecisions := []\n")


def plan(steps: int) -> dict[str, Any]:
    """A policy input with ``steps`` reads inside the root."""
    return {
        "v": 1,
        "tenant": "default",
        "environment": "production",
        "now": 1_700_000_000,
        "principal": {"id": "bench", "roles": ["agent"]},
        "plan": {"id": "0" * 64, "context_id": "bench", "issuer": "bench", "purpose": None},
        "steps": [
            {
                "id": f"s{number}",
                "hand": "git",
                "action": "git_status",
                "args": {"repo_path": "/repo"},
                "args_sha256": "0" * 64,
                "data_subjects": [],
                "provenance": {},
            }
            for number in range(steps)
        ],
        "hands": {
            "git": {
                "region": None,
                "trust": "untrusted",
                "labels": ["root:/repo"],
                "manifest_digest": "0" * 64,
                "actions": {"git_status": {"side_effects": "none", "idempotent": True, "args": {"/repo_path": "path"}}},
            }
        },
        "context": {"data_region": None, "taint": [], "principal_taint": [], "spent": {}, "history": []},
    }


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
    """All measurements of one run."""
    bundle = load(POLICIES)
    engine = EmbeddedEngine(workers=2, deadline_seconds=0.25, input_max_bytes=1_048_576)

    async def record() -> None:
        """Nothing to keep."""

    began = time.perf_counter()
    await engine.activate(bundle, record)
    found: dict[str, Any] = {"activation_ms": round((time.perf_counter() - began) * 1e3, 1)}
    silent = EvaluatorPool(Bundle((SILENT,), b"{}", (), ""), workers=2, deadline_seconds=0.25)
    await silent.start()
    try:
        for steps in (1, 10):
            asked = plan(steps)
            raw = orjson.dumps(asked)
            decisions = await engine.decide(asked)
            if {str(decision.effect) for decision in decisions.values()} != {"allow"}:
                raise SystemExit("the measured plan is not allowed, so this measures the wrong thing")
            found[f"decide_{steps}_steps"] = await timed(partial(engine.decide, asked), rounds)
            found[f"pipe_only_{steps}_steps"] = await timed(partial(silent.evaluate, raw), rounds)
    finally:
        await engine.close()
        await silent.close()
    return found


def main() -> None:
    """Measure under uvloop, as the server runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    import uvloop  # noqa: PLC0415 (only where it measures)

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
