"""PostgreSQL's advisory locks of a session: a connection's, which end with it whatever becomes of its user."""

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

SETTLING_LOCK: Final = 0x48414E45
"""Work that one gateway of a database does at a time (``gateway.store.alone``)."""
KEYS_LOCK: Final = 0x48414E4B
"""Changes of the gateway's keys (``keys.stores.database``)."""
_TRY: Final = text("SELECT pg_try_advisory_lock(:lock)")
_UNLOCK: Final = text("SELECT pg_advisory_unlock(:lock)")


def try_lock(connection: Connection, lock: int) -> bool:
    """Take the lock for this connection's session, or find it taken; its transaction is over afterwards."""
    mine = bool(connection.execute(_TRY, {"lock": lock}).scalar_one())
    connection.commit()
    return mine


def unlock(connection: Connection, lock: int) -> None:
    """Give the lock back; a session that cannot is not used again, and the lock ends with it."""
    try:
        connection.rollback()
        connection.execute(_UNLOCK, {"lock": lock})
        connection.commit()
    except SQLAlchemyError:
        connection.invalidate()
