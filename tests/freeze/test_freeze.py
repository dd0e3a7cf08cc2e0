"""Freezing and lifting, attacked: what is held, what is forged, who may, and what survives."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.database import changing_schema, make_engine
from gateway import freeze_journal
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Unavailable
from gateway.freeze import Cause, Freeze, FreezeState, Scope
from gateway.freezing import FreezeOrder
from gateway.model import Answer, ApprovalStatus, Obligations, Principal, Role
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.recovery import recover
from gateway.two_person import Kind
from tests.freeze.support import CHIEF, DEPUTY, STRANGER, Stuck, freeze, lift, proposals
from tests.pipeline.house import (
    AGENT,
    APPROVER,
    MANIFEST,
    OTHER,
    SECOND,
    House,
    close_house,
    locked,
    open_house,
    step,
)
from tests.until import until


async def refused(work: Any, reason: Reason) -> HandrailError:
    with pytest.raises(HandrailError) as caught:
        await work
    assert caught.value.reason is reason
    return caught.value


async def held(house: House, **changes: Any) -> dict[str, Any]:
    """A plan that waits for a person; its approval request."""
    view = await house.plan(step("w", "write"), **changes)
    found = (await house.approvals.list(APPROVER))["approvals"]
    return next(one for one in found if one["plan_id"] == view["plan_id"])


# --- what is stopped -------------------------------------------------------------------------------------------------


async def test_what_waits_is_voided_and_stays_so_after_the_freeze_is_lifted(house: House) -> None:
    waiting = await held(house)
    made = await freeze(house, Scope.ALL)
    assert made["held"] == 1
    await house.freezing.look()
    view = await house.until_settled(waiting["plan_id"])
    assert (view["steps"][0]["status"], view["steps"][0]["error"]["code"]) == ("denied", "freeze.active")
    assert "APRVOI" in house.codes()
    (row,) = (await house.approvals.list(APPROVER))["approvals"]
    assert row["status"] == str(ApprovalStatus.VOIDED)
    await lift(house, made["id"])
    await refused(house.approvals.answer(waiting["id"], APPROVER, answer=Answer.APPROVE), Reason.APPROVAL_VOIDED)
    assert house.hands.calls == []
    assert (await house.plan(step("a")))["steps"][0]["status"] == "succeeded"


async def test_an_old_request_is_no_way_around_a_freeze_that_was_lifted_before_anybody_swept(house: House) -> None:
    """Frozen and lifted while the gateway that holds the plan looked elsewhere: what was asked before is void."""
    await house.freezing.close()  # it does not look by itself
    waiting = await held(house)
    made = await freeze(house, Scope.PRINCIPAL, AGENT.id)
    await lift(house, made["id"])
    house.freezing._unswept.clear()
    await refused(house.approvals.answer(waiting["id"], APPROVER, answer=Answer.APPROVE), Reason.FREEZE_ACTIVE)
    view = await house.until_settled(waiting["plan_id"])
    assert view["steps"][0]["status"] == "denied"
    assert house.hands.calls == []


async def test_a_frozen_approver_neither_answers_nor_counts(house: House) -> None:
    house.policy.obligations = Obligations(quorum=2)
    waiting = await held(house)
    await house.approvals.answer(waiting["id"], SECOND, answer=Answer.APPROVE)
    made = await freeze(house, Scope.PRINCIPAL, SECOND.id)
    other = await held(house)
    await refused(house.approvals.answer(other["id"], SECOND, answer=Answer.REFUSE), Reason.FREEZE_ACTIVE)
    await house.approvals.answer(waiting["id"], APPROVER, answer=Answer.APPROVE)
    assert house.hands.calls == []
    await lift(house, made["id"])
    assert (await house.approvals.show(waiting["id"], APPROVER))["status"] == "open"
    assert house.hands.calls == []


def test_the_log_says_what_came_first_whatever_two_gateways_clocks_say() -> None:
    """A gateway whose clock is ahead took the answer, another one set the freeze after it: the answer is void."""
    frozen = Freeze("0" * 16, "default", Scope.PRINCIPAL, "p-bob", Cause.DRILL, "p-ann", at=100.0, index=7)
    for lifted, index, void in ((True, 6, True), (True, 8, False), (False, 8, True)):
        state = FreezeState.of([replace(frozen, lifted=lifted)], 9)
        assert state.voids_answer("default", "p-bob", index) is void, (lifted, index)
    assert FreezeState.of([replace(frozen, index=None, lifted=True)], 9).voids_answer("default", "p-bob", 8)
    assert not FreezeState.of([frozen], 9).voids_answer("acme", "p-bob", 6)
    assert not FreezeState.of([frozen], 9).voids_answer("default", "p-cy", 6)


async def test_an_answer_from_a_clock_that_is_ahead_does_not_outlive_a_freeze(house: House) -> None:
    """Answered at another gateway whose clock is an hour ahead, frozen here since, lifted: it does not count."""
    house.policy.obligations = Obligations(quorum=2)
    waiting = await held(house)
    clock = house.pipeline.clock
    house.pipeline.clock = lambda: clock() + 3000
    await house.approvals.answer(waiting["id"], SECOND, answer=Answer.APPROVE)
    house.pipeline.clock = clock
    made = await freeze(house, Scope.PRINCIPAL, SECOND.id)
    await lift(house, made["id"])
    await house.approvals.answer(waiting["id"], APPROVER, answer=Answer.APPROVE)
    assert (await house.approvals.show(waiting["id"], APPROVER))["status"] == "open", "one of two"
    assert house.hands.calls == []


@pytest.mark.parametrize("whose", ["subject", "caller"])
async def test_a_frozen_principal_submits_nothing_in_whoevers_name(house: House, whose: str) -> None:
    registration = house.brain.registration(speaks_for=frozenset({OTHER.id, AGENT.id}))
    house.directory.issuers["default", house.brain.issuer] = registration
    await freeze(house, Scope.PRINCIPAL, OTHER.id)
    subject, caller = (OTHER.id, AGENT) if whose == "subject" else (AGENT.id, OTHER)
    problem = await refused(
        house.submit(house.brain.payload(step("a"), sub=subject), caller=caller), Reason.FREEZE_ACTIVE
    )
    assert problem.facts["scope"] == "principal"
    assert OTHER.id not in str(problem.facts)
    assert house.codes()[-1] == "ACCREF"
    assert (await house.plan(step("a")))["steps"][0]["status"] == "succeeded"


async def test_a_step_on_a_frozen_hand_is_denied_and_the_plans_others_run(house: House) -> None:

    house.hands.manifests["second"] = replace(MANIFEST, hand="second")
    await freeze(house, Scope.HAND, "tool")
    view = await house.plan(step("a"), step("b", hand="second"), step("c", hand="second", depends_on=["a"]))
    assert [one["status"] for one in view["steps"]] == ["denied", "succeeded", "skipped"]
    denial = next(entry for entry in house.entries() if entry["type"] == "POLDNY")
    assert (denial["hand"], denial["reasons"]) == ("tool", ["freeze.active"])


async def test_why_names_the_freeze(house: House) -> None:
    made = await freeze(house, Scope.HAND, "tool")
    view = await house.plan(step("a"))
    assert view["steps"][0]["error"] == {
        "code": "freeze.active",
        "text": "This is frozen: somebody stopped it, and two people have to lift that.",
        "freeze": made["id"],
        "scope": "hand",
    }
    told = await house.evidence.why(view["plan_id"], "a", Principal("x", "default", "p-x", frozenset({Role.AUDITOR})))
    assert told["error"]["freeze"] == made["id"]


# --- words, and who sees them ----------------------------------------------------------------------------------------


async def test_the_words_are_shown_to_people_and_are_in_no_entry(house: House) -> None:
    # Neither the name nor the word can stand in a hash or a random id by chance.
    stolen = replace(AGENT, id="jonquil.lovelace", pseudonym="p-frozen")
    house.directory.people["default", stolen.id] = stolen
    await freeze(house, Scope.PRINCIPAL, stolen.id, why="The laptop was stolen")
    proposals(house)
    (shown,) = (await house.freezing.list(CHIEF))["freezes"]
    assert (shown["subject"], shown["by"], shown["why"]) == (stolen.id, "chief", "The laptop was stolen")
    written = json.dumps(house.entries())
    assert stolen.pseudonym in written
    assert stolen.id not in written
    assert "laptop" not in written


async def test_a_stranger_sees_that_the_gateway_is_frozen_and_not_who_or_why(house: House) -> None:
    await freeze(house, Scope.ALL, why="private words")
    await freeze(house, Scope.PRINCIPAL, AGENT.id)
    (shown,) = (await house.freezing.list(STRANGER))["freezes"]
    assert shown["scope"] == "all"
    assert {"by", "why"}.isdisjoint(shown)


# --- who may ---------------------------------------------------------------------------------------------------------


async def test_nobody_freezes_themselves_and_an_operator_freezes_no_security_admin(house: House) -> None:
    proposals(house)
    problem = await refused(house.freezing.set(CHIEF, FreezeOrder(Scope.PRINCIPAL, CHIEF.id)), Reason.REQUEST_CONFLICT)
    assert problem.facts["problem"] == "freeze.oneself"
    await refused(house.freezing.set(DEPUTY, FreezeOrder(Scope.PRINCIPAL, CHIEF.id)), Reason.AUTH_FORBIDDEN)


@pytest.mark.parametrize(
    "asked",
    [
        FreezeOrder(Scope.HAND, "tol"),
        FreezeOrder(Scope.CONTEXT, "no-such-journey"),
        FreezeOrder(Scope.PRINCIPAL, "nobody"),
    ],
)
async def test_a_slip_of_the_pen_freezes_nothing_and_says_so(house: House, asked: FreezeOrder) -> None:
    await refused(house.freezing.set(CHIEF, asked), Reason.REQUEST_NOT_FOUND)
    assert house.freezing.now.in_force == []


@pytest.mark.parametrize("asked", [FreezeOrder(Scope.ALL, "git"), FreezeOrder(Scope.HAND)])
async def test_a_freeze_names_exactly_what_it_is_of(house: House, asked: FreezeOrder) -> None:
    await refused(house.freezing.set(CHIEF, asked), Reason.REQUEST_MALFORMED)


async def test_what_another_tenant_freezes_stops_that_tenant_alone(house: House) -> None:
    await freeze(house, Scope.ALL, by=STRANGER)
    await freeze(house, Scope.HAND, "tool", by=STRANGER)
    assert (await house.plan(step("a")))["steps"][0]["status"] == "succeeded"
    await refused(house.freezing.set(STRANGER, FreezeOrder(Scope.PRINCIPAL, AGENT.id + "x")), Reason.REQUEST_NOT_FOUND)
    assert (await house.freezing.list(CHIEF))["freezes"] == []
    desk = proposals(house)
    theirs = house.freezing.now.in_force[0].id
    await refused(desk.propose(CHIEF, Kind.FREEZE_LIFT, {"freeze": theirs}), Reason.REQUEST_NOT_FOUND)


async def test_twice_is_once(house: House) -> None:
    first = await freeze(house, Scope.HAND, "tool")
    again, new = await house.freezing.set(DEPUTY, FreezeOrder(Scope.HAND, "tool", Cause.OTHER))
    assert (again["id"], new) == (first["id"], False)
    assert house.codes().count("FRZSET") == 1


# --- lifting ---------------------------------------------------------------------------------------------------------


async def test_one_person_lifts_nothing(house: House) -> None:
    made = await freeze(house, Scope.ALL)
    desk = proposals(house)
    asked = await desk.propose(CHIEF, Kind.FREEZE_LIFT, {"freeze": made["id"]})
    await refused(desk.activate(asked["id"], CHIEF, document_sha256=asked["document_sha256"]), Reason.PROPOSAL_SELF)
    await refused(house.plan(step("a")), Reason.FREEZE_ACTIVE)
    await desk.activate(asked["id"], DEPUTY, document_sha256=asked["document_sha256"])
    assert (await house.plan(step("a")))["steps"][0]["status"] == "succeeded"
    lifted = next(entry for entry in house.entries() if entry["type"] == "FRZLFT")
    assert (lifted["facts"]["freeze"], lifted["facts"]["attested_by"]) == (made["id"], "gateway")


async def test_whoever_is_frozen_has_no_say_in_lifting(house: House) -> None:
    """A thief with a deputy's key proposes to lift, and is frozen: what they proposed nobody can activate any more."""
    made = await freeze(house, Scope.ALL)
    desk = proposals(house)
    asked = await desk.propose(DEPUTY, Kind.FREEZE_LIFT, {"freeze": made["id"]})
    theirs = await freeze(house, Scope.PRINCIPAL, DEPUTY.id)
    await refused(desk.activate(asked["id"], CHIEF, document_sha256=asked["document_sha256"]), Reason.PROPOSAL_OUTDATED)
    await refused(desk.propose(DEPUTY, Kind.FREEZE_LIFT, {"freeze": theirs["id"]}), Reason.FREEZE_ACTIVE)
    own = await desk.propose(CHIEF, Kind.FREEZE_LIFT, {"freeze": theirs["id"]})
    await refused(desk.activate(own["id"], DEPUTY, document_sha256=own["document_sha256"]), Reason.FREEZE_ACTIVE)
    await refused(desk.withdraw(own["id"], DEPUTY), Reason.FREEZE_ACTIVE)


