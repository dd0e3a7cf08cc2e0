"""Offline verification of receipts: one genuine file, and every way to bend it, refused at the step it breaks."""

import base64
import copy
import hashlib
import json
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import Trust, VerificationError, verify_receipt
from handrail.verify import ENTRY_TYPES

from gateway.commitments import fields_root
from gateway.entries import EntryType
from gateway.model import StepStatus
from tests.client.receipt_forge import Forge, check, compact, jwk, refused


def test_a_genuine_receipt_holds_and_says_what_it_proves() -> None:
    report = check(Forge())
    assert (report.status, report.hand, report.action, report.log_index, report.tree_size) == (
        "succeeded",
        "git",
        "git_status",
        4,
        7,
    )
    assert report.opened["args"] == b'{"repo_path":"/repo"}'
    assert [step.number for step in report.steps] == list(range(1, 10))
    assert json.loads(json.dumps(report.document()))["opened"] == ["args", "plan", "result"]


@pytest.mark.parametrize("size", [*range(1, 18), 255, 256, 257])
def test_every_index_of_trees_of_every_shape_verifies(size: int) -> None:
    for index in range(size) if size < 18 else (0, 127, 128, size - 1):
        assert check(Forge(size=size, index=index)).tree_size == size


def test_every_flipped_byte_of_the_file_is_refused() -> None:
    """Walk over the file; whatever one changed byte hits, no altered meaning passes."""
    forge = Forge(size=3, index=1)
    genuine, trust = forge.raw(), Trust.from_document(forge.trust())
    expected = verify_receipt(genuine, trust)
    for position in range(0, len(genuine), 3):
        bent = bytearray(genuine)
        bent[position] ^= 0x01
        try:
            report = verify_receipt(bytes(bent), trust)
        except VerificationError:
            continue
        assert json.loads(bytes(bent)) == json.loads(genuine), position
        assert report == expected


# --- 1 file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v", "receipt_id", "receipt", "entry", "log_index", "fields", "openings", "proof"])
def test_a_file_without_a_member_or_with_a_wrong_type_is_refused(name: str) -> None:
    forge = Forge()
    file = forge.file()
    refused(1, "wrong type", forge, {**file, name: None})
    refused(1, "wrong type", forge, {**file, name: True})
    del file[name]
    refused(1, "missing", forge, file)


def test_a_file_with_duplicate_or_unknown_members_or_another_version_is_refused() -> None:
    forge = Forge()
    refused(1, "unknown member", forge, {**forge.file(), "valid": True})
    refused(1, "version", forge, {**forge.file(), "v": 2})
    twice = forge.raw().replace(b'{"v": 1,', b'{"v": 1, "v": 1,', 1)
    with pytest.raises(VerificationError, match=r"step 1 .*twice"):
        verify_receipt(twice, Trust.from_document(forge.trust()))


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b'{"v": NaN}', b'{"v": 9007199254740993}', b"[" * 100_000])
def test_garbage_is_refused_in_step_one(raw: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_receipt(raw, Trust.from_document(Forge().trust()))
    assert caught.value.step == 1


# --- 2 receipt signature ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"typ": "accept+jws"}, "typ"),
        ({"alg": "EdDSA"}, "algorithm"),
        ({"alg": "none"}, "algorithm"),
        ({"alg": "HS256"}, "algorithm"),
        ({"kid": "unknown"}, "not trusted"),
        ({"kid": ["a"]}, "not trusted"),
        ({"jku": "https://evil.example"}, "members"),
        ({"jwk": {}}, "members"),
        ({"crit": []}, "members"),
    ],
)
def test_a_receipt_with_another_header_is_refused(header: dict[str, Any], words: str) -> None:
    forge = Forge()
    forge.header.update(header)
    refused(2, words, forge)


def test_a_receipt_signed_by_a_stranger_is_refused() -> None:
    forge = Forge()
    trust = forge.trust()
    forge.receipt_key = Ed25519PrivateKey.from_private_bytes(b"\x33" * 32)
    refused(2, "does not verify", forge, trust=trust)


