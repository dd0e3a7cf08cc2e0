"""A jail for one command."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.cli.exits import Stop
from gateway.settings import Settings
from hand_adapters.jail import Jail


@asynccontextmanager
async def jailing(settings: Settings, kind: type[Jail] = Jail) -> AsyncIterator[Jail]:
    """The machine's jail, as hands of this configuration have it; closed afterwards.

    Args:
        kind: a jail that does more.

    Raises:
        Stop: no jail can start on this machine; says what is missing.
    """
    with tempfile.TemporaryDirectory(prefix="handrail-jail-") as scratch:
        jail = kind(settings.jail, settings.home if settings.home.is_dir() else Path(scratch))
        missing = jail.missing()
        if missing:
            raise Stop("no jail can start on this machine: " + "; ".join(missing), "See: handrail doctor")
        try:
            yield jail
        finally:
            await jail.close()
