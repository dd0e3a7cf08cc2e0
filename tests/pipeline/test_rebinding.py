"""A request whose question is the same under a new bundle stays open, and no answer to an earlier asking counts."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from audit.database import changing_schema
from audit.fsck import check
from audit.log import Log
from gateway.approvals import upkeep as approval_upkeep
from gateway.calls import HandCall, HandResult
from gateway.entries import EntryType
from gateway.errors import HandrailError
from gateway.model import Answer, ApprovalStatus, DecisionReason, Effect, Obligations
from gateway.ports import Append
from gateway.reasons import ENGINE_AWAY, Reason
from gateway.recovery import recover
from gateway.store.tables import approval_answers, approval_ends, approvals
from gateway.times import parse_time
from tests.pipeline.house import APPROVER, SECOND, House, close_house, open_house, step
from tests.pipeline.people import Person, pages
from tests.pipeline.spending import as_after_a_restart, in_context

FIRST, NEXT = "d" * 64, "e" * 64
TWO = Obligations(quorum=2)


async def ask(house: House) -> tuple[str, str]:
    """Plan and request of one held step."""
    view = await house.plan(step("w", "write"))
    return view["plan_id"], view["steps"][0]["approval_id"]


async def change(house: House, digest: str, *plan_ids: str) -> None:
    """Another bundle decides, and what waits was judged anew."""
    house.policy.digest = digest
    await house.approval_upkeep.redecide()
    for plan_id in plan_ids:
        await house.until_settled(plan_id)


async def refusal(awaitable: Any) -> Reason:
    with pytest.raises(HandrailError) as caught:
        await awaitable
    return caught.value.reason


@contextmanager
def held_back(log: Log, kind: EntryType) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Appends with an entry of ``kind`` wait; events: one has come, and it may go on."""
    came, go = asyncio.Event(), asyncio.Event()
    append = log.append

    async def waiting(what: Append) -> Any:
        if any(draft.type is kind for draft in what.entries):
            came.set()
            await go.wait()
        return await append(what)

    log.append = waiting  # type: ignore[method-assign]
    try:
        yield came, go
    finally:
        go.set()
        log.append = append  # type: ignore[method-assign]


async def test_the_request_stays_open_and_the_answers_are_void_and_asked_for_again(house: House) -> None:
    house.policy.obligations = TWO
    plan_id, approval_id = await ask(house)
    before = await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    await change(house, NEXT, plan_id)
    after = await house.approvals.show(approval_id, APPROVER)
    assert (after["status"], after["asked"], after["answers"]) == ("open", 2, [])
    assert after["void_answers"] == before["answers"]
    assert (after["expires_at"], after["requested_at"]) == (before["expires_at"], before["requested_at"])
    assert after["binding"] == {**before["binding"], "policy_digest": NEXT, "asked": 2}
    assert await house.approval_upkeep.redecide() == 0, "once is enough"
    answered = await house.approvals.answer(approval_id, SECOND, answer=Answer.APPROVE)
    assert answered["status"] == "open", "the answer that is void does not count"
    assert not house.hands.calls
    await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    [done] = (await house.until_settled(plan_id))["steps"]
    assert (done["status"], done["decision"]["policy_digest"]) == ("succeeded", NEXT)
    assert len(house.hands.calls) == 1


async def test_each_asking_is_on_record(house: House) -> None:
    plan_id, approval_id = await ask(house)
    await change(house, NEXT, plan_id)
    await change(house, FIRST, plan_id)
    await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    await house.until_settled(plan_id)
    kinds = [code for code in house.codes() if code.startswith("APR")]
    assert kinds == ["APRREQ", "APRREB", "APRREB", "APRGRT"]
    rebound = [entry for entry in house.entries() if entry["type"] == "APRREB"]
    assert [entry["policy_digest"] for entry in rebound] == [NEXT, FIRST]
    assert [entry["facts"] for entry in rebound] == [
        {"approval": approval_id, "asked": 2, "replaces": FIRST, "side_effects": "reversible"},
        {"approval": approval_id, "asked": 3, "replaces": NEXT, "side_effects": "reversible"},
    ]
    assert all((entry["effect"], entry["reasons"]) == ("ask", ["test.rule"]) for entry in rebound)
    assert next(entry for entry in house.entries() if entry["type"] == "APRGRT")["facts"]["asked"] == 3


