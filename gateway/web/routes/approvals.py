"""Approvals: what waits for a person, and the person's answer."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.approvals.answers import PAGE_DEFAULT, PAGE_MAX
from gateway.errors import Refused
from gateway.model import Answer, ApprovalStatus, Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JOSE, JSON, after_id, json_body, limit_of, media_type, one_of, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import AFTER, Body, Endpoint, JsonResponse, Parameter, limit
from gateway.web.schemas import AnswerFiles, AnswerRequest, ApprovalList, ApprovalView


async def list_(request: Request, principal: Principal) -> Response:
    """A page of the tenant's approval requests, newest first."""
    asked = query(request, "status", "after", "limit")
    status = one_of(asked.get("status"), "status", ApprovalStatus)
    after, at_most = after_id(asked), limit_of(asked, default=PAGE_DEFAULT, maximum=PAGE_MAX)
    return JsonResponse(await gateway_of(request.scope).approvals.list(principal, status, after=after, limit=at_most))


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
        given = await json_body(request, AnswerRequest)
        view = await approvals.answer(approval_id, principal, answer=Answer(given.answer), asked=given.asked)
    else:
        raise Refused(Reason.REQUEST_MEDIA_TYPE, expected=f"{JOSE} or {JSON}")
    return JsonResponse(view)


async def answers(request: Request, principal: Principal) -> Response:
    """The recorded answers, each with all that proves it."""
    query(request)
    evidence = gateway_of(request.scope).evidence
    return JsonResponse(await evidence.answers(segment(request, "approval_id"), principal))


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
            AFTER,
            limit(PAGE_DEFAULT, PAGE_MAX),
        ),
        answers={200: Body(JSON, ApprovalList, "A page of approval requests.")},
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
        method="GET",
        path="/v1/approvals/{approval_id}/answers",
        access=Permission.APPROVALS_READ,
        tag="approvals",
        summary="Get the answers to a request, each with what proves it.",
        handler=answers,
        answers={200: Body(JSON, AnswerFiles, "The answers, for offline verification.")},
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
            Reason.APPROVAL_VOIDED,
            Reason.APPROVAL_EXPIRED,
            Reason.VERIFY_MALFORMED,
            Reason.VERIFY_SIGNATURE,
            Reason.VERIFY_TYPE,
            Reason.LOG_UNAVAILABLE,
        ),
    ),
)
