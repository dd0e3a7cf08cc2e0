"""Prometheus metrics of this process."""

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from gateway import scope
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import query
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint


async def show(request: Request, principal: Principal) -> Response:
    """Every metric, in Prometheus's text format. They are of the whole gateway: labels name hands and tenants."""
    query(request)
    scope.require_every_tenant(principal)
    scope.require_every_hand(principal)
    return Response(generate_latest(gateway_of(request.scope).metrics.registry), media_type=CONTENT_TYPE_LATEST)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/metrics",
        access=Permission.METRICS_READ,
        tag="health",
        summary="Prometheus metrics.",
        handler=show,
        answers={200: Body("text/plain", description="Prometheus text format.")},
        problems=(Reason.AUTH_BOUND,),
    ),
)
