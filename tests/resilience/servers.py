"""A registry over real servers, for the tests of resilience."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from gateway.calls import HandCall
from gateway.manifest import Manifest
from gateway.model import Principal, Role
from gateway.settings import HandSettings
from hand_adapters.pins import Pin
from hand_adapters.registry import Registry
from tests.hands.hands_support import call
from tests.hands.testing_only_plain_jail import PlainJail

OPERATOR = Principal("olga", "default", "p-olga", frozenset({Role.OPERATOR}))
NOTHING = {"type": "object", "additionalProperties": True}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MemoryPins:
    """``hand_adapters.pins.PinStore``, for as long as a test runs."""

    def __init__(self) -> None:
        self.pins: dict[tuple[str, str], Pin] = {}

    async def load(self) -> Mapping[tuple[str, str], Pin]:
        return self.pins

    async def pin(self, manifest: Manifest, actor: Principal) -> None:
        self.pins[actor.tenant, manifest.hand] = Pin(manifest.digest, manifest)

    async def drifted(self, tenant: str, hand: str, pinned: str, offered: str) -> None:
        raise AssertionError("nothing drifts here")


@asynccontextmanager
async def serving(handler: Handler, port: int = 0) -> AsyncIterator[int]:
    """A server on loopback; its port."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def http(port: int, host: str = "127.0.0.1", secrets: Any = None, **resilience: Any) -> HandSettings:
    """An API with an idempotent action, ``get``, and one that is not, ``post``."""
    actions = {
        "get": {"method": "GET", "path": "/", "args_schema": NOTHING, "side_effects": "none", "idempotent": True},
        "post": {"method": "POST", "path": "/", "args_schema": NOTHING},
    }
    return HandSettings(
        adapter="http",
        base_url=f"http://{host}:{port}",
        private_network=True,
        actions=actions,
        secrets=secrets or {},
        resilience={"backoff_first_seconds": 0.001, **resilience},
    )


@asynccontextmanager
async def registry(secrets: Any = None, /, **hands: HandSettings) -> AsyncIterator[Registry]:
    """Every hand declared and pinned."""
    jail = PlainJail()
    opened = Registry(hands, jail, MemoryPins(), secrets=secrets)
    await opened.start()
    await opened.settled()
    for hand in hands:
        await opened.pin(hand, (await opened.offer(hand)).digest, OPERATOR)
    try:
        yield opened
    finally:
        await opened.close()
        await jail.close()


class Calls:
    """Calls of one registry, each attempt with a credential of its own."""

    def __init__(self, hands: Registry) -> None:
        self.hands = hands
        self._numbers = 0

    async def renew(self, *_: Any) -> tuple[str, Callable[[str, str], str]]:
        self._numbers += 1
        return f"renewed-{self._numbers}", lambda method, url: f"{method} {url}"

    def call(self, hand: str, action: str = "get", principal: str = "ana", **changes: Any) -> HandCall:
        manifest = self.hands.manifest("default", hand)
        assert manifest is not None
        values = {"args": {}, "digest": manifest.digest, "subject": f"p-{principal}", "renew": self.renew, **changes}
        return call(hand, action, values.pop("args"), values.pop("digest"), **values)

    def begin(self, *args: Any, **changes: Any) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(self.hands.run(self.call(*args, **changes)))
