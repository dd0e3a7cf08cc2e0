"""A recorded answer proves itself, to somebody who has the keys and nothing else of the gateway."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from handrail import MalformedError, Trust, verify_answer, verify_answers
from typer.testing import CliRunner, Result

from gateway.canonical import b64url_decode, b64url_encode
from gateway.cli.main import app
from gateway.model import Answer
from keys.rotation import Compromise
from tests.approvals.authenticator import Authenticator
from tests.approvals.world import World, asserted, enrol, person, world


async def files_of(here: World, approval_id: str) -> list[dict[str, Any]]:
    answer = await here.http.get(f"/v1/approvals/{approval_id}/answers", headers=here.bearer("dee"))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["answers"])


async def answered(here: World, key: Authenticator) -> tuple[str, dict[str, Any], Trust]:
    await enrol(here, key)
    approval_id = await here.ask()
    bob = await person(here, "bob")
    await here.gateway.approvals.answer(approval_id, bob, asserted=await asserted(here, key, approval_id))
    [file] = await files_of(here, approval_id)
    return approval_id, file, Trust.from_document(here.gateway.trust())


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
async def test_an_answer_of_a_security_key_verifies_offline_and_no_changed_one_does(tmp_path: Path, kind: str) -> None:
    async with world(tmp_path) as here:
        key = Authenticator(kind)
        approval_id, file, trust = await answered(here, key)
        binding = (await here.approval(approval_id))["binding"]
    verified = verify_answer(file, trust, [key.jwk])
    assert (verified.approval_id, verified.answer, verified.approver) == (approval_id, "approve", "bob")
    assert (dict(verified.binding), verified.attested_by, verified.rp_id) == (binding, "webauthn", "localhost")
    for stranger in ([], [Authenticator(kind).jwk], [{"kty": "EC"}], [{}]):
        with pytest.raises(MalformedError, match="none of the approver's keys"):
            verify_answer(file, trust, stranger)
    for change in CHANGES:
        changed = copy.deepcopy(file)
        change(changed)
        with pytest.raises(MalformedError):
            verify_answer(changed, trust, [key.jwk])


async def test_an_answer_that_became_void_verifies_and_is_told_from_one_that_counts(tmp_path: Path) -> None:
    async with world(tmp_path, duties={"quorum": 2}) as here:
        key = Authenticator("ES256")
        await enrol(here, key)
        approval_id = await here.ask()
        bob = await person(here, "bob")
        for text in ("package handrail.note\n", "package handrail.note\n\nx := 1\n"):
            await here.gateway.approvals.answer(approval_id, bob, asserted=await asserted(here, key, approval_id))
            (tmp_path / "policy" / "handrail" / "note.rego").write_text(text)
            await here.gateway.policy.reload()
            await here.gateway.approval_upkeep.redecide()
            await here.gateway.pipeline.finish()
        await here.gateway.approvals.answer(approval_id, bob, asserted=await asserted(here, key, approval_id))
        files, trust = await files_of(here, approval_id), Trust.from_document(here.gateway.trust())
    assert [file["void"] for file in files] == [True, True, False]
    verified = [verify_answer(file, trust, [key.jwk]) for file in files]
    assert [one.binding.get("asked") for one in verified] == [None, 2, 3]
    assert len({one.binding["policy_digest"] for one in verified}) == 3


def _entry(file: dict[str, Any]) -> None:
    file["entry"] = file["entry"].replace('"tenant":"default"', '"tenant":"rival"')


def _value(file: dict[str, Any]) -> None:
    value = bytearray(b64url_decode(file["opening"]["value"]))
    value[20] ^= 1
    file["opening"]["value"] = b64url_encode(bytes(value))


CHANGES = [
    _entry,
    _value,
    lambda file: file["opening"].update(salt=b64url_encode(bytes(16))),
    lambda file: file.update(opening=None),
    lambda file: file.update(attested_by="gateway"),
    lambda file: file.update(attested_by="approver"),
    lambda file: file.update(attested_by="nobody"),
    lambda file: file["fields"].update(answer="0" * 64),
    lambda file: file.update(proof=file["proof"].replace("index", "indeks")),
    lambda file: file.update(proof=""),
    lambda file: file.pop("entry"),
]


async def test_an_attested_refusal_verifies_with_the_gateways_key_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        approval_id = await here.ask()
        await here.gateway.approvals.answer(approval_id, await person(here, "bob"), answer=Answer.REFUSE)
        [file] = await files_of(here, approval_id)
        trust = Trust.from_document(here.gateway.trust())
    verified = verify_answer(file, trust, [])
    assert (verified.answer, verified.attested_by, verified.kid in trust.approval_keys) == ("refuse", "gateway", True)
    with pytest.raises(MalformedError):
        verify_answer({**file, "attested_by": "approver"}, trust, [])


async def test_an_answer_in_one_place_of_the_log_does_not_prove_another(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        key = Authenticator()
        _, first, trust = await answered(here, key)
        other = await here.ask({"to": "eve"})
        bob = await person(here, "bob")
        await here.gateway.approvals.answer(other, bob, asserted=await asserted(here, key, other))
        [second] = await files_of(here, other)
    for member in ("entry", "fields", "opening", "proof"):
        with pytest.raises(MalformedError):
            verify_answer({**first, member: second[member]}, trust, [key.jwk])


async def test_answers_are_shown_to_those_who_may_see_the_request_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        approval_id = await here.ask()
        for who, status in {"dee": 200, "bob": 200, "bot": 403, "root": 403}.items():
            answer = await here.http.get(f"/v1/approvals/{approval_id}/answers", headers=here.bearer(who))
            assert answer.status_code == status
        missing = await here.http.get("/v1/approvals/none/answers", headers=here.bearer("dee"))
        assert missing.status_code == 404


async def test_handrail_verify_takes_answers_beside_receipts_and_refuses_changed_ones(tmp_path: Path) -> None:
    async with world(tmp_path / "home") as here:
        key = Authenticator()
        approval_id, file, _ = await answered(here, key)
        trust = here.gateway.trust()
    (tmp_path / "trust.json").write_text(json.dumps(trust))
    (tmp_path / "bob.json").write_text(json.dumps({"security_keys": [{"jwk": key.jwk}]}))
    (tmp_path / "eve.json").write_text(json.dumps(Authenticator().jwk))
    stored = tmp_path / "answers.json"

    def verify(document: Any, *approvers: str) -> Result:
        stored.write_text(json.dumps(document))
        given = [part for one in approvers for part in ("--approver", one)]
        arguments = ["verify", str(stored), "--trust", str(tmp_path / "trust.json"), "--json", *given]
        return CliRunner().invoke(app, arguments)

    bob, eve = (f"{name}={tmp_path / name}.json" for name in ("bob", "eve"))
    for document in (file, {"approval_id": approval_id, "answers": [file]}):
        good = verify(document, bob, eve)
        assert good.exit_code == 0, good.output
        [shown] = json.loads(good.stdout)["answers"][0]["answers"]
        assert (shown["approver"], shown["answer"], shown["attested_by"]) == ("bob", "approve", "webauthn")
        assert (shown["binding"]["hand"], shown["binding"]["action"]) == ("mail", "send")
    table = CliRunner().invoke(
        app, ["verify", str(stored), "--trust", str(tmp_path / "trust.json"), "--approver", bob], env={"COLUMNS": "300"}
    )
    assert "1 of 1 file of answers holds." in table.output
    assert verify(file).exit_code == 1
    assert verify(file, eve).exit_code == 1
    in_anothers_name = verify(file, f"eve={tmp_path / 'bob'}.json", f"bob={tmp_path / 'eve'}.json")
    assert in_anothers_name.exit_code == 1
    assert "another's key" in json.loads(in_anothers_name.stdout)["answers"][0]["reason"]
    for change in CHANGES:
        changed = copy.deepcopy(file)
        change(changed)
        assert verify(changed, bob).exit_code == 1
    for document in ({"answers": []}, {"answers": [1]}, {"answers": [file], "approval_id": "other"}, {**file, "v": 2}):
        assert verify(document, bob).exit_code == 1
    for wrong in ("bob", "=x", f"bob={tmp_path}/none.json", f"bob={tmp_path / 'trust.json'}"):
        assert verify(file, wrong).exit_code == 2


async def test_an_answer_names_hand_and_action_and_is_good_for_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        approval_id = await here.ask()
        shown = await here.approval(approval_id)
        assert (shown["binding"]["hand"], shown["binding"]["action"]) == (shown["hand"], shown["action"])
        await here.gateway.approvals.answer(approval_id, await person(here, "bob"), answer=Answer.REFUSE)
        [file] = await files_of(here, approval_id)
        trust = Trust.from_document(here.gateway.trust())
    [verified] = verify_answers(json.dumps(file).encode(), trust, {})
    assert verified.binding == shown["binding"]
    for name in ("hand", "action"):
        said = json.loads(file["entry"])
        said[name] = "another"
        with pytest.raises(MalformedError):
            verify_answer({**file, "entry": json.dumps(said)}, trust, [])


@pytest.mark.parametrize(("covered", "late", "stands"), [(1, 1, True), (0, 1, False), (1, 0, False)])
async def test_an_answer_that_the_gateway_attested_stands_where_its_entry_was_covered_before_the_key_was_stolen(
    tmp_path: Path, covered: int, late: int, stands: bool
) -> None:
    """``covered``: by how much more than the entry's index; ``late``: by how many seconds the theft came later."""
    async with world(tmp_path) as here:
        approval_id = await here.ask()
        await here.gateway.approvals.answer(approval_id, await person(here, "bob"), answer=Answer.REFUSE)
        [file] = await files_of(here, approval_id)
        verified = verify_answer(file, Trust.from_document(here.gateway.trust()), [])
        compromise = Compromise(float(verified.issued_at + late), file["log_index"] + covered)
        here.gateway.keyset.revoke(verified.kid, compromise=compromise)
        trust = Trust.from_document(here.gateway.trust())
    assert verified.kid not in trust.approval_keys
    if stands:
        assert verify_answer(file, trust, []) == verified
    else:
        with pytest.raises(MalformedError, match=r"stolen|wrong hands"):
            verify_answer(file, trust, [])