async def test_a_proposal_to_lift_what_was_lifted_meanwhile_is_outdated(house: House) -> None:
    made = await freeze(house, Scope.ALL)
    desk = proposals(house)
    one = await desk.propose(CHIEF, Kind.FREEZE_LIFT, {"freeze": made["id"]})
    await refused(desk.propose(DEPUTY, Kind.FREEZE_LIFT, {"freeze": made["id"]}), Reason.REQUEST_CONFLICT)
    read_before = await desk.store.get("default", one["id"])
    await desk.activate(one["id"], DEPUTY, document_sha256=one["document_sha256"])
    assert read_before is not None
    await refused(house.freezing.effects(read_before, DEPUTY), Reason.PROPOSAL_OUTDATED)
    await refused(desk.propose(CHIEF, Kind.FREEZE_LIFT, {"freeze": made["id"]}), Reason.REQUEST_NOT_FOUND)


@pytest.mark.parametrize("document", [{}, {"freeze": 1}, {"freeze": "x", "more": 1}])
async def test_a_lift_names_one_freeze(house: House, document: dict[str, Any]) -> None:
    await refused(proposals(house).propose(CHIEF, Kind.FREEZE_LIFT, document), Reason.REQUEST_MALFORMED)


# --- whoever writes to the database ----------------------------------------------------------------------------------


