"""What stays in memory of plans that are done: bounded, whatever a caller sends. Objects are counted, not bytes."""

import gc
from collections import Counter
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.commitments import Committed
from gateway.manifest import Trust
from gateway.model import Decision, Plan
from gateway.plans.live import Live
from gateway.policy.accounts import ContextAccount, PastStep
from gateway.policy.memory import Memory
from gateway.state import PlanState, StepState
from tests.pipeline.house import MANIFEST, House, close_house, open_house, step

KINDS = (Live, Plan, PlanState, StepState, Decision, Committed, ContextAccount, Memory, PastStep, AESGCM)
MOST = 8


def kept(house: House | None = None) -> Counter[str]:
    """What there is now, and nothing that only the simulated hand keeps, for a test to look at."""
    if house is not None:
        house.hands.calls.clear()
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in KINDS)


async def one_plan_each(house: House, count: int) -> None:
    """Plans of two steps, each in a context of its own."""
    for _ in range(count):
        await house.plan(step("a"), step("b"))


async def test_plans_that_are_done_leave_no_more_than_the_newest_contexts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.policy.contexts.CONTEXTS_MAX", MOST)
    monkeypatch.setattr("gateway.store.context_bindings.REMEMBERED_MAX", MOST)
    monkeypatch.setattr("audit.sealing._CACHE", MOST)
    monkeypatch.setattr("audit.opening._CACHE", MOST)
    of_other_tests = kept()
    house = await open_house(tmp_path)
    try:
        await one_plan_each(house, 3 * MOST)
        settled = kept(house) - of_other_tests
        await one_plan_each(house, 3 * MOST)
        grown = kept(house) - of_other_tests - settled
    finally:
        await close_house(house)
    assert not grown
    assert settled["ContextAccount"] <= MOST + MOST // 8 + 1
    assert not settled.keys() & {"Live", "Plan", "PlanState", "StepState"}


def test_a_remembered_result_is_not_the_block_that_a_serialiser_wrote_it_into() -> None:
    """``orjson`` answers with at least four kilobytes of heap behind a dozen bytes, for as long as those live."""
    document = orjson.dumps({"content": [], "structured": {"price": 3}})
    memory = Memory(1_000_000)
    memory.result(document, "p", "s", MANIFEST, ("tool", "echo"))
    [item] = memory._new
    assert item.content == document
    assert item.content is not document
    assert item.origin.trust is Trust.UNTRUSTED
