"""Freezes: stopping something at once. Lifting one is a proposal (``freeze.lift``), which takes two people."""

from enum import StrEnum
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.freezing import FreezeOrder
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, json_body, one_of, query
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas_freezes import FreezeList, FreezeRequest, FreezeView


class _YesNo(StrEnum):
    TRUE = "true"
    FALSE = "false"


async def list_(request: Request, principal: Principal) -> Response:
    """What is frozen for the principal's tenant."""
    asked = query(request, "lifted")
    lifted = one_of(asked.get("lifted"), "lifted", _YesNo) is _YesNo.TRUE
    return JsonResponse(await gateway_of(request.scope).freezing.list(principal, lifted=lifted))


async def set_(request: Request, principal: Principal) -> Response:
    """Stop something at once."""
    query(request)
    asked = await json_body(request, FreezeRequest)
    wanted = FreezeOrder(asked.scope, asked.subject, asked.cause, asked.why)
    shown, new = await gateway_of(request.scope).freezing.set(principal, wanted)
    return JsonResponse(shown, 200 if not new else 201 if shown["recorded"] else 202)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/freezes",
        access=Permission.FREEZES_READ,
        tag="freezes",
        summary="See what is frozen.",
        handler=list_,
        parameters=(
            Parameter("lifted", "Those that were lifted, too.", {"type": "string", "enum": ["true", "false"]}),
        ),
        answers={200: Body(JSON, FreezeList, "What is frozen.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/freezes",
        access=Permission.FREEZES_SET,
        tag="freezes",
        summary="Stop a hand, a principal, a context or everything.",
        handler=set_,
        requests=(Body(JSON, FreezeRequest),),
        answers={
            200: Body(JSON, FreezeView, "It is frozen already."),
            201: Body(JSON, FreezeView, "It is frozen."),
            202: Body(
                JSON, FreezeView, "It is frozen in this gateway, and will be everywhere once the log can be written."
            ),
        },
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
)
