"""Values as they are compared: one spelling for texts, e-mail addresses and URLs, and where one stands inside another.

Texts are compared under Unicode NFKC and case folding, with runs of white space as one space (UAX 15, Unicode 3.13).
Invisible characters are kept: an address with one in it is another address. Everything here is pure, and linear in the
length of the text: patterns have bounded repetitions and start only where a run of letters does.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

from gateway.pointers import escape

DEPTH_MAX: Final = 64
"""Reference tokens by which a scalar is told; what lies deeper is told by as many."""
LINK_MAX: Final = 2048
"""Characters of a URL that are looked at; one that is cut off is another one."""

LINKS_MAX: Final = 4096
"""Links of one text that are looked at."""

PIECE: Final = 16_384
"""Characters that are looked at in one go. A thread that does so lets nobody else run until it is done with a piece."""

_REACH: Final = 4096
"""More characters than a link can have, and one to see that it ends."""
_PARTS_MAX: Final = 256
_SPACE: Final = re.compile(r"\s+")
_LABEL: Final = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_NAME: Final = rf"(?:{_LABEL}\.){{1,8}}[^\W\d_](?:[\w-]{{0,61}}[^\W_])?"
_EMAIL: Final = re.compile(rf"(?<![\w.+%'-])[\w.+%'-]{{1,64}}@{_NAME}(?![\w@-])")
_URL: Final = re.compile(
    r"(?<![\w@.-])"
    r"(?:(?P<scheme>https?|wss?|ftps?)://(?:(?P<user>[^\s/?#@<>\"']{1,128})@)?"
    rf"(?P<any>{_NAME}|{_LABEL}|[0-9.]{{7,15}}|\[[0-9A-Fa-f:.]{{2,45}}\])"
    rf"|(?P<bare>{_NAME})(?!@))"
    r"\.?(?::(?P<port>[0-9]{1,5})(?![0-9]))?"
    r"(?P<rest>[/?#][^\s<>\"`]{0,2048})?",
    re.IGNORECASE,
)
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_NEXT_SENTENCE: Final = re.compile(r"([^/?#]{1,512}[a-z])\.[A-Z][a-z]*$")
"""``www.site.example.They``: perhaps a name, and perhaps a full stop that no space follows."""
_ADDRESSES: Final = re.compile(r"[,;]")
_NAMED: Final = re.compile(r"[^<>]{0,256}<([^<>\s]{3,320})>")
_SEPARATORS: Final = re.compile(r"[\s./()-]")
_NUMBERED: Final = re.compile(r"[+\w\s./()-]{6,64}")
_ENDING: Final = ".,;:!?'*_~|"
_BRACKETS: Final = {")": "(", "]": "[", "}": "{"}
_JOINERS: Final = frozenset("@.-+%/\\~")
"""Between two letters or digits these make one token of them."""
_DEFAULT_PORTS: Final = {"80", "443"}
_FILE: Final = re.compile(
    r"(?:bak|bat|bin|cc?|cfg|conf|cpp|css?|csv|db|dll|docx?|env|exe|gif|go|gz|h|hpp|html?|ico|ini|ipynb|java|jpe?g|jsx?|"
    r"json|kt|lock|log|md|mp[34]|odt|pdf|php|pkl|png|pptx?|ps1|py|rb|rst?|rtf|sh|sql|svg|swift|tar|tex|tgz|toml|tsx?|tsv|"
    r"txt|wav|whl|xlsx?|xml|ya?ml|zip)",
    re.IGNORECASE,
)
"""Endings of file names. A bare name that ends so is a file; with a scheme, ``www.`` or a path it is a link."""


@dataclass(frozen=True, slots=True)
class Link:
    """A URL or an e-mail address, in its one spelling.

    Attributes:
        explicit: written so that nobody could take it for something else: an address, or a URL with a scheme, ``www.``
            or a path.
    """

    canonical: str
    explicit: bool = True


def scalar_text(value: Any) -> str | None:
    """A JSON scalar as text; ``None`` for what names nothing (booleans, null, containers)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def plain(text: str) -> str:
    """The spelling under which texts are compared."""
    folded = "".join(map(_folded, pieces(text)))
    while "  " in folded:  # where pieces met
        folded = folded.replace("  ", " ")
    return folded.strip()


