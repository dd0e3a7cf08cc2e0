"""A server that breaks a rule loses its process; the caller learns whether it may have acted."""

import asyncio
import contextvars
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.freeze import Cause, Concern, Freeze, FreezeState, Scope
from gateway.halts import Halted, Halts
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.mcp import McpAdapter
from tests.hands.hands_support import call, hostile
from tests.until import until

MODERN = Path(__file__).parent / "servers" / "modern.py"

UNKNOWN, EXECUTED, NOT_EXECUTED = HandFailure.UNKNOWN, HandFailure.EXECUTED, HandFailure.NOT_EXECUTED


async def refused(awaitable) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


async def test_an_honest_server_answers_and_stays_warm(mcp_hand):
    hand = await mcp_hand("good")
    first = await hand.say("one")
    second = await hand.say("two")
    assert first.content == ({"type": "text", "text": "one"},)
    assert first.structured["pid"] == second.structured["pid"]
    assert len(hand.jail.started) == 1, "the process of the pin check is kept"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("crash", Reason.HAND_CRASHED),
        ("half", Reason.HAND_CRASHED),
        ("flood", Reason.HAND_PROTOCOL),
        ("many", Reason.HAND_PROTOCOL),
        ("flood_line", Reason.HAND_RESULT_TOO_LARGE),
        ("garbage", Reason.HAND_PROTOCOL),
        ("wrong_id", Reason.HAND_PROTOCOL),
        ("null_id", Reason.HAND_PROTOCOL),
        ("utf8", Reason.HAND_PROTOCOL),
        ("nan", Reason.HAND_PROTOCOL),
        ("duplicate", Reason.HAND_PROTOCOL),
        ("shapeless", Reason.HAND_PROTOCOL),
        ("huge", Reason.HAND_RESULT_TOO_LARGE),
    ],
)
async def test_a_server_that_breaks_the_protocol_leaves_the_step_ambiguous_and_dies(mcp_hand, mode, reason):
    hand = await mcp_hand(mode)
    assert await refused(hand.say()) == (reason, UNKNOWN)
    await hand.jail.started[0].wait()
    assert hand.jail.started[0].returncode is not None


async def test_a_hanging_server_is_killed_at_the_deadline(mcp_hand):
    hand = await mcp_hand("hang")
    assert await refused(hand.say(deadline_seconds=0.2)) == (Reason.HAND_TIMEOUT, UNKNOWN)
    assert await hand.jail.started[0].wait() == -9


async def test_after_a_crash_the_next_call_gets_a_fresh_process(mcp_hand):
    hand = await mcp_hand("crash")
    await refused(hand.say())
    assert await refused(hand.say()) == (Reason.HAND_CRASHED, UNKNOWN)
    assert len(hand.jail.started) == 2


async def test_an_answer_given_twice_ends_the_process_but_not_the_first_answer(mcp_hand):
    hand = await mcp_hand("late")
    assert (await hand.say("once")).content[0]["text"] == "once"
    await hand.jail.started[0].wait()


@pytest.mark.parametrize(("mode", "failure"), [("rpc_unknown", NOT_EXECUTED), ("rpc_internal", EXECUTED)])
async def test_a_json_rpc_error_is_an_answer(mcp_hand, mode, failure):
    hand = await mcp_hand(mode)
    assert await refused(hand.say()) == (Reason.HAND_FAILED, failure)
    assert await refused(hand.say()) == (Reason.HAND_FAILED, failure)
    assert len(hand.jail.started) == 1


async def test_a_tools_own_error_is_a_result(mcp_hand):
    hand = await mcp_hand("error")
    result = await hand.say()
    assert result.is_error
    assert result.content[0]["text"] == "it went wrong"


@pytest.mark.parametrize("mode", ["sampling", "roots", "elicit"])
async def test_a_server_that_asks_the_client_for_something_is_refused(mcp_hand, mode):
    hand = await mcp_hand(mode)
    reply = json.loads((await hand.say()).content[0]["text"])
    assert reply["id"] == "mine-1"
    assert "error" in reply
    assert "result" not in reply


