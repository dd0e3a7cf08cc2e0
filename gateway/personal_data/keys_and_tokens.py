"""Keys and tokens in a text, found by their forms, as the text is spelt and as it is read, and the text without them.

The work is linear in the text: each form is looked for by itself, so that none that goes on for long is begun again
behind each find of another one.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import re2

from gateway.personal_data.folding import View, fold
from gateway.personal_data.json_texts import parts, replaced
from gateway.personal_data.recognisers import marker
from gateway.secret_forms import BEFORE, FORMS, PASSWORDS, PREFIXES

SECRET_KIND: Final = "secret"  # noqa: S105
"""How keys and tokens are named beside the kinds of personal data."""
MARK: Final = marker(SECRET_KIND)
_NESTED_MAX: Final = 16
"""JSON in JSON that is taken apart; what lies deeper is one text."""

_PRIVATE_KEY: Final = "private_key"
_MORE: Final = {
    "azure": "[0-9A-Za-z+/]*=*",
    "bearer": r"[0-9A-Za-z_-]*(?:\.[0-9A-Za-z_-]+)*",
}
"""How a key may go on behind its form, where that is not as most do."""
_MOST: Final = "[0-9A-Za-z_-]*"


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode("ascii"), options)


def _whole(kind: str, form: str) -> Any:
    """A pattern whose first group is all of a key."""
    before = BEFORE if form.startswith(BEFORE) else ""
    return _compile(f"{before}((?:{form.removeprefix(before)}){_MORE.get(kind, _MOST)})")


_WHOLE: Final = (
    *(_whole(kind, form) for kind, form in FORMS.items() if kind != _PRIVATE_KEY),
    _compile(rf"{BEFORE}((?:{PREFIXES})[\w-]{{16,}})"),
    _compile(PASSWORDS.replace("://", "://(").removesuffix("@") + ")@"),
)
_PUBLISHED: Final = _compile("|".join(FORMS.values()))
_ANY: Final = _compile("|".join((*FORMS.values(), rf"{BEFORE}(?:{PREFIXES})[\w-]{{16}}", PASSWORDS)))

_MARKED: Final = _compile(f"(?:-{{5}}(BEGIN|END) [0-9A-Za-z ]*)?(?:{FORMS[_PRIVATE_KEY]})")
_ENDED: Final = _compile(f"-{{5}}END [0-9A-Za-z ]*(?:{FORMS[_PRIVATE_KEY]})|Private-MAC: *[0-9a-f]+")
_LINE: Final = re.compile(rb"[0-9A-Za-z+/=\\\s]*")
_WITHIN_LINE: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/="
_LINE_ENDS: Final = ((rb"\n", b" \n"), (rb"\r", b" \n"))
"""Ends of lines that are spelt as escapes, and as bytes of the same number."""


def published(text: str) -> bool:
    """Whether a text holds a key or token of a published form."""
    return any(_PUBLISHED.search(view.folded) is not None for view in _views(text))


def without(text: str, nested: int = 0) -> str:
    """A text without its keys and tokens; the very same where there are none. Of JSON what says none stays as it is."""
    if not _holds_any(text):
        return text
    found = parts(text, _NESTED_MAX) if nested < _NESTED_MAX else None
    if found is not None:
        text = replaced(text, found, lambda part: without(part.says, nested + 1) if _is_text(part) else part.says)
    pieces: list[str] = []
    last = 0
    for start, end in _apart(text):
        pieces += (text[last:start], MARK)
        last = end
    return "".join((*pieces, text[last:]))


def _is_text(part: Any) -> bool:
    return isinstance(part.says, str)


def _holds_any(text: str) -> bool:
    return any(_ANY.search(view.folded) is not None for view in _views(text))


def _views(text: str) -> Iterator[View]:
    """The text as it is spelt, and as it is read where that is something else."""
    spelt = View(text.encode("ascii", "replace"))
    yield spelt
    read = fold(text)
    if read.folded != spelt.folded:
        yield read


def _apart(text: str) -> Iterator[tuple[int, int]]:
    """Where there is one; what overlaps is one."""
    found = sorted(view.span(*span) for view in _views(text) for span in _spans(view.folded))
    begin, stop = found[0] if found else (0, 0)
    for start, end in found[1:]:
        if start < stop:
            stop = max(stop, end)
        else:
            yield begin, stop
            begin, stop = start, end
    if found:
        yield begin, stop


def _spans(view: bytes) -> Iterator[tuple[int, int]]:
    if _ANY.search(view) is None:
        return
    for pattern in _WHOLE:
        for match in pattern.finditer(view):
            yield match.span(1)
    yield from _private_keys(view)


def _private_keys(view: bytes) -> Iterator[tuple[int, int]]:
    """From where one is said to begin to where it is said to end, or to the end of the text; of one whose beginning is
    not there, the lines before its end."""
    if _MARKED.search(view) is None:
        return
    for spelt, line_end in _LINE_ENDS:
        view = view.replace(spelt, line_end)
    last = 0
    while (mark := _MARKED.search(view, last)) is not None:
        start, end = mark.span()
        if mark[1] == b"END":
            start = _lines_before(view, last, start)
        else:
            closing = _ENDED.search(view, end)
            end = len(view) if closing is None else closing.end()
        yield start, end
        last = end


def _lines_before(view: bytes, floor: int, end: int) -> int:
    """Where the lines of base64 begin that stand right before ``end``."""
    at = end
    while at > floor:
        begin = max(view.rfind(b"\n", floor, at - 1) + 1, floor)
        if _LINE.fullmatch(view, begin, at) is None:
            return begin + len(view[begin:at].rstrip().rstrip(_WITHIN_LINE))
        at = begin
    return at
