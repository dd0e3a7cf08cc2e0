"""How bodies of the API hold a moment: as text, in answers always in one form."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.times import EXPECTED, PATTERN, parse_time

NOT_A_TIME: Final = "time"
"""Kind of problem of a member that should hold a moment."""


def _seconds(value: Any) -> float:
    try:
        return parse_time(value if isinstance(value, str) else "")
    except ValueError:
        raise PydanticCustomError(NOT_A_TIME, "{expected}", {"expected": EXPECTED}) from None


Time = Annotated[str, Field(pattern=PATTERN, json_schema_extra={"format": "date-time"})]
"""A moment in an answer."""
GivenTime = Annotated[float, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment in a request: any zone and precision that RFC 3339 allows, read as seconds since the epoch."""
