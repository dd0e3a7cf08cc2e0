"""What a bundle shows, to a reader who has the log's key and nothing else of the gateway."""

import base64
import json
import random
import tarfile
import tracemalloc
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.export.openings import PIECE_BYTES, VALUE_MAX_BYTES
from audit.log import Log
from audit.merkle import Frontier, leaf_hash
from audit.query import Filter, Scope
from audit.verifier.collected import COUNTED_MAX, Collected
from audit.verifier.note import WITNESS, Vkey
from audit.verifier.report import Exit, Verdict
from audit.verifier.tree import EMPTY_ROOT, Growth, spans
from gateway.canonical import b64url_decode, b64url_encode, canonical
from gateway.commitments import commit
from gateway.entries import COMMON, EntryDraft, EntryType
from gateway.policy.bundle import assemble
from gateway.ports import Append, Purpose, Typ
from tests.audit.conftest import draft
from tests.audit.export.house import (
    DIGEST,
    NOW,
    OTHERS,
    POLICY,
    House,
    check,
    put_together,
    resigned,
    said,
    taken_apart,
)


async def test_a_whole_log_is_proved_without_the_gateway(house: House) -> None:
    theirs = house.log.reader.query(Filter(tenant=OTHERS)).entries[0].index
    raw = await house.bundle(end=theirs)
    report = check(raw, house.key)
    assert report.exit is Exit.HOLDS, list(report.lines())
    proved = said(report, Verdict.PROVED)
    assert set(proved) == {"checkpoint", "entries", "completeness", "manifest", "key history", "receipts", "policies"}
    assert "an entry of the log" in proved["manifest"]
    assert report.facts["origin"] == house.log.origin


async def test_the_entries_are_the_bytes_that_the_log_hashed(house: House) -> None:
    parts = dict(taken_apart(await house.bundle()))
    lines = parts["entries/000000.ndjson"].splitlines()
    stored = [page.body for page in house.log.reader.query(Filter(tenant="default"), limit=1000).entries]
    assert lines == stored


async def test_a_range_is_complete_or_the_reader_is_told_that_nobody_knows(house: House) -> None:
    indices = await house.fill(40)
    whole = check(await house.bundle(first=indices[3], end=indices[30]), house.key)
    assert "no entry from" in said(whole, Verdict.PROVED)["completeness"]
    mixed = check(await house.bundle(), house.key)
    assert mixed.exit is Exit.HOLDS
    assert "completeness" not in said(mixed, Verdict.PROVED), "another tenant's entries lie between"
    assert "is the gateway's word" in said(mixed, Verdict.LIMIT)["completeness"]
    filtered = check(await house.bundle(action="git_status"), house.key)
    assert "with action git_status" in said(filtered, Verdict.LIMIT)["completeness"]


async def test_of_another_tenant_there_are_only_hashes(house: House) -> None:
    raw = await house.bundle(payloads=True)
    theirs = house.log.reader.query(Filter(tenant=OTHERS), limit=10).entries
    assert len(theirs) == 2
    assert OTHERS.encode() not in raw
    for stored in theirs:
        assert stored.body not in raw
    report = check(await house.bundle(tenant=OTHERS), house.key)
    assert report.facts["entries"] == 2
    assert report.exit is Exit.OPEN, "no entry of theirs tells of the gateway's keys"
    assert "--trust" in said(report, Verdict.OPEN)["manifest"]
    trusted = check(await house.bundle(tenant=OTHERS), house.key, trust=canonical(house.trust()))
    assert trusted.exit is Exit.HOLDS


BOUND = Scope(hands=frozenset({"mail"}), types=frozenset(map(str, COMMON)))


async def test_of_other_hands_than_the_readers_there_are_only_hashes(house: House) -> None:
    theirs = await house.fill(2, hand="mail", action="send")
    raw = await house.bundle(scope=BOUND)
    assert b"git_status" not in raw
    report = check(raw, house.key)
    assert report.exit is Exit.HOLDS, list(report.lines())
    keys = len(house.log.reader.query(Filter(scope=Scope(hands=frozenset(), types=BOUND.types)), limit=100).entries)
    assert report.facts["entries"] == len(theirs) + keys
    assert report.facts["receipts"] == len(theirs)
    limits = said(report, Verdict.LIMIT)
    assert "other hands than mail" in limits["scope"]
    assert "completeness" in limits


