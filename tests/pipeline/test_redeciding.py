"""When the policy changes, what waits for a person is judged anew at once, not at the moment of an answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.approvals import upkeep as approval_upkeep
from gateway.errors import HandrailError
from gateway.model import Answer, ApprovalStatus, DecisionReason, Effect, Obligations
from tests.pipeline.house import APPROVER, MANIFEST, SECOND, House, close_house, open_house, step

NEXT = "e" * 64


async def waiting(house: House, number: int = 1) -> list[tuple[str, str]]:
    """Plan and approval ids of plans that each hold one step."""
    views = [await house.plan(step("w", "write")) for _ in range(number)]
    return [(view["plan_id"], view["steps"][0]["approval_id"]) for view in views]


@pytest.mark.parametrize(
    "change",
    [
        {"reason": DecisionReason("test.other", "about write")},
        {"reason": DecisionReason("test.rule", "about something else")},
        {"obligations": Obligations(quorum=2)},
        {"obligations": Obligations(redact=("/structured/said",))},
        {"manifest": replace(MANIFEST, instructions="changed")},
    ],
    ids=["code", "message", "quorum", "redaction", "hand"],
)
async def test_a_held_step_of_which_anything_differs_is_asked_about_anew(house: House, change: dict[str, Any]) -> None:
    [(plan_id, before)] = await waiting(house)
    assert await house.approval_upkeep.redecide() == 0, "nothing changed"
    house.policy.digest = NEXT
    house.policy.reason = change.get("reason")
    house.policy.obligations = change.get("obligations", Obligations())
    house.hands.manifests["tool"] = change.get("manifest", MANIFEST)
    assert await house.approval_upkeep.redecide() == 1
    [held] = (await house.until_settled(plan_id))["steps"]
    assert (held["status"], held["decision"]["policy_digest"]) == ("held", NEXT)
    assert held["approval_id"] != before
    assert (await house.approvals.show(before, APPROVER))["status"] == "voided"
    assert house.codes().count("APRVOI") == 1
    assert await house.approval_upkeep.redecide() == 0, "once is enough"
    for person in (APPROVER, SECOND)[: house.policy.obligations.quorum or 1]:
        answered = await house.approvals.answer(held["approval_id"], person, answer=Answer.APPROVE)
    assert answered["status"] == "granted"
    [done] = (await house.until_settled(plan_id))["steps"]
    assert done["status"] == "succeeded", done.get("error")


@pytest.mark.parametrize(("effect", "status"), [(Effect.DENY, "denied"), (Effect.ALLOW, "succeeded")])
async def test_a_held_step_that_the_new_bundle_denies_or_allows_waits_no_more(
    house: House, effect: Effect, status: str
) -> None:
    [(plan_id, before)] = await waiting(house)
    house.policy.digest, house.policy.effects["write"] = NEXT, effect
    await house.approval_upkeep.redecide()
    [done] = (await house.until_settled(plan_id))["steps"]
    assert (done["status"], done["decision"]["policy_digest"]) == (status, NEXT)
    assert (await house.approvals.show(before, APPROVER))["status"] == "voided"
    with pytest.raises(HandrailError):
        await house.approvals.answer(before, APPROVER, answer=Answer.APPROVE)


async def test_many_waiting_requests_are_judged_anew_a_few_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approval_upkeep, "REDECIDE_BATCH", 3)
    made = await waiting(house, 8)
    house.policy.digest = NEXT
    taken = []
    while sum(taken) < len(made):
        taken.append(await house.approval_upkeep.redecide())
        for plan_id, _ in made:
            await house.until_settled(plan_id)
        assert len(taken) < 20
    assert max(taken) <= 3
    for plan_id, _ in made:
        [held] = (await house.pipeline.load(plan_id)).view()["steps"]
        assert held["decision"]["policy_digest"] == NEXT


async def test_a_restart_in_between_loses_none_and_asks_none_twice(tmp_path: Path) -> None:
    first = await open_house(tmp_path)
    made = await waiting(first, 3)
    first.policy.digest = NEXT
    await close_house(first)
    second = await open_house(tmp_path, brain=first.brain)
    second.policy.digest = NEXT
    assert await second.approval_upkeep.redecide() == 3
    for plan_id, _ in made:
        assert (await second.until_settled(plan_id))["steps"][0]["decision"]["policy_digest"] == NEXT
    open_ = (await second.approvals.list(APPROVER, ApprovalStatus.OPEN, limit=100))["approvals"]
    assert len(open_) == 3
    await close_house(second)


async def test_nothing_is_judged_anew_while_no_bundle_decides(house: House) -> None:
    await waiting(house)
    house.policy.digest = ""
    assert await house.approval_upkeep.redecide() == 0
