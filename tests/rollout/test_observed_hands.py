"""A hand under observation on a whole gateway: two people, what is let go, how loudly, and how it ends."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from handrail import Trust, verify_receipt

from gateway.errors import HandrailError, Refused
from gateway.model import Answer, Effect
from gateway.reasons import Reason
from gateway.store.tables import proposals
from gateway.times import format_time, parse_time
from gateway.two_person import Kind
from tests.pipeline.house import step
from tests.rollout.support import Place, open_place

DAY = 86_400
OBSERVE = {"hand": "tool", "lasts_seconds": DAY}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(tmp_path) as opened:
        yield opened


def codes(shown: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in shown["decision"]["reasons"]]


async def observe(place: Place) -> dict[str, Any]:
    return await place.two_people(Kind.POLICY_OBSERVE, OBSERVE)


async def test_one_person_alone_observes_nothing(place: Place) -> None:
    made = await place.gateway.proposals.propose(place.people["oli"], Kind.POLICY_OBSERVE, OBSERVE)
    with pytest.raises(Refused) as refused:
        await place.gateway.proposals.activate(made["id"], place.people["oli"], document_sha256=made["document_sha256"])
    assert refused.value.reason is Reason.PROPOSAL_SELF
    assert (await place.do("write"))["status"] == "denied"


@pytest.mark.parametrize(
    "document",
    [
        {"hand": "tool"},
        {"hand": "tool", "lasts_seconds": 15 * DAY},
        {"hand": "tool", "lasts_seconds": 0},
        {"hand": "tool", "lasts_seconds": DAY, "severity": "critical"},
        {"hand": ["tool"], "lasts_seconds": DAY},
        {"hand": "nowhere", "lasts_seconds": DAY},
        {"hand": "*", "lasts_seconds": DAY},
    ],
)
async def test_only_a_pinned_hand_and_only_for_fourteen_days(place: Place, document: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        await place.gateway.proposals.propose(place.people["ann"], Kind.POLICY_OBSERVE, document)


async def test_the_configuration_knows_no_observation() -> None:
    from gateway.settings import HandSettings, PolicySettings

    named = {*HandSettings.model_fields, *PolicySettings.model_fields}
    assert not [name for name in named if "observ" in name or "enforc" in name or "dry" in name]


async def test_what_is_let_go_says_so_in_decision_entry_and_receipt(place: Place) -> None:
    await observe(place)
    shown = await place.do("write")
    assert (shown["status"], shown["decision"]["effect"]) == ("succeeded", "allow")
    assert codes(shown) == ["policy.observed_deny", "test.write"]
    (entry,) = place.entries("POLOBS")
    assert (entry["effect"], entry["reasons"]) == ("allow", ["policy.observed_deny", "test.write"])
    bundle = await place.get(f"/v1/receipts/{shown['receipt_id']}", "ada")
    proof = await place.http.get(f"/v1/receipts/{shown['receipt_id']}/proof", headers=place.tokens["ada"])
    trust = Trust.from_document(await place.get("/v1/trust", "ada"))
    report = verify_receipt(json.dumps({**bundle, "proof": proof.text}).encode(), trust)
    assert (report.effect, report.reasons) == ("allow", ("policy.observed_deny", "test.write"))
    assert place.served == ["write"]


async def test_a_question_is_let_go_as_one_that_would_have_been_asked(place: Place) -> None:
    await observe(place)
    shown = await place.do("change")
    assert (shown["status"], codes(shown)) == ("succeeded", ["policy.observed_ask", "test.ask"])
    assert place.entries("APRREQ") == []


@pytest.mark.parametrize(("action", "code"), [("erase", "test.erase"), ("odd", "test.silent")])
async def test_what_is_critical_or_has_no_severity_is_denied_as_ever(place: Place, action: str, code: str) -> None:
    await observe(place)
    shown = await place.do(action)
    assert (shown["status"], codes(shown)) == ("denied", [code])
    assert place.served == []


async def test_another_hand_is_not_loosened(place: Place) -> None:
    await observe(place)
    view = await place.plan(step("s", "write", "other"))
    assert view["steps"][0]["status"] == "denied"


async def test_it_is_loud_in_readiness_and_metrics(place: Place) -> None:
    assert (await place.get("/readyz"))["observed"] == {}
    done = await observe(place)
    await place.do("write")
    await place.do("change")
    [(hand, shown_until)] = (await place.get("/readyz"))["observed"].items()
    assert hand == "tool"
    metrics = await place.metrics()
    (until,) = re.findall(r'^handrail_policy_observed{hand="tool",tenant="default"} (.*)$', metrics, re.MULTILINE)
    assert format_time(float(until)) == done["in_force_until"] == shown_until
    assert 'handrail_policy_let_go_total{hand="tool",said="deny",tenant="default"} 1.0' in metrics
    (shown,) = (await place.get("/v1/policy/rollout"))["observed"]
    assert (shown["hand"], shown["let_go"], shown["proposal"]) == ("tool", {"deny": 1, "ask": 1}, done["id"])


async def test_one_person_ends_it_and_it_is_over_at_once(place: Place) -> None:
    done = await observe(place)
    await place.gateway.proposals.withdraw(done["id"], place.people["oli"])
    assert (await place.do("write"))["status"] == "denied"
    assert (await place.get("/readyz"))["observed"] == {}
    assert "handrail_policy_observed{" not in await place.metrics()


async def test_a_step_that_waits_when_it_ends_is_judged_anew(place: Place) -> None:
    """Let go by observation, held up by a person's answer to another step: what was let go must not run a day later."""
    await observe(place)
    held = {**step("first", "change", "other")}
    view = await place.plan(held, step("second", "write", "tool", depends_on=["first"]))
    first, second = view["steps"]
    assert (first["status"], second["status"], codes(second)[0]) == ("held", "deferred", "policy.observed_deny")
    (proposal,) = (await place.gateway.proposals.list(place.people["oli"], kind=Kind.POLICY_OBSERVE))["proposals"]
    await place.gateway.proposals.withdraw(proposal["id"], place.people["oli"])
    await place.gateway.approvals.answer(first["approval_id"], place.people["bob"], answer=Answer.APPROVE)
    while (live := place.gateway.pipeline._live.get(view["plan_id"])) is not None:
        await live.settled.wait()
    after = (await place.gateway.pipeline.load(view["plan_id"])).view()["steps"]
    assert [one["status"] for one in after] == ["succeeded", "denied"]
    assert place.served == ["change"]


