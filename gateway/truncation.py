"""A result whose text is too long, cut where a reader loses nothing but the end, and said to be cut.

Text is cut, and nothing else: a structure, an image or a resource that lost its end would be another one. What is left
ends between two characters as people read them, and outside of a terminal's escape sequences. Pure.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.calls import HandResult, Truncation
from gateway.canonical import MAX_SAFE_INTEGER, canonical

LOOK_AHEAD_BYTES: Final = 65_536
"""What is read beyond a limit, is searched with the rest, and is thrown away: a value that the end of reading cut in
two would be found by nobody, so that no end of reading ever stands in a result."""
SEARCHED_VALUE_MAX_BYTES: Final = 4096
"""The longest secret that is sure to be found before an end of reading; its encodings are up to 16 times as long."""
_JOINED_MAX: Final = 32
"""Marks on one letter that are kept with it; a longer pile of them is cut anywhere."""
_SEQUENCE_MAX: Final = 1024
"""Characters that are looked back over for the beginning of an escape sequence."""
# ECMA-48: control sequences (5.4), other escapes (5.3, ECMA-35), and what introduces a control string (5.6).
_SEQUENCE: Final = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-Z\\-~]")
_BEGUN: Final = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*|\x1b[ -/]*")
_STRING: Final = re.compile(r"(?:\x1b[P\]X^_]|[\x90\x9d\x98\x9e\x9f])")
_STRING_END: Final = re.compile(r"\x07|\x1b\\|\x9c")
_ESCAPE_MAX: Final = 8
"""Bytes that one character can take in JSON, and some."""


def marker(truncation: Truncation) -> str:
    """What stands at the end of a text that was cut, in words. A tool can write the same: what is true stands beside
    the result."""
    if truncation.left_out_bytes is None:
        return "\n[cut by the gateway: the rest was not read]"
    return f"\n[cut by the gateway: {truncation.left_out_bytes} bytes left out]"


_MARKER_MAX: Final = len(marker(Truncation(2**53))) + 1
"""As JSON: the line feed takes two bytes."""


def truncate(result: HandResult, limit_bytes: int) -> HandResult | None:
    """``result`` with its text cut, so that ``{content, structured}`` has at most ``limit_bytes`` in canonical JSON.

    The content is cut in one place: the text block that does not fit ends there, and text blocks after it are left out.
    A result that was not read to its end loses the last :data:`LOOK_AHEAD_BYTES` of what was read, too.

    Returns:
        ``None`` where what may not be cut does not fit, or would be left out.

    Raises:
        Refused: ``schema.json`` where the result has no canonical form.
    """
    blocks = [dict(block) for block in result.content]
    whole = sum(map(_size, blocks))
    if result.truncated is not None:
        if not blocks or not _is_text(blocks[-1]):
            return None
        blocks[-1]["text"] = _without_end(blocks[-1]["text"])
    frame = len(canonical({"content": [], "structured": result.structured}))
    kept = _fitting(blocks, limit_bytes - frame - _MARKER_MAX)
    if not kept or not _is_text(kept[-1]) or not all(map(_is_text, blocks[len(kept) :])):
        return None
    unread = 0 if result.truncated is None else result.truncated.left_out_bytes
    left_out = None if unread is None else whole - sum(map(_size, kept)) + unread
    # A server says how much it would have sent, and may say anything.
    cut = Truncation(left_out if left_out is None or left_out <= MAX_SAFE_INTEGER else None)
    kept[-1] = {**kept[-1], "text": kept[-1]["text"] + marker(cut)}
    return replace(result, content=tuple(kept), truncated=cut)


def _fitting(blocks: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """The blocks that fit, the last one perhaps in part."""
    kept: list[dict[str, Any]] = []
    for block in blocks:
        size = len(canonical(block)) + (1 if kept else 0)
        if size > room:
            if _is_text(block) and (size - len(canonical(block["text"])) + 2) <= room:
                space = room - (size - len(canonical(block["text"]))) - 2
                kept.append({**block, "text": _prefix(block["text"], space)})
            break
        room -= size
        kept.append(block)
    return kept


def _is_text(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "text" and isinstance(block.get("text"), str)


def _size(block: Mapping[str, Any]) -> int:
    return len(block["text"].encode()) if _is_text(block) else 0


def _without_end(text: str) -> str:
    """A text without what was read ahead; empty where it is no longer than that."""
    kept = text.encode()[:-LOOK_AHEAD_BYTES].decode("utf-8", "ignore")
    return kept[: _boundary(text, len(kept))]


def _prefix(text: str, space: int) -> str:
    """The longest beginning that has at most ``space`` bytes in JSON and ends well."""
    written = canonical(text)[1:-1]
    for end in range(space, max(space - _ESCAPE_MAX, 0), -1):
        try:
            kept: str = orjson.loads(b'"' + written[:end] + b'"')
        except orjson.JSONDecodeError:  # it ends within a character, or within its escape
            continue
        return kept[: _boundary(text, len(kept))]
    return ""


def _boundary(text: str, end: int) -> int:
    """The last place at or before ``end`` at which nothing that belongs together is torn."""
    place = end
    while 0 < place < len(text) and end - place < _JOINED_MAX and _joined(text[place - 1], text[place]):
        place -= 1
    if end - place == _JOINED_MAX:
        place = end
    return _outside_sequences(text, place)


def _joined(before: str, after: str) -> bool:
    extends = unicodedata.category(after) in {"Mn", "Me", "Mc"} or "\U0001f3fb" <= after <= "\U0001f3ff"
    return extends or "\u200d" in {before, after} or (before, after) == ("\r", "\n")


def _outside_sequences(text: str, end: int) -> int:
    start = max(0, end - _SEQUENCE_MAX)
    for opened in _STRING.finditer(text, start, end):
        if _STRING_END.search(text, opened.end(), end) is None:
            return opened.start()
    for begun in _BEGUN.finditer(text, start, end):
        if begun.end() == end and _SEQUENCE.match(text, begun.start(), end) is None:
            return begun.start()
    return end