def test_a_receipt_signed_by_a_key_of_another_purpose_is_refused() -> None:
    forge = Forge()
    trust = forge.trust()
    trust["jwks"]["keys"].append(jwk(Ed25519PrivateKey.from_private_bytes(b"\x44" * 32), "connector"))
    forge.receipt_key = Ed25519PrivateKey.from_private_bytes(b"\x44" * 32)
    forge.header["kid"] = trust["jwks"]["keys"][-1]["kid"]
    refused(2, "not trusted", forge, trust=trust)


def test_how_often_a_call_was_sent_is_what_the_entry_says() -> None:
    forge = Forge()
    forge.claims["attempts"], forge.entry["facts"] = 3, {"attempts": 3}
    assert check(forge).status == "succeeded"
    for claimed, recorded in ((3, {"attempts": 2}), (3, {}), (3, None), (None, {"attempts": 3})):
        forge = Forge()
        if claimed is not None:
            forge.claims["attempts"] = claimed
        forge.entry["facts"] = recorded
        refused(7, "attempts", forge)
    forge = Forge()
    forge.claims["attempts"] = "3"
    refused(2, "wrong type", forge)


@pytest.mark.parametrize("name", sorted(Forge().claims.keys() - {"step_jti", "jail"}))
def test_each_member_of_the_receipt_is_under_its_signature(name: str) -> None:
    forge = Forge()
    file = forge.file()
    head, _, tail = file["receipt"].split(".")
    forge.claims[name] = "changed" if isinstance(forge.claims[name], str) else 99
    body = base64.urlsafe_b64encode(rfc8785.dumps(forge.claims)).rstrip(b"=").decode()
    refused(2, "does not verify", forge, {**file, "receipt": f"{head}.{body}.{tail}"})


@pytest.mark.parametrize(
    "name", sorted(Forge().claims.keys() - {"step_jti", "jail", "args_commitment", "result_commitment"})
)
def test_a_signed_receipt_that_lacks_a_member_is_refused(name: str) -> None:
    forge = Forge()
    file = forge.file()
    del forge.claims[name]
    file["receipt"] = compact(forge.receipt_key, forge.header, rfc8785.dumps(forge.claims))
    refused(2, "missing", forge, file)


def test_a_padded_or_four_part_token_is_refused() -> None:
    forge = Forge()
    file = forge.file()
    refused(2, "base64url", forge, {**file, "receipt": file["receipt"] + "="})
    refused(2, "compact", forge, {**file, "receipt": file["receipt"] + ".x"})


def test_the_receipt_of_another_step_under_this_id_is_refused() -> None:
    forge = Forge()
    refused(2, "another receipt", forge, {**forge.file(), "receipt_id": "jti-2"})


def test_an_unfinished_status_is_no_receipt() -> None:
    forge = Forge()
    forge.claims["status"] = "running"
    refused(2, "final", forge)


# --- 6 place, 7 agreement --------------------------------------------------------------------------------------------


def test_a_receipt_that_names_another_place_is_refused() -> None:
    forge = Forge()
    refused(6, "the file names entry 5", forge, {**forge.file(), "log_index": 5})
    forge.claims["log"]["index"] = 3
    refused(6, "the receipt names entry 3", forge)
    for change in ("iss", "log", "entry"):
        forge = Forge()
        if change == "iss":
            forge.claims["iss"] = "other.example/log"
        elif change == "log":
            forge.claims["log"]["origin"] = "other.example/log"
        else:
            forge.entry["origin"] = "other.example/log"
        refused(6, "another log", forge)


@pytest.mark.parametrize("name", ["tenant", "step_id", "hand", "action"])
def test_a_receipt_and_an_entry_that_disagree_are_refused(name: str) -> None:
    forge = Forge()
    forge.entry[name] = "other"
    refused(7, name, forge)


def test_a_receipt_under_another_policy_than_the_entry_is_refused() -> None:
    forge = Forge()
    forge.claims["decision"]["policy_digest"] = "00" * 32
    refused(7, "policy_digest", forge)


@pytest.mark.parametrize(("status", "code"), [("succeeded", "STPFAI"), ("failed", "STPEXE"), ("denied", "STPEXE")])
def test_a_status_that_the_entry_does_not_record_is_refused(status: str, code: str) -> None:
    forge = Forge()
    forge.claims["status"], forge.entry["type"] = status, code
    refused(7, "does not record", forge)