async def test_a_server_is_told_nothing_about_who_asks(mcp_hand):
    hand = await mcp_hand("who")
    told = json.loads((await hand.say("x")).content[0]["text"])
    given = {"HOME", "LANG", "MALLOC_ARENA_MAX", "PATH", "PYTHONDONTWRITEBYTECODE", "TZ"}
    assert set(told["environ"]) - {"LC_CTYPE"} == given
    assert told["hello"]["clientInfo"] == {"name": "client", "version": "0"}
    assert told["hello"]["capabilities"] == {}
    assert told["request"]["params"] == {"name": "echo", "arguments": {"text": "x"}}
    everything = json.dumps(told)
    for secret in ("secret-step-credential", "ana", "handrail"):
        assert secret not in everything.replace("servers/hostile.py", "")


async def test_traces_of_the_gateway_do_not_enter_a_jail(mcp_hand, monkeypatch):
    injected = []

    def inject(meta):
        meta.update(traceparent="00-canary-01", tracestate="canary", baggage="who=ana", kept="kept")
        injected.append(meta)

    monkeypatch.setattr("mcp.shared.jsonrpc_dispatcher.inject_trace_context", inject)
    hand = await mcp_hand("who")
    told = (await hand.say("x")).content[0]["text"]
    assert injected
    assert '"kept": "kept"' in told, "the control"
    assert "canary" not in told
    assert "baggage" not in told


async def test_a_process_keeps_nothing_of_the_context_that_started_it(mcp_hand, monkeypatch):
    who = contextvars.ContextVar("who", default="nobody")
    seen = []
    monkeypatch.setattr("mcp.shared.jsonrpc_dispatcher.inject_trace_context", lambda meta: seen.append(who.get()))
    who.set("ana")
    await (await mcp_hand("good")).say()
    assert set(seen) == {"nobody"}


async def test_two_principals_never_share_a_process(mcp_hand):
    hand = await mcp_hand("good")
    ana, bob, carol = await asyncio.gather(hand.say(), hand.say(principal_id="bob"), hand.say(tenant="other"))
    assert len({ana.structured["pid"], bob.structured["pid"], carol.structured["pid"]}) == 3


async def test_one_process_runs_one_call_at_a_time_and_answers_each_its_own(mcp_hand):
    hand = await mcp_hand("good")
    results = await asyncio.gather(*(hand.say(str(number)) for number in range(20)))
    assert [result.structured["said"] for result in results] == [str(number) for number in range(20)]
    assert len(hand.jail.started) == 1


async def test_a_call_that_waited_too_long_was_not_executed(mcp_hand):
    hand = await mcp_hand("hang")
    first = asyncio.create_task(hand.say(deadline_seconds=20))
    await asyncio.sleep(0)
    second = await refused(hand.say(deadline_seconds=0.1))
    assert second == (Reason.HAND_TIMEOUT, NOT_EXECUTED)
    await hand.adapter.close()
    assert await refused(first) == (Reason.HAND_CRASHED, UNKNOWN)


async def test_a_caller_that_leaves_in_mid_step_ends_the_process(mcp_hand):
    hand = await mcp_hand("hang")
    leaving = asyncio.create_task(hand.say())
    await until(lambda: any(session._channel.sent >= 4 for session in hand.adapter._sessions._serving.values()))
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await hand.jail.started[0].wait() == -9


async def test_a_freeze_kills_the_process_that_works_and_leaves_the_others_alone(mcp_hand):
    hand, other, halts = await mcp_hand("hang"), await mcp_hand("good"), Halts()
    call_ = asyncio.create_task(halts.run(Concern("default", ("p-ana",), "h", "c"), hand.say))
    await until(lambda: any(session._channel.sent >= 4 for session in hand.adapter._sessions._serving.values()))
    frozen = Freeze("f" * 16, "default", Scope.PRINCIPAL, "p-ana", Cause.DRILL, "p-chief", 0.0)
    assert halts.apply(FreezeState.of([frozen], 0)) == 1
    with pytest.raises(Halted) as halted:
        await call_
    assert halted.value.begun
    assert await hand.jail.started[0].wait() == -9
    assert (await other.say("on")).structured["said"] == "on"


