"""How a store reads: in a thread, on a connection of its own, and no exception of the database leaves it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import HandrailError, Unavailable
from gateway.reasons import Reason

Result = TypeVar("Result")


async def reading(engine: Engine, what: str, read: Callable[[Connection], Result]) -> Result:
    """:func:`blocking_read` without stopping the event loop."""
    return await asyncio.to_thread(blocking_read, engine, what, read)


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
