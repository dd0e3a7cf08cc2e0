"""Times as people give them on a command line."""

import re
from datetime import UTC, datetime
from typing import Final

from gateway.cli.exits import Stop
from gateway.times import format_time

_AGO: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str, option: str) -> int:
    """A length of time in whole seconds: ``7d``, ``12h``, ``30m``, ``90s``.

    Raises:
        Stop: it is none.
    """
    matched = _AGO.fullmatch(text)
    if matched is None:
        raise Stop(f"{option} {text}: not a length of time", "Write 7d, 12h, 30m or 90s.")
    return int(matched[1]) * _SECONDS[matched[2]]


def moment(text: str, option: str, now: float) -> int:
    """A moment in whole seconds since the epoch.

    Args:
        text: so long ago (``7d``, ``12h``, ``30m``, ``90s``), or an ISO 8601 date or time; without a zone it is UTC.
        option: which option it was given to, for the error.

    Raises:
        Stop: it is neither.
    """
    if _AGO.fullmatch(text) is not None:
        return max(0, int(now) - duration(text, option))
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Stop(f"{option} {text}: not a time", "Write 7d, 12h, 30m, 2026-01-31 or 2026-01-31T12:00:00Z.") from None
    return int((parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp())


def wire_time(text: str | None, option: str, now: float) -> str | None:
    """The same as the API takes it; ``None`` where the option was not given. Raises :class:`Stop` likewise."""
    return None if text is None else format_time(moment(text, option, now))
