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
"""More than any page of an export, count or report takes whose database answers."""
_threads: Final = ThreadPoolExecutor(4, thread_name_prefix="handrail-audit-long")


async def at_length(work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """What ``work`` returns, that only reads. Raises ``LogUnavailable`` after :data:`LONG_SECONDS`."""
    call = functools.partial(work, *args, **kwargs)
    try:
        async with asyncio.timeout(LONG_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(_threads, call)
    except TimeoutError:
        raise LogUnavailable("a long read did not return in time") from None
