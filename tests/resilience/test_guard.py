"""What is tried again, with what, how long, and what is not: the guard of a hand, with a clock that the test turns."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import HandCall, HandResult
from gateway.errors import Unavailable
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.redaction import Redactor
from gateway.settings import ResilienceSettings
from hand_adapters.contract import HandDrifted, HandError, HandUnusable
from hand_adapters.resilience import retrying
from hand_adapters.resilience.retrying import RESERVE, Budgets, backoff, judge
from tests.pipeline.house import MANIFEST
from tests.resilience.world import CRASHED, DOWN, GOOD, LATER, LOST, REFUSED, Outcome, World, told

NOT_EXECUTED, EXECUTED, UNKNOWN = HandFailure.NOT_EXECUTED, HandFailure.EXECUTED, HandFailure.UNKNOWN
CONNECT = HandError(Reason.HAND_TIMEOUT, NOT_EXECUTED)
NEVER_AGAIN: list[Outcome] = [
    REFUSED,
    HandError(Reason.SCHEMA_ARGS, NOT_EXECUTED),
    HandError(Reason.SECRET_MISSING, NOT_EXECUTED),
    HandError(Reason.POLICY_OBLIGATION, NOT_EXECUTED),
    HandError(Reason.HAND_FAILED, EXECUTED),
    HandError(Reason.HAND_PROTOCOL, UNKNOWN),
    HandError(Reason.HAND_RESULT_TOO_LARGE, EXECUTED),
    HandUnusable(Reason.HAND_UNAVAILABLE, "not usable"),
    HandUnusable(Reason.HAND_DRIFTED, "pinned anew"),
]


@pytest.mark.parametrize("failure", [DOWN, CONNECT, CRASHED, LOST, LATER], ids=repr)
async def test_an_idempotent_action_is_tried_again(failure: Outcome) -> None:
    world = World()
    result = await world.run(failure, failure)
    assert isinstance(result, HandResult)
    assert (result, result.attempts) == (GOOD, 3)
    assert [kind for kind, _ in world.seen] == ["retried", "retried"]


@pytest.mark.parametrize("failure", [CONNECT, CRASHED, LOST, LATER], ids=repr)
async def test_an_action_that_is_not_idempotent_is_sent_once(failure: Outcome) -> None:
    """Also where the adapter says that it was not executed: it was sent, or nobody says that it was not."""
    world = World()
    ended = await world.run(failure, idempotent=False)
    assert ended is not GOOD
    assert len(world.sent) == 1
    assert world.renewed == []


async def test_where_nothing_left_for_the_hand_it_may_be_tried_again_whatever_it_does() -> None:
    world = World()
    assert await world.run(DOWN, idempotent=False) == GOOD
    assert len(world.sent) == 2
    assert told(await world.run(DOWN, LOST, idempotent=False)) == (Reason.HAND_LOST_REPLY, UNKNOWN)


@pytest.mark.parametrize("failure", NEVER_AGAIN, ids=repr)
async def test_what_would_end_the_same_way_is_not_tried_again(failure: Outcome) -> None:
    world = World()
    ended = await world.run(failure)
    assert ended is failure
    assert len(world.sent) == 1


async def test_whatever_else_an_adapter_raises_is_no_reason_to_call_again() -> None:
    world = World()
    world.script = [ValueError("private")]
    with pytest.raises(ValueError, match="private"):
        await world.guard.run(world.call(), world.once, idempotent=True)
    assert len(world.sent) == 1


async def test_each_attempt_has_a_credential_that_no_hand_has_seen() -> None:
    world = World()
    await world.run(LOST, LATER)
    assert [one.credential for one in world.sent] == ["secret-step-credential", "credential-2", "credential-3"]
    assert [one.prove("GET", "u") for one in world.sent][1:] == ["credential-2 GET u", "credential-3 GET u"]
    assert world.renewed == [(2, Reason.HAND_LOST_REPLY), (3, Reason.HAND_FAILED)]


async def test_an_attempt_that_cannot_be_recorded_is_not_made_and_the_call_ends_as_it_had() -> None:
    world = World()
    world.unrecordable = Unavailable(Reason.LOG_UNAVAILABLE)
    assert told(await world.run(LOST)) == (Reason.HAND_LOST_REPLY, UNKNOWN)
    assert await world.run(LATER) == LATER
    assert len(world.sent) == 2


async def test_a_call_that_nobody_renews_is_sent_once() -> None:
    world = World()
    plain = HandCall(**{name: getattr(world.call(), name) for name in HandCall.__slots__ if name != "renew"})
    world.script = [LOST]
    with pytest.raises(HandError):
        await world.guard.run(plain, world.once, idempotent=True)
    assert len(world.sent) == 1


async def test_after_a_lost_reply_neither_a_refusal_nor_an_error_makes_it_certain() -> None:
    """The first attempt may have acted. That the second did not says nothing of it."""
    for second in (DOWN, REFUSED, CONNECT):
        world = World(ResilienceSettings(retries_max=1))
        reason, failure = told(await world.run(LOST, second))
        assert failure is UNKNOWN
        assert reason in {Reason.HAND_LOST_REPLY, Reason.HAND_UNAVAILABLE, Reason.HAND_TIMEOUT}
    world = World(ResilienceSettings(retries_max=1))
    assert told(await world.run(DOWN, DOWN)) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)


async def test_the_deadline_covers_every_attempt_and_every_pause() -> None:
    world = World(ResilienceSettings(retries_max=5, backoff_first_seconds=4, backoff_max_seconds=60))
    assert told(await world.run(*[DOWN] * 6, deadline_seconds=20.0)) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert world.pauses == [4.0, 8.0]  # a third would end after it
    assert [one.deadline_seconds for one in world.sent] == [20.0, 16.0, 8.0]


async def test_one_attempt_of_an_idempotent_action_can_have_a_limit_of_its_own() -> None:
    world = World(ResilienceSettings(attempt_seconds=3.0))
    await world.run(CONNECT)
    await world.run(idempotent=False)
    assert [one.deadline_seconds for one in world.sent] == [3.0, 3.0, 20.0]


async def test_a_hand_that_says_when_is_left_alone_until_then() -> None:
    later = HandResult((), {"status": 429}, is_error=True, retry_after_seconds=7.0)
    world = World()
    await world.run(later)
    assert world.pauses == [7.0]
    assert await world.run(HandResult((), None, is_error=True, retry_after_seconds=3600.0)) is not GOOD
    assert world.pauses == [7.0]


async def test_retries_make_an_outage_worse_by_a_share_only() -> None:
    """A thousand calls of a hand that is down bring a tenth more, and the reserve."""
    world = World(ResilienceSettings(breaker_failures=0, retries_max=5, retries_share=0.1))
    for _ in range(1000):
        await world.run(*[DOWN] * 6)
    assert len(world.sent) <= 1000 * 1.1 + RESERVE


async def test_a_principal_whose_calls_fail_spends_nobody_elses_retries() -> None:
    world = World(ResilienceSettings(breaker_failures=0, retries_share=0.0))
    for _ in range(20):
        await world.run(*[LOST] * 3, principal="mallory")
    assert len(world.renewed) == RESERVE
    for principal, tenant in (("ana", "default"), ("mallory", "globex")):
        assert getattr(await world.run(LOST, principal=principal, tenant=tenant), "attempts", None) == 2


def test_no_more_budgets_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PRINCIPALS_MAX", 10)
    budgets = Budgets(0.0)
    for number in range(1000):
        budgets.of(("acme", f"p-{number}"))
    assert len(budgets._of) == 10


async def test_an_open_circuit_withholds_retries_and_calls_and_sends_nothing() -> None:
    world = World(ResilienceSettings(breaker_failures=2, retries_max=5))
    assert told(await world.run(*[LOST] * 6)) == (Reason.HAND_LOST_REPLY, UNKNOWN)
    assert len(world.sent) == 2
    ended = await world.run()
    assert told(ended) == (Reason.HAND_CIRCUIT_OPEN, NOT_EXECUTED)
    assert isinstance(ended, HandError)
    assert 1 <= int(ended.facts["retry_after_seconds"]) <= 15
    assert len(world.sent) == 2
    assert await world.run(principal="ben") == GOOD
    world.now += 15.0
    assert await world.run() == GOOD


async def test_a_principal_whose_arguments_crash_the_hand_stops_itself_alone() -> None:
    world = World(ResilienceSettings(retries_max=0))
    for _ in range(50):
        await world.run(CRASHED, principal="mallory")
    assert len(world.sent) == 5
    for principal in ("ana", "ben", "cy"):
        assert await world.run(principal=principal) == GOOD
    assert world.guard.document("default")["circuit"] == "closed"


async def test_what_is_wrong_with_the_arguments_opens_nothing() -> None:
    world = World(ResilienceSettings(breaker_failures=1))
    for failure in NEVER_AGAIN:
        await world.run(failure)
    await world.run(HandError(Reason.HAND_DRIFTED, NOT_EXECUTED))
    assert await world.run() == GOOD


async def test_a_flapping_hand_costs_a_probe_for_each_time_and_comes_back() -> None:
    world = World(ResilienceSettings(breaker_failures=2, retries_max=0))
    for _ in range(5):
        await world.run(DOWN)
        await world.run(DOWN)
        await world.run(DOWN)
        world.now += 15.0
        assert await world.run() == GOOD
    assert len(world.sent) == 5 * 3


class Gate:
    """A hand that holds every call until it is let go."""

    def __init__(self) -> None:
        self.held: list[tuple[HandCall, asyncio.Future[HandResult]]] = []

    async def once(self, call: HandCall) -> HandResult:
        turn: asyncio.Future[HandResult] = asyncio.get_running_loop().create_future()
        self.held.append((call, turn))
        return await turn


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_too_many_is_busy_at_once_and_nothing_was_sent() -> None:
    world = World(ResilienceSettings(concurrency_max=2, queue_max=0, principal_share=1))
    gate = Gate()
    running = [asyncio.ensure_future(world.guard.run(world.call(), gate.once, idempotent=True)) for _ in range(2)]
    await settle()
    one = world.call()
    with pytest.raises(HandError) as refused:
        await world.guard.run(one, gate.once, idempotent=True)
    assert told(refused.value) == (Reason.HAND_BUSY, NOT_EXECUTED)
    assert refused.value.facts == {"retry_after_seconds": 10}
    assert (one.progress.attempts, one.progress.unsent) == (0, True)
    assert world.guard.document("default") == {"circuit": "closed", "running": 2, "waiting": 0}
    assert world.guard.document("globex") == {"circuit": "closed", "running": 0, "waiting": 0}
    for _, turn in gate.held:
        turn.set_result(GOOD)
    assert await asyncio.gather(*running) == [GOOD, GOOD]


async def test_a_call_that_waited_long_is_sent_with_a_credential_of_now() -> None:
    world = World(ResilienceSettings(concurrency_max=1))
    gate = Gate()
    first = asyncio.ensure_future(world.guard.run(world.call(), gate.once, idempotent=False))
    await settle()
    second = asyncio.ensure_future(world.guard.run(world.call("ben"), gate.once, idempotent=False))
    await settle()
    world.now += 5.0
    gate.held[0][1].set_result(GOOD)
    await settle()
    [_, (sent, turn)] = gate.held
    assert (sent.credential, sent.deadline_seconds) == ("credential-1", 15.0)
    assert world.renewed == [(1, None)]
    turn.set_result(GOOD)
    assert [(await one).attempts for one in (first, second)] == [1, 1]


async def test_a_call_whose_time_is_over_when_its_turn_comes_is_not_sent() -> None:
    world = World(ResilienceSettings(concurrency_max=1))
    gate = Gate()
    first = asyncio.ensure_future(world.guard.run(world.call(), gate.once, idempotent=False))
    await settle()
    second = asyncio.ensure_future(world.guard.run(world.call("ben"), gate.once, idempotent=False))
    await settle()
    world.now += 100.0
    gate.held[0][1].set_result(GOOD)
    await first
    with pytest.raises(HandError) as late:
        await second
    assert told(late.value) == (Reason.HAND_TIMEOUT, NOT_EXECUTED)
    assert len(gate.held) == 1


async def test_those_who_waited_while_the_circuit_opened_are_not_sent() -> None:
    world = World(ResilienceSettings(concurrency_max=1, breaker_failures=1, principal_share=1))
    gate = Gate()
    calls = [asyncio.ensure_future(world.guard.run(world.call(), gate.once, idempotent=False)) for _ in range(5)]
    await settle()
    gate.held[0][1].set_exception(LOST)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [told(one)[0] for one in ended if isinstance(one, HandError)] == [
        Reason.HAND_LOST_REPLY,
        *[Reason.HAND_CIRCUIT_OPEN] * 4,
    ]
    assert len(gate.held) == 1


@pytest.mark.parametrize("where", ["queue", "attempt", "pause"])
async def test_a_call_that_is_cancelled_gives_everything_back(where: str) -> None:
    world = World(ResilienceSettings(concurrency_max=1, breaker_failures=1, breaker_open_seconds=5))
    gate = Gate()

    async def sleep_for_ever(_: float) -> None:
        await asyncio.get_running_loop().create_future()

    world.guard._sleep = sleep_for_ever
    if where == "queue":
        await world.guard.bulkhead.take(("default", "p-other"), 1.0)
    one = world.call()

    async def failing(call: HandCall) -> HandResult:
        raise DOWN

    once: Any = failing if where == "pause" else gate.once
    task = asyncio.ensure_future(world.guard.run(one, once, idempotent=True))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert world.guard.bulkhead.waiting == 0
    assert world.guard.bulkhead.running == (1 if where == "queue" else 0)
    assert one.progress.unsent is (where != "attempt")
    assert one.progress.attempts == (0 if where == "queue" else 1)


async def test_a_call_that_was_given_up_is_not_tried_again_whatever_its_adapter_makes_of_that() -> None:
    """Its step has ended, perhaps on record: nothing may be sent for it any more."""
    world = World()
    sent = []

    async def once(one: HandCall) -> HandResult:
        sent.append(one)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise LOST from None
        return GOOD

    task = asyncio.ensure_future(world.guard.run(world.call(), once, idempotent=True))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(sent) == 1
    assert world.renewed == world.pauses == []


async def test_how_often_it_was_sent_is_not_the_adapters_to_say() -> None:
    world = World()
    for said in (0, 7):
        result = await world.run(HandResult((), attempts=said))
        assert isinstance(result, HandResult)
        assert result.attempts == 1


async def test_a_probe_that_is_cancelled_makes_room_for_another() -> None:
    world = World(ResilienceSettings(breaker_failures=1, retries_max=0))
    await world.run(LOST)
    world.now += 15.0
    gate = Gate()
    probe = asyncio.ensure_future(world.guard.run(world.call(), gate.once, idempotent=True))
    await settle()
    assert told(await world.run()) == (Reason.HAND_CIRCUIT_OPEN, NOT_EXECUTED)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert await world.run() == GOOD


def test_an_answer_without_its_secrets_still_says_when_to_ask_again() -> None:
    later = HandResult(({"type": "text", "text": "a-long-secret"},), is_error=True, retry_after_seconds=5.0)
    cleaned = Redactor(["a-long-secret"]).result(later)
    assert "a-long-secret" not in str(cleaned)
    assert judge(cleaned, idempotent=True).after_seconds == 5.0


@given(st.integers(1, 10_000), st.floats(1e-3, 60), st.floats(1e-3, 600), st.floats(0, 1))
def test_a_pause_is_drawn_from_nothing_to_what_doubles(retry: int, first: float, most: float, drawn: float) -> None:
    pause = backoff(retry, first, most, lambda: drawn)
    assert 0 <= pause <= most
    assert pause <= drawn * (first * 2.0 ** min(retry - 1, 64))
    assert backoff(retry, first, most, lambda: 0.0) == 0.0


@given(
    st.sampled_from(list(Reason)),
    st.sampled_from(list(HandFailure)),
)
def test_nothing_but_what_surely_was_not_sent_is_ever_sent_twice(reason: Reason, failure: HandFailure) -> None:
    verdict = judge(HandError(reason, failure), idempotent=False)
    assert verdict.again is (reason is Reason.HAND_UNAVAILABLE and failure is NOT_EXECUTED)
    assert not judge(HandUnusable(reason, ""), idempotent=True).again
    assert not judge(ValueError(), idempotent=True).again
    assert not judge(HandDrifted(MANIFEST), idempotent=True).again
