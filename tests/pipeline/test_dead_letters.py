"""Dead letters: listed, settled once, and tried again as a new plan that everything is decided anew for."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError
from gateway.freeze import Scope
from gateway.freezing import FreezeOrder
from gateway.model import Answer, Effect, Principal, Role
from gateway.ports import HandFailure, LetterStatus
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.settling import DeadLetters
from tests.pipeline.house import AGENT, APPROVER, MANIFEST, ORIGIN, House, close_house, crash, locked, open_house, step
from tests.pipeline.remote import note, pass_time, remote_house

OP = Principal("op", "default", "p-op", frozenset({Role.OPERATOR}))
SECOND_OP = Principal("op2", "default", "p-op2", frozenset({Role.OPERATOR}))
BOUND = Principal("bound", "default", "p-bound", frozenset({Role.OPERATOR}), frozenset({"other"}))
FOREIGN_OP = Principal("fo", "other", "p-fo", frozenset({Role.OPERATOR}))
LOST = crash(Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)
AWAY = crash(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)


def staff(house: House) -> DeadLetters:
    for person in (OP, SECOND_OP, BOUND, FOREIGN_OP):
        house.directory.people[person.tenant, person.id] = person
    return DeadLetters(house.pipeline)


@pytest.fixture
def letters(house: House) -> DeadLetters:
    return staff(house)


async def opened(letters: DeadLetters, who: Principal = OP, status: LetterStatus = LetterStatus.OPEN) -> list[str]:
    page = await letters.list(who, status, after=None, limit=100)
    return [one["step_id"] for one in page["dead_letters"]]


async def refused(asked: object) -> tuple[Reason, object]:
    with pytest.raises(HandrailError) as caught:
        await asked  # type: ignore[misc]
    return caught.value.reason, caught.value.facts.get("problem")


async def lose(house: House, name: str = "a", **changes: object) -> str:
    """The plan of a step whose reply was lost."""
    house.hands.behaviour["echo"] = LOST
    view = await house.plan(step(name, **changes))
    assert view["steps"][0]["status"] == "ambiguous"
    del house.hands.behaviour["echo"]
    return str(view["plan_id"])


async def test_what_is_in_doubt_or_was_not_reached_is_listed_and_nothing_else(
    house: House, letters: DeadLetters
) -> None:
    await lose(house, "lost")
    house.hands.behaviour["echo"] = AWAY
    await house.plan(step("away"), step("after", depends_on=["away"]))
    for reason, failure in (
        (Reason.HAND_PROTOCOL, HandFailure.EXECUTED),
        (Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED),
        (Reason.SCHEMA_ARGS, HandFailure.NOT_EXECUTED),
    ):
        house.hands.behaviour["echo"] = crash(reason, failure)
        await house.plan(step("answered"))
    del house.hands.behaviour["echo"]
    await house.plan(step("good"), step("denied", hand="nowhere"))
    page = await letters.list(OP, LetterStatus.OPEN, after=None, limit=1)
    [away] = page["dead_letters"]
    assert (away["step_id"], away["status"], away["reason"]) == ("away", "failed", "hand.unavailable")
    assert (away["hand"], away["action"], away["principal"], away["hand_usable"]) == ("tool", "echo", "ada", True)
    page = await letters.list(OP, LetterStatus.OPEN, after=page["next"], limit=1)
    [lost] = page["dead_letters"]
    assert (lost["step_id"], lost["status"], lost["reason"]) == ("lost", "ambiguous", "hand.lost_reply")
    assert page["next"] is None
    assert 'outcome="dead"' in str(house.pipeline.metrics.dead_letters.collect()) or _counted(house, "dead") == 2


def _counted(house: House, outcome: str) -> float:
    return house.pipeline.metrics.dead_letters.labels("tool", outcome)._value.get()


async def test_a_retry_is_a_new_plan_in_the_same_context_on_record_with_the_old_step(
    house: House, letters: DeadLetters
) -> None:
    old = await lose(house, idempotency_key="once")
    before = house.entries()
    view = await letters.retry(OP, old, "a", "the proxy restarted", not_executed=True, wait_seconds=30)
    assert view["plan_id"] != old
    assert view["steps"][0]["status"] == "succeeded"
    first, again = house.hands.calls
    assert (first.args_bytes, first.principal_id, first.context_id, first.idempotency_key) == (
        again.args_bytes, "ada", again.context_id, again.idempotency_key,
    )  # fmt: skip
    assert first.credential != again.credential
    received, retried, *rest = house.entries()[len(before) :]
    assert [received["type"], retried["type"]] == ["PLNRCV", "STPRTY"]
    assert (received["principal"], received["facts"]["caller"]) == ("p-ada", "p-op")
    assert (retried["plan_id"], retried["step_id"], retried["principal"]) == (old, "a", "p-op")
    assert retried["facts"] == {"retry_plan": view["plan_id"], "said": "not_executed"}
    assert [one["type"] for one in rest] == ["POLALW", "CRDISS", "STPDSP", "STPEXE"]
    assert "restarted" not in str(house.entries()), "words are erasable, and in no entry"
    [settled] = (await letters.list(OP, LetterStatus.RETRIED, after=None, limit=5))["dead_letters"]
    assert settled["settled"]["retry_plan"] == view["plan_id"]
    assert settled["settled"]["by"] == "op"
    assert await opened(letters) == []
    shown = await house.pipeline.view(old, AGENT)
    assert shown["steps"][0]["status"] == "ambiguous"
    assert shown["steps"][0]["settled"] == {"verdict": "retried", "retry_plan": view["plan_id"]}
    assert (await house.pipeline.view(view["plan_id"], AGENT))["status"] == "done", "the owner sees the new plan"


async def test_a_step_that_may_have_run_is_not_retried_without_the_word_that_it_did_not(
    house: House, letters: DeadLetters
) -> None:
    old = await lose(house)
    said = await refused(letters.retry(OP, old, "a", "why", not_executed=False))
    assert said == (Reason.REQUEST_CONFLICT, "letter.statement")
    assert (len(house.hands.calls), await opened(letters)) == (1, ["a"])
    assert "STPRTY" not in house.codes()


async def test_what_twice_is_the_same_as_once_or_surely_did_not_run_needs_no_such_word(
    house: House, letters: DeadLetters
) -> None:
    action = replace(MANIFEST.actions["echo"], idempotent=True)
    plain = MANIFEST
    house.hands.manifests["tool"] = replace(plain, actions={**plain.actions, "echo": action})
    twice = await lose(house)
    view = await letters.retry(OP, twice, "a", "why", not_executed=False, wait_seconds=30)
    assert view["steps"][0]["status"] == "succeeded"
    house.hands.manifests["tool"] = plain
    house.hands.behaviour["echo"] = AWAY
    away = (await house.plan(step("b")))["plan_id"]
    del house.hands.behaviour["echo"]
    view = await letters.retry(OP, away, "b", "why", not_executed=False, wait_seconds=30)
    assert view["steps"][0]["status"] == "succeeded"
    assert house.entries()[-5]["facts"] == {"retry_plan": view["plan_id"], "said": ""}


async def test_a_hand_that_was_pinned_anew_vouches_for_no_earlier_run(house: House, letters: DeadLetters) -> None:
    """The step was decided by a manifest that did not call it idempotent, or by one that is gone."""
    old = await lose(house)
    action = replace(MANIFEST.actions["echo"], idempotent=True)
    house.hands.manifests["tool"] = replace(MANIFEST, actions={**MANIFEST.actions, "echo": action})
    said = await refused(letters.retry(OP, old, "a", "why", not_executed=False))
    assert said == (Reason.REQUEST_CONFLICT, "letter.statement")


async def test_two_retries_at_once_run_once(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    asked = [letters.retry(who, old, "a", "why", not_executed=True, wait_seconds=30) for who in (OP, SECOND_OP) * 4]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [one for one in answers if isinstance(one, HandrailError)]
    assert len(answers) - len(refusals) == 1
    assert {(one.reason, one.facts.get("problem")) for one in refusals} == {(Reason.REQUEST_CONFLICT, "letter.settled")}
    assert len(house.hands.calls) == 2
    assert house.codes().count("STPRTY") == 1
    again = await refused(letters.retry(OP, old, "a", "why", not_executed=True))
    assert again == (Reason.REQUEST_CONFLICT, "letter.settled")
    assert (await refused(letters.discard(OP, old, "a", "why")))[1] == "letter.settled"
    await recover(house.pipeline)
    assert not house.pipeline.stalled


async def test_two_gateways_retry_once(tmp_path: Path, database: dict[str, str]) -> None:
    one = await open_house(tmp_path, gateway="gw-one", database=database)
    old = await lose(one)
    two = await open_house(tmp_path, gateway="gw-two", brain=one.brain, database=database, journal=tmp_path / "two")
    asked = [staff(house).retry(OP, old, "a", "why", not_executed=True, wait_seconds=30) for house in (one, two) * 3]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert len(one.hands.calls) + len(two.hands.calls) == 2
    await close_house(two)
    await close_house(one)


async def test_policy_decides_again_and_a_denial_settles_the_letter(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    house.policy.effects["echo"] = Effect.DENY
    view = await letters.retry(OP, old, "a", "why", not_executed=True, wait_seconds=30)
    assert view["steps"][0]["status"] == "denied"
    assert len(house.hands.calls) == 1
    assert await opened(letters) == []


async def test_who_retries_cannot_approve_what_policy_asks_for(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    house.policy.effects["echo"] = Effect.ASK
    both = replace(OP, roles=frozenset({Role.OPERATOR, Role.APPROVER}))
    house.directory.people["default", "op"] = both
    view = await letters.retry(both, old, "a", "why", not_executed=True)
    await house.until_settled(view["plan_id"])
    asked = (await house.pipeline.load(view["plan_id"])).steps["a"].approval_id
    assert asked is not None
    assert (await refused(house.approvals.answer(asked, both, answer=Answer.APPROVE)))[0] is Reason.APPROVAL_SELF
    await house.approvals.answer(asked, APPROVER, answer=Answer.APPROVE)
    assert (await house.until_settled(view["plan_id"]))["steps"][0]["status"] == "succeeded"


async def test_whoever_asked_does_not_retry_it(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    for who in (replace(AGENT, roles=frozenset({Role.AGENT, Role.OPERATOR})),):
        said = await refused(letters.retry(who, old, "a", "why", not_executed=True))
        assert said == (Reason.REQUEST_CONFLICT, "letter.own")
    assert len(house.hands.calls) == 1


async def test_nobody_settles_what_is_not_theirs(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    for who in (BOUND, FOREIGN_OP):
        assert (await refused(letters.retry(who, old, "a", "why", not_executed=True)))[0] is Reason.REQUEST_NOT_FOUND
        assert (await refused(letters.discard(who, old, "a", "why")))[0] is Reason.REQUEST_NOT_FOUND
        assert await opened(letters, who) == []
    assert (await refused(letters.retry(APPROVER, old, "a", "why", not_executed=True)))[0] is Reason.AUTH_FORBIDDEN
    assert (await refused(letters.list(AGENT, LetterStatus.OPEN, after=None, limit=1)))[0] is Reason.AUTH_FORBIDDEN
    good = (await house.plan(step("good")))["plan_id"]
    for plan_id, name in ((good, "good"), (old, "b"), ("0" * 64, "a")):
        assert (await refused(letters.discard(OP, plan_id, name, "why")))[0] is Reason.REQUEST_NOT_FOUND


async def test_a_discarded_letter_is_over_and_its_words_are_in_no_entry(house: House, letters: DeadLetters) -> None:
    house.hands.behaviour["echo"] = LOST
    view = await house.plan(step("a"), step("b", depends_on=["a"]))
    done = await letters.discard(OP, view["plan_id"], "a", "Ann looked: it did not happen")
    assert done == {"plan_id": view["plan_id"], "step_id": "a", "verdict": "discarded"}
    last = house.entries()[-1]
    assert (last["type"], last["principal"], last["reasons"]) == ("STPDSC", "p-op", ["hand.lost_reply"])
    assert "Ann" not in str(house.entries())
    assert await opened(letters) == []
    assert await opened(letters, status=LetterStatus.DISCARDED) == ["a"]
    shown = await house.pipeline.view(view["plan_id"], AGENT)
    assert [one["status"] for one in shown["steps"]] == ["ambiguous", "skipped"]
    assert (await refused(letters.retry(OP, view["plan_id"], "a", "w", not_executed=True)))[1] == "letter.settled"


async def test_a_frozen_hand_refuses_nothing_of_the_letter_and_runs_nothing(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    await house.freezing.set(OP, FreezeOrder(Scope.PRINCIPAL, "ada"))
    assert (await refused(letters.retry(OP, old, "a", "why", not_executed=True)))[0] is Reason.FREEZE_ACTIVE
    assert await opened(letters) == ["a"], "nothing was settled"
    assert len(house.hands.calls) == 1


async def test_for_a_principal_that_is_no_more_nothing_is_retried(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    del house.directory.people["default", "ada"]
    assert (await refused(letters.retry(OP, old, "a", "why", not_executed=True)))[0] is Reason.VERIFY_SUBJECT
    assert await opened(letters) == ["a"]


async def test_what_was_erased_cannot_be_done_again(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    await asyncio.to_thread(_erase, house)
    said = await refused(letters.retry(OP, old, "a", "why", not_executed=True))
    assert said == (Reason.REQUEST_CONFLICT, "letter.erased")
    assert (await letters.discard(OP, old, "a", "erased"))["verdict"] == "discarded"


def _erase(house: House) -> None:
    with _owner(house) as connection:
        connection.exec_driver_sql("DELETE FROM payloads")


async def test_a_log_that_cannot_be_written_settles_nothing(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    with locked(house):
        assert (await refused(letters.discard(OP, old, "a", "why")))[0] is Reason.LOG_UNAVAILABLE
        assert (await refused(letters.retry(OP, old, "a", "w", not_executed=True)))[0] is Reason.LOG_UNAVAILABLE
    await recover(house.pipeline)
    assert await opened(letters) == ["a"]
    assert len(house.hands.calls) == 1


async def test_a_row_that_was_taken_away_settles_nothing_anew(house: House, letters: DeadLetters) -> None:
    old = await lose(house)
    await letters.retry(OP, old, "a", "why", not_executed=True, wait_seconds=30)
    await asyncio.to_thread(_take_away, house)
    said = await refused(letters.retry(OP, old, "a", "why", not_executed=True))
    assert said == (Reason.REQUEST_CONFLICT, "letter.settled"), "the log knows"
    assert len(house.hands.calls) == 2


def _take_away(house: House) -> None:
    with _owner(house) as connection:
        connection.exec_driver_sql("DROP TRIGGER dead_letter_ends_no_delete")
        connection.exec_driver_sql("DELETE FROM dead_letter_ends")


async def test_where_the_log_was_dropped_since_a_letter_can_only_be_discarded(
    house: House, letters: DeadLetters
) -> None:
    old = await lose(house)
    await asyncio.to_thread(_drop, house)
    said = await refused(letters.retry(OP, old, "a", "why", not_executed=True))
    assert said[1] == "letter.old"
    assert (await letters.discard(OP, old, "a", "too old"))["verdict"] == "discarded"


def _drop(house: House) -> None:
    with _owner(house) as connection:
        connection.exec_driver_sql("INSERT INTO dropped_partitions (partition, idx) VALUES (7, 7)")


@contextmanager
def _owner(house: House) -> Iterator[Connection]:
    """Whoever owns the database's file, and is held by no rights of the gateway's own connections."""
    engine = create_engine(house.settings.database_url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


async def test_only_the_gateway_says_what_a_plan_retries(house: House) -> None:
    old = await lose(house)
    claim = {"plan_id": old, "step_id": "a", "not_executed": True, "why": "mine"}
    assert (await refused(house.plan(step("a"), retries=claim)))[0] is Reason.SCHEMA_PLAN
    forged = house.brain.payload(step("a"), iss="connector:retries", retries=claim, aud=ORIGIN)
    assert (await refused(house.submit(forged)))[0] is Reason.VERIFY_UNKNOWN_KEY
    assert "STPRTY" not in house.codes()


async def test_a_retry_that_is_lost_is_a_letter_that_the_same_operator_may_retry(
    house: House, letters: DeadLetters
) -> None:
    old = await lose(house)
    house.hands.behaviour["echo"] = LOST
    again = await letters.retry(OP, old, "a", "why", not_executed=True, wait_seconds=30)
    assert await opened(letters) == ["a"]
    del house.hands.behaviour["echo"]
    last = await letters.retry(OP, again["plan_id"], "a", "why", not_executed=True, wait_seconds=30)
    assert last["steps"][0]["status"] == "succeeded"


async def test_a_step_with_references_is_retried_with_what_they_brought(house: House, letters: DeadLetters) -> None:
    async def lose_the_second(call: HandCall) -> HandResult:
        if call.step_id == "b":
            raise OSError("a reply that nobody got")
        return HandResult(({"type": "text", "text": "from a"},), {"said": "from a"})

    house.hands.behaviour["echo"] = lose_the_second
    reference = {"$step": "a", "pointer": "/structured/said"}
    view = await house.plan(step("a"), step("b", depends_on=["a"], args={"text": reference}))
    del house.hands.behaviour["echo"]
    again = await letters.retry(OP, view["plan_id"], "b", "why", not_executed=True, wait_seconds=30)
    assert again["steps"][0]["status"] == "succeeded"
    assert house.hands.calls[-1].args == {"text": "from a"}
    seen = house.policy.inputs[-1]["steps"][0]["provenance"]
    assert seen == house.policy.inputs[-2]["steps"][0]["provenance"], "the context still knows where it came from"


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[House]:
    made = await remote_house(tmp_path / "remote")
    yield made
    await close_house(made)


async def test_an_offered_step_that_nobody_claimed_is_a_letter(remote: House) -> None:
    letters = staff(remote)
    view = await remote.submit(remote.brain.payload(note("a")), wait=0)
    await remote.until_settled(view["plan_id"])
    pass_time(remote, 301)
    assert await remote.offer_upkeep.expire() == 1
    [one] = (await letters.list(OP, LetterStatus.OPEN, after=None, limit=5))["dead_letters"]
    assert (one["status"], one["reason"]) == ("failed", "claim.expired")
