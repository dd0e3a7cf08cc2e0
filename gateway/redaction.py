"""Known values taken out of what a hand answered, however it spelt them.

A value is looked for as it is, in either case, and in the encodings that echoes come in: base64 and base32 at any
offset, hex whatever stands between its digits, lists of bytes, percent-encoding, quoted-printable, JSON and HTML
escapes, characters of two or four bytes, and those within each other. Where an encoding is found that cannot be cut out
alone, all of that text goes. What this cannot find: a value that was encrypted, compressed or cut into pieces.
"""

import base64
import binascii
import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, unquote, unquote_plus

from gateway.calls import HandResult

MARK: Final = "[secret]"
_DEPTH: Final = 2
"""Encodings within each other that are undone."""
_BLOBS: Final = frozenset({"blob", "data"})
"""Members of content blocks that hold base64 (MCP: embedded resources, images, audio)."""
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{12,}")
_LISTED_MIN: Final = 8
_BYTES: Final = re.compile(rf"\d{{1,3}}(?:\s*,\s*\d{{1,3}}){{{_LISTED_MIN - 1},}}")
_NEXT: Final = re.compile(r",\s*\d")
_QUOTED: Final = re.compile(r"=[0-9A-Fa-f]{2}")
_FROM_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_TO_URL_SAFE: Final = str.maketrans("+/", "-_")
_SHARED: Final = "[A-Za-z0-9+/_-]?"
_UNPRINTABLE: Final = bytes([*range(0x20), 0x7F])
_NOT_HEX: Final = bytes(code for code in range(0x80) if chr(code) not in "0123456789abcdef")


