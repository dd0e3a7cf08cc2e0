"""Moments as the wire has them: RFC 3339, in UTC with ``Z``, to the millisecond (``2026-11-21T02:14:33.120Z``).

So they stand in every answer, export and document of ours. What other people's formats fix keeps their form: numbers of
seconds in JWTs, JWKs and what is signed like them (NumericDate, RFC 7519 section 2), and in cosignatures (C2SP).
"""

import re
from datetime import UTC, datetime
from typing import Final, overload

PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
"""What :func:`format_time` writes."""
SECONDS_MAX: Final = 32_503_680_000
"""The year 3000: what is later was not meant."""
EXPECTED: Final = "a time as RFC 3339 writes it, with its zone (2026-01-31T12:00:00Z), from 1970 to 2999"
EXPECTED_OR_DATE: Final = f"a date, or {EXPECTED}"

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(
    _DATE.pattern + r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


@overload
def format_time(seconds: float) -> str: ...
@overload
def format_time(seconds: float | None) -> str | None: ...
def format_time(seconds: float | None) -> str | None:
    """A moment in seconds since the epoch; ``None`` stays ``None``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """Seconds since the epoch of a moment with its zone, as RFC 3339 section 5.6 writes it.

    Raises:
        ValueError: it is written otherwise, or stands outside of 1970 to 2999.
    """
    if _TIME.fullmatch(text) is None:
        raise ValueError(text)
    seconds = datetime.fromisoformat(text).timestamp()
    if not 0 <= seconds < SECONDS_MAX:
        raise ValueError(text)
    return seconds


def parse_time_or_date(text: str) -> float:
    """The same, or the beginning of a day in UTC. Raises ``ValueError``."""
    return parse_time(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
