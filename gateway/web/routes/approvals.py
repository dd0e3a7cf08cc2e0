"""Approvals: what waits for a person, and the person's answer."""

from enum import StrEnum
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JOSE, JSON, json_body, media_type, one_of, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas import AnswerRequest, ApprovalList, ApprovalView


class ApprovalStatus(StrEnum):
    """States of an approval request."""

    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"
    EXPIRED = "expired"
    VOIDED = "voided"


async def list_(request: Request, principal: Principal) -> Response:
    """Approval requests of the tenant, newest first."""
    status = one_of(query(request, "status").get("status"), "status", ApprovalStatus)
    return JsonResponse({"approvals": await gateway_of(request.scope).approvals.list(principal, status)})


async def show(request: Request, principal: Principal) -> Response:
    """One approval request with the exact call."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).approvals.show(segment(request, "approval_id"), principal))


async def answer(request: Request, principal: Principal) -> Response:
    """Approve or refuse: signed with the approver's own key, or on the gateway's word alone."""
    query(request)
    approval_id = segment(request, "approval_id")
    approvals = gateway_of(request.scope).approvals
    kind = media_type(request)
    if kind == JOSE:
        view = await approvals.answer(approval_id, principal, signed=await request.body())
    elif kind == JSON:
        decision = (await json_body(request, AnswerRequest)).decision
        view = await approvals.answer(approval_id, principal, decision=decision)
    else:
        raise Refused(Reason.REQUEST_MEDIA_TYPE, expected=f"{JOSE} or {JSON}")
    return JsonResponse(view)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/approvals",
        access=Permission.APPROVALS_READ,
        tag="approvals",
        summary="List approval requests.",
        handler=list_,
        parameters=(
            Parameter(
                "status", "Only those in this state.", {"type": "string", "enum": [str(s) for s in ApprovalStatus]}
            ),
        ),
        answers={200: Body(JSON, ApprovalList, "Approval requests.")},
    ),
    Endpoint(
        method="GET",
        path="/v1/approvals/{approval_id}",
        access=Permission.APPROVALS_READ,
        tag="approvals",
        summary="See an approval request.",
        handler=show,
        answers={200: Body(JSON, ApprovalView, "The request and its answers.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/approvals/{approval_id}",
        access=Permission.APPROVALS_ANSWER,
        tag="approvals",
        summary="Approve or refuse the exact call.",
        handler=answer,
        requests=(
            Body(JOSE, description="Compact JWS, typ approval+jws, by the approver's enrolled key."),
            Body(JSON, AnswerRequest),
        ),
        answers={200: Body(JSON, ApprovalView, "The request with this answer.")},
        problems=(
            Reason.APPROVAL_SELF,
            Reason.APPROVAL_ROLE,
            Reason.APPROVAL_KEY,
            Reason.APPROVAL_MISMATCH,
            Reason.APPROVAL_CLOSED,
            Reason.APPROVAL_EXPIRED,
            Reason.VERIFY_MALFORMED,
            Reason.VERIFY_SIGNATURE,
            Reason.VERIFY_TYPE,
            Reason.LOG_UNAVAILABLE,
        ),
    ),
)
