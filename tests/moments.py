"""Every moment in a document, by its name or by what it looks like."""

import re
from collections.abc import Iterator
from typing import Any, Final

from gateway.times import PATTERN

TIMELY: Final = re.compile(r".*_at|at|time|since|until|.*_until|not_before|not_after|from|to|now")
"""Names of members and parameters that hold a moment, where they are scalars."""
FIXED: Final = frozenset({"jwks", "jwk", "facts"})
"""What RFC 7517 and 7519 (NumericDate), and the format of entries, give their form: seconds."""
EPOCH_SECONDS: Final = range(1_500_000_000, 4_000_000_000)
"""A number between these is a moment that somebody forgot to write as one: from 2017 to 2096."""


def moments(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar of a document that is a moment, by its name or by what it looks like."""
    if isinstance(value, dict):
        for member, inner in value.items():
            if member not in FIXED:
                yield from moments(inner, member)
    elif isinstance(value, list):
        for inner in value:
            yield from moments(inner, name)
    elif TIMELY.fullmatch(name) if isinstance(value, str) else int(value or 0) in EPOCH_SECONDS:
        yield name, value


def in_form(value: Any) -> bool:
    """Whether it is written as every moment of ours is."""
    return isinstance(value, str) and re.fullmatch(PATTERN, value) is not None
