"""A call whose answer did not arrive is issued again, by honest clients and by others: it runs once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import text

from gateway.canonical import canonical
from gateway.errors import Unavailable
from gateway.ingress.mcp import reissues
from gateway.ingress.mcp.calls import Call, _Begun
from gateway.ingress.mcp.exchange import Exchange
from gateway.ingress.mcp.failures import REFUSED
from gateway.ingress.mcp.parking import Target
from gateway.ingress.mcp.reissues import IDEMPOTENCY_META_KEY, is_of
from gateway.ingress.mcp.requests import CONTEXT_META_KEY
from gateway.model import Plan
from gateway.plans.under_way import Plans
from gateway.ports import Append
from gateway.ports.undelivered import Issued
from gateway.reasons import Reason
from gateway.store.undelivered import forget_undelivered
from tests.until import until
from tests.web.counting import Place, Tool, call, counting, place, post, stateless, two_places
from tests.web.rpc import JSON_RPC

KEY = {IDEMPOTENCY_META_KEY: "order-17"}


@pytest.fixture
async def tool() -> AsyncIterator[Tool]:
    async with counting() as found:
        yield found


@pytest.fixture
async def at(tmp_path: Path, tool: Tool) -> AsyncIterator[Place]:
    async with place(tmp_path / "home", tool) as found:
        yield found


async def broken_off(tool: Tool, calling: Coroutine[Any, Any, Any]) -> None:
    """A call whose client leaves while the tool is at work."""
    tool.open.clear()
    before = len(tool.calls)
    task = asyncio.create_task(calling)
    await until(lambda: len(tool.calls) > before)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def left(at: Place) -> None:
    """Until the gateway knows that nobody waits."""
    await until(lambda: not +at.ingress._reissues._present)


def outcome(answer: dict[str, Any]) -> Any:
    return answer["result"]["structuredContent"]["call"]


async def test_the_same_call_again_gets_the_outcome_of_the_one_that_broke_and_a_third_is_a_new_one(
    at: Place, tool: Tool
) -> None:
    await broken_off(tool, call(at, n=1))
    await left(at)
    again = asyncio.create_task(call(at, n=1))
    tool.open.set()
    assert outcome(await again) == 1
    assert outcome(await call(at, n=1)) == 2
    assert tool.calls == [{"n": 1}, {"n": 1}]


async def test_an_outcome_that_came_while_nobody_waited_is_kept_for_the_client(at: Place, tool: Tool) -> None:
    await broken_off(tool, call(at, n=1))
    await left(at)
    tool.open.set()
    await until(lambda: not at.gateway.pipeline._live)
    assert outcome(await call(at, n=1)) == 1
    assert len(tool.calls) == 1


async def test_what_is_not_the_same_call_runs(at: Place, tool: Tool) -> None:
    await broken_off(tool, call(at, n=1))
    await left(at)
    tool.open.set()
    assert outcome(await call(at, n=2)) == 2, "other arguments"
    assert outcome(await call(at, who="rival", n=1)) == 3, "another principal"
    assert outcome(await call(at, meta={CONTEXT_META_KEY: "elsewhere"}, n=1)) == 4, "another context"
    assert outcome(await call(at, n=1)) == 1, "and the call itself is still found"


async def test_a_row_that_was_read_before_its_outcome_was_delivered_makes_no_repetition(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome(await call(at, n=1)) == 1
    [plan] = await _plans(at)
    await until(lambda: at.ingress._reissues._telling is None and not at.ingress._reissues._delivered)

    async def stale(*_: Any) -> list[Issued]:
        return [Issued(plan.plan_id, here=True, received_at=plan.received_at)]

    monkeypatch.setattr(at.gateway.undelivered, "find", stale)
    assert outcome(await call(at, n=1)) == 2


async def test_two_clients_that_call_the_same_at_the_same_time_are_two_calls(at: Place, tool: Tool) -> None:
    tool.open.clear()
    both = [asyncio.create_task(call(at, n=1)) for _ in range(2)]
    await until(lambda: len(tool.calls) == 2)
    tool.open.set()
    assert [answer["result"]["structuredContent"] for answer in await asyncio.gather(*both)] == [{"call": 2}] * 2


async def test_a_call_is_not_found_for_ever(at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    await broken_off(tool, call(at, n=1))
    await left(at)
    tool.open.set()
    await until(lambda: not at.gateway.pipeline._live)
    monkeypatch.setattr(reissues, "AGAIN_SECONDS", -1.0)
    assert outcome(await call(at, n=1)) == 2


async def test_a_restart_does_not_make_the_gateway_forget(tmp_path: Path, tool: Tool) -> None:
    async with place(tmp_path / "home", tool) as at:
        keys = at.keys
        await broken_off(tool, call(at, n=1))
        await left(at)
        tool.open.set()
        await until(lambda: not at.gateway.pipeline._live)
    async with place(tmp_path / "home", tool, keys) as at:
        assert outcome(await call(at, n=1)) == 1
        assert outcome(await call(at, n=1)) == 2


async def test_what_was_delivered_before_a_restart_is_not_given_again(tmp_path: Path, tool: Tool) -> None:
    async with place(tmp_path / "home", tool) as at:
        keys = at.keys
        assert outcome(await call(at, n=1)) == 1
    async with place(tmp_path / "home", tool, keys) as at:
        assert outcome(await call(at, n=1)) == 2


def awaited(at: Place) -> int:
    """How many answers are on record as undelivered."""
    with at.gateway.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM undelivered")).scalar_one())


@pytest.mark.postgres
async def test_the_other_gateway_of_a_database_gives_the_outcome_and_runs_nothing(
    tmp_path: Path, tool: Tool, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reissues, "ELSEWHERE_SECONDS", 0.5)
    async with two_places(tmp_path, tool, postgres_url) as (here, there):
        await broken_off(tool, call(here, n=1))
        again = asyncio.create_task(call(there, n=1))
        tool.open.set()
        assert outcome(await again) == 1
        await until(lambda: not awaited(here))
        assert outcome(await call(here, n=1)) == 2, "delivered there, and so nothing is left to give here"
        await until(lambda: not awaited(here))
        assert outcome(await call(there, n=1)) == 3
        once = await asyncio.gather(*(call(one, meta=KEY, n=5) for one in (here, there, here, there)))
    assert {outcome(answer) for answer in once} == {4}
    assert len(tool.calls) == 4


# --- by a key --------------------------------------------------------------------------------------------------------


async def test_an_idempotency_key_stands_for_one_call_of_one_principal(at: Place, tool: Tool) -> None:
    assert [outcome(await call(at, meta=KEY, n=1)) for _ in range(3)] == [1, 1, 1]
    other = await call(at, meta=KEY, n=2)
    assert (other["error"]["code"], other["error"]["message"]) == (
        -32602,
        "The idempotency key was used for another call",
    )
    assert (await call(at, "box__send", meta=KEY, n=1))["error"]["code"] == -32602
    assert outcome(await call(at, who="rival", meta=KEY, n=2)) == 2, "a key is its principal's own"
    assert outcome(await call(at, n=1)) == 3, "and without the key it is a new call"


async def test_a_state_or_a_key_of_another_call_is_on_record_as_refused(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[str, Reason]] = []
    monkeypatch.setattr(at.ingress.talks, "_count", lambda caller, reason: counted.append((caller.id, reason)))
    await call(at, meta=KEY, n=1)
    await call(at, meta=KEY, n=2)
    params = {"name": "box__add", "arguments": {"n": 1}, "requestState": "forged", "_meta": stateless()}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    era = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "box__add"}
    assert (await post(at, body, "rival", era))["error"]["data"] == {"reason": "invalid_request_state"}
    assert counted == [("bot", Reason.SCHEMA_ARGS), ("rival", Reason.SCHEMA_ARGS)]


async def test_many_at_once_by_one_key_run_once(at: Place, tool: Tool) -> None:
    answers = await asyncio.gather(*(call(at, meta=KEY, n=1) for _ in range(8)))
    assert {outcome(answer) for answer in answers} == {1}
    assert len(tool.calls) == 1


@pytest.mark.parametrize("key", ["", 7, None, ["a"], "x" * 257])
async def test_what_is_no_key_is_refused(at: Place, tool: Tool, key: Any) -> None:
    answer = await call(at, meta={IDEMPOTENCY_META_KEY: key}, n=1)
    if key is None:
        assert outcome(answer) == 1
    else:
        assert answer["error"]["code"] == -32602
        assert tool.calls == []


async def test_a_key_is_forgotten_with_its_row(at: Place, tool: Tool) -> None:
    await call(at, meta=KEY, n=1)
    await at.gateway.log.append(Append((), [forget_undelivered(at.gateway.clock() + 1)]))
    answer = await call(at, meta=KEY, n=1)
    assert "verify.replayed" in str(answer), "as long as the plan itself could be replayed, its key is not free"
    assert len(tool.calls) == 1


# --- sessions --------------------------------------------------------------------------------------------------------


async def session(at: Place) -> dict[str, str]:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    async with httpx2.AsyncClient(timeout=60) as http:
        sent = {"authorization": f"Bearer {at.keys['bot']}", **JSON_RPC}
        answer = await http.post(f"{at.url}/mcp", json=body, headers=sent)
    return {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


def in_session(id_: int, **arguments: Any) -> dict[str, Any]:
    params = {"name": "box__add", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


async def test_in_a_session_the_same_call_is_found_and_in_another_it_is_another(at: Place, tool: Tool) -> None:
    mine, other = await session(at), await session(at)
    await broken_off(tool, post(at, in_session(2, n=1), headers=mine))
    await left(at)
    tool.open.set()
    assert outcome(await post(at, in_session(3, n=1), headers=other)) == 2
    assert outcome(await post(at, in_session(4, n=1), headers=mine)) == 1
    assert outcome(await post(at, in_session(5, n=1), headers=mine)) == 3


async def test_a_call_that_is_issued_again_before_the_first_was_begun_runs_once(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first one is held against the record, nothing tells the second one of it."""
    mine, find, slow = await session(at), at.gateway.undelivered.find, asyncio.Event()
    looked = 0

    async def slowly(*asked: Any) -> Any:
        nonlocal looked
        looked += 1
        if looked == 1:
            await slow.wait()
        return await find(*asked)

    monkeypatch.setattr(at.gateway.undelivered, "find", slowly)
    broken = asyncio.create_task(post(at, in_session(2, n=1), headers=mine))
    await until(lambda: looked)
    broken.cancel()
    await asyncio.gather(broken, return_exceptions=True)
    again = asyncio.create_task(post(at, in_session(3, n=1), headers=mine))
    bound = Target(await at.gateway.directory.principal("default", "bot"), "box", "add", {"n": 1}).bound()
    await until(lambda: at.ingress._reissues._turns[bound]._waiters)
    slow.set()
    assert outcome(await again) == 1
    assert len(tool.calls) == 1