async def test_an_answer_signed_for_the_earlier_asking_is_refused_also_when_the_bundle_is_back(house: House) -> None:
    bob = Person()
    house.directory.people["default", "bob"] = bob.principal
    plan_id, approval_id = await ask(house)
    early = bob.sign(await house.approvals.show(approval_id, bob.principal))
    await change(house, NEXT, plan_id)
    between = bob.sign(await house.approvals.show(approval_id, bob.principal))
    answer = house.approvals.answer
    assert await refusal(answer(approval_id, bob.principal, signed=early)) is Reason.APPROVAL_MISMATCH
    await change(house, FIRST, plan_id)
    for signed in (early, between):
        assert await refusal(answer(approval_id, bob.principal, signed=signed)) is Reason.APPROVAL_MISMATCH
    assert not house.hands.calls
    late = bob.sign(await house.approvals.show(approval_id, bob.principal))
    await answer(approval_id, bob.principal, signed=late)
    assert (await house.until_settled(plan_id))["steps"][0]["status"] == "succeeded"


async def test_a_bundle_that_flips_back_and_forth_neither_prolongs_nor_loses_a_request(house: House) -> None:
    house.policy.obligations = TWO
    plan_id, approval_id = await ask(house)
    expires_at = (await house.approvals.show(approval_id, APPROVER))["expires_at"]
    for number in range(6):
        assert (await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE))["status"] == "open"
        await change(house, (NEXT, FIRST)[number % 2], plan_id)
    shown = await house.approvals.show(approval_id, APPROVER)
    assert (shown["asked"], shown["answers"], len(shown["void_answers"])) == (7, [], 6)
    assert shown["expires_at"] == expires_at
    house.pipeline.clock = lambda: parse_time(expires_at) + 1
    assert await house.approval_upkeep.expire() == 1
    [ended] = (await house.until_settled(plan_id))["steps"]
    assert ended["status"] == "expired"
    assert not house.hands.calls


async def test_a_request_whose_time_is_over_is_not_prolonged_by_being_asked_anew(house: House) -> None:
    plan_id, approval_id = await ask(house)
    over = parse_time((await house.approvals.show(approval_id, APPROVER))["expires_at"]) + 1
    house.pipeline.clock = lambda: over
    await change(house, NEXT, plan_id)
    answer = house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    assert await refusal(answer) is Reason.APPROVAL_EXPIRED
    assert await house.approval_upkeep.expire() == 1


async def test_a_granted_request_that_waits_for_another_step_is_voided_and_opened_anew(house: House) -> None:
    view = await house.plan(step("w", "write"), step("x", "write", depends_on=["w"]))
    first, second = (one["approval_id"] for one in view["steps"])
    await house.approvals.answer(second, APPROVER, answer=Answer.APPROVE)
    await house.until_settled(view["plan_id"])
    await change(house, NEXT, view["plan_id"])
    steps = (await house.pipeline.load(view["plan_id"])).view()["steps"]
    assert steps[0]["approval_id"] == first
    assert steps[1]["approval_id"] != second
    assert (await house.approvals.show(second, APPROVER))["status"] == "voided"


# --- restarts and other gateways --------------------------------------------------------------------------------------


async def test_a_restart_keeps_the_asking_and_its_void_answers(tmp_path: Path) -> None:
    house = await open_house(tmp_path)
    house.policy.obligations = TWO
    plan_id, approval_id = await ask(house)
    await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    await close_house(house)
    again = await open_house(tmp_path, brain=house.brain)
    again.policy.obligations = TWO
    await change(again, NEXT, plan_id)
    shown = await again.approvals.show(approval_id, APPROVER)
    await close_house(again)
    third = await open_house(tmp_path, brain=house.brain)
    third.policy.digest, third.policy.obligations = NEXT, TWO
    assert await third.approval_upkeep.redecide() == 0
    assert await third.approvals.show(approval_id, APPROVER) == shown
    assert (shown["asked"], shown["answers"]) == (2, [])
    for person in (APPROVER, SECOND):
        await third.approvals.answer(approval_id, person, answer=Answer.APPROVE)
    assert (await third.until_settled(plan_id))["steps"][0]["status"] == "succeeded"
    assert list(check(third.log._engine)) == []
    await close_house(third)


