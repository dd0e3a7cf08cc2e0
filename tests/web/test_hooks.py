"""Hooks of Claude Code over HTTP. It goes on where a hook is answered with an error: so none is answered with one, and
whoever refuses, the tool does not run."""

from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.errors import Refused, Unavailable
from gateway.model import Role
from gateway.reasons import Reason
from tests.web.conftest import alive
from tests.web.every_route import HOOK, JSON
from tests.web.fake import testing_only_Gateway, token

BEFORE = {
    "session_id": "5f0c7c1e",
    "hook_event_name": "PreToolUse",
    "tool_name": "Bash",
    "tool_input": {"command": "ls"},
    "tool_use_id": "toolu_1",
    "cwd": "/src",
    "said by": "some later version",
}
AGENT = {**token(Role.AGENT), **JSON}


def why_denied(answer: httpx2.Response) -> str:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    decided = answer.json()["hookSpecificOutput"]
    assert (decided["hookEventName"], decided["permissionDecision"]) == ("PreToolUse", "deny")
    return str(decided["permissionDecisionReason"])


async def test_a_hook_is_handed_on_with_the_query(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    answer = await client.post(f"{HOOK}?hand=shell&wait=5", json=BEFORE, headers=AGENT)
    assert (answer.status_code, answer.json()) == (200, {})
    [(_, hand, hook, wait)] = gateway.hooks.asked
    assert (hand, hook.tool, dict(hook.args), wait) == ("shell", "Bash", {"command": "ls"}, 5.0)
    assert hook.context_id == "claude-code.5f0c7c1e"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"headers": JSON}, "auth.missing"),
        ({"headers": {**JSON, "authorization": "Bearer hr_wrong"}}, "auth.invalid"),
        ({"headers": {**JSON, **token(Role.AUDITOR)}}, "auth.forbidden"),
        ({"headers": {**token(Role.AGENT), "content-type": "text/plain"}}, "request.media_type"),
        ({"content": b"{"}, "schema.json"),
        ({"content": b'{"hook_event_name": "PreToolUse", "session_id": "../other"}'}, "request.malformed"),
        ({"content": b" " * 4_000_000}, "request.too_large"),
        ({"headers": {**AGENT, "x-long": "a" * 40_000}}, "request.headers_too_large"),
        ({"url": f"{HOOK}?wait=86400"}, "request.malformed"),
        ({"url": f"{HOOK}?hand=a&hand=b"}, "request.malformed"),
        ({"url": "/v1/hooks/other"}, "request.not_found"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_whatever_refuses_the_tool_does_not_run(
    client: httpx2.AsyncClient, changes: dict[str, Any], code: str
) -> None:
    request: dict[str, Any] = {"method": "POST", "url": HOOK, "headers": AGENT, "json": BEFORE} | changes
    if "content" in changes:
        del request["json"]
    assert why_denied(await client.request(**request)).startswith(f"{code}: ")


@pytest.mark.parametrize(
    "error",
    [Unavailable(Reason.LOG_UNAVAILABLE), Refused(Reason.FREEZE_ACTIVE), Refused(Reason.VERIFY_CONTEXT)],
    ids=lambda error: str(error.reason),
)
async def test_what_the_gateway_cannot_judge_does_not_run(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, error: Any
) -> None:
    gateway.hooks.error = error
    assert why_denied(await client.post(HOOK, json=BEFORE, headers=AGENT)).startswith(f"{error.reason}: ")
    after = await client.post(HOOK, json={**BEFORE, "hook_event_name": "PostToolUse"}, headers=AGENT)
    assert (after.status_code, after.json().keys()) == (200, {"systemMessage"})


async def test_a_gateway_that_fails_lets_nothing_run(app: Starlette, gateway: testing_only_Gateway) -> None:
    gateway.hooks.error = RuntimeError("a fault")
    async with alive(app):
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            assert "gateway.internal" in why_denied(await client.post(HOOK, json=BEFORE, headers=AGENT))


async def test_other_paths_are_refused_as_ever(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/v1/hooks", json=BEFORE, headers=JSON)).status_code == 401
    assert (await client.post("/v1/calls", json={}, headers=JSON)).status_code == 401
    assert (await client.put(HOOK, headers=AGENT)).status_code == 405
