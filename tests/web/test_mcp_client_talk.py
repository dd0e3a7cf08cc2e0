"""The client of one call: a slow one, one that left, one whose answers are no answers."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mcp.types import ClientCapabilities, ElicitRequest

from gateway.conversations import Unanswered
from gateway.ingress.mcp import client_talk
from gateway.ingress.mcp.asking import APPROVAL_KEY
from gateway.ingress.mcp.client_talk import NOTES_WAITING_MAX, ClientTalk, abilities
from gateway.mcp_methods import McpQuestion
from tests.until import until

FORM = {"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}}


class Client:
    """A session that takes what it is told when it likes."""

    client_capabilities = ClientCapabilities.model_validate({"elicitation": {}, "roots": {}})

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.told: list[float] = []

    async def report_progress(self, progress: float, total: float | None, message: str | None) -> None:
        await self.reads.wait()
        self.told.append(progress)


async def allowed(question: McpQuestion, args: Any, wanted: str) -> dict[str, Any]:
    return cast("dict[str, Any]", args[wanted])


def context(client: Client, version: str = "2026-07-28") -> Any:
    return SimpleNamespace(session=client, protocol_version=version, request_id=1)


def talk_with(client: Client, judge: Any = allowed) -> ClientTalk:
    return ClientTalk(context(client), judge, None, {})


async def test_a_client_that_does_not_read_holds_nobody_up_and_misses_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client()
    talk = talk_with(client)
    for reached in range(10 * NOTES_WAITING_MAX):
        talk.progress(reached, None, None)
    client.reads.set()
    await talk.leave()
    assert client.told == list(range(9 * NOTES_WAITING_MAX, 10 * NOTES_WAITING_MAX))
    slow = Client()
    talk = talk_with(slow)
    talk.progress(1, None, None)
    monkeypatch.setattr(client_talk, "FLUSH_SECONDS", 0)
    await talk.leave()
    talk.progress(2, None, None)
    assert slow.told == [], "it left, and nothing is said behind the answer"


async def test_nobody_is_asked_once_the_client_left() -> None:
    talk = talk_with(Client())
    asking = asyncio.create_task(talk.ask("q", "elicitation/create", FORM))
    await until(talk.questions)
    talk.give_up()
    with pytest.raises(Unanswered):
        await asking
    with pytest.raises(Unanswered):
        await talk.ask("q", "elicitation/create", FORM)


async def test_a_question_that_its_server_takes_back_is_not_asked_and_an_answer_to_it_harms_nobody() -> None:
    talk = talk_with(Client())
    asking = asyncio.create_task(talk.ask("q", "elicitation/create", FORM))
    await until(talk.questions)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert talk.questions() == {}
    asking = asyncio.create_task(talk.ask("q", "elicitation/create", FORM))
    await until(talk.questions)
    asking.cancel()  # and before it is heard of, the answer comes
    talk.resume(context(Client()), {"q": {"action": "accept"}})
    with pytest.raises(asyncio.CancelledError):
        await asking


class Deaf(Client):
    """A client of the handshake era that answers no question."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = self.let_go = 0

    async def send_request(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.let_go += 1


async def test_nobody_waits_for_an_answer_once_the_call_is_over() -> None:
    """A server that asks and then answers the call all the same would else leave a question behind with every call."""
    client = Deaf()
    talk = ClientTalk(context(client, "2025-11-25"), allowed, None, {})
    asking = [asyncio.create_task(talk.ask(str(n), "elicitation/create", FORM)) for n in range(16)]
    await until(lambda: client.asked == 16)
    talk.give_up()
    assert all(isinstance(one, Unanswered) for one in await asyncio.gather(*asking, return_exceptions=True))
    assert client.let_go == 16


@pytest.mark.parametrize("key", [APPROVAL_KEY, "handrail/other", "handrail", "q\u202e", "q\n", "q" * 257])
async def test_a_server_gives_no_question_the_gateways_own_name_or_one_that_deceives(key: str) -> None:
    with pytest.raises(Unanswered):
        await talk_with(Client()).ask(key, "elicitation/create", FORM)


async def test_a_note_that_cannot_be_told_does_not_cost_the_answer() -> None:
    class Broken(Client):
        async def report_progress(self, *_: Any) -> None:
            raise RuntimeError("the stream is gone")

    talk = talk_with(Broken())
    talk.progress(1, None, None)
    await talk.leave()


async def test_two_questions_of_one_name_are_not_both_asked() -> None:
    talk = talk_with(Client())
    asking = asyncio.create_task(talk.ask("q", "elicitation/create", FORM))
    await until(talk.questions)
    with pytest.raises(Unanswered):
        await talk.ask("q", "elicitation/create", FORM)
    assert isinstance(talk.questions()["q"], ElicitRequest)
    talk.resume(context(Client()), {"q": {"action": "accept"}, "other": {"action": "accept"}})
    assert await asking == {"action": "accept"}


async def test_a_question_that_policy_left_nothing_of_is_not_asked() -> None:
    async def emptied(question: McpQuestion, args: Any, wanted: str) -> dict[str, Any]:
        return {"mode": "form", "message": "[redacted]"}

    with pytest.raises(Unanswered):
        await talk_with(Client(), emptied).ask("q", "elicitation/create", FORM)


@pytest.mark.parametrize(
    ("said", "able"),
    [
        ({}, set()),
        ({"elicitation": {}}, {"elicitation.form"}),
        ({"elicitation": {"url": {}}}, {"elicitation.url"}),
        ({"elicitation": {"form": {}, "url": {}}}, {"elicitation.form", "elicitation.url"}),
        ({"sampling": {"tools": {}}, "roots": {}}, {"sampling", "sampling.tools", "roots"}),
    ],
)
def test_a_client_can_be_asked_what_it_says_and_nothing_else(said: dict[str, Any], able: set[str]) -> None:
    assert abilities(ClientCapabilities.model_validate(said)) == able
    assert abilities(None) == frozenset()
