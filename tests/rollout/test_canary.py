"""A canary on a whole gateway: who is in it, whose word counts, how it stops itself, and who cannot make one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import HandrailError, Refused
from gateway.model import Answer
from gateway.policy.canary import Cause
from gateway.policy.faults import EngineUnavailable
from gateway.policy.private_opa import private_opa
from gateway.reasons import Reason
from gateway.store.tables import policy_bundles, policy_comparisons, proposal_acts, proposals
from gateway.two_person import Kind
from tests.pipeline.house import step
from tests.rollout.stage import (
    ASKING,
    CHANGED,
    DAY,
    FAULTY,
    GARBAGE,
    LAX,
    MANY,
    STRICT,
    Stage,
    codes,
    denying,
    execute,
    open_stage,
    rows,
    second_home,
)
from tests.rollout.support import RULES, Place

CHAIN = (step("first", "change", "tool"), step("second", "write", "tool", depends_on=["first"]))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, agents=MANY) as opened:
        yield opened


async def refusal(awaitable: Any) -> Reason:
    with pytest.raises(HandrailError) as caught:
        await awaitable
    return caught.value.reason


async def stopped(stage: Stage, rules: str = STRICT) -> Any:
    """A canary that stopped itself, on record."""
    canary = await stage.canary(rules)
    for _ in range(4):
        await stage.place.do("read")
    await stage.settle()
    assert stage.place.gateway.rollout.trial.cause is not None
    return canary


async def after(place: Place, plan_id: str) -> list[dict[str, Any]]:
    """The steps of a plan once nothing moves any more."""
    while (live := place.gateway.pipeline._live.get(plan_id)) is not None:
        await live.settled.wait()
    return (await place.gateway.pipeline.load(plan_id)).view()["steps"]


# --- how it comes about, and what it does -----------------------------------------------------------------------------


async def test_one_person_alone_makes_no_canary(stage: Stage) -> None:
    document = await stage.document(await stage.bring(STRICT))
    proposals_, oli = stage.place.gateway.proposals, stage.place.people["oli"]
    made = await proposals_.propose(oli, Kind.POLICY_CANARY, document)
    sha256 = made["document_sha256"]
    assert await refusal(proposals_.activate(made["id"], oli, document_sha256=sha256)) is Reason.PROPOSAL_SELF
    assert (await stage.place.do("read"))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"percent": 0}, Reason.REQUEST_MALFORMED),
        ({"percent": 101}, Reason.REQUEST_MALFORMED),
        ({"percent": True}, Reason.REQUEST_MALFORMED),
        ({"percent": 5.5}, Reason.REQUEST_MALFORMED),
        ({"lasts_seconds": 15 * DAY}, Reason.REQUEST_MALFORMED),
        ({"principals": ["ada"]}, Reason.REQUEST_MALFORMED),
        ({"digest": "0" * 64}, Reason.REQUEST_NOT_FOUND),
        ({"active": "0" * 64}, Reason.PROPOSAL_OUTDATED),
    ],
)
async def test_a_canary_of_something_else_is_refused(stage: Stage, changes: dict[str, Any], reason: Reason) -> None:
    document = {**await stage.document(await stage.bring(STRICT)), **changes}
    ann = stage.place.people["ann"]
    assert await refusal(stage.place.gateway.proposals.propose(ann, Kind.POLICY_CANARY, document)) is reason


async def test_the_bundle_that_decides_is_no_candidate(stage: Stage) -> None:
    digest = stage.place.gateway.policy.digest
    document, ann = await stage.document(digest), stage.place.people["ann"]
    asked = stage.place.gateway.proposals.propose(ann, Kind.POLICY_CANARY, document)
    assert await refusal(asked) is Reason.REQUEST_CONFLICT


async def test_the_candidate_decides_for_those_inside_and_says_so(stage: Stage) -> None:
    active = stage.place.gateway.policy.digest
    canary = await stage.canary(STRICT, percent=50)
    inside = await stage.place.do("read", stage.covered(canary))
    outside = await stage.place.do("read", stage.covered(canary, inside=False))
    assert (inside["status"], codes(inside)) == ("denied", ["trial.no"])
    assert (inside["decision"]["policy_digest"], outside["decision"]["policy_digest"]) == (canary.digest, active)
    assert outside["status"] == "succeeded"
    (entry,) = stage.place.entries("POLDNY")
    assert entry["policy_digest"] == canary.digest
    who = stage.place.people[stage.covered(canary)]
    why = await stage.place.gateway.evidence.why(entry["plan_id"], "s", who)
    assert why["reasons"][0]["file"] == "handrail/main.rego"


async def test_it_is_seen_in_metrics_and_by_who_asks(stage: Stage) -> None:
    canary = await stage.canary(STRICT)
    await stage.place.do("read")
    metrics = await stage.place.metrics()
    assert "handrail_policy_canary 100.0" in metrics
    assert 'handrail_policy_compared_total{outcome="newly_denied",trial="canary"} 1.0' in metrics
    shown = await stage.place.get("/v1/policy/canary")
    assert (shown["canary"]["digest"], shown["canary"]["percent"], shown["canary"]["stopped"]) == (
        canary.digest,
        100,
        None,
    )
    assert shown["comparison"]["rules"] == {"newly_denied": {"trial.no": 1}}
    assert "text" not in str(shown), "no argument, not even its name"


async def test_one_person_ends_it_at_once(stage: Stage) -> None:
    canary = await stage.canary(STRICT)
    assert (await stage.place.do("read"))["status"] == "denied"
    await stage.end(canary)
    assert (await stage.place.do("read"))["status"] == "succeeded"
    assert stage.place.gateway.rollout.candidate.digest == ""
    shown = await stage.place.get("/v1/policy/canary")
    assert (shown["canary"]["in_force"], shown["comparison"]["decisions"]) == (False, 1)


async def test_without_an_engine_for_it_no_canary_begins(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Any:
        raise EngineUnavailable("no processes here")

    monkeypatch.setattr(stage.place.gateway.rollout.candidate, "_make", make)
    document = await stage.document(await stage.bring(LAX))
    assert await refusal(stage.place.two_people(Kind.POLICY_CANARY, document)) is Reason.POLICY_UNAVAILABLE
    assert (await stage.place.do("write"))["status"] == "denied"
    await stage.settle()
    assert stage.place.gateway.rollout.notices() == {}


async def test_it_ends_at_the_second_that_was_said(stage: Stage) -> None:
    await stage.canary(STRICT)
    stage.place.gateway.rollout.clock.at_least(stage.place.gateway.clock() + DAY + 1)
    assert (await stage.place.do("read"))["status"] == "succeeded"


async def test_a_second_canary_waits_for_the_end_of_the_first(stage: Stage) -> None:
    await stage.canary(STRICT)
    document = await stage.document(await stage.bring(LAX))
    assert await refusal(stage.place.two_people(Kind.POLICY_CANARY, document)) is Reason.REQUEST_CONFLICT


# --- who is in it -----------------------------------------------------------------------------------------------------


async def test_no_caller_can_tell_or_choose_whether_it_is_in(stage: Stage) -> None:
    """A name that was outside of one canary is as likely as any other in the next one, and under another key."""
    first = await stage.canary(STRICT, percent=50)
    key = stage.place.gateway.rollout.trial._key
    names = [f"name-{number}" for number in range(400)]
    outside = [name for name in names if not first.covers(key, "default", name)]
    assert 140 < len(outside) < 260
    await stage.end(first)
    second = await stage.canary(STRICT, percent=50)
    again = [name for name in outside if not second.covers(key, "default", name)]
    assert 0 < len(again) < len(outside)
    other = [name for name in outside if not first.covers(b"k" * 32, "default", name)]
    assert 0 < len(other) < len(outside)
    assert {first.covers(key, "acme", name) for name in outside} == {True, False}


async def test_who_is_in_stays_in(stage: Stage, tmp_path: Path) -> None:
    canary = await stage.canary(STRICT, percent=50)
    who = stage.covered(canary)
    for _ in range(3):
        assert (await stage.place.do("erase", who))["decision"]["policy_digest"] == canary.digest


async def test_a_larger_share_takes_nobody_out(stage: Stage) -> None:
    from dataclasses import replace

    canary = await stage.canary(STRICT, percent=10)
    key = stage.place.gateway.rollout.trial._key
    names = [f"name-{number}" for number in range(300)]
    few = {name for name in names if canary.covers(key, "default", name)}
    many = {name for name in names if replace(canary, percent=40).covers(key, "default", name)}
    assert few < many


# --- it stops itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rules", "cause"), [(STRICT, "denials"), (FAULTY, "errors"), (GARBAGE, "errors")])
async def test_it_stops_itself_when_denials_or_errors_jump(stage: Stage, rules: str, cause: str) -> None:
    canary = await stage.canary(rules)
    with capture_logs() as logs:
        for _ in range(4):
            await stage.place.do("read")
        await stage.settle()
        await stage.settle()
    (entry,) = stage.place.entries("CNRSTP")
    assert (entry["facts"]["cause"], entry["facts"]["proposal"], entry["policy_digest"]) == (
        cause,
        canary.id,
        canary.digest,
    )
    assert entry["facts"]["sample"] == 4
    assert any("STOPPED" in line["event"] and line["log_level"] == "error" for line in logs)
    assert (await stage.place.get("/readyz"))["notices"] == {"canary": "policy.stricter"}
    assert "handrail_policy_canary_stopped 1.0" in await stage.place.metrics()
    assert (await stage.place.get("/v1/policy/canary"))["canary"]["stopped"] == cause


async def test_it_does_not_stop_for_what_the_active_bundle_denies_too(stage: Stage) -> None:
    await stage.canary(denying("other"))
    for _ in range(6):
        await stage.place.do("write")
    assert stage.place.gateway.rollout.trial.cause is None


async def test_a_few_decisions_say_nothing(stage: Stage) -> None:
    await stage.canary(STRICT)
    for _ in range(3):
        await stage.place.do("read")
    assert stage.place.gateway.rollout.trial.cause is None


async def test_after_a_stop_the_stricter_of_both_decides(stage: Stage) -> None:
    await stopped(stage, denying("read").replace('s.action == "write"', 's.action == "nothing"'))
    denied, written = await stage.place.do("read"), await stage.place.do("write")
    assert (denied["status"], codes(denied)) == ("denied", ["trial.no", "policy.stricter"])
    assert (written["status"], codes(written)) == ("denied", ["test.write", "policy.stricter"]), "the active one denies"
    asked = await stage.place.do("change")
    assert (asked["status"], codes(asked)) == ("held", ["test.ask", "policy.stricter"])


async def test_a_stop_is_over_when_a_person_ends_the_canary(stage: Stage) -> None:
    canary = await stopped(stage)
    await stage.end(canary)
    assert (await stage.place.do("read"))["status"] == "succeeded"
    assert (await stage.place.get("/readyz"))["notices"] == {}


async def test_a_candidate_whose_engine_is_away_denies_and_so_stops_the_canary(stage: Stage) -> None:
    await stage.canary(LAX)
    backend = stage.place.gateway.rollout.candidate._backend
    assert backend is not None
    await backend.close()
    shown = [await stage.place.do("read") for _ in range(5)]
    assert codes(shown[0]) == ["policy.unavailable"]
    assert codes(shown[4]) == ["policy.unavailable", "policy.stricter"]
    assert stage.place.gateway.rollout.trial.cause is Cause.ERRORS


async def test_a_stop_that_cannot_be_recorded_counts_here_and_is_recorded_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.canary(STRICT)
    log = stage.place.gateway.log
    for _ in range(4):
        await stage.place.do("read")
    with monkeypatch.context() as broken:

        async def fail(item: Any) -> Any:
            raise HandrailError(Reason.LOG_UNAVAILABLE)

        broken.setattr(log, "append", fail)
        with pytest.raises(HandrailError):
            await stage.place.gateway.rollout.canaries.settle()
    assert codes(await stage.place.do("read"))[-1] == "policy.stricter"
    await stage.settle()
    assert len(stage.place.entries("CNRSTP")) == 1


# --- restarts, and several gateways -----------------------------------------------------------------------------------


async def test_canary_counts_and_stop_outlive_a_restart(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        canary = await stage.canary(STRICT)
        for _ in range(2):
            await stage.place.do("read")
        brain = stage.place.brain
    async with open_stage(tmp_path, brain=brain) as again:
        assert codes(await again.place.do("read")) == ["trial.no"]
        assert (await again.place.get("/v1/policy/canary"))["comparison"]["decisions"] == 3
        for _ in range(4):
            await again.place.do("read")
        await again.settle()
    async with open_stage(tmp_path, brain=brain) as last:
        assert last.place.gateway.rollout.trial.canary is not None
        assert last.place.gateway.rollout.trial.canary.id == canary.id
        assert codes(await last.place.do("read")) == ["trial.no", "policy.stricter"]


async def test_a_stop_reaches_every_gateway_of_the_database(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    async with open_stage(here) as first:
        await first.canary(STRICT)
        url = second_home(here, there)
        async with open_stage(there, url=url, brain=first.place.brain) as second:
            assert codes(await second.place.do("read")) == ["trial.no"]
            for _ in range(4):
                await first.place.do("read")
            await first.settle()
            await second.settle()
            assert codes(await second.place.do("read")) == ["trial.no", "policy.stricter"]
            assert len(first.place.entries("CNRSTP")) == 1
            await first.place.gateway.rollout.counted.flush()
            shown = await second.place.get("/v1/policy/canary")
            assert len(shown["gateways"]) == 2


@pytest.mark.postgres
async def test_two_gateways_on_one_postgresql_try_and_stop_together(tmp_path: Path, postgres_url: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    async with open_stage(here, url=postgres_url) as first:
        await first.shadow(STRICT)
        await first.canary(STRICT)
        second_home(here, there)
        async with open_stage(there, url=postgres_url, brain=first.place.brain) as second:
            for stage in (first, second):
                for _ in range(4):
                    await stage.place.do("read")
            # Both saw enough by themselves: whoever comes second finds it on record.
            await asyncio.gather(*(stage.place.gateway.rollout.canaries.settle() for stage in (first, second)))
            await first.settle(), await second.settle()
            assert len(first.place.entries("CNRSTP")) == 1
            for stage in (first, second):
                assert codes(await stage.place.do("read")) == ["trial.no", "policy.stricter"]
                await stage.place.gateway.rollout.counted.flush()
            shown = await second.place.get("/v1/policy/canary")
            assert len(shown["gateways"]) == 2
            # Ten steps. Where the other gateway wrote meanwhile, a round is judged again, and both bundles with it.
            assert 10 <= shown["comparison"]["decisions"] <= 20


@pytest.mark.opa
async def test_with_opa_the_candidate_has_a_server_of_its_own(tmp_path: Path, opa_program: Path, opa_url: str) -> None:
    async with private_opa(opa_program) as other:
        opa = {"engine": "opa", "opa_url": opa_url, "opa_candidate_url": other}
        async with open_stage(tmp_path, agents=MANY, **opa) as stage:
            canary = await stage.canary(STRICT, percent=50)
            inside, outside = stage.covered(canary), stage.covered(canary, inside=False)
            for _ in range(3):
                denied, allowed = await stage.place.do("read", inside), await stage.place.do("read", outside)
                assert (codes(denied), denied["decision"]["policy_digest"]) == (["trial.no"], canary.digest)
                assert (allowed["status"], allowed["decision"]["policy_digest"]) == ("succeeded", canary.active)
            await stage.end(canary)
            assert (await stage.place.do("read", inside))["status"] == "succeeded"


async def test_what_each_gateway_saw_too_little_of_stops_it_together(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    async with open_stage(here) as first:
        await first.canary(STRICT)
        url = second_home(here, there)
        async with open_stage(there, url=url, brain=first.place.brain) as second:
            for place in (first.place, second.place):
                await place.do("read")
                await place.do("read")
                await place.gateway.rollout.counted.flush()
            await first.settle()
            assert first.place.gateway.rollout.trial.cause is Cause.DENIALS


# --- another bundle decides meanwhile ---------------------------------------------------------------------------------


async def test_an_activation_ends_the_canary_for_good(stage: Stage) -> None:
    canary = await stage.canary(STRICT)
    before = canary.active
    await stage.put_in_force(CHANGED)
    shown = await stage.place.do("read")
    assert (shown["status"], shown["decision"]["policy_digest"]) == ("succeeded", stage.place.gateway.policy.digest)
    await stage.settle()
    assert [row["status"] for row in rows(stage.place, proposals) if row["kind"] == "policy.canary"] == ["ended"]
    await stage.place.gateway.lifecycle.rollback(stage.place.people["oli"], before)
    await stage.settle()
    assert (await stage.place.do("read"))["status"] == "succeeded", "going back does not bring the canary back"


async def test_a_rollback_ends_the_canary(stage: Stage) -> None:
    first = stage.place.gateway.policy.digest
    await stage.put_in_force(CHANGED)
    await stage.canary(STRICT)
    await stage.place.gateway.lifecycle.rollback(stage.place.people["oli"], first)
    assert (await stage.place.do("read"))["status"] == "succeeded"


async def test_activating_the_candidate_lets_what_it_decided_stand(stage: Stage) -> None:
    canary = await stage.canary(CHANGED)
    view = await stage.place.plan(step("s", "change", "tool"))
    lifecycle = stage.place.gateway.lifecycle
    commit = (await lifecycle.show(canary.digest, stage.place.people["ann"]))["commit"]
    await stage.place.two_people(
        Kind.POLICY_ACTIVATE, {"digest": canary.digest, "commit": commit, "replaces": canary.active}
    )
    await stage.settle()
    answer = await stage.place.gateway.approvals.answer(
        view["steps"][0]["approval_id"], stage.place.people["bob"], answer=Answer.APPROVE
    )
    assert answer["status"] == "open", "a quorum of two, as the candidate asked"


# --- plans on their way -----------------------------------------------------------------------------------------------


async def test_a_step_that_waits_is_judged_anew_when_a_canary_begins(stage: Stage) -> None:
    view = await stage.place.plan(step("s", "change", "tool"))
    old = view["steps"][0]["approval_id"]
    canary = await stage.canary(CHANGED)
    await stage.place.gateway.approval_upkeep.redecide()
    (now,) = await after(stage.place, view["plan_id"])
    assert (now["status"], now["decision"]["policy_digest"]) == ("held", canary.digest)
    assert now["approval_id"] != old
    assert await refusal(
        stage.place.gateway.approvals.answer(old, stage.place.people["bob"], answer=Answer.APPROVE)
    ) in {Reason.APPROVAL_VOIDED, Reason.APPROVAL_CLOSED}


async def test_an_approval_given_under_a_canary_falls_with_it(stage: Stage) -> None:
    """Approved by one of the two that the candidate asked for; then the canary ends, before the second answers."""
    canary = await stage.canary(CHANGED)
    view = await stage.place.plan(step("s", "change", "tool"))
    old = view["steps"][0]["approval_id"]
    await stage.place.gateway.approvals.answer(old, stage.place.people["bob"], answer=Answer.APPROVE)
    await stage.end(canary)
    await stage.place.gateway.approval_upkeep.redecide()
    (now,) = await after(stage.place, view["plan_id"])
    assert (now["status"], now["decision"]["policy_digest"]) == ("held", canary.active)
    assert now["approval_id"] != old
    assert stage.place.served == []


async def test_an_approved_step_that_waits_for_another_falls_with_the_canary(stage: Stage) -> None:
    """The candidate lets the write go that the active bundle denies; before its turn comes the canary is ended."""
    canary = await stage.canary(LAX)
    view = await stage.place.plan(*CHAIN)
    first, second = view["steps"]
    assert (first["status"], second["status"]) == ("held", "deferred")
    await stage.end(canary)
    await stage.place.gateway.approval_upkeep.redecide()
    (first, second) = await after(stage.place, view["plan_id"])
    assert second["status"] == "denied"
    await stage.place.gateway.approvals.answer(first["approval_id"], stage.place.people["bob"], answer=Answer.APPROVE)
    assert [one["status"] for one in await after(stage.place, view["plan_id"])] == ["succeeded", "denied"]
    assert stage.place.served == ["change"]


async def test_a_step_that_the_candidate_let_go_is_judged_by_both_after_a_stop(stage: Stage) -> None:
    await stage.canary(LAX.replace('s.action == "erase"', 's.action in {"erase", "read"}'))
    view = await stage.place.plan(*CHAIN)
    for _ in range(8):
        await stage.place.do("read")
    await stage.settle()
    assert stage.place.gateway.rollout.trial.cause is Cause.DENIALS
    await stage.place.gateway.approval_upkeep.redecide()
    first, second = await after(stage.place, view["plan_id"])
    assert (second["status"], codes(second)) == ("denied", ["test.write", "policy.stricter"])
    assert (first["status"], codes(first)[-1]) == ("held", "policy.stricter")


async def test_an_approval_of_both_bundles_word_falls_when_the_canary_is_ended(stage: Stage) -> None:
    canary = await stopped(stage)
    view = await stage.place.plan(step("s", "change", "tool"))
    assert codes(view["steps"][0])[-1] == "policy.stricter"
    await stage.end(canary)
    await stage.place.gateway.approval_upkeep.redecide()
    (now,) = await after(stage.place, view["plan_id"])
    assert (now["status"], codes(now)) == ("held", ["test.ask"])
    assert now["approval_id"] != view["steps"][0]["approval_id"]


async def test_what_was_approved_under_a_canary_runs_while_it_lasts(stage: Stage) -> None:
    await stage.canary(ASKING)
    view = await stage.place.plan(step("s", "read", "tool"))
    approval_id = view["steps"][0]["approval_id"]
    await stage.place.gateway.approvals.answer(approval_id, stage.place.people["bob"], answer=Answer.APPROVE)
    (now,) = await after(stage.place, view["plan_id"])
    assert (now["status"], stage.place.served) == ("succeeded", ["read"])


# --- observed hands ---------------------------------------------------------------------------------------------------


async def observe(stage: Stage) -> None:
    await stage.place.two_people(Kind.POLICY_OBSERVE, {"hand": "tool", "lasts_seconds": DAY})


async def test_on_an_observed_hand_the_candidates_denial_is_let_go_by_its_own_severities(stage: Stage) -> None:
    await observe(stage)
    mild, grave = denying("read", severity="low"), denying("odd", "trial.never", "critical")[len(RULES) :]
    canary = await stage.canary(mild + grave)
    shown, odd = await stage.place.do("read"), await stage.place.do("odd")
    assert (shown["status"], codes(shown)) == ("succeeded", ["policy.observed_deny", "trial.no"])
    assert shown["decision"]["policy_digest"] == canary.digest
    assert odd["status"] == "denied"


async def test_after_a_stop_an_observed_hand_stays_observed(stage: Stage) -> None:
    await observe(stage)
    await stopped(stage)
    shown = await stage.place.do("read")
    assert (shown["status"], codes(shown)) == ("succeeded", ["policy.observed_deny", "trial.no", "policy.stricter"])
    assert stage.place.entries("POLOBS")[-1]["effect"] == "allow"
    assert (await stage.place.do("erase"))["status"] == "denied"


# --- whoever writes to the database and holds no key ------------------------------------------------------------------


async def test_sql_makes_no_canary_and_widens_none(stage: Stage) -> None:
    canary = await stage.canary(STRICT, percent=50)
    outside = stage.covered(canary, inside=False)
    (row,) = [one for one in rows(stage.place, proposals) if one["kind"] == "policy.canary"]
    widened = row["document"].replace('"percent":50', '"percent":100')
    assert widened != row["document"]
    mine = proposals.c.proposal_id == canary.id
    execute(stage.place, proposals.update().where(mine).values(document=widened))
    await stage.settle()
    assert (await stage.place.do("read", outside))["status"] == "succeeded"
    execute(stage.place, proposals.update().where(mine).values(document=row["document"]))
    await stage.end(canary)
    execute(stage.place, proposals.insert().values(**{**row, "proposal_id": "f" * 32}))
    execute(stage.place, proposals.update().where(mine).values(**{**row, "status": "activated"}))
    await stage.settle()
    assert stage.place.gateway.rollout.trial.canary is None


async def test_sql_unstops_no_canary(stage: Stage) -> None:
    await stopped(stage)
    execute(stage.place, proposal_acts.delete().where(proposal_acts.c.step == "stopped"))
    execute(stage.place, policy_comparisons.delete())
    await stage.settle()
    assert codes(await stage.place.do("read"))[-1] == "policy.stricter"


async def test_a_row_put_there_first_keeps_no_canary_from_stopping(stage: Stage) -> None:
    canary = await stage.canary(STRICT)
    execute(stage.place, proposal_acts.insert().values(proposal_id=canary.id, step="stopped"))
    for _ in range(4):
        await stage.place.do("read")
    await stage.settle()
    assert len(stage.place.entries("CNRSTP")) == 1


async def test_counts_that_sql_made_stop_nothing(stage: Stage) -> None:
    canary = await stage.canary(RULES + "\n# the same\n")
    await stage.place.do("read")
    await stage.place.gateway.rollout.counted.flush()
    (row,) = rows(stage.place, policy_comparisons)
    forged = row["document"].replace('"errors": 0', '"errors": 99')
    execute(stage.place, policy_comparisons.insert().values(**{**row, "gateway": "gw-x", "document": forged}))
    await stage.settle()
    assert stage.place.gateway.rollout.trial.cause is None
    assert (await stage.place.get("/v1/policy/canary"))["comparison"]["recent"]["errors"] == 0
    assert canary.stopped is None


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_candidate_that_sql_took_away_or_changed_lets_nothing_through(tmp_path: Path, how: str) -> None:
    async with open_stage(tmp_path) as stage:
        canary = await stage.canary(LAX)
        mine = policy_bundles.c.digest == canary.digest
        other = next(row["signed"] for row in rows(stage.place, policy_bundles) if row["digest"] != canary.digest)
        gone = policy_bundles.delete().where(mine)
        execute(stage.place, gone if how == "deleted" else policy_bundles.update().where(mine).values(signed=other))
        brain = stage.place.brain
    async with open_stage(tmp_path, brain=brain) as again:
        shown = await again.place.do("write")
        assert (shown["status"], codes(shown)) == ("denied", ["policy.unavailable"])
        assert "candidate" in (await again.place.get("/readyz"))["notices"]
        assert (await again.place.get("/v1/policy/canary"))["canary"]["problem"] is not None


async def test_without_news_from_the_database_both_are_asked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.canary(LAX)
    assert (await stage.place.do("write"))["status"] == "succeeded"
    monkeypatch.setattr(stage.place.gateway.rollout.trial, "_adopted", float("-inf"))
    shown = await stage.place.do("write")
    assert (shown["status"], codes(shown)) == ("denied", ["test.write", "policy.stricter"])


async def test_of_two_canaries_activated_at_once_one_counts_and_the_other_is_ended(stage: Stage) -> None:
    proposals_, people = stage.place.gateway.proposals, stage.place.people
    # Two bundles: about one, a second proposal is not taken in while the first is open.
    made = [
        await proposals_.propose(
            people["ann"], Kind.POLICY_CANARY, await stage.document(await stage.bring(rule), percent)
        )
        for rule, percent in ((STRICT, 10), (LAX, 20))
    ]
    with pytest.raises(Refused) as again:
        await proposals_.propose(people["ann"], Kind.POLICY_CANARY, made[0]["document"])
    assert again.value.facts["problem"] == "proposal.open"
    activations = (
        proposals_.activate(one["id"], people["oli"], document_sha256=one["document_sha256"]) for one in made
    )
    done = await asyncio.gather(*activations, return_exceptions=True)
    assert not [one for one in done if isinstance(one, BaseException) and not isinstance(one, Refused)]
    await stage.settle()
    assert len(await proposals_.in_force(Kind.POLICY_CANARY)) == 1
