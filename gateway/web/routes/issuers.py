"""Issuers: who may sign plans, and with which keys."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, json_body, query, segment
from gateway.web.context import gateway_of
from gateway.web.routes.agreeing import PROPOSED, answer
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_directory import IssuerList, IssuerRequest, IssuerView


async def list_(request: Request, principal: Principal) -> Response:
    """Every issuer of the tenant, revoked ones too."""
    query(request)
    return JsonResponse({"issuers": await gateway_of(request.scope).directory.list_issuers(principal)})


async def add(request: Request, principal: Principal) -> Response:
    """A new issuer with its first key, or a further key of one."""
    query(request)
    asked = await json_body(request, IssuerRequest)
    gateway, jwk = gateway_of(request.scope), asked.jwk.model_dump(exclude_none=True)
    alone = gateway.directory.add_issuer(
        principal, asked.id, jwk, asked.speaks_for, attests_request=asked.attests_request
    )
    named = {**asked.model_dump(mode="json"), "jwk": jwk}
    return await answer(gateway, principal, "issuer.add", named, alone, 201)


async def revoke(request: Request, principal: Principal) -> Response:
    """Stop believing an issuer, whatever its keys."""
    query(request)
    directory = gateway_of(request.scope).directory
    return JsonResponse(await directory.revoke_issuer(principal, segment(request, "issuer_id")))


async def revoke_key(request: Request, principal: Principal) -> Response:
    """Stop believing one key of an issuer."""
    query(request)
    issuer_id, kid = segment(request, "issuer_id"), segment(request, "kid")
    return JsonResponse(await gateway_of(request.scope).directory.revoke_issuer_key(principal, issuer_id, kid))


_CONFLICTS: Final = (Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/issuers",
        access=Permission.ISSUERS_MANAGE,
        tag="issuers",
        summary="List issuers.",
        handler=list_,
        answers={200: Body(JSON, IssuerList, "Every issuer of the tenant.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/issuers",
        access=Permission.ISSUERS_MANAGE,
        tag="issuers",
        summary="Register an issuer, or a further key of one.",
        handler=add,
        requests=(Body(JSON, IssuerRequest),),
        answers={201: Body(JSON, IssuerView, "The issuer."), 202: PROPOSED},
        problems=_CONFLICTS,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/issuers/{issuer_id}",
        access=Permission.ISSUERS_MANAGE,
        tag="issuers",
        summary="Revoke an issuer.",
        handler=revoke,
        answers={200: Body(JSON, IssuerView, "The revoked issuer.")},
        problems=_CONFLICTS,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/issuers/{issuer_id}/keys/{kid}",
        access=Permission.ISSUERS_MANAGE,
        tag="issuers",
        summary="Revoke one key of an issuer.",
        handler=revoke_key,
        answers={200: Body(JSON, IssuerView, "The issuer with the revoked key.")},
        problems=_CONFLICTS,
    ),
)
