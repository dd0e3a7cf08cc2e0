"""The MCP endpoints: of all hands, and of each. The SDK answers; this hands it requests of callers that may use it."""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.errors import Absent
from gateway.ingress.mcp import McpIngress
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web import resources
from gateway.web.bodies import JSON, query, require_no_coding
from gateway.web.context import gateway_of
from gateway.web.routing import Access, Body, Endpoint, JsonResponse
from gateway.web.schemas_mcp import ResourceMetadata
from gateway.web.standing import Standing


async def mcp(request: Request, principal: Principal) -> ASGIApp:  # noqa: ARG001 - a handler's shape
    """The ingress itself is the answer; a session's own stream ends when the gateway is about to stop."""
    require_no_coding(request)
    ingress: McpIngress = request.app.state.mcp
    return Standing(ingress, gateway_of(request.scope).drain) if request.method == "GET" else ingress


async def metadata(request: Request) -> Response:
    """What an OAuth client needs to get a token for an endpoint; the same for every hand, whether there is one or not.

    Raises:
        Absent: no issuer's tokens are taken here.
    """
    query(request)
    path = request.scope["path"].removeprefix(resources.METADATA_PATH)
    found = resources.metadata(gateway_of(request.scope).settings, path)
    if found is None:
        raise Absent("issuer of access tokens")
    return JsonResponse(found, headers={"cache-control": "max-age=300"})


_JSON_RPC: Final = {
    status: Body(JSON, description="JSON-RPC's own errors.") for status in (400, 404, 405, 406, 409, 413, 415, 500)
}
"""What the SDK refuses before a message is one: no session, no media type that it speaks, no request."""


def _endpoints(path: str, whose: str, problems: tuple[Reason, ...] = ()) -> tuple[Endpoint, ...]:
    row = partial(
        Endpoint, path=path, access=Permission.MCP_USE, tag="mcp", handler=mcp, problems=problems, besides=_JSON_RPC
    )
    return (
        row(
            method="POST",
            summary=f"Model Context Protocol, {whose}: one JSON-RPC message.",
            requests=(Body(JSON, description="One JSON-RPC 2.0 message."),),
            answers={
                200: Body(JSON, description="JSON-RPC, or an event stream of it."),
                202: Body("", description="Accepted."),
            },
        ),
        row(
            method="GET",
            summary=f"Model Context Protocol, {whose}: the stream of a session's own messages.",
            answers={200: Body("text/event-stream", description="JSON-RPC messages.")},
        ),
        row(
            method="DELETE",
            summary=f"Model Context Protocol, {whose}: end a session.",
            answers={200: Body("", description="Ended.")},
        ),
        Endpoint(
            method="GET",
            path=resources.METADATA_PATH + path,
            access=Access.OPEN,
            tag="mcp",
            summary=f"The endpoint of {whose} as an OAuth protected resource (RFC 9728).",
            open_handler=metadata,
            answers={200: Body(JSON, ResourceMetadata)},
            problems=(Reason.REQUEST_NOT_FOUND,),
        ),
    )


ENDPOINTS: Final = (
    *_endpoints("/mcp", "all hands"),
    *_endpoints("/mcp/{hand_id}", "one hand", (Reason.REQUEST_NOT_FOUND,)),
)
