"""Steps of remote hands: claimed once, by their own hand, while all that let them go still stands; one result each."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.tables import entries
from gateway.calls import HandResult
from gateway.errors import HandrailError, Refused
from gateway.freeze import Scope
from gateway.freezing import FreezeOrder
from gateway.model import Answer, Obligations, Principal, Role
from gateway.pipeline import Pipeline
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.remote_steps.claims import WAITERS_MAX_OF_HAND, Handed
from gateway.state import PlanState
from tests.pipeline.house import AGENT, APPROVER, House, close_house, locked, step
from tests.pipeline.remote import (
    CRM,
    KEY,
    REMOTE,
    STRANGER,
    UNBOUND,
    claim,
    equip,
    give,
    note,
    offered,
    pass_time,
    remote_house,
)
from tests.until import until


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await remote_house(tmp_path)
    yield made
    await close_house(made)


async def refused(asked: object) -> Reason:
    with pytest.raises(HandrailError) as caught:
        await asked  # type: ignore[misc]
    return caught.value.reason


async def begin(house: House, *actions: object, **changes: object) -> tuple[dict[str, object], str]:
    """A plan whose one remote step is offered: the plan's view, and the step's ``step_jti``."""
    view = await house.submit(house.brain.payload(*(actions or (note("a"),)), **changes), wait=0)
    await house.until_settled(view["plan_id"])
    [step_jti] = await offered(house)
    return view, step_jti


async def shown(house: House, view: dict[str, object]) -> dict[str, object]:
    [state, *_] = (await house.pipeline.load(view["plan_id"])).view()["steps"]
    return state


async def test_a_step_waits_without_a_task_is_claimed_and_its_result_ends_the_plan(house: House) -> None:
    view, step_jti = await begin(house)
    assert (await shown(house, view))["status"] == "running"
    assert not house.pipeline._tasks, "nothing in memory waits for a remote hand"
    handed = await claim(house, step_jti)
    assert handed.args == {"text": "a"}
    assert handed.binding.args_sha256 == hashlib.sha256(b'{"text":"a"}').hexdigest()
    assert (handed.expires_in, handed.lease_seconds) == (60, 30.0)
    assert await offered(house) == []
    answer = await give(house, step_jti, handed)
    assert answer == {"status": "succeeded"}
    state = await shown(house, view)
    assert (state["status"], state["result"]["structured"]) == ("succeeded", {"said": "done"})
    assert state["receipt_id"] == step_jti
    [*_, dispatched, issued, executed] = house.entries()
    assert [dispatched["type"], issued["type"], executed["type"]] == ["STPDSP", "CRDISS", "STPEXE"]
    assert dispatched["facts"] == {"step_jti": step_jti, "transport": "remote"}
    assert issued["facts"] == {"step_jti": step_jti, "claimant": "p-crm", "jkt": KEY.jkt}
    assert not house.hands.calls


async def test_what_depends_on_a_remote_step_goes_on_with_its_result(house: House) -> None:
    after = step("b", depends_on=["a"], args={"text": {"$step": "a", "pointer": "/structured/said"}})
    view, step_jti = await begin(house, note("a"), after)
    await give(house, step_jti, await claim(house, step_jti), "for b")
    done = await house.until_settled(view["plan_id"])
    assert [state["status"] for state in done["steps"]] == ["succeeded", "succeeded"]
    assert house.hands.calls[0].args == {"text": "for b"}


async def test_one_hand_that_waits_very_often_keeps_no_other_from_its_work(house: House) -> None:
    waiting = [asyncio.create_task(house.claims.work(CRM, "crm", 1, 60.0)) for _ in range(WAITERS_MAX_OF_HAND)]
    await until(lambda: house.claims._waiters.total() == WAITERS_MAX_OF_HAND)
    assert await refused(house.claims.work(CRM, "crm", 1, 60.0)) is Reason.OVERLOADED
    assert await house.claims.work(STRANGER, "erp", 1, 0.0) == []
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not house.claims._waiters
    assert await house.claims.work(CRM, "crm", 1, 0.0) == []


async def test_a_gateway_that_stops_lets_go_of_who_waits_for_work(house: House) -> None:
    waiting = [asyncio.create_task(house.claims.work(CRM, "crm", 1, 60.0)) for _ in range(3)]
    await until(lambda: house.claims._waiters.total() == 3)
    house.claims.leave()
    assert await asyncio.gather(*waiting) == [[], [], []]
    assert await house.claims.work(CRM, "crm", 1, 60.0) == []


async def test_who_waits_for_a_plan_waits_for_the_remote_hand(house: House) -> None:
    asked = asyncio.create_task(house.plan(note("a")))
    [step_jti] = await house.claims.work(CRM, "crm", 1, 30.0)
    await give(house, step_jti, await claim(house, step_jti))
    assert (await asked)["status"] == "done"


async def test_a_step_is_handed_out_once_whoever_asks_again(house: House) -> None:
    _, step_jti = await begin(house)
    tried = await asyncio.gather(*(claim(house, step_jti) for _ in range(12)), return_exceptions=True)
    handed = [one for one in tried if isinstance(one, Handed)]
    assert len(handed) == 1
    assert {one.reason for one in tried if isinstance(one, Refused)} == {Reason.CLAIM_TAKEN}
    assert await refused(claim(house, step_jti)) is Reason.CLAIM_TAKEN
    assert house.codes().count("CRDISS") == 1


@pytest.mark.parametrize("who", [STRANGER, UNBOUND, AGENT, replace(CRM, tenant="other"), replace(CRM, hands=None)])
async def test_nobody_but_the_hand_itself_claims(house: House, who: Principal) -> None:
    _, step_jti = await begin(house)
    assert await refused(claim(house, step_jti, who)) is Reason.CLAIM_UNKNOWN
    if who.tenant == "other":
        assert await house.claims.work(who, "crm", 1, 0.0) == [], "their own hand of that name has no work"
    else:
        assert await refused(house.claims.work(who, "crm", 1, 0.0)) is Reason.AUTH_BOUND
    assert await refused(claim(house, "0" * 32)) is Reason.CLAIM_UNKNOWN
    assert await offered(house) == [step_jti]


async def test_whoever_asked_for_a_step_is_not_its_hand(house: House) -> None:
    both = replace(AGENT, roles=frozenset({Role.AGENT, Role.HAND}), hands=frozenset({"crm"}))
    house.directory.people["default", AGENT.id] = both
    _, step_jti = await begin(house)
    assert await refused(claim(house, step_jti, both)) is Reason.AUTH_FORBIDDEN


async def test_nobody_comes_and_the_step_surely_did_not_run(house: House) -> None:
    view, step_jti = await begin(house)
    pass_time(house, 301)
    assert await house.offer_upkeep.expire() == 1
    state = await shown(house, view)
    assert (state["status"], state["error"]["code"]) == ("failed", "claim.expired")
    assert await refused(claim(house, step_jti)) is Reason.CLAIM_OVER
    assert await house.offer_upkeep.expire() == 0


async def test_a_claim_after_the_time_is_refused_before_anybody_looked(house: House) -> None:
    view, step_jti = await begin(house)
    pass_time(house, 301)
    assert await refused(claim(house, step_jti)) is Reason.CLAIM_OVER
    assert (await shown(house, view))["error"]["code"] == "claim.expired"


async def test_a_result_that_never_comes_leaves_the_step_ambiguous_and_a_late_one_is_only_recorded(
    house: House,
) -> None:
    view, step_jti = await begin(house)
    handed = await claim(house, step_jti)
    pass_time(house, 31)
    assert await house.offer_upkeep.expire() == 1
    assert (await shown(house, view))["status"] == "ambiguous"
    for _ in range(3):
        assert await refused(give(house, step_jti, handed)) is Reason.RESULT_LATE
    state = await shown(house, view)
    assert (state["status"], state["error"]["code"]) == ("ambiguous", "hand.timeout")
    late = [entry for entry in house.entries() if entry["type"] == "RESREF"]
    assert len(late) == 1, "one late result is kept, however often it is sent"
    assert late[0]["reasons"] == ["result.late"]
    with house.log._engine.connect() as connection:
        fields = connection.execute(entries.select().where(entries.c.type == "RESREF")).one().fields
    assert '"result"' in fields


async def test_a_result_after_the_lease_is_late_before_anybody_looked(house: House) -> None:
    view, step_jti = await begin(house)
    handed = await claim(house, step_jti)
    pass_time(house, 30.5)
    assert await refused(give(house, step_jti, handed)) is Reason.RESULT_LATE
    assert (await shown(house, view))["status"] == "ambiguous"


async def test_one_result_is_taken_of_many(house: House) -> None:
    view, step_jti = await begin(house)
    handed = await claim(house, step_jti)
    tried = await asyncio.gather(*(give(house, step_jti, handed, n) for n in range(6)), return_exceptions=True)
    taken = [one for one in tried if isinstance(one, dict)]
    assert taken == [{"status": "succeeded"}]
    assert {one.reason for one in tried if isinstance(one, Refused)} == {Reason.RESULT_TAKEN}
    assert house.codes().count("STPEXE") == 1
    assert (await shown(house, view))["result"]["structured"] == {"said": tried.index(taken[0])}


async def test_another_token_than_the_one_that_was_handed_out_returns_nothing(house: House) -> None:
    view, step_jti = await begin(house)
    assert await refused(house.results.leased(step_jti, "a.b.c")) is Reason.CREDENTIAL_REFUSED
    handed = await claim(house, step_jti)
    plan = await house.pipeline.load(view["plan_id"])
    forged = house.pipeline.credentials.hand_out(
        plan.plan, "crm", "note", handed.binding, 60, house.pipeline.clock() + 1, jkt=KEY.jkt, jti=step_jti
    )
    assert forged != handed.credential
    assert await refused(house.results.leased(step_jti, forged)) is Reason.CREDENTIAL_REFUSED
    assert await refused(house.results.leased("0" * 32, handed.credential)) is Reason.CREDENTIAL_REFUSED


async def test_results_go_through_the_stage_of_every_hand(house: House) -> None:
    house.policy.obligations = Obligations(redact=("/structured/said",))
    view, step_jti = await begin(house)
    await give(house, step_jti, await claim(house, step_jti), "secret")
    assert (await shown(house, view))["result"]["structured"] == {"said": "[redacted]"}
    assert "RESRED" in house.codes()
    house.policy.obligations = Obligations()

    view, step_jti = await begin(house, note("a", "typed"))
    answer = await give(house, step_jti, await claim(house, step_jti), structured=None)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "schema.result")

    view, step_jti = await begin(house, note("a", "small"))
    answer = await give(house, step_jti, await claim(house, step_jti), "x" * 200)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "hand.result_too_large")

    view, step_jti = await begin(house)
    answer = await give(house, step_jti, await claim(house, step_jti), is_error=True)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "hand.failed")


async def frozen(house: House, scope: Scope, subject: str | None) -> None:
    operator = Principal("op", "default", "p-op", frozenset({Role.OPERATOR}))
    house.directory.people["default", "op"] = operator
    await house.freezing.set(operator, FreezeOrder(scope, subject))


async def test_a_freeze_withdraws_what_is_offered_and_leaves_what_is_claimed_ambiguous(house: House) -> None:
    open_view, _ = await begin(house)
    [first] = await offered(house)
    view = await house.submit(house.brain.payload(note("a")), wait=0)
    await house.until_settled(view["plan_id"])
    second = next(one for one in await offered(house) if one != first)
    handed = await claim(house, second)
    await frozen(house, Scope.HAND, "crm")
    assert await refused(claim(house, first)) is Reason.FREEZE_ACTIVE
    assert (await shown(house, open_view))["status"] == "cancelled"
    assert await house.offer_upkeep.stop() == 1
    state = await shown(house, view)
    assert (state["status"], state["error"]["code"]) == ("ambiguous", "freeze.active")
    assert await refused(give(house, second, handed)) is Reason.RESULT_LATE


async def test_a_result_of_a_frozen_context_is_not_taken(house: House) -> None:
    view, step_jti = await begin(house, context_id="ctx-f")
    handed = await claim(house, step_jti)
    await frozen(house, Scope.CONTEXT, "ctx-f")
    assert await refused(give(house, step_jti, handed)) is Reason.RESULT_LATE
    assert (await shown(house, view))["error"]["code"] == "freeze.active"


async def test_a_hand_that_is_frozen_or_revoked_gets_and_gives_nothing(house: House) -> None:
    view, step_jti = await begin(house)
    handed = await claim(house, step_jti)
    del house.directory.people["default", CRM.id]
    assert await refused(give(house, step_jti, handed)) is Reason.CREDENTIAL_REFUSED
    assert (await shown(house, view))["status"] == "running"


@pytest.mark.parametrize("how", ["revoked", "another role", "frozen"])
async def test_what_a_hand_says_that_it_did_is_on_record_once_when_it_may_no_longer_say_it(
    house: House, how: str
) -> None:
    view, step_jti = await begin(house)
    handed = await claim(house, step_jti)
    if how == "revoked":
        del house.directory.people["default", CRM.id]
    elif how == "another role":
        house.directory.people["default", CRM.id] = replace(CRM, roles=frozenset({Role.AGENT}))
    else:
        await frozen(house, Scope.PRINCIPAL, CRM.id)
    reason = Reason.FREEZE_ACTIVE if how == "frozen" else Reason.CREDENTIAL_REFUSED
    assert await refused(give(house, step_jti, handed, "I sent it")) is reason
    assert await refused(give(house, step_jti, handed, "I sent it again")) is reason
    assert (await shown(house, view))["status"] == "running", "its time is not over"
    [entry] = [one for one in house.entries() if one["type"] == "RESREF"]
    assert entry["reasons"] == [str(reason)]
    assert entry["facts"] == {"step_jti": step_jti, "claimant": "p-crm"}
    with house.log._engine.connect() as connection:
        fields = connection.execute(entries.select().where(entries.c.type == "RESREF")).one().fields
    assert '"result"' in fields, "what it says is kept, sealed"


async def test_a_claim_is_refused_once_what_let_the_step_go_is_gone(house: House) -> None:
    view, step_jti = await begin(house)
    house.policy.digest = "e" * 64
    assert await refused(claim(house, step_jti)) is Reason.POLICY_OUTDATED
    assert (await shown(house, view))["status"] == "cancelled"

    view, step_jti = await begin(house)
    house.hands.manifests["crm"] = replace(REMOTE, labels=("other",))
    assert await refused(claim(house, step_jti)) is Reason.HAND_DRIFTED
    assert (await shown(house, view))["error"]["code"] == "hand.drifted"
    equip(house.hands)

    view, step_jti = await begin(house)
    ada = house.directory.people.pop(("default", AGENT.id))
    assert await refused(claim(house, step_jti)) is Reason.AUTH_FORBIDDEN
    assert (await shown(house, view))["status"] == "cancelled"
    house.directory.people["default", AGENT.id] = ada


async def test_a_hand_pinned_anew_after_the_claim_acted_and_its_answer_is_unusable(house: House) -> None:
    _, step_jti = await begin(house)
    handed = await claim(house, step_jti)
    house.hands.manifests["crm"] = replace(REMOTE, labels=("other",))
    answer = await give(house, step_jti, handed)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "hand.drifted")


async def test_a_step_that_people_approved_is_offered_then_and_no_sooner(house: House) -> None:
    view = await house.submit(house.brain.payload(note("a", "write")), wait=0)
    await house.until_settled(view["plan_id"])
    assert await offered(house) == []
    await house.approvals.answer((await shown(house, view))["approval_id"], APPROVER, answer=Answer.APPROVE)
    await house.until_settled(view["plan_id"])
    [step_jti] = await offered(house)
    await give(house, step_jti, await claim(house, step_jti))
    assert (await shown(house, view))["status"] == "succeeded"


async def test_policy_that_wants_a_jail_lets_no_remote_hand_have_the_step(house: House) -> None:
    house.policy.obligations = Obligations(jail_profile="strict")
    view = await house.plan(note("a"), step("b", depends_on=["a"]))
    assert [one["status"] for one in view["steps"]] == ["failed", "skipped"]
    assert view["steps"][0]["error"]["code"] == "policy.obligation"
    assert await offered(house) == []


@pytest.mark.limits
async def test_a_claim_that_the_log_cannot_take_hands_out_nothing(house: House) -> None:
    view, step_jti = await begin(house)
    with locked(house):
        assert await refused(claim(house, step_jti)) is Reason.LOG_UNAVAILABLE
    assert "CRDISS" not in house.codes()
    assert (await shown(house, view))["status"] == "running"


async def test_a_restart_leaves_offered_and_claimed_steps_to_their_hands(house: House, tmp_path: Path) -> None:
    open_view, _ = await begin(house)
    view = await house.submit(house.brain.payload(note("a"), step("b", depends_on=["a"])), wait=0)
    await house.until_settled(view["plan_id"])
    first, second = await offered(house)
    handed = await claim(house, second)
    brain = house.brain
    await close_house(house)
    again = await remote_house(tmp_path, brain=brain)
    try:
        await recover(again.pipeline, first=True)
        assert (await shown(again, open_view))["status"] == "running"
        assert await offered(again) == [first]
        await give(again, second, handed)

        async def ended() -> list[str]:
            done = await again.until_settled(view["plan_id"])
            return [one["status"] for one in done["steps"]] if done["status"] == "done" else []

        assert await until(ended) == ["succeeded", "succeeded"]
        await give(again, first, await claim(again, first))
        assert (await shown(again, open_view))["status"] == "succeeded"
    finally:
        await close_house(again)


async def test_a_result_that_comes_while_its_plan_is_about_to_rest_is_gone_on_from(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan looks whether its step has ended elsewhere, and has not seen it yet when it is woken."""
    look, given = Pipeline._caught_up, asyncio.Event()

    async def late(self: Pipeline, plan: PlanState) -> bool:
        found = await look(self, plan)
        if not given.is_set():
            given.set()
            [step_jti] = await offered(house)
            await give(house, step_jti, await claim(house, step_jti))
        return found

    monkeypatch.setattr(Pipeline, "_caught_up", late)
    view = await house.submit(house.brain.payload(note("a"), step("b", depends_on=["a"])), wait=0)

    async def ended() -> list[str]:
        done = await house.until_settled(view["plan_id"])
        return [one["status"] for one in done["steps"]] if given.is_set() else []

    assert await until(ended) == ["succeeded", "succeeded"]


