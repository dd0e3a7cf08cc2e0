"""What the eye does not see in a value: characters that are not what they look like, and where a URL really goes.

Warnings, not verdicts: Unicode's list of confusable characters (UTS 39) is longer than what is looked for here, and
plain ASCII has lookalikes of its own (``rn`` and ``m``). A value without a warning is not thereby vouched for.
"""

import ipaddress
import re
import unicodedata
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gateway.manifest import ArgumentRole
from gateway.safe import invisible, safe

ADDRESSES: Final = frozenset({ArgumentRole.RECIPIENT, ArgumentRole.URL, ArgumentRole.ACCOUNT})
"""Roles of arguments that say where something goes: one wrong letter is another place."""
RUN_MIN: Final = 16
"""White space in a row from which on text after it may stand where nobody looks."""

_ADDRESS: Final = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;]+")
_HOST: Final = re.compile(r"(?:[^\s./:@?#]+\.)+[^\s./:@?#0-9]{2,}\.?")
_WORD: Final = re.compile(r"\w+")
_RUN: Final = re.compile(rf"\s{{{RUN_MIN},}}")
_REORDERING: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_PORTS: Final = {"http": 80, "https": 443}
_AMBIGUOUS: Final = frozenset("\\%")
"""In an authority some programs take the host to end before them, and others after."""
_NAMES_MAX: Final = 4
_ADDRESS_MAX: Final = 512


def warnings_of(text: str, role: ArgumentRole | None = None) -> list[str]:
    """What to look at twice in ``text``, one sentence each; every one is safe to show.

    Args:
        role: what the operator says the argument is; without one, text that looks like an address counts as one.
    """
    found = [*_hidden(text), *_mixed(text)]
    url = _url(text)
    if url is not None:
        found += _destination(url)
    elif role in ADDRESSES or _looks_like_an_address(text):
        found += _foreign(text)
    return found


def host_of(text: str) -> str | None:
    """The host that a URL goes to, apart from all that can be written around it; ``None`` where ``text`` is no URL, or
    one in which programs find different hosts."""
    url = _url(text)
    return None if url is None or _AMBIGUOUS & set(url.netloc) else safe(url.hostname)


def _looks_like_an_address(text: str) -> bool:
    if len(text) > _ADDRESS_MAX:
        return False
    return _ADDRESS.fullmatch(text) is not None or _HOST.fullmatch(text) is not None


def _hidden(text: str) -> list[str]:
    """Characters that :func:`gateway.safe.safe` spells out, and text pushed out of sight."""
    found = []
    if any(unicodedata.bidirectional(char) in _REORDERING for char in text):
        found.append("It holds characters that reorder the text around them; they are spelled out.")
    count = sum(map(invisible, text))
    if count:
        found.append(f"Control or invisible characters in it: {count:,}. They are spelled out as \\u{{...}}.")
    if text != text.strip():
        found.append("It begins or ends with white space.")
    run = _RUN.search(text)
    if run is not None:
        found.append(f"{len(run[0])} white space characters stand in a row in it: mind what follows them.")
    return found


def _mixed(text: str) -> list[str]:
    """Words with letters of several scripts, which no language writes: ``pаypal`` with a Cyrillic letter."""
    found = []
    for word in _WORD.findall(text):
        if word.isascii():
            continue
        scripts = {_script(char) for char in word if char.isalpha()} - {""}
        if len(scripts) > 1 and not scripts <= _TOGETHER:
            found.append(f"The word {safe(word)[:64]!r} mixes letters: {', '.join(sorted(scripts))}.")
        if len(found) == _NAMES_MAX:
            break
    return found


_TOGETHER: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "KATAKANA-HIRAGANA"})
"""Scripts that languages do write in one word."""


def _script(char: str) -> str:
    """The script of a letter as its name begins with it; a letter without a name has none."""
    return unicodedata.name(char, "").partition(" ")[0]


def _foreign(text: str) -> list[str]:
    """Letters of an address that are not ASCII, by name, and what an encoded host name reads as."""
    found = []
    odd = dict.fromkeys(char for char in text if not char.isascii() and char.isprintable())
    if odd:
        named = [f"{char} ({unicodedata.name(char, 'no name')})" for char in list(odd)[:_NAMES_MAX]]
        more = f" and {len(odd) - _NAMES_MAX} more" if len(odd) > _NAMES_MAX else ""
        found.append(safe(f"Not plain ASCII in an address: {', '.join(named)}{more}."))
    for label in re.findall(r"(?i)xn--[a-z0-9-]+", text)[:_NAMES_MAX]:
        try:
            read = label[4:].encode("ascii").decode("punycode")
        except UnicodeError:
            read = "nothing that can be read"
        found.append(safe(f"{label} is an encoded name. It reads: {read}."))
    return found


def _url(text: str) -> SplitResult | None:
    if "://" not in text or any(char.isspace() for char in text):
        return None
    try:
        url = urlsplit(text)
    except ValueError:
        return None
    return url if url.hostname else None


def _destination(url: SplitResult) -> list[str]:
    """What is odd about where a URL goes."""
    host = url.hostname or ""
    found = []
    if ("@" in url.netloc or url.username is not None) and not _AMBIGUOUS & set(url.netloc):
        found.append(safe(f"What stands before the @ is no host: {url.netloc.rpartition('@')[0]}."))
    if _AMBIGUOUS & set(url.netloc):
        found.append("Its host is written in a way that programs read differently.")
    try:
        port = url.port
    except ValueError:
        port = None
        found.append("Its port is no number.")
    if port is not None and port != _PORTS.get(url.scheme):
        found.append(f"It goes to port {port}.")
    if url.scheme != "https":
        found.append(safe(f"It is not https but {url.scheme}."))
    found += _foreign(host)
    if _is_number(host):
        found.append("Its host is a number and not a name.")
    return found


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # 2130706433, 0x7f.1 and 0177.0.0.1 are addresses too, to the programs that dial them.
        return re.fullmatch(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+)){0,3}", host) is not None
    return True
