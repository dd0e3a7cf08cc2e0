"""Plans: submit, see, follow, ask why."""

import re
import time
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.calls import HandResult
from gateway.errors import Malformed
from gateway.ingress import plans as ingress
from gateway.model import PlanStatus, Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.authentication import authenticate
from gateway.web.bodies import JOSE, JSON, json_body, query, require_media_type, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas import PlanView, ReportedShown, ReportGiven, WhyView
from gateway.web.sse import EventStream

_EVENT_ID: Final = re.compile(r"[0-9]{1,15}")

VERIFY: Final = tuple(reason for reason in Reason if reason.startswith("verify."))
ENVELOPE: Final = (
    Reason.SCHEMA_JSON,
    Reason.SCHEMA_PLAN,
    Reason.SCHEMA_TOO_MANY_STEPS,
    Reason.SCHEMA_CYCLE,
    Reason.SCHEMA_REFERENCE,
)


async def submit(request: Request, principal: Principal) -> Response:
    """Take in a plan: 200 where it is done within ``wait``, else 202."""
    require_media_type(request, JOSE)
    gateway = gateway_of(request.scope)
    wait = ingress.wait_seconds(query(request, "wait").get("wait"), gateway.settings.server.wait_max_seconds)
    raw = await request.body()
    view = await ingress.submit(gateway.pipeline, raw, principal, received_at=time.time(), wait=wait)
    status = 200 if view["status"] == PlanStatus.DONE else 202
    return JsonResponse(view, status, {"location": f"/v1/plans/{view['plan_id']}"})


async def show(request: Request, principal: Principal) -> Response:
    """The plan as it stands."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).pipeline.view(segment(request, "plan_id"), principal))


async def follow(request: Request, principal: Principal) -> ASGIApp:
    """The plan's progress as server-sent events."""
    query(request)
    after = last_event_id(request)
    events = gateway_of(request.scope).pipeline.events(segment(request, "plan_id"), principal, after)
    return EventStream(
        events,
        request.app.state.streams,
        f"{principal.tenant}/{principal.id}",
        partial(authenticate, request.scope),
    )


async def why(request: Request, principal: Principal) -> Response:
    """Each rule that spoke about a step, and the input it saw."""
    query(request)
    evidence = gateway_of(request.scope).evidence
    return JsonResponse(await evidence.why(segment(request, "plan_id"), segment(request, "step_id"), principal))


async def report(request: Request, principal: Principal) -> Response:
    """Take what a client says came of a step that it ran itself."""
    query(request)
    given = await json_body(request, ReportGiven)
    result = HandResult(tuple(given.content), None, given.is_error)
    gateway = gateway_of(request.scope)
    plan_id, step_id = segment(request, "plan_id"), segment(request, "step_id")
    reported = await gateway.client_reports.report(principal, plan_id, step_id, result)
    return JsonResponse(reported.document())


def last_event_id(request: Request) -> int:
    """Where a follower left off (WHATWG HTML, section 9.2.4); 0 where it begins.

    Raises:
        Refused: ``request.malformed`` for an id that this gateway never sent.
    """
    text = request.headers.get("last-event-id", "")
    if not text:
        return 0
    if _EVENT_ID.fullmatch(text) is None:
        raise Malformed("out of range", parameter="Last-Event-ID", expected="an id of an event of this plan")
    return int(text)


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/plans",
        access=Permission.PLANS_SUBMIT,
        tag="plans",
        summary="Submit a signed plan.",
        handler=submit,
        requests=(Body(JOSE, description="The plan as a compact JWS, typ plan+jws."),),
        parameters=(Parameter("wait", "Seconds to wait for the plan to be done.", {"type": "number", "minimum": 0}),),
        answers={
            200: Body(JSON, PlanView, "The plan is done."),
            202: Body(JSON, PlanView, "The plan is on record and not done."),
        },
        problems=(
            *VERIFY,
            *ENVELOPE,
            Reason.LIMIT_PLANS,
            Reason.LIMIT_APPROVALS,
            Reason.LOG_UNAVAILABLE,
            Reason.KEY_UNAVAILABLE,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/plans/{plan_id}",
        access=Permission.PLANS_READ,
        tag="plans",
        summary="See a plan.",
        handler=show,
        answers={200: Body(JSON, PlanView, "The plan as it stands.")},
    ),
    Endpoint(
        method="GET",
        path="/v1/plans/{plan_id}/events",
        access=Permission.PLANS_READ,
        tag="plans",
        summary="Follow a plan: events step, plan, and done at the end.",
        handler=follow,
        parameters=(Parameter("Last-Event-ID", "Resume after this event.", place="header"),),
        answers={200: Body("text/event-stream", description="Server-sent events.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/plans/{plan_id}/steps/{step_id}/report",
        access=Permission.PLANS_SUBMIT,
        tag="plans",
        summary="Report what came of a released step, which the client ran itself.",
        handler=report,
        requests=(Body(JSON, ReportGiven),),
        answers={200: Body(JSON, ReportedShown, "It is on record: now, or from before if it was the same.")},
        problems=(Reason.REQUEST_CONFLICT, Reason.FREEZE_ACTIVE, Reason.SCHEMA_JSON, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="GET",
        path="/v1/plans/{plan_id}/steps/{step_id}/why",
        access=Permission.WHY,
        tag="plans",
        summary="Ask why a step was decided as it was.",
        handler=why,
        answers={200: Body(JSON, WhyView, "The rules that spoke, and the input they saw.")},
    ),
)
