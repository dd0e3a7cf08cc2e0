"""A receipt whose verifier requires the log's second signature."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from handrail import Trust, VerificationError, verify_receipt

from tests.audit.post_quantum import regenerate
from tests.client.receipt_forge import ORIGIN, Forge, root

KEY = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


class Twice(Forge):
    """Signs its checkpoints by both, or by one."""

    second = True

    def checkpoint(self) -> str:
        if not self.second:
            return super().checkpoint()
        tree = {"size": self.size, "root": root(self.leaves()), "origin": ORIGIN, "name": ORIGIN}
        signature = bytes(8) + KEY.sign(regenerate.cosigned(**tree))
        return super().checkpoint() + regenerate.line(regenerate.key_id(b"\x06", PUBLIC, ORIGIN), signature, ORIGIN)

    def trust(self) -> dict[str, Any]:
        return {**super().trust(), "log_post_quantum": [regenerate.vkey(b"\x06", PUBLIC, ORIGIN)]}


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
