"""Calls as tasks, of both eras: what honest clients get, and what others do not."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.ingress.mcp import calls, tasks
from gateway.ingress.mcp.calls import MONTH_MILLISECONDS
from gateway.ingress.mcp.reissues import IDEMPOTENCY_META_KEY
from gateway.ingress.mcp.results import PLAN
from gateway.ingress.mcp.tasks import EXTENSION, RELATED
from gateway.reasons import Reason
from tests.until import until
from tests.web.counting import Place, Tool, call, counting, place, post
from tests.web.tasking import Session, ask, extended, session

UNKNOWN = {"code": -32602, "message": "Task not found"}


@pytest.fixture
async def tool() -> AsyncIterator[Tool]:
    async with counting() as found:
        yield found


@pytest.fixture
async def at(tmp_path: Path, tool: Tool) -> AsyncIterator[Place]:
    async with place(tmp_path / "home", tool, also=("crate",)) as found:
        yield found


@pytest.fixture
async def bot(at: Place) -> Session:
    return await session(at)


# --- with a session --------------------------------------------------------------------------------------------------


async def test_a_call_as_a_task_is_answered_at_once_and_its_result_is_fetched(
    at: Place, bot: Session, tool: Tool
) -> None:
    tool.open.clear()
    made = await bot.task(n=1)
    assert made["status"] == "working"
    assert made["pollInterval"] == 1000
    assert made["createdAt"] <= made["lastUpdatedAt"]
    waiting = asyncio.create_task(bot.result(made["taskId"]))
    await until(lambda: tool.calls)
    assert (await bot.get(made["taskId"]))["status"] == "working"
    tool.open.set()
    result = (await waiting)["result"]
    assert result["structuredContent"] == {"call": 1}
    assert result["_meta"][RELATED] == {"taskId": made["taskId"]}
    assert result["_meta"][PLAN] == made["taskId"], "a plan is the task"
    assert "handrail/result_marks" in result["_meta"]
    after = await bot.get(made["taskId"])
    assert (after["status"], after["createdAt"]) == ("completed", made["createdAt"])
    assert after["lastUpdatedAt"] >= after["createdAt"]
    assert (await bot.result(made["taskId"]))["result"] == result, "as often as one likes"
    assert len(tool.calls) == 1


async def test_the_greeting_and_the_tools_say_that_calls_can_be_tasks(at: Place, bot: Session) -> None:
    assert bot.greeting["capabilities"]["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
    listed = (await bot.request("tools/list"))["result"]["tools"]
    assert {one["execution"]["taskSupport"] for one in listed} == {"optional"}
    told = (await ask(at, "server/discover"))["result"]["capabilities"]
    assert told["extensions"] == {EXTENSION: {}}
    assert "tasks" not in told
    assert (await bot.request("tasks/list"))["error"]["code"] == -32601, "it is not declared"


async def test_a_held_call_works_until_people_answered_and_says_where(at: Place, bot: Session, tool: Tool) -> None:
    made = await bot.task("box__send", n=1)
    [request] = await at.open_requests()
    assert made["status"] == "working"
    assert f"{at.gateway.settings.public_url}/approvals/{request}" in made["statusMessage"]
    assert made["pollInterval"] == 5000
    assert (await bot.task("box__send", n=1))["taskId"] != made["taskId"], "another task is another call"
    await at.approve(request)
    assert (await bot.result(made["taskId"]))["result"]["structuredContent"] == {"call": 1}


async def test_waiting_for_a_result_has_an_end(at: Place, bot: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await bot.task("box__send", n=1)
    monkeypatch.setattr(calls, "CALL_WAIT_SECONDS", 0.2)
    error = (await bot.result(made["taskId"]))["error"]
    assert error["code"] == -32010
    assert "The task goes on" in error["message"]
    assert (await bot.get(made["taskId"]))["status"] == "working"


async def test_a_call_that_does_not_run_is_a_task_that_failed_and_no_tool_is_none(bot: Session, tool: Tool) -> None:
    made = await bot.task(n="x")
    assert made["status"] == "failed"
    assert "schema.args" in made["statusMessage"]
    assert (await bot.result(made["taskId"]))["result"]["isError"]
    assert (await bot.call("box__none"))["error"]["message"] == "Unknown tool"
    assert tool.calls == []


async def test_before_2025_11_25_there_are_no_tasks(at: Place, tool: Tool) -> None:
    old = await session(at, version="2025-06-18")
    assert "tasks" not in old.greeting["capabilities"]
    assert (await old.call("box__add", n=1))["result"]["structuredContent"] == {"call": 1}
    for method in ("tasks/get", "tasks/result", "tasks/cancel", "tasks/update"):
        answer = await old.request(method, taskId="0" * 64, inputResponses={})
        assert answer["error"]["code"] == -32601


@pytest.mark.parametrize("ttl", [0, -1, 10**15, None])
async def test_a_ttl_that_is_asked_for_changes_nothing(at: Place, bot: Session, ttl: int | None) -> None:
    made = (await bot.call("box__add", task={"ttl": ttl}, n=1))["result"]["task"]
    assert made["ttl"] == at.gateway.settings.log.retention_months * MONTH_MILLISECONDS
    assert (await bot.result(made["taskId"]))["result"]["structuredContent"] == {"call": 1}


@pytest.mark.parametrize("task", ["x", {"ttl": "long"}, {"ttl": {}}, [1]])
async def test_what_is_no_task_is_refused(bot: Session, tool: Tool, task: Any) -> None:
    assert (await bot.call("box__add", task=task, n=1))["error"]["code"] == -32602
    assert tool.calls == []


async def test_a_task_whose_id_never_arrived_is_found_by_the_same_call_and_an_idempotency_key_names_one(
    bot: Session, tool: Tool
) -> None:
    tool.open.clear()
    calling = asyncio.create_task(bot.task(n=1))
    await until(lambda: tool.calls or calling.done())
    first = await calling
    assert (await bot.task(n=1))["taskId"] != first["taskId"], "its id arrived"
    key = {IDEMPOTENCY_META_KEY: "order-17"}
    named = [(await bot.call("box__add", meta=key, n=2))["result"]["task"]["taskId"] for _ in range(3)]
    assert len(set(named)) == 1
    tool.open.set()
    assert (await bot.result(named[0]))["result"]["structuredContent"]["call"] <= 3


# --- cancellation ----------------------------------------------------------------------------------------------------


async def test_a_held_task_that_is_cancelled_can_not_be_approved_any_more(at: Place, bot: Session, tool: Tool) -> None:
    made = await bot.task("box__send", n=1)
    [request] = await at.open_requests()
    cancelled = (await bot.cancel(made["taskId"]))["result"]
    assert (cancelled["taskId"], cancelled["status"]) == (made["taskId"], "cancelled")
    assert "hand.cancelled" in cancelled["statusMessage"]
    with pytest.raises(Refused) as raised:
        await at.approve(request)
    assert raised.value.reason is Reason.APPROVAL_VOIDED
    assert (await bot.cancel(made["taskId"]))["error"] == {"code": -32602, "message": "The task is over: cancelled"}
    result = (await bot.result(made["taskId"]))["result"]
    assert result["isError"]
    assert "it did not run" in str(result["content"])
    assert tool.calls == []


async def test_one_that_runs_and_cannot_be_stopped_is_said_to_go_on(
    bot: Session, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_WAIT_SECONDS", 0.2)
    tool.open.clear()
    made = await bot.task(n=1)
    await until(lambda: tool.calls)
    error = (await bot.cancel(made["taskId"]))["error"]
    assert error["code"] == -32010
    assert "goes on" in error["message"]
    tool.open.set()
    assert (await bot.result(made["taskId"]))["result"]["structuredContent"] == {"call": 1}
    assert (await bot.cancel(made["taskId"]))["error"]["message"] == "The task is over: completed"


async def test_a_cancellation_that_races_an_approval_ends_in_one_of_two_ways(
    at: Place, bot: Session, tool: Tool
) -> None:
    for number in range(6):
        tool.calls.clear()
        made = await bot.task("box__send", n=number)
        [request] = [one for one in await at.open_requests() if one in made["statusMessage"]]
        answers = await asyncio.gather(bot.cancel(made["taskId"]), at.approve(request), return_exceptions=True)
        result = (await bot.result(made["taskId"]))["result"]
        after = (await bot.get(made["taskId"]))["status"]
        assert (after, len(tool.calls)) in {("completed", 1), ("cancelled", 0)}, answers
        assert result["isError"] is (after == "cancelled")


# --- others ----------------------------------------------------------------------------------------------------------


async def test_nobody_elses_task_and_no_other_plan_is_one(at: Place, bot: Session, tool: Tool) -> None:
    mine = (await bot.task("box__send", n=1))["taskId"]
    caller = await at.gateway.directory.principal("default", "bot")
    no_call = (await at.ingress.submit(caller, "box", "add", {"n": 1}, "elsewhere"))["plan_id"]
    asked = {
        "rival": [mine, no_call],
        "bot": [no_call, "0" * 64, mine.upper(), mine[:-1], f"{mine} ", "", "x" * 100_000, "../" + mine],
    }
    for who, ids in asked.items():
        other = await session(at, who)
        for task_id in ids:
            for method in ("tasks/get", "tasks/result", "tasks/cancel"):
                assert (await other.request(method, taskId=task_id))["error"] == UNKNOWN, (who, task_id[:70], method)
            for method in ("tasks/get", "tasks/cancel", "tasks/update"):
                assert (await ask(at, method, who, taskId=task_id, inputResponses={}))["error"] == UNKNOWN
    assert (await bot.get(mine))["status"] == "working"


async def test_a_task_is_there_for_every_key_and_session_of_its_principal_and_in_no_other_tenant(
    tmp_path: Path, tool: Tool
) -> None:
    async with place(tmp_path / "home", tool, tenant="acme") as at:
        mine = (await (await session(at)).task("box__send", n=1))["taskId"]
        root = await at.gateway.directory.principal("default", "root")
        second = await at.gateway.directory.issue_api_key(root, "bot")
        keyed = replace(at, keys={**at.keys, "second": str(second["token"])})
        assert (await (await session(keyed, "second")).get(mine))["status"] == "working"
        assert (await ask(keyed, "tasks/get", "second", taskId=mine))["result"]["status"] == "working"
        namesake = await session(at, "acme/bot")
        assert (await namesake.task(n=1))["status"] in {"working", "completed"}, "the hand is theirs, too"
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert (await namesake.request(method, taskId=mine))["error"] == UNKNOWN
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            assert (await ask(at, method, "acme/bot", taskId=mine, inputResponses={}))["error"] == UNKNOWN
        assert (await (await session(keyed, "second")).cancel(mine))["result"]["status"] == "cancelled"
        assert (await (await session(at)).get(mine))["status"] == "cancelled"


async def test_what_a_task_shows_is_nobodys_whose_key_is_revoked(at: Place, bot: Session) -> None:
    mine = (await bot.task("box__send", n=1))["taskId"]
    root = await at.gateway.directory.principal("default", "root")
    await at.gateway.directory.revoke_principal(root, "bot")
    body = {"jsonrpc": "2.0", "id": 9, "method": "tasks/get", "params": {"taskId": mine}}
    assert (await post(at, body, "bot", bot.headers))["code"].startswith("auth.")


async def test_a_task_is_at_the_endpoints_of_its_hand_alone(at: Place, bot: Session) -> None:
    mine = (await bot.task(n=1))["taskId"]
    own, other = await session(at, path="/mcp/box"), await session(at, path="/mcp/crate")
    assert (await own.result(mine))["result"]["structuredContent"] == {"call": 1}
    assert (await other.result(mine))["error"] == UNKNOWN
    assert (await other.cancel(mine))["error"] == UNKNOWN


async def test_a_principals_caps_hold_for_tasks(tmp_path: Path, tool: Tool) -> None:
    caps = {"plans_max_concurrent_per_principal": 3, "approvals_max_open_per_principal": 2}
    async with place(tmp_path / "home", tool, server=caps) as at:
        bot, rival = await session(at), await session(at, "rival")
        tool.open.clear()
        many = await asyncio.gather(*(bot.call("box__add", n=number) for number in range(40)))
        made = [one["result"]["task"] for one in many if "result" in one]
        refused = [one["error"] for one in many if "error" in one]
        assert len(made) == 3
        assert all(one["code"] == -32010 and "limit.plans" in one["message"] for one in refused)
        assert (await rival.task(n=1))["status"] == "working", "and are nobody else's"
        tool.open.set()
        for one in made:
            assert (await bot.result(one["taskId"]))["result"]["structuredContent"]
        held = [await bot.call("box__send", n=number) for number in range(4)]
        assert ["result" in one for one in held] == [True, True, False, False]
        assert all("limit.approvals" in one["error"]["message"] for one in held[2:])


# --- without a session -----------------------------------------------------------------------------------------------


async def test_a_call_that_takes_long_becomes_a_task_for_clients_that_know_them(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await extended(at, n=1))["structuredContent"] == {"call": 1}, "one that does not is answered"
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 0.2)
    tool.open.clear()
    made = await extended(at, n=2)
    assert (made["resultType"], made["status"], made["pollIntervalMs"]) == ("task", "working", 1000)
    assert not {"ttl", "pollInterval", "task", "requestState"} & set(made)
    tool.open.set()
    got: dict[str, Any] = {}

    async def completed() -> bool:
        got.update((await ask(at, "tasks/get", taskId=made["taskId"]))["result"])
        return bool(got["status"] == "completed")

    await until(completed)
    assert got["resultType"] == "complete"
    assert got["result"]["structuredContent"] == {"call": 2}
    assert RELATED not in got["result"]["_meta"]
    tool.open.clear()
    assert (await extended(at, n=2))["taskId"] != made["taskId"], "the task was delivered: this is a new call"
    tool.open.set()


async def test_nothing_that_a_client_answers_approves_a_task(at: Place, tool: Tool) -> None:
    made = await extended(at, "box__send", n=1)
    [request] = await at.open_requests()
    assert made["resultType"] == "task"
    assert request in made["statusMessage"]
    accept = {"handrail/approval": {"action": "accept"}}
    assert "error" not in await ask(at, "tasks/update", taskId=made["taskId"], inputResponses=accept)
    assert (await ask(at, "tasks/get", taskId=made["taskId"]))["result"]["status"] == "working"
    assert "error" not in await ask(at, "tasks/cancel", taskId=made["taskId"])
    assert (await ask(at, "tasks/get", taskId=made["taskId"]))["result"]["status"] == "cancelled"
    assert "error" not in await ask(at, "tasks/cancel", taskId=made["taskId"]), "an acknowledgement, and no more"
    assert tool.calls == []


async def test_a_client_that_does_not_say_that_it_knows_tasks_gets_none(at: Place, tool: Tool) -> None:
    told = await call(at, "box__send", n=1)
    assert "Waiting for approval" in str(told["result"]["content"])
    task_id = told["result"]["_meta"][PLAN]
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        error = (await ask(at, method, capabilities={}, taskId=task_id, inputResponses={}))["error"]
        assert error["code"] == -32021
        assert error["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    assert (await ask(at, "tasks/result", taskId=task_id))["error"]["code"] == -32601


# --- the record ------------------------------------------------------------------------------------------------------


async def test_a_restart_changes_nothing(tmp_path: Path, tool: Tool) -> None:
    async with place(tmp_path / "home", tool) as at:
        keys, bot = at.keys, await session(at)
        done, held = await bot.task(n=1), await bot.task("box__send", n=2)
        assert (await bot.result(done["taskId"]))["result"]["structuredContent"] == {"call": 1}
        shown = await bot.get(done["taskId"])
    async with place(tmp_path / "home", tool, keys) as at:
        bot = await session(at)
        assert await bot.get(done["taskId"]) == shown
        assert (await bot.result(done["taskId"]))["result"]["structuredContent"] == {"call": 1}
        [request] = await at.open_requests()
        assert request in (await bot.get(held["taskId"]))["statusMessage"]
        await at.approve(request)
        assert (await bot.result(held["taskId"]))["result"]["structuredContent"] == {"call": 2}
    assert len(tool.calls) == 2


async def test_a_message_that_is_no_request_of_a_task_is_refused(at: Place, bot: Session) -> None:
    for params in ({}, {"taskId": 7}, {"taskId": None}, {"taskId": ["a"]}):
        body = {"jsonrpc": "2.0", "id": 7, "method": "tasks/get", "params": params}
        assert (await post(at, body, "bot", bot.headers))["error"]["code"] == -32602