async def test_an_entry_that_somebody_else_wrote_lifts_nothing(house: House, tmp_path: Path) -> None:
    """With the database alone one can append an entry, and even move the head; the key is elsewhere."""
    made = await freeze(house, Scope.ALL)
    facts = {"freeze": made["id"], "scope": "all", "mac": "0" * 64}
    await house.log.append(Append([EntryDraft(EntryType.UNFROZEN, "default", facts=facts)]))
    without = {"freeze": made["id"], "scope": "all"}
    await house.log.append(Append([EntryDraft(EntryType.UNFROZEN, "default", facts=without)]))
    await house.freezing.refresh()
    await refused(house.plan(step("a")), Reason.FREEZE_ACTIVE)
    await close_house(house)
    again = await open_house(tmp_path, brain=house.brain)
    await refused(again.plan(step("a")), Reason.FREEZE_ACTIVE)
    await close_house(again)


async def test_a_lift_of_one_freeze_is_no_lift_of_another(house: House) -> None:
    first = await freeze(house, Scope.HAND, "tool")
    await lift(house, first["id"])
    mac = next(entry for entry in house.entries() if entry["type"] == "FRZLFT")["facts"]["mac"]
    second = await freeze(house, Scope.HAND, "tool")
    facts = {"freeze": second["id"], "scope": "hand", "mac": mac}
    await house.log.append(Append([EntryDraft(EntryType.UNFROZEN, "default", facts=facts)]))
    await house.freezing.refresh()
    assert [one.id for one in house.freezing.now.in_force] == [second["id"]]


