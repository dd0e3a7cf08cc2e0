"""The active policy bundle."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.web.bodies import JSON, query
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_admin import PolicyView


async def show(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """What decides now, and why a newer bundle does not."""
    query(request)
    gateway = gateway_of(request.scope)
    policy = gateway.policy
    view = {
        "engine": gateway.settings.policy.engine,
        "digest": policy.digest,
        "files": [{"path": path, "sha256": digest} for path, digest in policy.files],
    }
    if policy.problem:
        view["problem"] = policy.problem
    return JsonResponse(view)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/policy",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="See the active policy bundle.",
        handler=show,
        answers={200: Body(JSON, PolicyView, "The bundle that decides now.")},
    ),
)
