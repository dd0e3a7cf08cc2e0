"""What a list costs: ``python -m bench.menus``. The first list of a caller, in milliseconds, and the next ones, in
microseconds, by the shipped policies in the embedded engine."""

import asyncio
import time
from typing import Final

from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.menus import Menus
from gateway.model import Principal, Role
from gateway.policy.engine import load_engine
from gateway.settings import PolicySettings

TOOLS: Final = (10, 100, 1000)
FIRST: Final = 20
AGAIN: Final = 2000
_KINDS: Final = tuple(SideEffects)


def _manifest(count: int) -> Manifest:
    names = (f"tool_{number}" for number in range(count))
    actions = {
        name: ActionManifest(name, name, {"type": "object"}, side_effects=_KINDS[number % len(_KINDS)])
        for number, name in enumerate(names)
    }
    return Manifest("git", "mcp", actions)


async def main() -> None:
    """Measure and print."""
    engine = load_engine(PolicySettings())
    await engine.start()
    menus = Menus(engine, "production")
    for count in TOOLS:
        manifest, first = _manifest(count), []
        for number in range(FIRST):
            caller = Principal(f"bot-{number}", "default", "p", frozenset({Role.AGENT}))
            began = time.perf_counter()
            await menus.hidden(caller, [manifest])
            first.append(time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(AGAIN):
            await menus.hidden(caller, [manifest])
        again = (time.perf_counter() - began) / AGAIN
        print(f"{count:5} tools: first {sorted(first)[FIRST // 2] * 1e3:7.1f} ms, again {again * 1e6:5.1f} us")
    await menus.close()
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
