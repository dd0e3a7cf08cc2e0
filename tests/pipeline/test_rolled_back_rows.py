"""Somebody puts rows of an older copy back: their MACs hold, and the log knows better (invariant 5)."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, and_, delete, insert, select, text, update

from audit import history
from audit.database import changing_schema, make_engine, writing
from audit.tables import dropped_partitions
from gateway.entries import EntryType
from gateway.errors import HandrailError
from gateway.model import Answer, Effect
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.stages import drafts
from gateway.store.tables import approvals, fates, plans, steps
from tests.pipeline.house import (
    AGENT,
    APPROVER,
    AUDITOR,
    OTHER,
    SECOND,
    House,
    close_house,
    echo,
    open_house,
    step,
)

YES = Answer.APPROVE


class Owner:
    """Whoever owns the database: takes copies, takes defences away, and puts rows back."""

    def __init__(self, database: dict[str, str]) -> None:
        self.engine: Engine = make_engine(database["url"])
        self.copies: dict[str, list[dict[str, Any]]] = {}

    def copy(self) -> None:
        with self.engine.connect() as connection:
            self.copies = {
                table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in (plans, steps, approvals)
            }

    def put_back(self, *tables: Table) -> None:
        with self.engine.begin() as connection:
            for table in tables:
                for row in self.copies[table.name]:
                    where = and_(*(column == row[column.name] for column in table.primary_key))
                    assert connection.execute(update(table).where(where).values(**row)).rowcount == 1

    def forget_fates(self) -> None:
        with self.engine.connect() as connection, changing_schema(connection), connection.begin():
            if self.engine.dialect.name == "sqlite":
                connection.execute(text("DROP TRIGGER fates_no_delete"))
            else:
                connection.execute(text("ALTER TABLE fates DISABLE TRIGGER ALL"))
            assert connection.execute(delete(fates)).rowcount

    def drop(self, partition: int) -> None:
        """Mark a partition as dropped, as retention does when it lets go of it."""
        with writing(self.engine.connect()) as connection, changing_schema(connection), connection.begin():
            connection.execute(insert(dropped_partitions).values(partition=partition, idx=0))

    def run(self, statement: Any) -> None:
        with self.engine.begin() as connection:
            assert connection.execute(statement).rowcount


@pytest.fixture
def owner(database: dict[str, str]) -> Any:
    made = Owner(database)
    yield made
    made.engine.dispose()


async def restarted(house: House, tmp_path: Path, database: dict[str, str], meanwhile: Callable[[], None]) -> House:
    """The house after a stop, in which ``meanwhile`` happened, and a start with everything half-done taken up."""
    await close_house(house)
    meanwhile()
    again = await open_house(tmp_path, brain=house.brain, database=database, start=False)
    await recover(again.pipeline, first=True)
    for live in list(again.pipeline._live.values()):
        await live.settled.wait()
    return again


async def refused(what: Any) -> str:
    with pytest.raises(HandrailError) as refusal:
        await what
    assert refusal.value.reason is Reason.INTERNAL
    return refusal.value.detail


@pytest.mark.parametrize("ending", ["approved and run", "refused", "expired"])
async def test_a_held_step_that_went_or_ended_does_not_go_again(
    tmp_path: Path, database: dict[str, str], owner: Owner, ending: str
) -> None:
    house = await open_house(tmp_path, database=database)
    view = await house.plan(step("w", "write"))
    approval_id = view["steps"][0]["approval_id"]
    owner.copy()
    if ending == "expired":
        house.pipeline.clock = lambda: time.time() + 3601
        assert await house.approval_upkeep.expire() == 1
    else:
        given = Answer.APPROVE if ending == "approved and run" else Answer.REFUSE
        await house.approvals.answer(approval_id, APPROVER, answer=given)
    await house.until_settled(view["plan_id"])
    calls = len(house.hands.calls)
    assert calls == (ending == "approved and run")

    def meanwhile() -> None:
        owner.put_back(steps)
        owner.run(update(approvals).values(status="granted"))
        owner.run(update(plans).values(status="running"))
        owner.forget_fates()

    again = await restarted(house, tmp_path, database, meanwhile)
    assert "put back" in await refused(again.pipeline.view(view["plan_id"], AGENT))
    owner.run(update(approvals).values(status="open"))
    assert "put back" in await refused(again.approvals.answer(approval_id, SECOND, answer=Answer.APPROVE))
    assert not again.hands.calls
    await close_house(again)


async def test_a_finished_step_does_not_become_ambiguous(
    tmp_path: Path, database: dict[str, str], owner: Owner
) -> None:
    """The row from between intent and outcome: recovery would record another ending than the one that was."""
    house = await open_house(tmp_path, database=database)
    seen: list[str] = []

    async def copying(call: Any) -> Any:
        owner.copy()
        seen.append(call.step_id)
        return await echo(call)

    house.hands.behaviour["echo"] = copying
    view = await house.plan(step("a"))
    assert (seen, view["status"]) == (["a"], "done")
    before = house.codes()
    again = await restarted(house, tmp_path, database, lambda: owner.put_back(plans, steps))
    assert again.codes() == before
    assert "put back" in await refused(again.pipeline.view(view["plan_id"], AGENT))
    await close_house(again)


async def test_a_step_that_policy_denied_in_a_later_round_is_not_judged_anew(
    tmp_path: Path, database: dict[str, str], owner: Owner
) -> None:
    house = await open_house(tmp_path, database=database)
    house.policy.effects["typed"] = Effect.DENY
    plan = house.brain.payload(
        step("w", "write"),
        step("d", "typed", depends_on=["w"], args={"text": {"$step": "w", "pointer": "/structured/said"}}),
    )
    view = await house.submit(plan)
    owner.copy()
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    settled = await house.until_settled(view["plan_id"])
    assert [one["status"] for one in settled["steps"]] == ["succeeded", "denied"]

    def meanwhile() -> None:
        deferred = next(row for row in owner.copies["steps"] if row["step_id"] == "d")
        owner.run(update(steps).where(steps.c.step_id == "d").values(**deferred))
        owner.run(update(plans).values(status="running"))
        owner.forget_fates()

    again = await restarted(house, tmp_path, database, meanwhile)  # its policy allows what the other denied
    assert not again.hands.calls
    assert "put back" in await refused(again.pipeline.view(view["plan_id"], AGENT))
    await close_house(again)


async def test_what_waits_is_read_as_it_is_after_any_number_of_answers(
    tmp_path: Path, database: dict[str, str], owner: Owner
) -> None:
    house = await open_house(tmp_path, database=database)
    house.policy.obligations = replace(house.policy.obligations, quorum=2)
    view = await house.plan(step("w", "write"), step("z", depends_on=["w"]))
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    again = await restarted(house, tmp_path, database, lambda: None)
    shown = await again.pipeline.view(view["plan_id"], AGENT)
    assert [one["status"] for one in shown["steps"]] == ["held", "deferred"]
    await close_house(again)


@pytest.mark.parametrize("column", ["caller", "kid"])
async def test_who_sent_a_plan_is_what_the_log_says(
    tmp_path: Path, database: dict[str, str], owner: Owner, column: str
) -> None:
    """Else a row would give one principal's args and results to another, or take a revoked key out of the question."""
    house = await open_house(tmp_path, database=database)
    view = await house.plan(step("a"))
    await refused_nobody(house, view["plan_id"])

    def meanwhile() -> None:
        owner.run(update(plans).values(**{column: OTHER.id}))

    again = await restarted(house, tmp_path, database, meanwhile)
    for viewer in (OTHER, AGENT, AUDITOR):
        await refused(again.pipeline.view(view["plan_id"], viewer))
    await close_house(again)


