"""The routes of the Messages API with every role and with none, in the API's own form of an error."""

from typing import Any

import httpx2
import orjson
import pytest

from gateway.entries import EntryType
from gateway.model import Role
from gateway.permissions import Permission, permits
from gateway.web.routing import Endpoint
from tests.web.every_route import ANTHROPIC, JSON, PARAMETERS, called
from tests.web.fake import principal, testing_only_Gateway, token


async def call(client: httpx2.AsyncClient, endpoint: Endpoint, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Status and error of an answer."""
    content = orjson.dumps({}) if endpoint.requests else None
    answer = await client.request(
        endpoint.method, endpoint.path.format(**PARAMETERS), headers=headers | JSON, content=content
    )
    told = answer.json()
    assert (told["type"], bool(told["request_id"])) == ("error", True)
    return answer.status_code, told["error"]


def test_there_are_such_routes() -> None:
    assert {endpoint.path for endpoint in ANTHROPIC} >= {"/anthropic/v1/messages", "/anthropic/v1/models"}


@pytest.mark.parametrize("endpoint", ANTHROPIC, ids=called)
async def test_no_route_answers_without_a_key(client: httpx2.AsyncClient, endpoint: Endpoint) -> None:
    status, error = await call(client, endpoint, {})
    assert (status, error["type"]) == (401, "authentication_error")


@pytest.mark.parametrize("endpoint", ANTHROPIC, ids=called)
@pytest.mark.parametrize("role", list(Role))
async def test_a_route_answers_exactly_the_roles_that_have_its_permission(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, endpoint: Endpoint, role: Role
) -> None:
    assert isinstance(endpoint.access, Permission)
    status, error = await call(client, endpoint, token(role))
    if permits(principal("p", role), endpoint.access):
        assert status in {400, 404}, "nothing is asked, and no hand is there"
        return
    assert (status, error["type"]) == (403, "permission_error")
    [(entry, source)] = gateway.log.aggregated
    assert (entry.type, source) == (EntryType.ACCESS_REFUSED, f"pseudonym-of-{role}")
