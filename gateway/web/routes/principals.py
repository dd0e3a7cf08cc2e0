"""Principals and their API keys, and who the caller is."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.web.bodies import JSON, query
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas import Me


async def me(request: Request, principal: Principal) -> Response:
    """The caller as this gateway knows it."""
    query(request)
    return JsonResponse(
        {
            "id": principal.id,
            "tenant": principal.tenant,
            "roles": sorted(principal.roles),
            "hands": None if principal.hands is None else sorted(principal.hands),
        }
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/me",
        access=Permission.ME,
        tag="principals",
        summary="Who am I?",
        handler=me,
        answers={200: Body(JSON, Me, "The calling principal.")},
    ),
)
