"""A bundle decides once two people activated it, on every gateway; one person alone, or SQL, has nothing decide."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from handrail.proposals import new_binding, sign_act
from sqlalchemy import delete, insert, select, update
from structlog.testing import capture_logs

from gateway.canonical import b64url_decode
from gateway.errors import HandrailError
from gateway.model import Effect
from gateway.reasons import Reason
from gateway.store.tables import policy_activations, policy_bundles
from tests.lifecycle.repository import Repository
from tests.lifecycle.town import ALLOW, ASK, OLI, Town, flipped, open_town, refusal, says
from tests.policy.support import OPEN
from tests.until import until

# --- the way to decide ------------------------------------------------------------------------------------------------


async def test_before_anything_is_activated_everything_is_denied_and_people_can_activate(town: Town) -> None:
    assert town.digest == ""
    assert (await town.gateway.ready())["policy"] == "policy.unavailable"
    decision = await town.decide()
    assert (decision.effect, decision.reasons[0].code) == (Effect.DENY, "policy.unavailable")
    digest = await town.put_in_force(ALLOW)
    assert town.digest == digest
    assert (await town.decide()).effect is Effect.ALLOW
    assert (await town.decide()).policy_digest == digest
    assert (await town.gateway.ready())["policy"] == "ok"


async def test_each_step_is_on_record_with_who_did_it(town: Town) -> None:
    digest = await town.put_in_force(ALLOW)
    proposed, activated, loaded = town.entries("POLPRO", "POLACT", "POLLOD")
    assert [proposed["type"], activated["type"], loaded["type"]] == ["POLPRO", "POLACT", "POLLOD"]
    assert proposed["principal"] == town.people["ann"].pseudonym
    assert activated["principal"] == town.people["oli"].pseudonym
    assert activated["policy_digest"] == activated["facts"]["digest"] == loaded["facts"]["digest"] == digest
    assert [activated["facts"]["attested_by"], proposed["facts"]["attested_by"]] == ["activator", "proposer"]
    shown = await town.gateway.lifecycle.show(digest, town.people["ann"])
    assert shown["commit"] == town.repository.git("rev-parse", "HEAD")
    assert [(one["way"], one["by"]) for one in shown["activations"]] == [("activate", "oli")]


async def test_one_person_with_both_roles_is_still_one(town: Town) -> None:
    proposal = await town.propose(await town.add(town.bundle(ALLOW)), by="kim")
    assert await refusal(town.activate(proposal, by="kim")) is Reason.PROPOSAL_SELF
    assert town.digest == ""


async def test_bringing_and_proposing_change_nothing(town: Town) -> None:
    before = await town.put_in_force(ALLOW)
    await town.propose(await town.add(town.bundle(ASK)))
    await town.gateway.policy.reload()
    assert town.digest == before
    assert (await town.decide()).effect is Effect.ALLOW


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["unsigned", "stranger", "agent", "not a bundle", "flipped"])
async def test_a_bundle_without_the_signature_of_an_author_is_not_taken(town: Town, who: str) -> None:
    good = town.bundle(ALLOW)
    head, body, _ = good.split(b".")
    token, reason = {
        "unsigned": (head + b"." + body + b".", Reason.VERIFY_MALFORMED),
        "stranger": (town.bundle(ALLOW, signer="nobody"), Reason.VERIFY_UNKNOWN_KEY),
        "agent": (town.bundle(ALLOW, signer="bot"), Reason.VERIFY_UNKNOWN_KEY),
        "not a bundle": (b"x", Reason.VERIFY_MALFORMED),
        "flipped": (flipped(good), Reason.VERIFY_SIGNATURE),
    }[who]
    assert await refusal(town.add(token)) is reason
    assert (await town.gateway.lifecycle.list(town.people["ann"]))["bundles"] == []


@pytest.mark.parametrize(
    "files",
    [
        {"handrail/main.rego": "package handrail\n\ndecisions := {\n"},
        {"handrail/main.rego": OPEN.replace('"deny"', '"allow"')},
        {"handrail/main.rego": OPEN + '\nx := http.send({"method": "get", "url": "http://x"})\n'},
    ],
    ids=["does not parse", "allows the unknown", "calls out"],
)
async def test_a_bundle_that_cannot_be_used_is_not_taken(town: Town, files: dict[str, str]) -> None:
    assert await refusal(town.add(town.bundle(files))) is Reason.POLICY_BUNDLE


async def test_only_authors_bring_and_only_the_gateways_own_tenant(town: Town) -> None:
    token = town.bundle(ALLOW)
    for person in (town.people["bot"], town.people["sec"], replace(town.people["ann"], tenant="acme")):
        assert await refusal(town.gateway.lifecycle.add(person, token)) is Reason.AUTH_FORBIDDEN


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": "0" * 64}, Reason.REQUEST_NOT_FOUND),
        ({"digest": 1}, Reason.REQUEST_MALFORMED),
        ({"commit": "0" * 40}, Reason.PROPOSAL_MISMATCH),
        ({"replaces": "0" * 64}, Reason.PROPOSAL_OUTDATED),
        ({"quorum": 1}, Reason.REQUEST_MALFORMED),
    ],
)
async def test_a_proposal_of_something_else_is_refused(town: Town, changes: dict[str, Any], reason: Reason) -> None:
    kept = await town.add(town.bundle(ALLOW))
    document = {"digest": kept["digest"], "commit": kept["commit"], "replaces": None, **changes}
    lifecycle = town.gateway.lifecycle
    assert await refusal(lifecycle.check(document, town.people["ann"])) is reason


async def test_of_two_proposals_against_one_bundle_the_second_is_outdated(town: Town) -> None:
    first = await town.propose(await town.add(town.bundle(ALLOW)))
    second = await town.propose(await town.add(town.bundle(ASK)))
    await town.activate(second)
    assert await refusal(town.activate(first)) is Reason.PROPOSAL_OUTDATED
    assert (await town.decide()).effect is Effect.ASK


async def test_two_proposals_activated_at_once_are_one_change(town: Town) -> None:
    first = await town.propose(await town.add(town.bundle(ALLOW)))
    second = await town.propose(await town.add(town.bundle(ASK)))
    answers = await asyncio.gather(town.activate(first), town.activate(second, by="kim"), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, HandrailError)]
    assert [answer.reason for answer in refused] == [Reason.PROPOSAL_OUTDATED]
    assert len(town.entries("POLACT")) == 1
    [done] = [answer for answer in answers if isinstance(answer, dict)]
    assert town.digest == done["subject"]


async def test_an_author_whose_key_was_taken_away_meanwhile_activates_nothing(town: Town) -> None:
    proposal = await town.propose(await town.add(town.bundle(ALLOW, by="kim")), by="ann")
    await town.gateway.directory.revoke_principal(town.people["sec"], "kim")
    assert await refusal(town.activate(proposal)) is Reason.VERIFY_UNKNOWN_KEY


async def test_a_gateway_that_follows_a_directory_says_so(tmp_path: Path, repository: Repository) -> None:
    town = await open_town(tmp_path / "home", repository, source="directory")
    assert await refusal(town.add(town.bundle(ALLOW))) is Reason.POLICY_DIRECTORY
    assert (await town.gateway.lifecycle.list(town.people["oli"]))["bundles"] == []
    assert await refusal(town.gateway.lifecycle.rollback(town.people["oli"], None)) is Reason.POLICY_DIRECTORY
    assert (await town.decide("nothing")).effect is Effect.DENY
    await town.gateway.close()


# --- going back -------------------------------------------------------------------------------------------------------


async def test_one_person_goes_back_to_what_two_activated_and_loudly(town: Town) -> None:
    first = await town.put_in_force(ALLOW)
    second = await town.put_in_force(ASK)
    with capture_logs() as logs:
        done = await town.rollback(first)
    assert (done["digest"], done["way"], town.digest) == (first, "rollback", first)
    assert (await town.decide()).effect is Effect.ALLOW
    assert any(line["event"] == "policy rolled back by one person" for line in logs)
    [entry] = town.entries("POLRBK")
    assert (entry["principal"], entry["policy_digest"]) == (town.people["oli"].pseudonym, first)
    assert entry["facts"] == {"number": 3, "digest": first, "active": second, "attested_by": "person"}
    assert entry["commitment"]


async def test_going_back_twice_goes_back_two_bundles(town: Town) -> None:
    digests = [await town.put_in_force(says("allow", f"\n# {number}\n")) for number in range(3)]
    await unsigned(town)
    assert (await town.gateway.lifecycle.rollback(town.people["oli"], None))["digest"] == digests[1]
    assert (await town.gateway.lifecycle.rollback(town.people["oli"], None))["digest"] == digests[0]
    assert await refusal(town.gateway.lifecycle.rollback(town.people["oli"], None)) is Reason.POLICY_NOT_ACTIVATED
    forward = await town.gateway.lifecycle.rollback(town.people["oli"], digests[2])
    assert (forward["number"], town.digest) == (6, digests[2])


async def unsigned(town: Town) -> None:
    """Let oli act without a signature, as somebody who has no enrolled key."""
    town.people["oli"] = replace(town.people["oli"], approval_jwk=None)


async def test_nobody_goes_back_to_what_two_people_never_activated(town: Town) -> None:
    active = await town.put_in_force(ALLOW)
    kept = await town.add(town.bundle(ASK))
    await town.propose(kept)
    assert await refusal(town.rollback(kept["digest"])) is Reason.POLICY_NOT_ACTIVATED
    assert await refusal(town.rollback("0" * 64)) is Reason.POLICY_NOT_ACTIVATED
    assert await refusal(town.rollback(active)) is Reason.REQUEST_CONFLICT
    assert town.digest == active


async def test_going_back_needs_the_role_and_the_enrolled_key(town: Town) -> None:
    first = await town.put_in_force(ALLOW)
    await town.put_in_force(ASK)
    lifecycle = town.gateway.lifecycle
    assert await refusal(lifecycle.rollback(town.people["ann"], first)) is Reason.AUTH_FORBIDDEN
    assert await refusal(lifecycle.rollback(town.people["oli"], first)) is Reason.PROPOSAL_KEY
    assert await refusal(town.rollback(first, replaces="0" * 64)) is Reason.PROPOSAL_MISMATCH
    assert (await lifecycle.rollback(town.people["sec"], first))["by"] == "sec"


async def test_a_signed_way_back_is_good_once(town: Town) -> None:
    first = await town.put_in_force(ALLOW)
    second = await town.put_in_force(ASK)
    binding = new_binding("policy.rollback", "default", first, {"digest": first, "replaces": second})
    act = sign_act("rollback", binding, key=OLI, by="oli", audience=town.gateway.log.origin).encode()
    lifecycle = town.gateway.lifecycle
    await lifecycle.rollback(town.people["oli"], first, act=act)
    await town.put_in_force(says("ask", "\n# third\n"))
    assert await refusal(lifecycle.rollback(town.people["oli"], first, act=act)) is Reason.PROPOSAL_MISMATCH


# --- whoever writes to the database and holds no key ------------------------------------------------------------------


async def test_a_tampered_stored_bundle_decides_nothing(town: Town) -> None:
    active = await town.put_in_force(ALLOW)
    kept = await town.add(town.bundle(ASK))
    proposal = await town.propose(kept)
    other = town.bundle(says("allow", "\n# planted\n")).decode()
    with town.gateway.engine.begin() as connection:
        connection.execute(update(policy_bundles).where(policy_bundles.c.digest == kept["digest"]).values(signed=other))
    assert await refusal(town.activate(proposal)) is Reason.POLICY_BUNDLE
    assert town.digest == active


async def test_a_stored_bundle_names_its_signer_to_nobody_without_the_keys(town: Town) -> None:
    kept = await town.add(town.bundle(ASK))
    assert kept["signer"] == kept["added_by"] == "ann"
    with town.gateway.engine.connect() as connection:
        row = dict(connection.execute(select(policy_bundles)).mappings().one())
    assert row["added_by"] == town.people["ann"].pseudonym
    assert b'"signer"' in b64url_decode(town.bundle(ASK).decode().split(".")[1]), "so the file itself would tell"
    assert b'"signer"' not in b64url_decode(row["signed"])


async def test_sql_activates_nothing(town: Town) -> None:
    active = await town.put_in_force(ALLOW)
    kept = await town.add(town.bundle(ASK))
    with town.gateway.engine.begin() as connection:
        row = dict(connection.execute(select(policy_activations)).mappings().one())
        connection.execute(insert(policy_activations).values({**row, "number": 2, "digest": kept["digest"]}))
    await town.gateway.policy.reload()
    assert town.digest == active
    assert town.gateway.policy.problem is not None
    assert town.gateway.notices() == {"policy": "policy.bundle"}
    assert await refusal(town.propose(kept)) is Reason.INTERNAL


async def test_an_activation_that_sql_took_away_does_not_bring_the_old_bundle_back(
    tmp_path: Path, repository: Repository
) -> None:
    town = await open_town(tmp_path / "home", repository)
    await town.put_in_force(ALLOW)
    second = await town.put_in_force(ASK)
    with town.gateway.engine.begin() as connection:
        connection.execute(delete(policy_activations).where(policy_activations.c.number == 2))
    await town.gateway.policy.reload()
    assert town.digest == second
    assert town.gateway.policy.problem is not None
    await town.gateway.close()
    again = await open_town(tmp_path / "home", repository)
    assert again.digest == "", "a gateway that cannot know which bundle decides denies everything"
    assert (await again.decide()).effect is Effect.DENY
    await again.gateway.close()


# --- restarts, refusals, other gateways -------------------------------------------------------------------------------


async def test_a_restart_decides_by_what_was_activated(tmp_path: Path, repository: Repository) -> None:
    town = await open_town(tmp_path / "home", repository)
    proposal = await town.propose(await town.add(town.bundle(ALLOW)))
    await town.gateway.close()
    town = await open_town(tmp_path / "home", repository)
    assert town.digest == ""
    await town.activate(proposal)
    await town.gateway.close()
    town = await open_town(tmp_path / "home", repository)
    assert town.digest == proposal["subject"]
    assert (await town.decide()).effect is Effect.ALLOW
    await town.gateway.close()


async def test_a_bundle_that_breaks_between_activation_and_loading_leaves_the_old_one_loudly(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    active = await town.put_in_force(ALLOW)
    proposal = await town.propose(await town.add(town.bundle(ASK)))
    reload = town.gateway.lifecycle.reload

    async def later() -> None:
        """What a gateway that has not looked yet finds."""

    monkeypatch.setattr(town.gateway.lifecycle, "reload", later)
    await town.activate(proposal)
    with town.gateway.engine.begin() as connection:
        connection.execute(
            update(policy_bundles).where(policy_bundles.c.digest == proposal["subject"]).values(git_commit="0" * 40)
        )
    with capture_logs() as logs:
        await reload()
        await reload()
    assert town.digest == active
    assert (await town.decide()).policy_digest == active
    [entry] = town.entries("POLREJ")
    assert entry["facts"] == {"digest": proposal["subject"], "active": active, "problems": 1}
    assert [line["event"] for line in logs].count("the policy bundle is refused") == 1
    assert town.gateway.notices() == {"policy": "policy.bundle"}
    metric = town.gateway.metrics.registry.get_sample_value("handrail_policy_problem")
    assert metric == 1.0
    assert (await town.gateway.ready())["policy"] == "ok", "the old bundle goes on deciding"


async def test_two_gateways_on_one_postgresql_follow_an_activation_and_a_rollback(
    tmp_path: Path, repository: Repository, postgres_url: str
) -> None:
    first = await open_town(tmp_path / "home", repository, postgres_url)
    copy_home(tmp_path / "home", tmp_path / "other")
    second = await open_town(tmp_path / "other", repository, postgres_url)
    allow = await first.put_in_force(ALLOW)
    await until(lambda: second.digest == allow)
    ask = await second.put_in_force(ASK)
    await until(lambda: first.digest == ask)
    await second.rollback(allow)
    await until(lambda: first.digest == allow)
    assert len({entry["gateway"] for entry in first.entries("POLLOD")}) == 2
    await first.gateway.close()
    await second.gateway.close()


def copy_home(home: Path, other: Path) -> None:
    """Another gateway of one installation: the same master key, keys and epochs, a name of its own."""
    shutil.copytree(home, other)
    (other / "gateway-id").unlink()


async def test_under_load_every_decision_names_the_one_bundle_that_made_it(town: Town) -> None:
    """An activation while decisions are under way: none is lost, and none mixes two bundles."""
    before = await town.put_in_force(ALLOW)
    proposal = await town.propose(await town.add(town.bundle(ASK)))
    done = asyncio.Event()
    made = []

    async def decide_on() -> None:
        while not done.is_set():
            made.append(await town.decide())
            await asyncio.sleep(0)

    deciders = [asyncio.create_task(decide_on()) for _ in range(8)]
    await town.activate(proposal)
    await until(lambda: any(decision.policy_digest == proposal["subject"] for decision in made))
    done.set()
    await asyncio.gather(*deciders)
    effect_of = {before: Effect.ALLOW, proposal["subject"]: Effect.ASK}
    assert {decision.policy_digest for decision in made} == effect_of.keys()
    assert all(decision.effect is effect_of[decision.policy_digest] for decision in made)
