"""What a handler of the MCP ingress knows of the request that it answers, and what of a failure its answer may say."""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import Scope

from gateway.canonical import canonical
from gateway.errors import HandrailError, Refused
from gateway.manifest import Manifest
from gateway.menus import Hidden
from gateway.model import UNNAMED_CONTEXT, Principal
from gateway.reasons import TEXTS, Reason

_log = structlog.get_logger(__name__)

CONTEXT_META_KEY: Final = "handrail/context_id"
"""``_meta`` member by which a client without a session keeps its calls in one context."""
SESSION_HEADER: Final = "mcp-session-id"
_CONTEXT_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Asks(Protocol):
    """What the handlers ask of the ingress."""

    @property
    def public_url(self) -> str:
        """Base URL for the links in texts."""

    def caller(self, ctx: ServerRequestContext[Any]) -> Principal:
        """The principal of the HTTP request that carried this very message."""

    def manifests(self, caller: Principal, hand: str | None) -> Sequence[Manifest]:
        """What the caller may use of all hands, or of one."""

    async def hidden(self, caller: Principal, manifests: Sequence[Manifest]) -> Hidden:
        """What of them the caller is not shown."""

    async def seen(self, caller: Principal, manifests: Sequence[Manifest]) -> Hidden | None:
        """The same for who looks again and again; ``None`` where it is not known now."""

    async def submit(
        self, caller: Principal, hand: str, action: str, arguments: Mapping[str, Any], context_id: str
    ) -> dict[str, Any]:
        """The view of a one-step plan. Raises ``HandrailError`` where the whole plan is refused."""

    def count(self, caller: Principal, reason: Reason) -> None:
        """Record a refusal of something that never became a plan."""


class guarded:  # noqa: N801 - reads as a statement
    """The SDK would send an unforeseen exception's text to a client of the handshake era; nothing of it leaves here."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if exc is None or isinstance(exc, MCPError) or not isinstance(exc, Exception):
            return
        reason = exc.reason if isinstance(exc, HandrailError) else Reason.INTERNAL
        _log.error("MCP request failed", method=self._method, error=type(exc).__name__, exc_info=exc)
        raise MCPError(types.INTERNAL_ERROR, f"{reason}: {TEXTS[reason]}") from None


def scope_of(ctx: ServerRequestContext[Any]) -> Scope:
    """The ASGI scope of the HTTP request that carried this very message."""
    request = ctx.request
    if not isinstance(request, Request):
        raise Refused(Reason.AUTH_MISSING, "a message without its request")
    return request.scope


def hand_of(scope: Scope) -> str | None:
    """Whose endpoint was asked; ``None`` for that of all hands."""
    hand: str | None = scope.get("path_params", {}).get("hand_id")
    return hand


def session_of(ctx: ServerRequestContext[Any], caller: Principal) -> tuple[str, str, str]:
    """Tenant, principal and session of a request."""
    session = ctx.request.headers.get(SESSION_HEADER, "") if isinstance(ctx.request, Request) else ""
    return caller.tenant, caller.id, session


def context_id(ctx: ServerRequestContext[Any], caller: Principal) -> str:
    """The context of a call: what the client named, else its session's, else one of its own.

    A session's id is a secret of its client, so its context carries a hash of it, and of the caller, so that nobody
    else can take the name first. A context that is somebody else's is refused by the pipeline, whoever names it.

    Raises:
        MCPError: the named context is not an id.
    """
    named = (ctx.meta or {}).get(CONTEXT_META_KEY)
    if named is not None:
        if not isinstance(named, str) or _CONTEXT_ID.fullmatch(named) is None:
            raise MCPError(types.INVALID_PARAMS, f"Invalid _meta {CONTEXT_META_KEY}")
        return named
    session = ctx.request.headers.get(SESSION_HEADER) if isinstance(ctx.request, Request) else None
    if session is None or ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        return f"{UNNAMED_CONTEXT}{secrets.token_hex(16)}"
    owner = canonical([caller.tenant, caller.pseudonym, session])
    return f"mcp-{hashlib.sha256(owner).hexdigest()[:32]}"
