"""From the hand's answer to the record, the caller and the next decision: what was found, and what was taken out."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.database import changing_schema
from audit.query import Filter
from gateway.calls import HandCall, HandResult
from gateway.commitments import person_key
from gateway.manifest import Manifest, PersonalData, Trust
from gateway.model import Obligations
from gateway.personal_data import Scanner, declared
from gateway.stages.result import INLINE_MAX_BYTES
from tests.pipeline.house import AGENT, MANIFEST, House, close_house, open_house, step
from tests.pipeline.owners import owners
from tests.pipeline.remote import claim, give, note, offered, remote_house
from tests.pipeline.spending import as_after_a_restart, seen

TEXT = "jo@example.org paid with 4111 1111 1111 1111"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    opened = await open_house(tmp_path)
    yield opened
    await close_house(opened)


def saying(**changes: Any) -> Manifest:
    echo = replace(MANIFEST.actions["echo"], **changes)
    return replace(MANIFEST, actions={**MANIFEST.actions, "echo": echo})


def facts(house: House, plan_id: str, kind: str) -> list[dict[str, Any]]:
    found = house.log.reader.query(Filter(plan_id=plan_id, type=kind)).entries
    return [json.loads(entry.body).get("facts", {}) for entry in found]


async def test_what_is_found_is_shown_and_on_record_and_stays(house: House) -> None:
    view = await house.plan(step("a", args={"text": TEXT}))
    [shown] = view["steps"]
    assert shown["result"]["structured"] == {"said": TEXT}
    assert shown["result_marks"] == {
        "trust": {"content": ["untrusted"], "structured": "untrusted"},
        "personal_data": {"card": 2, "email": 2},
    }
    assert facts(house, view["plan_id"], "STPEXE") == [{"personal_data": "card:2 email:2"}]
    assert facts(house, view["plan_id"], "RESRED") == []
    revived = await house.pipeline.load(view["plan_id"])
    assert revived.view()["steps"][0]["result_marks"] == shown["result_marks"]


async def test_an_action_whose_results_go_without_it(house: House) -> None:
    house.hands.manifests["tool"] = saying(personal_data=PersonalData.REDACT, personal_kinds=("card", "phone"))
    view = await house.plan(step("a", args={"text": TEXT}))
    [shown] = view["steps"]
    assert shown["result"]["structured"] == {"said": "jo@example.org paid with [redacted:card]"}
    assert shown["result_marks"]["personal_data_redacted"] == {"card": 2}
    assert "personal_data" not in shown["result_marks"], "other kinds are not looked for"
    assert facts(house, view["plan_id"], "RESRED") == [{"personal_data": "card:2"}]
    assert facts(house, view["plan_id"], "STPEXE") == [{}]
    revived = await house.pipeline.load(view["plan_id"])
    assert revived.view()["steps"][0]["result_marks"] == shown["result_marks"]
    assert "4111" not in str(revived.view())


def test_the_operators_word_is_pinned_and_what_everybody_has_changes_no_pin() -> None:
    assert "personal_data" not in str(MANIFEST.document()), "pins from before stay"
    for changed in (
        saying(personal_data=PersonalData.REDACT),
        saying(personal_data=PersonalData.OFF),
        saying(personal_kinds=("card",)),
    ):
        assert changed.digest != MANIFEST.digest
        read = Manifest.from_document(changed.document())
        assert (read, read.digest) == (changed, changed.digest)


async def test_a_failed_call_is_looked_through_too(house: House) -> None:
    async def fail(call: HandCall) -> HandResult:
        return HandResult(({"type": "text", "text": TEXT},), None, is_error=True)

    house.hands.behaviour["echo"] = fail
    house.policy.obligations = Obligations(redact_personal=("*",))
    [shown] = (await house.plan(step("a")))["steps"]
    assert shown["status"] == "failed"
    assert shown["result"]["content"][0]["text"] == "[redacted:email] paid with [redacted:card]"


async def test_where_nobody_looks_a_policy_still_takes_out(house: House) -> None:
    house.hands.manifests["tool"] = saying(personal_data=PersonalData.OFF)
    [shown] = (await house.plan(step("a", args={"text": TEXT})))["steps"]
    assert "personal_data" not in shown["result_marks"]
    house.policy.obligations = Obligations(redact_personal=("email",))
    [shown] = (await house.plan(step("b", args={"text": TEXT})))["steps"]
    assert shown["result"]["structured"] == {"said": "[redacted:email] paid with 4111 1111 1111 1111"}
    assert shown["result_marks"]["personal_data_redacted"] == {"email": 2}


async def test_who_wants_something_out_that_nobody_could_find_is_denied(house: House) -> None:
    house.policy.obligations = Obligations(redact_personal=("email", "shoe_size"))
    [shown] = (await house.plan(step("a", args={"text": TEXT})))["steps"]
    assert (shown["status"], shown["error"]["code"]) == ("denied", "policy.obligation")
    assert not house.hands.calls
    house.pipeline.scanner = Scanner([declared("shoe_size", "size [0-9]{2}")])
    [shown] = (await house.plan(step("b", args={"text": "size 42, jo@example.org"})))["steps"]
    assert shown["result"]["structured"] == {"said": "[redacted:shoe_size], [redacted:email]"}


async def test_a_step_that_refers_to_a_result_gets_it_without(house: House) -> None:
    house.policy.obligations = Obligations(redact_personal=("email",))
    later = step("b", args={"text": {"$step": "a", "pointer": "/structured/said"}}, depends_on=["a"])
    await house.plan(step("a", args={"text": TEXT}), later)
    assert house.hands.calls[-1].args == {"text": "[redacted:email] paid with 4111 1111 1111 1111"}


async def test_whom_a_result_concerns_it_concerns_without_their_address(house: House) -> None:
    """Who asks to be erased is in what is left, too; and a marker is nobody."""
    house.hands.manifests["tool"] = saying(data_subjects=("/structured/said",), personal_data=PersonalData.REDACT)
    view = await house.plan(step("a", args={"text": "jo@example.org"}))
    entry = house.log.reader.query(Filter(plan_id=view["plan_id"], type="STPEXE")).entries[0]
    assert owners(house, entry.fields["result"]) == {person_key("jo@example.org")}


async def test_later_decisions_are_told_of_the_kinds_also_after_a_restart(house: House) -> None:
    await house.plan(step("a", args={"text": TEXT}), context_id="journey")
    await house.plan(step("b"), context_id="journey")
    assert seen(house)["personal_data"] == ["card", "email"]
    as_after_a_restart(house)
    await house.plan(step("c"), context_id="journey")
    assert seen(house)["personal_data"] == ["card", "email"]
    await house.plan(step("d"), context_id="elsewhere")
    assert seen(house)["personal_data"] == []


async def test_what_was_taken_out_taints_nothing(house: House) -> None:
    house.policy.obligations = Obligations(redact_personal=("*",))
    await house.plan(step("a", args={"text": TEXT}), context_id="journey")
    for _ in range(2):
        await house.plan(step("b"), context_id="journey")
        assert seen(house)["personal_data"] == []
        as_after_a_restart(house)


@pytest.mark.parametrize("size", [100, INLINE_MAX_BYTES + 1])
async def test_a_large_result_is_looked_through_beside(house: House, size: int) -> None:
    house.policy.obligations = Obligations(redact_personal=("email",))
    [shown] = (await house.plan(step("a", args={"text": "x" * size + " jo@example.org"})))["steps"]
    assert shown["result"]["structured"] == {"said": "x" * size + " [redacted:email]"}


async def test_a_result_that_grows_over_its_limit_is_withheld(house: House) -> None:
    """Markers are longer than what they stand for."""
    house.policy.obligations = Obligations(redact_personal=("*",))
    [shown] = (await house.plan(step("a", "small", args={"text": "a@b.co " * 10})))["steps"]
    assert shown["error"]["code"] == "hand.result_too_large"
    assert "result" not in shown
    assert "a@b.co" not in str(shown)


async def test_what_a_remote_hand_returns_is_looked_through(tmp_path: Path) -> None:
    house = await remote_house(tmp_path)
    try:
        house.policy.obligations = Obligations(redact_personal=("email",))
        view = await house.submit(house.brain.payload(note("a")), wait=0)
        await house.until_settled(view["plan_id"])
        [step_jti] = await offered(house)
        handed = await claim(house, step_jti)
        await give(house, step_jti, handed, TEXT)
        [shown] = (await house.pipeline.load(view["plan_id"])).view()["steps"]
        assert shown["result"]["structured"] == {"said": "[redacted:email] paid with 4111 1111 1111 1111"}
        assert shown["result_marks"]["personal_data"] == {"card": 2}
    finally:
        await close_house(house)


async def test_what_comes_back_after_its_decision_was_erased_is_withheld(tmp_path: Path) -> None:
    """What was to be taken out of it, and whom the args named, nobody knows any more."""
    house = await remote_house(tmp_path)
    try:
        house.policy.obligations = Obligations(redact_personal=("email",), redact=("/structured/said",))
        view = await house.submit(house.brain.payload(note("a", args={"text": "about jo"})), wait=0)
        await house.until_settled(view["plan_id"])
        [step_jti] = await offered(house)
        handed = await claim(house, step_jti)
        with house.log._engine.begin() as connection, changing_schema(connection):
            connection.exec_driver_sql("DELETE FROM payloads")
        await give(house, step_jti, handed, TEXT)
        [shown] = (await house.pipeline.load(view["plan_id"])).view()["steps"]
        assert (shown["status"], shown["error"]["code"]) == ("failed", "policy.obligation")
        assert "result" not in shown
        entry = house.log.reader.query(Filter(plan_id=view["plan_id"], type="STPFAI")).entries[0]
        assert "result" not in entry.fields
    finally:
        await close_house(house)


async def test_the_operators_word_on_parts_of_a_result_stands_beside_it(house: House) -> None:
    house.hands.manifests["tool"] = saying(result_trust={"/structured/said": "trusted"}, trust="trusted")
    [shown] = (await house.plan(step("a")))["steps"]
    assert shown["result_marks"]["trust"] == {"content": ["trusted"], "structured": "trusted"}
    assert AGENT.id not in str(shown["result_marks"])


@pytest.mark.parametrize(
    ("said", "content", "structured"),
    [
        ({"/content/*/text": Trust.UNTRUSTED}, "untrusted", "trusted"),
        ({"/structured/said": Trust.UNTRUSTED}, "untrusted", "untrusted"),
        ({"/structured/said": Trust.UNTRUSTED, "/content": Trust.TRUSTED}, "trusted", "untrusted"),
        ({}, "trusted", "trusted"),
    ],
)
async def test_of_what_holds_something_untrusted_nothing_is_vouched_for(
    house: House, said: dict[str, Trust], content: str, structured: str
) -> None:
    """Also where the operator named every item; and the text repeats what the structure says."""
    house.hands.manifests["tool"] = saying(result_trust=said, trust="trusted")
    [shown] = (await house.plan(step("a")))["steps"]
    assert shown["result_marks"]["trust"] == {"content": [content], "structured": structured}


def test_an_item_of_a_list_is_no_more_trusted_than_what_is_in_it() -> None:
    manifest = saying(result_trust={"/structured/items/*/note": Trust.UNTRUSTED}, trust=Trust.TRUSTED)
    assert manifest.trust_at("echo", "/structured/items/3") is Trust.UNTRUSTED
    assert manifest.trust_at("echo", "/structured/items/3/note/word") is Trust.UNTRUSTED
    assert manifest.trust_at("echo", "/structured/items/3/name") is Trust.TRUSTED
    assert manifest.trust_at("echo", "/structured/items/name") is Trust.TRUSTED
    structure = saying(result_trust={"/structured": Trust.TRUSTED}, trust=Trust.UNTRUSTED)
    assert structure.trust_at("echo", "/structured") is Trust.TRUSTED
    assert structure.trust_at("echo", "/content/0") is Trust.UNTRUSTED, "nothing is trusted for the structure's sake"
    assert manifest.trust_at("echo", "") is Trust.UNTRUSTED


async def test_of_a_hand_that_is_pinned_anew_nothing_is_trusted(house: House) -> None:
    house.hands.manifests["tool"] = saying(trust="trusted")
    view = await house.plan(step("a"))
    house.hands.manifests["tool"] = MANIFEST
    [shown] = (await house.pipeline.load(view["plan_id"])).view()["steps"]
    assert shown["result_marks"]["trust"] == {"content": ["untrusted"], "structured": "untrusted"}
