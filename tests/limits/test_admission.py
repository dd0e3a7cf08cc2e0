"""How much one principal, and one address without a credential that holds, may ask of the API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from gateway.model import Role
from gateway.web.asgi import create_app
from tests.until import until
from tests.web.conftest import in_process
from tests.web.fake import PLAN_ID, testing_only_Gateway, token

AGENT, AUDITOR = token(Role.AGENT), token(Role.AUDITOR)
SLOW = 0.001
"""A second: what a test spent does not come back while it runs."""


@asynccontextmanager
async def limited(**limits: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, testing_only_Gateway]]:
    gateway = testing_only_Gateway(limits=limits)
    async with in_process(create_app(gateway)) as client:  # type: ignore[arg-type]
        yield client, gateway


def problem(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_a_principal_that_asks_too_fast_waits_and_others_do_not() -> None:
    async with limited(requests_per_second=SLOW, requests_burst=3) as (client, gateway):
        for _ in range(3):
            assert (await client.get("/v1/me", headers=AGENT)).status_code == 200
        refused = await client.get("/v1/me", headers=AGENT)
        assert problem(refused) == (429, "limit.requests")
        assert refused.headers["retry-after"] == str(refused.json()["retry_after_seconds"]) == "1000"
        assert (await client.get("/v1/me", headers=AUDITOR)).status_code == 200
        for path in ("/healthz", "/readyz", "/log/checkpoint"):
            assert (await client.get(path)).status_code == 200
        metrics = gateway.metrics.registry
        assert metrics.get_sample_value("handrail_http_limited_total", {"reason": "limit.requests"}) == 1


@pytest.mark.parametrize("path", ["/mcp", "/mcp/git"])
async def test_a_client_of_mcp_is_limited_alike(path: str) -> None:
    async with limited(requests_per_second=SLOW, requests_burst=1) as (client, gateway):
        await client.get("/v1/me", headers=AGENT)
        listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        refused = await client.post(path, json=listing, headers={**AGENT, "accept": "application/json"})
        assert problem(refused) == (429, "limit.requests")
        assert "retry-after" in refused.headers
        assert gateway.pipeline.submitted == []


async def test_only_so_many_requests_of_one_are_unanswered_at_once() -> None:
    async with limited(requests_max_concurrent=2) as (client, gateway):
        gateway.pipeline.slow = asyncio.Event()
        jose = {**AGENT, "content-type": "application/jose"}
        waiting = [asyncio.create_task(client.post("/v1/plans", content=b"a", headers=jose)) for _ in range(2)]
        await until(lambda: len(gateway.pipeline.submitted) == 2)
        refused = await client.get("/v1/me", headers=AGENT)
        assert (*problem(refused), refused.json()["limit"]) == (429, "limit.requests", 2)
        assert (await client.get("/v1/me", headers=AUDITOR)).status_code == 200
        gateway.pipeline.slow.set()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
        assert (await client.get("/v1/me", headers=AGENT)).status_code == 200


async def test_who_guesses_keys_loses_the_right_to_have_more_looked_up() -> None:
    """A key that held before is looked up all the same: a neighbour's guessing keeps nobody out."""
    async with limited(anonymous_per_second=SLOW, anonymous_burst=3) as (client, gateway):
        assert (await client.get("/v1/me", headers=AGENT)).status_code == 200
        for number in range(3):
            wrong = {"authorization": f"Bearer hr_wrong{number}_key"}
            assert (await client.get("/v1/me", headers=wrong)).status_code == 401
        asked: list[str] = []
        known = gateway.directory.authenticate

        async def listening(key: str, *rest: Any) -> Any:
            asked.append(key)
            return await known(key, *rest)

        gateway.directory.authenticate = listening  # type: ignore[method-assign]
        refused = await client.get("/v1/me", headers={"authorization": "Bearer hr_wrong_key"})
        assert problem(refused) == (429, "limit.anonymous")
        assert problem(await client.get("/v1/me")) == (429, "limit.anonymous")
        assert problem(await client.get("/.well-known/jwks.json")) == (429, "limit.anonymous")
        assert problem(await client.get("/v1/me", headers=AUDITOR)) == (429, "limit.anonymous")
        assert asked == []
        assert (await client.get("/v1/me", headers=AGENT)).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        assert gateway.metrics.registry.get_sample_value("handrail_http_limited_total", {"reason": "limit.anonymous"})


async def test_a_key_that_was_revoked_is_not_looked_up_for_ever() -> None:
    """That it held once gives whoever has it no right to look-ups while their address has none."""
    async with limited(anonymous_per_second=SLOW, anonymous_burst=2) as (client, gateway):
        assert (await client.get("/v1/me", headers=AGENT)).status_code == 200
        gateway.directory.revoked.add("hr_agent_key")
        for _ in range(2):
            assert (await client.get("/v1/me", headers=AGENT)).status_code == 401
        for _ in range(2):
            assert problem(await client.get("/v1/me", headers=AGENT)) == (429, "limit.anonymous")


async def test_a_key_is_remembered_once_however_it_is_written() -> None:
    """Or one key, spelt in ten thousand ways, would push out what is known of its neighbours'."""
    async with limited() as (client, _):
        for scheme in ("Bearer ", "bearer ", "Bearer    ", "BEARER "):
            assert (await client.get("/v1/me", headers={"authorization": f"{scheme}hr_agent_key"})).status_code == 200
        app: Any = client._transport
        assert len(app.app.state.admission._held) == 1


async def test_a_good_result_of_a_remote_hand_costs_its_address_nothing() -> None:
    async with limited(anonymous_per_second=SLOW, anonymous_burst=2) as (client, _):
        path, body = "/v1/steps/jti/result", {"content": [], "structured": None, "is_error": False}
        good = {"authorization": "DPoP credential", "dpop": "proof"}
        for _ in range(5):
            assert (await client.post(path, json=body, headers=good)).status_code == 200
        for _ in range(2):
            assert (await client.post(path, json=body)).status_code == 403
        assert problem(await client.post(path, json=body, headers=good)) == (429, "limit.anonymous")


async def test_an_open_path_is_limited_by_address() -> None:
    async with limited(anonymous_per_second=SLOW, anonymous_burst=2) as (client, _):
        for _ in range(2):
            assert (await client.get("/.well-known/jwks.json")).status_code == 200
        assert problem(await client.get("/.well-known/jwks.json")) == (429, "limit.anonymous")


async def test_streams_are_given_back_as_requests_are() -> None:
    async with limited(requests_max_concurrent=1) as (client, gateway):
        gateway.pipeline.script = [(1, "step", {"id": "a"})]
        for _ in range(3):
            answer = await client.get(f"/v1/plans/{PLAN_ID}/events", headers=AGENT)
            assert answer.status_code == 200