async def test_a_freeze_that_cannot_be_read_stops_everything(house: House) -> None:
    await house.log.append(Append([EntryDraft(EntryType.FROZEN, "default", facts={"scope": "nonsense"})]))
    house.freezing._seen_at = float("-inf")
    await refused(house.plan(step("a")), Reason.INTERNAL)
    assert house.hands.calls == []


async def test_an_entry_deleted_from_the_log_thaws_no_gateway_that_knows_it_nor_its_next_life(
    house: House, tmp_path: Path
) -> None:
    made = await freeze(house, Scope.ALL)
    index = made["log_index"]
    await close_house(house)
    engine = make_engine(house.settings.database_url)
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'entries'"
    with engine.connect() as connection, changing_schema(connection):
        for name in connection.exec_driver_sql(triggers).scalars().all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql("UPDATE entries SET type = 'LOGVER' WHERE idx = ?", (index,))
        connection.commit()
    engine.dispose()
    again = await open_house(tmp_path, brain=house.brain)
    await refused(again.plan(step("a")), Reason.FREEZE_ACTIVE)
    await again.freezing.look()
    assert again.codes().count("FRZSET") == 2
    await close_house(again)


# --- restarts, restores, outages -------------------------------------------------------------------------------------


async def test_it_holds_after_a_restart_and_so_does_its_lift(house: House, tmp_path: Path) -> None:
    made = await freeze(house, Scope.ALL)
    await close_house(house)
    again = await open_house(tmp_path, brain=house.brain)
    await refused(again.plan(step("a")), Reason.FREEZE_ACTIVE)
    await lift(again, made["id"])
    await close_house(again)
    third = await open_house(tmp_path, brain=house.brain)
    assert (await third.plan(step("a")))["steps"][0]["status"] == "succeeded"
    assert json.loads((tmp_path / "freezes.json").read_text()) == []
    await close_house(third)