async def test_what_a_context_spent_is_the_same_from_memory_and_from_the_log(house: House) -> None:
    view = await house.plan(step("w", "write"), context_id="journey")
    await change(house, NEXT, view["plan_id"])
    assert in_context(house) == (0, 0, 0), "a step that is judged anew does not find itself before it"
    assert house.policy.inputs[-1]["context"]["history"] == []
    await house.plan(step("a"), context_id="journey")
    remembered = house.policy.inputs[-1]["context"]
    as_after_a_restart(house)
    await house.plan(step("a"), context_id="journey")
    assert in_context(house)[:2] == (2, 1)
    held = [past for past in house.policy.inputs[-1]["context"]["history"] if past["status"] == "held"]
    assert len(held) == len([past for past in remembered["history"] if past["status"] == "held"]) == 1


async def another(house: House, home: Path, database: dict[str, str]) -> House:
    """Another gateway on the same database, still at the first bundle."""
    return await open_house(home, brain=house.brain, database=database, start=False)


async def test_an_answer_at_another_gateway_that_was_faster_than_the_rebinding_stands(
    tmp_path: Path, database: dict[str, str]
) -> None:
    here = await open_house(tmp_path, database=database)
    there = await another(here, tmp_path, database)
    plan_id, approval_id = await ask(here)
    with held_back(here.log, EntryType.APPROVAL_REBOUND) as (came, go):
        here.policy.digest = NEXT
        await here.approval_upkeep.redecide()
        await came.wait()
        assert (await there.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE))["status"] == "granted"
        [done] = (await there.until_settled(plan_id))["steps"]
        go.set()
        await here.until_settled(plan_id)
    await recover(here.pipeline)
    await here.until_settled(plan_id)
    assert (done["status"], done["decision"]["policy_digest"]) == ("succeeded", FIRST)
    assert (len(there.hands.calls), len(here.hands.calls)) == (1, 0)
    assert "APRREB" not in here.codes()
    assert (await here.pipeline.load(plan_id)).view()["steps"][0] == done
    assert not here.pipeline.overtaken
    await close_house(there)
    await close_house(here)


async def test_an_answer_at_another_gateway_that_was_slower_than_the_rebinding_is_void(
    tmp_path: Path, database: dict[str, str]
) -> None:
    here = await open_house(tmp_path, database=database)
    there = await another(here, tmp_path, database)
    plan_id, approval_id = await ask(here)
    with held_back(there.log, EntryType.APPROVAL_GRANTED) as (came, go):
        answering = asyncio.create_task(there.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE))
        await came.wait()
        await change(here, NEXT, plan_id)
        go.set()
        assert await refusal(answering) is Reason.APPROVAL_CLOSED
    there.policy.digest = NEXT
    shown = await here.approvals.show(approval_id, APPROVER)
    assert (shown["status"], shown["asked"], shown["answers"]) == ("open", 2, [])
    assert not here.hands.calls
    assert not there.hands.calls
    await there.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    assert (await there.until_settled(plan_id))["steps"][0]["status"] == "succeeded"
    await close_house(there)
    await close_house(here)


# --- an answer and an activation at the same time ---------------------------------------------------------------------


async def with_a_running_step(house: House) -> tuple[str, str, asyncio.Event]:
    """A plan that is taken forward now, with a held step beside one that runs until the event is set."""
    running, go_on = asyncio.Event(), asyncio.Event()

    async def wait(call: HandCall) -> HandResult:
        running.set()
        await go_on.wait()
        return HandResult(())

    house.hands.behaviour["echo"] = wait
    view = await house.submit(house.brain.payload(step("w", "write"), step("b")), wait=0)
    await running.wait()
    return view["plan_id"], view["steps"][0]["approval_id"], go_on


async def test_an_answer_that_is_being_recorded_is_not_let_run_by_another_bundle(house: House) -> None:
    plan_id, approval_id, go_on = await with_a_running_step(house)
    with held_back(house.log, EntryType.APPROVAL_GRANTED) as (came, go):
        answering = asyncio.create_task(house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE))
        await came.wait()
        house.policy.digest = NEXT
        go_on.set()
        live = house.pipeline._live[plan_id]
        await asyncio.gather(*live.running)
        live.wake.set()
        go.set()
        assert (await answering)["status"] in {"granted", "voided"}
    [held, other] = (await house.until_settled(plan_id))["steps"]
    assert (held["status"], held["decision"]["policy_digest"], other["status"]) == ("held", NEXT, "succeeded")
    assert [call.step_id for call in house.hands.calls] == ["b"]
    assert held["approval_id"] != approval_id, "a request that was answered is closed, and a new one is opened"
    assert (await house.approvals.show(approval_id, APPROVER))["status"] == "voided"


