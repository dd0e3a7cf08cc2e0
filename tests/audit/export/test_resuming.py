"""A bundle that broke off, at any byte, is gone on with; where it cannot be, the cause says why."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import Engine

from audit.export.bundle import HISTORY, KEYS, MANIFEST, keys_sha256
from audit.export.lines import Format
from audit.export.unfinished import goes_on
from audit.query import Filter
from audit.verifier.archive import BLOCK, padding
from audit.verifier.report import Exit
from gateway.errors import Refused
from gateway.exports import ExportRequest, Exports
from gateway.ports import Append
from gateway.reasons import Conflict
from keys.entries import drafts
from tests.audit.export.house import AUDITOR, NOW, House, check, exports_of, taken_apart

ASKED = ExportRequest(format=Format.BUNDLE, wanted=Filter(tenant="default"))


@pytest.fixture
def exports(house: House, sqlite_engine: Engine) -> Exports:
    return exports_of(house, sqlite_engine)


async def begun(exports: Exports) -> tuple[bytes, ExportRequest]:
    """A whole bundle, and what going on with it asks for."""
    export = await exports.open(ASKED, AUDITOR)
    raw = b"".join([chunk async for chunk in export.chunks])
    return raw, replace(ASKED, tree_size=export.head.tree_size, checkpoint=export.head.note)


def place(request: ExportRequest, have: bytes, keys: str | None) -> ExportRequest:
    return replace(request, offset=len(have), sha256=hashlib.sha256(have).hexdigest(), keys_sha256=keys or "")


async def rest(exports: Exports, request: ExportRequest) -> bytes:
    export = await exports.open(request, AUDITOR)
    return b"".join([chunk async for chunk in export.chunks])


def starts(raw: bytes) -> dict[str, int]:
    """Where the header of each part begins."""
    found, at = {}, 0
    for name, body in taken_apart(raw):
        found[name] = at
        at += BLOCK + len(body) + len(padding(len(body)))
    return found


def breaks(raw: bytes) -> Sequence[int]:
    """Around the beginning and the end of every part, and somewhere in it."""
    ends = sorted({*starts(raw).values(), len(raw)})
    around = {end + by for end in ends for by in (-1, 0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1)}
    return sorted(at for at in around if 0 <= at < len(raw))


async def test_it_is_gone_on_with_from_any_byte_also_later_and_in_the_manifest(
    exports: Exports, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, request = await begun(exports)
    exports.clock = lambda: NOW + 50.0
    for at in breaks(raw):
        kept, keys = goes_on(BytesIO(raw[:at]))
        have = raw[:kept]
        assert kept <= at <= kept + BLOCK or at > min(starts(raw)[KEYS], starts(raw)[MANIFEST])
        went_on = have + await rest(exports, place(request, have, keys) if have else request)
        assert check(went_on, house.key).exit is Exit.HOLDS, at
        assert went_on[: starts(raw)[MANIFEST]] == raw[: starts(raw)[MANIFEST]]


def test_what_stays_is_told_by_whole_parts(exports: Exports) -> None:
    """See below for the digest."""
    assert goes_on(BytesIO()) == (0, None)
    assert goes_on(BytesIO(b"x")) == (0, None)
    assert goes_on(BytesIO(b"x" * 2_000)) == (2_000, None)
    assert goes_on(BytesIO(bytes(2_000))) == (2_000, None)


async def test_the_digest_of_keys_is_that_of_their_parts(exports: Exports, house: House) -> None:
    raw, _ = await begun(exports)
    at = starts(raw)
    wanted = keys_sha256(house.trust(), await house.history())
    assert goes_on(BytesIO(raw)) == (at[MANIFEST], wanted)
    for cut in (at[KEYS] + 1, at[KEYS] + BLOCK + 7, at[HISTORY], at[HISTORY] + 9, at[HISTORY] + BLOCK + 9):
        assert goes_on(BytesIO(raw[:cut])) == (at[KEYS], None), cut


async def test_a_key_that_was_rotated_meanwhile_is_the_cause_that_is_told(exports: Exports, house: House) -> None:
    raw, request = await begun(exports)
    cut = starts(raw)["controls.json"] + 20
    kept, keys = goes_on(BytesIO(raw[:cut]))
    record = house.keyset.list()[0]
    changed = house.keyset.revoke(record.kid, NOW + 1.0)
    await house.log.append(Append(drafts(changed, "default", "p-admin")))
    size = house.log.reader.head()[0]
    with pytest.raises(Refused) as refusal:
        await exports.open(place(request, raw[:kept], keys), AUDITOR)
    assert refusal.value.facts["problem"] == Conflict.EXPORT_KEYS
    assert house.log.reader.head()[0] == size, "nothing was exported, and so nothing is on record"
    # One who does not say with which keys it was begun is told that the bytes are others.
    assert await conflict(exports, place(request, raw[:kept], None)) == Conflict.EXPORT_OTHER
    # What came before the keys is as it was, and goes on under those of now.
    have = raw[: starts(raw)[KEYS]]
    went_on = have + await rest(exports, place(request, have, None))
    assert dict(taken_apart(went_on))[KEYS] != dict(taken_apart(raw))[KEYS]


async def conflict(exports: Exports, request: ExportRequest) -> Any:
    with pytest.raises(Refused) as refusal:
        await rest(exports, request)
    return refusal.value.facts["problem"]


async def test_what_reaches_into_the_manifest_or_is_made_up_is_told_apart(exports: Exports) -> None:
    raw, request = await begun(exports)
    content = starts(raw)[MANIFEST]
    for at in (content + 1, content + BLOCK, len(raw)):
        assert await conflict(exports, place(request, raw[:at], None)) == Conflict.EXPORT_ENDING
    for have in (os.urandom(600), raw[:700] + b"x", raw[: content - 1] + b"x"):
        assert await conflict(exports, place(request, have, None)) == Conflict.EXPORT_OTHER
