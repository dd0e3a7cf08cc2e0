"""A call finds its client where that waits, and says what became of it where that took it back."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from gateway.calls import HandCall, HandResult
from gateway.conversations import Unanswered, Watcher
from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.mcp_methods import McpMethod, McpQuestion
from gateway.model import Effect
from gateway.ports import HandFailure
from gateway.reasons import Reason
from tests.pipeline.house import APPROVER, ECHO_SCHEMA, House, crash, step


class Silent:
    """``Conversation`` with a client that answers nothing."""

    answers = frozenset({"roots"})
    handshake = False
    log_level = None

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def ask(self, key: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Unanswered

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Said to nobody."""

    def log(self, level: str, logger: str | None, data: Any) -> None:
        """Said to nobody."""

    def visited(self, elicitation_id: str) -> None:
        """Said to nobody."""


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (HandFailure.NOT_EXECUTED, "cancelled"),
        (HandFailure.UNKNOWN, "ambiguous"),
        (HandFailure.EXECUTED, "failed"),
    ],
)
async def test_a_call_that_was_taken_back_is_cancelled_only_where_it_was_surely_not_sent(
    house: House, failure: HandFailure, status: str
) -> None:
    house.hands.behaviour["echo"] = crash(Reason.HAND_CANCELLED, failure)
    view = await house.plan(step("a"))
    assert (view["steps"][0]["status"], view["steps"][0]["error"]["code"]) == (status, "hand.cancelled")


async def test_a_call_has_its_own_plans_client_while_that_waits(house: House) -> None:
    seen: list[HandCall] = []

    async def look(call: HandCall) -> HandResult:
        seen.append(call)
        return HandResult((), None)

    house.hands.behaviour["echo"] = look
    talk, raw = Silent(), [house.brain.sign(house.brain.payload(step("a"))) for _ in range(3)]
    conversations = house.pipeline.conversations
    with conversations.opened(sha256(raw[0]).hexdigest(), talk), conversations.carried(sha256(raw[1]).hexdigest()):
        for one in raw:
            await house.submit(one)
    assert [(call.conversation, call.carried) for call in seen] == [(talk, False), (None, True), (None, False)]
    assert not isinstance(talk, Watcher)


@pytest.mark.parametrize("action", [one.value for one in (*McpQuestion, McpMethod.RESOURCES_SUBSCRIBE)])
async def test_nobody_is_asked_to_approve_what_is_for_nothing_once_its_client_left(house: House, action: str) -> None:
    """It would run after the answer came, when no call asks it and nobody listens, and fail."""
    one = ActionManifest(action, "?", ECHO_SCHEMA, side_effects=SideEffects.NONE)
    tools = {"tool": replace(one, name="tool"), "resources/read": replace(one, name="resources/read")}
    house.hands.manifests["server"] = Manifest("server", "mcp", {action: one, **tools})
    house.policy.effects |= dict.fromkeys((action, *tools), Effect.ASK)
    [asked] = (await house.plan(step("a", action, hand="server")))["steps"]
    assert (asked["status"], asked["error"]["code"]) == ("denied", "policy.obligation")
    assert [reason["code"] for reason in asked["decision"]["reasons"]] == ["policy.obligation", "test.rule"]
    assert (await house.approvals.list(APPROVER, "open", limit=10))["approvals"] == []
    for name in tools:
        [held] = (await house.plan(step("b", name, hand="server")))["steps"]
        assert held["status"] == "held", "what a client calls waits as ever"
