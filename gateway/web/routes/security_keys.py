"""Security keys of people: a ticket to enrol one, their public halves, and their revocation."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_directory import SecurityKeyList, TicketShown


async def offer(request: Request, principal: Principal) -> Response:
    """A ticket for one enrolment, shown this once."""
    query(request)
    directory = gateway_of(request.scope).directory
    return JsonResponse(await directory.offer_enrolment(principal, segment(request, "principal_id")), 201)


async def list_(request: Request, principal: Principal) -> Response:
    """The keys of a principal that are not revoked."""
    query(request)
    return JsonResponse(await _keys(request, principal))


async def revoke(request: Request, principal: Principal) -> Response:
    """Revoke one key; those that are left."""
    query(request)
    directory = gateway_of(request.scope).directory
    await directory.revoke_security_key(principal, segment(request, "principal_id"), segment(request, "kid"))
    return JsonResponse(await _keys(request, principal))


async def _keys(request: Request, principal: Principal) -> dict[str, object]:
    directory = gateway_of(request.scope).directory
    person = await directory.principal(principal.tenant, segment(request, "principal_id"))
    found = await directory.security_keys(person.tenant, person.pseudonym)
    keys = [{"kid": key.kid, "jwk": key.jwk, "rp_id": key.rp_id, "sign_count": key.sign_count} for key in found]
    return {"security_keys": keys}


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/principals/{principal_id}/enrolments",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Give a person a ticket to enrol a security key.",
        handler=offer,
        answers={201: Body(JSON, TicketShown, "The ticket.")},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="GET",
        path="/v1/principals/{principal_id}/security-keys",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="List a principal's security keys.",
        handler=list_,
        answers={200: Body(JSON, SecurityKeyList, "The keys that are not revoked.")},
    ),
    Endpoint(
        method="DELETE",
        path="/v1/principals/{principal_id}/security-keys/{kid}",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Revoke a principal's security key.",
        handler=revoke,
        answers={200: Body(JSON, SecurityKeyList, "The keys that are left.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
)
