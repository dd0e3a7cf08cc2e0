"""Held steps: what was approved is what runs, whoever asked cannot approve, and an answer counts once."""

import asyncio
import gc
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError, Refused
from gateway.model import Answer, ApprovalStatus, Effect, Obligations, Principal, Role, UnverifiedPlan
from gateway.ports import StoredCall
from gateway.reasons import Reason
from gateway.state import PlanState
from tests.pipeline.house import (
    AGENT,
    APPROVER,
    AUDITOR,
    FOREIGNER,
    MANIFEST,
    SECOND,
    House,
    close_house,
    open_house,
    step,
)
from tests.pipeline.people import Person, pages
from tests.pipeline.spending import seen


async def held(house: House, *more: dict[str, Any], text: str = "w") -> tuple[str, dict[str, Any]]:
    """A plan with one held step; its id and the approval."""
    view = await house.plan(step("w", "write", args={"text": text}), *more)
    assert view["status"] == "waiting"
    return view["plan_id"], await house.approvals.show(view["steps"][0]["approval_id"], APPROVER)


async def refusal_of(house: House, approval_id: str, person: Principal, **answer: Any) -> Reason:
    with pytest.raises(HandrailError) as refusal:
        await house.approvals.answer(approval_id, person, **answer)
    return refusal.value.reason


async def test_a_held_step_runs_after_a_signed_approval_and_others_do_not_wait(house: House) -> None:
    bob = Person()
    house.directory.people["default", "bob"] = bob.principal
    plan_id, approval = await held(house, step("b"))
    assert [call.step_id for call in house.hands.calls] == ["b"]
    assert approval["args"] == {"text": "w"}
    answered = await house.approvals.answer(approval["id"], bob.principal, signed=bob.sign(approval))
    assert answered["status"] == "granted"
    assert answered["answers"][0]["attested_by"] == "approver"
    view = await house.until_settled(plan_id)
    assert view["status"] == "done"
    assert [call.step_id for call in house.hands.calls] == ["b", "w"]
    assert house.codes()[-4:] == ["APRGRT", "CRDISS", "STPDSP", "STPEXE"]


async def test_a_gateway_attested_approval_is_labelled_so(house: House) -> None:
    plan_id, approval = await held(house)
    answered = await house.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
    assert answered["answers"][0]["attested_by"] == "gateway"
    assert (await house.until_settled(plan_id))["steps"][0]["status"] == "succeeded"


async def test_a_refusal_denies_and_skips_what_depends_on_it(house: House) -> None:
    plan_id, approval = await held(house, step("after", depends_on=["w"]))
    await house.approvals.answer(approval["id"], APPROVER, answer=Answer.REFUSE)
    view = await house.until_settled(plan_id)
    assert [s["status"] for s in view["steps"]] == ["denied", "skipped"]
    assert view["steps"][0]["error"]["code"] == "approval.refused"
    assert not house.hands.calls


async def test_whoever_asked_cannot_approve(house: House) -> None:
    _, approval = await held(house)
    both = replace(AGENT, roles=frozenset({Role.AGENT, Role.APPROVER}))
    assert await refusal_of(house, approval["id"], both, answer=Answer.APPROVE) is Reason.APPROVAL_SELF


async def test_an_agent_that_is_an_approver_too_answers_not_even_for_others(house: House) -> None:
    _, approval = await held(house)
    for name in ("eve", "mallory"):
        both = Principal(name, "default", f"p-{name}", frozenset({Role.AGENT, Role.APPROVER}))
        assert await refusal_of(house, approval["id"], both, answer=Answer.APPROVE) is Reason.APPROVAL_ROLE
    assert not house.hands.calls


async def test_an_approval_of_somebody_who_became_an_agent_counts_no_more(house: House) -> None:
    house.policy.obligations = Obligations(quorum=2)
    _, approval = await held(house)
    await house.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
    house.directory.people["default", "bob"] = replace(APPROVER, roles=frozenset({Role.AGENT, Role.APPROVER}))
    assert (await house.approvals.answer(approval["id"], SECOND, answer=Answer.APPROVE))["status"] == "open"
    assert not house.hands.calls


