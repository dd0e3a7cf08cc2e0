"""The first minute of a gateway's life: a home, keys, tables, and somebody who may ask for more.

Everything after that goes through the API. Running it again changes nothing that is there.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from audit.database import unusable
from gateway.app import build
from gateway.errors import Refused, Unavailable
from gateway.model import Role
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal

FIRST_PRINCIPAL = "admin"
FIRST_ROLES = (Role.OPERATOR, Role.SECURITY_ADMIN, Role.AUTHOR, Role.AUDITOR)
"""Everything that runs a gateway; nothing that asks it to act or approves what it does."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What was set up.

    Attributes:
        token: the first principal's API key; ``None`` where the gateway had principals before.
    """

    home: Path
    origin: str
    token: str | None


async def initialise(settings: Settings) -> Setup:
    """Make what is missing: directories, master key, signing keys, tables, and the first principal.

    Raises:
        HandrailError: where a part cannot be made; ``detail`` says which.
        OSError: where the home cannot be made or written.
    """
    gateway = build(settings)
    try:
        await gateway.prepare()
        try:
            (first,) = await gateway.directory.bootstrap([NewPrincipal(FIRST_PRINCIPAL, list(map(str, FIRST_ROLES)))])
            token = first["api_key"]["token"]
        except Refused as refusal:
            if refusal.reason is not Reason.REQUEST_CONFLICT:
                raise
            token = None
    except SQLAlchemyError as exc:
        raise database_unusable(settings, exc) from None
    finally:
        await gateway.close()
    return Setup(settings.home, settings.log.origin, token)


async def add_administrator(settings: Settings, principal_id: str) -> str:
    """Add a security admin from the gateway's own machine, where too few are left to agree on one.

    Returns:
        Its API key.

    Raises:
        Refused: ``request.conflict`` for an id that ever was in use; ``request.malformed``.
        HandrailError: where a part cannot be opened.
    """
    gateway = build(settings)
    try:
        await gateway.prepare()
        made = await gateway.directory.add_administrator(principal_id)
    except SQLAlchemyError as exc:
        raise database_unusable(settings, exc) from None
    finally:
        await gateway.close()
    return str(made["api_key"]["token"])


def database_unusable(settings: Settings, error: SQLAlchemyError) -> Unavailable:
    """What a database driver said, with the address and without the password."""
    return unusable(settings.database_url, error)


def run(settings: Settings) -> Setup:
    """:func:`initialise` for callers without an event loop."""
    return asyncio.run(initialise(settings))
