"""The log's second signature before each of our three verifiers: one table of attacks, one meaning."""

import json
import sys
from typing import Any

import handrail.note
import pytest
from handrail import MalformedError, Trust, TrustError
from handrail.post_quantum import PostQuantumKey as ClientKey

from audit import post_quantum
from audit.checkpoint import Checkpoint, VerifierKey, parse_checkpoint, verify_checkpoint
from audit.errors import NoteInvalid
from audit.fsck import check
from audit.log import Log
from audit.post_quantum import PostQuantumKey
from audit.verifier.errors import EvidenceError
from audit.verifier.note import Note, Vkey
from gateway.ports import Append, Purpose
from tests.audit.conftest import draft
from tests.audit.post_quantum import regenerate

VECTORS: dict[str, Any] = json.loads(regenerate.FILE.read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in VECTORS["cases"]}
FIRST, SECOND = VECTORS["first"], VECTORS["second"]


def gateway(note: str, *, both: bool) -> None:
    verify_checkpoint(note, [VerifierKey.parse(FIRST)], VECTORS["origin"])
    post_quantum.require(note, [PostQuantumKey.parse(SECOND)] if both else [])


def client(note: str, *, both: bool) -> None:
    second = [ClientKey.parse(SECOND)] if both else []
    handrail.note.open_checkpoint(note, [handrail.note.LogKey.parse(FIRST)], second=second)


def stand_alone(note: str, *, both: bool) -> None:
    keys = [Vkey.parse(FIRST), *([Vkey.parse(SECOND)] if both else [])]
    Note.parse(note.encode(), "note").signed_by(keys, "note")


VERIFIERS = {"gateway": gateway, "client": client, "stand-alone": stand_alone}
REFUSALS = (NoteInvalid, MalformedError, EvidenceError)


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("both", [False, True], ids=["alone", "both"])
@pytest.mark.parametrize("name", CASES)
def test_every_verifier_gives_the_same_answer(name: str, both: bool, verifier: str) -> None:
    case = CASES[name]
    if case["both" if both else "alone"]:
        VERIFIERS[verifier](case["note"], both=both)
        return
    with pytest.raises(REFUSALS):
        VERIFIERS[verifier](case["note"], both=both)


def test_the_vectors_are_of_the_script() -> None:
    again = regenerate.vectors()
    for made, kept in zip(again.pop("cases"), CASES.values(), strict=True):
        assert {**made, "note": len(made["note"])} == {**kept, "note": len(kept["note"])}
    assert again == {name: value for name, value in VECTORS.items() if name != "cases"}


def test_what_is_signed_is_the_structure_of_the_specification() -> None:
    checkpoint = parse_checkpoint(regenerate.text())
    assert post_quantum.message(checkpoint.origin, checkpoint).hex() == VECTORS["cosigned_message"]


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_a_key_of_another_log_of_ours_does_not_count(verifier: str) -> None:
    public = regenerate.PUBLIC_2
    other = regenerate.vkey(b"\x06", public, "log.example/other")
    signature = regenerate.SECOND.sign(regenerate.cosigned(name="log.example/other"))
    id_ = regenerate.key_id(b"\x06", public, "log.example/other")
    note = f"{regenerate.text()}\n{regenerate.first()}{regenerate.line(id_, bytes(8) + signature, 'log.example/other')}"
    first = handrail.note.LogKey.parse(FIRST)
    acts = {
        "gateway": lambda: post_quantum.require(note, [PostQuantumKey.parse(other)]),
        "client": lambda: handrail.note.open_checkpoint(note, [first], second=[ClientKey.parse(other)]),
        "stand-alone": lambda: Note.parse(note.encode(), "note").signed_by(map(Vkey.parse, (FIRST, other)), "note"),
    }
    with pytest.raises(REFUSALS, match="ML-DSA-44"):
        acts[verifier]()


