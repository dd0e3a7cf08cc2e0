"""Under which checkpoint evidence is made, where witnesses cosign the log."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from audit.checkpoint import note_text
from audit.cosignature import Quorum, WitnessKey, cosigned_message, from_answer
from audit.cosigned import store
from audit.export.lines import Format
from audit.export.source import Source
from audit.query import Filter
from audit.verifier.note import Vkey
from audit.verifier.report import Exit, Report
from gateway.exports import Asked, Exports
from gateway.model import Principal, Role
from gateway.ports import Append
from gateway.store.bundles import SqlBundles
from gateway.store.receipts import SqlReceipts
from tests.audit.export.house import NOW, House, check

AUDITOR = Principal("auditor", "default", "p-auditor", frozenset({Role.AUDITOR}))
PRIVATE = Ed25519PrivateKey.generate()
WITNESS = WitnessKey("w.example", PRIVATE.public_key().public_bytes_raw())
ASKED_OF = Vkey(WITNESS.name, 4, WITNESS.public)


@pytest.fixture
def exports(house: House, sqlite_engine: Engine) -> Exports:
    house.log.cosigned.quorum = Quorum((WITNESS,), 1)
    return Exports(
        log=house.log,
        source=Source(house.log.reader),
        receipts=SqlReceipts(sqlite_engine),
        bundles=SqlBundles(sqlite_engine, bytes(32)),
        signer=house.keyset,
        trust=house.trust,
        history=house.history,
        directory=None,
        controls={},
        clock=lambda: float(NOW),
    )


async def cosign(house: House) -> int:
    """Have the witness cosign the head; its size."""
    size, note = await house.log.signed_head()
    text = note_text(note)
    blob = WITNESS.key_id + NOW.to_bytes(8, "big") + PRIVATE.sign(cosigned_message(text, NOW))
    line = f"\u2014 {WITNESS.name} {base64.b64encode(blob).decode()}\n"
    await house.log.append(Append((), [store(size, from_answer(text, line, WITNESS))]))
    return size


async def taken(exports: Exports, house: House, **asked: int) -> Report:
    found = await exports.open(Asked(format=Format.BUNDLE, wanted=Filter(tenant="default"), **asked), AUDITOR)
    raw = b"".join([chunk async for chunk in found.chunks])
    return check(raw, house.key, witnesses=[ASKED_OF], quorum=1)


async def test_evidence_of_a_range_is_under_what_the_witnesses_cosigned(exports: Exports, house: House) -> None:
    size = await cosign(house)
    await house.fill(3)
    report = await taken(exports, house, end=size)
    assert report.exit is not Exit.FAILED, list(report.lines())
    assert report.facts["tree_size"] == size


async def test_of_what_no_witness_has_seen_yet_that_is_said(exports: Exports, house: House) -> None:
    size = await cosign(house)
    await house.fill(3)
    report = await taken(exports, house, end=size + 1)
    assert report.exit is Exit.FAILED
    assert report.facts["tree_size"] > size


async def test_a_checkpoint_that_is_asked_for_comes_with_its_cosignatures(exports: Exports, house: House) -> None:
    size = await cosign(house)
    await house.fill(3)
    report = await taken(exports, house, tree_size=size)
    assert report.exit is not Exit.FAILED, list(report.lines())
