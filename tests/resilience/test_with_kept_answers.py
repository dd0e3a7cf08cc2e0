"""Kept answers before a guarded hand: they need no slot, no pace and no closed circuit, and what failed is not kept."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gateway.calls import HandCall, HandResult
from gateway.reasons import Reason
from gateway.settings import ResilienceSettings
from hand_adapters.resilience import Guard
from tests.pipeline.house import MANIFEST, House, SimulatedHands, step
from tests.resilience.world import DOWN, GOOD, LATER, LOST

KEPT = replace(
    MANIFEST,
    actions={name: replace(action, cacheable=True, idempotent=True) for name, action in MANIFEST.actions.items()},
)


class Guarded:
    """The house's hand behind a guard; its calls end as ``script`` says, and then well."""

    def __init__(self, house: House, *script: HandResult | Exception, **settings: Any) -> None:
        self.house, self.script = house, list(script)
        self.guard = Guard("tool", ResilienceSettings(backoff_first_seconds=0.001, **settings))
        once = partial(SimulatedHands.run, house.hands)

        async def act(_: HandCall) -> HandResult:
            outcome = self.script.pop(0) if self.script else GOOD
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        async def run(call: HandCall) -> HandResult:
            return await self.guard.run(call, once, idempotent=True)

        house.hands.manifests["tool"] = KEPT
        house.hands.behaviour["echo"] = act
        house.hands.run = run  # type: ignore[method-assign]

    async def ask(self, text: str = "t") -> dict[str, Any]:
        view = await self.house.plan(step("s", "echo", args={"text": text}))
        shown: dict[str, Any] = view["steps"][0]
        return shown

    @property
    def sent(self) -> int:
        return len(self.house.hands.calls)


async def test_an_answer_that_took_retries_is_kept_like_any_other(house: House) -> None:
    hand = Guarded(house, LOST, LATER)
    first, second = await hand.ask(), await hand.ask()
    assert (first["status"], second["status"], hand.sent) == ("succeeded", "succeeded", 3)
    assert second["result"] == first["result"]
    ended = [entry["facts"] for entry in house.entries() if entry["type"] == "STPEXE"]
    assert ended == [{"attempts": 3}, {"attempts": 0, "cached_from": first["receipt_id"]}]


@pytest.mark.parametrize("failure", [DOWN, LOST, LATER], ids=repr)
async def test_what_failed_is_not_kept(house: House, failure: HandResult | Exception) -> None:
    hand = Guarded(house, failure, retries_max=0)
    assert (await hand.ask())["status"] != "succeeded"
    assert (await hand.ask())["status"] == "succeeded"
    assert hand.sent == 2


async def test_an_open_circuit_keeps_no_kept_answer_back(house: House) -> None:
    hand = Guarded(house, GOOD, DOWN, retries_max=0, breaker_failures=1, breaker_open_seconds=3600)
    await hand.ask("known")
    assert (await hand.ask("other"))["error"]["code"] == Reason.HAND_UNAVAILABLE
    assert (await hand.ask("third"))["error"]["code"] == Reason.HAND_CIRCUIT_OPEN
    assert (await hand.ask("known"))["status"] == "succeeded"
    assert hand.sent == 2


async def test_a_kept_answer_takes_nothing_of_a_hands_pace(house: House) -> None:
    hand = Guarded(house, calls_per_second=0.001, calls_burst=2, principal_share=1)
    assert (await hand.ask("known"))["status"] == "succeeded"
    for _ in range(5):
        assert (await hand.ask("known"))["status"] == "succeeded"
    assert (await hand.ask("other"))["status"] == "succeeded", "the second of the burst"
    assert (await hand.ask("third"))["error"]["code"] == Reason.HAND_BUSY
    assert (await hand.ask("known"))["status"] == "succeeded"
    assert (hand.sent, hand.guard.bulkhead.running) == (2, 0)
