"""Calls of stateless clients that wait for an answer, and what somebody might do with ``requestState``."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from mcp import MCPError
from mcp.types import ElicitResult, InputRequiredResult

from gateway.canonical import b64url_decode, b64url_encode
from gateway.ingress.mcp.parking import PARKED_PER_PRINCIPAL_MAX, STATE_SECONDS, Parking, Target
from gateway.model import Principal, Role
from tests.hands.servers.talker import Talker
from tests.hands.talk_support import Person, client, talking, text

MODE = "2026-07-28"
ADA = ElicitResult(action="accept", content={"name": "Ada"})
BOB = ElicitResult(action="accept", content={"name": "Bob"})


@pytest.fixture
def opened(uvicorns, tmp_path):
    """``async with opened() as client``: a stateless client in front of a talker."""

    @contextlib.asynccontextmanager
    async def opening():
        url = await uvicorns(Talker().server().streamable_http_app())
        async with talking(url, tmp_path) as endpoint, client(endpoint, MODE, Person()) as one:
            yield one

    return opening


async def asked(made, **arguments):
    outcome = await made.session.call_tool("name", arguments, allow_input_required=True)
    assert isinstance(outcome, InputRequiredResult)
    return outcome


async def answered(made, state, answer=ADA, tool="name", **arguments):
    return await made.session.call_tool(
        tool, arguments, input_responses={"q": answer}, request_state=state, allow_input_required=True
    )


async def test_a_client_is_asked_and_calls_again(opened):
    async with opened() as made:
        question = await asked(made)
        assert list(question.input_requests) == ["q"]
        assert question.request_state != "theirs", "what the server wants to find again stays here"
        assert text(await answered(made, question.request_state)) == "accept Ada"


async def test_a_state_is_good_once(opened):
    async with opened() as made:
        question = await asked(made)
        await answered(made, question.request_state)
        await invalid(answered(made, question.request_state, BOB))


async def test_a_state_that_is_used_twice_at_once_serves_one(opened):
    async with opened() as made:
        question = await asked(made)
        outcomes = await asyncio.gather(
            *(answered(made, question.request_state, one) for one in (ADA, BOB)), return_exceptions=True
        )
        assert sorted(isinstance(one, MCPError) for one in outcomes) == [False, True]


async def test_a_state_is_of_its_call_alone(opened):
    async with opened() as made:
        question = await asked(made)
        await invalid(answered(made, question.request_state, message="Another question?"))
        await invalid(answered(made, question.request_state, tool="visit", url="https://login.example.com/"))
        assert text(await answered(made, question.request_state)) == "accept Ada", "nobody else's attempt uses it up"


async def test_a_forged_state_is_refused_whatever_is_in_it(opened):
    async with opened() as made:
        state = (await asked(made)).request_state
        raw = b64url_decode(state)
        forged = ["", "theirs", state[:-2], state + "AA", "é", "A" * 10_000]
        forged += [b64url_encode(bytes([raw[0] ^ 1]) + raw[1:]), b64url_encode(raw[:-1] + bytes([raw[-1] ^ 1]))]
        for one in forged:
            await invalid(answered(made, one))


async def test_what_is_not_answered_is_asked_again_and_what_nobody_asked_is_read_over(opened):
    async with opened() as made:
        question = await asked(made)
        again = await made.session.call_tool(
            "name", {}, input_responses={"other": BOB}, request_state=question.request_state, allow_input_required=True
        )
        assert isinstance(again, InputRequiredResult)
        assert again.request_state != question.request_state
        assert text(await answered(made, again.request_state)) == "accept Ada"


async def test_answers_that_come_with_the_call_are_decided_like_others(opened):
    async with opened() as made:
        outcome = await made.session.call_tool("name", {}, input_responses={"q": ADA, "more": BOB})
        assert text(outcome) == "accept Ada"


async def test_somebody_elses_state_is_refused(uvicorns, tmp_path):
    url = await uvicorns(Talker().server().streamable_http_app())
    async with (
        talking(url, tmp_path) as endpoint,
        talking(url, tmp_path / "other") as elsewhere,
        client(endpoint, MODE, Person()) as one,
        client(elsewhere, MODE, Person()) as other,
    ):
        question = await asked(one)
        await invalid(answered(other, question.request_state))
        assert text(await answered(one, question.request_state)) == "accept Ada"


async def test_a_client_that_asks_for_more_than_it_answers_is_not_kept_without_bound(opened):
    async with opened() as made:
        waiting = [await asked(made) for _ in range(PARKED_PER_PRINCIPAL_MAX)]
        outcome = await made.session.call_tool("name", {}, allow_input_required=True)
        assert text(outcome) == "decline None", "the server is told that nobody answers"
        assert text(await answered(made, waiting[0].request_state)) == "accept Ada"


async def invalid(call) -> None:
    with pytest.raises(MCPError) as refused:
        await call
    assert (refused.value.code, refused.value.data) == (-32602, {"reason": "invalid_request_state"})


# --- without a gateway -----------------------------------------------------------------------------------------------


def principal(name, tenant="t1"):
    return Principal(name, tenant, f"pseudonym-{name}", frozenset({Role.AGENT}))


class Running:
    """A call that goes on."""

    def __init__(self):
        self.view = asyncio.get_running_loop().create_future()


TARGET = Target(principal("ada"), "h", "name", {"message": "?"})


@pytest.mark.parametrize(
    "other",
    [
        replace(TARGET, caller=principal("eve")),
        replace(TARGET, caller=principal("ada", "t2")),
        replace(TARGET, hand="other"),
        replace(TARGET, action="other"),
        replace(TARGET, arguments={"message": "!"}),
        replace(TARGET, arguments={}),
    ],
)
async def test_a_state_is_bound_to_principal_tenant_hand_action_and_arguments(other):
    parking = Parking()
    state = parking.park(TARGET, Running(), None)  # type: ignore[arg-type]
    with pytest.raises(MCPError):
        parking.take(other, state)
    assert parking.take(TARGET, state)


async def test_a_state_expires_ends_with_its_call_and_means_nothing_to_another_gateway():
    now = [0.0]
    parking = Parking(lambda: now[0])
    state = parking.park(TARGET, Running(), None)  # type: ignore[arg-type]
    with pytest.raises(MCPError):
        Parking().take(TARGET, state)
    now[0] += STATE_SECONDS + 1
    with pytest.raises(MCPError):
        parking.take(TARGET, state)
    call = Running()
    state = parking.park(TARGET, call, None)  # type: ignore[arg-type]
    call.view.set_result({})
    await asyncio.gather(call.view)
    with pytest.raises(MCPError):
        parking.take(TARGET, state)


async def test_no_two_states_are_equal():
    parking = Parking()
    states = {parking.park(TARGET, Running(), None) for _ in range(PARKED_PER_PRINCIPAL_MAX)}  # type: ignore[arg-type]
    assert len(states) == PARKED_PER_PRINCIPAL_MAX
    assert parking.park(TARGET, Running(), None) is None  # type: ignore[arg-type]
    with contextlib.suppress(MCPError):
        parking.take(TARGET, "x")
    assert parking.park(replace(TARGET, caller=principal("eve")), Running(), None)  # type: ignore[arg-type]
