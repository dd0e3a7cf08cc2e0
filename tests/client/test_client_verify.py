"""Offline verification of receipts: one genuine file, and every way to bend it, refused at the step it breaks."""

import base64
import copy
import hashlib
import json
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import Trust, TrustError, VerificationError, verify_receipt
from handrail.verify import ENTRY_TYPES, STEPS

from gateway.entries import EntryType
from gateway.model import StepStatus, fields_root
from tests.client.receipt_forge import ORIGIN, Forge, compact, jwk, signature_line, vkey


def check(forge: Forge, file: dict[str, Any] | None = None, trust: dict[str, Any] | None = None) -> Any:
    raw = json.dumps(forge.file() if file is None else file).encode()
    return verify_receipt(raw, Trust.from_document(forge.trust() if trust is None else trust))


def refused(step: int, words: str, forge: Forge, file: dict[str, Any] | None = None, **more: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        check(forge, file, **more)
    assert (caught.value.step, caught.value.title) == (step, STEPS[step - 1])
    assert words in caught.value.reason


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


# --- 3 entry, 4 checkpoint, 5 inclusion ------------------------------------------------------------------------------


def test_an_entry_that_is_not_canonical_is_refused() -> None:
    forge = Forge()
    file = forge.file()
    refused(3, "canonical", forge, {**file, "entry": file["entry"].replace(":", ": ", 1)})
    refused(3, "JSON", forge, {**file, "entry": "{"})
    refused(3, "object", forge, {**file, "entry": "1"})


@pytest.mark.parametrize("name", sorted(Forge().entry))
def test_each_member_of_the_entry_is_under_the_root(name: str) -> None:
    forge = Forge()
    file = forge.file()
    entry = copy.deepcopy(forge.entry)
    entry[name] = "changed" if isinstance(entry[name], str) else 2 if name == "v" else [7]
    refused(5, "another root", forge, {**file, "entry": rfc8785.dumps(entry).decode()})


def test_a_checkpoint_signed_by_a_foreign_key_is_refused() -> None:
    forge = Forge()
    trust = forge.trust()
    forge.checkpoint_signer = (ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x55" * 32))
    refused(4, "no trusted key", forge, trust=trust)


def test_a_trusted_key_of_another_log_does_not_speak_for_this_one() -> None:
    forge = Forge()
    other = Ed25519PrivateKey.from_private_bytes(b"\x66" * 32)
    trust = forge.trust()
    trust["log"].append(vkey("other.example/log", other))
    forge.checkpoint_signer = ("other.example/log", other)
    refused(4, "no trusted key", forge, trust=trust)


def test_a_checkpoint_of_another_origin_signed_by_this_log_is_refused() -> None:
    forge = Forge()
    forge.checkpoint_origin = "other.example/log"
    refused(4, "another log", forge)


def test_a_broken_signature_of_a_known_key_refuses_the_note_despite_a_good_one() -> None:
    forge = Forge()
    file = forge.file()
    bad = signature_line(ORIGIN, forge.log_key, "another text\n")
    refused(4, "does not verify", forge, {**file, "proof": file["proof"] + bad})


def test_signatures_of_unknown_witnesses_are_ignored() -> None:
    forge = Forge()
    file = forge.file()
    witness = signature_line("witness.example", Ed25519PrivateKey.generate(), "anything\n")
    assert check(forge, {**file, "proof": file["proof"] + witness}).tree_size == 7


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("tlog-proof@v1", "tlog-proof@v2", "start"),
        ("index 4\n", "", "index"),
        ("index 4\n", "index 04\n", "index"),
        ("index 4\n", "index -4\n", "index"),
        ("\n7\n", "\n07\n", "does not verify"),
        ("\n7\n", "\n8\n", "does not verify"),
        ("\u2014 ", "- ", "signature line"),
        ("\u2014 ", "\u2014  ", "signature line"),
        ("\n\n", "\n", "base64"),
        ("index", "index\x07", "index"),
    ],
)
def test_a_malformed_proof_is_refused(old: str, new: str, words: str) -> None:
    forge = Forge()
    file = forge.file()
    assert old in file["proof"]
    refused(4, words, forge, {**file, "proof": file["proof"].replace(old, new, 1)})


