"""A shadow on a whole gateway: it has no say, it is counted and kept, and it ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import HandrailError
from gateway.model import Decision, Role
from gateway.reasons import CONFLICTS, Conflict, Reason
from gateway.store.tables import policy_comparisons, policy_shadows
from gateway.two_person import Kind
from tests.rollout.stage import DAY, FAULTY, LAX, MANY, STRICT, Stage, execute, open_stage, rows, second_home
from tests.rollout.support import RULES, open_place


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as opened:
        yield opened


async def refusal(awaitable: Any) -> Reason:
    with pytest.raises(HandrailError) as caught:
        await awaitable
    return caught.value.reason


async def test_it_has_no_effect_and_says_what_would_be(stage: Stage) -> None:
    active = stage.place.gateway.policy.digest
    started = await stage.shadow(STRICT)
    assert started["shadow"]["in_force"] is True
    read, written = await stage.place.do("read"), await stage.place.do("write")
    assert (read["status"], written["status"]) == ("succeeded", "denied")
    assert read["decision"]["policy_digest"] == active
    shown = (await stage.shadowed())["comparison"]
    assert (shown["decisions"], shown["unchanged"], shown["kinds"]["newly_denied"]) == (2, 1, 1)
    assert shown["rules"] == {"newly_denied": {"trial.no": 1}}
    assert shown["groups"][0]["was"] == {"effect": "allow", "reasons": ["test.known"]}
    assert "'s'" in str(shown["groups"][0]["examples"]), "a step's id, so that somebody can look"
    assert 'handrail_policy_compared_total{outcome="newly_denied",trial="shadow"} 1.0' in await stage.place.metrics()


async def test_start_and_end_are_on_record(stage: Stage) -> None:
    started = await stage.shadow(STRICT, lasts_seconds=60)
    await stage.place.gateway.rollout.shadows.stop(stage.place.people["oli"])
    begun, ended = stage.place.entries("SHDSTA", "SHDEND")
    digest = started["shadow"]["digest"]
    assert (begun["policy_digest"], ended["policy_digest"]) == (digest, digest)
    assert [one["principal"] for one in (begun, ended)] == [
        stage.place.people[name].pseudonym for name in ("ann", "oli")
    ]
    assert begun["facts"]["number"] == ended["facts"]["number"] == 1


async def test_no_argument_is_kept_anywhere(stage: Stage) -> None:
    from tests.pipeline.house import step

    await stage.shadow(STRICT)
    await stage.place.plan({**step("s", "read", "tool"), "args": {"text": "very-private-value"}})
    await stage.shadowed()
    (row,) = rows(stage.place, policy_comparisons)
    assert "very-private-value" not in str(row)
    assert "trial.no" in row["document"]


@pytest.mark.parametrize("role", [Role.AGENT, Role.APPROVER, Role.AUDITOR, Role.SECURITY_ADMIN])
async def test_only_authors_and_operators_begin_one(stage: Stage, role: Role) -> None:
    digest, shadows = await stage.bring(STRICT), stage.place.gateway.rollout.shadows
    person = replace(stage.place.people["ann"], roles=frozenset({role}))
    assert await refusal(shadows.start(person, digest)) is Reason.AUTH_FORBIDDEN
    foreign = replace(stage.place.people["ann"], tenant="acme")
    for asked in (shadows.start(foreign, digest), shadows.stop(foreign), shadows.show(foreign)):
        assert await refusal(asked) is Reason.AUTH_FORBIDDEN


async def test_what_cannot_be_shadowed_is_refused(stage: Stage) -> None:
    shadows, ann = stage.place.gateway.rollout.shadows, stage.place.people["ann"]
    active = stage.place.gateway.policy.digest
    assert await refusal(shadows.start(ann, "0" * 64)) is Reason.REQUEST_NOT_FOUND
    assert await refusal(shadows.start(ann, active)) is Reason.REQUEST_CONFLICT
    digest = await stage.bring(STRICT)
    for lasts in (0, 14 * DAY + 1):
        assert await refusal(shadows.start(ann, digest, lasts)) is Reason.REQUEST_MALFORMED
    await shadows.start(ann, digest)
    assert await refusal(shadows.start(ann, await stage.bring(LAX))) is Reason.REQUEST_CONFLICT
    assert await refusal(stage.place.two_people(Kind.POLICY_CANARY, await stage.document(await stage.bring(LAX)))) is (
        Reason.REQUEST_CONFLICT
    )


async def test_a_gateway_that_follows_a_directory_shadows_nothing(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        shadows = place.gateway.rollout.shadows
        assert await refusal(shadows.start(place.people["ann"], "0" * 64)) is Reason.POLICY_DIRECTORY


async def test_without_a_server_for_it_no_candidate_is_taken(stage: Stage) -> None:
    rollout, people = stage.place.gateway.rollout, stage.place.people
    digest = await stage.bring(STRICT)
    rollout.shadows.possible = rollout.canaries.possible = lambda: False
    assert await refusal(rollout.shadows.start(people["ann"], digest)) is Reason.POLICY_CANDIDATE
    document = await stage.document(digest)
    proposed = stage.place.gateway.proposals.propose(people["ann"], Kind.POLICY_CANARY, document)
    assert await refusal(proposed) is Reason.POLICY_CANDIDATE


async def test_it_ends_by_itself_and_by_one_persons_word(stage: Stage) -> None:
    await stage.shadow(STRICT)
    rollout = stage.place.gateway.rollout
    assert rollout.candidate.digest
    stopped = await rollout.shadows.stop(stage.place.people["ann"])
    assert (stopped["shadow"]["in_force"], rollout.candidate.digest) == (False, "")
    assert await refusal(rollout.shadows.stop(stage.place.people["ann"])) is Reason.REQUEST_NOT_FOUND
    await stage.shadow(STRICT)
    rollout.clock.at_least(stage.place.gateway.clock() + 8 * DAY)
    await stage.settle()
    assert (rollout.candidate.digest, (await stage.shadowed())["shadow"]["in_force"]) == ("", False)


async def test_live_decisions_do_not_notice_a_shadow_that_hangs_and_floods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def hang(digest: str, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        await never.wait()
        return {}

    async with open_stage(tmp_path, rollout={"shadow_queue_max": 2}) as stage:
        await stage.shadow(STRICT)
        monkeypatch.setattr(stage.place.gateway.rollout.candidate, "decide", hang)
        shown = await asyncio.gather(*(stage.place.do("read") for _ in range(8)))
        assert [one["status"] for one in shown] == ["succeeded"] * 8
        counted = (await stage.place.gateway.rollout.shadows.show(stage.place.people["ann"]))["comparison"]
        waiting = stage.place.gateway.rollout.shadowing.waiting
        assert waiting <= 2
        assert counted["shed"] == 8 - 1 - waiting, "one is being judged, the rest waits or was left out"
        metrics = await stage.place.metrics()
        assert f'handrail_policy_compared_total{{outcome="shed",trial="shadow"}} {counted["shed"]}.0' in metrics
        assert f"handrail_policy_shadow_waiting {waiting}.0" in metrics


async def test_a_candidate_whose_process_dies_changes_nothing_for_anybody(stage: Stage) -> None:
    await stage.shadow(STRICT)
    backend: Any = stage.place.gateway.rollout.candidate._backend
    for process in backend.pool.processes:
        await process.stop()
    assert (await stage.place.do("read"))["status"] == "succeeded"
    await stage.shadowed()
    assert (await stage.place.get("/readyz"))["checks"]["policy"] == "ok"


async def test_a_fault_of_the_candidate_is_counted_apart(stage: Stage) -> None:
    await stage.shadow(FAULTY)
    assert (await stage.place.do("read"))["status"] == "succeeded"
    shown = (await stage.shadowed())["comparison"]
    assert (shown["faults"], shown["decisions"], shown["kinds"]["newly_denied"]) == ({"policy.error": 1}, 0, 0)


async def test_counts_outlive_a_restart(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        await stage.shadow(STRICT)
        await stage.place.do("read")
        await stage.place.gateway.rollout.shadowing.idle()
        brain = stage.place.brain
    async with open_stage(tmp_path, brain=brain) as again:
        await again.place.do("read")
        assert (await again.shadowed())["comparison"]["decisions"] == 2


async def test_every_gateway_of_a_database_shadows_and_what_is_shown_is_the_sum(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    async with open_stage(here) as first:
        await first.shadow(STRICT)
        async with open_stage(there, url=second_home(here, there), brain=first.place.brain) as second:
            await first.place.do("read")
            await second.place.do("read")
            await second.shadowed()
            shown = await first.shadowed()
            assert (len(shown["gateways"]), shown["comparison"]["decisions"]) == (2, 2)
            await first.place.gateway.rollout.shadows.stop(first.place.people["ann"])
            await second.settle()
            assert second.place.gateway.rollout.candidate.digest == ""


async def test_sql_shadows_nothing_and_brings_no_shadow_back(stage: Stage) -> None:
    digest = await stage.bring(STRICT)
    forged = {"number": 1, "digest": digest, "started_by": "ann", "started_at": 0.0, "ends_at": 1e12, "mac": "0" * 64}
    execute(stage.place, policy_shadows.insert().values(**forged))
    with pytest.raises(HandrailError):
        await stage.settle()
    assert stage.place.gateway.rollout.candidate.digest == ""
    assert (await stage.place.do("read"))["status"] == "succeeded"
    execute(stage.place, policy_shadows.delete())
    await stage.place.gateway.rollout.shadows.start(stage.place.people["ann"], digest)
    await stage.place.gateway.rollout.shadows.stop(stage.place.people["ann"])
    (row,) = rows(stage.place, policy_shadows)
    execute(stage.place, policy_shadows.update().values(ends_at=row["ends_at"] + 365 * DAY))
    with pytest.raises(HandrailError):
        await stage.settle()
    execute(stage.place, policy_shadows.update().values(**row))
    await stage.settle()
    assert stage.place.gateway.rollout.candidate.digest == "", "its end is in the log"


async def test_a_spoilt_shadow_row_hides_no_canary(stage: Stage) -> None:
    canary = await stage.canary(STRICT)
    forged = {"number": 1, "digest": "0" * 64, "started_by": "a", "started_at": 0.0, "ends_at": 1e12, "mac": "0" * 64}
    execute(stage.place, policy_shadows.insert().values(**forged))
    with pytest.raises(HandrailError):
        await stage.settle()
    assert (await stage.place.do("read"))["decision"]["policy_digest"] == canary.digest


async def test_it_looks_on_at_those_whom_a_canary_of_the_same_bundle_does_not_cover(tmp_path: Path) -> None:
    async with open_stage(tmp_path, agents=MANY) as stage:
        await stage.shadow(STRICT)
        canary = await stage.canary(STRICT, percent=50)
        await stage.place.do("read", stage.covered(canary))
        await stage.place.do("read", stage.covered(canary, inside=False))
        assert (await stage.shadowed())["comparison"]["decisions"] == 1
        await stage.end(canary)
        assert stage.place.gateway.rollout.candidate.digest == canary.digest, "still shadowed"


async def test_activating_the_shadowed_bundle_ends_the_looking_on(stage: Stage) -> None:
    changed = RULES + "\n# another\n"
    digest = (await stage.shadow(changed))["shadow"]["digest"]
    lifecycle = stage.place.gateway.lifecycle
    commit = (await lifecycle.show(digest, stage.place.people["ann"]))["commit"]
    document = {"digest": digest, "commit": commit, "replaces": stage.place.gateway.policy.digest}
    await stage.place.two_people(Kind.POLICY_ACTIVATE, document)
    await stage.settle()
    assert stage.place.gateway.rollout.shadowing.digest == ""
    shown = await stage.place.gateway.rollout.shadows.show(stage.place.people["ann"])
    assert shown["shadow"]["in_force"] is False, "nothing is compared any more"
    begun = await stage.shadow(STRICT)
    assert begun["shadow"]["in_force"] is True, "the next candidate need not wait for its end"


async def test_over_the_api_it_is_started_seen_and_stopped(stage: Stage) -> None:
    digest = await stage.bring(STRICT)
    http, headers = stage.place.http, stage.place.tokens["ann"]
    begun = await http.post("/v1/policy/shadow", json={"digest": digest, "lasts_seconds": 60}, headers=headers)
    assert (begun.status_code, begun.json()["shadow"]["digest"]) == (201, digest)
    again = await http.post("/v1/policy/shadow", json={"digest": digest}, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "request.conflict")
    assert (again.json()["problem"], again.json()["why"]) == ("shadow.runs", CONFLICTS[Conflict.SHADOW_RUNS])
    assert (await stage.place.get("/v1/policy/shadow"))["shadow"]["by"] == "ann"
    ended = await http.delete("/v1/policy/shadow", headers=headers)
    assert ended.json()["shadow"]["in_force"] is False
    assert (await http.delete("/v1/policy/shadow", headers=headers)).status_code == 404
