"""Cold start of a jail against a plain start of the same program: ``python -m bench.jail``. JSON on standard output.

Rounds alternate between the two, so that other load on the machine falls on both alike.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway.settings import JailSettings
from hand_adapters.jail import Jail, JailSpec

PROGRAMS = {"true": ("/bin/true",), "python": ("/usr/bin/python3", "-I", "-S", "-c", "pass")}


async def jailed(jail: Jail, argv: tuple[str, ...]) -> float:
    """Milliseconds from asking to the end of the whole tree."""
    started = time.perf_counter()
    ended = await jail.run(JailSpec(argv))
    elapsed = (time.perf_counter() - started) * 1000
    if ended.returncode != 0:
        sys.exit(f"{argv} failed: {ended}")
    return elapsed


def plain(argv: tuple[str, ...]) -> float:
    """Milliseconds of the same program with nothing around it."""
    started = time.perf_counter()
    subprocess.run(argv, env={}, check=True)
    return (time.perf_counter() - started) * 1000


def summary(times: list[float]) -> dict[str, float]:
    """Median and extremes, in milliseconds."""
    return {
        "median": round(statistics.median(times), 2),
        "min": round(min(times), 2),
        "p90": round(statistics.quantiles(times, n=10)[-1], 2),
    }


async def measure(rounds: int, pause: float) -> dict[str, dict[str, dict[str, float]]]:
    """Program -> plain and jailed -> milliseconds."""
    with tempfile.TemporaryDirectory() as home:
        jail = Jail(JailSettings(), Path(home))
        problems = await asyncio.to_thread(jail.missing)
        if problems:
            sys.exit(" ".join(problems))
        times: dict[str, dict[str, list[float]]] = {name: {"plain": [], "jailed": []} for name in PROGRAMS}
        for _ in range(rounds):
            for name, argv in PROGRAMS.items():
                times[name]["plain"].append(plain(argv))
                await asyncio.sleep(pause)  # a start is cold: the launcher has its spare processes again
                times[name]["jailed"].append(await jailed(jail, argv))
                await asyncio.sleep(pause)
        await jail.close()
    return {name: {kind: summary(values) for kind, values in kinds.items()} for name, kinds in times.items()}


def show(what: str | None, measure: Callable[[int, float], Coroutine[Any, Any, object]]) -> None:
    """Measure as the command line says, and print it."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--pause-seconds", type=float, default=0.05)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.rounds, options.pause_seconds)), indent=2))


if __name__ == "__main__":
    show(__doc__, measure)
