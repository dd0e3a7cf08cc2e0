"""Calls that clients make themselves: judged before, and the hooks of Claude Code, which say both."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.client_steps.collecting import Call
from gateway.errors import HandrailError
from gateway.ingress.claude_code import AFTER, BEFORE, FAILED, Hook, denied
from gateway.ingress.client_calls import told
from gateway.ingress.plans import wait_seconds
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, json_body, query
from gateway.web.context import gateway_of
from gateway.web.errors import report
from gateway.web.routing import Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas_calls import CallsGiven, CallsJudged, HookAnswer, HookGiven

HOOK_HAND: Final = "claude-code"
_WAIT: Final = Parameter("wait", "Seconds to wait for people where they are asked.", {"type": "number", "minimum": 0})


async def judge(request: Request, principal: Principal) -> Response:
    """Judge calls that the client is about to make."""
    asked = query(request, "wait")
    gateway = gateway_of(request.scope)
    wait = wait_seconds(asked.get("wait"), gateway.settings.server.wait_max_seconds)
    given = await json_body(request, CallsGiven)
    calls = [Call(call.hand, call.action, call.args) for call in given.calls]
    judged = await gateway.client_calls.judge(principal, given.context_id, calls, wait_seconds=wait)
    url = gateway.settings.public_url
    shown = [
        {"go": one.go, "text": "" if one.go else told(one, url), "plan_id": one.plan_id, "step": one.step}
        for one in judged
    ]
    return JsonResponse({"calls": shown})


async def claude_code(request: Request, principal: Principal) -> Response:
    """Answer a hook of Claude Code. What cannot be judged is denied: Claude Code would go on at an error."""
    asked = query(request, "wait", "hand")
    gateway = gateway_of(request.scope)
    wait = wait_seconds(asked.get("wait"), gateway.settings.server.wait_max_seconds)
    given = await json_body(request, HookGiven)
    response = given.error if given.hook_event_name == FAILED else given.tool_response
    hook = Hook(given.hook_event_name, given.session_id, given.tool_name, given.tool_input, response)
    try:
        hand = asked.get("hand", HOOK_HAND)
        return JsonResponse(await gateway.hooks.answer(principal, hand, hook, wait_seconds=wait))
    except HandrailError as error:
        report(request.scope, error)
        if hook.event == BEFORE:
            return JsonResponse(denied(error))
        return JsonResponse({"systemMessage": f"Handrail took no report of {hook.tool}: {error.reason}: {error.text}"})


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/calls",
        access=Permission.PLANS_SUBMIT,
        tag="calls",
        summary="Have calls judged that the client is about to make itself.",
        handler=judge,
        requests=(Body(JSON, CallsGiven),),
        parameters=(_WAIT,),
        answers={200: Body(JSON, CallsJudged, "What became of each call.")},
        problems=(
            Reason.VERIFY_CONTEXT,
            Reason.SCHEMA_JSON,
            Reason.SCHEMA_PLAN,
            Reason.SCHEMA_UNKNOWN_HAND,
            Reason.LIMIT_PLANS,
            Reason.LIMIT_APPROVALS,
            Reason.FREEZE_ACTIVE,
            Reason.LOG_UNAVAILABLE,
            Reason.KEY_UNAVAILABLE,
            Reason.OVERLOADED,
        ),
    ),
    Endpoint(
        method="POST",
        path="/v1/hooks/claude-code",
        access=Permission.PLANS_SUBMIT,
        tag="calls",
        summary=f"Answer the hooks {BEFORE}, {AFTER} and {FAILED} of Claude Code.",
        handler=claude_code,
        requests=(Body(JSON, HookGiven),),
        parameters=(_WAIT, Parameter("hand", f"The hand whose actions the tools are. Default: {HOOK_HAND}.")),
        answers={200: Body(JSON, HookAnswer, "Also where the request is refused: it then denies the call.")},
    ),
)
