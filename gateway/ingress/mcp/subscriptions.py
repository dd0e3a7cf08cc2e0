"""What clients are told while nobody calls: that a resource changed which they watch, and that other tools or prompts
are shown to them now.

Each watched resource is a call of ``resources/subscribe`` that policy decides. A client of the handshake era is told on
its session's stream, one of the stateless era on the stream that ``subscriptions/listen`` is.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final, Protocol

from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS

from gateway.errors import HandrailError
from gateway.ingress.mcp.calls import Calls
from gateway.ingress.mcp.failures import Failed, error_of, no_resource, refusal
from gateway.ingress.mcp.listeners import LOOK_SECONDS, Bells, Listed, Session, Stream, Subscriber
from gateway.ingress.mcp.requests import Asks, context_id, guarded, hand_of, scope_of, session_of
from gateway.ingress.mcp.results import told
from gateway.ingress.mcp.uris import inward
from gateway.manifest import Manifest
from gateway.mcp_methods import CODE_FACT, McpMethod, is_method
from gateway.menus import Hidden
from gateway.model import Principal, StepStatus
from gateway.reasons import Reason

WATCHED_MAX: Final = 32
"""Resources that one session, or one stream, watches."""
STREAMS_PER_PRINCIPAL_MAX: Final = 8
STREAM_SECONDS: Final = 3600.0
"""After so long a stream ends, and its client has to say anew who it is."""


Shown = tuple[Collection[str], Hidden]
"""Digests of manifests, and what of them is hidden; equal where the same is shown."""


class Reaches(Asks, Protocol):
    """What these handlers ask of the ingress."""

    @property
    def calls(self) -> Calls:
        """The calls under way."""


class Subscriptions:
    """The handlers."""

    def __init__(self, ingress: Reaches) -> None:
        self._ingress = ingress
        self._sessions: dict[tuple[str, str, str], Session] = {}
        self._streams: Counter[tuple[str, str]] = Counter()
        self._bells: set[Bells] = set()
        """Of the streams that are open."""

    def leave(self) -> None:
        """End the streams, each with its result: the gateway is about to stop."""
        for wake, over in self._bells:
            over.set()
            wake.set()

    async def subscribe(
        self, ctx: ServerRequestContext[Any], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """Watch a resource from now on."""
        with guarded("resources/subscribe"):
            caller = self._ingress.caller(ctx)
            self._require(ctx, caller)
            session = self._session(ctx, caller)
            if params.uri in session.watched:
                return types.EmptyResult()
            if len(session.watched) >= WATCHED_MAX:
                raise MCPError(types.INVALID_PARAMS, "Too many subscriptions")
            context = context_id(ctx, caller)
            subscriber = self._subscriber(ctx, caller, params.uri, context, session)
            session.watched[params.uri] = subscriber
            try:
                await self._watch(ctx, caller, context, subscriber)
            except BaseException:
                subscriber.cancelled.set()
                session.watched.pop(params.uri, None)
                raise
            return types.EmptyResult()

    async def unsubscribe(
        self, ctx: ServerRequestContext[Any], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """Watch it no longer."""
        with guarded("resources/unsubscribe"):
            caller = self._ingress.caller(ctx)
            self._require(ctx, caller)
            session = self._sessions.get(session_of(ctx, caller))
            subscriber = session.watched.pop(params.uri, None) if session is not None else None
            if subscriber is not None:
                subscriber.cancelled.set()
            return types.EmptyResult()

    async def listed(self, ctx: ServerRequestContext[Any], listed: Listed) -> None:
        """A client was given a list: its session, where it has one, is told from now on when that is another one."""
        if ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            return
        caller = self._ingress.caller(ctx)
        if not session_of(ctx, caller)[-1]:
            return
        self._session(ctx, caller).follow(
            listed,
            partial(self._shown_now, ctx, caller),
            await self._shown(ctx, caller),
            partial(self._ingress.calls.may_hear, caller, None, context_id(ctx, caller)),
        )

    async def listen(
        self, ctx: ServerRequestContext[Any], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """A stream of what the client asked to be told, and may be."""
        with guarded("subscriptions/listen"):
            caller = self._ingress.caller(ctx)
            owner = (caller.tenant, caller.id)
            uris = params.notifications.resource_subscriptions or []
            if self._streams[owner] >= STREAMS_PER_PRINCIPAL_MAX or len(uris) > WATCHED_MAX:
                raise MCPError(types.INTERNAL_ERROR, "Subscription limit reached")
            self._streams[owner] += 1
            bells = (asyncio.Event(), asyncio.Event())
            self._bells.add(bells)
            try:
                return await self._stream(ctx, caller, params.notifications, bells)
            finally:
                self._bells.discard(bells)
                self._streams[owner] -= 1
                if not self._streams[owner]:
                    del self._streams[owner]

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _stream(
        self, ctx: ServerRequestContext[Any], caller: Principal, wanted: types.SubscriptionFilter, bells: Bells
    ) -> types.SubscriptionsListenResult:
        stream, context = Stream(ctx, bells), context_id(ctx, caller)
        subscribers: list[Subscriber] = []
        try:
            watched = []
            for uri in dict.fromkeys(wanted.resource_subscriptions or ()):
                subscriber = self._subscriber(ctx, caller, uri, context, stream)
                subscribers.append(subscriber)
                try:
                    await self._watch(ctx, caller, context, subscriber)
                except MCPError:
                    continue
                watched.append(uri)
            honoured = types.SubscriptionFilter(
                tools_list_changed=wanted.tools_list_changed or None,
                prompts_list_changed=wanted.prompts_list_changed or None,
                resource_subscriptions=watched or None,
            )
            acknowledged = types.SubscriptionsAcknowledgedNotificationParams(notifications=honoured, _meta=stream.meta)
            await stream.say(types.SubscriptionsAcknowledgedNotification(params=acknowledged))
            lists = bool(honoured.tools_list_changed or honoured.prompts_list_changed)
            seen = await self._shown(ctx, caller)
            ends = asyncio.get_running_loop().time() + STREAM_SECONDS
            while asyncio.get_running_loop().time() < ends and await stream.more(
                LOOK_SECONDS if lists else STREAM_SECONDS
            ):
                now = await self._shown_now(ctx, caller, seen)
                if now == seen:
                    continue
                if not await self._ingress.calls.may_hear(caller, None, context):
                    break
                seen = now
                await stream.say_changed(honoured)
        finally:
            for subscriber in subscribers:
                subscriber.cancelled.set()
        return types.SubscriptionsListenResult(_meta=stream.meta)

    def _subscriber(
        self, ctx: ServerRequestContext[Any], caller: Principal, uri: str, context: str, told: Session | Stream
    ) -> Subscriber:
        located = self._located(ctx, caller, uri)
        hand = None if located is None else located[0]
        stands = partial(self._ingress.calls.may_hear, caller, hand, context)
        return Subscriber(uri, told.changed, told.lost, stands)

    async def _shown(self, ctx: ServerRequestContext[Any], caller: Principal) -> Shown:
        """What this endpoint shows the caller now: what was pinned, and is not hidden."""
        manifests = self._ingress.manifests(caller, hand_of(scope_of(ctx)))
        return {one.digest for one in manifests}, await self._ingress.hidden(caller, manifests)

    async def _shown_now(self, ctx: ServerRequestContext[Any], caller: Principal, before: Shown) -> Shown:
        """The same at another look. Where nobody knows what is hidden now, that is what it was ``before``."""
        manifests = self._ingress.manifests(caller, hand_of(scope_of(ctx)))
        hidden = await self._ingress.seen(caller, manifests)
        return {one.digest for one in manifests}, before[1] if hidden is None else hidden

    async def _watch(
        self, ctx: ServerRequestContext[Any], caller: Principal, context: str, subscriber: Subscriber
    ) -> None:
        """Have a hand's server say when a resource changes.

        Raises:
            MCPError: it will not: there is no such resource, not for this caller, or policy does not let it.
        """
        uri = subscriber.uri
        located = self._located(ctx, caller, uri)
        if located is None:
            self._ingress.count(caller, Reason.SCHEMA_UNKNOWN_ACTION)
            raise no_resource(ctx, uri)
        hand, own = located
        call = self._ingress.calls.begin(
            caller, hand, McpMethod.RESOURCES_SUBSCRIBE.value, {"uri": own}, context, subscriber
        )
        try:
            view = await asyncio.shield(call.view)
        except HandrailError as error:
            raise error_of(refusal(error)) from None
        step = view["steps"][0]
        if StepStatus(step["status"]) is not StepStatus.SUCCEEDED:
            why = step.get("error") or {}
            failed = Failed(why.get("code", step["status"]), told(view, self._ingress.public_url), why.get(CODE_FACT))
            raise no_resource(ctx, uri) if failed.by_the_params else error_of(failed)

    def _located(self, ctx: ServerRequestContext[Any], caller: Principal, uri: str) -> tuple[str, str] | None:
        """Hand and own URI of a resource that can be watched here."""
        alone = hand_of(scope_of(ctx))
        hands = _watching(self._ingress.manifests(caller, alone))
        found = (alone, uri) if alone is not None else inward(uri)
        return found if found is not None and found[0] in hands else None

    def _require(self, ctx: ServerRequestContext[Any], caller: Principal) -> None:
        """Raises ``MCPError`` where no hand here can be watched."""
        if not _watching(self._ingress.manifests(caller, hand_of(scope_of(ctx)))):
            self._ingress.count(caller, Reason.SCHEMA_UNKNOWN_ACTION)
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found")

    def _session(self, ctx: ServerRequestContext[Any], caller: Principal) -> Session:
        key = session_of(ctx, caller)
        if (found := self._sessions.get(key)) is None:
            found = self._sessions[key] = Session(ctx)

            def end() -> None:
                self._sessions.pop(key, None)
                found.end()

            ctx.session._connection.exit_stack.callback(end)  # noqa: SLF001 - the one place that knows when it is over
        return found


def _watching(manifests: Sequence[Manifest]) -> frozenset[str]:
    method = McpMethod.RESOURCES_SUBSCRIBE
    return frozenset(one.hand for one in manifests if method in one.actions and is_method(one.adapter, method))
