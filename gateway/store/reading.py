"""How a store reads: in a thread, on a connection of its own, in bounded time, and no exception of the database leaves
it.

A database on a device that never answers holds the threads of this module and nobody else's; whoever asks meanwhile is
refused after the deadline.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import HandrailError, Unavailable
from gateway.reasons import Reason

Args = ParamSpec("Args")
Result = TypeVar("Result")

DEADLINE_SECONDS: Final = 1.8
"""As for an append (``[log] append_deadline_seconds``)."""
_threads: Final = ThreadPoolExecutor(8, thread_name_prefix="handrail-store")


async def reading(engine: Engine, what: str, read: Callable[[Connection], Result]) -> Result:
    """:func:`blocking_read` without stopping the event loop."""
    return await in_thread(what, blocking_read, engine, what, read)


def snapshot(connection: Connection) -> None:
    """To be called before the first query: what is committed meanwhile is seen by all that is read, or by nothing, as
    it is on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ")


async def in_thread(what: str, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """What ``work`` returns, that only reads.

    Raises:
        Unavailable: ``log.unavailable`` after the deadline.
    """
    call = functools.partial(work, *args, **kwargs)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(_threads, call)
    except TimeoutError:
        raise Unavailable(Reason.LOG_UNAVAILABLE, f"{what}: the database does not answer") from None


def blocking_read(engine: Engine, what: str, read: Callable[[Connection], Result]) -> Result:
    """What ``read`` finds.

    Args:
        what: which rows, for the operator's log.

    Raises:
        Unavailable: ``log.unavailable`` where the database does not answer.
        HandrailError: ``gateway.internal`` where a row is not as the gateway writes it.
    """
    try:
        with engine.connect() as connection:
            return read(connection)
    except SQLAlchemyError as exc:
        raise Unavailable(Reason.LOG_UNAVAILABLE, f"{what}: {type(exc).__name__}") from None
    except (ValueError, TypeError, KeyError) as exc:
        raise HandrailError(Reason.INTERNAL, f"{what}: a row cannot be read ({type(exc).__name__})") from None
