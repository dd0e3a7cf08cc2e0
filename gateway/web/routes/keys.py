"""The gateway's own keys: see, rotate, revoke. Each change is on record under the name of who asked for it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.ports import Purpose
from gateway.reasons import Reason
from gateway.web.bodies import JSON, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_admin import KeyList
from keys.rotation import KeyRecord


async def list_(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """Every key of the gateway, and where it is in its life."""
    query(request)
    return JsonResponse({"keys": [_view(record) for record in gateway_of(request.scope).keyset.list()]})


async def rotate(request: Request, principal: Principal) -> Response:
    """Let the next key of a purpose sign from now on."""
    query(request)
    try:
        purpose = Purpose(segment(request, "purpose"))
    except ValueError:
        raise Refused(Reason.REQUEST_NOT_FOUND, "no such purpose") from None
    return await _change(request, principal, gateway_of(request.scope).keyset.rotate, purpose)


async def revoke(request: Request, principal: Principal) -> Response:
    """Stop believing and using a key at once."""
    query(request)
    return await _change(request, principal, gateway_of(request.scope).keyset.revoke, segment(request, "kid"))


async def _change(
    request: Request, principal: Principal, change: Callable[[Any], Sequence[KeyRecord]], argument: Any
) -> Response:
    """Change keys, on record. Where the log fails in between, the change stands and the answer says so."""
    gateway = gateway_of(request.scope)
    await gateway.key_changes.make(change, argument, principal.tenant, principal.pseudonym)
    return JsonResponse({"keys": [_view(record) for record in gateway.keyset.list()]})


def _view(record: KeyRecord) -> dict[str, Any]:
    return {
        "kid": record.kid,
        "purpose": str(record.purpose),
        "state": str(record.state),
        "created_at": record.created_at,
        "activated_at": record.activated_at,
        "retiring_at": record.retiring_at,
        "retired_at": record.retired_at,
        "revoked_at": record.revoked_at,
    }


_ANSWER: Final = {200: Body(JSON, KeyList, "Every key of the gateway.")}

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/keys",
        access=Permission.KEYS_READ,
        tag="keys",
        summary="List the gateway's keys.",
        handler=list_,
        answers=_ANSWER,
    ),
    Endpoint(
        method="POST",
        path="/v1/keys/{purpose}/rotate",
        access=Permission.KEYS_MANAGE,
        tag="keys",
        summary="Rotate a purpose's key.",
        handler=rotate,
        answers=_ANSWER,
        problems=(Reason.REQUEST_CONFLICT, Reason.KEY_UNAVAILABLE, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="POST",
        path="/v1/keys/{kid}/revoke",
        access=Permission.KEYS_MANAGE,
        tag="keys",
        summary="Revoke a key at once.",
        handler=revoke,
        answers=_ANSWER,
        problems=(Reason.REQUEST_CONFLICT, Reason.KEY_UNAVAILABLE, Reason.LOG_UNAVAILABLE),
    ),
)