async def test_an_answer_while_the_request_is_asked_anew_is_refused(house: House) -> None:
    plan_id, approval_id, go_on = await with_a_running_step(house)
    with held_back(house.log, EntryType.APPROVAL_REBOUND) as (came, go):
        house.policy.digest = NEXT
        await house.approval_upkeep.redecide()
        await came.wait()
        answer = house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
        assert await refusal(answer) is Reason.APPROVAL_MISMATCH
        go.set()
        go_on.set()
    [held, _] = (await house.until_settled(plan_id))["steps"]
    assert (held["status"], held["approval_id"]) == ("held", approval_id)
    assert [call.step_id for call in house.hands.calls] == ["b"]


async def test_many_answers_and_activations_at_once_run_nothing_under_two_bundles(house: House) -> None:
    plans = [await ask(house) for _ in range(20)]

    refusals: set[Reason] = set()

    async def answer(approval_id: str) -> None:
        for person in (APPROVER, SECOND):
            try:
                await house.approvals.answer(approval_id, person, answer=Answer.APPROVE)
            except HandrailError as error:
                refusals.add(error.reason)

    async def flip() -> None:
        for number in range(10):
            house.policy.digest = (NEXT, FIRST)[number % 2]
            await house.approval_upkeep.redecide()

    await asyncio.gather(flip(), *(answer(approval_id) for _, approval_id in plans))
    while await house.approval_upkeep.redecide():
        for plan_id, _ in plans:
            await house.until_settled(plan_id)
    assert refusals <= {Reason.APPROVAL_CLOSED, Reason.APPROVAL_VOIDED, Reason.APPROVAL_MISMATCH}
    entries = house.entries()
    for plan_id, _ in plans:
        [state] = (await house.until_settled(plan_id))["steps"]
        assert state["status"] in {"held", "succeeded"}
        about = [entry for entry in entries if entry.get("plan_id") == plan_id]
        if state["status"] == "succeeded":
            granted, dispatched = (
                next(entry for entry in reversed(about) if entry["type"] == kind) for kind in ("APRGRT", "STPDSP")
            )
            assert granted["policy_digest"] == dispatched["policy_digest"] == state["decision"]["policy_digest"]
    assert len(house.hands.calls) == len({call.plan_id for call in house.hands.calls})


# --- whoever writes to the database and holds no key ------------------------------------------------------------------


def rows(house: House, table: Any) -> list[dict[str, Any]]:
    with house.log._engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def sql(house: House, *statements: Any) -> None:
    with house.log._engine.begin() as connection, changing_schema(connection):
        for statement in statements:
            connection.execute(statement)


def put_back(house: House, copy: Mapping[str, Any]) -> None:
    sql(house, update(approvals).where(approvals.c.approval_id == copy["approval_id"]).values(**copy))


@pytest.mark.parametrize("digest", [NEXT, FIRST], ids=["another bundle", "the same bundle again"])
@pytest.mark.parametrize("status", ["open", "granted"])
async def test_a_row_of_the_earlier_asking_that_is_put_back_counts_nothing(
    house: House, digest: str, status: str
) -> None:
    house.policy.obligations = TWO
    plan_id, approval_id = await ask(house)
    await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    [copy] = rows(house, approvals)
    await change(house, NEXT, plan_id)
    if digest == FIRST:
        await change(house, FIRST, plan_id)
    put_back(house, {**copy, "status": status})
    answer = house.approvals.answer(approval_id, SECOND, answer=Answer.APPROVE)
    assert await refusal(answer) is (Reason.INTERNAL if status == "open" else Reason.APPROVAL_CLOSED)
    assert await refusal(house.pipeline.load(plan_id)) is Reason.INTERNAL
    await recover(house.pipeline, first=True)
    assert not house.hands.calls


