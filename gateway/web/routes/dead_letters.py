"""Dead letters: steps that ended in doubt, or did not reach their hand, and what people do with them."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.ingress.plans import wait_seconds
from gateway.model import PlanStatus, Principal
from gateway.permissions import Permission
from gateway.ports import LetterStatus
from gateway.reasons import Reason
from gateway.settling import PAGE_DEFAULT, PAGE_MAX
from gateway.web.bodies import JSON, after_index, json_body, limit_of, one_of, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import AFTER_INDEX, Body, Endpoint, JsonResponse, Parameter, limit
from gateway.web.schemas import PlanView
from gateway.web.schemas_dead_letters import DeadLetterList, DiscardedView, DiscardRequest, RetryRequest


async def list_(request: Request, principal: Principal) -> Response:
    """A page of dead letters, newest first."""
    asked = query(request, "status", "after", "limit")
    status = one_of(asked.get("status"), "status", LetterStatus) or LetterStatus.OPEN
    after, at_most = after_index(asked), limit_of(asked, default=PAGE_DEFAULT, maximum=PAGE_MAX)
    letters = gateway_of(request.scope).dead_letters
    return JsonResponse(await letters.list(principal, status, after=after, limit=at_most))


async def retry(request: Request, principal: Principal) -> Response:
    """Try a dead letter again: 200 where the new plan is done within ``wait``, else 202."""
    gateway = gateway_of(request.scope)
    wait = wait_seconds(query(request, "wait").get("wait"), gateway.settings.server.wait_max_seconds)
    asked = await json_body(request, RetryRequest)
    view = await gateway.dead_letters.retry(
        principal,
        segment(request, "plan_id"),
        segment(request, "step_id"),
        asked.why,
        not_executed=asked.not_executed,
        wait_seconds=wait,
    )
    status = 200 if view["status"] == PlanStatus.DONE else 202
    return JsonResponse(view, status, {"location": f"/v1/plans/{view['plan_id']}"})


async def discard(request: Request, principal: Principal) -> Response:
    """Say that nothing more is to be done."""
    query(request)
    asked = await json_body(request, DiscardRequest)
    letters = gateway_of(request.scope).dead_letters
    plan_id, step_id = segment(request, "plan_id"), segment(request, "step_id")
    return JsonResponse(await letters.discard(principal, plan_id, step_id, asked.why))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/dead-letters",
        access=Permission.DEAD_LETTERS_READ,
        tag="steps",
        summary="List steps that ended in doubt, or did not reach their hand.",
        handler=list_,
        parameters=(
            Parameter("status", "Only these.", {"type": "string", "enum": list(LetterStatus), "default": "open"}),
            AFTER_INDEX,
            limit(PAGE_DEFAULT, PAGE_MAX),
        ),
        answers={200: Body(JSON, DeadLetterList, "A page of dead letters.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="POST",
        path="/v1/plans/{plan_id}/steps/{step_id}/retry",
        access=Permission.DEAD_LETTERS_SETTLE,
        tag="steps",
        summary="Try a dead letter again, as a new plan.",
        handler=retry,
        requests=(Body(JSON, RetryRequest),),
        parameters=(Parameter("wait", "Seconds to wait for the plan to be done.", {"type": "number", "minimum": 0}),),
        answers={
            200: Body(JSON, PlanView, "The new plan is done."),
            202: Body(JSON, PlanView, "The new plan is on record and not done."),
        },
        problems=(
            Reason.REQUEST_CONFLICT,
            Reason.VERIFY_SUBJECT,
            Reason.VERIFY_CONTEXT,
            Reason.FREEZE_ACTIVE,
            Reason.LIMIT_PLANS,
            Reason.LIMIT_APPROVALS,
            Reason.LOG_UNAVAILABLE,
            Reason.KEY_UNAVAILABLE,
        ),
    ),
    Endpoint(
        method="POST",
        path="/v1/plans/{plan_id}/steps/{step_id}/discard",
        access=Permission.DEAD_LETTERS_SETTLE,
        tag="steps",
        summary="Say that nothing more is to be done about a dead letter.",
        handler=discard,
        requests=(Body(JSON, DiscardRequest),),
        answers={200: Body(JSON, DiscardedView, "It is settled.")},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
)
