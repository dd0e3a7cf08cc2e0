"""The log's side of a receipt: entry, checkpoint and inclusion proof, each bent in turn."""

import base64
import copy

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.client.receipt_forge import ORIGIN, Forge, check, refused, signature_line, vkey

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
