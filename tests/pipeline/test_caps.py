"""One principal cannot take what the others need: caps on its plans under way and on its open approval requests."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError, Unavailable
from gateway.model import Answer, Effect, Obligations, Principal
from gateway.plans.caps import Caps
from gateway.reasons import Reason
from tests.pipeline.house import AGENT, APPROVER, OTHER, House, close_house, echo, open_house, step

PLANS, REQUESTS = 2, 3


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    caps = {"plans_max_concurrent_per_principal": PLANS, "approvals_max_open_per_principal": REQUESTS}
    opened = await open_house(tmp_path, server=caps)
    yield opened
    await close_house(opened)


def slow(house: House) -> asyncio.Event:
    """Calls of ``echo`` wait for this event."""
    go = asyncio.Event()

    async def wait(call: HandCall) -> HandResult:
        await go.wait()
        return await echo(call)

    house.hands.behaviour["echo"] = wait
    return go


def signed(house: House, *actions: dict[str, Any], caller: Principal = AGENT) -> bytes:
    return house.brain.sign(house.brain.payload(*actions, sub=caller.id))


async def refused(house: House, raw: bytes, caller: Principal = AGENT) -> HandrailError:
    with pytest.raises(HandrailError) as refusal:
        await house.submit(raw, caller=caller, wait=0)
    return refusal.value


async def open_requests(house: House) -> int:
    return await house.store.open_approvals(AGENT.tenant, AGENT.pseudonym)


# --- plans under way -------------------------------------------------------------------------------------------------


async def test_a_principal_with_all_its_plans_under_way_keeps_nobody_else_out(house: House) -> None:
    go = slow(house)
    for _ in range(PLANS):
        await house.submit(signed(house, step("a")), wait=0)
    before, third = house.codes(), signed(house, step("a"))
    refusal = await refused(house, third)
    assert isinstance(refusal, Unavailable), "it may be sent again"
    assert (refusal.reason, refusal.facts) == (Reason.LIMIT_PLANS, {"limit": PLANS})
    assert house.codes() == before, "nothing of it is on record"
    other = await house.submit(signed(house, step("a"), caller=OTHER), caller=OTHER, wait=0)
    assert other["status"] == "running"
    go.set()
    for plan_id in list(house.pipeline._live):
        await house.until_settled(plan_id)
    assert (await house.submit(third))["status"] == "done", "and the same bytes are taken once there is room"


async def test_a_plan_that_is_refused_or_waits_for_people_takes_no_room(house: House) -> None:
    for _ in range(PLANS + 2):
        assert (await refused(house, b"no plan")).reason is Reason.VERIFY_MALFORMED
    for _ in range(REQUESTS):
        assert (await house.plan(step("w", "write")))["status"] == "waiting"
    for _ in range(PLANS + 2):
        assert (await house.plan(step("a")))["status"] == "done", "one after the other, without a pause"
    assert not house.pipeline.caps._plans


async def test_an_approved_plan_goes_on_though_its_principal_has_no_room(house: House) -> None:
    view = await house.plan(step("w", "write"))
    go = slow(house)
    for _ in range(PLANS):
        await house.submit(signed(house, step("a")), wait=0)
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    assert (await house.until_settled(view["plan_id"]))["status"] == "done"
    go.set()


# --- open approval requests ------------------------------------------------------------------------------------------


async def test_a_principal_with_all_its_requests_open_keeps_nobody_else_out(house: House) -> None:
    first = await house.plan(step("v", "write"), step("w", "write"))
    before, more = house.codes(), signed(house, step("x", "write"), step("y", "write"))
    refusal = await refused(house, more)
    assert isinstance(refusal, Unavailable)
    assert (refusal.reason, refusal.facts) == (Reason.LIMIT_APPROVALS, {"limit": REQUESTS})
    assert (house.codes(), await open_requests(house)) == (before, 2), "nothing of it is on record"
    assert not house.pipeline.stalled
    other = await house.submit(signed(house, step("x", "write"), caller=OTHER), caller=OTHER)
    assert other["status"] == "waiting"
    assert (await house.plan(step("a")))["status"] == "done", "what needs nobody's approval runs"
    await house.approvals.answer(first["steps"][0]["approval_id"], APPROVER, answer=Answer.REFUSE)
    assert (await house.submit(more))["status"] == "waiting", "and the same bytes are taken once there is room"
    assert await open_requests(house) == REQUESTS


async def test_plans_that_come_together_do_not_each_take_the_last_room(house: House) -> None:
    server = house.settings.server.model_copy(update={"plans_max_concurrent_per_principal": 40})
    house.pipeline.settings = house.settings.model_copy(update={"server": server})
    plans = [signed(house, step("w", "write")) for _ in range(40)]
    outcomes = await asyncio.gather(*(house.submit(raw, wait=0) for raw in plans), return_exceptions=True)
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, HandrailError)}
    assert reasons == {Reason.LIMIT_APPROVALS}
    opened = await open_requests(house)
    assert 1 <= opened <= REQUESTS
    assert sum(not isinstance(outcome, HandrailError) for outcome in outcomes) == opened
    for _ in range(REQUESTS - opened):
        assert (await house.plan(step("w", "write")))["status"] == "waiting"
    assert (await refused(house, signed(house, step("w", "write")))).reason is Reason.LIMIT_APPROVALS
    assert not house.pipeline.caps._opening, "no room is kept for what is over"


async def test_a_later_step_that_finds_no_room_is_denied_and_the_rest_of_its_plan_goes_on(house: House) -> None:
    for _ in range(REQUESTS):
        await house.plan(step("w", "write"))
    late = step("late", "write", depends_on=["a"], args={"text": {"$step": "a", "pointer": "/structured/said"}})
    view = await house.plan(step("a"), late, step("after", depends_on=["late"]), step("b", depends_on=["a"]))
    assert [s["status"] for s in view["steps"]] == ["succeeded", "denied", "skipped", "succeeded"]
    denied = view["steps"][1]
    assert denied["error"] == {
        "code": "limit.approvals",
        "text": "You have as many open approval requests as one principal may.",
        "limit": REQUESTS,
    }
    assert "approval_id" not in denied
    assert denied["receipt"]
    [entry] = [e for e in house.entries() if e["type"] == "POLDNY"]
    assert (entry["step_id"], "limit.approvals" in entry["reasons"]) == ("late", True)
    assert await open_requests(house) == REQUESTS


@pytest.mark.parametrize("same", [True, False], ids=["asks the same", "asks something else"])
async def test_a_request_that_is_asked_anew_takes_its_own_room(house: House, same: bool) -> None:
    views = [await house.plan(step("w", "write")) for _ in range(REQUESTS)]
    house.policy.digest = "e" * 64
    if not same:
        house.policy.obligations = Obligations(result_max_bytes=1000)
    approval_id = views[0]["steps"][0]["approval_id"]
    with pytest.raises(HandrailError) as refusal:
        await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    assert refusal.value.reason is Reason.APPROVAL_VOIDED
    while await house.approval_upkeep.redecide():
        for view in views:
            await house.until_settled(view["plan_id"])
    shown = await house.until_settled(views[0]["plan_id"])
    assert shown["steps"][0]["status"] == "held"
    assert (shown["steps"][0]["approval_id"] == approval_id) is same
    assert await open_requests(house) == REQUESTS


async def test_a_count_that_fails_refuses_the_plan_and_keeps_no_room(house: House) -> None:
    async def down(tenant: str, caller: str) -> int:
        raise Unavailable(Reason.LOG_UNAVAILABLE)

    house.pipeline.caps = Caps(down)
    assert (await refused(house, signed(house, step("w", "write")))).reason is Reason.LOG_UNAVAILABLE
    assert not house.pipeline.caps._opening
    house.policy.effects = {"write": Effect.ALLOW}
    assert (await house.plan(step("w", "write")))["status"] == "done", "where nobody is asked, nothing is counted"


async def test_room_is_kept_for_those_who_counted_first() -> None:
    counted = asyncio.Event()

    async def count(tenant: str, caller: str) -> int:
        await counted.wait()
        return 1

    caps = Caps(count)
    first = asyncio.create_task(caps.reserve(AGENT, 2, 4))
    second = asyncio.create_task(caps.reserve(AGENT, 2, 4))
    third = asyncio.create_task(caps.reserve(AGENT, 2, 4))
    for _ in range(3):
        await asyncio.sleep(0)
    counted.set()
    assert await asyncio.gather(first, second, third) == [2, 1, 0]
    for reserved in (2, 1, 0):
        caps.release(AGENT, reserved)
    assert not caps._opening


async def test_the_count_is_answered_by_an_index(house: House, tmp_path: Path) -> None:
    await house.plan(step("w", "write"))
    with sqlite3.connect(tmp_path / "handrail.db") as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT count(*) FROM approvals WHERE tenant = 'a' AND caller = 'b' AND status = 'open'"
        ).fetchall()
    assert "USING COVERING INDEX ix_approvals_tenant_caller_status" in plan[0][3]
