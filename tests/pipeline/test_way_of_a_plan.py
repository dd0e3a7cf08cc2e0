"""The nine steps, as a caller sees them."""

import asyncio
from dataclasses import replace

import pytest
import structlog

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError, Refused
from gateway.model import Effect, Obligations, Principal, Role
from gateway.ports import HandFailure
from gateway.reasons import Reason
from tests.pipeline.house import AGENT, AUDITOR, FOREIGNER, OTHER, House, crash, step
from tests.policy.support import GIT, ask
from tests.policy.support import step as shaped_step


async def test_an_allowed_step_runs_once_and_is_on_record(house: House) -> None:
    view = await house.plan(step("a"))
    assert view["status"] == "done"
    (only,) = view["steps"]
    assert only["status"] == "succeeded"
    assert only["result"] == {"content": [{"type": "text", "text": "a"}], "structured": {"said": "a"}}
    assert only["decision"]["effect"] == "allow"
    assert only["receipt"].count(".") == 2
    assert len(house.hands.calls) == 1
    assert house.codes() == ["LOGOPN", "PLNRCV", "POLALW", "CRDISS", "STPDSP", "STPEXE"]


async def test_the_intent_is_durable_before_the_hand_is_called(house: House) -> None:
    seen: list[list[str]] = []

    async def look(call: HandCall) -> HandResult:
        seen.append(house.codes())
        return HandResult(())

    house.hands.behaviour["echo"] = look
    await house.plan(step("a"))
    assert seen == [["LOGOPN", "PLNRCV", "POLALW", "CRDISS", "STPDSP"]]


async def test_independent_steps_run_at_the_same_time(house: House) -> None:
    both = asyncio.Barrier(2)

    async def meet(call: HandCall) -> HandResult:
        async with asyncio.timeout(10):
            await both.wait()
        return HandResult(())

    house.hands.behaviour["echo"] = meet
    view = await house.plan(step("a"), step("b"))
    assert [s["status"] for s in view["steps"]] == ["succeeded", "succeeded"]


async def test_a_dependant_waits_and_is_decided_in_the_first_evaluation(house: House) -> None:
    order: list[str] = []

    async def note(call: HandCall) -> HandResult:
        order.append(call.step_id)
        return HandResult(())

    house.hands.behaviour["echo"] = note
    view = await house.plan(step("b", depends_on=["a"]), step("a"))
    assert order == ["a", "b"]
    assert view["status"] == "done"
    assert [len(seen["steps"]) for seen in house.policy.inputs] == [2]


async def test_policies_are_tested_with_the_members_that_the_gateway_gives(house: House) -> None:
    """Else a rule that reads a member of the tests' own making passes them and never speaks here."""
    await house.plan(step("a"))
    [real], shaped = house.policy.inputs, ask(shaped_step())
    hand, known = real["hands"]["tool"], GIT["git"]
    action, shown = hand["actions"]["echo"], known["actions"]["git_status"]
    for ours, theirs in (
        (real, shaped),
        (real["principal"], shaped["principal"]),
        (real["plan"], shaped["plan"]),
        (real["context"], shaped["context"]),
        (real["steps"][0], shaped["steps"][0]),
        (hand, known),
        (action, shown),
    ):
        assert ours.keys() == theirs.keys()
        assert {
            name: type(value) for name, value in ours.items() if value is not None and theirs[name] is not None
        } == {name: type(value) for name, value in theirs.items() if value is not None and ours[name] is not None}


async def test_a_reference_is_resolved_judged_and_bound(house: House) -> None:
    later = step("b", depends_on=["a"], args={"text": {"$step": "a", "pointer": "/structured/said"}})
    view = await house.plan(step("a", args={"text": "from a"}), later)
    assert [s["status"] for s in view["steps"]] == ["succeeded", "succeeded"]
    assert house.hands.calls[1].args == {"text": "from a"}
    second = house.policy.inputs[1]["steps"][0]
    assert second["args"] == {"text": "from a"}
    assert second["provenance"] == {
        "/text": [{"source": "result", "step": "a", "hand": "tool", "trust": "untrusted", "match": "exact"}]
    }


async def test_a_reference_to_nothing_denies_that_step_alone(house: House) -> None:
    later = step("b", depends_on=["a"], args={"text": {"$step": "a", "pointer": "/structured/missing"}})
    view = await house.plan(step("a"), later)
    assert [s["status"] for s in view["steps"]] == ["succeeded", "denied"]
    assert view["steps"][1]["error"]["code"] == "schema.unresolved"


async def test_a_resolved_value_off_schema_denies(house: House) -> None:
    later = step("b", depends_on=["a"], args={"text": {"$step": "a", "pointer": "/structured"}})
    view = await house.plan(step("a"), later)
    assert view["steps"][1]["error"]["code"] == "schema.args"
    assert len(house.hands.calls) == 1


