"""Under which checkpoint evidence is made, where witnesses cosign the log."""

import asyncio
import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from audit.checkpoint import note_text
from audit.cosignature import Quorum, WitnessKey, cosigned_message, from_answer
from audit.cosigned import store
from audit.export.lines import Format
from audit.query import Filter
from audit.verifier.note import Vkey
from audit.verifier.report import Exit, Report, Verdict
from gateway.errors import Refused
from gateway.exports import ExportRequest, Exports
from gateway.ports import Append
from tests.audit.export.house import AUDITOR, NOW, House, check, exports_of, said, taken_apart
from tests.until import until

ALL = Filter(tenant="default")
PRIVATE = Ed25519PrivateKey.generate()
WITNESS = WitnessKey("w.example", PRIVATE.public_key().public_bytes_raw())
ASKED_OF = Vkey(WITNESS.name, 4, WITNESS.public)


@pytest.fixture
def exports(house: House, sqlite_engine: Engine) -> Exports:
    house.log.cosigned.quorum = Quorum((WITNESS,), 1)
    return exports_of(house, sqlite_engine)


async def cosign(house: House) -> int:
    """Have the witness cosign the head; its size."""
    size, note = await house.log.signed_head()
    await _cosign(house, size, note)
    return size


async def _cosign(house: House, size: int, note: str) -> None:
    text = note_text(note)
    blob = WITNESS.key_id + NOW.to_bytes(8, "big") + PRIVATE.sign(cosigned_message(text, NOW))
    line = f"\u2014 {WITNESS.name} {base64.b64encode(blob).decode()}\n"
    await house.log.append(Append((), [store(size, from_answer(text, line, WITNESS))]))


async def taken(exports: Exports, house: House, **asked: int) -> Report:
    found = await exports.open(ExportRequest(format=Format.BUNDLE, wanted=Filter(tenant="default"), **asked), AUDITOR)
    raw = b"".join([chunk async for chunk in found.chunks])
    return check(raw, house.key, witnesses=[ASKED_OF], quorum=1)


async def test_without_an_end_evidence_is_under_what_the_witnesses_cosigned_and_says_what_came_after(
    exports: Exports, house: House
) -> None:
    size = await cosign(house)
    later = await house.fill(3)
    report = await taken(exports, house)
    assert report.exit is Exit.HOLDS, list(report.lines())
    assert (report.facts["tree_size"], report.facts["entries"] <= size) == (size, True)
    told = said(report, Verdict.LIMIT)["head"]
    assert f"of {len(later)} further entries" in told
    assert f"in a log of {size + len(later)}" in told
    assert "witnesses" in said(report, Verdict.PROVED)


async def test_everything_there_is_may_be_asked_for(exports: Exports, house: House) -> None:
    size = await cosign(house)
    await house.fill(3)
    found = await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL, uncosigned=True), AUDITOR)
    assert (found.head.tree_size, found.head.cosignatures, found.head.needed, found.later) == (size + 3, 0, 1, 0)


async def test_a_range_that_begins_behind_the_witnesses_word_is_given(exports: Exports, house: House) -> None:
    size = await cosign(house)
    await house.fill(3)
    found = await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL, first=size + 1), AUDITOR)
    assert found.head.tree_size > size


async def test_where_no_witness_ever_answered_that_is_said(exports: Exports, house: House) -> None:
    found = await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL), AUDITOR)
    assert (found.head.cosignatures, found.head.needed) == (0, 1)
    raw = b"".join([chunk async for chunk in found.chunks])
    assert "0 witnesses have cosigned" in json.loads(dict(taken_apart(raw))["manifest.json"])["statement"]


async def test_one_who_waits_gets_everything_as_soon_as_it_is_cosigned(exports: Exports, house: House) -> None:
    await cosign(house)
    await house.fill(3)
    asked = asyncio.create_task(exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL, wait_seconds=60), AUDITOR))
    await until(lambda: house.log.cosigned.newest(0, 0) is not None)
    size = await cosign(house)
    found = await asked
    assert (found.head.tree_size, found.head.cosignatures, found.later) == (size, 1, 0)


async def test_one_who_waited_in_vain_gets_what_there_is(exports: Exports, house: House) -> None:
    size = await cosign(house)
    await house.fill(3)
    found = await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL, wait_seconds=0.01), AUDITOR)
    assert (found.head.tree_size, found.later) == (size, 3)


async def test_a_bundle_that_broke_off_is_gone_on_with_whatever_was_cosigned_meanwhile(
    exports: Exports, house: House
) -> None:
    """Also by another witness, and by the same one anew: the checkpoint is the one that it began with."""
    begun = await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL), AUDITOR)
    whole = b"".join([chunk async for chunk in begun.chunks])
    assert begun.head.cosignatures == 0
    await _cosign(house, begun.head.tree_size, begun.head.note)
    for cut in (1, 600, 5_000, len(whole) // 2):
        place = {"offset": cut, "sha256": hashlib.sha256(whole[:cut]).hexdigest(), "tree_size": begun.head.tree_size}
        again = await exports.open(
            ExportRequest(format=Format.BUNDLE, wanted=ALL, checkpoint=begun.head.note, **place), AUDITOR
        )
        rest = b"".join([chunk async for chunk in again.chunks])
        assert check(whole[:cut] + rest, house.key).exit is Exit.HOLDS
    without = await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL, **place), AUDITOR)
    with pytest.raises(Refused, match="conflict"):
        async for _ in without.chunks:
            pass


@pytest.mark.parametrize("change", ["another line", "cut", "twice", "another checkpoint", "stranger"])
async def test_nobody_has_a_checkpoint_of_their_own_put_into_a_bundle(
    exports: Exports, house: House, change: str
) -> None:
    size = await cosign(house)
    head = (await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL), AUDITOR)).head
    line = head.note.splitlines(keepends=True)[-1]
    foreign = base64.b64encode(bytes(76)).decode()
    bad = {
        "another line": head.note + "anything\n",
        "cut": head.note[:-9],
        "twice": head.note + line,
        "another checkpoint": head.note.replace(f"\n{size}\n", f"\n{size - 1}\n"),
        "stranger": head.note + f"\u2014 stranger {foreign}\n",
    }[change]
    with pytest.raises(Refused, match="conflict"):
        await exports.open(ExportRequest(format=Format.BUNDLE, wanted=ALL, tree_size=size, checkpoint=bad), AUDITOR)


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