async def test_calling_off_a_call_that_was_issued_again_takes_the_first_one_back(at: Place, tool: Tool) -> None:
    mine = await session(at)
    await broken_off(tool, post(at, in_session(2, n=1), headers=mine))
    await left(at)
    waiting = asyncio.create_task(post(at, in_session(3, n=1), headers=mine))
    await until(lambda: +at.ingress._reissues._present)
    [begun] = at.ingress.calls._begun.values()
    off = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}}
    sent = {"authorization": f"Bearer {at.keys['bot']}", **JSON_RPC, **mine}
    async with httpx2.AsyncClient() as http:
        assert (await http.post(f"{at.url}/mcp", json=off, headers=sent)).status_code == 202
    assert begun.call.talk is not None
    await until(begun.call.talk.cancelled.is_set)
    tool.open.set()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_of_a_call_that_ran_it_is_not_said_that_nothing_was_run(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise Unavailable(Reason.LOG_UNAVAILABLE)

    await broken_off(tool, call(at, n=1))
    await left(at)
    tool.open.set()
    await until(lambda: not at.gateway.pipeline._live)
    monkeypatch.setattr(Plans, "view", away)
    error = (await call(at, n=1))["error"]
    assert error["code"] == REFUSED
    assert "log.unavailable" in error["message"]
    assert "/v1/plans/" in error["message"]
    assert "Nothing was run" not in error["message"]
    monkeypatch.undo()
    assert outcome(await call(at, n=1)) == 1, "and it is kept"


# --- questions -------------------------------------------------------------------------------------------------------


async def test_a_question_that_did_not_reach_its_client_is_given_up_and_one_that_did_is_waited_for_until_the_call_ends(
    at: Place,
) -> None:
    target, given_up = Target(await at.gateway.directory.principal("default", "bot"), "box", "add", {"n": 1}), []
    reissues = at.ingress._reissues
    ends: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def view() -> dict[str, Any]:
        return await ends

    asking = Call("a" * 64, target.caller, asyncio.create_task(view()))
    at.ingress.calls._begun[asking.plan_id] = _Begun(asking, target.bound(), "c", None)
    for heard in (False, True):
        exchange = Exchange()
        reissues.waits(exchange, asking.plan_id)
        reissues.asks(exchange, asking, lambda heard=heard: given_up.append(heard))
        exchange.delivered = heard
        reissues.over(exchange)
    late = Exchange()
    late.over = True
    reissues.asks(late, asking, lambda: given_up.append(None))
    assert given_up == [False, None]
    assert reissues._is_there(asking.plan_id), "its client was asked, and will come"
    ends.set_result({})
    await asking.view
    await until(lambda: not reissues._is_there(asking.plan_id))
    assert reissues._asked == set(), "nothing is remembered of clients that never came"


async def test_a_call_that_its_client_called_off_is_not_given_to_the_next(at: Place, tool: Tool) -> None:
    mine = await session(at)
    tool.open.clear()
    waiting = asyncio.create_task(post(at, in_session(2, n=1), headers=mine))
    await until(lambda: tool.calls)
    off = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
    sent = {"authorization": f"Bearer {at.keys['bot']}", **JSON_RPC, **mine}
    async with httpx2.AsyncClient() as http:
        assert (await http.post(f"{at.url}/mcp", json=off, headers=sent)).status_code == 202
    await until(lambda: not +at.ingress._reissues._present or waiting.done())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    tool.open.set()
    assert outcome(await post(at, in_session(3, n=1), headers=mine)) == 2


# --- delivery --------------------------------------------------------------------------------------------------------


async def test_an_answer_counts_as_delivered_only_where_it_was_handed_over_whole_to_somebody() -> None:
    async def nothing(_: Any) -> None:
        return None

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    def body(content: bytes) -> dict[str, Any]:
        return {"type": "http.response.body", "body": content, "more_body": True}

    start, ping = {"type": "http.response.start", "status": 200}, body(b": ping\r\n\r\n")
    note = body(b'event: message\r\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\r\n\r\n')
    asked = body(b'event: message\r\nid: e1\r\ndata: {"jsonrpc":"2.0","id":3,"method":"roots/list"}\r\n\r\n')
    event = body(b'event: message\r\nid: e2\r\ndata: {"jsonrpc":"2.0","id":"method","result":{"method":1}}\r\n\r\n')
    heard, early, late = Exchange(), Exchange(), Exchange()
    for one in (heard, early, late):
        await one.sending(nothing)(start)
        await one.sending(nothing)(note)
        one.answered.add("p")
        for before in (ping, note, asked, body(b"id: e0\r\ndata: \r\n\r\n"), body(b"")):
            await one.sending(nothing)(before)
            assert not one.delivered, "a connection that breaks now has not brought the outcome"
    await heard.sending(nothing)(event)
    await heard.receiving(gone)()  # clients hang up once they have it
    await late.receiving(gone)()
    await late.sending(nothing)(event)
    assert (heard.delivered, early.delivered, late.delivered) == (True, False, False)


# --- the record ------------------------------------------------------------------------------------------------------


async def test_a_row_that_leads_to_another_plan_gives_nothing_away(at: Place, tool: Tool) -> None:
    await call(at, who="rival", n=9)
    [theirs] = [unverified for unverified in await _plans(at) if unverified.principal.id == "rival"]
    await broken_off(tool, call(at, n=1))
    await left(at)
    tool.open.set()
    await until(lambda: not at.gateway.pipeline._live)
    with at.gateway.engine.begin() as connection:
        changed = {"other": theirs.plan_id}
        assert connection.execute(text("UPDATE undelivered SET plan_id = :other"), changed).rowcount == 1
    assert outcome(await call(at, n=1)) == 3, "it runs; nobody's outcome but its own could be given"


async def test_a_call_whose_arguments_were_erased_is_not_known_to_be_any(at: Place, tool: Tool) -> None:
    await call(at, n=1)
    [plan] = await _plans(at)
    loaded = await at.gateway.pipeline.load(plan.plan_id)
    assert loaded.plan.principal == plan.principal
    target = Target(plan.principal, "box", "add", {"n": 1})
    assert is_of(loaded, target)
    loaded.steps["call"].args = None
    assert not is_of(loaded, target)


async def test_whoever_gets_the_id_of_somebody_erased_gets_none_of_their_outcomes(at: Place, tool: Tool) -> None:
    """Neither of the same call, nor by the same idempotency key."""
    await broken_off(tool, call(at, n=1))
    await broken_off(tool, call(at, meta=KEY, n=1))
    await left(at)
    tool.open.set()
    await until(lambda: not at.gateway.pipeline._live)
    async with httpx2.AsyncClient(base_url=at.url, timeout=60) as http:

        async def send(who: str, path: str, body: Any = None) -> Any:
            headers = {"authorization": f"Bearer {keys[who]}"}
            answer = await http.request("GET" if body is None else "POST", path, headers=headers, json=body)
            assert answer.status_code in {200, 201, 202}, answer.text
            return answer.json()

        async def made(name: str, role: str) -> str:
            answer = await send("root", "/v1/principals", {"id": name, "roles": [role]})
            return str(answer["api_key"]["token"])

        keys = dict(at.keys)
        keys["officer"] = await made("officer", "privacy_officer")
        erasure = await send("officer", "/v1/privacy/erasures", {"person": "bot"})

        async def erased() -> bool:
            found = await send("officer", f"/v1/privacy/erasures/{erasure['erasure_id']}")
            return bool(found["state"] == "done")

        await until(erased)
        keys["bot"] = await made("bot", "agent")
    anew = replace(at, keys=keys)
    assert outcome(await call(anew, n=1)) == 3
    assert outcome(await call(anew, meta=KEY, n=1)) == 4
    assert outcome(await call(anew, meta=KEY, n=1)) == 4, "their own is kept for them"


async def test_the_same_call_of_another_tenant_is_another_call(at: Place, tool: Tool) -> None:
    await broken_off(tool, call(at, n=1))
    await left(at)
    tool.open.set()
    await until(lambda: not at.gateway.pipeline._live)
    [plan] = await _plans(at)
    loaded = await at.gateway.pipeline.load(plan.plan_id)
    found = {}
    for tenant in ("default", "other"):
        target = Target(replace(plan.principal, tenant=tenant), "box", "add", {"n": 1})
        rows = await at.gateway.undelivered.find(target.caller, target.hand, target.action, target.arguments, None)
        found[tenant] = ([row.plan_id for row in rows], is_of(loaded, target))
    assert found == {"default": ([plan.plan_id], True), "other": ([], False)}


async def test_a_row_tells_neither_what_was_called_nor_with_what(at: Place, tool: Tool) -> None:
    await broken_off(tool, call(at, n=4711))
    await left(at)
    with at.gateway.engine.connect() as connection:
        [row] = connection.execute(text("SELECT * FROM undelivered")).mappings().all()
    assert not {"box", "add", "bot"} & set(map(str, row.values()))
    guess = canonical(["default", row["principal"], "call", "box", "add", {"n": 4711}])
    assert row["call_key"] != hashlib.sha256(guess).hexdigest()
    tool.open.set()


async def _plans(at: Place) -> list[Plan]:
    with at.gateway.engine.connect() as connection:
        found = connection.execute(text("SELECT plan_id FROM plans")).scalars().all()
    return [(await at.gateway.pipeline.load(one)).plan for one in found]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_real_clients_same_calls_one_after_the_other_are_as_many_calls(at: Place, tool: Tool, mode: str) -> None:
    """What the SDK's client has heard counts as delivered, also where it hangs up at once."""
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {at.keys['bot']}"}, timeout=60) as http,
        Client(streamable_http_client(f"{at.url}/mcp", http_client=http), mode=mode) as client,
    ):
        heard = [(await client.call_tool("box__add", {"n": 1})).structured_content for _ in range(25)]
    assert heard == [{"call": number} for number in range(1, 26)]


async def test_an_answer_that_a_client_had_sent_again_on_its_stream_is_delivered(at: Place, tool: Tool) -> None:
    mine = await session(at)
    sent = {"authorization": f"Bearer {at.keys['bot']}", **JSON_RPC, **mine}
    tool.open.clear()
    async with httpx2.AsyncClient(timeout=60) as http:
        async with http.stream("POST", f"{at.url}/mcp", json=in_session(2, n=1), headers=sent) as broken:
            lines = broken.aiter_lines()
            event_id = next_id(await anext(lines), await anext(lines))
        await left(at)
        tool.open.set()
        await until(lambda: not at.gateway.pipeline._live)
        await until(lambda: at.ingress._reissues._missed)
        async with http.stream("GET", f"{at.url}/mcp", headers={**sent, "last-event-id": event_id}) as rest:
            async for line in rest.aiter_lines():
                if '"call":1' in line.replace(" ", ""):
                    break
    await left(at)
    assert outcome(await post(at, in_session(3, n=1), headers=mine)) == 2


def next_id(*lines: str) -> str:
    """The id of the event that begins a stream."""
    return next(line.removeprefix("id: ") for line in lines if line.startswith("id: "))