async def test_dependants_of_a_failure_are_skipped_to_the_end_of_the_chain(house: House) -> None:
    house.hands.behaviour["write"] = crash(Reason.HAND_FAILED, HandFailure.EXECUTED)
    house.policy.effects["write"] = Effect.ALLOW
    view = await house.plan(step("a", "write"), step("b", depends_on=["a"]), step("c", depends_on=["b"]), step("d"))
    assert [s["status"] for s in view["steps"]] == ["failed", "skipped", "skipped", "succeeded"]
    assert view["steps"][1]["error"]["code"] == "dependency.unsuccessful"
    assert house.codes().count("STPSKP") == 2


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"hand": "nobody"}, "schema.unknown_hand"),
        ({"action": "nothing"}, "schema.unknown_action"),
        ({"args": {"text": 1}}, "schema.args"),
        ({"args": {"text": "a", "extra": 1}}, "schema.args"),
        ({"args": {}}, "schema.args"),
    ],
)
async def test_a_misfit_denies_its_step_alone(house: House, changed: dict[str, object], code: str) -> None:
    view = await house.plan({**step("a"), **changed}, step("b"))
    first, second = view["steps"]
    assert (first["status"], first["error"]["code"]) == ("denied", code)
    assert first["receipt"]
    assert second["status"] == "succeeded"
    assert [call.step_id for call in house.hands.calls] == ["b"]
    assert "SCHREJ" in house.codes()


async def test_a_problem_names_the_place_and_never_the_value(house: House) -> None:
    view = await house.plan({**step("a"), "args": {"text": ["4111-1111"]}})
    assert view["steps"][0]["error"]["problems"] == [{"pointer": "/text", "keyword": "type"}]
    assert "4111-1111" not in str(view)


async def test_a_denied_step_never_reaches_its_hand(house: House) -> None:
    house.policy.effects["echo"] = Effect.DENY
    view = await house.plan(step("a"))
    assert view["steps"][0]["status"] == "denied"
    assert view["steps"][0]["error"]["code"] == "policy.denied"
    assert view["steps"][0]["decision"]["reasons"] == [{"code": "test.rule", "message": "about echo"}]
    assert not house.hands.calls
    assert house.codes()[-1] == "POLDNY"


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (HandFailure.NOT_EXECUTED, "failed", "STPFAI"),
        (HandFailure.EXECUTED, "failed", "STPFAI"),
        (HandFailure.UNKNOWN, "ambiguous", "STPAMB"),
    ],
)
async def test_a_lost_reply_is_ambiguous_and_never_retried(
    house: House, failure: HandFailure, status: str, code: str
) -> None:
    house.hands.behaviour["echo"] = crash(Reason.HAND_CRASHED, failure)
    view = await house.plan(step("a"))
    assert view["steps"][0]["status"] == status
    assert len(house.hands.calls) == 1
    assert house.codes()[-1] == code


async def test_an_adapter_that_raises_anything_is_ambiguous(house: House) -> None:
    async def explode(call: HandCall) -> HandResult:
        raise ZeroDivisionError("secret-in-exception")

    house.hands.behaviour["echo"] = explode
    view = await house.plan(step("a"), step("b", "small"))
    assert [s["status"] for s in view["steps"]] == ["ambiguous", "succeeded"]
    assert "secret-in-exception" not in str(view) + str(house.entries())


@pytest.mark.parametrize("answer", [["not", "an", "object"], None, "text"])
async def test_a_result_off_schema_is_withheld(house: House, answer: object) -> None:
    async def lie(call: HandCall) -> HandResult:
        return HandResult((), answer)

    house.hands.behaviour["typed"] = lie
    view = await house.plan(step("a", "typed"))
    assert view["steps"][0]["error"]["code"] == "schema.result"
    assert "result" not in view["steps"][0]


async def test_a_result_over_its_cap_is_withheld(house: House) -> None:
    view = await house.plan(step("a", "small", args={"text": "x" * 500}))
    assert view["steps"][0]["error"]["code"] == "hand.result_too_large"
    assert "result" not in view["steps"][0]


async def test_the_log_tells_of_a_step_as_loudly_as_policy_asks_and_of_no_value(house: House) -> None:
    with structlog.testing.capture_logs() as logs:
        await house.plan(step("a", args={"text": "ann@example.com"}))
        assert [line for line in logs if line["event"] == "step decided"] == []
        house.policy.obligations = Obligations(log_level="warning")
        done = await house.plan(step("b", args={"text": "ann@example.com"}))
    [told] = [line for line in logs if line["event"] == "step decided"]
    assert (told["log_level"], told["plan_id"], told["step_id"]) == ("warning", done["plan_id"], "b")
    assert "ann@example.com" not in repr(logs)


async def test_redaction_reaches_both_the_structure_and_its_text(house: House) -> None:
    house.policy.obligations = Obligations(redact=("/structured/said",))
    view = await house.plan(step("a", args={"text": "jo@example.org"}))
    assert view["steps"][0]["result"]["structured"] == {"said": "[redacted]"}
    assert "jo@example.org" not in str(view)
    assert house.codes()[-2:] == ["RESRED", "STPEXE"]


@pytest.mark.parametrize("pointer", ["", "/content", "/structured", "/content/0/text", "/structured/said", "/nothing"])
async def test_no_redaction_pointer_breaks_the_step(house: House, pointer: str) -> None:
    house.policy.obligations = Obligations(redact=(pointer,))
    view = await house.plan(step("a"))
    assert view["steps"][0]["status"] == "succeeded"


