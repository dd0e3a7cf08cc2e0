"""A person's own connections. A consent is begun at a page, and by no request of the API."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_connections import ConnectionList, ConnectionRemoved, ConnectionView


async def list_(request: Request, principal: Principal) -> Response:
    """Every connection of the tenant, and how it stands for the caller."""
    query(request)
    return JsonResponse({"connections": await gateway_of(request.scope).connections.listed(principal)})


async def show(request: Request, principal: Principal) -> Response:
    """One connection."""
    query(request)
    name = segment(request, "connection_id")
    return JsonResponse(await gateway_of(request.scope).connections.show(principal, name))


async def remove(request: Request, principal: Principal) -> Response:
    """Take a consent back."""
    query(request)
    name = segment(request, "connection_id")
    return JsonResponse(await gateway_of(request.scope).connections.remove(principal, name))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/connections",
        access=Permission.CONNECTIONS_OWN,
        tag="connections",
        summary="List services, and whether you have connected them.",
        handler=list_,
        answers={200: Body(JSON, ConnectionList, "Every connection of the tenant.")},
    ),
    Endpoint(
        method="GET",
        path="/v1/connections/{connection_id}",
        access=Permission.CONNECTIONS_OWN,
        tag="connections",
        summary="See one, and the page at which you connect it.",
        handler=show,
        answers={200: Body(JSON, ConnectionView, "The connection.")},
    ),
    Endpoint(
        method="DELETE",
        path="/v1/connections/{connection_id}",
        access=Permission.CONNECTIONS_OWN,
        tag="connections",
        summary="Take your consent back.",
        handler=remove,
        answers={200: Body(JSON, ConnectionRemoved, "The connection, without a consent.")},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
)
