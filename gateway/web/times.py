"""How bodies of the API hold a moment: as text, in answers always in one form."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.times import EXPECTED, PATTERN, parse_time


class NotATime(ValueError):
    """A member that should hold a moment and does not; what it says repeats nothing of what was sent."""


def _seconds(value: Any) -> float:
    try:
        return parse_time(value if isinstance(value, str) else "")
    except ValueError:
        raise NotATime(EXPECTED) from None


Time = Annotated[str, Field(pattern=PATTERN, json_schema_extra={"format": "date-time"})]
"""A moment in an answer."""
GivenTime = Annotated[float, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment in a request: any zone and precision that RFC 3339 allows, read as seconds since the epoch."""
