"""What people and their tools read of the log, in threads of its own and in bounded time: a hung database, or a search
through much, costs those, and no plan its place.
"""

import asyncio
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from audit import evaluations
from audit.assurance import access, evidence, report
from audit.assurance.steps import Progress, unseen
from audit.errors import LogUnavailable, NotLogged
from audit.evaluations import EvaluationPage
from audit.opening import Opener, sealed_bytes
from audit.query import PAGE_MAX, Filter, Page
from audit.reader import Reader
from audit.threads import REPORT_SECONDS, within
from audit.tiles import Tile, Tiles

_READERS: Final = 4
_AUDITORS: Final = 2
"""Queries of auditors looked up at a time: they may look through much, and plans and logins must not wait for them."""
_QUERY_SECONDS: Final = 20.0

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Reads:
    """Reads of one log. Belongs to one event loop; every method raises ``LogUnavailable`` where it cannot be read.

    Args:
        deadline_seconds: after which a read has failed.
    """

    def __init__(self, reader: Reader, opener: Opener, deadline_seconds: float) -> None:
        self._reader = reader
        self._opener = opener
        self._tiles = Tiles(reader)
        self._deadline_seconds = deadline_seconds
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="handrail-audit-reader")
        self._auditors = ThreadPoolExecutor(_AUDITORS, thread_name_prefix="handrail-audit-query")
        self._closed = False

    def refuse(self) -> None:
        """Begin no further read."""
        self._closed = True

    def close(self) -> None:
        """Let go of the threads; what still reads in one is not waited for."""
        self._closed = True
        for threads in (self._threads, self._auditors):
            threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Run a blocking read in one of the threads; a hung database costs those, never the process's."""
        return await self._within(self._threads, self._deadline_seconds, functools.partial(work, *args, **kwargs))

    # --- entries -----------------------------------------------------------------------------------------------------

    async def query(self, wanted: Filter, *, after: int | None, limit: int, newest_first: bool, counted: bool) -> Page:
        """For auditors: see :meth:`audit.reader.Reader.query`. Raises ``LogUnavailable`` after 20 seconds."""
        work = functools.partial(
            self._reader.query, wanted, after=after, limit=limit, newest_first=newest_first, counted=counted
        )
        return await self._within(self._auditors, _QUERY_SECONDS, work)

    async def entry(self, index: int) -> bytes:
        """Canonical bytes of the entry at ``index``. Raises ``NotLogged``."""
        return (await self.run(self._reader.entry, index)).body

    async def committing(self, plan_id: str, commitment: str) -> tuple[int, Mapping[str, str]]:
        """See ``gateway.ports.AuditLog``. Raises ``NotLogged``."""
        after: int | None = None
        while True:
            page = await self.run(self._reader.query, Filter(plan_id=plan_id), after=after, limit=PAGE_MAX)
            for found in page.entries:
                if commitment in found.fields.values():
                    return found.index, found.fields
            if page.next is None:
                raise NotLogged(f"nothing of plan {plan_id} commits to {commitment}")
            after = page.next

    async def tile(self, tile: Tile) -> bytes:
        """See :meth:`audit.tiles.Tiles.hashes`."""
        return await self.run(self._tiles.hashes, tile)

    async def bundle(self, tile: Tile) -> bytes:
        """See :meth:`audit.tiles.Tiles.bundle`."""
        return await self.run(self._tiles.bundle, tile)

    # --- values ------------------------------------------------------------------------------------------------------

    async def open(self, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Commitment -> (salt, value) for those that are still there.

        Raises:
            SealBroken: a stored payload is not what was sealed.
        """

        def work() -> Mapping[str, tuple[bytes, bytes]]:
            with self._reader.connect() as connection:
                return self._opener.open(connection, commitments)

        return await self.run(work)

    async def owners(self, commitments: Sequence[str]) -> Collection[str]:
        """The data subjects whose keys seal any of these values that are still there.

        Raises:
            SealBroken: a key is not what was wrapped.
        """

        def work() -> Collection[str]:
            with self._reader.connect() as connection:
                return self._opener.owners(connection, commitments)

        return await self.run(work)

    async def sealed_bytes(self, commitments: Sequence[str]) -> Mapping[str, int]:
        """Commitment -> how many bytes are stored for it, of those that are still there. Reads none of them."""

        def work() -> Mapping[str, int]:
            with self._reader.connect() as connection:
                return sealed_bytes(connection, commitments)

        return await self.run(work)

    # --- answers to questions ----------------------------------------------------------------------------------------

    async def evaluations(
        self, tenant: str, *, since: str | None, until: str | None, after: int | None, limit: int
    ) -> EvaluationPage:
        """A page of the tenant's recorded policy evaluations; see :mod:`audit.evaluations`."""
        return await self.run(
            evaluations.page, self._reader, self._opener, tenant, since=since, until=until, after=after, limit=limit
        )

    async def access(self, tenant: str, at: float, now: float) -> dict[str, Any]:
        """Who could do what in the tenant at ``at``; see :mod:`audit.assurance.access`."""
        return await self.run(access.access, self._reader, self._opener, tenant, at, now)

    async def report(self, asked: report.ReportRequest, progress: Progress = unseen) -> dict[str, Any]:
        """Evidence by control; see :mod:`audit.assurance.report`. It may take :data:`REPORT_SECONDS`."""
        return await within(REPORT_SECONDS, report.report, self._reader, asked, progress)

    async def usage(
        self, tenant: str, since: float, until: float, progress: Progress = unseen
    ) -> tuple[int, list[dict[str, str | int]]]:
        """The size of the log, and how often which action of which hand stands in a period of it; see
        :func:`audit.assurance.evidence.usage_between`."""
        return await within(REPORT_SECONDS, evidence.usage_between, self._reader, tenant, since, until, progress)

    async def _within(self, threads: ThreadPoolExecutor, seconds: float, work: Callable[[], Result]) -> Result:
        if self._closed:
            raise LogUnavailable("the log is closed")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                return await loop.run_in_executor(threads, work)
        except TimeoutError:
            raise LogUnavailable("a read did not return in time") from None
