"""One principal cannot take every MCP session of the gateway."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest

from gateway.errors import Unavailable
from gateway.ingress.mcp.sessions import SESSIONS_PER_PRINCIPAL_MAX, Sessions
from gateway.model import Role
from gateway.reasons import Reason
from tests.web.fake import testing_only_Gateway, token
from tests.web.rpc import INITIALIZE, JSON_RPC, rpc

MAX = SESSIONS_PER_PRINCIPAL_MAX
ME, OTHER = ("default", "me"), ("default", "other")


class Agent:
    """A client of the handshake era that does as it likes with sessions."""

    def __init__(self, http: httpx2.AsyncClient, who: Role | str) -> None:
        self.http = http
        self.headers = token(who) | JSON_RPC

    async def opening(self, body: bytes = INITIALIZE, path: str = "/mcp") -> httpx2.Response:
        return await self.http.post(path, content=body, headers=self.headers)

    async def open(self, path: str = "/mcp") -> str:
        answer = await self.opening(path=path)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["mcp-session-id"])

    async def ping(self, session: str, path: str = "/mcp") -> int:
        headers = self.headers | {"mcp-session-id": session}
        return (await self.http.post(path, content=rpc("ping"), headers=headers)).status_code

    async def end(self, session: str) -> int:
        return (await self.http.delete("/mcp", headers=self.headers | {"mcp-session-id": session})).status_code


@pytest.fixture
async def http(port: int) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as opened:
        yield opened


@pytest.fixture
def agent(http: httpx2.AsyncClient) -> Agent:
    return Agent(http, Role.AGENT)


async def test_a_principal_that_opens_without_end_keeps_only_its_newest_sessions(
    agent: Agent, http: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    other = Agent(http, "other")
    theirs = await other.open()
    sessions = [await agent.open() for _ in range(MAX)]
    assert await agent.ping(sessions[0]) == 200, "the first is now the one used last"
    newer = [await agent.open() for _ in range(3)]
    assert [await agent.ping(session) for session in sessions[1:4]] == [404] * 3
    assert [await agent.ping(session) for session in (sessions[0], *sessions[4:], *newer)] == [200] * MAX
    assert await other.ping(theirs) == 200
    assert gateway.log.aggregated == []


async def test_a_session_is_one_with_the_endpoint_that_opened_it(agent: Agent) -> None:
    """Another would offer other tools in it than those that its client was shown."""
    paths = ["/mcp", "/mcp/git", "/mcp/clock"]
    sessions = {path: await agent.open(path) for path in paths}
    for path in paths:
        assert {other: await agent.ping(sessions[path], other) for other in paths} == {
            other: 200 if other == path else 404 for other in paths
        }
    assert [await agent.ping(sessions[path], path) for path in paths] == [200] * 3


async def test_a_session_that_is_asked_for_at_another_endpoint_goes_on_counting(agent: Agent) -> None:
    """Else a principal opens some, has them forgotten by asking elsewhere, and opens more until nobody else can."""
    sessions = [await agent.open() for _ in range(MAX)]
    for session in sessions:
        assert await agent.ping(session, "/mcp/git") == 404
    await agent.open()
    assert [await agent.ping(session) for session in sessions] == [404, *[200] * (MAX - 1)]


async def test_a_surplus_session_is_closed_whichever_endpoint_it_is_with(
    agent: Agent, gateway: testing_only_Gateway
) -> None:
    oldest = await agent.open("/mcp/git")
    newer = [await agent.open(path) for path in ("/mcp", "/mcp/clock") * (MAX // 2)]
    assert await agent.ping(oldest, "/mcp/git") == 404
    assert await agent.ping(newer[1], "/mcp/clock") == 200
    assert gateway.log.aggregated == []


async def test_sessions_in_use_are_not_closed_and_another_one_is_refused(
    agent: Agent, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ingress.mcp.sessions.SESSIONS_PER_PRINCIPAL_MAX", 2)
    sessions = [await agent.open(), await agent.open()]
    async with AsyncExitStack() as listening:
        for session in sessions:
            headers = agent.headers | {"mcp-session-id": session}
            stream = await listening.enter_async_context(http.stream("GET", "/mcp", headers=headers))
            assert stream.status_code == 200
        refused = await agent.opening()
        assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (503, "gateway.overloaded", 2)
        assert [await agent.ping(session) for session in sessions] == [200, 200]
        await Agent(http, "other").open()
        assert await agent.end(sessions[0]) == 200
        assert await agent.ping(await agent.open()) == 200


async def test_what_opens_no_session_takes_no_place(agent: Agent, http: httpx2.AsyncClient) -> None:
    sessions = [await agent.open() for _ in range(MAX)]
    for _ in range(MAX + 1):
        assert (await agent.opening(rpc("tools/list"))).status_code == 400
    assert (await http.get("/mcp", headers=agent.headers)).status_code == 400
    assert await Agent(http, "other").end(sessions[0]) == 404
    assert [await agent.ping(session) for session in sessions] == [200] * MAX, "strangers and nonsense close none"


def opened(sessions: Sessions, name: str) -> None:
    sessions.begin_opening(ME)
    assert sessions.opened(name, ME) == []
    sessions.leave(name, ME)


def open_of(sessions: Sessions, owner: tuple[str, str]) -> int:
    """Sessions of ``owner`` that are open now."""
    sessions._forget_idle()
    return sum(session.owner == owner for session in sessions._sessions.values())


def test_a_session_that_the_sdk_let_go_for_idleness_is_not_counted() -> None:
    now = [0.0]
    sessions = Sessions(1800.0, lambda: now[0])
    for name in ("idle", "used", "open stream"):
        opened(sessions, name)
    sessions.enter("open stream", ME)
    now[0] = 1000.0
    sessions.enter("used", ME)
    sessions.leave("used", ME)
    now[0] = 1800.0
    assert open_of(sessions, ME) == 2
    now[0] = 2800.0
    assert open_of(sessions, ME) == 1
    sessions.ended("open stream", ME)
    assert open_of(sessions, ME) == 0


def test_openings_under_way_count_and_give_their_place_back() -> None:
    sessions = Sessions(1800.0)
    for _ in range(MAX):
        sessions.begin_opening(ME)
    with pytest.raises(Unavailable) as refused:
        sessions.begin_opening(ME)
    assert refused.value.reason is Reason.OVERLOADED
    sessions.begin_opening(OTHER)
    sessions.not_opened(ME)
    sessions.begin_opening(ME)


def test_nobody_uses_or_ends_a_session_of_another() -> None:
    sessions = Sessions(1800.0)
    opened(sessions, "s")
    sessions.enter("s", OTHER)
    sessions.ended("s", OTHER)
    assert (open_of(sessions, ME), open_of(sessions, OTHER)) == (1, 0)