async def test_another_gateway_claims_takes_the_result_and_goes_on(house: House, tmp_path: Path) -> None:
    other = await remote_house(tmp_path, brain=house.brain, gateway="gw-other", journal=tmp_path / "other")
    try:
        view = await house.submit(house.brain.payload(note("a"), step("b", depends_on=["a"])), wait=0)
        waiting = asyncio.create_task(house.pipeline._until_rest(await house.pipeline.load(view["plan_id"])))
        [step_jti] = await other.claims.work(CRM, "crm", 1, 30.0)
        tried = await asyncio.gather(claim(other, step_jti), claim(house, step_jti), return_exceptions=True)
        [handed] = [one for one in tried if isinstance(one, Handed)]
        assert len([one for one in tried if isinstance(one, Refused)]) == 1
        await give(other, step_jti, handed)
        done = (await waiting).view()
        assert [one["status"] for one in done["steps"]] == ["succeeded", "succeeded"]
    finally:
        await close_house(other)


async def test_a_gateway_with_a_step_of_its_own_sees_that_the_remote_one_ended_elsewhere(
    house: House, tmp_path: Path
) -> None:
    """Whoever records last goes on: else each would wait for what the other knows."""
    other = await remote_house(tmp_path, brain=house.brain, gateway="gw-other", journal=tmp_path / "other")
    let_go = asyncio.Event()

    async def slow(call: object) -> HandResult:
        await let_go.wait()
        return HandResult(({"type": "text", "text": "x"},), None)

    house.hands.behaviour["small"] = slow
    try:
        both = step("c", depends_on=["a", "b"])
        view = await house.submit(house.brain.payload(note("a"), step("b", "small"), both), wait=0)
        [step_jti] = await other.claims.work(CRM, "crm", 1, 30.0)
        await give(other, step_jti, await claim(other, step_jti))
        let_go.set()
        done = await house.until_settled(view["plan_id"])
        assert [one["status"] for one in done["steps"]] == ["succeeded"] * 3
    finally:
        await close_house(other)


