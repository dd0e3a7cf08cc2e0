"""Clients of sessions are told that the page was answered to which they were asked to send a person
(``notifications/elicitation/complete``, 2025-11-25): on the stream of the call while it waits, else on the session's.
Later revisions have no such message.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import anyio
import structlog
from mcp import MCPError
from mcp.server.context import ServerRequestContext

from gateway.errors import HandrailError
from gateway.ingress.mcp.calls import Calls
from gateway.ingress.mcp.exchange import Exchange, exchange_of
from gateway.ingress.mcp.requests import session_of
from gateway.model import Principal

_log = structlog.get_logger(__name__)

PER_PRINCIPAL_MAX: Final = 16
"""Pages of one principal that are watched; of what is more nobody is told."""
ALL_MAX: Final = 1024


@dataclass(slots=True)
class _Watch:
    """A page, and its client.

    Attributes:
        ctx, exchange: of the request that waits for it, or waited last.
    """

    owner: tuple[str, str]
    ctx: ServerRequestContext[Any]
    exchange: Exchange
    task: "asyncio.Task[None] | None" = None


class Notices:
    """Watches pages for the sessions that were asked to show them. Belongs to one event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._watches: dict[tuple[tuple[str, str, str], str], _Watch] = {}

    def begin(
        self, ctx: ServerRequestContext[Any], caller: Principal, plan_id: str, approval_id: str
    ) -> "asyncio.Task[None] | None":
        """Tell the client of a request once the page of an approval is answered, whether it waits until then or not.

        Returns:
            What ends once it was told; ``None`` where there are too many.
        """
        key, owner = (session_of(ctx, caller), approval_id), (caller.tenant, caller.id)
        if (watch := self._watches.get(key)) is not None:
            watch.ctx, watch.exchange = ctx, exchange_of(ctx)
            return watch.task
        held = Counter(one.owner for one in self._watches.values())
        if len(self._watches) >= ALL_MAX or held[owner] >= PER_PRINCIPAL_MAX:
            return None
        watch = self._watches[key] = _Watch(owner, ctx, exchange_of(ctx))
        watch.task = asyncio.create_task(self._tell(watch, caller, plan_id, approval_id))
        watch.task.add_done_callback(lambda _: self._watches.pop(key, None))
        ctx.session._connection.exit_stack.callback(watch.task.cancel)  # noqa: SLF001 - knows when the session is over
        return watch.task

    def close(self) -> None:
        """Tell nobody anything more."""
        for watch in self._watches.values():
            if watch.task is not None:
                watch.task.cancel()

    async def _tell(self, watch: _Watch, caller: Principal, plan_id: str, approval_id: str) -> None:
        try:
            view = await self._calls.answered(plan_id, caller)
            if not await self._calls.may_hear(caller, view["steps"][0]["hand"], view["context_id"]):
                return
        except HandrailError as error:
            _log.info("a client is not told that its page was answered", code=str(error.reason))
            return
        related = None if watch.exchange.over else watch.ctx.request_id
        with suppress(MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            await watch.ctx.session.send_elicit_complete(approval_id, related_request_id=related)