async def test_neither_the_caller_nor_whom_it_acts_for_can_approve(house: House) -> None:
    house.directory.issuers["default", "brain"] = house.brain.registration(speaks_for=frozenset({"eve"}))
    view = await house.submit(house.brain.payload(step("w", "write"), sub="eve"))
    approval_id = view["steps"][0]["approval_id"]
    for name in ("ada", "eve"):
        person = Principal(name, "default", f"p-{name}", frozenset({Role.APPROVER}))
        assert await refusal_of(house, approval_id, person, answer=Answer.APPROVE) is Reason.APPROVAL_SELF


async def test_the_role_counts(house: House) -> None:
    _, approval = await held(house)
    assert await refusal_of(house, approval["id"], AUDITOR, answer=Answer.APPROVE) is Reason.APPROVAL_ROLE
    assert await refusal_of(house, approval["id"], FOREIGNER, answer=Answer.APPROVE) is Reason.REQUEST_NOT_FOUND


async def test_an_answer_counts_once(house: House) -> None:
    plan_id, approval = await held(house)
    outcomes = await asyncio.gather(
        *[house.approvals.answer(approval["id"], person, answer=Answer.APPROVE) for person in (APPROVER, SECOND) * 10],
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1
    await house.until_settled(plan_id)
    assert len(house.hands.calls) == 1


@pytest.mark.parametrize("effect", [Effect.ASK, Effect.ALLOW, Effect.DENY])
async def test_a_plan_about_which_a_person_was_asked_before_is_not_needed_and_is_on_no_record(
    house: House, effect: Effect
) -> None:
    first, approval = await held(house)
    await house.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
    await house.until_settled(first)
    house.policy.effects["write"] = effect
    before, looked = house.codes(), []

    async def instead() -> StoredCall:
        looked.append(effect)
        return StoredCall(first, "w", "c")

    plan = house.brain.sign(house.brain.payload(step("w", "write", args={"text": "w"}), context_id="journey"))
    unverified = UnverifiedPlan(plan, AGENT, time.time())
    view = await house.pipeline.submit(unverified, wait_seconds=30, instead=instead)
    if effect is not Effect.ALLOW:
        assert (view["plan_id"], view["steps"][0]["status"], looked) == (first, "succeeded", [effect])
        assert house.codes() == before
        await house.plan(step("e"), context_id="journey")
        assert seen(house)["history"] == [], "nothing of it stays in its context"
    else:
        assert view["plan_id"] != first
        assert looked == []


async def test_a_quorum_needs_different_people(house: House) -> None:
    house.policy.obligations = Obligations(quorum=2)
    plan_id, approval = await held(house)
    await house.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
    assert await refusal_of(house, approval["id"], APPROVER, answer=Answer.APPROVE) is Reason.APPROVAL_CLOSED
    assert not house.hands.calls
    await house.approvals.answer(approval["id"], SECOND, answer=Answer.APPROVE)
    assert (await house.until_settled(plan_id))["steps"][0]["status"] == "succeeded"


async def test_policy_may_insist_on_an_enrolled_key(house: House) -> None:
    house.policy.obligations = Obligations(enrolled_key=True)
    _, approval = await held(house)
    assert await refusal_of(house, approval["id"], APPROVER, answer=Answer.APPROVE) is Reason.APPROVAL_KEY


TAMPERS: dict[str, tuple[dict[str, Any], set[Reason]]] = {
    "another approval": ({"approval_id": "0" * 32}, {Reason.APPROVAL_MISMATCH}),
    "another person": ({"approver": "cy"}, {Reason.APPROVAL_MISMATCH}),
    "another gateway": ({"aud": "other/log"}, {Reason.APPROVAL_MISMATCH}),
    "an invented decision": ({"answer": "yes"}, {Reason.APPROVAL_MISMATCH}),
    "expired": ({"iat": 1, "exp": 2}, {Reason.VERIFY_EXPIRED}),
    "from the future": ({"iat": 2**33, "exp": 2**33 + 1}, {Reason.VERIFY_NOT_YET_VALID}),
    "too long-lived": ({"exp": int(time.time()) + 9999}, {Reason.VERIFY_LIFETIME}),
    "wrong typ": ({"typ": "plan+jws"}, {Reason.VERIFY_TYPE}),
    "an extra member": ({"extra": 1}, {Reason.APPROVAL_MISMATCH}),
    "another key": ({"key": OKPKey.generate_key("Ed25519")}, {Reason.VERIFY_SIGNATURE}),
}


@pytest.mark.parametrize("name", TAMPERS)
async def test_a_tampered_answer_is_refused(house: House, name: str) -> None:
    changes, expected = TAMPERS[name]
    bob = Person()
    _, approval = await held(house)
    assert await refusal_of(house, approval["id"], bob.principal, signed=bob.sign(approval, **changes)) in expected
    assert not house.hands.calls


@pytest.mark.parametrize(
    "member", ["tenant", "plan_id", "step_id", "hand", "action", "args_sha256", "policy_digest", "manifest_digest"]
)
async def test_one_changed_byte_anywhere_in_the_binding_voids_the_answer(house: House, member: str) -> None:
    bob = Person()
    _, approval = await held(house)
    value = approval["binding"][member]
    changed = {**approval["binding"], member: ("0" if value[0] != "0" else "1") + value[1:]}
    refused = await refusal_of(house, approval["id"], bob.principal, signed=bob.sign(approval, binding=changed))
    assert refused is Reason.APPROVAL_MISMATCH
    assert not house.hands.calls


async def test_an_approval_of_one_call_does_not_fit_another_by_one_byte(house: House) -> None:
    bob = Person()
    house.directory.people["default", "bob"] = bob.principal
    _, first = await held(house, text="pay 10")
    _, second = await held(house, text="pay 19")
    signed = bob.sign(first)
    assert await refusal_of(house, second["id"], bob.principal, signed=signed) is Reason.APPROVAL_MISMATCH
    await house.approvals.answer(first["id"], bob.principal, signed=signed)
    assert await refusal_of(house, first["id"], bob.principal, signed=signed) is Reason.APPROVAL_CLOSED


@pytest.mark.parametrize("what", ["policy", "hand", "hand gone"])
async def test_drift_voids_the_request_and_opens_a_new_one(house: House, what: str) -> None:
    plan_id, approval = await held(house)
    if what == "policy":
        house.policy.digest, house.policy.obligations = "e" * 64, Obligations(result_max_bytes=1000)
    elif what == "hand":
        house.hands.manifests["tool"] = replace(MANIFEST, instructions="changed")
    else:
        del house.hands.manifests["tool"]
    assert await refusal_of(house, approval["id"], APPROVER, answer=Answer.APPROVE) is Reason.APPROVAL_VOIDED
    await house.approval_upkeep.redecide()
    view = await house.until_settled(plan_id)
    assert not house.hands.calls
    assert (await house.approvals.show(approval["id"], APPROVER))["status"] == "voided"
    if what == "hand gone":
        assert view["steps"][0]["error"]["code"] == "schema.unknown_hand"
        return
    again = view["steps"][0]["approval_id"]
    assert again != approval["id"]
    await house.approvals.answer(again, APPROVER, answer=Answer.APPROVE)
    assert (await house.until_settled(plan_id))["steps"][0]["status"] == "succeeded"
    assert len(house.hands.calls) == 1


async def test_nobody_answering_denies(house: House) -> None:
    plan_id, approval = await held(house, step("after", depends_on=["w"]))
    house.pipeline.clock = lambda: time.time() + 3601
    assert await refusal_of(house, approval["id"], APPROVER, answer=Answer.APPROVE) is Reason.APPROVAL_EXPIRED
    assert await house.approval_upkeep.expire() == 1
    view = await house.until_settled(plan_id)
    assert [s["status"] for s in view["steps"]] == ["expired", "skipped"]
    assert await house.approval_upkeep.expire() == 0
    assert "APREXP" in house.codes()


async def test_a_held_step_survives_a_restart(tmp_path: Path) -> None:
    house = await open_house(tmp_path)
    plan_id, approval = await held(house, step("after", depends_on=["w"]))
    await close_house(house)

    again = await open_house(tmp_path, brain=house.brain)
    shown = await again.approvals.show(approval["id"], APPROVER)
    assert shown["binding"] == approval["binding"]
    await again.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
    view = await again.until_settled(plan_id)
    assert [s["status"] for s in view["steps"]] == ["succeeded", "succeeded"]
    assert [call.step_id for call in again.hands.calls] == ["w", "after"]
    await close_house(again)


async def test_a_thousand_waiting_steps_hold_no_task(house: House) -> None:
    server = house.settings.server.model_copy(update={"approvals_max_open_per_principal": 1000})
    house.pipeline.settings = house.settings.model_copy(update={"server": server})
    await house.plan(*[step(f"w{n}", "write") for n in range(100)])
    await pages(house, status="open", limit=100)
    gc.collect()
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    tracemalloc.start()
    try:
        for _ in range(9):
            await house.plan(*[step(f"w{n}", "write") for n in range(100)])
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(task.done() for task in house.pipeline._tasks)
    assert not house.pipeline._live
    assert not house.approvals.locks._locks
    assert (threading.active_count(), len(asyncio.all_tasks())) == (threads, tasks)
    assert kept < 900 * 8192, f"{kept} bytes for 900 waiting steps: they live in their record"
    assert not [one for one in gc.get_objects() if isinstance(one, PlanState)]
    assert len(await pages(house, status="open", limit=100)) == 1000
    view = await house.plan(step("other"))
    assert view["status"] == "done", "another plan goes on"


async def test_a_list_opens_no_more_plans_than_it_shows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        await house.plan(step("w", "write"))
    opened: list[str] = []
    load = type(house.pipeline).load

    async def counted(pipeline: Any, plan_id: str, viewer: Principal | None = None) -> Any:
        opened.append(plan_id)
        return await load(pipeline, plan_id, viewer)

    monkeypatch.setattr(type(house.pipeline), "load", counted)
    page = await house.approvals.list(APPROVER, "open", limit=2)
    assert (len(page["approvals"]), len(opened)) == (2, 2)


async def test_pages_hold_each_request_once_though_more_come_and_some_share_an_instant(house: House) -> None:
    view = await house.plan(*[step(f"w{number}", "write") for number in range(7)])
    held = {state["approval_id"] for state in view["steps"]}
    first = await house.approvals.list(APPROVER, "open", limit=3)
    await house.plan(step("later", "write"))
    second = await house.approvals.list(APPROVER, "open", after=first["next"], limit=3)
    third = await house.approvals.list(APPROVER, "open", after=second["next"], limit=3)
    shown = [item["id"] for page in (first, second, third) for item in page["approvals"]]
    assert (len(shown), set(shown), third["next"]) == (7, held, None)


async def test_a_page_is_full_for_a_viewer_of_few_hands_and_another_tenants_cursor_is_none(house: House) -> None:
    for _ in range(3):
        await house.plan(step("w", "write"))
    nobody = replace(APPROVER, hands=frozenset({"another"}))
    assert await house.approvals.list(nobody, "open", limit=2) == {"approvals": [], "next": None}
    own = await pages(house, replace(APPROVER, hands=frozenset({"tool", "another"})), status="open", limit=1)
    assert len(own) == 3
    for viewer, after in ((APPROVER, "0" * 32), (replace(APPROVER, tenant="rival"), own[0])):
        with pytest.raises(Refused) as refusal:
            await house.approvals.list(viewer, after=after)
        assert (refusal.value.reason, refusal.value.facts) == (
            Reason.REQUEST_MALFORMED,
            {"parameter": "after", "expected": "next of the page before"},
        )


async def test_what_waits_for_a_refused_dependency_has_its_request_voided(house: House) -> None:
    view = await house.plan(step("w", "write"), step("x", "write", depends_on=["w"]))
    first, second = (s["approval_id"] for s in view["steps"])
    await house.approvals.answer(first, APPROVER, answer=Answer.REFUSE)
    await house.until_settled(view["plan_id"])
    assert (await house.approvals.show(second, APPROVER))["status"] == "voided"
    assert await refusal_of(house, second, SECOND, answer=Answer.APPROVE) is Reason.APPROVAL_VOIDED


async def test_steps_of_one_plan_approved_at_once_all_run(house: House) -> None:
    """Each answer finds the plan at rest and takes it up; none may work on a copy that another has outdated."""
    view = await house.plan(*[step(f"w{n}", "write") for n in range(8)], step("z", depends_on=["w0", "w7"]))
    answers = [
        house.approvals.answer(held["approval_id"], person, answer=Answer.APPROVE)
        for held, person in zip(view["steps"], [APPROVER, SECOND] * 4, strict=False)
    ]
    await asyncio.gather(*answers)
    settled = await house.until_settled(view["plan_id"])
    assert [s["status"] for s in settled["steps"]] == ["succeeded"] * 9
    assert settled["status"] == "done"
    assert sorted(call.step_id for call in house.hands.calls) == [*(f"w{n}" for n in range(8)), "z"]


async def test_an_answer_that_races_expiry_has_one_outcome(house: House) -> None:
    plan_id, approval = await held(house)
    later = time.time() + 3601
    clock = house.pipeline.clock
    answer = asyncio.create_task(house.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE))
    house.pipeline.clock = lambda: later if asyncio.current_task() is not answer else clock()
    await asyncio.gather(answer, house.approval_upkeep.expire(), return_exceptions=True)
    await house.until_settled(plan_id)
    shown = (await house.approvals.show(approval["id"], APPROVER))["status"]
    assert (shown, len(house.hands.calls)) in {("granted", 1), ("expired", 0)}