class Redactor:
    """Takes a set of values out of texts and results.

    Attributes:
        longest_bytes: of the longest value, in UTF-8.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = tuple(sorted(set(values), key=len, reverse=True))
        self.longest_bytes = max((len(value.encode()) for value in self._values), default=0)
        found = {form for value in self._values for form in _forms(value)}
        self._forms = tuple(sorted(found, key=len, reverse=True))
        cores = (found for value in self._values for found in _in_base64(value))
        self._base64 = tuple((core.encode("ascii"), whole) for core, whole in cores)
        digits = [value.encode().hex() for value in self._values]
        self._hex = tuple(text.encode("ascii") for text in digits)
        self._folded = tuple({*(form for value in self._values for form in _caseless(value)), *digits})
        self._shortest = min(map(len, (*self._forms, *self._folded, *self._hex)), default=0)

    def text(self, text: str) -> str:
        """``text`` without the values."""
        spelt = _in_one_alphabet(text)
        for core, whole in self._base64:
            if core in spelt:
                text = whole.sub(MARK, text)
        for form in self._forms:
            if form in text:
                text = text.replace(form, MARK)
        return MARK if any(self._holds(view) for view in _views(text, _DEPTH, self._shortest)) else text

    def result(self, result: HandResult) -> HandResult:
        """``result`` without the values, in names of members too."""
        content = tuple(self._value(block) for block in result.content)
        return replace(result, content=content, structured=self._value(result.structured))

    def _holds(self, text: str) -> bool:
        if any(form in text for form in self._forms):
            return True
        folded = text.lower()
        if any(form in folded for form in self._folded):
            return True
        digits = folded.encode("ascii", "ignore").replace(b"0x", b"").translate(None, _NOT_HEX)
        return any(form in digits for form in self._hex)

    def _value(self, value: Any, member: str = "") -> Any:
        if isinstance(value, str):
            return self._blob(value) if member in _BLOBS else self.text(value)
        if isinstance(value, Mapping):
            return {self.text(name): self._value(inner, name) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return MARK if self._holds(_of_bytes(value)) else [self._value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MARK if any(self._holds(digits) for digits in _numerals(value)) else value
        return value

    def _blob(self, text: str) -> str:
        """Base64 stays base64: it is cleaned within. What only looks like it, as many a value does, is text."""
        try:
            plain = base64.b64decode(text, validate=True).decode("latin-1")
        except (binascii.Error, ValueError):
            return self.text(text)
        cleaned = self.text(plain)
        return self.text(text) if cleaned == plain else base64.b64encode(cleaned.encode("latin-1")).decode("ascii")


def _forms(value: str) -> Iterator[str]:
    """The encodings of a value that can be cut out of a text alone."""
    yield value
    for safe in ("", "/", "-._~/:@!$&'()*+,;="):
        quoted = quote(value, safe=safe)
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
        yield quoted.replace("%20", "+")
    escaped = json.dumps(value)[1:-1]
    yield escaped
    yield escaped.replace("/", "\\/")
    yield html.escape(value)
    raw = value.encode()
    yield raw.hex()
    yield raw.hex().upper()
    for core, _ in _in_base64(value):
        yield core
        yield core.translate(_TO_URL_SAFE)


def _in_base64(value: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    """At each offset: the characters that the value's own bits fill, by which it is known; and the same with those at
    the edges, which some bits of the value share with what stands beside it, as they are cut out."""
    raw = value.encode()
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode("ascii")
        first, end = offset * 8, (offset + len(raw)) * 8
        core = encoded[-(-first // 6) : end // 6]
        spelt = re.escape(core).replace(r"\+", "[+-]").replace(r"\-", "-").replace("/", "[/_]")
        before, after = (_SHARED if edge % 6 else "" for edge in (first, end))
        yield core, re.compile(f"{before}{spelt}{after}={{0,2}}" if after else f"{before}{spelt}")


def _caseless(value: str) -> Iterator[str]:
    """Encodings that stay what they are in either case, and the value itself, in lower case."""
    yield value.lower()
    raw = value.encode()
    for offset in range(5):
        encoded = base64.b32encode(bytes(offset) + raw).decode("ascii")
        yield encoded[-(-offset * 8 // 5) : (offset + len(raw)) * 8 // 5].lower()


def _views(text: str, depth: int, shortest: int) -> Iterator[str]:
    """The text, and each different one that so many encodings within each other, undone, make of it; but those that are
    shorter than the shortest form. Undoing an encoding makes no text longer, so what is in them would not be either."""
    seen = level = {text} if _may_hold(text, shortest) else set()
    yield from level
    for _ in range(depth):
        undone = {one for view in level for one in _undone(view) if _may_hold(one, shortest)}
        level = undone - seen
        seen = seen | level
        yield from level


def _may_hold(text: str, shortest: int) -> bool:
    """Whether a text is long enough. In lower case one character of Unicode becomes two, and none more."""
    return len(text) >= shortest or (2 * len(text) >= shortest and not text.isascii())


def _undone(text: str) -> set[str]:
    """The text with one kind of encoding undone, of each kind."""
    printable = text.encode("ascii", "ignore").translate(None, _UNPRINTABLE)
    undone = {"".join(text.split()), printable.decode("ascii"), printable.replace(b" ", b"").decode("ascii")}
    if "%" in text:
        undone |= {unquote(text), unquote_plus(text)}
    if _QUOTED.search(text):
        undone.add(unquote(text.replace("=\r\n", "").replace("=\n", "").replace("%", "%25").replace("=", "%")))
    if "\\" in text:
        undone.add(_ESCAPE.sub(_unescaped, text))
    if "&" in text:
        undone.add(html.unescape(text))
    if len(_NEXT.findall(text)) >= _LISTED_MIN - 1:
        undone.add("\n".join(map(_listed, _BYTES.findall(text))))
    undone.add(b"\n".join(map(_decoded, _BASE64.findall(_in_one_alphabet(text)))).decode("latin-1"))
    return undone - {""}


def _in_one_alphabet(text: str) -> bytes:
    """Base64 in the alphabet of RFC 4648 section 4, whichever of the two it was in."""
    return text.encode("ascii", "replace").translate(_FROM_URL_SAFE)


def _decoded(run: bytes) -> bytes:
    whole = run[: len(run) - 1] if len(run) % 4 == 1 else run
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _listed(numbers: str) -> str:
    return "".join(chr(int(number)) for number in numbers.split(","))


def _of_bytes(items: Sequence[Any]) -> str:
    """The text that a list of bytes is; empty for any other list."""
    if not all(type(item) is int and 0 <= item < 256 for item in items):
        return ""
    return "".join(map(chr, items))


def _numerals(value: float) -> Iterator[str]:
    """A number as texts write it."""
    yield str(value)
    if isinstance(value, float) and math.isfinite(value):
        yield f"{value:.0f}"


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else match[3]
