"""Principals and their API keys, and who the caller is."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.store.directory import NewPrincipal
from gateway.web.bodies import JSON, json_body, query, segment
from gateway.web.context import gateway_of
from gateway.web.routes.agreeing import PROPOSED, answer
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_directory import (
    ApiKeyRequest,
    ApiKeyShown,
    Me,
    NameRequest,
    PrincipalCreated,
    PrincipalList,
    PrincipalRequest,
    PrincipalView,
)


async def me(request: Request, principal: Principal) -> Response:
    """The caller as this gateway knows it."""
    query(request)
    return JsonResponse(
        {
            "id": principal.id,
            "tenant": principal.tenant,
            "roles": sorted(principal.roles),
            "hands": None if principal.hands is None else sorted(principal.hands),
            "approval_kid": None if principal.approval_jwk is None else principal.approval_jwk["kid"],
        }
    )


async def list_(request: Request, principal: Principal) -> Response:
    """Every principal of the tenant, revoked ones too."""
    query(request)
    return JsonResponse({"principals": await gateway_of(request.scope).directory.list_principals(principal)})


async def add(request: Request, principal: Principal) -> Response:
    """A new principal with one API key, whose token is shown this once."""
    query(request)
    asked = (await json_body(request, PrincipalRequest)).model_dump(mode="json")
    if asked["approval_jwk"] is not None:
        asked["approval_jwk"] = {name: value for name, value in asked["approval_jwk"].items() if value is not None}
    gateway = gateway_of(request.scope)
    alone = gateway.directory.add_principal(principal, NewPrincipal(**asked))
    return await answer(gateway, principal, "principal.add", asked, alone, 201)


async def add_key(request: Request, principal: Principal) -> Response:
    """One more API key for a principal."""
    query(request)
    principal_id = segment(request, "principal_id")
    asked = (await json_body(request, ApiKeyRequest)).model_dump(mode="json")
    gateway = gateway_of(request.scope)
    alone = gateway.directory.issue_api_key(principal, principal_id, **asked)
    return await answer(gateway, principal, "principal.key", {"id": principal_id, **asked}, alone, 201)


async def name(request: Request, principal: Principal) -> Response:
    """An id for a principal that has none any more."""
    query(request)
    gateway, pseudonym = gateway_of(request.scope), segment(request, "principal_id")
    given = (await json_body(request, NameRequest)).id
    alone = gateway.directory.name_anew(principal, pseudonym, given)
    asked = {"id": given, "pseudonym": pseudonym}
    return await answer(gateway, principal, "principal.name", asked, alone, 200)


async def revoke(request: Request, principal: Principal) -> Response:
    """Revoke a principal and all its API keys."""
    query(request)
    gateway, principal_id = gateway_of(request.scope), segment(request, "principal_id")
    alone = gateway.directory.revoke_principal(principal, principal_id)
    return await answer(gateway, principal, "principal.revoke", {"id": principal_id}, alone, 200)


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
    Endpoint(
        method="GET",
        path="/v1/principals",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="List principals.",
        handler=list_,
        answers={200: Body(JSON, PrincipalList, "Every principal of the tenant.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/principals",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Add a principal.",
        handler=add,
        requests=(Body(JSON, PrincipalRequest),),
        answers={201: Body(JSON, PrincipalCreated, "The principal and its API key."), 202: PROPOSED},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="POST",
        path="/v1/principals/{principal_id}/keys",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Give a principal one more API key.",
        handler=add_key,
        requests=(Body(JSON, ApiKeyRequest),),
        answers={201: Body(JSON, ApiKeyShown, "The API key."), 202: PROPOSED},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="POST",
        path="/v1/principals/{principal_id}/name",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Give an id to a principal that is known by its pseudonym alone.",
        handler=name,
        requests=(Body(JSON, NameRequest),),
        answers={200: Body(JSON, PrincipalView, "The principal."), 202: PROPOSED},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/principals/{principal_id}",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Revoke a principal and its API keys.",
        handler=revoke,
        answers={200: Body(JSON, PrincipalView, "The revoked principal."), 202: PROPOSED},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
)
