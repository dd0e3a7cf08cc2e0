"""What of the policy is being brought in: hands under observation, a candidate bundle as a shadow or a canary."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, json_body, query
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_rollout import CanaryView, RolloutView, ShadowRequest, ShadowView


async def show(request: Request, principal: Principal) -> Response:
    """What is observed now, on this gateway."""
    query(request)
    return JsonResponse(gateway_of(request.scope).rollout.document(principal))


async def show_shadow(request: Request, principal: Principal) -> Response:
    """The newest shadow, counted over all gateways."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).rollout.shadows.show(principal))


async def start_shadow(request: Request, principal: Principal) -> Response:
    """Shadow a bundle."""
    query(request)
    asked = await json_body(request, ShadowRequest)
    shadows = gateway_of(request.scope).rollout.shadows
    return JsonResponse(await shadows.start(principal, asked.digest, asked.lasts_seconds), 201)


async def stop_shadow(request: Request, principal: Principal) -> Response:
    """End the shadow before its time."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).rollout.shadows.stop(principal))


async def show_canary(request: Request, principal: Principal) -> Response:
    """The canary in force, or the last one, counted over all gateways."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).rollout.canaries.show(principal))


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
    Endpoint(
        method="GET",
        path="/v1/policy/shadow",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="See which bundle is shadowed, and what it would have said.",
        handler=show_shadow,
        answers={200: Body(JSON, ShadowView, "The newest shadow.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="POST",
        path="/v1/policy/shadow",
        access=Permission.POLICY_SHADOW,
        tag="policy",
        summary="Have a bundle judge beside the one that decides, without effect.",
        handler=start_shadow,
        requests=(Body(JSON, ShadowRequest),),
        answers={201: Body(JSON, ShadowView, "The shadow.")},
        problems=(
            Reason.POLICY_BUNDLE,
            Reason.POLICY_CANDIDATE,
            Reason.POLICY_DIRECTORY,
            Reason.REQUEST_CONFLICT,
            Reason.LOG_UNAVAILABLE,
        ),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/policy/shadow",
        access=Permission.POLICY_SHADOW,
        tag="policy",
        summary="End the shadow; what it counted stays.",
        handler=stop_shadow,
        answers={200: Body(JSON, ShadowView, "The shadow, ended.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/policy/canary",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="See the canary in force or the last one, and what came of it.",
        handler=show_canary,
        answers={200: Body(JSON, CanaryView, "The canary.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
)
