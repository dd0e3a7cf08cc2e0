"""A call that waits for a person: its client is shown where people answer, waits or comes again, and never approves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError, types
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import UrlElicitationRequiredError

from gateway.ingress.mcp import calls, notices
from gateway.ingress.mcp.asking import APPROVAL_KEY
from gateway.model import Answer
from tests.until import until
from tests.web.counting import EVERYTHING, Place, Tool, call, counting, place, text_of

ACCEPT = {APPROVAL_KEY: {"action": "accept"}}


@pytest.fixture
async def tool() -> AsyncIterator[Tool]:
    async with counting() as found:
        yield found


@pytest.fixture
async def at(tmp_path: Path, tool: Tool) -> AsyncIterator[Place]:
    async with place(tmp_path / "home", tool) as found:
        yield found


async def send(at: Place, **more: Any) -> dict[str, Any]:
    return await call(at, "box__send", **{"n": 1, **more})


async def test_the_text_names_the_page_and_the_same_call_waits_for_the_outcome_and_asks_nobody_anew(
    at: Place, tool: Tool
) -> None:
    first = text_of(await send(at))
    [request] = await at.open_requests()
    assert f"{at.gateway.settings.public_url}/approvals/{request}" in first
    assert "Make the same call again" in first
    waiting = asyncio.create_task(send(at))
    await asyncio.sleep(0)
    assert tool.calls == []
    await at.approve(request)
    assert (await waiting)["result"]["structuredContent"] == {"call": 1}
    assert await at.open_requests() == [request]
    assert request not in text_of(await send(at)), "once the outcome was delivered, the same call is a new one"
    assert len(await at.open_requests()) == 2
    assert len(tool.calls) == 1


async def test_an_outcome_that_came_long_after_is_still_there(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(at)
    [request] = await at.open_requests()
    await at.approve(request)
    await until(lambda: tool.calls and not at.gateway.pipeline._live)
    monkeypatch.setattr("gateway.ingress.mcp.reissues.AGAIN_SECONDS", -1.0)
    assert (await send(at))["result"]["structuredContent"] == {"call": 1}


async def test_waiting_has_an_end_and_the_request_stays_open(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(at)
    monkeypatch.setattr(calls, "CALL_WAIT_SECONDS", 0.2)
    again = text_of(await send(at))
    [request] = await at.open_requests()
    assert f"Waiting for approval {request}" in again
    assert tool.calls == []


async def test_another_principals_same_call_is_asked_for_itself(at: Place, tool: Tool) -> None:
    await send(at)
    assert "Waiting for approval" in text_of(await send(at, who="rival"))
    assert len(await at.open_requests()) == 2


@pytest.mark.parametrize("then", [[1, 1, 1], [1.0, 1, 1.0]], ids=["as it was", "spelled otherwise"])
async def test_a_call_that_a_person_refused_is_denied_when_it_is_made_again_and_nobody_is_asked(
    at: Place, tool: Tool, then: list[float]
) -> None:
    await send(at)
    [request] = await at.open_requests()
    await at.approve(request, Answer.REFUSE)
    said = {text_of(await send(at, n=n)) for n in [1, *then]}  # the first of them is its outcome
    [told] = said
    assert told.startswith("approval.refused: A person refused this call.")
    assert "Waiting for approval" in text_of(await send(at, n=2))
    assert "Waiting for approval" in text_of(await send(at, who="rival"))
    assert len(await at.open_requests()) == 3
    assert tool.calls == []


# --- clients without a session ---------------------------------------------------------------------------------------


async def test_a_stateless_client_that_can_show_urls_is_asked_to_and_then_waits(at: Place, tool: Tool) -> None:
    asked = (await send(at, capabilities=EVERYTHING))["result"]
    [request] = await at.open_requests()
    assert asked["resultType"] == "input_required"
    question = asked["inputRequests"][APPROVAL_KEY]
    assert question["method"] == "elicitation/create"
    assert question["params"]["mode"] == "url"
    assert question["params"]["url"] == f"{at.gateway.settings.public_url}/approvals/{request}"
    waiting = asyncio.create_task(send(at, capabilities=EVERYTHING, responses=ACCEPT))
    await asyncio.sleep(0)
    assert tool.calls == [], "the client's yes is nobody's approval"
    await at.approve(request)
    assert (await waiting)["result"]["structuredContent"] == {"call": 1}
    assert await at.open_requests() == [request]


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_client_that_does_not_wait_is_told_so_at_once_and_people_can_still_answer(
    at: Place, tool: Tool, action: str
) -> None:
    await send(at, capabilities=EVERYTHING)
    said = {APPROVAL_KEY: {"action": action}}
    told = text_of(await send(at, capabilities=EVERYTHING, responses=said))
    [request] = await at.open_requests()
    assert f"Waiting for approval {request}" in told
    await at.approve(request)
    await until(lambda: tool.calls)


async def test_an_answer_that_nobody_asked_for_approves_nothing_and_reaches_no_tool(at: Place, tool: Tool) -> None:
    told = text_of(await send(at, capabilities=EVERYTHING, responses=ACCEPT))
    assert "Waiting for approval" in told
    assert tool.calls == []


# --- clients with a session ------------------------------------------------------------------------------------------


@asynccontextmanager
async def client(at: Place, answers: Any, heard: list[Any] | None = None) -> AsyncIterator[Client]:
    async def listen(message: Any) -> None:
        if heard is not None:
            heard.append(message)

    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {at.keys['bot']}"}, timeout=60) as http,
        Client(
            streamable_http_client(f"{at.url}/mcp", http_client=http),
            mode="legacy",
            elicitation_callback=answers,
            message_handler=listen,
        ) as connected,
    ):
        yield connected


async def test_in_a_session_the_client_shows_the_page_and_gets_the_outcome(at: Place, tool: Tool) -> None:
    shown: list[types.ElicitRequestURLParams] = []
    heard: list[Any] = []

    async def show(_: Any, params: Any) -> types.ElicitResult:
        shown.append(params)
        return types.ElicitResult(action="accept")

    async with client(at, show, heard) as connected:
        calling = asyncio.create_task(connected.call_tool("box__send", {"n": 1}))
        await until(lambda: shown)
        [request] = await at.open_requests()
        assert (shown[0].url, shown[0].elicitation_id) == (
            f"{at.gateway.settings.public_url}/approvals/{request}",
            request,
        )
        assert tool.calls == [], "the client's yes is nobody's approval"
        await at.approve(request)
        assert (await calling).structured_content == {"call": 1}
        await until(lambda: any(isinstance(one, types.ElicitCompleteNotification) for one in heard))


def told_of(heard: list[Any]) -> list[str]:
    """The pages of which a client was told that they were answered."""
    return [one.params.elicitation_id for one in heard if isinstance(one, types.ElicitCompleteNotification)]


async def accept(_: Any, __: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept")


async def test_the_client_is_told_that_the_page_was_answered_before_the_call_has_run(at: Place, tool: Tool) -> None:
    heard: list[Any] = []
    tool.open.clear()
    async with client(at, accept, heard) as connected:
        calling = asyncio.create_task(connected.call_tool("box__send", {"n": 1}))
        [request] = await until(at.open_requests)
        await at.approve(request)
        await until(lambda: told_of(heard))
        assert not calling.done()
        tool.open.set()
        assert (await calling).structured_content == {"call": 1}
    assert told_of(heard) == [request]


@pytest.mark.parametrize("answer", [Answer.APPROVE, Answer.REFUSE])
async def test_a_client_whose_request_ended_is_told_on_its_sessions_stream(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(calls, "CALL_WAIT_SECONDS", 0.3)
    heard: list[Any] = []
    async with client(at, accept, heard) as connected:
        with pytest.raises(MCPError):
            await connected.call_tool("box__send", {"n": 1})
        [request] = await at.open_requests()
        assert told_of(heard) == []
        await at.approve(request, answer)
        await until(lambda: told_of(heard))
    assert told_of(heard) == [request]


async def test_who_may_not_use_the_hand_any_more_is_not_told_and_other_sessions_are_not_either(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALL_WAIT_SECONDS", 0.3)
    heard: list[Any] = []
    bystander: list[Any] = []
    async with client(at, accept, heard) as connected, client(at, accept, bystander):
        with pytest.raises(MCPError):
            await connected.call_tool("box__send", {"n": 1})
        [request] = await at.open_requests()
        watched = at.ingress._talks._notices._watches
        [watch] = watched.values()
        root = await at.gateway.directory.principal("default", "root")
        await at.gateway.directory.revoke_principal(root, "bot")
        await at.approve(request, Answer.REFUSE)
        await until(lambda: not watched)
        assert watch.task is not None
        assert watch.task.exception() is None
    assert told_of(heard) == told_of(bystander) == []


async def test_a_session_that_ends_is_watched_for_no_more_and_one_principal_fills_only_its_share(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALL_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(notices, "PER_PRINCIPAL_MAX", 2)
    async with client(at, accept) as connected:
        for number in range(3):
            with pytest.raises(MCPError):
                await connected.call_tool("box__send", {"n": number})
        assert len(at.ingress._talks._notices._watches) == 2
    await until(lambda: not at.ingress._talks._notices._watches)


async def test_in_a_session_a_client_that_says_no_gets_the_text(at: Place, tool: Tool) -> None:
    async def refuse(_: Any, __: Any) -> types.ElicitResult:
        return types.ElicitResult(action="decline")

    async with client(at, refuse) as connected:
        told = await connected.call_tool("box__send", {"n": 1})
    assert told.is_error
    assert "Waiting for approval" in str(told.content)


async def test_a_client_that_waits_longer_than_a_request_may_is_told_what_to_show_and_calls_again(
    at: Place, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALL_WAIT_SECONDS", 0.3)

    async def show(_: Any, __: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept")

    async with client(at, show) as connected:
        with pytest.raises(MCPError) as raised:
            await connected.call_tool("box__send", {"n": 1})
        assert raised.value.code == types.URL_ELICITATION_REQUIRED == -32042
        required = UrlElicitationRequiredError.from_error(raised.value.error)
        [request] = await at.open_requests()
        assert [one.elicitation_id for one in required.elicitations] == [request]
        await at.approve(request)
        await until(lambda: tool.calls and not at.gateway.pipeline._live)
        assert (await connected.call_tool("box__send", {"n": 1})).structured_content == {"call": 1}