def _folded(text: str) -> str:
    folded = text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return _SPACE.sub(" ", folded)


def pieces(text: str) -> Iterator[str]:
    """``text`` cut before blanks and line ends, where nothing that is looked for goes on, and no character is one with
    the next (UAX 15). A piece is longer than :data:`PIECE` only where there is none of these."""
    start = 0
    while len(text) - start > PIECE:
        end = max(text.rfind(blank, start + 1, start + PIECE) for blank in " \n")
        if end < 0:
            following = [at for at in (text.find(blank, start + PIECE) for blank in " \n") if at > 0]
            if not following:
                break
            end = min(following)
        yield text[start:end]
        start = end
    yield text[start:]


def link(text: str) -> Link | None:
    """The URL or address that the whole of ``text`` is, if it is one; ``mailto:`` and angle brackets fall away."""
    text = unicodedata.normalize("NFKC", text).strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if text[:7].lower() == "mailto:":
        text = text[7:].partition("?")[0]
    if _EMAIL.fullmatch(text):
        return Link(_address(text))
    found = _URL.fullmatch(text)
    return None if found is None else _url(found, whole=True)


def links(text: str) -> Iterator[Link]:
    """Every URL and address that stands in ``text``: of each kind the first :data:`LINKS_MAX`."""
    if "." not in text and "://" not in text:
        return
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", piece) for piece in pieces(text))
    if "@" in text:
        for found in islice(_each(_EMAIL, text), LINKS_MAX):
            yield Link(_address(found[0].lstrip("'.")))
    for found in islice(_each(_URL, text), LINKS_MAX):
        seen = _url(found, whole=False)
        if seen is not None:
            yield seen
        sentence = _NEXT_SENTENCE.match(found[0])
        if sentence is not None and (seen := link(sentence[1])) is not None:
            yield seen


