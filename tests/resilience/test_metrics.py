"""Retries, circuits and load in the metrics of a gateway."""

import asyncio

import pytest

from gateway.gauges.hands import Counting, measure
from gateway.settings import ResilienceSettings
from gateway.telemetry import Metrics
from hand_adapters.contract import HandError
from hand_adapters.resilience import Guard
from tests.resilience.world import DOWN, GOOD, World


async def test_what_is_tried_again_withheld_running_and_waiting_is_counted() -> None:
    metrics = Metrics()
    world = World()
    settings = ResilienceSettings(breaker_failures=2, retries_max=1, concurrency_max=1, queue_max=1)
    guard = Guard("h", settings, Counting(metrics), clock=lambda: world.now, sleep=world.let_pass)
    measure(metrics, {"h": guard})

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"hand": "h", **labels})

    assert value("handrail_hand_circuits_open", of="tenant") == 0
    for principal in ("ana", "ben", "cy"):
        world.script = [DOWN, DOWN]
        with pytest.raises(HandError):
            await guard.run(world.call(principal), world.once, idempotent=True)
    assert value("handrail_hand_retries_total", reason="hand.unavailable") == 1
    assert value("handrail_hand_circuits_open", of="tenant") == 1
    assert value("handrail_hand_circuits_open", of="principal") == 1
    assert value("handrail_hand_withheld_total", reason="hand.circuit_open") == 2

    world.now += settings.breaker_open_seconds
    world.script = []
    assert await guard.run(world.call("dee"), world.once, idempotent=True) == GOOD
    assert value("handrail_hand_circuits_open", of="tenant") == 0
    await guard.bulkhead.take(("default", "p-ana"), 1.0)
    waiting = asyncio.ensure_future(guard.bulkhead.take(("default", "p-ben"), 60.0))
    await asyncio.sleep(0)
    assert (value("handrail_hand_running"), value("handrail_hand_waiting")) == (1, 1)
    with pytest.raises(HandError):
        await guard.run(world.call("cy"), world.once, idempotent=True)
    assert value("handrail_hand_withheld_total", reason="hand.busy") == 1
    guard.bulkhead.give(("default", "p-ana"))
    assert await waiting
