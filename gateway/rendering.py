"""One exact call as a person reads it before they approve it: the same words on the page, at the terminal and in a
message.

Everything in a call may be an attacker's text. Nothing of it is obeyed: what is invisible, reorders or steers is
spelled out (``safe``), what looks like something else is pointed at (``lookalikes``). Nothing is left out unsaid: a
value that is too long is cut in its middle, with how much is missing and the digest of the whole. Nothing is redacted,
because what a person approves is what they must see.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from gateway.lookalikes import host_of, warnings_of
from gateway.manifest import ArgumentRole
from gateway.pointers import pointer, tokens
from gateway.safe import safe
from gateway.times import parse_time

HEAD_CHARACTERS: Final = 1_600
TAIL_CHARACTERS: Final = 400
"""What is shown of a longer value: most of its beginning, and its end, where something could be appended."""
ARGUMENTS_MAX: Final = 200
"""Values shown of one call; the digest of all of them is shown beside."""
WORDS_MAX_CHARACTERS: Final = 600
"""Of what a policy or a tool says about a call."""

STATES: Final[Mapping[str, str]] = {
    "open": "Waits for people",
    "granted": "Approved",
    "refused": "Refused",
    "expired": "Expired: nobody approved in time",
    "voided": "Void: what was to be approved has changed, or can no longer happen",
}
"""State of a request -> what it means."""
_ANSWERED: Final[Mapping[str, str]] = {"approve": "approved", "refuse": "refused"}

_BAR: Final = "  | "
_BAR_GOES_ON: Final = "  : "
_KINDS: Final[Mapping[type, str]] = {str: "text", bool: "yes or no", int: "number", float: "number", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Cut:
    """What is not shown of a value."""

    characters: int
    """Not shown."""
    of: int
    sha256: str
    """Hex, over the UTF-8 of the whole text."""

    def __str__(self) -> str:
        return f"[{self.characters:,} of {self.of:,} characters are not shown; SHA-256 of the whole: {self.sha256}]"


@dataclass(frozen=True, slots=True)
class Argument:
    """One value of the call. Every text of it is safe to show.

    Attributes:
        name: JSON pointer (RFC 6901) into the args.
        kind: ``text``, ``number``, ``yes or no``, ``null``, ``empty list`` or ``empty object``.
        head: the value, or where it is cut its beginning; may hold line feeds.
        tail: the end of a value that is cut.
        host: where the value goes, if it is a URL.
    """

    name: str
    kind: str
    head: str
    cut: Cut | None = None
    tail: str = ""
    role: str | None = None
    host: str | None = None
    warnings: tuple[str, ...] = ()

    def lines(self, width: int) -> Iterator[str]:
        """The argument as plain text of ``width`` columns.

        Each line of a value stands behind a bar, so that no value can look like the name of the next one.
        """
        role = "" if self.role is None else f", {self.role}"
        yield f"{self.name} ({self.kind}{role})"
        yield from _barred(self.head, width)
        if self.cut is not None:
            yield f"  {self.cut}"
            yield from _barred(self.tail, width)
        if self.host is not None:
            yield f"  > goes to the host {self.host}"
        for warning in self.warnings:
            yield f"  ! {warning}"


@dataclass(frozen=True, slots=True)
class Rendering:
    """An approval request, readable. Every text of it is safe to show.

    Attributes:
        call: hand and action.
        standing: sentences on how far the request is, the first of its state; see :func:`standing`.
        facts: label and value, in the order in which a person asks.
        reasons: why a person is asked, each with its code.
        arguments: ``None`` where the args cannot be shown any more.
        left_out: values beyond :data:`ARGUMENTS_MAX`.
    """

    call: str
    standing: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    arguments: tuple[Argument, ...] | None
    left_out: int = 0
    args_sha256: str = ""
    warnings: tuple[str, ...] = field(default=())

    def text(self, width: int = 100) -> str:
        """All of it, as plain text for ``width`` columns."""
        column = max((len(label) for label, _ in self.facts), default=0)
        lines = [*self.standing, ""]
        lines += [f"{label:<{column}}  {value}" for label, value in self.facts]
        lines += [f"why: {reason}" for reason in self.reasons]
        lines += [f"! {warning}" for warning in self.warnings]
        if self.arguments is None:
            lines.append("The arguments cannot be shown: they were erased.")
        else:
            lines += ["", "the exact arguments:" if self.arguments else "no arguments"]
            for argument in self.arguments:
                lines += argument.lines(width)
            if self.left_out:
                lines.append(left_out(self.left_out, self.args_sha256))
        return "\n".join(lines)


def left_out(count: int, args_sha256: str) -> str:
    """The sentence in place of what is not shown."""
    shown = _count(count, "more value is", "more values are")
    return f"[{shown} not shown; SHA-256 of all arguments: {args_sha256}]"


def render(approval: Mapping[str, Any], *, whole: bool = False) -> Rendering:
    """The readable form of an approval request, as ``GET /v1/approvals/{id}`` answers it.

    Args:
        whole: cut no value and leave none out.
    """
    binding = approval.get("binding") or {}
    args_sha256 = safe(binding.get("args_sha256", ""))
    args = approval.get("args")
    arguments: tuple[Argument, ...] | None = None
    count = 0
    if isinstance(args, Mapping):
        roles = {str(pointer): str(role) for pointer, role in (approval.get("roles") or {}).items()}
        found = list(_values(args, ()))
        shown = found if whole else found[:ARGUMENTS_MAX]
        arguments = tuple(_argument(path, value, roles, whole=whole) for path, value in shown)
        count = len(found) - len(shown)
    return Rendering(
        call=f"{_words(approval.get('hand'))} {_words(approval.get('action'))}".strip(),
        standing=tuple(standing(approval)),
        facts=tuple(_facts(approval, args_sha256)),
        reasons=tuple(_reason(reason) for reason in approval.get("reasons") or ()),
        arguments=arguments,
        left_out=count,
        args_sha256=args_sha256,
        warnings=tuple(_warnings(approval, arguments, count)),
    )


def moment(when: Any) -> str:
    """A time for people, in UTC; empty where it is none.

    Args:
        when: as the API writes it, or seconds since the epoch, as signed JSON has them.
    """
    seconds = when
    if isinstance(when, str):
        try:
            seconds = parse_time(when)
        except ValueError:
            return ""
    if not isinstance(seconds, int | float) or not 0 <= seconds < 253_402_300_800:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def progress(approval: Mapping[str, Any]) -> str:
    """How far a request is: ``1 of 2``."""
    given = sum(answer.get("answer") == "approve" for answer in approval.get("answers") or ())
    return f"{given} of {approval.get('quorum', 1)}"


def standing(approval: Mapping[str, Any]) -> Iterator[str]:
    """How far a request is, in sentences: its state, what the viewer said to it, and what was opened in its stead."""
    status = str(approval.get("status"))
    yield f"{STATES.get(status, safe(status))}."
    said = _ANSWERED.get(str(approval.get("your_answer")))
    if said is not None and status == "open":
        yield f"You have answered: you {said}. Approvals so far: {progress(approval)}."
    elif said is not None:
        yield f"You {said} it."
    if approval.get("successor"):
        yield f"The call is asked about in another request: {_words(approval['successor'])}."


def _facts(approval: Mapping[str, Any], args_sha256: str) -> Iterator[tuple[str, str]]:
    facts: dict[str, Any] = {
        "hand": _words(approval.get("hand")),
        "action": _words(approval.get("action")),
        "the tool says": _words(approval.get("description")),
        "side effects": _words(approval.get("side_effects")),
        "asked by": _words(approval.get("requested_by")),
        "acts for": _words(approval.get("acts_for")),
        "asked": moment(approval.get("requested_at")),
        "expires": moment(approval.get("expires_at")),
        "status": _words(approval.get("status")),
        "approvals": progress(approval),
        "approver role": _words(approval.get("approver_role")),
        "own key": "required" if approval.get("enrolled_key") else "",
        "context": _words(approval.get("context_id")),
        "plan": _words(approval.get("plan_id")),
        "step": _words(approval.get("step_id")),
        "args sha256": args_sha256,
    }
    yield from ((label, value) for label, value in facts.items() if value)


def _warnings(approval: Mapping[str, Any], arguments: tuple[Argument, ...] | None, left_out_: int) -> Iterator[str]:
    if (approval.get("asked") or 1) > 1:
        void = len(approval.get("void_answers") or ())
        answers = "" if not void else f" {_count(void, 'answer given before is', 'answers given before are')} void."
        yield f"The policy was changed since this was first asked, and asks the same again.{answers}"
    if approval.get("side_effects") in {"irreversible", "external"}:
        yield f"This cannot be taken back: its side effects are {approval['side_effects']}."
    cut = sum(argument.cut is not None for argument in arguments or ())
    if cut:
        yield f"{_count(cut, 'value is', 'values are')} cut below. An approval is for the whole."
    if left_out_:
        yield f"{_count(left_out_, 'value is', 'values are')} left out below. An approval is for all of them."
    marked = [argument.name for argument in arguments or () if argument.warnings]
    if marked:
        more = f" and {len(marked) - 8} more" if len(marked) > 8 else ""
        yield f"Look twice at: {', '.join(marked[:8])}{more}."


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _reason(reason: Mapping[str, Any]) -> str:
    code, message = _words(reason.get("code")), _words(reason.get("message"))
    return f"{message} ({code})" if message else code


def _values(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every scalar and every empty container, in the order of the document."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _values(item, (*path, str(name)))
    elif isinstance(value, list | tuple) and value:
        for number, item in enumerate(value):
            yield from _values(item, (*path, str(number)))
    elif path or not isinstance(value, Mapping):
        yield path, value


def _argument(path: tuple[str, ...], value: Any, roles: Mapping[str, str], *, whole: bool) -> Argument:
    role = next((role for pattern, role in roles.items() if _matches(pattern, path)), None)
    name = _words(pointer(path))
    cut: Cut | None = None
    tail = ""
    host: str | None = None
    found: list[str] = []
    if isinstance(value, str):
        kind, text = _KINDS[str], value
        known = ArgumentRole(role) if role in set(ArgumentRole) else None
        host, found = host_of(value), warnings_of(value, known)
        if len(value) > HEAD_CHARACTERS + TAIL_CHARACTERS and not whole:
            text, tail = value[:HEAD_CHARACTERS], value[-TAIL_CHARACTERS:]
            digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
            cut = Cut(len(value) - len(text) - len(tail), len(value), digest)
        elif not value:
            kind, text = "empty text", ""
    elif isinstance(value, Mapping | list | tuple):
        kind, text = ("empty object" if isinstance(value, Mapping) else "empty list"), ""
    else:
        kind, text = _KINDS.get(type(value), "value"), json.dumps(value)
    return Argument(
        name,
        kind,
        safe(text, lines=True),
        cut,
        safe(tail, lines=True),
        None if role is None else safe(role),
        host,
        tuple(found),
    )


def _matches(pattern: str, path: tuple[str, ...]) -> bool:
    """Whether the pointer ``pattern`` names ``path`` or something around it; ``*`` is any one part."""
    parts = tokens(pattern)
    return len(parts) <= len(path) and all(part in ("*", item) for part, item in zip(parts, path, strict=False))


def _words(value: Any) -> str:
    """A short text on one line; what is cut is said."""
    text = "" if value is None else str(value)
    if len(text) <= WORDS_MAX_CHARACTERS:
        return safe(text)
    return f"{safe(text[:WORDS_MAX_CHARACTERS])} [{len(text) - WORDS_MAX_CHARACTERS:,} more characters are not shown]"


def _barred(text: str, width: int) -> Iterator[str]:
    """Lines behind a bar. What is wider than the rest of its line is broken here, and marked where it goes on: a
    terminal would begin the next line without the bar.
    """
    room = max(width - len(_BAR), 16)
    for line in text.split("\n"):
        bar, piece, used = _BAR, "", 0
        for char in line:
            columns = 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
            if used + columns > room:
                yield bar + piece
                bar, piece, used = _BAR_GOES_ON, "", 0
            piece, used = piece + char, used + columns
        yield bar + piece