@pytest.mark.parametrize("change", ["revoked", "narrowed"])
async def test_an_approval_sets_nothing_going_for_somebody_who_may_no_longer_ask(house: House, change: str) -> None:
    plan_id, approval = await held(house, step("after", depends_on=["w"]))
    if change == "revoked":
        del house.directory.people["default", "ada"]
    else:
        house.directory.people["default", "ada"] = replace(AGENT, hands=frozenset({"another"}))
    await house.approvals.answer(approval["id"], APPROVER, answer=Answer.APPROVE)
    view = await house.until_settled(plan_id)
    assert [s["status"] for s in view["steps"]] == ["denied", "denied"]
    assert view["steps"][0]["error"]["code"] == "auth.forbidden"
    assert not house.hands.calls


async def test_a_dependant_does_not_run_for_somebody_revoked_meanwhile(house: House) -> None:
    async def revoke(call: HandCall) -> HandResult:
        del house.directory.people["default", "ada"]
        return HandResult(())

    house.hands.behaviour["echo"] = revoke
    view = await house.plan(step("a"), step("b", depends_on=["a"]))
    assert [s["status"] for s in view["steps"]] == ["succeeded", "denied"]
    assert len(house.hands.calls) == 1


async def test_a_thousand_waiting_steps_survive_a_restart_and_all_expire(tmp_path: Path) -> None:
    server = {"approvals_max_open_per_principal": 1000}
    house = await open_house(tmp_path, server=server)
    for _ in range(10):
        await house.plan(*[step(f"w{n}", "write") for n in range(100)])
    await close_house(house)
    again = await open_house(tmp_path, brain=house.brain, server=server)
    assert not again.pipeline._live, "nothing of them is loaded by a start"
    waiting = await pages(again, status=ApprovalStatus.OPEN, limit=100)
    assert len(waiting) == 1000
    await again.approvals.answer(waiting[0], APPROVER, answer=Answer.APPROVE)
    later = time.time() + 3601
    again.pipeline.clock = lambda: later
    expired = 0
    while (ended := await again.approval_upkeep.expire()) > 0:
        expired += ended
    assert expired == 999
    assert await pages(again, status=ApprovalStatus.OPEN, limit=100) == []
    assert len(again.hands.calls) == 1
    await close_house(again)