def test_a_note_without_final_newline_or_with_control_characters_is_refused() -> None:
    forge = Forge()
    file = forge.file()
    refused(4, "newline", forge, {**file, "proof": file["proof"][:-1]})
    refused(4, "control", forge, {**file, "proof": file["proof"].replace("\u2014 log", "\u2014 \x1blog")})


def test_an_extra_line_is_allowed_and_means_nothing() -> None:
    forge = Forge()
    file = forge.file()
    proof = file["proof"].replace("index 4", "extra aGVsbG8=\nindex 4", 1)
    assert check(forge, {**file, "proof": proof}).log_index == 4


def test_a_proof_for_another_index_is_refused() -> None:
    forge = Forge()
    file = forge.file()
    refused(5, "another root", forge, {**file, "proof": file["proof"].replace("index 4", "index 5")})
    refused(5, "not in a tree", forge, {**file, "proof": file["proof"].replace("index 4", "index 7")})


def test_a_proof_with_a_hash_too_many_or_too_few_or_swapped_is_refused() -> None:
    forge = Forge()
    file = forge.file()
    lines = file["proof"].split("\n")
    refused(5, "fewer", forge, {**file, "proof": "\n".join(lines[:2] + lines[3:])})
    refused(5, "more", forge, {**file, "proof": "\n".join(lines[:3] + lines[2:])})
    swapped = [*lines[:2], lines[3], lines[2], *lines[4:]]
    refused(5, "another root", forge, {**file, "proof": "\n".join(swapped)})
    short = [*lines[:2], base64.b64encode(b"x" * 31).decode(), *lines[3:]]
    refused(4, "32 bytes", forge, {**file, "proof": "\n".join(short)})
    refused(4, "high", forge, {**file, "proof": "\n".join(lines[:2] + [lines[2]] * 64 + lines[5:])})


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


# --- the trust document ----------------------------------------------------------------------------------------------


def test_a_trust_document_whose_keys_do_not_match_their_names_is_refused() -> None:
    trust = Forge().trust()
    trust["jwks"]["keys"][0]["kid"] = "A" * 43
    with pytest.raises(TrustError, match="thumbprint"):
        Trust.from_document(trust)
    trust = Forge().trust()
    name, _, material = trust["log"][0].split("+", 2)
    trust["log"] = [f"{name}+00000000+{material}"]
    with pytest.raises(TrustError, match="id does not belong"):
        Trust.from_document(trust)


@pytest.mark.parametrize("revocation", [{"state": "revoked"}, {"revoked_at": 1}])
def test_a_revoked_receipt_key_proves_nothing(revocation: dict[str, Any]) -> None:
    forge = Forge()
    trust = forge.trust()
    trust["jwks"]["keys"].append(jwk(Ed25519PrivateKey.from_private_bytes(b"\x77" * 32), "receipt"))
    assert check(forge, trust=trust)
    trust["jwks"]["keys"][0] |= revocation
    refused(2, "not trusted", forge, trust=trust)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"origin": None},
        {"jwks": []},
        {"jwks": {"keys": 1}},
        {"jwks": {"keys": []}},
        {"log": []},
        {"log": ["x"]},
        {"log": [7]},
        {"origin": "another.example/log"},
    ],
)
def test_a_trust_document_that_cannot_be_used_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TrustError):
        Trust.from_document({**Forge().trust(), **change})


def test_the_published_example_note_verifies() -> None:
    """The example of the signed-note specification: key parsing, key id and signature."""
    from handrail.errors import MalformedError
    from handrail.note import LogKey, open_checkpoint

    key = LogKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = (
        "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Z"
        "tg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    with pytest.raises(MalformedError, match="three lines"):
        open_checkpoint(note, [key])
    with pytest.raises(MalformedError, match="does not verify"):
        open_checkpoint(note.replace("This", "That"), [key])
