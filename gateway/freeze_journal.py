"""What a gateway's home remembers of freezes: a file beside the keys, so that no database can make it forget."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import structlog

from gateway.errors import HandrailError
from gateway.files import write
from gateway.freeze import Cause, Freeze, Scope
from gateway.ports import Journal
from gateway.reasons import Reason

FILE: Final = "freezes.json"
KEEP_SECONDS: Final = 1.0
"""How long a freeze waits for the home's copy of it: a disk that hangs must not keep it from the log."""

_log = structlog.get_logger("handrail.freeze")


class FreezeJournal:
    """The file of one home."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE

    def load(self) -> Sequence[Freeze]:
        """What was frozen when it was kept last; nothing where no freeze was ever kept.

        Raises:
            HandrailError: ``gateway.internal``; the file is there and cannot be read.
        """
        try:
            found = json.loads(self._file.read_bytes())
            return [Freeze(**{**one, "scope": Scope(one["scope"]), "cause": Cause(one["cause"])}) for one in found]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            detail = f"{FILE} in the home cannot be read ({type(error).__name__}): it says what is frozen"
            raise HandrailError(Reason.INTERNAL, detail) from None

    def keep(self, freezes: Sequence[Freeze]) -> None:
        """Replace what was kept. Raises ``OSError``."""
        if freezes or self._file.exists():
            write(self._file, json.dumps([asdict(one) for one in freezes], indent=1).encode(), replace=True)


class JournalKeeper:
    """Has a journal follow what is frozen, one writing at a time. Belongs to one event loop.

    Args:
        newest: what is frozen now; each writing takes it anew, so no older list is written over a newer one.
    """

    def __init__(self, journal: Journal, newest: Callable[[], Sequence[Freeze]]) -> None:
        self._journal = journal
        self._newest = newest
        self._behind = False
        self._task: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        """Something was frozen or lifted. Waits :data:`KEEP_SECONDS` at most; a slower disk follows when it can."""
        self._behind = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._keep())
        await self.close()
        if not self._task.done():
            _log.error("freezes are not kept in the home yet: its disk does not answer")

    async def close(self) -> None:
        """Wait for a writing that is under way, as long as a freeze does."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=KEEP_SECONDS)

    async def _keep(self) -> None:
        while self._behind:
            self._behind = False
            try:
                await asyncio.to_thread(self._journal.keep, self._newest())
            except OSError as error:
                _log.error("freezes were not kept in the home", error=type(error).__name__)