async def test_it_outlives_a_restart_and_no_longer_than_was_said(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        await observe(place)
        brain = place.brain
    async with open_place(tmp_path, brain=brain) as again:
        assert codes(await again.do("write"))[0] == "policy.observed_deny"
        again.gateway.rollout.observations._clock.at_least(again.gateway.clock() + DAY + 1)
        assert (await again.do("write"))["status"] == "denied"


def execute(place: Place, statement: Any) -> None:
    with place.gateway.engine.begin() as connection:
        connection.execute(statement)


async def test_sql_observes_no_hand(place: Place) -> None:
    done = await observe(place)
    await place.gateway.proposals.withdraw(done["id"], place.people["oli"])
    with place.gateway.engine.connect() as connection:
        row = dict(connection.execute(proposals.select()).mappings().one())
    execute(place, proposals.update().values(status="activated", ended_by=None, ended_at=None))
    await place.gateway.rollout.refresh()
    assert (await place.do("write"))["status"] == "denied", "an ended one whose row says otherwise"
    forged = {**row, "proposal_id": "f" * 32, "status": "activated", "ended_by": None, "ended_at": None}
    execute(place, proposals.insert().values(**forged))
    await place.gateway.rollout.refresh()
    assert (await place.do("write"))["status"] == "denied", "a copy under another id"


async def test_a_row_put_back_from_when_it_was_in_force_is_held_against_the_log(place: Place) -> None:
    done = await observe(place)
    with place.gateway.engine.connect() as connection:
        kept = dict(connection.execute(proposals.select()).mappings().one())
    await place.gateway.proposals.withdraw(done["id"], place.people["oli"])
    execute(place, proposals.update().values(**kept))
    await place.gateway.rollout.refresh()
    assert (await place.do("write"))["status"] == "denied"


async def test_an_observation_made_longer_in_its_row_is_none_at_all(place: Place) -> None:
    done = await observe(place)
    execute(place, proposals.update().values(in_force_until=parse_time(done["in_force_until"]) + 365 * DAY))
    await place.gateway.rollout.refresh()
    assert (await place.do("write"))["status"] == "denied"


async def test_replay_compares_with_what_the_policy_said_and_not_with_what_was_let_go(place: Place) -> None:
    from audit.evaluations import page
    from gateway.evaluation import parse

    await observe(place)
    await place.do("write")
    found = page(place.gateway.reader, place.gateway.log._opener, "default").evaluations
    (evaluation,) = [parse(one.value or b"") for one in found]
    (decision,) = evaluation.decisions.values()
    assert (decision.effect, decision.observed) == (Effect.ALLOW, Effect.DENY)
    assert (decision.said().effect, [reason.code for reason in decision.said().reasons]) == (
        Effect.DENY,
        ["test.write"],
    )


async def test_a_database_that_cannot_be_read_is_no_news(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await observe(place)

    async def broken() -> float:
        raise HandrailError(Reason.LOG_UNAVAILABLE)

    monkeypatch.setattr(place.gateway.rollout.observations, "_newest", broken)
    with pytest.raises(HandrailError):
        await place.gateway.rollout.refresh()
    assert codes(await place.do("write"))[0] == "policy.observed_deny", "for a while what is known counts on"
    monkeypatch.setattr(place.gateway.rollout.observations, "_refreshed", float("-inf"))
    assert (await place.do("write"))["status"] == "denied"
