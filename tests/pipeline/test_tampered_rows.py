"""Somebody writes to the database and has no key: no row that was changed by hand lets a step run."""

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import HandrailError
from gateway.model import Answer, Effect, Principal, Role
from gateway.reasons import Reason
from gateway.recovery import recover
from tests.pipeline.house import AGENT, APPROVER, AUDITOR, close_house, open_house, step

TAMPERS = {
    "the approval": ["UPDATE approvals SET status = 'granted'"],
    "the approval, with an answer": [
        "UPDATE approvals SET status = 'granted'",
        """INSERT INTO approval_answers SELECT approval_id, 1, 'bob', 'approve', 'gateway',
           (SELECT commitment FROM plans LIMIT 1), 1.0 FROM approvals""",
    ],
    "the step's effect": ["UPDATE steps SET status = 'deferred', effect = 'allow'"],
    "the step's state": ["UPDATE steps SET status = 'deferred', effect = NULL"],
    "the step's args": ["UPDATE steps SET fields = (SELECT fields FROM steps WHERE step_id = 'other')"],
    "the step's MAC, by what is none": ["UPDATE steps SET mac = 'é'"],
    "the step's MAC, by bytes": ["UPDATE steps SET mac = x'00ff'"],
    "the plan's subject": ["UPDATE plans SET principal = 'p-eve', caller = 'p-eve'"],
    "the plan's context": ["UPDATE plans SET context_id = 'another'"],
}


@pytest.mark.parametrize("what", TAMPERS)
async def test_a_changed_row_sets_nothing_going(tmp_path: Path, what: str) -> None:
    house = await open_house(tmp_path)
    house.policy.effects["typed"] = Effect.DENY
    await house.plan(step("other", args={"text": "harmless"}))
    view = await house.plan(step("w", "write"), step("d", "typed"))
    before = len(house.hands.calls)
    await close_house(house)
    with sqlite3.connect(tmp_path / "handrail.db") as connection:
        for statement in TAMPERS[what]:
            connection.execute(statement)
        connection.execute("UPDATE plans SET status = 'running'")

    again = await open_house(tmp_path, brain=house.brain, start=False)
    again.policy.effects["typed"] = Effect.DENY
    await recover(again.pipeline, first=True)
    for live in list(again.pipeline._live.values()):
        await live.settled.wait()
    try:
        await again.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
        await again.until_settled(view["plan_id"])
        ran = [call.step_id for call in again.hands.calls]
        assert ran in ([], ["w"])  # "w" only by the person who just approved it, as it was asked
        assert all(call.args == {"text": "w"} and call.principal_id == AGENT.id for call in again.hands.calls)
    except HandrailError:
        assert not again.hands.calls
    assert before == 1
    await close_house(again)


BOTH = Principal("ada", "default", "p-ada", frozenset({Role.AGENT, Role.APPROVER}))
"""Asks, and may approve what others ask."""
WAIVERS = {
    "the quorum": ("quorum = 1", APPROVER),
    "the role": ("approver_role = 'auditor', quorum = 1", AUDITOR),
    "the enrolled key": ("enrolled_key = 0, quorum = 1", APPROVER),
    "the time": ("expires_at = expires_at + 1e6, quorum = 1", APPROVER),
    "who asked": ("caller = 'x', principal = 'x', quorum = 1", BOTH),
    "the hand": ("hand = 'another', quorum = 1", APPROVER),
    "the tenant": ("tenant = 'other', quorum = 1", replace(APPROVER, tenant="other")),
}


@pytest.mark.parametrize("what", WAIVERS)
async def test_no_condition_of_an_approval_is_waived_in_sql(tmp_path: Path, what: str) -> None:
    house = await open_house(tmp_path)
    house.policy.obligations = replace(house.policy.obligations, quorum=2, enrolled_key=what == "the enrolled key")
    view = await house.plan(step("w", "write"))
    await close_house(house)
    change, who = WAIVERS[what]
    with sqlite3.connect(tmp_path / "handrail.db") as connection:
        connection.execute(f"UPDATE approvals SET {change}")

    again = await open_house(tmp_path, brain=house.brain)
    if what == "the time":
        again.pipeline.clock = lambda: time.time() + 4000
    for ask in (
        again.approvals.answer(view["steps"][0]["approval_id"], who, answer=Answer.APPROVE),
        again.approvals.show(view["steps"][0]["approval_id"], who),
        again.pipeline.view(view["plan_id"], AGENT),
    ):
        with pytest.raises(HandrailError) as refusal:
            await ask
        assert refusal.value.reason is Reason.INTERNAL
        assert "a row of approvals was changed" in refusal.value.detail
    assert await again.approval_upkeep.expire() == 0
    assert not again.hands.calls
    await close_house(again)
