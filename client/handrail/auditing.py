"""What auditors, privacy officers and whoever checks the log ask of a gateway; as in :mod:`handrail.operations`."""

import re
from dataclasses import replace
from typing import Final

from handrail.errors import MalformedError, UnexpectedReply
from handrail.exchange import Operation, Request, delete, get, listed, post
from handrail.times import Moment, asked_time
from handrail.views import Json

_TILE: Final = re.compile(r"tile/(?:entries|[0-9]{1,2})(?:/x[0-9]{3})*/[0-9]{3}(?:\.p/[0-9]{1,3})?")
ERASE_WAIT_SECONDS: Final = 30.0
"""An erasure of a principal waits for its plans to end."""


# --- the log ---------------------------------------------------------------------------------------------------------


def audit_entries(**filters: Moment | int | None) -> Operation[Json]:
    """One page of the log: ``{entries, next, tree_size, covers: {first, last, dropped}, matches, checkpoint, scope:
    {tenant, hands, types}}``; what is covered and counted is so within the scope.

    Filters: type, effect, context, plan, step, hand, action, principal, reason, control, policy (digest), since and
    until (a day, or a time with its zone). Then: after, limit, order (``oldest`` or ``newest`` first), count (``true``
    for ``matches``), and proofs (``true`` for ``checkpoint`` and a ``proof`` each;
    :func:`handrail.entries.verify_page`).
    """
    return (yield get("audit", "entries", query=filters)).document


def log_checkpoint(cosignatures: int | None = None) -> Operation[str]:
    """The log's newest checkpoint, *unverified*, or the newest that so many of its witnesses cosigned."""
    query = {} if cosignatures is None else {"cosignatures": str(cosignatures)}
    return (yield Request("GET", "/log/checkpoint", query)).text


def log_tile(path: str) -> Operation[bytes]:
    """A resource of the log (c2sp.org/tlog-tiles).

    Args:
        path: ``tile/0/x001/234.p/7``, or ``tile/entries/...`` for entries.
    """
    if not _TILE.fullmatch(path):
        raise MalformedError("not the path of a tile")
    return (yield Request("GET", f"/log/{path}")).body


def log_witnesses() -> Operation[Json]:
    """The log's witnesses, what each cosigned last, and what is wrong with it."""
    return (yield get("log", "witnesses")).document


def controls_report(framework: str, **asked: Moment | int | None) -> Operation[Json]:
    """What the log shows for each control of a framework, and what it lacks. Further: from, to, samples."""
    return (yield get("controls", "report", query={"framework": framework, **asked})).document


def access_review(at: Moment | None = None) -> Operation[Json]:
    """Who could do what at a date or time (RFC 3339); without one now, which is on record as an access review."""
    return (yield get("controls", "access-review", query={"at": at})).document


def processing_record(**asked: Moment | None) -> Operation[Json]:
    """The record of processing activities (GDPR, article 30). Further: from, to."""
    return (yield get("controls", "processing-record", query=asked)).document


# --- privacy ---------------------------------------------------------------------------------------------------------


def privacy_access(person: str, *, page: bool = False) -> Operation[bytes]:
    """Everything held about a person, as one JSON document, or as a page to read (Markdown)."""
    asked = {"person": person, "format": "markdown" if page else "json"}
    reply = yield post(asked, "privacy", "access")
    if reply.media_type != ("text/markdown" if page else "application/json"):
        raise UnexpectedReply(reply.status, "the answer is not an export")
    return reply.body


def privacy_preview(person: str) -> Operation[Json]:
    """What an erasure of a person's data would take, and what stays."""
    return (yield post({"person": person}, "privacy", "preview")).document


def privacy_erase(person: str, *, acts: bool = False) -> Operation[Json]:
    """Erase a person's data. From the answer on nothing of it opens; ``state`` is ``done`` when every copy is void."""
    asked = replace(post({"person": person, "acts": acts}, "privacy", "erasures"), wait_seconds=ERASE_WAIT_SECONDS)
    return (yield asked).document


def privacy_erasure(erasure_id: str) -> Operation[Json]:
    """How far an erasure is."""
    return (yield get("privacy", "erasures", erasure_id)).document


def privacy_hold(person: str, code: str, *, until: Moment | None = None) -> Operation[Json]:
    """Keep a person's data from being erased, for ever where there is no ``until``."""
    ends = None if until is None else asked_time(until)
    return (yield post({"person": person, "code": code, "until": ends}, "privacy", "holds")).document


def privacy_holds() -> Operation[list[Json]]:
    """Every hold that was not lifted."""
    return listed((yield get("privacy", "holds")), "holds")


def privacy_lift(hold_id: str) -> Operation[Json]:
    """End a hold."""
    return (yield delete("privacy", "holds", hold_id)).document
