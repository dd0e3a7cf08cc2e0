"""The MCP ingress: ``/mcp`` with what all hands offer, ``/mcp/{hand}`` with what one does, over streamable HTTP, both
protocol eras, on the SDK's own server.

A ``tools/call``, as every other method that a hand runs, becomes a one-step plan, signed by the connector, on the one
way that every plan takes. The caller is the principal that was authenticated for *this* HTTP request; a session belongs
to the principal that opened it.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.canonical import parse
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Refused
from gateway.ingress.mcp.calls import Calls, GatewayParts
from gateway.ingress.mcp.exchange import SCOPE_KEY, Exchange
from gateway.ingress.mcp.listeners import Listed
from gateway.ingress.mcp.methods import GovernedServer, Methods, declare, offered
from gateway.ingress.mcp.parking import Target
from gateway.ingress.mcp.reissues import Reissues
from gateway.ingress.mcp.replays import RETRY_MILLISECONDS, Replays
from gateway.ingress.mcp.requests import SESSION_HEADER, context_id, guarded, hand_of, scope_of
from gateway.ingress.mcp.results import answered, refused
from gateway.ingress.mcp.sessions import Sessions
from gateway.ingress.mcp.subscriptions import Subscriptions
from gateway.ingress.mcp.talks import Talks, require_able
from gateway.ingress.mcp.tasks import Made, Tasks, as_task, patience_of
from gateway.ingress.mcp.transport import deletion, nothing, parse_error, replayed, transport_security, unheard, user_of
from gateway.manifest import Manifest
from gateway.menus import Hidden
from gateway.model import Principal
from gateway.offered_tools import OfferedTool, Tools
from gateway.reasons import Reason

_log = structlog.get_logger(__name__)

SESSIONS_MAX: Final = 1024
SESSION_IDLE_SECONDS: Final = 1800.0

_INSTRUCTIONS: Final = (
    "Every tool here is governed by Handrail: each call is checked against policy and recorded. A call may be denied, "
    "or held until a person approves it; the answer then says why and how."
)


class McpIngress:
    """The ASGI app of both. ``principal_of`` reads the authenticated caller from an ASGI scope."""

    def __init__(self, gateway: GatewayParts, principal_of: Callable[[Mapping[str, Any]], Principal | None]) -> None:
        self._gateway = gateway
        self._principal_of = principal_of
        self._tools = Tools()
        self._methods = Methods(self)
        self._manager: StreamableHTTPSessionManager | None = None
        self._sessions = Sessions(SESSION_IDLE_SECONDS)
        self._calls = Calls(gateway)
        self._reissues = Reissues(self._calls, gateway.undelivered)
        self._talks = Talks(self._calls, self._reissues, self.count)
        self._tasks = Tasks(self)
        self._subscriptions = Subscriptions(self)
        self._replays = Replays(replayed=self._reissues.replayed)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the context lasts; may be entered again afterwards (the SDK's manager may not)."""
        server = GovernedServer(
            "handrail",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_list_resources=self._methods.list_resources,
            on_list_resource_templates=self._methods.list_templates,
            on_read_resource=self._methods.read_resource,
            on_list_prompts=self._methods.list_prompts,
            on_get_prompt=self._methods.get_prompt,
            on_completion=self._methods.complete,
            on_subscribe_resource=self._subscriptions.subscribe,
            on_unsubscribe_resource=self._subscriptions.unsubscribe,
            on_subscriptions_listen=self._subscriptions.listen,
        )
        # Not by the SDK's keyword, which knows no tasks.
        server.add_request_handler("tools/call", types.CallToolRequestParams, self._call_tool)
        self._tasks.register(server)
        # Not by the SDK's keyword, which warns of what the newer revision has dropped.
        server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self._set_level)
        manager = StreamableHTTPSessionManager(
            server,
            security_settings=transport_security(self._gateway.settings),
            session_idle_timeout=SESSION_IDLE_SECONDS,
            max_request_body_size=self._gateway.settings.server.body_max_bytes,
            max_sessions=SESSIONS_MAX,
            event_store=self._replays,
            retry_interval=RETRY_MILLISECONDS,
        )
        self._sessions = Sessions(SESSION_IDLE_SECONDS)
        self._reissues.open()
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None
                self._talks.close()
                self._reissues.stop()
        await self._reissues.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry, behind authentication.

        The SDK's parsers let duplicate members, NaN and huge integers through; the body is checked strictly first,
        and the same bytes are then handed on.
        """
        principal = self._principal(scope)
        hand = hand_of(scope)
        manifests = self.manifests(principal, hand)
        if hand is not None and not manifests:
            raise Absent("hand", hand)
        declare(offered(manifests), logs=self.logs(principal, hand))
        manager = self._manager
        if manager is None:
            raise HandrailError(Reason.INTERNAL, "the MCP ingress is not running")
        if scope["method"] == "POST":
            body = await Request(scope, receive).body()
            try:
                parse(body)
            except Refused as refusal:
                self.count(principal, refusal.reason)
                await parse_error(refusal.reason)(scope, receive, send)
                return
            receive = replayed(body, receive)
        exchange = Exchange()
        exchange.enter()
        scope = {**scope, "user": user_of(principal, hand), SCOPE_KEY: exchange}
        try:
            await self._serve(
                manager.handle_request, principal, scope, exchange.receiving(receive), exchange.sending(send)
            )
        finally:
            self._reissues.over(exchange)

    async def _serve(self, app: ASGIApp, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the SDK answer, and keep count of the sessions that its answers open and end.

        Raises:
            Unavailable: ``gateway.overloaded``; see :class:`Sessions`.
        """
        headers = Headers(scope=scope)
        if headers.get(MCP_PROTOCOL_VERSION_HEADER, HANDSHAKE_PROTOCOL_VERSIONS[0]) not in HANDSHAKE_PROTOCOL_VERSIONS:
            await app(scope, receive, send)  # that era has no sessions
            return
        owner, hand = (principal.tenant, principal.id), hand_of(scope)
        session_id = headers.get(SESSION_HEADER)
        place = self._replays.enter(session_id)
        if session_id is None:
            self._sessions.begin_opening(owner)
        else:
            self._sessions.enter(session_id, owner, hand)

        async def watch(message: Message) -> None:
            nonlocal session_id
            if message["type"] == "http.response.start":
                status = message["status"]
                if session_id is not None:
                    over = status == 404 or (scope["method"] == "DELETE" and status == 200)
                    if over and self._sessions.ended(session_id, owner, hand):
                        self._replays.ended(session_id)
                elif status < 400 and (session_id := Headers(raw=message["headers"]).get(SESSION_HEADER)) is not None:
                    self._replays.opened(place, session_id)
                    for surplus, whose in self._sessions.opened(session_id, owner, hand):
                        _log.info("closing the principal's least used MCP session", principal=principal.pseudonym)
                        self._replays.ended(surplus)
                        await app(deletion(scope, surplus, user_of(principal, whose)), nothing, unheard)
            await send(message)

        try:
            await app(scope, receive, watch)
        finally:
            if session_id is not None:
                self._sessions.leave(session_id, owner, hand)
            else:
                self._sessions.not_opened(owner)

    # --- the two methods ---------------------------------------------------------------------------------------------

    async def _list_tools(
        self, ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "Invalid cursor")
        with guarded("tools/list"):
            caller, hand = self.caller(ctx), hand_of(scope_of(ctx))
            await self._subscriptions.listed(ctx, Listed.TOOLS)
            hidden = await self.hidden(caller, self.manifests(caller, hand))
            offered = self._offered(ctx)
        shown = [entry.tool for entry in offered.values() if entry.action not in hidden.get(entry.hand, ())]
        return types.ListToolsResult(tools=shown)

    async def _call_tool(
        self, ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult | dict[str, Any]:
        with guarded("tools/call"):
            answer = await self._called(ctx, params)
        if isinstance(answer, Made):
            raise answer
        return answer

    async def _called(
        self, ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult | dict[str, Any] | Made:
        """The call's result, what its client is to be asked first, or a task."""
        caller = self.caller(ctx)
        entry = self._offered(ctx).get(params.name)
        if entry is None:
            self.count(caller, Reason.SCHEMA_UNKNOWN_ACTION)
            raise MCPError(types.INVALID_PARAMS, "Unknown tool")
        context, manifest = context_id(ctx, caller), self._manifest(caller, entry.hand)
        target = Target(caller, entry.hand, entry.action, params.arguments or {})
        if as_task(ctx, params):
            return await self._tasks.begin(ctx, target, context)
        try:
            view = await self._talks.call(ctx, target, context, params, patience_of(ctx, manifest))
        except HandrailError as error:
            _log.info("call refused", code=str(error.reason), detail=error.detail)
            return refused(error)
        if isinstance(view, types.InputRequiredResult):
            return view
        if (task := await self._tasks.instead(ctx, view)) is not None:
            return task
        require_able(ctx, view, manifest)
        result = answered(view, self.public_url, object_only=ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS)
        return self._methods.placed(ctx, entry.hand, result)

    async def submit(
        self, caller: Principal, hand: str, action: str, arguments: Mapping[str, Any], context_id: str
    ) -> dict[str, Any]:
        """See :meth:`Calls.submit`."""
        return await self._calls.submit(caller, hand, action, arguments, context_id)

    async def _set_level(
        self, ctx: ServerRequestContext[Any], params: types.SetLevelRequestParams
    ) -> types.EmptyResult:
        with guarded("logging/setLevel"):
            caller = self.caller(ctx)
            if not self.logs(caller, hand_of(scope_of(ctx))):
                self.count(caller, Reason.SCHEMA_UNKNOWN_ACTION)
                raise MCPError(types.METHOD_NOT_FOUND, "Method not found")
            self._talks.levels.put(ctx, caller, params.level)
            return types.EmptyResult()

    def logs(self, caller: Principal, hand: str | None) -> bool:
        """Whether the operator lets the server of some hand here send log messages."""
        hands = self._gateway.settings.hands
        return any(one.hand in hands and hands[one.hand].mcp.logging for one in self.manifests(caller, hand))

    def _manifest(self, caller: Principal, hand: str) -> Manifest | None:
        return next(iter(self.manifests(caller, hand)), None)

    def leave(self) -> None:
        """End what only listens: the gateway is about to stop."""
        self._subscriptions.leave()

    @property
    def calls(self) -> Calls:
        """The calls under way."""
        return self._calls

    @property
    def reissues(self) -> Reissues:
        """Which answers were delivered."""
        return self._reissues

    def placed(self, ctx: ServerRequestContext[Any], hand: str, result: types.CallToolResult) -> types.CallToolResult:
        """See :meth:`Methods.placed`."""
        return self._methods.placed(ctx, hand, result)

    @property
    def talks(self) -> Talks:
        """The calls whose clients can be talked to."""
        return self._talks

    @property
    def public_url(self) -> str:
        """Base URL for the links in texts."""
        return self._gateway.settings.public_url

    # --- the caller --------------------------------------------------------------------------------------------------

    def _principal(self, scope: Mapping[str, Any]) -> Principal:
        principal = self._principal_of(scope)
        if principal is None:
            raise Refused(Reason.AUTH_MISSING)
        return principal

    def caller(self, ctx: ServerRequestContext[Any]) -> Principal:
        """The principal of the HTTP request that carried this very message."""
        return self._principal(scope_of(ctx))

    def _offered(self, ctx: ServerRequestContext[Any]) -> Mapping[str, OfferedTool]:
        """The tools of the endpoint that this very message came to, hidden ones too: who calls one is judged, and hears
        what policy says."""
        scope = scope_of(ctx)
        hand = hand_of(scope)
        return self._tools.offered(self.manifests(self._principal(scope), hand), alone=hand is not None)

    def manifests(self, caller: Principal, hand: str | None) -> Sequence[Manifest]:
        """What the caller may use of all hands, or of one."""
        listed = [manifest for manifest in self._gateway.hands.listed(caller) if not manifest.client]
        return listed if hand is None else [manifest for manifest in listed if manifest.hand == hand]

    async def hidden(self, caller: Principal, manifests: Sequence[Manifest]) -> Hidden:
        """See :meth:`Menus.hidden`."""
        return await self._gateway.menus.hidden(caller, manifests)

    async def seen(self, caller: Principal, manifests: Sequence[Manifest]) -> Hidden | None:
        """See :meth:`Menus.seen`."""
        return await self._gateway.menus.seen(caller, manifests)

    async def listed(self, ctx: ServerRequestContext[Any], listed: Listed) -> None:
        """See :meth:`Subscriptions.listed`."""
        await self._subscriptions.listed(ctx, listed)

    def count(self, caller: Principal, reason: Reason) -> None:
        """Record a refusal of something that never became a plan."""
        draft = EntryDraft(
            type=EntryType.SCHEMA_REJECTED,
            tenant=caller.tenant,
            principal=caller.pseudonym,
            reasons=(str(reason),),
        )
        self._gateway.log.aggregate(draft, caller.pseudonym)
