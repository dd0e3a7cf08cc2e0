"""The MCP endpoint. The SDK answers; this hands it requests of callers that may use it."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp

from gateway.ingress.mcp import McpIngress
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.web.bodies import JSON
from gateway.web.routing import Body, Endpoint


async def mcp(request: Request, principal: Principal) -> ASGIApp:  # noqa: ARG001 - a handler's shape
    """The ingress itself is the answer."""
    ingress: McpIngress = request.app.state.mcp
    return ingress


def _endpoint(method: str, summary: str, answers: dict[int, Body], requests: tuple[Body, ...] = ()) -> Endpoint:
    return Endpoint(
        method=method,
        path="/mcp",
        access=Permission.MCP_USE,
        tag="mcp",
        summary=summary,
        handler=mcp,
        requests=requests,
        answers=answers,
    )


ENDPOINTS: Final = (
    _endpoint(
        "POST",
        "Model Context Protocol, streamable HTTP: one JSON-RPC message.",
        {200: Body(JSON, description="JSON-RPC, or an event stream of it."), 202: Body("", description="Accepted.")},
        (Body(JSON, description="One JSON-RPC 2.0 message."),),
    ),
    _endpoint(
        "GET",
        "Model Context Protocol: the stream of a session's own messages.",
        {200: Body("text/event-stream", description="JSON-RPC messages.")},
    ),
    _endpoint("DELETE", "Model Context Protocol: end a session.", {200: Body("", description="Ended.")}),
)
