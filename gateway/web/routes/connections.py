"""A person's connections: their own, and what security admins end. A consent is begun at a page, and by no request of
the API.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_connections import (
    ConnectionList,
    ConnectionRemoved,
    ConnectionView,
    PersonsConnectionEnded,
    PersonsConnectionList,
)


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


async def list_of(request: Request, principal: Principal) -> Response:
    """How each connection stands for somebody."""
    query(request)
    whose = segment(request, "principal_id")
    return JsonResponse({"connections": await gateway_of(request.scope).connections.listed_of(principal, whose)})


async def end(request: Request, principal: Principal) -> Response:
    """End what somebody granted."""
    query(request)
    whose, name = segment(request, "principal_id"), segment(request, "connection_id")
    return JsonResponse(await gateway_of(request.scope).connections.end(principal, whose, name))


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
    Endpoint(
        method="GET",
        path="/v1/principals/{principal_id}/connections",
        access=Permission.CONNECTIONS_END,
        tag="connections",
        summary="List which services somebody has connected.",
        handler=list_of,
        answers={200: Body(JSON, PersonsConnectionList, "How each connection stands for them.")},
    ),
    Endpoint(
        method="DELETE",
        path="/v1/principals/{principal_id}/connections/{connection_id}",
        access=Permission.CONNECTIONS_END,
        tag="connections",
        summary="End somebody's connection.",
        handler=end,
        answers={200: Body(JSON, PersonsConnectionEnded, "The connection, without a consent.")},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
)