async def refused_nobody(house: House, plan_id: str) -> None:
    """The plan is its sender's and the auditor's, and not another's."""
    for viewer in (AGENT, AUDITOR):
        await house.pipeline.view(plan_id, viewer)
    with pytest.raises(HandrailError) as refusal:
        await house.pipeline.view(plan_id, OTHER)
    assert refusal.value.reason is Reason.REQUEST_NOT_FOUND


@pytest.mark.parametrize("partition", [0, 7])
async def test_where_what_came_after_was_dropped_a_step_that_was_put_back_does_not_go_again(
    tmp_path: Path, database: dict[str, str], owner: Owner, partition: int
) -> None:
    """A hold kept the partition in which the plan was received; one with what moved its step was dropped."""
    house = await open_house(tmp_path, database=database)
    view = await house.plan(step("w", "write"))
    ended = await house.plan(step("a"))
    approval_id = view["steps"][0]["approval_id"]
    shown = await house.pipeline.view(view["plan_id"], AGENT)
    assert shown["steps"][0]["status"] == "held"

    def meanwhile() -> None:
        owner.drop(partition)
        owner.run(update(plans).values(status="running"))

    again = await restarted(house, tmp_path, database, meanwhile)
    for asked in (again.pipeline.view(view["plan_id"], AGENT), again.approvals.answer(approval_id, SECOND, answer=YES)):
        with pytest.raises(HandrailError) as refusal:
            await asked
        assert refusal.value.reason is Reason.REQUEST_NOT_FOUND
    assert not again.hands.calls
    assert (await again.pipeline.view(ended["plan_id"], AGENT))["steps"][0]["status"] == "succeeded"
    await close_house(again)


def test_every_entry_that_ends_or_moves_a_step_is_looked_for() -> None:
    judgements = {
        EntryType.POLICY_ALLOWED,
        EntryType.POLICY_OBSERVED,
        EntryType.POLICY_DENIED,
        EntryType.SCHEMA_REJECTED,
        EntryType.APPROVAL_REQUESTED,
        EntryType.APPROVAL_VOIDED,
        EntryType.APPROVAL_REBOUND,
        EntryType.CREDENTIAL_ISSUED,
        EntryType.STEP_DISPATCHED,
        EntryType.RESULT_REDACTED,
    }
    assert set(history.STEPS) == judgements | set(drafts.ENDINGS.values())
