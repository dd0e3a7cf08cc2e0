"""The HTTP around MCP's messages: whom the SDK binds a session to, which hosts may name this server, and bodies that
are read before the SDK reads them.
"""

from typing import Final
from urllib.parse import urlsplit

from mcp import types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from gateway.ingress.mcp.requests import SESSION_HEADER
from gateway.model import Principal
from gateway.reasons import TEXTS, Reason
from gateway.settings import Settings

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


def user_of(principal: Principal, hand: str | None) -> AuthenticatedUser:
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


def parse_error(reason: Reason) -> Response:
    """JSON-RPC's own form for a body that cannot be read (JSON-RPC 2.0 section 5.1)."""
    body = types.JSONRPCError(
        jsonrpc="2.0",
        id=None,
        error=types.ErrorData(code=types.PARSE_ERROR, message=f"{reason}: {TEXTS[reason]}"),
    )
    return Response(body.model_dump_json(by_alias=True, exclude_unset=True), 400, media_type="application/json")


def replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` with the body that was already read in front of it."""
    unread = True

    async def replay() -> Message:
        nonlocal unread
        if unread:
            unread = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def deletion(scope: Scope, session_id: str, user: AuthenticatedUser) -> Scope:
    """A request to the same host that ends one of the user's sessions (MCP, streamable HTTP)."""
    kept = [(name, value) for name, value in scope["headers"] if name == b"host"]
    headers = [*kept, (SESSION_HEADER.encode(), session_id.encode("latin-1"))]
    return {**scope, "user": user, "method": "DELETE", "headers": headers}


async def nothing() -> Message:
    """The body of a request that has none."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def unheard(message: Message) -> None:
    """The answer to a request that nobody sent."""
