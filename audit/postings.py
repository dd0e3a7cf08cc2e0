"""The inverted index of the log: for each block of entries, which of them carry a term. No database or clock.

A term is ``name:value`` of a member that few values share (:data:`TERMS`), a control or reason code of the entry, or
:data:`EVERY`. A block is :data:`BLOCK` neighbouring entries; its postings are made once, when it is full, and never
change. Any filter is then an intersection of a few bitmaps per block, however rare what it looks for is.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from audit.errors import LogDamaged

BLOCK: Final = 4_096
"""Entries of one block; its bitmap has 512 bytes, which one leaf page of SQLite holds several of."""
BITMAP_BYTES: Final = BLOCK // 8
EVERY: Final = "*"
"""The term of every entry of a tenant."""
TERMS: Final = {
    "type": "type",
    "effect": "effect",
    "hand": "hand",
    "action": "action",
    "principal": "principal",
    "policy_digest": "policy",
}
"""Column -> name of its term."""

_BITMAP: Final = b"B"
_LIST: Final = b"L"
_CONTROLS: Final = b'"controls":['

Postings = dict[tuple[str, str], bytes]
"""(tenant, term) -> the encoded offsets, within the block, of the entries that carry it."""


def term(name: str, value: str) -> str:
    """The term of ``name`` (a value of :data:`TERMS`, ``reason`` or ``control``)."""
    return f"{name}:{value}"


def postings(rows: Iterable[Any], block: int) -> tuple[Postings, str, str]:
    """The postings of a full block, and the earliest and the latest time in it.

    Args:
        rows: of ``entries``, in order, with the columns of :data:`TERMS`, ``idx, tenant, time, reasons, body``.

    Raises:
        LogDamaged: an entry of the block is not there, or is not one.
    """
    try:
        return _postings(rows, block)
    except (ValueError, TypeError) as exc:  # a row that no writer wrote
        raise LogDamaged(f"block {block} holds what is no entry: run fsck") from exc


def _postings(rows: Iterable[Any], block: int) -> tuple[Postings, str, str]:
    offsets: dict[tuple[str, str], list[int]] = {}
    known: dict[bytes, list[str]] = {}
    times = []
    for offset, row in enumerate(rows):
        if row.idx != block * BLOCK + offset:
            break
        times.append(row.time)
        found = [EVERY]
        found += [term(name, value) for column, name in TERMS.items() if (value := getattr(row, column)) is not None]
        if row.reasons:
            found += [term("reason", code) for code in dict.fromkeys(orjson.loads(row.reasons))]
        raw = _raw_controls(bytes(row.body))
        if raw not in known:
            known[raw] = [term("control", one) for one in dict.fromkeys(orjson.loads(raw))]
        for one in found + known[raw]:
            offsets.setdefault((row.tenant, one), []).append(offset)
    if len(times) != BLOCK:
        raise LogDamaged(f"block {block} is not whole: run fsck")
    return {key: encode(at) for key, at in offsets.items()}, min(times), max(times)


def encode(offsets: list[int]) -> bytes:
    """Ascending offsets as a list of 16-bit little-endian numbers, or as a bitmap where that is shorter."""
    if 2 * len(offsets) < BITMAP_BYTES:
        return _LIST + b"".join(offset.to_bytes(2, "little") for offset in offsets)
    return _BITMAP + mask(offsets).to_bytes(BITMAP_BYTES, "little")


def decode(raw: bytes) -> int:
    """The encoded offsets as a bit mask. Raises ``LogDamaged`` where :func:`encode` did not make it."""
    kind, data = raw[:1], raw[1:]
    if kind == _BITMAP and len(data) == BITMAP_BYTES:
        return int.from_bytes(data, "little")
    if kind == _LIST and len(data) % 2 == 0:
        offsets = [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)]
        if all(offset < BLOCK for offset in offsets):
            return mask(offsets)
    raise LogDamaged("the index of the log is damaged: run fsck")


def mask(offsets: Iterable[int]) -> int:
    """A bit mask with the bits at ``offsets`` set."""
    bits = 0
    for offset in offsets:
        bits |= 1 << offset
    return bits


def offsets_of(bits: int, *, descending: bool = False) -> Iterable[int]:
    """The positions of the set bits."""
    while bits:
        offset = bits.bit_length() - 1 if descending else (bits & -bits).bit_length() - 1
        yield offset
        bits ^= 1 << offset


def differing(stored: Mapping[tuple[str, str], bytes], due: Mapping[tuple[str, str], bytes]) -> list[tuple[str, str]]:
    """The (tenant, term) pairs whose postings are not what the entries give, in order."""
    return sorted(key for key in stored.keys() | due.keys() if stored.get(key) != due.get(key))


def _raw_controls(body: bytes) -> bytes:
    """The JSON list of controls, cut out of canonical JSON.

    Inside a string every quotation mark is escaped, so the member's name can only stand where a member begins; what
    sorts before it is a string each; and an identifier holds no quotation mark, so ``"]`` (or ``[]``) ends the list.
    """
    start = body.index(_CONTROLS) + len(_CONTROLS) - 1
    if body[start + 1 : start + 2] == b"]":
        return b"[]"
    return body[start : body.index(b'"]', start) + 2]
