"""Recorded evaluations are given once each, whole or not at all, and what is gone is said to be gone."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from audit.database import changing_schema
from audit.evaluations import EvaluationPage, Fault
from gateway.evaluation import parse
from gateway.model import Effect, Obligations
from gateway.times import format_time
from tests.pipeline.house import APPROVER, House, close_house, open_house, step


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    opened = await open_house(tmp_path)
    yield opened
    await close_house(opened)


async def read(house: House, *, tenant: str = "default", limit: int = 1000, **asked: object) -> EvaluationPage:
    named = {"since": None, "until": None, "after": None, **asked}
    return await house.log.reads.evaluations(tenant, limit=limit, **named)  # type: ignore[arg-type]


def execute(house: House, statement: str, *values: object) -> None:
    with house.log._engine.connect() as connection, changing_schema(connection), connection.begin():
        connection.exec_driver_sql(statement, tuple(values))


async def test_an_evaluation_is_given_once_with_its_input_and_every_decision(house: House) -> None:
    house.policy.obligations = Obligations(redact=("/structured/said",))
    await house.plan(step("a"), step("b", "write"))
    (one,) = (await read(house)).evaluations
    assert one.value is not None
    evaluation = parse(one.value)
    assert [asked["id"] for asked in evaluation.policy_input["steps"]] == ["a", "b"]
    assert {name: decision.effect for name, decision in evaluation.decisions.items()} == {
        "a": Effect.ALLOW,
        "b": Effect.ASK,
    }
    assert evaluation.decisions["a"].obligations == house.policy.obligations
    assert evaluation.decisions["a"].policy_digest == house.policy.digest
    assert evaluation.decisions["a"].reasons[0].message == "about echo"


async def test_a_person_who_refuses_does_not_make_an_old_evaluation_look_like_a_new_one(house: House) -> None:
    held = await house.plan(step("a", "write"))
    await house.approvals.answer(held["steps"][0]["approval_id"], APPROVER, answer="refuse")
    await house.until_settled(held["plan_id"])
    assert house.codes().count("POLDNY") == 1
    assert len((await read(house)).evaluations) == 1


async def test_pages_give_everything_once_and_in_order(house: House) -> None:
    plans = [(await house.plan(step("a"), step("b"), step("c")))["plan_id"] for _ in range(7)]
    found: list[str] = []
    after: int | None = None
    while True:
        page = await read(house, limit=2, after=after)
        for one in page.evaluations:
            plan_id = parse(one.value or b"").policy_input["plan"]["id"]
            if plan_id not in found[-1:]:  # steps of one evaluation may stand on two pages
                found.append(plan_id)
        if page.next is None:
            break
        after = page.next
    assert found == plans


async def test_a_page_is_bounded_in_bytes_and_goes_on_where_it_stopped(house: House) -> None:
    from audit import evaluations

    plans = [(await house.plan(*[step(f"s{n}") for n in range(40)]))["plan_id"] for _ in range(4)]
    found: list[str] = []
    after, pages = None, 0
    while True:
        page = evaluations.page(house.log.reader, house.log._opener, "default", after=after, bytes_max=1)
        found += [parse(one.value or b"").policy_input["plan"]["id"] for one in page.evaluations]
        pages += 1
        if (after := page.next) is None:
            break
    assert list(dict.fromkeys(found)) == plans
    assert pages > 1


async def test_only_the_time_that_was_asked_for(house: House) -> None:
    await house.plan(step("early"))
    with house.log._engine.connect() as connection:
        boundary = connection.exec_driver_sql("SELECT max(time) FROM entries").scalar_one()
    while True:  # entries have milliseconds; wait for another one, whichever way
        await house.plan(step("late"))
        with house.log._engine.connect() as connection:
            if connection.exec_driver_sql("SELECT max(time) FROM entries").scalar_one() > boundary:
                break
    before = await read(house, until=boundary)
    assert all(one.time < boundary for one in before.evaluations)
    later = await read(house, since=format_time(4_000_000_000))
    assert (later.evaluations, later.next, later.first) == ([], None, later.end)
    everything = await read(house, since=format_time(0))
    assert len(everything.evaluations) >= 2
    assert everything.first == 0


async def test_another_tenants_evaluations_are_not_there(house: House) -> None:
    await house.plan(step("a"))
    assert (await read(house, tenant="other")).evaluations == []


async def test_an_erased_input_is_counted_not_guessed(house: House) -> None:
    await house.plan(step("a"))
    await house.plan(step("b"))
    (first, second) = (await read(house)).evaluations
    execute(house, "DELETE FROM payloads WHERE commitment = ?", first.commitment)
    (gone, there) = (await read(house)).evaluations
    assert (gone.commitment, gone.value, gone.fault) == (first.commitment, None, Fault.ERASED)
    assert there == second


async def test_a_sealed_value_that_somebody_changed_spoils_itself_alone(house: House) -> None:
    for name in "abc":
        await house.plan(step(name))
    (_, second, _) = (await read(house)).evaluations
    execute(house, "UPDATE payloads SET sealed = zeroblob(64) WHERE commitment = ?", second.commitment)
    faults = [one.fault for one in (await read(house)).evaluations]
    assert faults == [None, Fault.UNREADABLE, None]


async def test_an_entry_that_is_pointed_at_another_evaluation_is_not_believed(house: House) -> None:
    """The column with the commitments is outside of the leaf; the entry itself holds the root over them."""
    await house.plan(step("a"))
    await house.plan(step("b"))
    (first, second) = (await read(house)).evaluations
    with house.log._engine.connect() as connection:
        fields = connection.exec_driver_sql("SELECT fields FROM entries WHERE idx = ?", (first.index,)).scalar_one()
        triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
    for name in triggers:
        execute(house, f"DROP TRIGGER {name}")
    forged = {**json.loads(fields), "evaluation": second.commitment}
    execute(house, "UPDATE entries SET fields = ? WHERE idx = ?", json.dumps(forged), first.index)
    (bent, sound) = (await read(house)).evaluations
    assert (bent.index, bent.value, bent.fault) == (first.index, None, Fault.UNREADABLE)
    assert sound == second
