"""Bundles that somebody changed, made up or aimed at the reader: never a crash, and never a pass."""

import json
import random
from collections.abc import Callable
from io import BytesIO

import pytest

from audit.verifier.__main__ import printable
from audit.verifier.archive import BLOCK, END, header, padding
from audit.verifier.errors import EvidenceError
from audit.verifier.report import Exit, Verdict
from gateway.canonical import canonical
from tests.audit.export.house import House, check, put_together, resigned, said, taken_apart

FLIPS_IN_A_PART = 24


def _refused(raw: bytes, house: House) -> str:
    """What is wrong; ``AssertionError`` where the bundle passes."""
    report = check(raw, house.key, trust=canonical(house.trust()))
    assert report.exit is Exit.FAILED, list(report.lines())
    return " ".join(said(report, Verdict.FAILED).values())


async def test_a_flipped_bit_of_any_part_never_passes(house: House) -> None:
    chance = random.Random(7)
    raw = await house.bundle(payloads=True)
    assert check(raw, house.key).exit is Exit.HOLDS
    place = 0
    for name, body in taken_apart(raw):
        size = len(body)
        where = {place + chance.randrange(BLOCK) for _ in range(FLIPS_IN_A_PART)}
        where |= {place + BLOCK + chance.randrange(size) for _ in range(FLIPS_IN_A_PART)}
        end = place + BLOCK + size + -size % BLOCK
        where |= {chance.randrange(place + BLOCK + size, end)} if size % BLOCK else set()
        for at in where:
            changed = bytearray(raw)
            changed[at] ^= 1 << chance.randrange(8)
            assert _refused(bytes(changed), house), (name, at)
        place = end
    for at in range(place, len(raw), 61):
        changed = bytearray(raw)
        changed[at] ^= 1
        assert _refused(bytes(changed), house), at


async def test_not_even_the_gateway_can_change_a_byte_of_an_entry_or_a_hash(house: House) -> None:
    """The manifest is made anew and signed, so that only the tree can tell."""
    chance = random.Random(8)
    parts = taken_apart(await house.bundle())
    for number, (name, body) in enumerate(parts):
        if not name.startswith(("tree/", "entries/", "checkpoint")):
            continue
        for _ in range(3 * FLIPS_IN_A_PART):
            changed = bytearray(body)
            changed[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
            raw = resigned(house, [*parts[:number], (name, bytes(changed)), *parts[number + 1 :]])
            assert _refused(raw, house), name


async def test_a_bundle_that_was_cut_off_anywhere_is_none(house: House) -> None:
    raw = await house.bundle()
    for end in [*range(0, len(raw), 509), len(raw) - 1]:
        assert _refused(raw[:end], house), end
    assert "something follows" in _refused(raw + b"\0", house)


async def test_entries_that_are_left_out_put_in_or_moved_are_noticed(house: House) -> None:
    parts = taken_apart(await house.bundle())
    at, (name, body) = next((at, part) for at, part in enumerate(parts) if part[0].startswith("entries/"))
    lines = body.splitlines(keepends=True)
    for changed in (lines[1:], lines[:-1], [*lines, lines[0]], [lines[1], lines[0], *lines[2:]], []):
        raw = resigned(house, [*parts[:at], (name, b"".join(changed)), *parts[at + 1 :]])
        assert _refused(raw, house), len(changed)
    assert "missing" in _refused(resigned(house, [*parts[:at], *parts[at + 1 :]]), house)


def _inserted(part: tuple[str, bytes], at: int) -> Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]:
    return lambda parts: [*parts[:at], part, *parts[at:]]


async def test_parts_that_are_too_many_twice_or_out_of_place_are_refused(house: House) -> None:
    parts = taken_apart(await house.bundle())
    for number, part in enumerate(parts):
        assert _refused(put_together([*parts[:number], *parts[number + 1 :]]), house), f"without {part[0]}"
        assert "twice" in _refused(put_together([*parts[:number], part, *parts[number:]]), house)
        for at in (0, 4, len(parts) - 2, len(parts)):
            extra = _inserted(("notes/readme.txt", b"trust me"), at)(parts)
            assert "no part of a bundle" in _refused(put_together(extra), house)
    swapped = [parts[1], parts[0], *parts[2:]]
    assert "not in its place" in _refused(put_together(swapped), house)


@pytest.mark.parametrize(
    "name", ["../etc/passwd", "/etc/passwd", "tree/../x.txt", "a\\b.txt", "tree/000000.txt\n", "-rf", "tree//0.txt", "",
             "TREE/000000.TXT", "tr\u00e9e.txt", "a/b/c.txt"]
)  # fmt: skip
async def test_no_name_leads_out_of_the_file(house: House, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a part"):
        header(name, 1)
    raw = await house.bundle()
    block = bytearray(header("aaaa", 0))
    block[:100] = name.encode()[:100].ljust(100, b"\0")
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)
    assert _refused(bytes(block) + raw, house)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"5", b"6", b"x", b"g", b"L", b"S", b"7", b"\0"])
