"""A call finds its client where that waits, and says what became of it where that took it back."""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest

from gateway.calls import HandCall, HandResult
from gateway.conversations import Unanswered, Watcher
from gateway.ports import HandFailure
from gateway.reasons import Reason
from tests.pipeline.house import House, crash, step


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
