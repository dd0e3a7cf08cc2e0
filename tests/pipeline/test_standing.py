"""Between a decision and a dispatch lies time: what stopped holding in it stops the step (invariants 1 and 4)."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.model import Answer, Effect, Principal, Role
from gateway.pipeline import Pipeline
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.recovery import recover
from tests.pipeline.house import (
    AGENT,
    APPROVER,
    MANIFEST,
    SECOND,
    House,
    close_house,
    open_house,
    step,
)


class Gate:
    """A hand that answers when it is let."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: HandCall) -> HandResult:
        self.reached.set()
        await self.open.wait()
        return HandResult(({"type": "text", "text": call.step_id},), {"said": call.step_id})


async def test_nobody_sees_a_result_and_nothing_follows_from_it_before_it_is_durable(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, writing, go = house.log.append, asyncio.Event(), asyncio.Event()

    async def slow(item: Append) -> object:
        if any(draft.type == "STPEXE" and draft.step_id == "a" for draft in item.entries):
            writing.set()
            await go.wait()
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        return await append(item)

    monkeypatch.setattr(house.log, "append", slow)
    gate = Gate()
    house.hands.behaviour["small"] = gate
    reference = {"text": {"$step": "a", "pointer": "/structured/said"}}
    plan = house.brain.payload(step("a"), step("b", depends_on=["a"], args=reference), step("c", "small"))
    view = await house.submit(plan, wait=0)
    await writing.wait()
    gate.open.set()  # another step ends, and wakes the plan, while the outcome of `a` is being written
    shown = (await house.pipeline.view(view["plan_id"], AGENT))["steps"][0]
    assert shown["status"] == "running"
    assert "result" not in shown
    go.set()
    settled = await house.until_settled(view["plan_id"])
    assert "b" not in [call.step_id for call in house.hands.calls]
    assert settled["steps"][0]["status"] in {"running", "ambiguous"}
    monkeypatch.undo()
    await recover(house.pipeline)
    settled = await house.until_settled(view["plan_id"])
    assert [s["status"] for s in settled["steps"]] == ["ambiguous", "skipped", "succeeded"]


@pytest.mark.parametrize("change", ["policy denies", "policy asks", "hand drifts", "hand goes"])
async def test_a_decided_dependant_is_judged_anew_when_what_decided_it_changed(house: House, change: str) -> None:
    gate = Gate()
    house.hands.behaviour["echo"] = gate
    view = await house.submit(house.brain.payload(step("a"), step("b", "typed", depends_on=["a"])), wait=0)
    await gate.reached.wait()
    if change.startswith("policy"):
        house.policy.digest = "e" * 64
        house.policy.effects["typed"] = Effect.DENY if change == "policy denies" else Effect.ASK
    elif change == "hand drifts":
        house.hands.manifests["tool"] = replace(MANIFEST, instructions="changed")
    else:
        house.hands.manifests.clear()
    gate.open.set()
    settled = await house.until_settled(view["plan_id"])
    expected = {"policy denies": "denied", "policy asks": "held", "hand drifts": "succeeded", "hand goes": "denied"}
    assert settled["steps"][1]["status"] == expected[change]
    ran = [call for call in house.hands.calls if call.step_id == "b"]
    assert len(ran) == (1 if change == "hand drifts" else 0)
    assert all(call.manifest_digest == house.hands.manifests["tool"].digest for call in ran)


async def test_an_approved_step_is_asked_again_when_the_policy_changed_while_it_waited(house: House) -> None:
    gate = Gate()
    house.hands.behaviour["echo"] = gate
    view = await house.submit(house.brain.payload(step("a"), step("w", "write", depends_on=["a"])), wait=0)
    await gate.reached.wait()
    first = view["steps"][1]["approval_id"]
    await house.approvals.answer(first, APPROVER, answer=Answer.APPROVE)
    house.policy.digest = "e" * 64
    gate.open.set()
    settled = await house.until_settled(view["plan_id"])
    assert settled["steps"][1]["status"] == "held"
    assert settled["steps"][1]["approval_id"] != first
    assert (await house.approvals.show(first, APPROVER))["status"] == "voided"
    assert [call.step_id for call in house.hands.calls] == ["a"]


async def test_a_grant_whose_answer_was_lost_is_taken_up_or_grows_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grant is durable, the process dies before it acts: the restart acts on it, but not days later."""
    for delay, expected in ((0.0, "succeeded"), (3700.0, "expired")):
        home = tmp_path / str(delay)
        house = await open_house(home)
        view = await house.plan(step("w", "write"))
        monkeypatch.setattr(Pipeline, "resume", lambda _pipeline, _plan: None)
        await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
        await close_house(house)
        monkeypatch.undo()
        again = await open_house(home, brain=house.brain, start=False)
        again.pipeline.clock = lambda delay=delay: time.time() + delay  # type: ignore[misc]
        await recover(again.pipeline, first=True)
        settled = await again.until_settled(view["plan_id"])
        assert settled["steps"][0]["status"] == expected
        assert len(again.hands.calls) == (1 if expected == "succeeded" else 0)
        await close_house(again)


@pytest.mark.parametrize("other", ["refuses", "lets it expire"])
async def test_two_gateways_decide_the_fate_of_a_step_once(tmp_path: Path, other: str) -> None:
    one = await open_house(tmp_path)
    two = await open_house(tmp_path, brain=one.brain, start=False)
    view = await one.plan(step("w", "write"))
    approval_id = view["steps"][0]["approval_id"]
    plan = await two.pipeline.load(view["plan_id"])  # the second gateway has looked already
    if other == "refuses":
        await one.approvals.answer(approval_id, APPROVER, answer=Answer.REFUSE)
    else:
        one.pipeline.clock = lambda: time.time() + 3601
        assert await one.approval_upkeep.expire() == 1
    await one.until_settled(view["plan_id"])
    plan.steps["w"].approved = True  # and acts on what it saw, as if it had won
    two.pipeline.resume(plan)
    await two.until_settled(view["plan_id"])
    assert not two.hands.calls
    await recover(two.pipeline)
    settled = await two.until_settled(view["plan_id"])
    assert settled["steps"][0]["status"] == ("denied" if other == "refuses" else "expired")
    assert "STPDSP" not in one.codes()
    await close_house(two)
    await close_house(one)


async def test_references_cannot_multiply_a_large_result(house: House) -> None:
    async def large(call: HandCall) -> HandResult:
        return HandResult((), {"said": "x" * 400_000})

    house.hands.behaviour["echo"] = large
    many = {f"k{n}": {"$step": "a", "pointer": "/structured"} for n in range(500)}
    view = await house.plan(step("a"), step("b", depends_on=["a"], args={"text": many}))
    assert view["steps"][1]["error"]["code"] == "schema.unresolved"
    with house.log._engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT max(length(sealed)) FROM payloads").scalar()
    assert isinstance(stored, int)
    assert stored < 2_000_000


@pytest.mark.parametrize("what", ["issuer", "key", "missing key"])
async def test_an_approval_sets_nothing_going_for_a_revoked_issuer(house: House, what: str) -> None:
    view = await house.plan(step("w", "write"))
    if what == "issuer":
        house.directory.issuers.clear()
    elif what == "missing key":
        house.directory.issuers["default", "brain"] = replace(house.brain.registration(), keys={})
    else:
        house.directory.issuers["default", "brain"] = house.brain.registration(key={"revoked_at": 1})
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    settled = await house.until_settled(view["plan_id"])
    assert settled["steps"][0]["status"] == "denied"
    assert not house.hands.calls


async def test_a_revoked_approvers_answer_counts_no_more(house: House) -> None:
    house.policy.obligations = replace(house.policy.obligations, quorum=2)
    view = await house.plan(step("w", "write"))
    approval_id = view["steps"][0]["approval_id"]
    await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    del house.directory.people["default", "bob"]
    await house.approvals.answer(approval_id, SECOND, answer=Answer.APPROVE)
    settled = await house.until_settled(view["plan_id"])
    assert settled["steps"][0]["status"] == "held"
    assert not house.hands.calls


async def test_an_approver_keeps_to_its_hands(house: House) -> None:
    view = await house.plan(step("w", "write"))
    narrow = Principal("nan", "default", "p-nan", frozenset({Role.APPROVER}), hands=frozenset({"other"}))
    assert (await house.approvals.list(narrow))["approvals"] == []
    for act in (house.approvals.show, house.approvals.answer):
        with pytest.raises(HandrailError) as refusal:
            await act(view["steps"][0]["approval_id"], narrow)
        assert refusal.value.reason is Reason.REQUEST_NOT_FOUND


async def test_a_caller_lends_no_hand_that_it_may_not_use_itself(house: House) -> None:
    house.directory.issuers["default", "brain"] = house.brain.registration(speaks_for=frozenset({"eve"}))
    bound = replace(AGENT, hands=frozenset())
    view = await house.submit(house.brain.payload(step("a"), sub="eve"), caller=bound)
    assert view["steps"][0]["error"]["code"] == "schema.unknown_hand"
    assert not house.hands.calls


async def test_text_that_only_the_caller_knows_stays_out_of_the_log(house: House) -> None:
    view = await house.plan(step("a", "jane.doe-1970-diagnosis"), step("b", hand="jane-doe"))
    assert [s["status"] for s in view["steps"]] == ["denied", "denied"]
    assert "jane" not in str(house.entries())
    for hand in ("Jane Doe", "jane@example.org", "../x", ""):
        with pytest.raises(HandrailError) as refusal:
            await house.plan(step("a", hand=hand))
        assert refusal.value.reason is Reason.SCHEMA_PLAN


async def test_the_log_names_the_caller_beside_the_subject(house: House) -> None:
    house.directory.issuers["default", "brain"] = house.brain.registration(speaks_for=frozenset({"eve"}))
    await house.submit(house.brain.payload(step("a"), sub="eve"))
    received = next(entry for entry in house.entries() if entry["type"] == "PLNRCV")
    assert (received["principal"], received["facts"]["caller"]) == ("p-eve", "p-ada")


async def test_one_unreadable_plan_does_not_stop_the_others_from_expiring(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = await house.plan(step("w", "write"))
    good = await house.plan(step("w", "write"))
    revive = house.pipeline.store.load

    async def unreadable(plan_id: str) -> object:
        if plan_id == bad["plan_id"]:
            raise HandrailError(Reason.INTERNAL, "damaged")
        return await revive(plan_id)

    monkeypatch.setattr(house.pipeline.store, "load", unreadable)
    house.pipeline.clock = lambda: time.time() + 3601
    assert await house.approval_upkeep.expire() == 1
    assert (await house.until_settled(good["plan_id"]))["steps"][0]["status"] == "expired"
    house.pipeline.stalled.add(bad["plan_id"])
    await recover(house.pipeline)
    assert not house.pipeline.stalled


async def test_the_policy_sees_the_time_of_the_round(house: House) -> None:
    start = time.time()
    house.pipeline.clock = lambda: start + 3000
    reference = {"text": {"$step": "a", "pointer": "/structured/said"}}
    await house.submit(house.brain.payload(step("a"), step("b", depends_on=["a"], args=reference)), at=start)
    first, second = (seen["now"] for seen in house.policy.inputs)
    assert first != second


async def test_the_policy_sees_what_earlier_rounds_of_the_plan_spent(house: House) -> None:
    house.policy.effects["write"] = Effect.ALLOW
    reference = {"text": {"$step": "a", "pointer": "/structured/said"}}
    await house.plan(step("a"), step("w", "write"), step("b", "write", depends_on=["a"], args=reference))
    spent = [seen["context"]["spent"] for seen in house.policy.inputs]
    assert [(one["steps"], one["changes"]) for one in spent] == [(0, 0), (2, 1)]


@pytest.mark.parametrize(("beyond", "runs"), [(1, True), (0, False), (None, False)])
async def test_a_waiting_plan_goes_on_under_a_stolen_key_only_where_the_log_had_it_before_the_theft(
    house: House, beyond: int | None, runs: bool
) -> None:
    """``beyond``: by how much more than the plan's index a checkpoint covered; ``None`` where nobody knows."""
    gate = Gate()
    house.hands.behaviour["echo"] = gate
    view = await house.submit(house.brain.payload(step("a"), step("b", "typed", depends_on=["a"])), wait=0)
    await gate.reached.wait()
    registered = house.directory.issuers["default", "brain"]
    covered = None if beyond is None else view["log_index"] + beyond
    stolen = replace(registered.keys[house.brain.kid], revoked_at=1, covered_size=covered)
    house.directory.issuers["default", "brain"] = replace(registered, keys={house.brain.kid: stolen})
    gate.open.set()
    settled = await house.until_settled(view["plan_id"])
    assert settled["steps"][1]["status"] == ("succeeded" if runs else "denied")
    with pytest.raises(Refused) as refusal:
        await house.plan(step("c"))
    assert refusal.value.reason is Reason.VERIFY_REVOKED_KEY, "nothing new is believed, whatever stands"