@pytest.mark.parametrize("how", ["the answers' rows", "the asking of the request", "a grant"])
async def test_void_answers_that_sql_moves_to_the_new_asking_do_not_count(house: House, how: str) -> None:
    house.policy.obligations = TWO
    bob, cy = Person("bob"), Person("cy")
    for person in (bob, cy):
        house.directory.people["default", person.principal.id] = person.principal
    plan_id, approval_id = await ask(house)
    shown = await house.approvals.show(approval_id, bob.principal)
    await house.approvals.answer(approval_id, bob.principal, signed=bob.sign(shown))
    await change(house, NEXT, plan_id)
    await change(house, FIRST, plan_id)  # and so the two askings differ in nothing but their number
    shown = await house.approvals.show(approval_id, bob.principal)
    if how == "the asking of the request":
        sql(house, update(approvals).values(asked=1))
        assert await refusal(house.approvals.show(approval_id, bob.principal)) is Reason.INTERNAL
        return
    sql(house, update(approval_answers).values(asked=3))
    if how == "a grant":
        sql(house, update(approvals).values(status="granted"), text("UPDATE plans SET status = 'running'"))
        await recover(house.pipeline, first=True)
        [ended] = (await house.until_settled(plan_id))["steps"]
        assert ended["status"] == "expired"
    else:
        answered = await house.approvals.answer(approval_id, cy.principal, signed=cy.sign(shown))
        assert answered["status"] == "open", "one of two"
    assert not house.hands.calls


async def test_an_asking_ends_once_whatever_sql_says_of_the_request(house: House) -> None:
    plan_id, approval_id = await ask(house)
    await house.approvals.answer(approval_id, APPROVER, answer=Answer.REFUSE)
    await house.until_settled(plan_id)
    assert rows(house, approval_ends) == [{"approval_id": approval_id, "asked": 1}]
    with pytest.raises(Exception, match="append-only"):
        sql(house, text("DELETE FROM approval_ends"))


# --- many -------------------------------------------------------------------------------------------------------------


async def test_a_thousand_waiting_requests_are_asked_anew_and_hold_up_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approval_upkeep, "REDECIDE_BATCH", 64)
    server = house.settings.server.model_copy(update={"approvals_max_open_per_principal": 1000})
    house.pipeline.settings = house.settings.model_copy(update={"server": server})
    for _ in range(100):
        await house.plan(*[step(f"w{number}", "write") for number in range(10)])
    before = set(await pages(house, status="open", limit=100))
    house.policy.digest = NEXT
    turns = 0
    while house.pipeline._live or await house.approval_upkeep.redecide():
        view = await house.plan(step("other"))
        assert (view["status"], view["steps"][0]["decision"]["policy_digest"]) == ("done", NEXT)
        turns += 1
        assert turns < 1000
    assert set(await pages(house, status=ApprovalStatus.OPEN, limit=100)) == before
    assert len(before) == 1000
    found = rows(house, approvals)
    assert {row["policy_digest"] for row in found} == {NEXT}
    assert {row["asked"] for row in found} == {2}
    assert turns > 1, "a few at a time"


async def test_a_request_whose_decision_was_erased_ends(house: House) -> None:
    """Nobody can tell any more what else the first decision obliged to, nor whom it was about."""
    plan_id, approval_id = await ask(house)
    plan = await house.pipeline.load(plan_id)
    commitment = plan.steps["w"].commitments["evaluation"]
    sql(house, text(f"DELETE FROM payloads WHERE commitment = '{commitment}'"))
    await change(house, NEXT, plan_id)
    [ended] = (await house.pipeline.load(plan_id)).view()["steps"]
    assert (ended["status"], ended["error"]["code"]) == ("denied", "schema.erased")
    assert house.hands.calls == []
    assert (await house.approvals.show(approval_id, APPROVER))["status"] == "voided"


async def test_a_request_whose_plan_was_erased_ends_though_its_args_are_there(house: House) -> None:
    """They were sealed under another person's key, and nobody can tell any more what was asked to be done with them."""
    plan_id, approval_id = await ask(house)
    plan = await house.pipeline.load(plan_id)
    sql(house, text(f"DELETE FROM payloads WHERE commitment = '{plan.commitment}'"))
    assert await refusal(house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)) is Reason.APPROVAL_VOIDED
    [ended] = (await house.until_settled(plan_id))["steps"]
    assert (ended["status"], ended["error"]["code"]) == ("denied", "schema.erased")
    assert house.hands.calls == []


