"""Receipts and pages of the log whose verifier requires the log's second signature, or witnesses."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import Trust, VerificationError, verify_receipt
from handrail.entries import verify_page
from handrail.errors import MalformedError
from handrail.note import Quorum

from tests.audit.post_quantum import regenerate
from tests.client.receipt_forge_twice import Twice


def test_a_receipt_holds_under_both_and_says_so() -> None:
    forge = Twice()
    report = verify_receipt(forge.raw(), Trust.from_document(forge.trust()).both_required())
    assert any("ML-DSA-44" in step.text for step in report.steps)


def test_a_receipt_without_the_second_line_is_refused_where_both_are_required() -> None:
    forge = Twice()
    forge.second = False
    trust = Trust.from_document(forge.trust())
    verify_receipt(forge.raw(), trust)
    with pytest.raises(VerificationError, match="ML-DSA-44") as refusal:
        verify_receipt(forge.raw(), trust.both_required())
    assert refusal.value.step == 4


def test_a_second_line_of_another_tree_is_refused_where_both_are_required() -> None:
    forge, other = Twice(), Twice(size=8)
    second = other.checkpoint().splitlines()[-1]
    forge.second = False
    genuine = forge.checkpoint
    forge.checkpoint = lambda: f"{genuine()}{second}\n"  # type: ignore[method-assign]
    trust = Trust.from_document(forge.trust())
    assert base64.b64decode(second.rsplit(" ", 1)[1])
    with pytest.raises(VerificationError, match="does not verify"):
        verify_receipt(forge.raw(), trust.both_required())


def test_a_page_of_the_log_without_the_second_line_is_refused_where_both_are_required() -> None:
    forge = Twice()
    trust = Trust.from_document(forge.trust())
    assert verify_page(forge.page(), trust.both_required()).size == forge.size
    forge.second = False
    assert verify_page(forge.page(), trust).size == forge.size
    with pytest.raises(MalformedError, match="ML-DSA-44"):
        verify_page(forge.page(), trust.both_required())


def test_a_page_of_the_log_that_too_few_witnesses_cosigned_is_refused() -> None:
    forge = Twice()
    witness = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    quorum = Quorum.parse([regenerate.vkey(b"\x04", witness, "witness.example")], 1)
    with pytest.raises(MalformedError, match="witness"):
        verify_page(forge.page(), replace(Trust.from_document(forge.trust()), quorum=quorum))
