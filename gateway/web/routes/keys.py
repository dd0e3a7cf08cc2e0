"""The gateway's own keys: see, rotate, revoke. Each change is on record under the name of who asked for it."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Refused
from gateway.model import DEFAULT_TENANT, Principal
from gateway.permissions import Permission
from gateway.ports import Purpose
from gateway.reasons import Reason
from gateway.times import format_time
from gateway.web.bodies import JSON, json_body, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_keys import KeyHistoryView, KeyList, KeyRequest, KeyRevocation
from keys.rotation import KeyRecord

EPOCH: Final = "epoch"
"""What stands for a purpose where the key above all data keys is meant: symmetric, and with a life of its own."""


async def list_(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """Every key of the gateway, and where it is in its life."""
    query(request)
    return await _listed(request)


async def create(request: Request, principal: Principal) -> Response:
    """Make a further next key of a purpose."""
    query(request)
    asked = await json_body(request, KeyRequest)
    return await _change(request, principal, gateway_of(request.scope).keyset.create, Purpose(asked.purpose))


async def rotate(request: Request, principal: Principal) -> Response:
    """Let the next key of a purpose sign from now on, or begin a new epoch."""
    query(request)
    named, gateway = segment(request, "purpose"), gateway_of(request.scope)
    if named == EPOCH:
        _require_operator(principal)
        await gateway.privacy.rotate_epoch(principal)
        return await _listed(request)
    try:
        purpose = Purpose(named)
    except ValueError:
        raise Refused(Reason.REQUEST_NOT_FOUND, "no such purpose") from None
    return await _change(request, principal, gateway.keyset.rotate, purpose)


async def revoke(request: Request, principal: Principal) -> Response:
    """Stop believing and using a key at once."""
    query(request)
    kid, gateway = segment(request, "kid"), gateway_of(request.scope)
    asked = await json_body(request, KeyRevocation) if await request.body() else KeyRevocation()
    change: Callable[[str], Sequence[KeyRecord]] = gateway.keyset.revoke
    if asked.compromised_at is not None:
        _require_operator(principal)
        # To the second, as the log's entry has it: rounding down, less of what the key signed stands.
        compromise = await gateway.key_history.compromise(kid, int(asked.compromised_at))
        change = partial(gateway.keyset.revoke, compromise=compromise)
    return await _change(request, principal, change, kid)


async def history(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """Every key that ever was, when it signed, and which entries of the log say so; signed."""
    query(request)
    return JsonResponse({"history": await gateway_of(request.scope).key_history.signed()})


async def _change(
    request: Request, principal: Principal, change: Callable[[Any], Sequence[KeyRecord]], argument: Any
) -> Response:
    """Change keys, on record. Where the log fails in between, the change stands and the answer says so."""
    _require_operator(principal)
    gateway = gateway_of(request.scope)
    await gateway.key_changes.make(change, argument, principal.tenant, principal.pseudonym)
    return await _listed(request)


def _require_operator(principal: Principal) -> None:
    """The gateway's keys are every tenant's. Raises ``auth.forbidden``."""
    if principal.tenant != DEFAULT_TENANT:
        raise Refused(Reason.AUTH_FORBIDDEN, "the gateway's keys are every tenant's")


async def _listed(request: Request) -> Response:
    gateway = gateway_of(request.scope)
    epochs = await asyncio.to_thread(gateway.epochs.names)
    states = ["retiring"] * (len(epochs) - 1) + ["active"]
    return JsonResponse(
        {
            "keys": [_view(record) for record in gateway.keyset.list()],
            "epochs": [{"epoch": name, "state": state} for name, state in zip(epochs, states, strict=False)],
            "now": format_time(gateway.clock()),
        }
    )


def _view(record: KeyRecord) -> dict[str, Any]:
    return {
        "kid": record.kid,
        "purpose": str(record.purpose),
        "state": str(record.state),
        "created_at": format_time(record.created_at),
        "activated_at": format_time(record.activated_at),
        "retiring_at": format_time(record.retiring_at),
        "retired_at": format_time(record.retired_at),
        "revoked_at": format_time(record.revoked_at),
        "compromised_at": format_time(record.compromised_at),
        "covered_size": record.covered_size,
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
        path="/v1/keys",
        access=Permission.KEYS_MANAGE,
        tag="keys",
        summary="Make a further next key of a purpose.",
        handler=create,
        requests=(Body(JSON, KeyRequest),),
        answers=_ANSWER,
        problems=(Reason.REQUEST_CONFLICT, Reason.KEY_UNAVAILABLE, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="GET",
        path="/v1/keys/history",
        access=Permission.TRUST,
        tag="keys",
        summary="Get the signed history of the gateway's keys.",
        handler=history,
        answers={200: Body(JSON, KeyHistoryView, "A `history+jws` by the receipt key.")},
        problems=(Reason.KEY_UNAVAILABLE, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="POST",
        path="/v1/keys/{purpose}/rotate",
        access=Permission.KEYS_MANAGE,
        tag="keys",
        summary="Rotate a purpose's key, or the epoch's.",
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
        requests=(Body(JSON, KeyRevocation),),
        answers=_ANSWER,
        problems=(Reason.REQUEST_CONFLICT, Reason.KEY_UNAVAILABLE, Reason.LOG_UNAVAILABLE),
    ),
)
