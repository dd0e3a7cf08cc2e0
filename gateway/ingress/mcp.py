"""The MCP ingress: ``/mcp`` with what all hands offer, ``/mcp/{hand}`` with what one does, over streamable HTTP, both
protocol eras, on the SDK's own server.

A ``tools/call``, as every other method that a hand runs, becomes a one-step plan, signed by the connector, on the one
way that every plan takes. The caller is the principal that was authenticated for *this* HTTP request; a session belongs
to the principal that opened it.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import structlog
from mcp import MCPError, types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.canonical import canonical, parse
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Absent, HandrailError, Refused
from gateway.ingress.mcp_methods import GovernedServer, Methods, declare, offered
from gateway.ingress.mcp_requests import SESSION_HEADER, context_id, guarded, hand_of, scope_of
from gateway.ingress.mcp_results import answered, refused
from gateway.ingress.mcp_sessions import Sessions
from gateway.ingress.mcp_tools import OfferedTool, Tools
from gateway.ingress.plans import Submits
from gateway.manifest import Manifest
from gateway.model import CONNECTOR_PREFIX, Principal, UnverifiedPlan
from gateway.ports import AuditLog, Hands, Purpose, Signer, Typ
from gateway.reasons import TEXTS, Reason
from gateway.settings import Settings

_log = structlog.get_logger(__name__)

ISSUER: Final = f"{CONNECTOR_PREFIX}mcp"
CALL_WAIT_SECONDS: Final = 50.0
"""How long a call waits for its outcome: less than the 60 s after which common clients give up."""
PLAN_LIFETIME_SECONDS: Final = 60
SESSIONS_MAX: Final = 1024
SESSION_IDLE_SECONDS: Final = 1800.0

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_INSTRUCTIONS: Final = (
    "Every tool here is governed by Handrail: each call is checked against policy and recorded. A call may be denied, "
    "or held until a person approves it; the answer then says why and how."
)


class GatewayParts(Protocol):
    """What this ingress uses of the gateway."""

    settings: Settings

    @property
    def log(self) -> AuditLog:
        """The audit log."""

    @property
    def keyset(self) -> Signer:
        """The gateway's keys."""

    @property
    def hands(self) -> Hands:
        """The registry."""

    @property
    def pipeline(self) -> Submits:
        """The one way."""


