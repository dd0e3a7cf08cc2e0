"""The API's description of itself."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.web.bodies import JSON, query
from gateway.web.routing import Access, Body, Endpoint, JsonResponse


async def show(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """The OpenAPI document of what is served."""
    query(request)
    return JsonResponse(request.app.state.openapi())


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/openapi.json",
        access=Access.AUTHENTICATED,
        tag="description",
        summary="This description, as OpenAPI 3.1.",
        handler=show,
        answers={200: Body(JSON, description="OpenAPI 3.1 document.")},
    ),
)
