"""Answers that come in pages: where the next one is, and all of them as one result.

An answer says where the next page is, and an answer is not to be trusted: a page is asked for at the same origin and
below the base URL, or not at all, so that no answer can have the gateway's credentials sent somewhere else.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from yarl import URL

from gateway.calls import HandResult
from gateway.canonical import canonical
from gateway.pointers import tokens
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import PaginationSettings
from hand_adapters.contract import HandError

CURSOR_MAX: Final = 4096
"""Characters of a cursor."""
LINK_MAX: Final = 8192
"""Characters of a ``Link`` header."""


def following(paging: PaginationSettings, base: str, first: URL, last: URL, link: str, structured: Any) -> URL | None:
    """Where the page after the one at ``last`` is, or ``None`` where that was the last one.

    Args:
        base: the hand's base URL.
        first: the URL of the first page, before secrets were added to it.
        link: the ``Link`` header of the answer, empty where it has none.
        structured: the JSON of the answer.

    Raises:
        HandError: ``hand.protocol``, executed: a next page somewhere else, or an answer that is not as declared.
    """
    if paging.by == "link":
        target = next_link(link)
        return None if target is None else _inside(base, last, target)
    parameter = paging.parameter or ""
    if paging.by == "cursor":
        cursor = _at(structured, paging.cursor or "")
        if cursor in (None, "", False):
            return None
        if isinstance(cursor, bool) or not isinstance(cursor, str | int) or len(str(cursor)) > CURSOR_MAX:
            raise _broken("a cursor that is none")
        return _with(first, parameter, str(cursor))
    items = _at(structured, paging.items or "")
    if not isinstance(items, list):
        raise _broken("a page without its list")
    if not items:
        return None
    start = 0 if paging.by == "offset" else paging.first
    given = dict(parse_qsl(last.raw_query_string)).get(parameter, str(start))
    if not given.isascii() or not given.isdecimal() or len(given) > 15:
        raise _broken("a place in the list that is no number")
    return _with(first, parameter, str(int(given) + (len(items) if paging.by == "offset" else 1)))


def joined(pages: Sequence[Any], *, complete: bool) -> HandResult:
    """Pages as one result: ``structured`` is ``{"pages": [...], "complete": bool}``, and the same as one text block."""
    structured = {"pages": list(pages), "complete": complete}
    return HandResult(({"type": "text", "text": canonical(structured).decode("utf-8")},), structured)


def result_schema(page: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The schema of :func:`joined` for pages of a schema; its definitions stay where references find them."""
    if page is None:
        return None
    inner = {key: value for key, value in page.items() if key != "$defs"}
    return {
        "type": "object",
        "properties": {"pages": {"type": "array", "items": inner}, "complete": {"type": "boolean"}},
        "required": ["pages", "complete"],
        **({"$defs": page["$defs"]} if "$defs" in page else {}),
    }


def next_link(header: str) -> str | None:
    """The target of the link whose relation is ``next`` (RFC 8288 section 3), or ``None``.

    Raises:
        HandError: ``hand.protocol``, executed: a header that is none, or two next pages.
    """
    if len(header) > LINK_MAX:
        raise _broken("a Link header beyond measure")
    found: list[str] = []
    rest = header.strip()
    while rest:
        if not rest.startswith("<") or ">" not in rest:
            raise _broken("a Link header that is none")
        target, _, rest = rest[1:].partition(">")
        parameters, rest = _parameters(rest)
        if "next" in parameters.get("rel", "").lower().split():
            found.append(target)
    if len(found) > 1:
        raise _broken("two next pages")
    return found[0] if found else None


def _parameters(text: str) -> tuple[dict[str, str], str]:
    """``; name=value`` pairs in front of ``text``, the first of a name counting, and what comes after the comma."""
    found: dict[str, str] = {}
    text = text.lstrip()
    while text.startswith(";"):
        name, value, text = _parameter(text[1:].lstrip())
        found.setdefault(name.lower(), value)
        text = text.lstrip()
    if text and not text.startswith(","):
        raise _broken("a Link header that is none")
    return found, text[1:].lstrip(" \t,")


def _parameter(text: str) -> tuple[str, str, str]:
    end = min((place for mark in "=;," if (place := text.find(mark)) >= 0), default=len(text))
    name, text = text[:end].strip(), text[end:]
    if not text.startswith("="):
        return name, "", text
    text = text[1:].lstrip()
    if not text.startswith('"'):
        end = min((place for mark in ";," if (place := text.find(mark)) >= 0), default=len(text))
        return name, text[:end].strip(), text[end:]
    value, place = "", 1
    while place < len(text) and text[place] != '"':
        place += text[place] == "\\"
        value += text[place : place + 1]
        place += 1
    if place >= len(text):
        raise _broken("a Link header that is none")
    return name, value, text[place + 1 :]


def _inside(base: str, last: URL, target: str) -> URL:
    """A link's target, resolved against the page that holds it (RFC 3986 section 5), at the hand's origin and below its
    base URL."""
    if not target.isascii() or any(character <= " " or character in '\\<>"{}|^`\x7f' for character in target):
        raise _broken("a next page that is no URL")
    try:
        found, root = last.join(URL(target, encoded=True)), URL(base.rstrip("/"), encoded=True)
        same = (found.scheme, found.raw_host, found.port) == (root.scheme, root.raw_host, root.port)
    except ValueError:
        raise _broken("a next page that is no URL") from None
    path = found.raw_path.lower()
    below = found.raw_path.startswith(f"{root.raw_path.rstrip('/')}/")
    climbs = any(step in {".", "..", "%2e", "%2e%2e", ".%2e", "%2e."} for step in path.split("/"))
    if not same or not below or climbs or "%2f" in path or "%5c" in path or found.user or found.password:
        raise _broken("a next page somewhere else")
    return found.with_fragment(None) if found.fragment else found


def without(url: URL, names: Sequence[str]) -> URL:
    """``url`` less the query parameters of these names: an API may repeat in a link the key that it was sent."""
    return _of(url, [pair for pair in _pairs(url) if pair[0] not in names])


def _with(url: URL, parameter: str, value: str) -> URL:
    return _of(url, [*(pair for pair in _pairs(url) if pair[0] != parameter), (parameter, value)])


def _pairs(url: URL) -> list[tuple[str, str]]:
    return parse_qsl(url.raw_query_string, keep_blank_values=True, errors="surrogateescape")


def _of(url: URL, pairs: Sequence[tuple[str, str]]) -> URL:
    query = "&".join("=".join(quote(text, safe="", errors="surrogateescape") for text in pair) for pair in pairs)
    return URL(f"{str(url).partition('?')[0]}{'?' if query else ''}{query}", encoded=True)


def _at(value: Any, pointer: str) -> Any:
    for token in tokens(pointer):
        if not isinstance(value, Mapping) or token not in value:
            return None
        value = value[token]
    return value


def _broken(detail: str) -> HandError:
    return HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, detail)