def test_a_receipt_with_other_reasons_than_the_entry_is_refused() -> None:
    forge = Forge()
    forge.entry["reasons"] = ["git.read", "hand.failed"]
    assert check(forge).reasons == ("git.read",)
    forge.entry["reasons"] = ["git.write"]
    refused(7, "reasons", forge)


def test_a_step_that_no_policy_decided_can_only_be_denied() -> None:
    forge = Forge()
    forge.claims["decision"] = {"effect": "deny", "reasons": ["schema.args"], "policy_digest": None}
    forge.claims["status"], forge.entry["type"] = "denied", "SCHREJ"
    forge.entry |= {"effect": None, "policy_digest": None, "reasons": ["schema.args"]}
    assert check(forge).policy_digest is None
    forge.claims["decision"]["effect"] = "allow"
    refused(7, "no policy", forge)
    forge.claims["decision"]["policy_digest"] = 7
    refused(2, "policy_digest", forge)


def test_a_denied_step_cannot_have_run() -> None:
    forge = Forge()
    forge.claims["decision"]["effect"] = forge.entry["effect"] = "deny"
    refused(7, "not allowed", forge)


def test_a_held_step_cannot_have_run_without_an_approval() -> None:
    forge = Forge()
    forge.claims["decision"]["effect"] = forge.entry["effect"] = "ask"
    refused(7, "approval", forge)
    forge.claims["approvals"] = [{"approver": "p-2", "attested_by": "approver"}]
    assert check(forge).effect == "ask"


# --- 8 commitments, 9 openings ---------------------------------------------------------------------------------------


def test_commitments_that_do_not_have_the_entrys_root_are_refused() -> None:
    forge = Forge()
    file = forge.file()
    refused(8, "root", forge, {**file, "fields": {**file["fields"], "args": "00" * 32}})
    refused(8, "root", forge, {**file, "fields": {}, "openings": {}})
    refused(8, "root", forge, {**file, "fields": {**file["fields"], "more": "00" * 32}})


@pytest.mark.parametrize("claim", ["plan_commitment", "args_commitment", "result_commitment"])
def test_a_receipt_that_names_other_commitments_is_refused(claim: str) -> None:
    forge = Forge()
    forge.claims[claim] = "00" * 32
    refused(8, claim, forge)


def test_an_opening_of_another_value_or_salt_or_name_is_refused() -> None:
    forge = Forge()
    file = forge.file()
    for member in ("salt", "value"):
        bent = copy.deepcopy(file)
        bent["openings"]["args"][member] = base64.urlsafe_b64encode(b"b" * 16).rstrip(b"=").decode()
        refused(9, "not the one", forge, bent)
    bent = copy.deepcopy(file)
    bent["openings"]["nothing"] = bent["openings"]["args"]
    refused(9, "nothing was committed", forge, bent)
    refused(9, "salt and a value", forge, {**file, "openings": {"args": {"salt": "AA"}}})
    refused(9, "salt and a value", forge, {**file, "openings": {"args": {"salt": 1, "value": 2}}})


def test_a_boundary_moved_between_salt_and_value_is_refused() -> None:
    """salt || value hashes the same wherever the boundary lies, so the salt's length is fixed."""
    forge = Forge()
    file = forge.file()
    salt, value = forge.salts["args"], forge.values["args"]
    shifted = {
        "salt": base64.urlsafe_b64encode(salt + value[:1]).rstrip(b"=").decode(),
        "value": base64.urlsafe_b64encode(value[1:]).rstrip(b"=").decode(),
    }
    refused(9, "16 bytes", forge, {**file, "openings": {"args": shifted}})


def test_erased_openings_leave_a_receipt_that_holds() -> None:
    forge = Forge()
    assert check(forge, {**forge.file(), "openings": {}}).opened == {}


# --- agreement with the gateway's own words --------------------------------------------------------------------------


def test_every_final_status_has_entry_types_and_every_type_exists() -> None:
    assert set(ENTRY_TYPES) == {str(status) for status in StepStatus if status.final}
    known = {str(code) for code in EntryType}
    assert all(types <= known for types in ENTRY_TYPES.values())


def test_the_root_over_commitments_is_the_gateways() -> None:
    fields = {"args": "00" * 32, "result": "11" * 32}
    assert fields_root(fields) == hashlib.sha256(rfc8785.dumps(fields)).hexdigest()