async def test_a_step_that_ends_in_the_round_that_judges_it_leaves_no_request_open(house: House) -> None:
    house.policy.effects["typed"] = Effect.DENY
    view = await house.plan(step("t", "typed"), step("w", "write", depends_on=["t"]))
    assert [one["status"] for one in view["steps"]] == ["denied", "skipped"]
    assert await pages(house, status="open", limit=100) == []


async def test_an_engine_that_is_away_denies_nothing_that_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_id, approval_id = await ask(house)
    house.policy.digest = NEXT

    async def away() -> None:
        raise HandrailError(Reason.POLICY_UNAVAILABLE)

    monkeypatch.setattr(house.policy, "ready", away)
    assert await refusal(house.approval_upkeep.redecide()) is Reason.POLICY_UNAVAILABLE
    monkeypatch.undo()
    await change(house, NEXT, plan_id)
    assert (await house.approvals.show(approval_id, APPROVER))["asked"] == 2


@pytest.mark.parametrize("reason", sorted(ENGINE_AWAY))
async def test_an_engine_that_is_late_or_away_ends_no_waiting_request(house: House, reason: Reason) -> None:
    """Else an activation under load denies what people are looking at."""
    plan_id, approval_id = await ask(house)
    house.policy.effects["write"] = Effect.DENY
    house.policy.reason = DecisionReason(str(reason), "not now")
    await change(house, NEXT, plan_id)
    shown = await house.approvals.show(approval_id, APPROVER)
    assert (shown["status"], shown["binding"]["policy_digest"]) == ("open", FIRST)
    entries = len(house.codes())
    assert await refusal(house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)) in {
        Reason.APPROVAL_MISMATCH,
        Reason.APPROVAL_VOIDED,
        Reason.POLICY_UNAVAILABLE,
    }, "nobody can approve what no bundle in force asks for"
    assert (house.hands.calls, len(house.codes())) == ([], entries)
    house.policy.effects["write"] = Effect.ASK
    house.policy.reason = None
    await change(house, NEXT, plan_id)
    assert (await house.approvals.show(approval_id, APPROVER))["binding"]["policy_digest"] == NEXT
    await house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE)
    [done] = (await house.until_settled(plan_id))["steps"]
    assert done["status"] == "succeeded"


async def test_an_approved_step_that_nobody_can_judge_anew_does_not_run(house: House) -> None:
    """It does not wait for people any more, so nothing but the policy stands before it."""
    first = step("a", "write")
    view = await house.plan(first, step("b", "write", depends_on=["a"]))
    later = view["steps"][1]["approval_id"]
    await house.approvals.answer(later, APPROVER, answer=Answer.APPROVE)
    await house.until_settled(view["plan_id"])
    house.policy.effects["write"] = Effect.DENY
    house.policy.reason = DecisionReason(str(Reason.POLICY_UNAVAILABLE), "not now")
    await change(house, NEXT, view["plan_id"])
    assert house.hands.calls == []


async def test_a_gateway_that_lags_behind_takes_no_step_up_for_an_answer(tmp_path: Path) -> None:
    """It still holds a bundle that allows what the deciding one asks about; a refusal must not set that going."""
    one = await open_house(tmp_path, gateway="gw-one")
    two = await open_house(tmp_path, gateway="gw-two", brain=one.brain)
    one.policy.digest = NEXT
    two.policy.effects["write"] = Effect.ALLOW
    plan_id, approval_id = await ask(one)
    for answer in Answer:
        assert await refusal(two.approvals.answer(approval_id, APPROVER, answer=answer)) is Reason.APPROVAL_VOIDED
        await two.until_settled(plan_id)
    assert (two.hands.calls, one.hands.calls) == ([], [])
    assert (await one.approvals.show(approval_id, APPROVER))["status"] == "open"
    await close_house(two)
    await close_house(one)


async def test_an_answer_to_the_asking_that_a_page_showed_fits_no_later_one(house: House) -> None:
    plan_id, approval_id = await ask(house)
    shown, _ = await house.approvals.look(approval_id, APPROVER)
    await change(house, NEXT, plan_id)
    late = house.approvals.answer(approval_id, APPROVER, answer=Answer.APPROVE, asked=shown["asked"])
    assert await refusal(late) is Reason.APPROVAL_MISMATCH
    assert not house.hands.calls