async def test_a_plan_whose_step_another_gateway_ended_and_left_is_taken_up_by_its_own(
    house: House, tmp_path: Path
) -> None:
    other = await remote_house(tmp_path, brain=house.brain, gateway="gw-other", journal=tmp_path / "other")
    try:
        view, step_jti = await begin(house, note("a"), step("b", depends_on=["a"]))
        handed = await claim(other, step_jti)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Pipeline, "resume", lambda pipeline, plan: None)  # it is killed right there
            await give(other, step_jti, handed)
        assert await house.offer_upkeep.go_on() == 0, "it has some seconds to go on"
        pass_time(house, 6)
        assert await house.offer_upkeep.go_on() == 1
        await recover(house.pipeline)
        done = await house.until_settled(view["plan_id"])
        assert [one["status"] for one in done["steps"]] == ["succeeded", "succeeded"]
    finally:
        await close_house(other)


async def test_a_row_that_was_made_or_put_back_outside_the_gateway_offers_nothing(house: House) -> None:
    view, step_jti = await begin(house)
    with house.log._engine.begin() as connection:
        before = connection.exec_driver_sql("SELECT * FROM offers").one()
    handed = await claim(house, step_jti)
    with house.log._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM offers")
        connection.exec_driver_sql(f"INSERT INTO offers VALUES ({','.join('?' * len(before))})", tuple(before))
    assert await refused(claim(house, step_jti)) is Reason.CLAIM_OVER, "the log knows of the claim"
    assert await refused(house.results.leased(step_jti, handed.credential)) is Reason.CREDENTIAL_REFUSED
    with house.log._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE offers SET due_at = due_at + 1000")
    assert await refused(claim(house, step_jti)) is Reason.INTERNAL
    assert (await shown(house, view))["status"] == "running"
