"""What is decided on people's word is decided anew where people changed before it was in the log."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.errors import Overtaken, Unavailable
from gateway.reasons import Reason

Result = TypeVar("Result")

LOOKS_MAX: Final = 5
"""How often something is decided, before whoever asked is told to try again."""


async def again(attempt: Callable[[], Awaitable[Result]], detail: str) -> Result:
    """What ``attempt`` gave, the first time that nothing overtook it.

    Args:
        attempt: looks at everything anew, and appends what it decided.
        detail: for the process's log, where it never came to an end.

    Raises:
        Unavailable: ``gateway.overloaded``; it was overtaken each time, and nothing took effect.
    """
    for _ in range(LOOKS_MAX):
        try:
            return await attempt()
        except Overtaken:
            continue
    raise Unavailable(Reason.OVERLOADED, detail)
