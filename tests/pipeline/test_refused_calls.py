"""A person's refusal stands for the same call: an agent that asks again and again finds nobody who slips."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from audit.database import changing_schema
from gateway.client_steps.collecting import Call
from gateway.errors import Refused, Unavailable
from gateway.ingress.client_calls import JudgedCall, told
from gateway.model import UNNAMED_CONTEXT, Answer, ApprovalStatus, Decision, Effect, Obligations, Principal
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.recovery import recover
from tests.pipeline.clients import bash, client_house, equip
from tests.pipeline.house import (
    AGENT,
    APPROVER,
    OTHER,
    SECOND,
    House,
    SimulatedPolicy,
    close_house,
    open_house,
    step,
)
from tests.pipeline.remote import Clock, pass_time
from tests.pipeline.spending import as_after_a_restart, in_context, of_principal, pay
from tests.until import until

RM = Call("shell", "Bash", {"command": "rm -r /tmp/x"})
TTL_SECONDS = 3600
CONTEXT = "ctx-1"


@pytest.fixture
async def house(tmp_path: Path, database: dict[str, str]) -> AsyncIterator[House]:
    opened = await client_house(tmp_path, database=database)
    yield asking(opened)
    await close_house(opened)


def asking(house: House) -> House:
    equip(house)
    house.policy.effects = {"Bash": Effect.ASK, "write": Effect.ASK}
    house.pipeline.clock = Clock()
    return house


async def judge(
    house: House, call: Call = RM, *, who: Principal = AGENT, context: str = CONTEXT, wait: float = 0.0
) -> JudgedCall:
    [judged] = await house.client_calls.judge(who, context, [call], wait_seconds=wait)
    return judged


async def refuse(house: House, approval_id: str, who: Principal = APPROVER) -> None:
    await house.approvals.answer(approval_id, who, answer=Answer.REFUSE)


async def refused(house: House, call: Call = RM, *, context: str = CONTEXT) -> JudgedCall:
    """A call that was asked about, and refused."""
    held = await judge(house, call, context=context)
    await refuse(house, held.step["approval_id"])
    await house.until_settled(held.plan_id)
    [step_view] = (await house.pipeline.view(held.plan_id, AGENT))["steps"]
    return JudgedCall(held.plan_id, step_view, go=False)


async def crash(*_: object) -> None:
    """Where the gateway ends right after the answer, and has not looked at the other plans."""


def requests(house: House) -> dict[str, str]:
    """Id of a request -> its state."""
    with house.store._engine.connect() as connection:
        rows = connection.execute(text("SELECT approval_id, status FROM approvals"))
        return {row.approval_id: row.status for row in rows}


def asked(house: House) -> int:
    """How often people were asked."""
    return house.codes().count("APRREQ")


async def ask(house: House, *actions: Mapping[str, Any], context: str = CONTEXT) -> list[Mapping[str, Any]]:
    """The steps of a plan that a brain signs."""
    view = await house.plan(*actions, context_id=context)
    return list(view["steps"])


async def test_an_agent_in_a_loop_has_people_asked_once(house: House) -> None:
    first = await refused(house)
    for _ in range(50):
        again = await judge(house)
        assert (again.go, str(again.status)) == (False, "denied")
        assert told(again, "http://h") == told(first, "http://h")
    assert asked(house) == 1
    assert told(first, "http://h") == (
        "approval.refused: A person refused this call.\ntest.rule: about Bash\nThis call was not made."
    )


async def test_a_refused_plan_is_read_once_however_many_of_its_steps_are_asked_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [bash(f"s{number}", str(number)) for number in range(12)]
    for one in await ask(house, *many):
        await refuse(house, one["approval_id"])
    real, read = house.pipeline.revive, []

    async def revive(self: Any, plan_id: str) -> Any:
        read.append(plan_id)
        return await real(plan_id)

    monkeypatch.setattr(type(house.pipeline), "revive", revive)
    again = await ask(house, *many)
    assert {one["status"] for one in again} == {"denied"}
    assert len(read) == len(set(read)) == 1


async def test_the_entry_of_a_denial_names_the_request_that_it_rests_on(house: House) -> None:
    first = await refused(house)
    for _ in range(2):  # the second rests on what a person said, not on the first denial
        again = await judge(house)
        entry = house.entries()[-1]
        assert (entry["type"], entry["plan_id"], entry["effect"]) == ("POLDNY", again.plan_id, "ask")
        assert entry["reasons"] == ["test.rule", "approval.refused"]
        assert entry["facts"]["approval"] == first.step["approval_id"]
        assert again.step["error"]["approval"] == first.step["approval_id"]
        assert "approval_id" not in again.step, "nobody can answer it"
    [state] = await house.pipeline.revive(again.plan_id) or ()
    assert state.error is not None
    assert state.error.facts == {"approval": first.step["approval_id"]}, "and so it says after a restart"


@pytest.mark.parametrize(
    "spelling",
    [
        '{"text":"a","n":1}',
        '{"n":1.0,"text":"a"}',
        '{"n": 1e0, "text": "\\u0061"}',
        ' {"text" : "a" ,\n"n" : 10E-1}',
    ],
    ids=["plain", "order", "escapes", "spaces"],
)
async def test_the_same_arguments_in_another_spelling_are_the_same_call(house: House, spelling: str) -> None:
    [held] = await ask(house, step("w", "write", args={"text": "a", "n": 1}))
    await refuse(house, held["approval_id"])
    claims = house.brain.payload(step("w", "write", args={"text": "SPELLED"}), context_id=CONTEXT)
    raw = json.dumps(claims).replace('{"text": "SPELLED"}', spelling)
    view = await house.submit(house.brain.sign(raw.encode()))
    assert view["steps"][0]["error"]["code"] == "approval.refused"
    assert asked(house) == 1


@pytest.mark.parametrize(
    ("who", "context", "call"),
    [
        (AGENT, CONTEXT, Call("shell", "Bash", {"command": "ls"})),
        (AGENT, CONTEXT, Call("shell", "Bash", {"command": "rm -r  /tmp/x"})),
        (AGENT, "ctx-2", RM),
        (OTHER, UNNAMED_CONTEXT + "1", RM),
    ],
    ids=["another call", "almost the same", "another context", "another principal"],
)
async def test_another_call_is_asked_about(house: House, who: Principal, context: str, call: Call) -> None:
    await refused(house)
    assert (await judge(house, call, who=who, context=context)).held


async def test_another_action_of_the_same_arguments_is_asked_about(house: House) -> None:
    house.policy.effects["typed"] = Effect.ASK
    [held] = await ask(house, step("a", "write"))
    await refuse(house, held["approval_id"])
    [other] = await ask(house, step("a", "typed"))
    assert other["status"] == "held"


async def test_a_tenant_does_not_answer_for_another_one_whose_people_have_the_same_names(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = replace(AGENT, tenant="other")
    house.directory.people["other", AGENT.id] = stranger
    house.directory.issuers["other", "brain"] = replace(house.brain.registration(), tenant="other")
    monkeypatch.setattr(house.hands, "manifest", lambda _, hand: house.hands.manifests.get(hand))
    [held] = await ask(house, bash("a"))
    await refuse(house, held["approval_id"])
    plan = house.brain.payload(bash("a"), tenant="other", context_id=CONTEXT)
    view = await house.submit(plan, caller=stranger)
    assert view["steps"][0]["status"] == "held"


@pytest.mark.parametrize("first", ["its own", "in another's name"])
async def test_who_speaks_for_others_and_the_others_are_different_callers(house: House, first: str) -> None:
    speaking = house.brain.registration(speaks_for=frozenset({OTHER.id}))
    house.directory.issuers["default", speaking.id] = speaking
    one = house.brain.payload(bash("a"), context_id=UNNAMED_CONTEXT + "1")
    other = house.brain.payload(bash("a"), sub=OTHER.id, context_id=UNNAMED_CONTEXT + "2")
    if first == "in another's name":
        one, other = other, one
    view = await house.submit(one)
    await refuse(house, view["steps"][0]["approval_id"])
    assert (await house.submit(other))["steps"][0]["status"] == "held"
    again = {**one, "jti": "another"}
    assert (await house.submit(again))["steps"][0]["error"]["code"] == "approval.refused"


@pytest.mark.parametrize("before", [[], [APPROVER]], ids=["nobody", "one of two"])
async def test_one_refusal_stands_whoever_else_approved(house: House, before: list[Principal]) -> None:
    house.policy.obligations = Obligations(quorum=2)
    held = await judge(house)
    for who in before:
        await house.approvals.answer(held.step["approval_id"], who, answer=Answer.APPROVE)
    await refuse(house, held.step["approval_id"], SECOND)
    again = await judge(house)
    assert (str(again.status), again.step["error"]["code"]) == ("denied", "approval.refused")


async def test_the_same_call_that_waits_too_is_told_the_same(house: House) -> None:
    held = await judge(house)
    waiting = [asyncio.create_task(judge(house, wait=30.0)) for _ in range(3)]
    await until(lambda: sum(map(len, house.pipeline.followers._queues.values())) == 3)
    await refuse(house, held.step["approval_id"])
    for one in await asyncio.gather(*waiting):
        assert (one.plan_id, str(one.status)) == (held.plan_id, "denied")
    assert str((await judge(house)).status) == "denied"
    assert asked(house) == 1


class Paused(SimulatedPolicy):
    """Decides when it is let."""

    def __init__(self) -> None:
        super().__init__(effects={"Bash": Effect.ASK})
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        self.asked.set()
        await self.go.wait()
        return await super().decide(policy_input)


async def test_a_call_that_is_being_judged_while_a_person_refuses_the_same_is_not_asked_about(house: House) -> None:
    [held] = await ask(house, bash("a"))
    house.pipeline.engine = paused = Paused()
    racing = asyncio.create_task(ask(house, bash("a")))
    await paused.asked.wait()
    await refuse(house, held["approval_id"])
    paused.go.set()
    [other] = await racing
    assert other["error"]["code"] == "approval.refused"
    assert asked(house) == 1


async def test_a_refusal_ends_what_waits_about_the_same_call_and_nothing_else(house: House) -> None:
    [first], [twin], [two, other] = (
        await ask(house, bash("a")),
        await ask(house, bash("b")),
        await ask(house, bash("c"), bash("d", "pwd")),
    )
    [elsewhere] = await ask(house, bash("a"), context="ctx-2")
    await refuse(house, first["approval_id"])
    for waits in (twin, two):
        await until(lambda waits=waits: requests(house)[waits["approval_id"]] == "voided")
        with pytest.raises(Refused) as caught:
            await house.approvals.answer(waits["approval_id"], APPROVER, answer=Answer.APPROVE)
        assert caught.value.reason in {Reason.APPROVAL_CLOSED, Reason.APPROVAL_VOIDED}
    assert requests(house)[other["approval_id"]] == requests(house)[elsewhere["approval_id"]] == "open"
    ended = [one for one in house.entries() if one["type"] == "POLDNY" and one["step_id"] in {"b", "c"}]
    assert [one["facts"]["approval"] for one in ended] == [first["approval_id"]] * 2


async def test_nobody_approves_what_was_refused_though_it_was_not_looked_at_since(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(house.approvals), "_end_same", crash)
    [first], [twin] = await ask(house, bash("a")), await ask(house, bash("b"))
    await refuse(house, first["approval_id"])
    assert requests(house)[twin["approval_id"]] == "open"
    with pytest.raises(Refused) as caught:
        await house.approvals.answer(twin["approval_id"], APPROVER, answer=Answer.APPROVE)
    assert caught.value.reason is Reason.APPROVAL_VOIDED
    await until(lambda: requests(house)[twin["approval_id"]] == "voided")
    assert house.hands.calls == []


async def test_it_may_be_asked_again_after_as_long_as_a_request_may_wait(house: House) -> None:
    held = await judge(house)
    pass_time(house, TTL_SECONDS - 60)
    await refuse(house, held.step["approval_id"])
    for seconds in (60, TTL_SECONDS - 120):  # counted from the answer, and no denial makes it longer
        pass_time(house, seconds)
        assert str((await judge(house)).status) == "denied"
    pass_time(house, 120)
    assert (await judge(house)).held
    assert asked(house) == 2


async def test_it_stands_after_a_restart(tmp_path: Path, database: dict[str, str]) -> None:
    house = asking(await client_house(tmp_path, database=database))
    await refused(house)
    await close_house(house)
    again = asking(await client_house(tmp_path, database=database, brain=house.brain))
    assert str((await judge(again)).status) == "denied"
    assert asked(again) == 1
    await close_house(again)


async def test_gateways_of_one_database_know_each_others_refusals(tmp_path: Path, database: dict[str, str]) -> None:
    one = asking(await open_house(tmp_path, gateway="gw-one", database=database))
    two = asking(await open_house(tmp_path, gateway="gw-two", brain=one.brain, database=database))
    held = await judge(one)
    await refuse(two, held.step["approval_id"])
    for house in (one, two):
        assert str((await judge(house)).status) == "denied"
    assert asked(one) == 1
    await close_house(two)
    await close_house(one)


async def test_a_refusal_and_the_end_of_its_step_are_on_record_together_or_not_at_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, append, records = await judge(house), house.log.append, []

    async def once(item: Append) -> Any:
        records.append([str(draft.type) for draft in item.entries])
        if len(records) == 1:
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        return await append(item)

    monkeypatch.setattr(house.log, "append", once)
    with pytest.raises(Unavailable):
        await refuse(house, held.step["approval_id"])
    assert (await house.approvals.show(held.step["approval_id"], APPROVER))["status"] == "open"
    await recover(house.pipeline)
    assert (await judge(house)).held
    await refuse(house, held.step["approval_id"])
    assert records == [["APRREF", "POLDNY"]] * 2
    assert (await judge(house)).step["error"] == {
        "code": "approval.refused",
        "text": "A person refused this call.",
        "approval": held.step["approval_id"],
    }


@pytest.mark.parametrize("ended", [ApprovalStatus.EXPIRED, ApprovalStatus.VOIDED])
async def test_a_request_that_nobody_refused_is_no_refusal(house: House, ended: ApprovalStatus) -> None:
    held = await judge(house)
    if ended is ApprovalStatus.EXPIRED:
        pass_time(house, TTL_SECONDS + 1)
        assert await house.approval_upkeep.expire() == 1
    else:
        assert await house.approval_upkeep.withdraw(held.plan_id, Reason.HAND_CANCELLED)
    await house.until_settled(held.plan_id)
    assert (await house.approvals.show(held.step["approval_id"], APPROVER))["status"] == ended
    assert (await judge(house)).held


@pytest.mark.parametrize("effect", [Effect.ALLOW, Effect.DENY])
async def test_what_policy_decides_without_people_is_no_question_of_what_they_said(
    house: House, effect: Effect
) -> None:
    await refused(house)
    house.policy.digest, house.policy.effects = "e" * 64, {"Bash": effect}
    again = await judge(house)
    assert again.go is (effect is Effect.ALLOW)
    if effect is Effect.DENY:
        assert again.step["error"] == {"code": "policy.denied", "text": "Policy denies this step."}


async def test_it_stands_under_another_policy_that_asks_and_another_manifest(house: House) -> None:
    await refused(house)
    house.policy.digest, house.policy.obligations = "e" * 64, Obligations(quorum=2)
    house.hands.manifests["shell"] = replace(house.hands.manifests["shell"], labels=("new",))
    assert (await judge(house)).step["error"]["code"] == "approval.refused"


async def test_a_request_that_is_judged_anew_is_not_asked_anew_where_the_same_call_was_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(house.approvals), "_end_same", crash)
    [one], [other] = await ask(house, bash("a")), await ask(house, bash("a"))
    await refuse(house, one["approval_id"])
    shown = await house.approvals.show(other["approval_id"], APPROVER)
    assert shown["status"] == "open", "it was asked before"
    house.policy.digest = "e" * 64
    assert await house.approval_upkeep.redecide() == 1
    [state] = (await house.until_settled(shown["plan_id"]))["steps"]
    assert (state["status"], state["error"]["approval"]) == ("denied", one["approval_id"])
    assert (await house.approvals.show(other["approval_id"], APPROVER))["status"] == "voided"
    assert asked(house) == 2


async def test_it_ends_that_step_of_a_plan_and_what_depends_on_it(house: House) -> None:
    [held] = await ask(house, step("w", "write", args={"text": "a"}))
    await refuse(house, held["approval_id"])
    steps = await ask(
        house,
        step("a"),
        step("x", "write", args={"text": {"$step": "a", "pointer": "/structured/said"}}, depends_on=["a"]),
        step("after", depends_on=["x"]),
        step("y", "write", args={"text": "another"}),
    )
    assert [one["status"] for one in steps] == ["succeeded", "denied", "skipped", "held"]
    assert steps[1]["error"]["code"] == "approval.refused"


async def test_it_spends_nothing_and_takes_no_room_for_requests(tmp_path: Path) -> None:
    house = asking(await client_house(tmp_path, server={"approvals_max_open_per_principal": 1}))
    [held] = await ask(house, pay("p", 10))
    await refuse(house, held["approval_id"])
    await house.until_settled((await house.approvals.show(held["approval_id"], APPROVER))["plan_id"])
    assert [one["status"] for one in await ask(house, bash("other"))] == ["held"]
    for _ in range(2):
        [again] = await ask(house, pay("p", 10))
        assert again["error"]["code"] == "approval.refused"
        await ask(house, step("c"))
        assert in_context(house)[2] == of_principal(house)[2] == 0
        as_after_a_restart(house)
    await close_house(house)


@pytest.mark.parametrize("first", [CONTEXT, UNNAMED_CONTEXT + "1"], ids=["named", "unnamed"])
async def test_a_client_that_names_no_context_is_not_asked_about_in_a_new_one(house: House, first: str) -> None:
    await refused(house, context=first)
    again = await judge(house, context=UNNAMED_CONTEXT + "2")
    assert again.step["error"]["code"] == "approval.refused"
    assert (await judge(house, context="ctx-2")).held


async def test_what_was_erased_is_not_known_to_be_the_same_and_nothing_of_it_is_left(house: House) -> None:
    call = Call("shell", "Bash", {"command": "write to mia@example.org"})
    await refused(house, call)
    await judge(house, call)
    with house.log._engine.begin() as connection, changing_schema(connection):
        connection.exec_driver_sql("DELETE FROM payloads")
    with house.log._engine.connect() as connection:
        rows = [
            str(connection.execute(text(f"SELECT * FROM {table}")).all())
            for table in ("entries", "plans", "steps", "approvals", "approval_answers")
        ]
    digest = hashlib.sha256(b'{"command":"write to mia@example.org"}').hexdigest()
    assert not [row for row in rows if "mia@example.org" in row or digest in row]
    assert (await judge(house, call)).held


@pytest.mark.parametrize("tampered", ["a status", "a step"])
async def test_a_row_that_somebody_else_wrote_refuses_nothing(house: House, tampered: str) -> None:
    if tampered == "a status":
        held = await judge(house)
        await house.approvals.answer(held.step["approval_id"], APPROVER, answer=Answer.APPROVE)
        await house.until_settled(held.plan_id)
        assert (await judge(house)).go
        statements = ["UPDATE approvals SET status = 'refused'", "UPDATE approval_answers SET answer = 'refuse'"]
    else:
        await refused(house)
        statements = ["UPDATE steps SET reasons = '[]'"]
    with house.log._engine.begin() as connection, changing_schema(connection):
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount
    assert (await judge(house)).held


async def test_where_the_record_cannot_be_read_nobody_is_asked_and_nothing_goes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refused(house)

    async def away(*_: Any) -> None:
        raise Unavailable(Reason.LOG_UNAVAILABLE)

    with monkeypatch.context() as patched:
        patched.setattr(type(house.store), "refused", away)
        with pytest.raises(Unavailable) as failed:
            await judge(house)
    assert failed.value.reason is Reason.LOG_UNAVAILABLE
    assert asked(house) == 1
    await recover(house.pipeline)
    assert str((await judge(house)).status) == "denied"
