"""Tokens of people, good when they are asked for: refreshed before their time is over, by one gateway at a time.

A refresh goes on by itself once it began: a step that ends, or a caller that waits no longer, ends none. Where a server
gives a new refresh token with each refresh, the one before is spent, and an answer that is lost on the way is lost for
good: the next try then tells that the grant is over (``CONLST``), and the person is asked to consent again. An answer
that came and could not be written down is kept in memory, and written down with the next use.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from gateway.connections.grants import Grant, Grants, Whose
from gateway.connections.server import AuthorizationServer, ConsentOver, Tokens
from gateway.entries import EntryType
from gateway.errors import HandrailError, Overtaken, Refused, Unavailable
from gateway.ports import SecretValue
from gateway.reasons import Reason
from gateway.secrets.values import missing

_log = structlog.get_logger("handrail.connections")

USABLE_SECONDS: Final = 5.0
"""A token is not sent with less than this left of its time. More than a value is kept in memory (``fresh_seconds``)."""
LEASE_SECONDS: Final = 10.0
"""How long a gateway may take to write a new token down, beyond the time that the server may take."""
SKEW_SECONDS: Final = 5.0
"""How far clocks of gateways are apart, at most."""
PATIENCE_SECONDS: Final = 1.0
"""How long a call waits for a new token while the one before is still good."""
RETRY_SECONDS: Final = 2.0
"""Between two tries at a server that does not answer."""
_POLL_SECONDS: Final = 0.05
_FAILURE_SECONDS: Final = 60.0
"""A grant that cannot be refreshed is put on record this often."""
_FAILURES_MAX: Final = 1024
_TRIES: Final = 5
"""Of one write, beside others of the person."""


class PeoplesTokens:
    """``ports.PersonalTokens``. Belongs to one event loop.

    Args:
        servers: by connection.
        page_url: of the page at which people consent.
    """

    def __init__(
        self,
        grants: Grants,
        servers: Mapping[str, AuthorizationServer],
        page_url: str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grants = grants
        self._servers = servers
        self._page_url = page_url
        self._clock = clock
        self._monotonic = monotonic
        self._refreshing: dict[Whose, asyncio.Task[Grant]] = {}
        self._answered: dict[tuple[Whose, int], Tokens] = {}
        """What a server answered to a refresh of a grant, until it is written down."""
        self._failures: OrderedDict[Whose, float] = OrderedDict()

    async def token(self, tenant: str, subject: str, connection: str) -> SecretValue:
        """See ``ports.PersonalTokens``."""
        server = self._servers.get(connection)
        if server is None or tenant not in server.settings.tenants:
            raise missing(f"connection {connection}: not one of the tenant")
        whose = Whose(tenant, subject, connection)
        grant = (await self._grants.find(whose)).grant
        if grant is None or grant.server != server.identity:
            raise self.needed(connection)
        due = grant.tokens.due_at
        if due is not None and self._clock() >= due:
            grant = await self._renewed(whose, grant, server)
        return SecretValue(grant.tokens.access_token, str(grant.index))

    def needed(self, connection: str) -> Refused:
        """That the person has to consent, and where."""
        return Refused(Reason.CONNECTION_NEEDED, f"connection {connection}", connection=connection, page=self._page_url)

    def forget(self, whose: Whose) -> None:
        """Keep nothing of a grant that has ended."""
        for key in [key for key in self._answered if key[0] == whose]:
            del self._answered[key]
        self._failures.pop(whose, None)

    async def close(self) -> None:
        """Let the refreshes that are under way come to their end, for a while: what a server answers now is needed."""
        under_way = list(self._refreshing.values())
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=LEASE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _renewed(self, whose: Whose, grant: Grant, server: AuthorizationServer) -> Grant:
        """The grant with a new token; as it is while it is good and no new one can be had."""
        expires = grant.tokens.expires_at
        usable = expires is not None and self._clock() < expires - USABLE_SECONDS
        if grant.tokens.refresh_token is None:
            if usable:
                return grant
            raise self.needed(whose.connection)
        task = self._refreshing.get(whose)
        if task is None:
            task = self._refreshing[whose] = asyncio.create_task(self._refresh(whose, grant, server))
            task.add_done_callback(lambda done: self._ended(whose, done))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if usable else server.settings.timeout_seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            if usable:
                return grant
            raise _away(whose, "no token in time") from None
        except HandrailError as failure:
            if usable and failure.reason is not Reason.CONNECTION_NEEDED:
                return grant
            raise

    def _ended(self, whose: Whose, task: asyncio.Task[Grant]) -> None:
        del self._refreshing[whose]
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, HandrailError):
            _log.error("a token was not refreshed", connection=whose.connection, kind=type(error).__name__)

    async def _refresh(self, whose: Whose, grant: Grant, server: AuthorizationServer) -> Grant:
        """A new token, by this gateway or by whichever is at it."""
        key = (whose, grant.index)
        if key not in self._answered:
            turn = await self._take_turn(whose, grant, server.settings.timeout_seconds + LEASE_SECONDS)
            if isinstance(turn, Grant):
                return turn
            try:
                # Beyond its turn it would send a refresh token that another gateway may have sent meanwhile.
                async with asyncio.timeout(turn - self._clock()):
                    self._answered[key] = await server.refresh(grant.tokens)
            except TimeoutError:
                late = _away(whose, "the server took longer than a turn lasts")
                await self._put_off(whose, grant, turn, late)
                raise late from None
            except ConsentOver:
                await self._lose(whose, grant)
                raise self.needed(whose.connection) from None
            except HandrailError as failure:
                await self._put_off(whose, grant, turn, failure)
                raise
        try:
            renewed = await self._write_down(whose, grant, self._answered[key], server)
        except Refused:
            self._answered.pop(key, None)
            raise
        self._answered.pop(key, None)
        return renewed

    async def _take_turn(self, whose: Whose, grant: Grant, seconds: float) -> Grant | float:
        """Wait until this gateway alone may refresh the grant; until when it may, by this process's clock. Or the grant
        that another one made of it meanwhile."""
        while True:
            known = await self._grants.find(whose)
            if known.grant is None:
                raise self.needed(whose.connection)
            if known.grant.index != grant.index:
                return known.grant
            now = self._clock()
            if known.leased_until > now + seconds + SKEW_SECONDS:
                raise _away(whose, "its row says that somebody refreshes it for longer than anybody may")
            if known.leased_until <= now and await self._grants.lease(whose, grant, now, now + seconds):
                return now + seconds
            await asyncio.sleep(_POLL_SECONDS)

    async def _write_down(self, whose: Whose, grant: Grant, tokens: Tokens, server: AuthorizationServer) -> Grant:
        for _ in range(_TRIES):
            known = await self._grants.find(whose)
            if known.grant is None:
                await server.revoke(tokens)  # taken back while the server answered: what it gave is nobody's
                raise self.needed(whose.connection)
            if known.grant.index != grant.index:
                return known.grant  # consented anew; to revoke what is of the same person could end that, too
            try:
                return await self._grants.keep(
                    whose, tokens, server.identity, EntryType.CONNECTION_REFRESHED, known.size
                )
            except Overtaken:
                continue
            except Refused:
                await server.revoke(tokens)
                raise self.needed(whose.connection) from None
        raise _away(whose, "others change grants of the person")

    async def _lose(self, whose: Whose, grant: Grant) -> None:
        """The server says that the grant is over."""
        for _ in range(_TRIES):
            known = await self._grants.find(whose)
            if known.grant is None or known.grant.index != grant.index:
                return
            with contextlib.suppress(Overtaken):
                await self._grants.end(whose, EntryType.CONNECTION_LOST, known.size, cause="invalid_grant")
                return

    async def _put_off(self, whose: Whose, grant: Grant, turn: float, failure: HandrailError) -> None:
        """The server is away: the next try is soon, and the log says so once a minute."""
        _log.warning("a token was not refreshed", connection=whose.connection, detail=failure.detail)
        await self._grants.release(whose, grant, turn, self._clock() + RETRY_SECONDS)
        now = self._monotonic()
        if now - self._failures.get(whose, -_FAILURE_SECONDS) >= _FAILURE_SECONDS:
            self._failures[whose] = now
            self._failures.move_to_end(whose)
            while len(self._failures) > _FAILURES_MAX:
                self._failures.popitem(last=False)
            await self._grants.failed(whose, failure.reason)


def _away(whose: Whose, detail: str) -> Unavailable:
    return Unavailable(Reason.CONNECTION_UNAVAILABLE, f"connection {whose.connection}: {detail}")
