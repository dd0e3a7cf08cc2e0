"""What a call of each adapter that runs code costs: ``python -m bench.code_hands [--record]``. JSON on standard output.

Milliseconds from the adapter's ``run`` to its result, the end of the process included where a call has one of its own.
``wasm, in this process`` is the same instance without the jail and the pipes: what isolation costs.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from wasmtime import wat2wasm

from bench.jail import document, options_of, summary
from bench.load import BenchError
from bench.page import BEGIN_CODE, machine, write_page
from gateway.calls import HandCall
from gateway.canonical import canonical
from gateway.settings import HandSettings, JailSettings
from hand_adapters.contract import HandAdapter
from hand_adapters.jail import Jail
from hand_adapters.process import ProcessAdapter
from hand_adapters.python import PythonAdapter
from hand_adapters.wasm import WasmAdapter
from hand_adapters.wasm.worker import Worker

NOTHING = {"type": "object"}
NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
MODULE = bytes(
    wat2wasm(
        '(module (memory (export "memory") 1)'
        ' (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))'
    )
)
SCRATCH = {"argv": ("true", "--", "{file}"), "output_files": {"file": {"name": "f", "required": False}}}


async def repeated(rounds: int, pause: float, once: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """The summary of so many turns, with a rest before each."""
    times = []
    for _ in range(rounds):
        await asyncio.sleep(pause)
        started = time.perf_counter()
        await once()
        times.append((time.perf_counter() - started) * 1000)
    return summary(times)


async def caller(adapter: HandAdapter, action: str, args: dict[str, Any]) -> Callable[..., Awaitable[object]]:
    """``await call(principal)`` of one action, once its hand was asked."""
    digest = (await adapter.manifest()).digest

    async def call(principal: str = "ana") -> object:
        return await adapter.run(
            HandCall(
                tenant="default",
                principal_id=principal,
                context_id="c",
                plan_id="p",
                step_id="s",
                hand="bench",
                action=action,
                args=args,
                args_bytes=canonical(args),
                credential="",
                manifest_digest=digest,
                deadline_seconds=30.0,
                result_max_bytes=65_536,
                prove=lambda _method, _url: "",
            )
        )

    return call


async def measure(rounds: int, pause: float) -> dict[str, dict[str, float]]:
    """What was measured -> milliseconds."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "prices.py").write_text("def add(a: int, b: int) -> int:\n    return a + b\n", encoding="utf-8")
        (place / "module.wasm").write_bytes(MODULE)
        jail = Jail(JailSettings(), place / "home")
        if problems := await asyncio.to_thread(jail.missing):
            raise BenchError(" ".join(problems))
        plain = {"true": {"argv": ("true",), "args_schema": NOTHING}, "file": {**SCRATCH, "args_schema": NOTHING}}
        process = ProcessAdapter("bench", HandSettings(adapter="process", actions=plain), jail)
        for title, action in (("process, /bin/true", "true"), ("process, with a scratch directory", "file")):
            found[title] = await repeated(rounds, pause, await caller(process, action, {}))
        told = {"adapter": "python", "python": {"source": place / "prices.py"}, "actions": {"add": {}}}
        python = PythonAdapter("bench", HandSettings(**told), jail)
        add = await caller(python, "add", {"a": 1, "b": 2})

        async def cold() -> object:
            await python.close()
            return await add()

        found["python, no interpreter ready"] = await repeated(rounds, pause, cold)
        found["python, an interpreter ready"] = await repeated(rounds, 0.3, add)
        await python.close()
        word = {"export": "add", "params": ("a", "b"), "args_schema": NUMBERS}
        given = {"adapter": "wasm", "wasm": {"module": place / "module.wasm"}, "actions": {"add": word}}
        wasm = WasmAdapter("bench", HandSettings(**given), jail)
        add = await caller(wasm, "add", {"a": 1, "b": 2})
        people = iter(range(1000))
        found["wasm, a principal's first call"] = await repeated(8, pause, lambda: add(f"p{next(people)}"))
        found["wasm, a call"] = await repeated(rounds * 20, 0, add)
        await wasm.close()
        await jail.close()
    worker = Worker(MODULE, 67_108_864, frozenset())
    order: dict[str, Any] = {"export": "add", "argv": [], "params": [1, 2], "stdin": ""}
    order |= {"fuel_max": 10**9, "seconds": 30.0, "output_max_bytes": 65_536}

    async def inside() -> object:
        return worker.call(order)

    found["wasm, in this process"] = await repeated(rounds * 20, 0, inside)
    return found


if __name__ == "__main__":
    options = options_of(__doc__)
    try:
        figures = asyncio.run(measure(options.rounds, options.pause_seconds))
    except BenchError as error:
        sys.exit(f"bench: {error}")
    print(json.dumps(figures, indent=2))
    if options.record:
        write_page(document(list(figures.items()), machine()), BEGIN_CODE)
