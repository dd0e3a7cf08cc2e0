"""What of the policy is being brought in: hands under observation."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.web.bodies import JSON, query
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_rollout import RolloutView


async def show(request: Request, principal: Principal) -> Response:
    """What is observed now, on this gateway."""
    query(request)
    return JsonResponse(gateway_of(request.scope).rollout.document(principal))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/policy/rollout",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="See which hands are observed.",
        handler=show,
        answers={200: Body(JSON, RolloutView, "What is being brought in.")},
    ),
)
