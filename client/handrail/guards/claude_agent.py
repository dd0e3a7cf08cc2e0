"""Hooks of claude-agent-sdk (``pip install handrail-client[claude-agent]``): every tool of its Claude Code is judged
before it runs, and reported after.

::

    options = ClaudeAgentOptions(hooks=hooks(guard))
"""

from typing import Any

from claude_agent_sdk import HookMatcher

from handrail.guard import NOT_MADE, Denied, Guard, Pass, text_of

_TIMEOUT_SECONDS = 60


def hooks(guard: Guard) -> dict[str, list[HookMatcher]]:
    """For ``ClaudeAgentOptions.hooks``: each call of a tool, whichever, is an action of the guard's hand."""
    made: dict[str, Pass] = {}

    async def before(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:  # noqa: ARG001
        try:
            allowed = await guard.decide_async(str(given["tool_name"]), given["tool_input"])
        except Denied as denied:
            return _denied(str(denied))
        except Exception as error:  # noqa: BLE001 - whatever fails here, the tool must not run
            return _denied(f"The guard failed ({type(error).__name__}). {NOT_MADE}")
        if tool_use_id is not None:
            made[tool_use_id] = allowed
        return _decision("allow", "Handrail let this call go.")

    async def after(given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:  # noqa: ARG001
        allowed = made.pop(tool_use_id or "", None)
        if allowed is not None:
            failed = given["hook_event_name"] == "PostToolUseFailure"
            said = given.get("error") if failed else given.get("tool_response")
            await guard.report_async(allowed, text_of(said), failed=failed)
        return {}

    waiting = guard.wait + _TIMEOUT_SECONDS
    return {
        "PreToolUse": [HookMatcher(hooks=[before], timeout=waiting, on_failure="block")],
        "PostToolUse": [HookMatcher(hooks=[after], timeout=waiting)],
        "PostToolUseFailure": [HookMatcher(hooks=[after], timeout=waiting)],
    }


def _denied(why: str) -> dict[str, Any]:
    return _decision("deny", why)


def _decision(decision: str, why: str) -> dict[str, Any]:
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": decision,
            "permissionDecisionReason": why,
        }
    }
