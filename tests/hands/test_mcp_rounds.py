"""Rounds of a call whose server answers with questions: what is known of the call when a later round goes wrong."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.calls import HandCall, HandResult
from gateway.manifest import Manifest
from gateway.mcp_methods import McpQuestion
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.mcp import rounds
from hand_adapters.mcp.endings import SessionOver
from hand_adapters.mcp.rounds import Asked, Round
from hand_adapters.mcp.talk import QUESTIONS_MAX, Declared
from hand_adapters.resilience.retrying import judge
from tests.hands.hands_support import call

FORM = {"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}}
DECLARED = Declared(frozenset({McpQuestion.ELICITATION}))
DONE = HandResult((), None)


class Client:
    """``Conversation`` with a client that accepts whatever it is asked."""

    answers = frozenset({"elicitation.form"})
    handshake = False
    log_level = None

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.asked: list[str] = []

    async def ask(self, key: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(key)
        return {"action": "accept", "content": {}}

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Said to nobody."""

    def log(self, level: str, logger: str | None, data: Any) -> None:
        """Said to nobody."""

    def visited(self, elicitation_id: str) -> None:
        """Said to nobody."""


def asks(*keys: str, params: Any = FORM) -> Asked:
    questions = {key: {"method": "elicitation/create", "params": params} for key in keys}
    return Asked.model_construct(kind="input_required", requests=questions, state="s")


@pytest.mark.parametrize(
    "failure",
    [
        HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED),
        HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED),
        HandError(Reason.HAND_FAILED, HandFailure.NOT_EXECUTED),
        HandError(Reason.HAND_CANCELLED, HandFailure.NOT_EXECUTED),
        SessionOver("the server was started anew", sent=False),
        HandDrifted(Manifest("h", "mcp", {})),
    ],
    ids=lambda failure: str(failure.reason),
)
async def test_a_round_that_was_not_sent_does_not_undo_the_one_that_was(failure: HandError) -> None:
    async def once(_: HandCall, again: Round | None) -> HandResult | Asked:
        if again is None:
            return asks("q")
        raise failure

    with pytest.raises(HandError) as caught:
        await rounds.run(call("h", "echo", {}, "d", conversation=Client()), DECLARED, once)
    assert caught.value is failure
    assert failure.failure is HandFailure.UNKNOWN
    assert not judge(failure, idempotent=False).again, "the server would be called a second time"


async def test_a_first_round_that_was_not_sent_may_be_tried_again() -> None:
    down = HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)

    async def once(_: HandCall, again: Round | None) -> HandResult | Asked:
        raise down

    with pytest.raises(HandError):
        await rounds.run(call("h", "echo", {}, "d"), DECLARED, once)
    assert judge(down, idempotent=False).again


async def test_the_questions_of_all_rounds_are_counted_together() -> None:
    client, number = Client(), 0

    async def once(_: HandCall, again: Round | None) -> HandResult | Asked:
        nonlocal number
        number += 1
        return asks(*(f"{number}-{one}" for one in range(QUESTIONS_MAX // 2)))

    with pytest.raises(HandError) as caught:
        await rounds.run(call("h", "echo", {}, "d", conversation=client), DECLARED, once)
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_PROTOCOL, HandFailure.UNKNOWN)
    assert len(client.asked) == QUESTIONS_MAX


@pytest.mark.parametrize("params", [["?"], "?", 7, None])
async def test_what_are_no_params_is_no_question(params: Any) -> None:
    client = Client()
    sent: list[Round] = []

    async def once(_: HandCall, again: Round | None) -> HandResult | Asked:
        if again is None:
            return asks("q", params=params)
        sent.append(again)
        return DONE

    assert await rounds.run(call("h", "echo", {}, "d", conversation=client), DECLARED, once) == DONE
    assert [one.responses for one in sent] == [{"q": {"action": "decline"}}]
    assert client.asked == []
