"""Secrets that hands and connections name: which there are, and new values for them. No route gives a value."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, json_body, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_secrets import SecretChecks, SecretList, SecretRequest, SecretValueRequest, SecretView


async def list_(request: Request, principal: Principal) -> Response:
    """Every secret of the tenant."""
    query(request)
    return JsonResponse({"secrets": await gateway_of(request.scope).secrets.listed(principal)})


async def show(request: Request, principal: Principal) -> Response:
    """One sealed secret."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).secrets.show(principal, segment(request, "secret_name")))


async def set_(request: Request, principal: Principal) -> Response:
    """Keep a new secret."""
    query(request)
    asked = await json_body(request, SecretRequest)
    value = asked.value.get_secret_value()
    return JsonResponse(await gateway_of(request.scope).secrets.set(principal, asked.name, value), 201)


async def rotate(request: Request, principal: Principal) -> Response:
    """Put a new value in the place of the one before."""
    query(request)
    name = segment(request, "secret_name")
    value = (await json_body(request, SecretValueRequest)).value.get_secret_value()
    return JsonResponse(await gateway_of(request.scope).secrets.rotate(principal, name, value))


async def remove(request: Request, principal: Principal) -> Response:
    """Forget a secret."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).secrets.remove(principal, segment(request, "secret_name")))


async def check(request: Request, principal: Principal) -> Response:
    """Ask each store for what hands and connections name."""
    query(request)
    return JsonResponse({"checks": await gateway_of(request.scope).secrets.check(principal)})


_CHANGES: Final = (Reason.REQUEST_CONFLICT, Reason.SECRET_UNAVAILABLE, Reason.LOG_UNAVAILABLE)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/secrets",
        access=Permission.SECRETS_MANAGE,
        tag="secrets",
        summary="List secrets, without their values.",
        handler=list_,
        answers={200: Body(JSON, SecretList, "Every secret of the tenant.")},
        problems=(Reason.SECRET_UNAVAILABLE,),
    ),
    Endpoint(
        method="POST",
        path="/v1/secrets",
        access=Permission.SECRETS_MANAGE,
        tag="secrets",
        summary="Keep a secret.",
        handler=set_,
        requests=(Body(JSON, SecretRequest),),
        answers={201: Body(JSON, SecretView, "The secret, without its value.")},
        problems=_CHANGES,
    ),
    Endpoint(
        method="POST",
        path="/v1/secrets/check",
        access=Permission.SECRETS_MANAGE,
        tag="secrets",
        summary="Ask each store for the secrets that hands and connections name.",
        handler=check,
        answers={200: Body(JSON, SecretChecks, "Which of them could be used now.")},
    ),
    Endpoint(
        method="GET",
        path="/v1/secrets/{secret_name}",
        access=Permission.SECRETS_MANAGE,
        tag="secrets",
        summary="See a sealed secret, without its value.",
        handler=show,
        answers={200: Body(JSON, SecretView, "The secret.")},
        problems=(Reason.SECRET_UNAVAILABLE,),
    ),
    Endpoint(
        method="POST",
        path="/v1/secrets/{secret_name}/rotate",
        access=Permission.SECRETS_MANAGE,
        tag="secrets",
        summary="Give a secret a new value.",
        handler=rotate,
        requests=(Body(JSON, SecretValueRequest),),
        answers={200: Body(JSON, SecretView, "The secret, without its value.")},
        problems=_CHANGES,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/secrets/{secret_name}",
        access=Permission.SECRETS_MANAGE,
        tag="secrets",
        summary="Forget a secret.",
        handler=remove,
        answers={200: Body(JSON, SecretView, "The secret that was removed.")},
        problems=_CHANGES,
    ),
)
