"""Steps that the client runs: judged, released on record, never dispatched; what is reported of them is a report."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gateway.calls import HandResult
from gateway.client_steps.reports import ClientReports
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.freeze import Scope
from gateway.manifest import Trust
from gateway.model import Answer, Effect, Obligations, StepStatus
from gateway.plan_locks import PlanLocks
from gateway.reasons import Reason
from tests.freeze.support import freeze
from tests.pipeline.clients import SHELL, bash, client_house, report, run, said
from tests.pipeline.house import AGENT, APPROVER, AUDITOR, FOREIGNER, OTHER, House, close_house, locked, step


@pytest.fixture
async def house(tmp_path: Path, database: dict[str, str]) -> AsyncIterator[House]:
    opened = await client_house(tmp_path, database=database)
    yield opened
    await close_house(opened)


async def refusal(
    house: House, view: dict[str, Any], text: str = "done", who: Any = AGENT, step_id: str = ""
) -> Refused:
    with pytest.raises(Refused) as refused:
        await report(house, view, text, who, step_id)
    return refused.value


async def test_an_allowed_step_is_released_on_record_and_nobody_is_called(house: House) -> None:
    view = await house.plan(bash("a"))
    [shown] = view["steps"]
    assert (view["status"], shown["status"]) == ("done", "released")
    assert "result" not in shown
    assert house.codes()[-3:] == ["PLNRCV", "POLALW", "STPREL"]
    assert house.hands.calls == []
    entry = house.entries()[shown["log_index"]]
    assert (entry["type"], entry["effect"], entry["hand"], entry["action"]) == ("STPREL", "allow", "shell", "Bash")
    receipt = await house.evidence.receipt(shown["receipt_id"], AGENT)
    assert receipt["log_index"] == shown["log_index"]
    assert "step_jti" not in receipt["receipt"]
    assert (await house.pipeline.view(view["plan_id"], AGENT))["steps"] == [shown]


async def test_what_was_reported_stands_beside_the_step_and_changes_no_status(house: House) -> None:
    view = await house.plan(bash("a"))
    reported = await house.client_reports.report(AGENT, view["plan_id"], "a", said("two files", failed=True))
    [shown] = (await house.pipeline.view(view["plan_id"], AGENT))["steps"]
    assert shown["status"] == "released"
    assert shown["reported"] == reported.document()
    assert shown["reported"]["content"] == [{"type": "text", "text": "two files"}]
    assert shown["reported"]["is_error"] is True
    assert shown["receipt"] == view["steps"][0]["receipt"]
    entry = house.entries()[reported.log_index]
    assert (entry["type"], entry["facts"]["said"]) == ("STPREP", "failed")
    assert "two files" not in str(entry)


async def test_the_same_report_again_is_the_same_and_another_one_is_refused(house: House) -> None:
    view = await house.plan(bash("a"))
    first = await report(house, view, "done")
    assert await report(house, view, "done") == first
    assert (await refusal(house, view, "undone")).facts["problem"] == "step.reported"
    assert house.codes().count("STPREP") == 1


async def test_two_racing_reports_leave_one(house: House) -> None:
    view = await house.plan(bash("a"))
    # Locks of their own, as two gateways have them: the row alone decides.
    desks = [ClientReports(house.pipeline, PlanLocks()) for _ in range(4)]
    given = [said(text) for text in ("one", "two", "one", "three")]
    answers = await asyncio.gather(
        *(desk.report(AGENT, view["plan_id"], "a", one) for desk, one in zip(desks, given, strict=True)),
        return_exceptions=True,
    )
    taken = {str(answer.result) for answer in answers if not isinstance(answer, BaseException)}
    assert len(taken) == 1
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert all(isinstance(one, Refused) and one.facts["problem"] == "step.reported" for one in refused)
    assert house.codes().count("STPREP") == 1


@pytest.mark.parametrize("who", [OTHER, FOREIGNER, APPROVER, AUDITOR], ids=lambda one: f"{one.tenant}-{one.id}")
async def test_nobody_reports_of_somebody_elses_step(house: House, who: Any) -> None:
    view = await house.plan(bash("a"))
    assert (await refusal(house, view, who=who)).reason is Reason.REQUEST_NOT_FOUND
    assert "STPREP" not in house.codes()


@pytest.mark.parametrize(
    ("action", "effect"),
    [(step("a"), Effect.ALLOW), (bash("a"), Effect.DENY), (bash("a"), Effect.ASK)],
    ids=["run by a hand", "denied", "held"],
)
async def test_what_was_not_released_cannot_be_reported(house: House, action: Any, effect: Effect) -> None:
    house.policy.effects = {"Bash": effect}
    view = await house.plan(action)
    assert (await refusal(house, view)).facts["problem"] == "step.not_released"
    assert (await refusal(house, view, step_id="b")).reason is Reason.REQUEST_NOT_FOUND
    assert "STPREP" not in house.codes()


async def test_an_action_that_nobody_declared_is_denied(house: House) -> None:
    view = await house.plan({**bash("a"), "action": "Teleport"})
    assert view["steps"][0]["error"]["code"] == "schema.unknown_action"


async def test_a_held_step_is_released_once_a_person_approved_it_and_not_before(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    view = await house.plan(bash("a"))
    assert view["steps"][0]["status"] == "held"
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    [shown] = (await house.until_settled(view["plan_id"]))["steps"]
    assert shown["status"] == "released"
    await report(house, view, "done")
    assert house.hands.calls == []


@pytest.mark.parametrize(
    "duties",
    [
        Obligations(jail_profile="tight"),
        Obligations(egress_hosts=()),
        Obligations(egress_hosts=("example.org",)),
        Obligations(deadline_seconds=1.0),
        Obligations(redact=("/content/0/text",)),
        Obligations(redact_personal=("email",)),
        Obligations(result_max_bytes=100),
    ],
    ids=lambda duties: ",".join(duties.document()),
)
@pytest.mark.parametrize("effect", [Effect.ALLOW, Effect.ASK])
async def test_an_obligation_that_cannot_be_kept_at_the_client_denies(
    house: House, duties: Obligations, effect: Effect
) -> None:
    house.policy.obligations, house.policy.effects = duties, {"Bash": effect}
    [shown] = (await house.plan(bash("a")))["steps"]
    assert (shown["status"], shown["error"]["code"]) == ("denied", "policy.obligation")
    assert "STPREL" not in house.codes()


async def test_nothing_follows_from_a_step_that_nobody_here_saw_succeed(house: House) -> None:
    view = await house.plan(bash("a"), step("b", depends_on=["a"]), step("c"))
    assert [one["status"] for one in view["steps"]] == ["released", "skipped", "succeeded"]
    assert view["status"] == "done"
    assert [call.step_id for call in house.hands.calls] == ["c"]


async def test_where_the_log_is_down_nothing_is_released(tmp_path: Path) -> None:
    house = await client_house(tmp_path)
    with locked(house), pytest.raises(Unavailable) as failed:
        await house.plan(bash("a"))
    assert failed.value.reason is Reason.LOG_UNAVAILABLE
    assert "STPREL" not in house.codes()
    await close_house(house)


async def test_a_release_is_seen_by_nobody_before_it_is_on_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    view = await house.plan(bash("a"), run("b"))
    seen: list[str] = []
    append = house.log.append

    async def watched(item: Any) -> Any:
        if any(draft.type.name == "STEP_RELEASED" for draft in item.entries):
            seen.extend(one["status"] for one in (await house.pipeline.view(view["plan_id"], AGENT))["steps"])
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        return await append(item)

    monkeypatch.setattr(house.log, "append", watched)
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    shown = await house.until_settled(view["plan_id"])
    assert seen == ["held", "released"]
    assert shown["steps"][0]["status"] == "held"
    assert (await refusal(house, view, step_id="a")).facts["problem"] == "step.not_released"


async def test_a_frozen_hand_releases_nothing_also_not_what_was_approved(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    view = await house.plan(bash("a"))
    done = await house.plan(run("b"))
    await freeze(house, Scope.HAND, "shell")
    assert (await house.plan(run("c")))["steps"][0]["error"]["code"] == "freeze.active"
    await house.pipeline.settle(view["plan_id"])
    assert (await house.pipeline.view(view["plan_id"], AGENT))["steps"][0]["status"] == "denied"
    # What happened before goes on record all the same: it lets nothing go.
    await report(house, done, "done")


async def test_whoever_is_frozen_reports_nothing(house: House) -> None:
    view = await house.plan(bash("a"))
    await freeze(house, Scope.PRINCIPAL, AGENT.id)
    assert (await refusal(house, view)).reason is Reason.FREEZE_ACTIVE


async def test_a_report_too_long_is_cut_and_one_that_cannot_be_is_refused(house: House) -> None:
    view = await house.plan(run("a", "small"))
    reported = await report(house, view, "long " * 100)
    assert reported.truncated is not None
    again = await report(house, view, "long " * 100)
    assert again == reported
    other = await house.plan(run("a", "small"))
    with pytest.raises(Refused) as refused:
        await house.client_reports.report(
            AGENT, other["plan_id"], "a", HandResult(({"type": "image", "data": "x" * 500},))
        )
    assert refused.value.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "a\u202etxt.exe", "\0", "é" * 10_000], ids=ascii)
async def test_hostile_text_is_kept_as_it_is(house: House, text: str) -> None:
    view = await house.plan(bash("a"))
    reported = await report(house, view, text)
    assert reported.document()["content"] == [{"type": "text", "text": text}]


async def test_text_that_is_none_is_refused_whole(house: House) -> None:
    view = await house.plan(bash("a"))
    assert (await refusal(house, view, "\ud800")).reason is Reason.REQUEST_MALFORMED
    assert "STPREP" not in house.codes()


async def test_personal_data_is_taken_out_of_what_is_kept(house: House) -> None:
    view = await house.plan(run("a", "private"))
    reported = await report(house, view, "write to ann@example.org")
    assert "ann@example.org" not in str(reported.document())
    assert reported.personal_data_taken == {"email": 1}
    assert await report(house, view, "write to ann@example.org") == reported
    [shown] = (await house.pipeline.view(view["plan_id"], AGENT))["steps"]
    assert shown["reported"]["personal_data_redacted"] == {"email": 1}


def context_of(house: House) -> dict[str, Any]:
    return dict(house.policy.inputs[-1]["context"])


async def test_a_released_step_taints_its_context_whether_or_not_it_is_reported(tmp_path: Path) -> None:
    house = await client_house(tmp_path)
    await house.plan(run("a"), context_id="ctx-silent")
    await house.plan(step("b"), context_id="ctx-silent")
    seen = context_of(house)
    await close_house(house)
    assert seen["taint"] == [{"hand": "shell", "action": "Fetch", "trust": "untrusted"}]
    assert seen["private"] == [{"hand": "shell", "action": "Fetch"}]
    assert seen["history"][-1]["status"] == "released"
    house = await client_house(tmp_path, brain=house.brain)
    await house.plan(step("c"), context_id="ctx-silent")
    again = context_of(house)
    assert (again["taint"][0], again["private"][0]) == (seen["taint"][0], seen["private"][0])
    await close_house(house)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("trust", Trust)
async def test_values_of_a_report_come_from_its_hand_as_far_as_the_operator_trusts_it(
    tmp_path: Path, restart: bool, trust: Trust
) -> None:
    house = await client_house(tmp_path)
    house.hands.manifests["shell"] = replace(SHELL, trust=trust)
    view = await house.plan(run("a"), context_id="ctx-1")
    await report(house, view, "rm -rf scratch")
    if restart:
        await close_house(house)
        house = await client_house(tmp_path, brain=house.brain)
        house.hands.manifests["shell"] = replace(SHELL, trust=trust)
    await house.plan(bash("b", "rm -rf scratch"), context_id="ctx-1")
    [asked] = house.policy.inputs[-1]["steps"]
    [source] = asked["provenance"]["/command"]
    assert (source["source"], source["hand"], source["trust"]) == ("result", "shell", str(trust))
    await close_house(house)


async def test_an_approved_argument_is_remembered_after_a_release(tmp_path: Path) -> None:
    house = await client_house(tmp_path)
    house.policy.effects = {"Bash": Effect.ASK}
    view = await house.plan(bash("a", "make release"), context_id="ctx-1")
    await house.approvals.answer(view["steps"][0]["approval_id"], APPROVER, answer=Answer.APPROVE)
    await house.until_settled(view["plan_id"])
    await house.plan(bash("b", "make release"), context_id="ctx-1")
    before = house.policy.inputs[-1]["steps"][0]["provenance"]
    await close_house(house)
    house = await client_house(tmp_path, brain=house.brain)
    await house.plan(bash("c", "make release"), context_id="ctx-1")
    assert house.policy.inputs[-1]["steps"][0]["provenance"] == before
    await close_house(house)


async def test_a_report_of_a_hand_that_was_pinned_anew_keeps_the_fact_alone(house: House) -> None:
    view = await house.plan(bash("a"))
    house.hands.manifests["shell"] = replace(SHELL, labels=("other",))
    reported = await report(house, view, "done")
    assert reported.document()["content"] == []
    assert reported.log_index == len(house.entries()) - 1


async def test_a_row_that_says_released_and_is_not_the_gateways_is_not_believed(house: House) -> None:
    house.policy.effects = {"Bash": Effect.ASK}
    view = await house.plan(bash("a"))
    engine = house.log._engine
    with engine.begin() as connection:
        connection.execute(text("UPDATE steps SET status = 'released'"))
    with pytest.raises(HandrailError) as failed:
        await house.pipeline.view(view["plan_id"], AGENT)
    assert failed.value.reason is Reason.INTERNAL


def test_released_is_an_end() -> None:
    assert StepStatus.RELEASED.final