@pytest.mark.parametrize("parse", [PostQuantumKey.parse, ClientKey.parse, Vkey.parse])
def test_keys_that_are_none_are_refused(parse: Any) -> None:
    name, id_, rest = SECOND.split("+", 2)
    for wrong in (f"{name}+00000000+{rest}", f"{name}+{id_}+{rest[:-8]}", f"other+{id_}+{rest}", "x+y", ""):
        with pytest.raises(REFUSALS):
            parse(wrong)
    if parse != Vkey.parse:
        with pytest.raises(REFUSALS, match="ML-DSA-44"):
            parse(FIRST)


@pytest.mark.parametrize("verifier", ["client", "stand-alone"])
def test_an_older_cryptography_says_so_and_does_not_pass(verifier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    with pytest.raises(REFUSALS, match="has no ML-DSA-44"):
        VERIFIERS[verifier](CASES["both"]["note"], both=True)
    VERIFIERS[verifier](CASES["both"]["note"], both=False)


@pytest.mark.parametrize("name", ["", "n" * 256])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(NoteInvalid, match="255"):
        post_quantum.message(name, Checkpoint("o", 1, bytes(32)))


def test_a_trust_document_has_both_required_only_where_it_names_the_keys() -> None:
    raw = regenerate.FIRST.public_key().public_bytes_raw()
    jwk = {**handrail.keys.VerifyKey(raw).public_jwk(), "purpose": "receipt"}
    document = {"v": 1, "origin": VECTORS["origin"], "jwks": {"keys": [jwk]}, "log": [FIRST]}
    trust = Trust.from_document({**document, "log_post_quantum": [SECOND]})
    assert trust.required == ()
    assert [key.raw for key in trust.both_required().required] == [regenerate.PUBLIC_2]
    with pytest.raises(TrustError, match="ML-DSA-44"):
        Trust.from_document(document).both_required()
    for wrong in ("x", ["x"], [FIRST], {}):
        with pytest.raises(TrustError):
            Trust.from_document({**document, "log_post_quantum": wrong})


# --- a log that signs twice ------------------------------------------------------------------------------------------


def second_key(log: Log, signer: Any) -> PostQuantumKey:
    return PostQuantumKey(log.origin, signer.second.public_key().public_bytes_raw())


async def test_a_log_signs_twice_and_fsck_can_require_both(engine: Any, open_log: Any, signer: Any) -> None:
    async with open_log(engine, post_quantum=True) as log:
        await log.append(Append([draft(number) for number in range(5)]))
        note = await log.checkpoint()
        key, first = second_key(log, signer), VerifierKey.parse(log.vkey())
    verify_checkpoint(note, [first])
    assert post_quantum.signers(note, [key]) == [key]
    assert list(check(engine, keys=[first], second=[key])) == []
    stranger = PostQuantumKey(key.name, regenerate.PUBLIC_2)
    assert any("ML-DSA-44" in finding.detail for finding in check(engine, keys=[first], second=[stranger]))


async def test_a_log_that_signed_once_fails_where_both_are_required(engine: Any, open_log: Any, signer: Any) -> None:
    async with open_log(engine) as log:
        await log.append(Append([draft()]))
        await log.checkpoint()
        key, first = second_key(log, signer), VerifierKey.parse(log.vkey())
    assert list(check(engine, keys=[first])) == []
    found = list(check(engine, keys=[first], second=[key]))
    assert found
    assert all("ML-DSA-44" in finding.detail for finding in found)


async def test_a_signature_by_a_key_that_was_rotated_meanwhile_is_not_written(
    engine: Any, open_log: Any, signer: Any
) -> None:
    async with open_log(engine, post_quantum=True) as log:
        await log.append(Append([draft()]))
        told = signer.active_jwk
        signer.active_jwk = lambda purpose: (
            {"pub": regenerate.b64(regenerate.PUBLIC_2).replace("+", "-").replace("/", "_").rstrip("=")}
            if purpose is Purpose.CHECKPOINT_PQ
            else told(purpose)
        )
        with pytest.raises(NoteInvalid, match="does not verify"):
            log.heads.sign(1, bytes(32))
        signer.active_jwk = told
        assert "\u2014" in log.heads.sign(1, bytes(32))
