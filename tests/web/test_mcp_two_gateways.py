"""Two gateways of one database: what a client began at one, it looks at, takes back and collects at the other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.ingress.mcp import reissues, tasks
from gateway.ingress.mcp.reissues import IDEMPOTENCY_META_KEY
from gateway.reasons import Reason
from tests.until import until
from tests.web.counting import Place, Tool, call, counting, text_of, two_places
from tests.web.tasking import KNOWS, ask, session

pytestmark = pytest.mark.postgres


@pytest.fixture
async def tool() -> AsyncIterator[Tool]:
    async with counting() as found:
        yield found


@pytest.fixture
async def both(tmp_path: Path, tool: Tool, postgres_url: str) -> AsyncIterator[tuple[Place, Place]]:
    async with two_places(tmp_path, tool, postgres_url) as found:
        yield found


async def test_a_task_of_a_session_is_polled_and_collected_at_the_other(both: tuple[Place, Place], tool: Tool) -> None:
    here, there = both
    tool.open.clear()
    made = await (await session(here)).task(n=1)
    other = await session(there)
    assert (await other.get(made["taskId"]))["status"] == "working"
    collecting = asyncio.create_task(other.result(made["taskId"]))
    await until(lambda: tool.calls)
    tool.open.set()
    assert (await collecting)["result"]["structuredContent"] == {"call": 1}
    assert (await other.get(made["taskId"]))["status"] == "completed"
    assert len(tool.calls) == 1


async def test_a_task_of_the_extension_is_polled_at_the_other(
    both: tuple[Place, Place], tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 0.1)
    here, there = both
    tool.open.clear()
    made = (await call(here, capabilities=KNOWS, n=1))["result"]
    assert made["resultType"] == "task"

    async def shown() -> Any:
        return (await ask(there, "tasks/get", taskId=made["taskId"]))["result"]

    assert (await shown())["status"] == "working"
    tool.open.set()

    async def completed() -> Any:
        found = await shown()
        return found if found["status"] == "completed" else None

    assert (await until(completed))["result"]["structuredContent"] == {"call": 1}


async def test_a_held_task_is_taken_back_at_the_other_and_nobody_approves_it_any_more(
    both: tuple[Place, Place], tool: Tool
) -> None:
    here, there = both
    made = await (await session(here)).task("box__send", n=1)
    [request] = await here.open_requests()
    cancelled = await (await session(there)).cancel(made["taskId"])
    assert cancelled["result"]["status"] == "cancelled"
    for at in both:
        with pytest.raises(Refused) as raised:
            await at.approve(request)
        assert raised.value.reason is Reason.APPROVAL_VOIDED
    assert (await (await session(here)).get(made["taskId"]))["status"] == "cancelled"
    assert tool.calls == []


async def test_one_that_runs_is_called_off_by_the_gateway_that_runs_it_alone(
    both: tuple[Place, Place], tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_WAIT_SECONDS", 0.2)
    here, there = both
    tool.open.clear()
    made = await (await session(here)).task(n=1)
    await until(lambda: tool.calls)
    other = await session(there)
    refused = (await other.cancel(made["taskId"]))["error"]
    assert refused["code"] == -32010
    assert "goes on" in refused["message"]
    assert (await other.get(made["taskId"]))["status"] == "working"
    tool.open.set()
    assert (await other.result(made["taskId"]))["result"]["structuredContent"] == {"call": 1}


async def test_a_call_that_is_approved_at_the_other_is_answered_where_its_client_waits(
    both: tuple[Place, Place], tool: Tool
) -> None:
    here, there = both
    assert "Waiting for approval" in text_of(await call(here, "box__send", n=1))
    [request] = await here.open_requests()
    waiting = asyncio.create_task(call(here, "box__send", n=1))
    await there.approve(request)
    assert (await waiting)["result"]["structuredContent"] == {"call": 1}
    assert len(tool.calls) == 1


async def test_a_task_that_is_approved_at_the_other_runs_once(both: tuple[Place, Place], tool: Tool) -> None:
    here, there = both
    made = await (await session(here)).task("box__send", n=1)
    [request] = await there.open_requests()
    await asyncio.gather(*(at.approve(request) for at in both), return_exceptions=True)
    for at in both:
        assert (await (await session(at)).result(made["taskId"]))["result"]["structuredContent"] == {"call": 1}
    assert len(tool.calls) == 1


async def test_a_held_call_that_is_made_again_at_the_other_waits_with_the_first_and_asks_nobody_anew(
    both: tuple[Place, Place], tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reissues, "ELSEWHERE_SECONDS", 0.5)
    here, there = both
    await call(here, "box__send", n=1)
    again = asyncio.create_task(call(there, "box__send", n=1))
    [request] = await here.open_requests()
    await here.approve(request)
    assert (await again)["result"]["structuredContent"] == {"call": 1}
    assert await there.open_requests() == [request]
    assert len(tool.calls) == 1


async def test_a_task_by_a_key_is_one_at_both(both: tuple[Place, Place], tool: Tool) -> None:
    key = {IDEMPOTENCY_META_KEY: "order-17"}
    sessions = [await session(at) for at in both for _ in range(2)]
    made = await asyncio.gather(*(one.call("box__add", meta=key, n=1) for one in sessions))
    [task_id] = {one["result"]["task"]["taskId"] for one in made}
    for one in sessions:
        assert (await one.result(task_id))["result"]["structuredContent"] == {"call": 1}
    assert len(tool.calls) == 1