async def test_a_bundle_for_some_hands_that_encloses_others_is_named(house: House) -> None:
    parts = taken_apart(await house.bundle())
    asked = json.loads(dict(parts)["asked.json"])
    asked["scope"] = {"hands": ["mail"], "types": []}
    changed = [(name, canonical(asked) if name == "asked.json" else raw) for name, raw in parts]
    report = check(resigned(house, changed), house.key)
    assert report.exit is Exit.FAILED
    assert any("beyond the hands of the reader" in line for line in report.lines())


@pytest.mark.parametrize("scope", [{"hands": ["a"]}, {"hands": "a", "types": []}, {"hands": [1], "types": []},
                                   {"hands": [], "types": [], "more": []}])  # fmt: skip
async def test_a_scope_that_cannot_be_read_is_refused(house: House, scope: object) -> None:
    parts = taken_apart(await house.bundle())
    asked = json.loads(dict(parts)["asked.json"]) | {"scope": scope}
    changed = [(name, canonical(asked) if name == "asked.json" else raw) for name, raw in parts]
    report = check(resigned(house, changed), house.key)
    assert report.exit is Exit.FAILED


async def test_opened_values_are_those_that_were_committed_to(house: House) -> None:
    closed = await house.bundle()
    assert b"value 1" not in closed
    raw = await house.bundle(payloads=True)
    report = check(raw, house.key)
    assert report.exit is Exit.HOLDS
    assert report.facts["openings"] == 5
    assert "committed to" in said(report, Verdict.PROVED)["openings"]
    parts = taken_apart(raw)
    name, openings = next(part for part in parts if part[0].startswith("openings/"))
    first = json.loads(openings.splitlines()[0])
    changed = canonical({**first, "value": "eyJ4IjoxfQ"}) + b"\n"
    lied = resigned(house, [(n, changed if n == name else body) for n, body in parts])
    assert "not the one that was committed to" in said(check(lied, house.key), Verdict.FAILED)["openings"]


async def test_the_same_request_gives_the_same_bytes(house: House) -> None:
    assert await house.bundle(payloads=True) == await house.bundle(payloads=True)


async def test_an_ordinary_tar_reads_it(house: House) -> None:
    raw = await house.bundle()
    with tarfile.open(fileobj=BytesIO(raw)) as archive:
        assert [item.name for item in archive.getmembers()] == [name for name, _ in taken_apart(raw)]
        assert all(item.isreg() and item.mode == 0o644 for item in archive.getmembers())


async def test_an_empty_log_of_nothing_asked_for(house: House) -> None:
    report = check(await house.bundle(first=3, end=3, key_changes=False), house.key, trust=canonical(house.trust()))
    assert report.facts["entries"] == 0
    assert report.exit is Exit.HOLDS


# --- many entries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_any_selection_of_many_entries_is_proved(house: House, seed: int) -> None:
    """Several segments, runs and gaps of every kind; the chosen ones are told by their hand."""
    chance = random.Random(seed)
    for _ in range(40):
        hand = chance.choice(["git", "mail"])
        await house.log.append(Append([draft(number, hand=hand) for number in range(chance.randint(1, 60))]))
    size = house.log.reader.head()[0]
    first = chance.randint(0, size)
    raw = await house.bundle(hand="mail", first=first, end=chance.randint(first, size), key_changes=False,
                             kept=[chance.randint(1, size) for _ in range(3)])  # fmt: skip
    report = check(raw, house.key, trust=canonical(house.trust()))
    assert report.exit is Exit.HOLDS, list(report.lines())


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_spans_are_whole_subtrees_and_as_few_as_can_be(one: int, other: int) -> None:
    start, end = sorted((one, other))
    place = start
    for level, index in spans(start, end):
        assert index << level == place
        place += 1 << level
    assert place == end
    assert len(list(spans(start, end))) <= 2 * max(1, end).bit_length()


@given(st.lists(st.binary(max_size=3), max_size=70))
def test_growth_and_frontier_give_one_root(leaves: list[bytes]) -> None:
    growth, frontier = Growth(), Frontier()
    for leaf in leaves:
        growth.add(0, leaf_hash(leaf))
        frontier.append(leaf_hash(leaf))
    assert growth.root() == frontier.root()
    assert leaves or growth.root() == EMPTY_ROOT


# --- a checkpoint that the reader kept -------------------------------------------------------------------------------


async def _checkpoint(house: House) -> tuple[int, bytes]:
    size, note = await house.log.signed_head()
    return size, note.encode()


