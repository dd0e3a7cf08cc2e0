"""What is stopped."""

from handrail.exchange import Operation, get, listed, post
from handrail.views import Json


def freezes(*, lifted: bool = False) -> Operation[list[Json]]:
    """What is frozen, oldest first; with ``lifted`` also what was."""
    return listed((yield get("freezes", query={"lifted": "true"} if lifted else None)), "freezes")


def freeze(scope: str, subject: str | None = None, *, cause: str = "other", why: str | None = None) -> Operation[Json]:
    """Stop a hand, a principal, a context (``subject``: its id) or ``all``, at once."""
    body = {"scope": scope, "subject": subject, "cause": cause, "why": why}
    return (yield post({name: value for name, value in body.items() if value is not None}, "freezes")).document