async def test_nobody_else_may_see_a_plan(house: House) -> None:
    view = await house.plan(step("a"))
    for stranger in (OTHER, FOREIGNER):
        with pytest.raises(Refused) as refusal:
            await house.pipeline.view(view["plan_id"], stranger)
        assert refusal.value.reason is Reason.REQUEST_NOT_FOUND
    assert (await house.pipeline.view(view["plan_id"], AGENT))["steps"] == view["steps"]
    assert (await house.pipeline.view(view["plan_id"], AUDITOR))["steps"] == view["steps"]


async def test_a_plan_that_does_not_wait_is_accepted_with_a_signed_index(house: House) -> None:
    go = asyncio.Event()

    async def wait(call: HandCall) -> HandResult:
        await go.wait()
        return HandResult(())

    house.hands.behaviour["echo"] = wait
    view = await house.submit(house.brain.payload(step("a")), wait=0)
    assert view["status"] == "running"
    assert view["acceptance"].count(".") == 2
    assert view["log_index"] == 1
    go.set()
    assert (await house.until_settled(view["plan_id"]))["status"] == "done"


async def test_following_a_plan_shows_each_change_once_and_ends(house: House) -> None:
    go = asyncio.Event()

    async def wait(call: HandCall) -> HandResult:
        await go.wait()
        return HandResult(())

    house.hands.behaviour["echo"] = wait
    view = await house.submit(house.brain.payload(step("a")), wait=0)
    seen = []
    async for number, event, data in house.pipeline.events(view["plan_id"], AGENT):
        seen.append((number, event, data.get("status")))
        go.set()
    assert [(event, status) for _, event, status in seen] == [
        ("step", "running"),
        ("plan", "running"),
        ("step", "succeeded"),
        ("plan", "done"),
        ("done", "done"),
    ]
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers))
    for position, number in enumerate(numbers[2:], start=2):
        resumed = [event async for event in house.pipeline.events(view["plan_id"], AGENT, after=number)]
        assert [event for _, event, _ in resumed] == [event for _, event, _ in seen[position + 1 :]]


async def test_a_follower_sees_every_step_also_those_that_nothing_was_said_of(house: House) -> None:
    def later(name: str) -> dict[str, object]:
        return step(name, depends_on=["w"], args={"text": {"$step": "w", "pointer": "/structured/said"}})

    view = await house.plan(step("w", "write"), later("b"), later("c"))
    seen = []
    async for _, event, data in house.pipeline.events(view["plan_id"], AGENT):
        if event == "plan":
            break
        seen.append(data["id"])
    assert seen == ["b", "c", "w"]


async def test_a_follower_that_knows_everything_hears_so_at_once(house: House) -> None:
    view = await house.plan(step("w", "write"))
    stream = house.pipeline.events(view["plan_id"], AGENT)
    known = [await anext(stream), await anext(stream)]
    again = house.pipeline.events(view["plan_id"], AGENT, after=known[-1][0])
    async with asyncio.timeout(10):
        assert await anext(again) == known[-1]


async def test_why_shows_the_rule_its_place_and_the_input(house: House) -> None:
    view = await house.plan(step("a"))
    why = await house.evidence.why(view["plan_id"], "a", AUDITOR)
    assert why["reasons"] == [
        {
            "code": "test.rule",
            "message": "about echo",
            "file": "test.rego",
            "line": 7,
            "rule": "test",
            "title": "A test rule",
        }
    ]
    assert why["input"]["steps"][0]["args"] == {"text": "a"}


async def test_why_of_a_step_that_no_rule_was_asked_about_has_no_decision(house: House) -> None:
    view = await house.plan(step("a", hand="nowhere"))
    why = await house.evidence.why(view["plan_id"], "a", AUDITOR)
    assert (why["error"]["code"], why["decision"], why["input"]) == ("schema.unknown_hand", None, None)


async def test_a_gateway_at_its_limit_says_so(house: House) -> None:
    house.pipeline.settings = house.settings.model_copy(
        update={"server": house.settings.server.model_copy(update={"plans_max_concurrent": 0})}
    )
    with pytest.raises(HandrailError) as refusal:
        await house.plan(step("a"))
    assert refusal.value.reason is Reason.OVERLOADED
    assert not house.hands.calls


async def test_an_author_reads_why_of_others_plans_on_hands_that_are_theirs(house: House) -> None:
    view = await house.plan(step("a", args={"text": "heliotrope"}))
    author = Principal("wil", "default", "p-wil", frozenset({Role.AUTHOR}))
    assert (await house.evidence.why(view["plan_id"], "a", author))["input"] is not None
    for stranger in (
        replace(author, hands=frozenset({"other"})),
        replace(author, tenant="other"),
        replace(author, roles=frozenset({Role.SECURITY_ADMIN})),
        OTHER,
    ):
        with pytest.raises(Refused) as caught:
            await house.evidence.why(view["plan_id"], "a", stranger)
        assert caught.value.reason is Reason.REQUEST_NOT_FOUND
