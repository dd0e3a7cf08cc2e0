"""Who is told of changes while nobody calls: a session of the handshake era, or a stream of the stateless one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import structlog
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY

from gateway.conversations import Unanswered
from gateway.errors import Unavailable

LOOK_SECONDS: Final = 2.0
"""How often it is looked whether somebody is shown other things."""

_log = structlog.get_logger(__name__)


class Subscriber:
    """``Conversation`` of a call that watches a resource, and its ``Watcher`` from then on."""

    log_level: str | None = None

    def __init__(
        self,
        uri: str,
        changed: "Callable[[Subscriber], None]",
        lost: "Callable[[Subscriber], None]",
        stands: Callable[[], Awaitable[bool]],
    ) -> None:
        """
        Args:
            uri: as the client names it.
            changed, lost: told of that.
            stands: whether the client may still be told. Raises ``Unavailable``.
        """
        self.uri = uri
        self.stands = stands
        self.answers: frozenset[str] = frozenset()
        self.handshake = False
        self.cancelled = asyncio.Event()
        self._changed = changed
        self._lost = lost

    async def ask(self, key: str, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """See ``Conversation``: it has a client for changes alone."""
        raise Unanswered

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """See ``Conversation``."""

    def log(self, level: str, logger: str | None, data: Any) -> None:
        """See ``Conversation``."""

    def visited(self, elicitation_id: str) -> None:
        """See ``Conversation``."""

    def updated(self, uri: str) -> None:  # noqa: ARG002 - the server's name for it
        """See ``Watcher``."""
        if not self.cancelled.is_set():
            self._changed(self)

    def lost(self) -> None:
        """See ``Watcher``."""
        if not self.cancelled.is_set():
            self._lost(self)


class Listed(StrEnum):
    """A list that a session is told of when it is another one than it was given."""

    TOOLS = "tools"
    PROMPTS = "prompts"


class Session:
    """What a session of the handshake era watches, and which lists it was given."""

    def __init__(self, ctx: ServerRequestContext[Any]) -> None:
        self.watched: dict[str, Subscriber] = {}
        self._ctx = ctx
        self._changed: dict[str, Subscriber] = {}
        self._saying: asyncio.Task[None] | None = None
        self._given: dict[Listed, Any] = {}
        self._looking: asyncio.Task[None] | None = None

    def follow(
        self,
        listed: Listed,
        shown: Callable[[Any], Awaitable[Any]],
        given: Any,
        stands: Callable[[], Awaitable[bool]],
    ) -> None:
        """Say when a list is another one.

        Args:
            shown: what is shown now, by what was before.
            given: the same, when the client was given the list.
            stands: whether the client may still be told. Raises ``Unavailable``.
        """
        self._given[listed] = given
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look(shown, stands))

    def changed(self, subscriber: Subscriber) -> None:
        """Say so once the client takes it; once, however often it changed until then."""
        self._changed[subscriber.uri] = subscriber
        if self._saying is None or self._saying.done():
            self._saying = asyncio.get_running_loop().create_task(self._say())

    def lost(self, subscriber: Subscriber) -> None:
        """Nobody says any more when it changes: that it may have is the last that is said."""
        self._drop(subscriber)
        self.changed(subscriber)

    def end(self) -> None:
        """The session is over."""
        for subscriber in self.watched.values():
            subscriber.cancelled.set()
        self.watched.clear()
        for task in (self._saying, self._looking):
            if task is not None:
                task.cancel()

    async def _look(self, shown: Callable[[Any], Awaitable[Any]], stands: Callable[[], Awaitable[bool]]) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            others = {
                listed: now
                for listed, given in tuple(self._given.items())
                if (now := await shown(given)) not in (given, self._given[listed])
            }
            if not others:
                continue
            try:
                if not await stands():
                    return
            except Unavailable as away:
                _log.warning("a change is not told", reason=str(away.reason))
                continue
            self._given.update(others)
            if Listed.TOOLS in others:
                await self._ctx.session.send_tool_list_changed()
            if Listed.PROMPTS in others:
                await self._ctx.session.send_prompt_list_changed()

    async def _say(self) -> None:
        while self._changed:
            uri, subscriber = self._changed.popitem()
            try:
                stands = await subscriber.stands()
            except Unavailable as away:
                _log.warning("a change is not told", reason=str(away.reason))
                continue
            if stands:
                await self._ctx.session.send_resource_updated(uri)
            else:
                self._drop(subscriber)

    def _drop(self, subscriber: Subscriber) -> None:
        subscriber.cancelled.set()
        if self.watched.get(subscriber.uri) is subscriber:
            del self.watched[subscriber.uri]


Bells = tuple[asyncio.Event, asyncio.Event]
"""That there is something to say, and that the stream is over."""


class Stream:
    """What a stream of the stateless era says."""

    def __init__(self, ctx: ServerRequestContext[Any], bells: Bells) -> None:
        self.meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        self._ctx = ctx
        self._wake, self._over = bells
        self._changed: dict[str, Subscriber] = {}

    def changed(self, subscriber: Subscriber) -> None:
        """Say so soon; once, however often it changed until then."""
        self._changed[subscriber.uri] = subscriber
        self._wake.set()

    def lost(self, subscriber: Subscriber) -> None:  # noqa: ARG002 - whichever it is
        """Nobody says any more when it changes: the stream is over."""
        self._over.set()
        self._wake.set()

    async def more(self, seconds: float) -> bool:
        """Wait that long, or until something changed, and say it; whether the stream goes on. It does not where its
        client may not be told any more.

        Raises:
            Unavailable: that cannot be known.
        """
        if not self._over.is_set():
            waiting = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait({waiting}, timeout=seconds)
            finally:
                waiting.cancel()
            self._wake.clear()
            while self._changed:
                uri, subscriber = self._changed.popitem()
                if not await subscriber.stands():
                    return False
                params = types.ResourceUpdatedNotificationParams(uri=uri, _meta=self.meta)
                await self.say(types.ResourceUpdatedNotification(params=params))
        return not self._over.is_set()

    async def say_changed(self, honoured: types.SubscriptionFilter) -> None:
        """Say that other lists are shown now."""
        about = types.NotificationParams(_meta=self.meta)
        if honoured.tools_list_changed:
            await self.say(types.ToolListChangedNotification(params=about))
        if honoured.prompts_list_changed:
            await self.say(types.PromptListChangedNotification(params=about))

    async def say(self, notification: Any) -> None:
        """Send a notification on the stream."""
        await self._ctx.session.send_notification(notification, related_request_id=self._ctx.request_id)