class McpIngress:
    """The ASGI app of both. ``principal_of`` reads the authenticated caller from an ASGI scope."""

    def __init__(self, gateway: GatewayParts, principal_of: Callable[[Mapping[str, Any]], Principal | None]) -> None:
        self._gateway = gateway
        self._principal_of = principal_of
        self._tools = Tools()
        self._methods = Methods(self)
        self._manager: StreamableHTTPSessionManager | None = None
        self._sessions = Sessions(SESSION_IDLE_SECONDS)
        self._calls: set[asyncio.Task[dict[str, Any]]] = set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the context lasts; may be entered again afterwards (the SDK's manager may not)."""
        server = GovernedServer(
            "handrail",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._methods.list_resources,
            on_list_resource_templates=self._methods.list_templates,
            on_read_resource=self._methods.read_resource,
            on_list_prompts=self._methods.list_prompts,
            on_get_prompt=self._methods.get_prompt,
            on_completion=self._methods.complete,
        )
        manager = StreamableHTTPSessionManager(
            server,
            security_settings=transport_security(self._gateway.settings),
            session_idle_timeout=SESSION_IDLE_SECONDS,
            max_request_body_size=self._gateway.settings.server.body_max_bytes,
            max_sessions=SESSIONS_MAX,
        )
        self._sessions = Sessions(SESSION_IDLE_SECONDS)
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

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
        declare(offered(manifests))
        manager = self._manager
        if manager is None:
            raise HandrailError(Reason.INTERNAL, "the MCP ingress is not running")
        if scope["method"] == "POST":
            body = await Request(scope, receive).body()
            try:
                parse(body)
            except Refused as refusal:
                self.count(principal, refusal.reason)
                await _parse_error(refusal.reason)(scope, receive, send)
                return
            receive = _replay(body, receive)
        await self._serve(manager.handle_request, principal, {**scope, "user": _user(principal, hand)}, receive, send)

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
        if session_id is None:
            self._sessions.begin_opening(owner)
        else:
            self._sessions.enter(session_id, owner, hand)

        async def watch(message: Message) -> None:
            nonlocal session_id
            if message["type"] == "http.response.start":
                status = message["status"]
                if session_id is not None:
                    if status == 404 or (scope["method"] == "DELETE" and status == 200):
                        self._sessions.ended(session_id, owner, hand)
                elif status < 400 and (session_id := Headers(raw=message["headers"]).get(SESSION_HEADER)) is not None:
                    for surplus, whose in self._sessions.opened(session_id, owner, hand):
                        _log.info("closing the principal's least used MCP session", principal=principal.pseudonym)
                        await app(_deletion(scope, surplus, _user(principal, whose)), _nothing, _unheard)
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
            offered = self._offered(ctx)
        return types.ListToolsResult(tools=[entry.tool for entry in offered.values()])

    async def _call_tool(
        self, ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        with guarded("tools/call"):
            caller = self.caller(ctx)
            entry = self._offered(ctx).get(params.name)
            if entry is None:
                self.count(caller, Reason.SCHEMA_UNKNOWN_ACTION)
                raise MCPError(types.INVALID_PARAMS, "Unknown tool")
            context = context_id(ctx, caller)
            try:
                view = await self.submit(caller, entry.hand, entry.action, params.arguments or {}, context)
            except HandrailError as error:
                _log.info("call refused", code=str(error.reason), detail=error.detail)
                return refused(error)
            result = answered(view, self.public_url, object_only=ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS)
            return self._methods.placed(ctx, entry.hand, result)

    async def submit(
        self, caller: Principal, hand: str, action: str, arguments: Mapping[str, Any], context_id: str
    ) -> dict[str, Any]:
        """Sign the one-step plan and send it on its way, which a client that hangs up does not interrupt.

        Raises:
            HandrailError: the whole plan is refused.
        """
        now = time.time()
        settings = self._gateway.settings
        issued_at = int(now)
        payload = canonical(
            {
                "v": 1,
                "iss": ISSUER,
                "sub": caller.id,
                "aud": settings.log.origin,
                "tenant": caller.tenant,
                "context_id": context_id,
                "jti": secrets.token_hex(16),
                "iat": issued_at,
                "exp": issued_at + min(PLAN_LIFETIME_SECONDS, settings.plans.lifetime_max_seconds),
                "nonce": secrets.token_hex(16),
                "actions": [
                    {
                        "id": "call",
                        "hand": hand,
                        "action": action,
                        "args": dict(arguments),
                        "depends_on": [],
                    }
                ],
            }
        )
        signed = self._gateway.keyset.sign(Purpose.CONNECTOR, Typ.PLAN, payload)
        wait = min(CALL_WAIT_SECONDS, settings.server.wait_max_seconds)
        unverified = UnverifiedPlan(signed.encode("ascii"), caller, now)
        call = asyncio.create_task(self._gateway.pipeline.submit(unverified, wait_seconds=wait))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)

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
        """The tools of the endpoint that this very message came to."""
        scope = scope_of(ctx)
        hand = hand_of(scope)
        return self._tools.offered(self.manifests(self._principal(scope), hand), alone=hand is not None)

    def manifests(self, caller: Principal, hand: str | None) -> Sequence[Manifest]:
        """What the caller may use of all hands, or of one."""
        listed = [manifest for manifest in self._gateway.hands.listed(caller) if not manifest.client]
        return listed if hand is None else [manifest for manifest in listed if manifest.hand == hand]

    def count(self, caller: Principal, reason: Reason) -> None:
        """Record a refusal of something that never became a plan."""
        draft = EntryDraft(
            type=EntryType.SCHEMA_REJECTED,
            tenant=caller.tenant,
            principal=caller.pseudonym,
            reasons=(str(reason),),
        )
        self._gateway.log.aggregate(draft, caller.pseudonym)


def _user(principal: Principal, hand: str | None) -> AuthenticatedUser:
    """Whom the SDK binds a session to, so that it answers 404 to every other: the principal at this endpoint. A session
    that could be used at another one would offer other tools than those that it was opened for."""
    token = AccessToken(
        token="",
        client_id=principal.id if hand is None else f"{principal.id} {hand}",
        scopes=[],
        subject=principal.pseudonym,
        claims={"iss": principal.tenant},
    )
    return AuthenticatedUser(token)


def transport_security(settings: Settings) -> TransportSecuritySettings:
    """Hosts and origins that may name this server: its public URL and loopback. Any other name in ``Host`` is a
    rebound DNS name or a misconfigured proxy, and is refused with 421.
    """
    public = urlsplit(settings.public_url)
    hosts = [public.netloc]
    origins = [f"{public.scheme}://{public.netloc}"]
    for name in _LOOPBACK:
        hosts += [name, f"{name}:*"]
        origins += [f"http://{name}", f"http://{name}:*"]
    return TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins)


def _parse_error(reason: Reason) -> Response:
    """JSON-RPC's own form for a body that cannot be read (JSON-RPC 2.0 section 5.1)."""
    body = types.JSONRPCError(
        jsonrpc="2.0",
        id=None,
        error=types.ErrorData(code=types.PARSE_ERROR, message=f"{reason}: {TEXTS[reason]}"),
    )
    return Response(body.model_dump_json(by_alias=True, exclude_unset=True), 400, media_type="application/json")


def _replay(body: bytes, receive: Receive) -> Receive:
    """``receive`` with the body that was already read in front of it."""
    unread = True

    async def replay() -> Message:
        nonlocal unread
        if unread:
            unread = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def _deletion(scope: Scope, session_id: str, user: AuthenticatedUser) -> Scope:
    """A request to the same host that ends one of the user's sessions (MCP, streamable HTTP)."""
    kept = [(name, value) for name, value in scope["headers"] if name == b"host"]
    headers = [*kept, (SESSION_HEADER.encode(), session_id.encode("latin-1"))]
    return {**scope, "user": user, "method": "DELETE", "headers": headers}


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _unheard(message: Message) -> None:
    """The answer to a request that nobody sent."""
