"""Objectives of hands, and how this process saw them do."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.web.bodies import JSON, query
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_objectives import ObjectiveList


async def list_(request: Request, principal: Principal) -> Response:
    """Every pinned hand within the principal's scope that has objectives."""
    query(request)
    gateway = gateway_of(request.scope)
    objectives = gateway.pipeline.objectives
    listed = sorted(gateway.hands.listed(principal), key=lambda one: one.hand)
    views = [objectives.view(principal.tenant, one.hand, one.slo) for one in listed if one.slo is not None]
    return JsonResponse({"hands": views})


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/slo",
        access=Permission.HANDS_LIST,
        tag="hands",
        summary="See how hands do against their objectives.",
        handler=list_,
        answers={200: Body(JSON, ObjectiveList, "As this process saw it.")},
    ),
)