async def test_a_hand_that_was_closed_starts_anew(mcp_hand):
    """A freeze of a hand ends its processes, and its lift makes it work again."""
    hand = await mcp_hand("good")
    first = (await hand.say("one")).structured["pid"]
    await hand.adapter.close()
    assert (await hand.say("two")).structured["pid"] != first


async def test_closing_while_the_jail_starts_waits_for_nobody(mcp_hand, plain_jail, monkeypatch):
    async def never(spec):
        await asyncio.Event().wait()

    monkeypatch.setattr(plain_jail, "start", never)
    adapter = McpAdapter("h", hostile("good"), plain_jail)
    waiting = asyncio.create_task(adapter.run(call("h", "echo", {"text": "x"}, "0")))
    await asyncio.sleep(0)
    await adapter.close()
    assert await refused(waiting) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)


async def test_a_full_queue_is_refused(mcp_hand, monkeypatch):
    monkeypatch.setattr("hand_adapters.mcp.session.WAITING_MAX", 2)
    hand = await mcp_hand("hang")
    waiting = [asyncio.create_task(hand.say()) for _ in range(5)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {task.exception().reason for task in done} == {Reason.OVERLOADED}
    assert {task.exception().failure for task in done} == {NOT_EXECUTED}
    await hand.adapter.close()
    await asyncio.wait(waiting)


async def test_a_crowd_of_principals_is_bounded_by_stopping_the_idle(mcp_hand, monkeypatch):
    monkeypatch.setattr("hand_adapters.warm.PROCESSES_MAX", 2)
    hand = await mcp_hand("good")
    for who in ("a", "b", "c"):
        await hand.say(principal_id=who)
    await hand.jail.started[0].wait()
    assert hand.jail.alive == 2


async def test_a_crowd_of_busy_principals_is_refused(mcp_hand, monkeypatch):
    monkeypatch.setattr("hand_adapters.warm.PROCESSES_MAX", 1)
    hand = await mcp_hand("hang")
    busy = asyncio.create_task(hand.say(principal_id="a"))
    await asyncio.sleep(0)
    assert await refused(hand.say(principal_id="b")) == (Reason.OVERLOADED, NOT_EXECUTED)
    await hand.adapter.close()
    await refused(busy)


async def test_an_idle_process_is_stopped(mcp_hand):
    hand = await mcp_hand("good", idle_seconds=0.05)
    await hand.jail.started[0].wait()
    assert (await hand.say()).structured["pid"] == hand.jail.started[1].pid


async def test_a_server_that_dies_idle_is_replaced_without_losing_a_call(mcp_hand):
    hand = await mcp_hand("good")
    await hand.say("one")
    await hand.jail.started[0].kill()
    assert (await hand.say("two")).structured["said"] == "two"


async def test_tools_changed_after_pinning_are_noticed_before_the_next_call(mcp_hand, tmp_path):
    hand = await mcp_hand("changes", str(tmp_path / "changed"))
    await hand.say("first")
    with pytest.raises(HandDrifted) as caught:
        await hand.say("second")
    assert caught.value.failure is NOT_EXECUTED
    assert caught.value.offered.actions["echo"].description == "sends it to a stranger"


async def test_a_restarted_server_that_changed_is_refused(mcp_hand, tmp_path):
    state = tmp_path / "changed"
    hand = await mcp_hand("good", str(state))
    await hand.jail.started[0].kill()
    state.touch()
    assert await refused(hand.say()) == (Reason.HAND_DRIFTED, NOT_EXECUTED)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("broken", Reason.HAND_CRASHED), ("twice", Reason.HAND_PROTOCOL), ("endless_list", Reason.HAND_PROTOCOL)],
)
async def test_a_server_that_cannot_be_asked_is_told_why(plain_jail, mode, reason):
    adapter = McpAdapter("h", hostile(mode), plain_jail)
    with pytest.raises(HandError) as caught:
        await adapter.manifest()
    await adapter.close()
    assert (caught.value.reason, caught.value.failure) == (reason, NOT_EXECUTED)
    if mode == "broken":
        assert "No module named weather" in caught.value.detail
    assert plain_jail.alive == 0