async def test_a_database_from_before_the_freeze_thaws_nothing_and_learns_of_it(house: House, tmp_path: Path) -> None:
    """A restored backup is older than the freeze; the home is not."""
    await house.plan(step("a"))
    made = await freeze(house, Scope.ALL, why="words")
    journal = tmp_path / "journal"
    journal.mkdir()
    (journal / "freezes.json").write_bytes((tmp_path / "freezes.json").read_bytes())
    older = tmp_path / "older.db"
    again = await open_house(
        tmp_path, brain=house.brain, journal=journal, database={"url": f"sqlite:///{older}"}, gateway="gw-again"
    )
    await refused(again.plan(step("a")), Reason.FREEZE_ACTIVE)
    assert not (await again.freezing.list(CHIEF))["freezes"][0]["recorded"]
    desk = proposals(again)
    asked = await desk.propose(CHIEF, Kind.FREEZE_LIFT, {"freeze": made["id"]})
    await refused(
        desk.activate(asked["id"], DEPUTY, document_sha256=asked["document_sha256"]), Reason.PROPOSAL_OUTDATED
    )
    await again.freezing.look()
    assert again.codes().count("FRZSET") == 1
    await desk.activate(asked["id"], DEPUTY, document_sha256=asked["document_sha256"])
    assert (await again.plan(step("a")))["steps"][0]["status"] == "succeeded"
    await close_house(again)


@pytest.mark.parametrize("content", [b"{", b"[{}]", b'[{"scope": "moon", "cause": "other"}]', b"\xff"])
async def test_a_home_whose_freezes_cannot_be_read_does_not_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "freezes.json").write_bytes(content)
    problem = await refused(open_house(tmp_path), Reason.INTERNAL)
    assert "freezes.json" in problem.detail