async def test_a_kept_checkpoint_shows_that_the_log_only_grew(house: House) -> None:
    size, note = await _checkpoint(house)
    await house.fill(30)
    await house.fill(3, OTHERS)
    inside = check(await house.bundle(), house.key, kept=[("old", note)])
    assert inside.exit is Exit.HOLDS
    assert "it only grew" in said(inside, Verdict.PROVED)["kept checkpoint"]
    far = await house.bundle(first=size + 20, end=size + 25, key_changes=False)
    trust = canonical(house.trust())
    unclear = check(far, house.key, trust=trust, kept=[("old", note)])
    parted = check(
        await house.bundle(first=size + 20, end=size + 25, key_changes=False, kept=[size]),
        house.key, trust=trust, kept=[("old", note)],
    )  # fmt: skip
    assert parted.exit is Exit.HOLDS
    if unclear.exit is not Exit.HOLDS:
        assert unclear.exit is Exit.OPEN
        assert f"--kept {size}" in said(unclear, Verdict.OPEN)["kept checkpoint"]


async def test_a_checkpoint_between_hashes_cannot_be_compared_and_that_is_said(house: House) -> None:
    await house.fill(10)
    note = house.log.heads.sign(13, house.log.reader.root(13)).encode()
    await house.fill(40)
    raw = await house.bundle(first=40, end=45, key_changes=False)
    trust = canonical(house.trust())
    report = check(raw, house.key, trust=trust, kept=[("mine", note)])
    assert report.exit is Exit.OPEN
    again = check(await house.bundle(first=40, end=45, key_changes=False, kept=[13]), trust=trust, kept=[("m", note)])
    assert again.exit is Exit.HOLDS


async def test_a_log_that_was_rolled_back_or_rewritten_is_told_by_a_kept_checkpoint(house: House) -> None:
    raw = await house.bundle()
    size = house.log.reader.head()[0]
    longer = house.log.heads.sign(size + 5, bytes(32)).encode()
    assert "rolled back" in said(check(raw, house.key, kept=[("k", longer)]), Verdict.FAILED)["kept checkpoint"]
    forked = house.log.heads.sign(size, bytes(32)).encode()
    assert (
        "rewritten, or forked" in said(check(raw, house.key, kept=[("k", forked)]), Verdict.FAILED)["kept checkpoint"]
    )


# --- witnesses -------------------------------------------------------------------------------------------------------


def _witness(name: str) -> tuple[Vkey, Ed25519PrivateKey]:
    private = Ed25519PrivateKey.generate()
    return Vkey(name, WITNESS, private.public_key().public_bytes_raw()), private


def _cosigned(
    parts: list[tuple[str, bytes]], by: list[tuple[Vkey, Ed25519PrivateKey]], time: int
) -> list[tuple[str, bytes]]:
    """The same checkpoint with cosignatures (c2sp.org/tlog-cosignature, version 1)."""
    name, note = parts[1]
    text = note.decode().rpartition("\n\n")[0] + "\n"
    for key, private in by:
        signature = private.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
        blob = base64.b64encode(key.key_id + time.to_bytes(8, "big") + signature).decode()
        note += f"\u2014 {key.name} {blob}\n".encode()
    return [parts[0], (name, note), *parts[2:]]


