"""Times as people give them on a command line."""

import re
from datetime import UTC, datetime
from typing import Final

from gateway.cli.exits import Stop

_AGO: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str, option: str, now: float) -> int:
    """A moment in whole seconds since the epoch.

    Args:
        text: so long ago (``7d``, ``12h``, ``30m``, ``90s``), or an ISO 8601 date or time; without a zone it is UTC.
        option: which option it was given to, for the error.

    Raises:
        Stop: it is neither.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return max(0, int(now) - int(ago[1]) * _SECONDS[ago[2]])
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Stop(f"{option} {text}: not a time", "Write 7d, 12h, 30m, 2026-01-31 or 2026-01-31T12:00:00Z.") from None
    return int((parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp())