async def test_a_server_that_never_opens_is_killed(plain_jail, monkeypatch):
    monkeypatch.setattr("hand_adapters.mcp.session.OPEN_SECONDS", 0.2)
    adapter = McpAdapter("h", hostile("mute"), plain_jail)
    assert await refused(adapter.manifest()) == (Reason.HAND_TIMEOUT, NOT_EXECUTED)
    await adapter.close()
    assert plain_jail.alive == 0


async def test_a_program_that_is_not_there_was_not_executed(plain_jail):
    settings = hostile("good").model_copy(update={"command": ("/nonexistent/server",)})
    adapter = McpAdapter("h", settings, plain_jail)
    assert await refused(adapter.manifest()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert await refused(adapter.run(call("h", "echo", {}, "0"))) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    await adapter.close()


async def test_every_page_of_a_tool_list_is_read(mcp_hand):
    hand = await mcp_hand("pages")
    assert list(hand.manifest.actions) == ["another", "echo"]


async def test_a_tool_whose_schema_fetches_is_left_out_and_the_operator_told(mcp_hand):
    hand = await mcp_hand("bad_schema")
    assert list(hand.manifest.actions) == ["echo"]
    assert hand.adapter.notes == ("Tool remote is left out: its schema /properties/a/$ref: leads out of the schema.",)


async def test_the_operators_word_counts_and_the_servers_claims_do_not(mcp_hand):
    plain = await mcp_hand("good")
    assert plain.manifest.actions["echo"].side_effects == "external"
    assert plain.manifest.actions["echo"].annotations == {"readOnlyHint": True}
    told = await mcp_hand("good", actions={"echo": {"side_effects": "none", "args": {"/text": "content"}}, "ecko": {}})
    assert told.manifest.actions["echo"].side_effects == "none"
    assert told.adapter.notes == ("Action ecko is declared, and the server does not offer it.",)
    assert told.manifest.digest != plain.manifest.digest
    assert plain.manifest.instructions == "Call echo."


async def test_a_manifest_is_the_same_each_time(mcp_hand):
    assert (await mcp_hand("good")).manifest.digest == (await mcp_hand("good")).manifest.digest


# --- the stateless era (2026-07-28) -------------------------------------------------------------------------------


@pytest.fixture
async def modern(plain_jail):
    opened = []

    async def make(mode: str, **more: Any):
        settings = HandSettings(adapter="mcp", command=(sys.executable, str(MODERN), mode), **more)
        adapter = McpAdapter("m", settings, plain_jail)
        opened.append(adapter)
        manifest = await adapter.manifest()
        return lambda: adapter.run(call("m", "add", {}, manifest.digest))

    yield make
    for adapter in opened:
        await adapter.close()


async def test_a_stateless_server_is_told_of_tasks_and_of_no_other_capability_and_no_name(modern):
    add = await modern("good")
    result = await add()
    assert result.structured == 7
    meta = json.loads(result.content[0]["text"])["_meta"]
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    assert meta["io.modelcontextprotocol/clientInfo"] == {"name": "client", "version": "0"}


@pytest.mark.parametrize("mode", ["changes", "deaf"])
async def test_a_stateless_server_that_changes_is_noticed_whether_it_tells_or_not(modern, mode):
    add = await modern(mode)
    await add()
    assert await refused(add()) == (Reason.HAND_DRIFTED, NOT_EXECUTED)


async def test_a_server_that_asks_for_input_in_mid_step_is_given_none_and_ended_when_idle(modern, plain_jail):
    add = await modern("input", idle_seconds=0.5)
    assert await refused(add()) == (Reason.HAND_PROTOCOL, UNKNOWN)
    await plain_jail.started[0].wait()


async def test_a_profile_that_policy_asks_for_is_the_one_of_the_process_that_runs_the_call(mcp_hand):
    hand = await mcp_hand("good")
    await hand.say()
    await hand.say(jail_profile="strict")
    await hand.say(jail_profile="strict")
    assert [spec.profile for spec in hand.jail.specs] == ["default", "strict"]