async def test_only_regular_files_are_parts(house: House, kind: bytes) -> None:
    raw = bytearray(await house.bundle())
    raw[156:157] = kind
    raw[148:156] = b"%06o\0 " % (sum(raw[:BLOCK]) - sum(raw[148:156]) + 8 * 32)
    assert "its header is not the one" in _refused(bytes(raw), house)


async def test_a_size_that_the_file_does_not_have_costs_nothing(house: House) -> None:
    raw = await house.bundle()
    assert "larger than" in _refused(header("asked.json", 0o77777777777) + raw, house)
    assert "ends in the middle" in _refused(header("asked.json", 2**20) + b"{}", house)
    with pytest.raises(ValueError, match="not the size"):
        header("asked.json", 2**33)


HOSTILE = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "number": b'{"v":' + b"9" * 100_000 + b"}",
    "infinite": b'{"v":1e999}',
    "nan": b'{"v":NaN}',
    "twice": b'{"v":1,"v":1}',
    "half a character": b'{"v":"\\ud800"}',
    "not utf-8": b'{"v":"\xff"}',
    "bom": b"\xef\xbb\xbf{}",
    "nothing": b"",
    "a list": b"[]",
    "a text": b'"x"',
    "zeros": bytes(70_000),
    "other types": b'{"v":true,"origin":1,"tree_size":"1","filter":[],"jwks":{"keys":[1]},"log":[1],"entries":{"a":1}}',
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
async def test_no_content_of_any_part_breaks_the_reader(house: House, content: bytes) -> None:
    parts = taken_apart(await house.bundle(payloads=True))
    for number, (name, _) in enumerate(parts):
        for body in (content, content + b"\n"):
            changed = [*parts[:number], (name, body), *parts[number + 1 :]]
            assert _refused(put_together(changed), house), name
            optional = name.startswith(("receipts/", "openings/")) and not body
            if 0 < number < len(parts) - 2 and not optional:
                assert _refused(resigned(house, changed), house), name


@pytest.mark.parametrize(
    "tree", ["have 0 1", "skip 0 1\n", "have 1 2\n", "have 0 99999\n", "skip 0 3\nAAAA\nAAAA\n", "have 0 0\n",
             "have 3 1\n", "skip 0 4503599627370496\n", "have 00 1\n", "have -1 4\n", "take 0 1\n",
             "skip 0 1\n!!!!\n", "\n", "have 0 \u0661\n"]
)  # fmt: skip
async def test_a_tree_that_is_none_is_refused(house: House, tree: str) -> None:
    parts = [(name, tree.encode() if name.startswith("tree/") else body)
             for name, body in taken_apart(await house.bundle())]  # fmt: skip
    assert _refused(resigned(house, parts), house)


async def test_a_reader_is_told_of_many_faults_and_the_memory_is_not_filled_with_them(house: House) -> None:
    await house.fill(500)
    parts = taken_apart(await house.bundle(payloads=True))
    flipped = [
        (name, b"".join(b'{"receipt":"a.b.c"}\n' for _ in body.splitlines()) if name.startswith("receipts/")
         else b"".join(canonical({**json.loads(line), "value": "AAAA"}) + b"\n" for line in body.splitlines())
         if name.startswith("openings/") else body)
        for name, body in parts
    ]  # fmt: skip
    report = check(resigned(house, flipped), house.key)
    assert len(report.findings) <= 1_100
    assert report.left_out > 0 or len(report.findings) > 900
    assert f"and {report.left_out} more" in " ".join(report.lines()) or not report.left_out


async def test_what_a_bundle_says_cannot_steer_a_terminal(house: House) -> None:
    assert printable("a\x1b[31mb\u202ec\nd") == "a\ufffd[31mb\ufffdc\nd"


async def test_a_checkpoint_of_the_readers_own_that_is_none_is_the_readers_fault(house: House) -> None:
    raw = await house.bundle()
    with pytest.raises(EvidenceError, match="your checkpoint old"):
        check(raw, house.key, kept=[("old", b"nothing")])
    with pytest.raises(EvidenceError, match="your trust document"):
        check(raw, house.key, trust=b"{}")


def test_headers_and_padding_are_the_ones_that_posix_says() -> None:
    assert len(header("tree/000000.txt", 7)) == BLOCK
    assert (len(padding(7)), len(padding(512)), len(padding(0)), len(END)) == (505, 0, 0, 1024)
    assert BytesIO(END).read() == bytes(1024)
