"""Calls that a client is about to make: judged together, held for people, and passed once when they are asked again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.calls import HandResult
from gateway.client_steps.collecting import Call
from gateway.client_steps.known_calls import KnownCalls
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.freeze import Scope
from gateway.ingress.claude_code import ClaudeCodeHooks, Hook
from gateway.ingress.client_calls import JudgedCall, told
from gateway.model import Answer, Effect, Principal
from gateway.ports import StoredCall
from gateway.reasons import Reason
from tests.freeze.support import freeze
from tests.pipeline.clients import SHELL, bash, client_house
from tests.pipeline.house import AGENT, APPROVER, OTHER, House, close_house, locked
from tests.pipeline.remote import Clock
from tests.until import until

LS = Call("shell", "Bash", {"command": "ls"})
RM = Call("shell", "Bash", {"command": "rm -r /tmp/x"})


@pytest.fixture
async def house(tmp_path: Path, database: dict[str, str]) -> AsyncIterator[House]:
    opened = await client_house(tmp_path, database=database)
    opened.pipeline.clock = Clock()
    yield opened
    await close_house(opened)


async def judge(
    house: House, *calls: Call, who: Principal = AGENT, context: str = "ctx-1", wait: float = 0.0
) -> list[JudgedCall]:
    return await house.client_calls.judge(who, context, calls, wait_seconds=wait)


async def asked(house: House, context: str, call: Call) -> StoredCall:
    found = await house.client_calls.collecting.find(AGENT, context, call)
    assert found is not None
    return found


async def approve(house: House, call: JudgedCall) -> None:
    await house.approvals.answer(call.step["approval_id"], APPROVER, answer=Answer.APPROVE)
    await house.until_settled(call.plan_id)


async def test_calls_that_come_together_are_one_plan(house: House) -> None:
    house.policy.effects = {"write": Effect.DENY}
    judged = await judge(house, LS, Call("shell", "write", {"text": "a"}), RM)
    assert [call.go for call in judged] == [True, False, True]
    assert len({call.plan_id for call in judged}) == 1
    assert house.codes().count("PLNRCV") == 1
    assert told(judged[1], "http://h") == (
        "policy.denied: Policy denies this step.\ntest.rule: about write\nThis call was not made."
    )


async def test_a_call_that_people_approved_passes_once_when_it_is_asked_again(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    assert (held.go, held.held) == (False, True)
    assert f"approval {held.step['approval_id']} at http://h/approvals" in told(held, "http://h")
    [again] = await judge(house, RM)
    assert (again.plan_id, again.held) == (held.plan_id, True)
    assert house.codes().count("APRREQ") == 1
    await approve(house, held)
    [passed] = await judge(house, RM)
    assert (passed.go, passed.plan_id) == (True, held.plan_id)
    [new] = await judge(house, RM)
    assert (new.go, new.held) == (False, True)
    assert new.plan_id != held.plan_id


@pytest.mark.parametrize(
    ("who", "context", "call"),
    [
        (AGENT, "ctx-1", LS),
        (AGENT, "ctx-2", RM),
        (OTHER, "ctx-3", RM),
        (AGENT, "ctx-1", Call("shell", "Bash", {"command": "rm -r  /tmp/x"})),
    ],
    ids=["another call", "another context", "another principal", "almost the same"],
)
async def test_an_approval_is_for_that_call_of_that_principal_in_that_context(
    house: House, who: Principal, context: str, call: Call
) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    await approve(house, held)
    [other] = await judge(house, call, who=who, context=context)
    assert (other.go, other.held) == (False, True)
    assert (await judge(house, RM))[0].go


@pytest.mark.parametrize("anywhere", [True, False])
async def test_an_approval_of_another_context_counts_where_the_client_names_none(
    house: House, *, anywhere: bool
) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    await approve(house, held)
    [again] = await house.client_calls.judge(AGENT, "ctx-9", [RM], anywhere=anywhere)
    assert (again.go, again.plan_id == held.plan_id) == (anywhere, anywhere)


@pytest.mark.parametrize("context", [None, "ctx-1"])
async def test_what_was_approved_for_somebody_else_is_no_call_of_whoever_sent_it(
    house: House, context: str | None
) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    speaking = house.brain.registration(speaks_for=frozenset({OTHER.id}))
    house.directory.issuers["default", speaking.id] = speaking
    plan = house.brain.payload(bash("a", "rm -r /tmp/x"), sub=OTHER.id, context_id="ctx-1")
    view = await house.submit(plan, caller=AGENT)
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    await house.until_settled(view["plan_id"])
    assert await house.client_calls.collecting.find(AGENT, context, RM) is None
    assert await house.client_calls.collecting.take(AGENT, context, RM) is None


async def test_an_approval_is_not_used_up_for_a_client_that_leaves_while_another_call_waits(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK, "write": Effect.ASK}
    write = Call("shell", "write", {"text": "a"})
    [held] = await judge(house, RM)
    await approve(house, held)
    waiting = asyncio.create_task(judge(house, RM, write, wait=30.0))
    await until(lambda: house.codes().count("APRREQ") == 2 and bool(house.pipeline.followers._queues))
    waiting.cancel()
    await asyncio.wait([waiting])
    [again] = await judge(house, RM)
    assert (again.go, again.plan_id) == (True, held.plan_id)


async def test_a_step_is_known_by_what_its_client_calls_it_also_once_it_is_another_plans(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, replace(RM, id="toolu_1"))
    assert held.step["id"] == "toolu_1"
    await approve(house, held)
    [passed] = await judge(house, replace(RM, id="toolu_2"))
    assert (passed.go, passed.plan_id) == (True, held.plan_id)
    found = await house.client_calls.collecting.rows.released(AGENT, ["toolu_1", "toolu_2"])
    assert {(one.plan_id, one.step_id) for one in found.values()} == {(held.plan_id, "toolu_1")}
    assert len(found) == 2


async def test_a_name_means_one_step_and_giving_it_once_more_changes_nothing(house: House) -> None:
    """Both databases refuse the second row, and say whose it is."""
    first, second = [(await judge(house, replace(LS, id=name)))[0] for name in ("toolu_1", "toolu_2")]
    known = KnownCalls(house.client_calls.collecting, house.client_reports)
    for _ in range(2):
        await known.name(AGENT, "batch:1", first.plan_id, "toolu_1")
    with pytest.raises(Refused) as refused:
        await known.name(AGENT, "batch:1", second.plan_id, "toolu_2")
    assert refused.value.reason is Reason.REQUEST_CONFLICT
    assert (await known.find(AGENT, ["batch:1"]))["batch:1"].plan_id == first.plan_id


async def test_what_was_approved_stays_so_where_the_rest_of_its_message_is_no_plan(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    await approve(house, held)
    with pytest.raises(Refused) as refused:
        await judge(house, RM, Call("shell", "Bash", {"command": "ls"}, id="no step"))
    assert refused.value.reason is Reason.SCHEMA_PLAN
    assert (await judge(house, RM))[0].go


async def test_an_approved_call_that_was_made_and_reported_passes_no_second_time(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    await approve(house, held)
    # Whoever follows the plan by its id sees that it was released, makes it, and says so.
    await house.client_reports.report(AGENT, held.plan_id, held.step["id"], HandResult(()))
    [again] = await judge(house, RM)
    assert (again.go, again.held) == (False, True)
    assert again.plan_id != held.plan_id


async def test_of_many_that_ask_again_at_once_one_goes(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    await approve(house, held)
    judged = await asyncio.gather(*(judge(house, RM) for _ in range(6)))
    assert sum(call.go for [call] in judged) == 1


async def test_as_many_go_at_once_as_were_asked_about_at_once_and_approved(house: House) -> None:
    """And an approval is not hidden behind a later request that waits."""
    house.policy.effects = {"Bash": Effect.ASK}
    held = [call for [call] in await asyncio.gather(*(judge(house, RM) for _ in range(3)))]
    assert len({call.plan_id for call in held}) == 3
    for call in held[:2]:
        await approve(house, call)
    judged = [call for [call] in await asyncio.gather(*(judge(house, RM) for _ in range(3)))]
    assert sum(call.go for call in judged) == 2
    assert house.codes().count("APRREQ") == 3, "the third waits as it did"
    [late] = [call for call in held if call.plan_id not in {one.plan_id for one in judged if one.go}]
    await approve(house, late)
    assert [call.go for call in await judge(house, RM)] == [True]


async def test_a_name_that_means_another_step_keeps_no_approval_from_counting(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    for context in ("ctx-1", "ctx-2", "ctx-3"):
        [held] = await judge(house, replace(RM, id=f"toolu_{context}"), context=context)
        await approve(house, held)
        [passed] = await judge(house, replace(RM, id="toolu_again"), context=context)
        assert (passed.go, passed.plan_id) == (True, held.plan_id)


async def test_the_same_call_twice_in_one_message_needs_two_approvals(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    await approve(house, held)
    assert [call.go for call in await judge(house, RM, RM)] == [True, False]


async def test_whoever_waits_is_told_as_soon_as_a_person_answered_and_it_counts_as_the_one_pass(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    waiting = asyncio.create_task(judge(house, RM, wait=30.0))
    await until(lambda: "APRREQ" in house.codes())
    [state] = await house.pipeline.load((await asked(house, "ctx-1", RM)).plan_id)
    await house.approvals.answer(state.approval_id or "", APPROVER, answer=Answer.APPROVE)
    assert [call.go for call in await waiting] == [True]
    assert [call.held for call in await judge(house, RM)] == [True]


async def test_a_refused_call_is_told_so(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    waiting = asyncio.create_task(judge(house, RM, wait=30.0))
    await until(lambda: bool(house.pipeline.followers._queues))
    await house.approvals.answer(held.step["approval_id"], APPROVER, answer=Answer.REFUSE)
    [refused] = await waiting
    assert (refused.plan_id, refused.go, str(refused.status)) == (held.plan_id, False, "denied")
    assert "approval.refused" in told(refused, "http://h")


@pytest.mark.parametrize("change", ["freeze", "revoked", "policy", "pin", "late"])
async def test_what_was_approved_and_not_collected_goes_no_more_once_it_rests_on_nothing(
    house: House, change: str
) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    [held] = await judge(house, RM)
    await approve(house, held)
    if change == "freeze":
        await freeze(house, Scope.HAND, "shell")
    elif change == "revoked":
        house.directory.people["default", AGENT.id] = replace(AGENT, hands=frozenset({"tool"}))
    elif change == "policy":
        house.policy.digest = "e" * 64
    elif change == "pin":
        house.hands.manifests["shell"] = replace(SHELL, labels=("new",))
    else:
        clock = house.pipeline.clock
        assert isinstance(clock, Clock)
        clock.ahead += 7200
    [again] = await judge(house, RM)
    assert not again.go


async def test_a_hand_that_is_not_its_clients_is_not_called_on_a_clients_word(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await judge(house, LS, Call("tool", "echo", {"text": "a"}))
    assert refused.value.reason is Reason.SCHEMA_UNKNOWN_HAND
    assert house.hands.calls == []


async def test_where_the_log_is_down_nobody_is_told_to_go(tmp_path: Path) -> None:
    house = await client_house(tmp_path)
    house.policy.effects = {"write": Effect.ASK}
    write = Call("shell", "write", {"text": "a"})
    [held] = await judge(house, write)
    await approve(house, held)
    for call in (LS, write):
        with locked(house), pytest.raises(Unavailable) as failed:
            await judge(house, call)
        assert failed.value.reason is Reason.LOG_UNAVAILABLE
    assert (await judge(house, write))[0].go
    await close_house(house)


# --- hooks of Claude Code --------------------------------------------------------------------------------------------


def hooks(house: House) -> ClaudeCodeHooks:
    return ClaudeCodeHooks(house.client_calls, house.client_reports, "http://h")


async def ask(house: House, event: str, *, who: Principal = AGENT, session: str = "s-1", **changes: Any) -> Any:
    given = {"tool": "Bash", "args": {"command": "ls"}, "response": None} | changes
    return await hooks(house).answer(who, "shell", Hook(event, session, **given), wait_seconds=0.0)


def decision(answer: Any) -> str:
    assert answer["hookSpecificOutput"]["hookEventName"] == "PreToolUse"
    return str(answer["hookSpecificOutput"]["permissionDecision"])


async def test_a_hook_before_is_a_plan_and_the_hook_after_it_is_its_report(house: House) -> None:
    assert decision(await ask(house, "PreToolUse")) == "allow"
    assert await ask(house, "PostToolUse", response={"stdout": "a b", "stderr": ""}) == {}
    entry = house.entries()[-1]
    assert (entry["type"], entry["facts"]["said"], entry["context_id"]) == ("STPREP", "done", "claude-code.s-1")
    plan = await house.pipeline.load(entry["plan_id"])
    [state] = plan
    assert state.reported is not None
    assert state.reported.result == HandResult(({"type": "text", "text": '{"stdout":"a b","stderr":""}'},))


async def test_a_tool_that_failed_is_reported_as_failed(house: House) -> None:
    await ask(house, "PreToolUse")
    await ask(house, "PostToolUseFailure", response="Exit code 1")
    assert house.entries()[-1]["facts"]["said"] == "failed"


async def test_a_denied_hook_says_why(house: House) -> None:
    house.policy.effects = {"Bash": Effect.DENY}
    answer = await ask(house, "PreToolUse")
    assert decision(answer) == "deny"
    assert "test.rule: about Bash" in answer["hookSpecificOutput"]["permissionDecisionReason"]


async def test_a_held_hook_is_denied_with_the_link_and_passes_once_after_the_approval(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    answer = await ask(house, "PreToolUse")
    assert decision(answer) == "deny"
    assert "http://h/approvals" in answer["hookSpecificOutput"]["permissionDecisionReason"]
    plan_id = (await asked(house, "claude-code.s-1", LS)).plan_id
    [state] = await house.pipeline.load(plan_id)
    await house.approvals.answer(state.approval_id or "", APPROVER, answer=Answer.APPROVE)
    await house.until_settled(plan_id)
    assert decision(await ask(house, "PreToolUse")) == "allow"
    assert decision(await ask(house, "PreToolUse")) == "deny"
    await ask(house, "PostToolUse", response="done")
    assert house.entries()[-1]["plan_id"] == plan_id


async def test_a_tool_that_nobody_declared_is_denied(house: House) -> None:
    assert decision(await ask(house, "PreToolUse", tool="mcp__evil__run")) == "deny"


async def test_the_session_of_somebody_else_is_refused_before_and_after(house: House) -> None:
    await ask(house, "PreToolUse")
    with pytest.raises(HandrailError) as refused:
        await ask(house, "PreToolUse", who=OTHER)
    assert refused.value.reason is Reason.VERIFY_CONTEXT
    answer = await ask(house, "PostToolUse", who=OTHER, response="I did it")
    assert "did not let a call" in answer["systemMessage"]
    assert "STPREP" not in house.codes()


async def test_a_hook_that_is_sent_again_changes_nothing_that_was_said(house: House) -> None:
    await ask(house, "PreToolUse")
    for response in ("done", "done", "something else"):
        await ask(house, "PostToolUse", response=response)
    assert house.codes().count("STPREP") == 1


async def test_two_calls_alike_are_reported_each(house: House) -> None:
    for _ in range(2):
        await ask(house, "PreToolUse")
    for response in ("one", "two"):
        assert await ask(house, "PostToolUse", response=response) == {}
    assert len({entry["plan_id"] for entry in house.entries() if entry["type"] == "STPREP"}) == 2


async def test_what_ran_and_was_not_let_go_is_told(house: House) -> None:
    answer = await ask(house, "PostToolUse", args={"command": "rm"}, response="gone")
    assert answer == {"systemMessage": "Handrail did not let a call of Bash go that was made."}


async def test_other_events_decide_nothing(house: House) -> None:
    assert await ask(house, "UserPromptSubmit") == {}
    assert house.entries() == []
