"""A key was stolen at a moment: what a checkpoint covered before stands, whatever a message says of its own time."""

import json
from dataclasses import replace
from typing import Any

import pytest
from handrail import MalformedError, Quorum, Trust, TrustError, VerificationError, verify_receipt

from tests.client.receipt_forge import Forge
from tests.client.vectors import regenerate

VECTORS: list[dict[str, Any]] = json.loads(regenerate.FILE.read_text())


def test_the_vectors_are_the_ones_that_their_script_makes() -> None:
    assert regenerate.vectors() == VECTORS


@pytest.mark.parametrize("vector", VECTORS, ids=[one["name"] for one in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    trust = Trust.from_document(vector["trust"])
    if vector["witnesses"]:
        trust = replace(trust, quorum=Quorum.parse(vector["witnesses"]))
    raw = json.dumps(vector["file"]).encode()
    if vector["stands"]:
        report = verify_receipt(raw, trust)
        assert report.compromised is any(one.purpose == "receipt" for one in trust.compromised.values())
        return
    with pytest.raises(VerificationError) as caught:
        verify_receipt(raw, trust)
    assert vector["says"] in caught.value.reason


def test_a_document_with_a_stolen_key_whose_id_is_not_its_own_is_refused() -> None:
    document = VECTORS[0]["trust"]
    keys = [{**document["jwks"]["keys"][0], "kid": "A" * 43}, *document["jwks"]["keys"][1:]]
    with pytest.raises(TrustError, match="thumbprint"):
        Trust.from_document({**document, "jwks": {"keys": keys}})


def test_a_stolen_key_of_another_purpose_signs_no_receipt() -> None:
    forge = Forge()
    document = regenerate._receipt_stolen(purpose="approval")(forge)
    with pytest.raises(VerificationError, match="not trusted"):
        verify_receipt(forge.raw(), Trust.from_document(document))


def test_what_a_stolen_key_signed_is_judged_by_index_and_its_own_time_only_against_it() -> None:
    [stolen] = Trust.from_document(VECTORS[0]["trust"]).compromised.values()
    stolen.check(stolen.covered_size - 1, int(stolen.at) - 1)
    with pytest.raises(MalformedError):
        stolen.check(stolen.covered_size, 0)
    with pytest.raises(MalformedError):
        stolen.check(0, int(stolen.at))
