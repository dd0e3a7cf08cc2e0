"""Where the processor time of a governed one-step plan goes: ``python -m bench.steps [--json] [--plans N]``.

One plan comes after the other, in this process and without HTTP inward; the upstream is nginx. Of each numbered step
the event loop's own time, then the log's writer thread and the policy evaluators as a whole. The plans are played in
batches, and of each part the least of all batches counts: what else the machine does only adds to it.
"""

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvloop
from handrail import Signer

from bench import usage
from bench.access import CONFIGURATION, prepare
from bench.governed import signed_plan
from bench.load import BenchError
from bench.processes import upstream
from gateway.app import build
from gateway.model import UnverifiedPlan
from gateway.service import Gateway
from gateway.settings import load

BATCHES: Final = 20
WRITER: Final = "handrail-audit-writer"
OUTSIDE: Final = "outside of the steps"


class Stopwatch:
    """In place of the tracer: adds up the event loop's processor time in each step. One plan is under way at a time."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def stage(self, name: str, _context_id: str = "") -> Iterator[None]:
        """See ``gateway.telemetry.Tracer.stage``."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.seconds[name] += time.thread_time() - began


async def batch(gateway: Gateway, signer: Signer, plans: int) -> dict[str, float]:
    """Microseconds a plan of one batch, by part.

    Raises:
        BenchError: a step did not succeed.
    """
    caller = await gateway.directory.principal(signer.tenant, "agent")
    raws = [signed_plan(signer, 1).encode("ascii") for _ in range(plans)]
    watch = Stopwatch()
    gateway.pipeline.tracer = watch  # type: ignore[assignment]
    [writer] = [thread for thread in threading.enumerate() if thread.name == WRITER]
    clock = time.pthread_getcpuclockid(writer.ident or 0)
    workers = usage.tree(os.getpid())[1:]
    loop_began, writer_began, workers_began = time.thread_time(), time.clock_gettime(clock), usage.seconds(workers)
    for raw in raws:
        view = await gateway.pipeline.submit(UnverifiedPlan(raw, caller, time.time()), wait_seconds=30)
        if [step["status"] for step in view["steps"]] != ["succeeded"]:
            raise BenchError(f"a step went wrong: {json.dumps(view)[:500]}")
    seconds = dict(watch.seconds)
    seconds[OUTSIDE] = time.thread_time() - loop_began - sum(seconds.values())
    seconds["the log's writer"] = time.clock_gettime(clock) - writer_began
    seconds["policy evaluators"] = usage.seconds(workers) - workers_began
    return {name: spent / plans * 1e6 for name, spent in seconds.items()}


async def measure(directory: Path, plans: int) -> dict[str, float]:
    """Microseconds of processor time a plan, by part: the least of all batches."""
    with upstream(directory) as port:
        configuration = directory / "handrail.toml"
        configuration.write_text(CONFIGURATION.format(home=directory / "home", port=0, upstream=port), encoding="utf-8")
        settings = load(configuration)
        signer, _ = await prepare(settings)
        gateway = build(settings)
        await gateway.start()
        try:
            await batch(gateway, signer, plans)  # warm
            found = [await batch(gateway, signer, plans) for _ in range(BATCHES)]
        finally:
            await gateway.close()
    return {name: min(one[name] for one in found) for name in found[0]}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.steps", description="Processor time of a plan by step.")
    parser.add_argument("--plans", type=int, default=60, help="plans of each batch")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="handrail-bench-") as directory:
        found: dict[str, Any] = uvloop.run(measure(Path(directory), asked.plans))
    if asked.json:
        print(json.dumps(found))
        return
    print("| part | us |\n|---|---:|")
    for name, microseconds in (*sorted(found.items()), ("together", sum(found.values()))):
        print(f"| {name} | {microseconds:,.0f} |")


if __name__ == "__main__":
    main()