async def test_a_quorum_of_witnesses(house: House) -> None:
    witnesses = [_witness(f"w{number}.example") for number in range(3)]
    parts = taken_apart(await house.bundle())
    raw = resigned(house, _cosigned(parts, witnesses[:2], 1_795_226_500))
    keys = [key for key, _ in witnesses]
    two = check(raw, house.key, witnesses=keys, quorum=2)
    assert two.exit is Exit.HOLDS
    assert "2 of your 3 witnesses saw this same log" in said(two, Verdict.PROVED)["witnesses"]
    three = check(raw, house.key, witnesses=keys, quorum=3)
    assert three.exit is Exit.FAILED
    forged = resigned(house, _cosigned(parts, [(witnesses[2][0], witnesses[0][1])], 5))
    assert "does not verify" in said(check(forged, house.key, witnesses=keys, quorum=1), Verdict.FAILED)["witnesses"]
    assert "witnesses are for" in said(check(raw, house.key), Verdict.LIMIT)["fork"]


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_nothing_holds_under_another_key(house: House) -> None:
    raw = await house.bundle()
    stranger = Vkey(house.log.origin, 1, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    elsewhere = Vkey("other.example/log", 1, house.key.public)
    for key in (stranger, elsewhere):
        report = check(raw, key)
        assert report.exit is Exit.FAILED
        assert "not signed by any key that you gave" in said(report, Verdict.FAILED)["checkpoint"]
        assert "entries" not in said(report, Verdict.PROVED)


async def test_a_revoked_key_vouches_for_nothing(house: House) -> None:
    raw = await house.bundle()
    old = house.keyset.active_jwk(Purpose.RECEIPT)["kid"]
    revoked = house.trust()
    for key in revoked["jwks"]["keys"]:
        if key["kid"] == old:
            key["revoked_at"] = 1
    parts = [(name, canonical(revoked) if name == "keys.json" else body) for name, body in taken_apart(raw)]
    report = check(resigned(house, parts), house.key)
    assert "not in force" in said(report, Verdict.FAILED)["manifest"]


async def test_what_the_readers_document_says_was_revoked_stays_so_whatever_the_bundle_says(house: House) -> None:
    """Whoever stole the key, and makes a bundle with it, leaves out that it was revoked."""
    raw = await house.bundle()
    trusted = house.trust()
    assert said(check(raw, house.key, trust=canonical(trusted)), Verdict.PROVED)["manifest"]
    for key in trusted["jwks"]["keys"]:
        key["revoked_at"] = NOW - 1
    report = check(raw, house.key, trust=canonical(trusted))
    assert report.exit is Exit.FAILED
    assert "not in force" in said(report, Verdict.FAILED)["manifest"]
    assert "manifest" not in said(report, Verdict.PROVED)


def test_however_many_keys_were_made_a_revocation_is_heard() -> None:
    found = Collected()
    for number in range(COUNTED_MAX + 1):
        found.take(number, _key_change("KEYCRE", f"k{number}"))
    found.take(COUNTED_MAX + 1, _key_change("KEYREV", "k0"))
    assert found.revoked == {"k0": (0, None)}
    assert len(found.created) == COUNTED_MAX


def _key_change(kind: str, kid: str) -> dict[str, Any]:
    facts = {"kid": kid, "purpose": "receipt"}
    return {"type": kind, "time": "2026-11-26T00:00:00.000Z", "origin": "log", "controls": [], "facts": facts}


async def test_a_gateway_that_lies_in_a_signed_manifest_is_caught(house: House) -> None:
    parts = taken_apart(await house.bundle())
    assert "complete" not in said(check(resigned(house, parts), house.key), Verdict.FAILED)
    for changes, words in (
        ({"complete": True}, "enclosed whole"),
        ({"entries": 3}, "it counts 3 entries"),
        ({"v": 2}, "does not say what asked.json says"),
        ({"parts": []}, "lists 0 parts"),
    ):
        report = check(resigned(house, parts, **changes), house.key)
        assert words in said(report, Verdict.FAILED)["manifest"], changes


async def test_entries_that_nobody_asked_for_are_named(house: House) -> None:
    parts = taken_apart(await house.bundle())
    asked = {**json.loads(parts[0][1]), "filter": {"hand": "mail"}}
    report = check(resigned(house, [("asked.json", canonical(asked)), *parts[1:]]), house.key)
    assert "of another hand" in said(report, Verdict.FAILED)["entries"]


async def test_a_receipt_that_says_another_thing_than_its_entry_is_named(house: House) -> None:
    index = next(iter(house.receipts))
    claims = json.loads(b64url_decode(house.receipts[index].split(".")[1]))
    parts = taken_apart(await house.bundle())
    for change, words in (
        ({"hand": "mail"}, "differs from entry"),
        ({"status": "failed"}, "says failed"),
        ({"iss": "elsewhere"}, "another log"),
        ({"log": {"origin": house.log.origin, "index": 10**6}}, "does not stand beside it"),
        ({"iat": 5}, "not in force"),
    ):
        token = house.keyset.sign(Purpose.RECEIPT, Typ.RECEIPT, canonical({**claims, **change}))
        line = canonical({"receipt": token}) + b"\n"
        changed = [(name, line if name.startswith("receipts/") else body) for name, body in parts]
        assert words in said(check(resigned(house, changed), house.key), Verdict.FAILED)["receipts"]


async def test_a_policy_bundle_of_another_digest_is_named(house: House) -> None:
    parts = [
        (name, canonical({"files": {"a.rego": "package other"}}) if name.startswith("policies/") else body)
        for name, body in taken_apart(await house.bundle())
    ]
    assert "its files have the digest" in said(check(resigned(house, parts), house.key), Verdict.FAILED)["policies"]


async def test_a_bundle_that_is_not_at_hand_is_said_to_be_missing(house: House) -> None:
    await house.fill(1, policy_digest="f" * 64)
    report = check(await house.bundle(), house.key)
    assert report.exit is Exit.HOLDS
    assert "ffffffffffffffff" in said(report, Verdict.LIMIT)["policies"]
    assert report.facts["policies"] == [DIGEST]


def test_the_digest_of_a_bundle_is_the_engines() -> None:
    assert assemble({path: text.encode() for path, text in POLICY.items()}).digest == DIGEST


class Counting:
    """Payloads that remember how much of them was opened at a time."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.opened: list[int] = []

    async def open(self, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        found = await self._log.open(commitments)
        self.opened.append(sum(len(value) for _, value in found.values()))
        return found

    async def sealed_bytes(self, commitments: Sequence[str]) -> Mapping[str, int]:
        return await self._log.reads.sealed_bytes(commitments)


async def test_values_are_opened_and_written_in_bounded_parts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One segment with 40 MB of values, one of which is larger than the bound."""
    bound = 1 << 20
    monkeypatch.setattr("audit.export.openings.OPENINGS_MAX_BYTES", bound)
    sizes = [200_000] * 200 + [2 * bound] + [10] * 100
    values = [commit(bytes([number % 256]) * size, "default/ada/c") for number, size in enumerate(sizes)]
    await house.log.append(
        Append([EntryDraft(EntryType.STEP_EXECUTED, "default", fields={"result": value}) for value in values])
    )
    counting = Counting(house.log)
    tracemalloc.start()
    try:
        largest = 0
        async for part in house.parts(payloads=counting):
            largest = max(largest, len(part))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(counting.opened) == 2 * bound
    assert sorted(counting.opened)[-2] <= bound
    assert sum(counting.opened) >= sum(sizes)
    assert largest < 3 * bound
    assert peak < 64 * bound, "40 MB of values, as text and several times over, would be far more"
    report = check(await house.bundle(payloads=True), house.key)
    assert report.exit is Exit.HOLDS
    assert report.facts["openings"] == len(sizes) + 5


async def test_a_value_of_the_largest_size_is_not_held_several_times(house: House) -> None:
    """Sealed, opened and cut apart from its salt it is held three times, and by the bundle once: as text and in a part
    it would be many more. Two of them, so that the first is seen to be let go."""
    values = [commit(bytes([number]) * VALUE_MAX_BYTES, "default/ada/c") for number in (1, 2)]
    await house.log.append(
        Append([EntryDraft(EntryType.STEP_EXECUTED, "default", fields={"result": value}) for value in values])
    )
    del values
    largest = size = 0
    tracemalloc.start()
    try:
        async for piece in house.parts(payloads=house.log.reads):
            largest, size = max(largest, len(piece)), size + len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 2 * VALUE_MAX_BYTES * 4 // 3
    assert largest <= 2 * PIECE_BYTES
    assert peak < 4 * VALUE_MAX_BYTES, f"{peak / VALUE_MAX_BYTES:.1f} times"


async def test_lines_written_piece_by_piece_are_the_canonical_ones(house: House) -> None:
    """Lengths around the ends of pieces, where base64 could be padded or cut."""
    third = PIECE_BYTES // 4 * 3
    sizes = [0, 1, 2, 3, third - 1, third, third + 1, third + 2, 2 * third + 1]
    values = [commit(bytes(range(256)) * (size // 256) + bytes(size % 256), "default/ada/c") for size in sizes]
    await house.log.append(
        Append([EntryDraft(EntryType.STEP_EXECUTED, "default", fields={"result": value}) for value in values])
    )
    raw = await house.bundle(payloads=True)
    lines = b"".join(part for name, part in taken_apart(raw) if name.startswith("openings/")).splitlines(keepends=True)
    opened = await house.log.open([value.commitment for value in values])
    wanted = [
        canonical({"commitment": value.commitment, "salt": b64url_encode(salt), "value": b64url_encode(plain)}) + b"\n"
        for value in values
        for salt, plain in [opened[value.commitment]]
    ]
    assert [line for line in lines if line in set(wanted)] == wanted
    assert check(raw, house.key).exit is Exit.HOLDS


async def test_parts_of_openings_out_of_order_are_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.export.openings.OPENINGS_MAX_BYTES", 1)
    parts = taken_apart(await house.bundle(payloads=True))
    openings = [place for place, (name, _) in enumerate(parts) if name.startswith("openings/")]
    assert [parts[place][0][-13:-7] for place in openings] == [f"{number:06d}" for number in range(5)]
    assert check(put_together(parts), house.key).exit is Exit.HOLDS
    swapped = list(parts)
    swapped[openings[0]], swapped[openings[1]] = parts[openings[1]], parts[openings[0]]
    assert check(resigned(house, swapped), house.key).exit is Exit.FAILED
    missing = [part for place, part in enumerate(parts) if place != openings[1]]
    assert check(resigned(house, missing), house.key).exit is Exit.FAILED
