"""The active policy bundle, the signed bundles that are kept, and the way back."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.policy.signed import SIGNED_MAX_BYTES
from gateway.reasons import Reason
from gateway.web.bodies import JOSE, JSON, json_body, query, require_media_type, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_policy import ActivationView, BundleList, BundleView, PolicyView, RollbackRequest


async def show(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """What decides now, and why a newer bundle does not."""
    query(request)
    gateway = gateway_of(request.scope)
    policy = gateway.policy
    view = {
        "engine": gateway.settings.policy.engine,
        "source": gateway.settings.policy.source,
        "digest": policy.digest,
        "files": [{"path": path, "sha256": digest} for path, digest in policy.files],
    }
    if policy.problem:
        view["problem"] = policy.problem
    return JsonResponse(view)


async def list_(request: Request, principal: Principal) -> Response:
    """Signed bundles, and every change of the one that decides."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).lifecycle.list(principal))


async def add(request: Request, principal: Principal) -> Response:
    """Take in a signed bundle."""
    query(request)
    require_media_type(request, JOSE)
    return JsonResponse(await gateway_of(request.scope).lifecycle.add(principal, await request.body()), 201)


async def show_bundle(request: Request, principal: Principal) -> Response:
    """One signed bundle."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).lifecycle.show(segment(request, "digest"), principal))


async def file(request: Request, principal: Principal) -> Response:
    """The signed file, byte for byte."""
    query(request)
    token = await gateway_of(request.scope).lifecycle.file(segment(request, "digest"), principal)
    return Response(token, media_type=JOSE)


async def rollback(request: Request, principal: Principal) -> Response:
    """Go back to a bundle that two people activated before."""
    query(request)
    asked = await json_body(request, RollbackRequest)
    act = None if asked.act is None else asked.act.encode()
    return JsonResponse(await gateway_of(request.scope).lifecycle.rollback(principal, asked.digest, act=act))


LARGER_BODIES: Final = {"/v1/policy/bundles": SIGNED_MAX_BYTES}
"""Paths that take more than a plan may be long, and how much."""

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
    Endpoint(
        method="GET",
        path="/v1/policy/bundles",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="List signed bundles, and when which decided.",
        handler=list_,
        answers={200: Body(JSON, BundleList, "The newest bundles, and every change of the one that decides.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/policy/bundles",
        access=Permission.POLICY_PROPOSE,
        tag="policy",
        summary="Bring a signed bundle.",
        handler=add,
        requests=(Body(JOSE, description="Compact JWS, typ bundle+jws, as handrail policy build writes it."),),
        answers={201: Body(JSON, BundleView, "The bundle; it decides nothing yet.")},
        problems=(
            Reason.POLICY_BUNDLE,
            Reason.POLICY_DIRECTORY,
            Reason.POLICY_UNAVAILABLE,
            Reason.VERIFY_MALFORMED,
            Reason.VERIFY_ALGORITHM,
            Reason.VERIFY_HEADER,
            Reason.VERIFY_TYPE,
            Reason.VERIFY_UNKNOWN_KEY,
            Reason.VERIFY_SIGNATURE,
            Reason.LOG_UNAVAILABLE,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/policy/bundles/{digest}",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="See a signed bundle.",
        handler=show_bundle,
        answers={200: Body(JSON, BundleView, "The bundle.")},
        problems=(Reason.POLICY_BUNDLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/policy/bundles/{digest}/file",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="Get a signed bundle's file.",
        handler=file,
        answers={200: Body(JOSE, description="The bundle+jws, as it was brought.")},
        problems=(Reason.POLICY_BUNDLE,),
    ),
    Endpoint(
        method="POST",
        path="/v1/policy/rollback",
        access=Permission.POLICY_ROLLBACK,
        tag="policy",
        summary="Go back to a bundle that two people activated before.",
        handler=rollback,
        requests=(Body(JSON, RollbackRequest),),
        answers={200: Body(JSON, ActivationView, "The bundle that decides from now on.")},
        problems=(
            Reason.POLICY_NOT_ACTIVATED,
            Reason.POLICY_BUNDLE,
            Reason.PROPOSAL_KEY,
            Reason.PROPOSAL_MISMATCH,
            Reason.PROPOSAL_OUTDATED,
            Reason.REQUEST_CONFLICT,
            Reason.LOG_UNAVAILABLE,
        ),
    ),
)
