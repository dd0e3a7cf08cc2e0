"""The real program is told to stop while it is asked for much: what it said it took is done, once, and on record."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.limits.place import Place, place
from tests.until import until

SENDERS = 12


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as running:
        yield running


async def _load(gateway: Place, sender: int, said: dict[str, httpx2.Response | None]) -> None:
    """Send plans one after the other until nobody takes any; ``None`` is a request that got no answer."""
    async with gateway.client() as http:
        for number in range(10_000):
            q = f"{sender}-{number}"
            plan = gateway.plan(q, "git_log" if number % 10 == 3 else "git_status")
            said[q] = None
            try:
                headers = {"content-type": "application/jose"}
                answer = await http.post(f"/v1/plans?wait={number % 2}", content=plan, headers=headers)
            except httpx2.TransportError:
                return
            said[q] = answer
            if answer.status_code == 503:
                return


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_stop_under_load_loses_nothing_that_was_taken(gateway: Place, signals: int) -> None:
    said: dict[str, httpx2.Response | None] = {}
    senders = [asyncio.create_task(_load(gateway, number, said)) for number in range(SENDERS)]
    await until(lambda: sum(answer is not None for answer in said.values()) >= 100)
    assert gateway.process is not None
    async with gateway.client() as http:
        assert (await http.get("/readyz")).status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        if signals == 2:
            await until(lambda: _refuses(http))
            gateway.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*senders)
    await asyncio.to_thread(gateway.stopped)
    taken = {q: answer for q, answer in said.items() if answer is not None and answer.status_code in {200, 202}}
    refused = {q: answer for q, answer in said.items() if answer is not None and q not in taken}
    assert len(taken) >= 100
    assert {(answer.status_code, answer.json()["code"]) for answer in refused.values()} <= {(503, "gateway.draining")}
    if signals == 1:
        assert refused, "somebody was told to go elsewhere"
        assert all(answer.headers["connection"] == "close" for answer in refused.values())

    gateway.start()
    async with gateway.client() as http:

        async def final(plan_id: str) -> str:
            answer = await http.get(f"/v1/plans/{plan_id}")
            assert answer.status_code == 200, "an acknowledged plan is on record"
            return str(answer.json()["steps"][0]["status"]) if answer.json()["status"] == "done" else ""

        statuses = {}
        for q, answer in taken.items():
            statuses[q] = await until(lambda answer=answer: final(answer.json()["plan_id"]))  # type: ignore[misc]
    if signals == 1:
        assert set(statuses.values()) == {"succeeded"}
        assert {gateway.asked[q] for q in taken} == {1}
    else:
        # What a forced end cut off is said to be in doubt, or runs after it; nothing is said to be done that was not.
        assert set(statuses.values()) <= {"succeeded", "ambiguous"}
        assert all(gateway.asked[q] == 1 for q, status in statuses.items() if status == "succeeded")
    assert {gateway.asked[q] for q in refused} <= {0}
    assert max(gateway.asked.values()) == 1, "nothing ran twice"


async def _refuses(http: httpx2.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 503


async def test_a_call_of_mcp_that_is_under_way_gets_its_answer(gateway: Place) -> None:
    """Its answer is a stream of the SDK's, which would otherwise end with the signal."""
    assert gateway.process is not None
    async with (
        httpx2.AsyncClient(headers=gateway.headers(), timeout=60) as http,
        streamable_http_client(f"{gateway.url}/mcp", http_client=http) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        [name] = [tool.name for tool in (await session.list_tools()).tools if tool.name.endswith("git_log")]
        call = asyncio.create_task(session.call_tool(name, {"q": "slow"}))
        await until(lambda: gateway.asked["slow"])
        gateway.process.send_signal(signal.SIGTERM)
        result = await call
    assert not result.is_error
    await asyncio.to_thread(gateway.stopped)
