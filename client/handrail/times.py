"""Moments as the gateway's API writes and takes them (RFC 3339)."""

import re
from datetime import UTC, datetime
from typing import Final

from handrail.errors import MalformedError

Moment = datetime | str
"""What the client takes for a time: one with its zone, or text as RFC 3339 writes it."""

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def parse_time(text: object) -> datetime:
    """A time of an answer (``2026-11-21T02:14:33.120Z``), with its zone.

    Raises:
        MalformedError: it is none.
    """
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        raise MalformedError("not a time as RFC 3339 writes it")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise MalformedError("not a time as RFC 3339 writes it") from None


def written(seconds: int) -> str:
    """A time of signed JSON (NumericDate, RFC 7519 section 2) as answers write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def asked_time(moment: Moment) -> str:
    """A time as a request carries it.

    Raises:
        MalformedError: it has no zone, and could mean any of two dozen.
    """
    if isinstance(moment, str):
        return moment
    if moment.utcoffset() is None:
        raise MalformedError("a time needs its zone: datetime.now(UTC), not datetime.now()")
    return moment.isoformat()
