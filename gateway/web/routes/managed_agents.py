"""Agents that run at Anthropic, and their sessions."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, json_body, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_managed_agents import (
    AgentSessionDetail,
    AgentSessionList,
    AgentSessionView,
    FollowRequest,
    ManagedAgentView,
)

_SERVICE: Final = (
    Reason.AGENTS_UNAVAILABLE,
    Reason.AGENTS_REFUSED,
    Reason.SECRET_MISSING,
    Reason.SECRET_UNAVAILABLE,
    Reason.LOG_UNAVAILABLE,
)


async def list_(request: Request, principal: Principal) -> Response:
    """Every session of the tenant."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).managed_agents.list(principal))


async def show(request: Request, principal: Principal) -> Response:
    """One session."""
    query(request)
    agents = gateway_of(request.scope).managed_agents
    return JsonResponse(await agents.show(principal, segment(request, "connector"), segment(request, "session_id")))


async def follow(request: Request, principal: Principal) -> Response:
    """Follow a session."""
    query(request)
    name = segment(request, "connector")
    asked = await json_body(request, FollowRequest)
    view = await gateway_of(request.scope).managed_agents.follow(principal, name, asked.session_id)
    return JsonResponse(view, 201, {"location": f"/v1/managed-agents/{name}/sessions/{asked.session_id}"})


async def release(request: Request, principal: Principal) -> Response:
    """Let a session go."""
    query(request)
    agents = gateway_of(request.scope).managed_agents
    return JsonResponse(await agents.release(principal, segment(request, "connector"), segment(request, "session_id")))


async def agent(request: Request, principal: Principal) -> Response:
    """What an agent needs."""
    query(request)
    agents = gateway_of(request.scope).managed_agents
    return JsonResponse(await agents.agent(principal, segment(request, "connector"), segment(request, "agent_id")))


async def adopt(request: Request, principal: Principal) -> Response:
    """Give an agent what it needs."""
    query(request)
    agents = gateway_of(request.scope).managed_agents
    return JsonResponse(await agents.adopt(principal, segment(request, "connector"), segment(request, "agent_id")))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/managed-agents/sessions",
        access=Permission.AGENTS_READ,
        tag="managed agents",
        summary="List sessions at Anthropic that are, or were, followed.",
        handler=list_,
        answers={200: Body(JSON, AgentSessionList, "Sessions, newest first.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/managed-agents/{connector}/sessions/{session_id}",
        access=Permission.AGENTS_READ,
        tag="managed agents",
        summary="Show a session and its tool calls.",
        handler=show,
        answers={200: Body(JSON, AgentSessionDetail, "The session.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="POST",
        path="/v1/managed-agents/{connector}/sessions",
        access=Permission.AGENTS_MANAGE,
        tag="managed agents",
        summary="Follow a session: its tool calls are decided here from now on.",
        handler=follow,
        requests=(Body(JSON, FollowRequest),),
        answers={201: Body(JSON, AgentSessionView, "It is followed.")},
        problems=(Reason.REQUEST_CONFLICT, *_SERVICE),
    ),
    Endpoint(
        method="POST",
        path="/v1/managed-agents/{connector}/sessions/{session_id}/release",
        access=Permission.AGENTS_MANAGE,
        tag="managed agents",
        summary="Let a session go: nobody here answers its tool calls any more.",
        handler=release,
        answers={200: Body(JSON, AgentSessionView, "It is let go.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/managed-agents/{connector}/agents/{agent_id}",
        access=Permission.AGENTS_MANAGE,
        tag="managed agents",
        summary="Show which permission policies an agent has, and which it needs.",
        handler=agent,
        answers={200: Body(JSON, ManagedAgentView, "The agent.")},
        problems=_SERVICE,
    ),
    Endpoint(
        method="POST",
        path="/v1/managed-agents/{connector}/agents/{agent_id}/adopt",
        access=Permission.AGENTS_MANAGE,
        tag="managed agents",
        summary="Give an agent the permission policies that it needs.",
        handler=adopt,
        answers={200: Body(JSON, ManagedAgentView, "The agent as it is now.")},
        problems=(Reason.REQUEST_CONFLICT, *_SERVICE),
    ),
)
