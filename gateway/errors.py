"""The exception root. Each package derives its own family from it; third-party exceptions stop at the boundary."""

import re
from typing import Final

from gateway.reasons import TEXTS, Conflict, Reason, because

_LIKE_AN_ID: Final = re.compile(r"[A-Za-z0-9._:@/-]{1,256}")


class HandrailError(Exception):
    """Something was refused or could not be done.

    A client sees ``reason`` and its fixed ``text``; ``detail`` is for the operator's log alone and must hold no
    secret and no personal data.

    Attributes:
        reason: the closed reason code.
        detail: private explanation for the operator.
        facts: safe structured members for the client (a JSON pointer, a limit, a step id), never free text from input.
    """

    def __init__(self, reason: Reason, detail: str = "", /, **facts: str | int) -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.facts = facts

    @property
    def text(self) -> str:
        """The sentence a client may see."""
        return TEXTS[self.reason]


class Refused(HandrailError):
    """The caller's message or standing is at fault; sending the same again gives the same answer."""


class Malformed(Refused):
    """``request.malformed``: what cannot be read, where it is, and what should be there.

    One of ``pointer`` (RFC 6901, into the JSON body; empty for all of it) and ``parameter`` (of the query, the path or
    the headers; empty for a query that cannot be taken apart) is given.
    """

    def __init__(
        self,
        detail: str,
        /,
        *,
        expected: str,
        pointer: str | None = None,
        parameter: str | None = None,
        **facts: str | int,
    ) -> None:
        place = {"parameter": parameter or ""} if pointer is None else {"pointer": pointer}
        super().__init__(Reason.REQUEST_MALFORMED, detail, **facts, **place, expected=expected)


class Absent(Refused):
    """``request.not_found``: there is no such thing, or none that the caller may see; which of the two, nobody says."""

    def __init__(self, kind: str, named: str = "", detail: str = "") -> None:
        super().__init__(Reason.REQUEST_NOT_FOUND, detail or f"no {kind}", **absent(kind, named))


def absent(kind: str, named: str = "", *around: tuple[str, str]) -> dict[str, str | int]:
    """Facts of what is not there: its kind, its id where it looks like one, and the same in words.

    Args:
        named: the caller's own text, which is repeated to nobody else.
        around: kind and id of what it is a part of.
    """
    words = [f"{what} {text}" if _LIKE_AN_ID.fullmatch(text) else what for what, text in ((kind, named), *around)]
    facts: dict[str, str | int] = {"kind": kind, "why": f"There is no {' of '.join(words)} that you may see."}
    return {**facts, "id": named} if _LIKE_AN_ID.fullmatch(named) else facts


class Unavailable(HandrailError):
    """Handrail or something that it needs is not able to answer now; nothing was executed."""


class Uncertain(Unavailable):
    """The log was asked to commit and did not answer: what was appended may be durable, or not. Never assume either."""


class Mistaken(HandrailError):
    """A plan was judged by less than there is to know. Nothing of this round is on record; judge it again."""

    def __init__(self, detail: str = "the context was used before") -> None:
        super().__init__(Reason.REQUEST_CONFLICT, detail, **because(Conflict.RECORD_CHANGED))


class Outdated(Mistaken):
    """Another gateway wrote about the context or the principal after they were read, or something was frozen."""

    def __init__(self) -> None:
        super().__init__("another gateway wrote about the context or the principal meanwhile")


class Overtaken(HandrailError):
    """What an append must not have before it in the log is there: look again, and decide anew."""

    def __init__(self) -> None:
        super().__init__(Reason.REQUEST_CONFLICT, "overtaken by another entry", **because(Conflict.RECORD_CHANGED))