def _each(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """As ``finditer``, which would look for the next match to the end of the text in one go."""
    at = 0
    while at < len(text):
        found = pattern.search(text, at, at + PIECE + _REACH)
        if found is None or found.start() >= at + PIECE:
            at += PIECE
        else:
            yield found
            at = found.end()


def recipients(text: str) -> list[str]:
    """The single recipients of a text that names several: ``A <a@x>, b@y`` are ``a@x`` and ``b@y``. A text that names
    no address is one recipient as it stands."""
    parts = [part.strip() for part in _ADDRESSES.split(text)] if "@" in text else [text]
    named = (_NAMED.fullmatch(part) for part in parts)
    return [part if found is None else found[1] for part, found in zip(parts, named, strict=True) if part]


def compact(text: str) -> str | None:
    """A number that people write in groups (an account, a card, a telephone) in one piece; ``None`` for others."""
    if not _NUMBERED.fullmatch(text):
        return None
    packed = _SEPARATORS.sub("", text)
    return packed if sum(map(str.isdigit, packed)) >= 6 else None


def unseparated(text: str) -> str:
    """``text`` without what may stand between the groups of a number: whatever :func:`grouped_in` finds is in it."""
    return "".join(_SEPARATORS.sub("", text[at : at + PIECE]) for at in range(0, len(text), PIECE))


def stands_in(token: str, text: str, *, unsure: bool = False) -> bool:
    """Whether ``token`` stands in ``text`` as a whole, and is not a part of a longer name, address or path. Both are
    :func:`plain`. A text that holds it as a part ever and again is not searched to the end: then the answer is
    ``unsure``."""
    at = text.find(token)
    for _ in range(_PARTS_MAX):
        if at < 0:
            return False
        if _free(text, at - 1, -1) and _free(text, at + len(token), 1):
            return True
        at = text.find(token, at + 1)
    return unsure


def grouped_in(number: str, text: str) -> bool:
    """Whether a :func:`compact` number stands in ``text``, in whatever groups."""
    pattern = r"[\s./()-]{0,2}".join(map(re.escape, number))
    return re.search(rf"(?<![\w.-]){pattern}(?!\w|[.-]\w)", text) is not None


def _free(text: str, at: int, step: int) -> bool:
    """Whether no token goes on at ``at``, looking in the direction of ``step``."""
    if not 0 <= at < len(text):
        return True
    if _is_word(text[at]):
        return False
    beyond = at + step
    return not (text[at] in _JOINERS and 0 <= beyond < len(text) and _is_word(text[beyond]))


def _is_word(character: str) -> bool:
    return character == "_" or character.isalnum()


def _address(text: str) -> str:
    local, _, domain = text.rpartition("@")
    return f"{local.casefold()}@{_host(domain)}"


def _host(name: str) -> str:
    name = name.casefold().rstrip(".")
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _url(found: re.Match[str], *, whole: bool) -> Link | None:
    """The one spelling of a URL. http, https and no scheme are one; the default ports, an empty path and a dot at the
    end of the host fall away; ``%`` escapes of what needs none are written out (RFC 3986 section 6.2)."""
    rest = found["rest"] or ""
    if not whole:
        rest = _without_ending(rest)
    host = found["any"] or found["bare"]
    explicit = bool(found["scheme"]) or host[:4].casefold() == "www." or len(rest) > 1
    if not explicit and _FILE.fullmatch(host.rpartition(".")[2]):
        return None
    scheme = (found["scheme"] or "http").casefold()
    scheme = "" if scheme in {"http", "https"} else f"{scheme}://"
    user = f"{found['user']}@" if found["user"] else ""
    port = f":{found['port']}" if found["port"] and found["port"] not in _DEFAULT_PORTS else ""
    path, mark, query = _split(_ESCAPE.sub(_unescape, rest) if "%" in rest else rest)
    path = _without_dots(path)
    return Link(f"{scheme}{user}{_host(host)}{port}{'' if path == '/' else path}{mark}{query}"[:LINK_MAX], explicit)


def _unescape(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character.isascii() and (character.isalnum() or character in "-._~") else found[0].upper()


def _split(rest: str) -> tuple[str, str, str]:
    for at, character in enumerate(rest):
        if character in "?#":
            return rest[:at], character, rest[at + 1 :]
    return rest, "", ""


def _without_dots(path: str) -> str:
    """RFC 3986 section 5.2.4."""
    if "/." not in path:
        return path
    kept: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == "..":
            kept[-1:] = []
        elif part != ".":
            kept.append(part)
    end = "/" if parts[-1] in {".", ".."} and kept else ""
    return "/" + "/".join(kept) + end


def _without_ending(rest: str) -> str:
    """A path as a sentence around it leaves it: without the full stop, and without a bracket that opened before it."""
    while rest:
        last = rest[-1]
        if last in _ENDING or (last in _BRACKETS and rest.count(last) > rest.count(_BRACKETS[last])):
            rest = rest[:-1]
        else:
            break
    return rest


def scalars(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every scalar with its reference tokens; the names of members too, which a hostile server may choose. A text block
    that is JSON is taken apart as such: many tools return their structure so."""
    if len(path) > DEPTH_MAX:
        yield from ((path, text) for text in _texts_of(value))
    elif isinstance(value, Mapping):
        for name, member in value.items():
            here = (*path, escape(name))
            if path:
                yield here, name
            yield from scalars(member, here)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from scalars(item, (*path, str(index)))
    else:
        text = scalar_text(value)
        if text is None:
            return
        inner = _json(text) if path[:1] == ("content",) and path[-1] == "text" else None
        if inner is None:
            yield path, text
        else:
            yield from scalars(inner, path)


def _texts_of(value: Any) -> Iterator[str]:
    """Names and scalars of what lies deeper than anybody has a trusted field, in any order."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, Mapping):
            rest += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            rest += one
        elif (text := scalar_text(one)) is not None:
            yield text


def _json(text: str) -> Any:
    if text.lstrip(" \t\r\n")[:1] not in {"[", "{"}:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    try:
        return json.loads(text, object_pairs_hook=_members)
    except (RecursionError, ValueError):  # nested more deeply, or a number longer, than this reader takes
        return value


def _members(pairs: list[tuple[str, Any]]) -> Any:
    """An object; where a name is there twice each member by itself, for a model reads all of them."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else [{name: value} for name, value in pairs]
