"""Long reads for people who ask, off the event loop: in threads of this module and in bounded time, so that a database
that never answers costs no other work its thread."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from audit.errors import LogUnavailable

Args = ParamSpec("Args")
Result = TypeVar("Result")

LONG_SECONDS: Final = 60.0
"""More than any page of an export or count takes whose database answers."""
REPORT_SECONDS: Final = 900.0
"""The same of a report over all of a large log, which says how far it is and can be ended."""
_threads: Final = ThreadPoolExecutor(4, thread_name_prefix="handrail-audit-long")


async def at_length(work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """What ``work`` returns, that only reads. Raises ``LogUnavailable`` after :data:`LONG_SECONDS`."""
    return await within(LONG_SECONDS, work, *args, **kwargs)


async def within(seconds: float, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """The same with another bound."""
    call = functools.partial(work, *args, **kwargs)
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().run_in_executor(_threads, call)
    except TimeoutError:
        raise LogUnavailable("a long read did not return in time") from None