async def test_a_log_that_cannot_be_written_keeps_nobody_from_stopping(house: House) -> None:
    hand = Stuck()
    house.hands.behaviour["echo"] = hand
    task = asyncio.create_task(house.plan(step("a")))
    await hand.reached.wait()
    append, away = house.log.append, True

    async def out_of_order(item: Append) -> Any:
        if away:
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        return await append(item)

    house.log.append = out_of_order  # type: ignore[method-assign]
    made = await freeze(house, Scope.ALL)
    assert not made["recorded"]
    await hand.ended.wait()
    view = await task
    assert view["steps"][0]["status"] in {"running", "ambiguous"}
    kept = json.loads((house.settings.home / "freezes.json").read_text())
    assert [one["id"] for one in kept] == [made["id"]]
    away = False
    await recover(house.pipeline)
    await refused(house.plan(step("b")), Reason.FREEZE_ACTIVE)
    await house.freezing.look()
    (shown,) = (await house.freezing.list(CHIEF))["freezes"]
    assert shown["recorded"]
    settled = await house.until_settled(view["plan_id"])
    assert settled["steps"][0]["status"] == "ambiguous"


async def test_where_nobody_can_say_what_is_frozen_every_call_is_ended_and_none_begins(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Stuck()
    house.hands.behaviour["echo"] = hand
    task = asyncio.create_task(house.plan(step("a")))
    await hand.reached.wait()
    read = house.freezing.store.read

    async def blind(after: int) -> Any:
        raise Unavailable(Reason.LOG_UNAVAILABLE, "the database does not answer")

    monkeypatch.setattr(house.freezing.store, "read", blind)
    await house.freezing.look()
    assert not hand.ended.is_set()  # a moment without the database ends nothing
    house.freezing._seen_at = float("-inf")
    await house.freezing.look()
    view = await task
    assert (view["steps"][0]["status"], view["steps"][0]["error"]["code"]) == ("ambiguous", "log.unavailable")
    await refused(house.plan(step("b")), Reason.LOG_UNAVAILABLE)
    assert len(house.hands.calls) == 1
    monkeypatch.setattr(house.freezing.store, "read", read)
    house.hands.behaviour.clear()
    assert (await house.plan(step("b")))["steps"][0]["status"] == "succeeded"


async def test_a_call_that_goes_on_keeps_no_gateway_from_hearing_of_the_next_freeze(pair: tuple[House, House]) -> None:
    """One step of a plan waits on a hand that is frozen; another one runs for as long as its hand likes."""
    house, other = pair
    hand = Stuck()
    house.hands.behaviour["echo"] = hand
    house.hands.manifests = other.hands.manifests = {"tool": MANIFEST, "desk": replace(MANIFEST, hand="desk")}
    task = asyncio.create_task(house.plan(step("a"), step("w", "write", hand="desk")))
    await hand.reached.wait()

    async def open_requests() -> list[Any]:
        found = (await house.approvals.list(APPROVER))["approvals"]
        return [one for one in found if one["status"] == str(ApprovalStatus.OPEN)]

    async def is_asked() -> bool:
        return bool(await open_requests())

    await until(is_asked)
    house.freezing.wake = lambda: None  # the plan has not come to look by itself
    await freeze(other, Scope.HAND, "desk")
    looking = asyncio.create_task(house.freezing.look())
    done, _ = await asyncio.wait({looking}, timeout=20)
    if not done:
        hand.open.set()  # or nothing of this would end
    assert done, "it does not wait for the call"
    looking.result()
    assert not hand.ended.is_set()
    await freeze(other, Scope.HAND, "tool")
    await house.freezing.look()
    assert {one["status"] for one in (await task)["steps"]} == {"ambiguous", "denied"}
    assert await open_requests() == []


async def test_freezes_at_one_moment_are_all_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the disk is with one of them: no older list is written over a newer one."""
    keep, slow = house.freezing.journal.keep, threading.Event()

    def late(freezes: Any) -> None:
        if len(freezes) == 1:
            slow.wait(5)
        keep(freezes)

    monkeypatch.setattr(house.freezing.journal, "keep", late)
    tasks = [asyncio.create_task(freeze(house, *one)) for one in ((Scope.ALL,), (Scope.HAND, "tool"))]
    await until(lambda: len(house.freezing.now.in_force) == 2)
    slow.set()
    await asyncio.gather(*tasks)
    kept = json.loads((house.settings.home / "freezes.json").read_text())
    assert {one["scope"] for one in kept} == {"all", "hand"}


async def test_a_full_home_keeps_nobody_from_stopping(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(freezes: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(house.freezing.journal, "keep", full)
    await freeze(house, Scope.ALL)
    await refused(house.plan(step("a")), Reason.FREEZE_ACTIVE)


async def test_a_home_whose_disk_hangs_keeps_no_freeze_from_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other gateways hear of it, and the home's copy follows once the disk is back."""
    monkeypatch.setattr(freeze_journal, "KEEP_SECONDS", 0.05)
    keep, back, asked = house.freezing.journal.keep, threading.Event(), 0

    def hung(freezes: Any) -> None:
        nonlocal asked
        asked += 1
        back.wait(30)
        keep(freezes)

    monkeypatch.setattr(house.freezing.journal, "keep", hung)
    try:
        made = [await freeze(house, *one) for one in ((Scope.ALL,), (Scope.HAND, "tool"))]
        assert [one["recorded"] for one in made] == [True, True]
        assert asked == 1, "one thread waits for the disk, however much is frozen meanwhile"
        assert not (house.settings.home / "freezes.json").exists()
    finally:
        back.set()
    file = house.settings.home / "freezes.json"
    await until(lambda: file.exists() and len(json.loads(file.read_text())) == 2)
    assert {one["id"] for one in json.loads(file.read_text())} == {one["id"] for one in made}
    assert asked == 2


@pytest.mark.limits
async def test_a_database_that_hangs_does_not_delay_the_stop_here(house: House) -> None:
    hand = Stuck()
    house.hands.behaviour["echo"] = hand
    task = asyncio.create_task(house.plan(step("a")))
    await hand.reached.wait()
    with locked(house):
        freezing = asyncio.create_task(freeze(house, Scope.ALL))
        await hand.ended.wait()
        made = await freezing
    assert not made["recorded"]
    await task
    await until(lambda: house.codes().count("FRZSET") == 1)


# --- two gateways ----------------------------------------------------------------------------------------------------


async def test_every_gateway_stops_what_runs_and_what_waits_there(pair: tuple[House, House]) -> None:
    one, two = pair
    hand = Stuck()
    two.hands.behaviour["echo"] = hand
    waiting = await held(two)
    task = asyncio.create_task(two.plan(step("a"), step("b", depends_on=["a"])))
    await hand.reached.wait()
    made = await freeze(one, Scope.ALL)
    assert (made["running"], made["held"]) == (1, 1)
    view = await task
    assert [step_["status"] for step_ in view["steps"]] == ["ambiguous", "denied"]
    await until(lambda: "APRVOI" in two.codes())
    assert (await two.until_settled(waiting["plan_id"]))["steps"][0]["status"] == "denied"
    for house in pair:
        await refused(house.plan(step("c")), Reason.FREEZE_ACTIVE)
    await lift(one, made["id"])
    for house in pair:
        await house.freezing.refresh()
        assert (await house.plan(step("c", "small")))["steps"][0]["status"] == "succeeded"


async def test_a_gateway_that_did_not_hear_yet_records_no_intent_beside_the_freeze(pair: tuple[House, House]) -> None:
    one, two = pair
    for house in pair:
        await house.plan(step("a"))
        await house.freezing.close()  # nobody follows: only the append itself can notice
    two.hands.calls.clear()
    await freeze(one, Scope.ALL)
    await refused(two.plan(step("b")), Reason.FREEZE_ACTIVE)
    assert two.hands.calls == []


async def test_another_gateways_request_cannot_be_answered_once_it_is_frozen(pair: tuple[House, House]) -> None:
    one, two = pair
    waiting = await held(two)
    await two.freezing.close()
    await freeze(one, Scope.PRINCIPAL, AGENT.id)
    await refused(one.approvals.answer(waiting["id"], APPROVER, answer=Answer.APPROVE), Reason.FREEZE_ACTIVE)
    assert two.hands.calls == one.hands.calls == []


async def test_a_gateway_follows_the_freezes_of_every_tenant(pair: tuple[House, House]) -> None:
    one, two = pair
    await two.plan(step("a"))
    await two.freezing.refresh()
    await freeze(one, Scope.ALL, by=STRANGER)
    await two.freezing.refresh()
    assert [frozen.tenant for frozen in two.freezing.now.in_force] == ["other"]
