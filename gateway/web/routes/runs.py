"""Runs: begin, list, see, follow, cancel."""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.runs.asked import Asked
from gateway.runs.service import PAGE_DEFAULT, PAGE_MAX
from gateway.runs.wish import Wish
from gateway.web.authentication import authenticate, shown
from gateway.web.bodies import JSON, after_index, json_body, limit_of, query, segment
from gateway.web.context import gateway_of
from gateway.web.routes.plans import last_event_id
from gateway.web.routing import AFTER_INDEX, Body, Endpoint, JsonResponse, Parameter, limit
from gateway.web.schemas_runs import RunList, RunRequest, RunView
from gateway.web.sse import EventStream


async def begin(request: Request, principal: Principal) -> Response:
    """Begin a run; it goes on whether or not anybody follows it."""
    query(request)
    said = await json_body(request, RunRequest)
    asked = Asked(said.prompt, said.system, said.purpose, said.brain, said.data_classes)
    wish = Wish(said.hands, said.budget.steps, said.budget.tokens, said.budget.money, said.deadline_seconds)
    view = await gateway_of(request.scope).runs.begin(principal, await shown(request.scope), asked, wish)
    return JsonResponse(view, 202, {"location": f"/v1/runs/{view['run_id']}"})


async def list_(request: Request, principal: Principal) -> Response:
    """A page of runs, newest first."""
    asked = query(request, "after", "limit")
    after, at_most = after_index(asked), limit_of(asked, default=PAGE_DEFAULT, maximum=PAGE_MAX)
    return JsonResponse(await gateway_of(request.scope).runs.page(principal, after=after, limit=at_most))


async def show(request: Request, principal: Principal) -> Response:
    """A run as it stands."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).runs.view(segment(request, "run_id"), principal))


async def follow(request: Request, principal: Principal) -> ASGIApp:
    """A run's progress as server-sent events."""
    query(request)
    after = last_event_id(request)
    events = gateway_of(request.scope).runs.events(segment(request, "run_id"), principal, after)
    owner = f"{principal.tenant}/{principal.id}"
    return EventStream(events, request.app.state.streams, owner, partial(authenticate, request.scope))


async def cancel(request: Request, principal: Principal) -> Response:
    """End a run of one's own."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).runs.cancel(segment(request, "run_id"), principal))


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/runs",
        access=Permission.PLANS_SUBMIT,
        tag="runs",
        summary="Have the gateway ask a model, with hands as its tools, until it is done.",
        handler=begin,
        requests=(Body(JSON, RunRequest),),
        answers={202: Body(JSON, RunView, "The run has begun.")},
        problems=(
            Reason.RUN_NO_BRAIN,
            Reason.RUN_BRAIN,
            Reason.FREEZE_ACTIVE,
            Reason.LIMIT_RUNS,
            Reason.LOG_UNAVAILABLE,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/runs",
        access=Permission.PLANS_READ,
        tag="runs",
        summary="List runs.",
        handler=list_,
        parameters=(AFTER_INDEX, limit(PAGE_DEFAULT, PAGE_MAX)),
        answers={200: Body(JSON, RunList, "A page of runs.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/runs/{run_id}",
        access=Permission.PLANS_READ,
        tag="runs",
        summary="See a run.",
        handler=show,
        answers={200: Body(JSON, RunView, "The run as it stands.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/runs/{run_id}/events",
        access=Permission.PLANS_READ,
        tag="runs",
        summary="Follow a run: events turn, and done at the end.",
        handler=follow,
        parameters=(Parameter("Last-Event-ID", "Resume after this event.", place="header"),),
        answers={200: Body("text/event-stream", description="Server-sent events.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="POST",
        path="/v1/runs/{run_id}/cancel",
        access=Permission.PLANS_SUBMIT,
        tag="runs",
        summary="End a run of one's own.",
        handler=cancel,
        answers={200: Body(JSON, RunView, "The run has ended.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
)
