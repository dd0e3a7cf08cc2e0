"""What verifiers need: the gateway's public keys, now and in history."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.web.bodies import JSON, query
from gateway.web.context import gateway_of
from gateway.web.routing import Access, Body, Endpoint, JsonResponse
from gateway.web.schemas_keys import Jwks, TrustView


async def trust(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """What an offline verifier needs: the keys of receipts, retired ones too, and those of the log."""
    query(request)
    return JsonResponse(gateway_of(request.scope).trust())


async def jwks(request: Request) -> Response:
    """RFC 7517 set of the keys in use."""
    query(request)
    gateway = gateway_of(request.scope)
    lifetime = gateway.settings.keys.jwks_lifetime_seconds
    return JsonResponse(gateway.keyset.jwks(), headers={"cache-control": f"public, max-age={lifetime}"})


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/trust",
        access=Permission.TRUST,
        tag="trust",
        summary="Get the trust document for offline verification.",
        handler=trust,
        answers={200: Body(JSON, TrustView, "What `handrail verify --trust` takes.")},
    ),
    Endpoint(
        method="GET",
        path="/.well-known/jwks.json",
        access=Access.OPEN,
        tag="trust",
        summary="Get the gateway's public keys.",
        open_handler=jwks,
        answers={200: Body(JSON, Jwks, "RFC 7517 key set.")},
    ),
)
