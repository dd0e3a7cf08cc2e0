"""Hooks of Claude Code: what it says before and after it uses a tool of its own, and how it is answered.

A ``PreToolUse`` hook is a call to judge, and a ``PostToolUse`` hook is the report of one. Claude Code goes on where a
hook's answer is no success, so every answer here is one: what cannot be judged is denied in the hook's own words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.calls import HandResult
from gateway.client_steps.collecting import Call
from gateway.client_steps.reports import ClientReports
from gateway.errors import HandrailError
from gateway.ingress.client_calls import ClientCalls, told
from gateway.model import Principal

BEFORE: Final = "PreToolUse"
AFTER: Final = "PostToolUse"
FAILED: Final = "PostToolUseFailure"
CONTEXT_PREFIX: Final = "claude-code."
"""A session is a context of its own kind: no other ingress can be made to use it by its bare id."""


@dataclass(frozen=True, slots=True)
class Hook:
    """What Claude Code sent, as far as anything here looks at it.

    Attributes:
        response: of a tool that ended; of one that failed, its error.
    """

    event: str
    session_id: str
    tool: str
    args: Mapping[str, Any]
    response: Any = None

    @property
    def context_id(self) -> str:
        """The context of the session."""
        return f"{CONTEXT_PREFIX}{self.session_id}"


@dataclass(slots=True)
class ClaudeCodeHooks:
    """Answers hooks by judging the calls of one hand and taking their reports."""

    calls: ClientCalls
    reports: ClientReports
    public_url: str

    async def answer(self, caller: Principal, hand: str, hook: Hook, *, wait_seconds: float) -> dict[str, Any]:
        """What Claude Code is answered. An event that is not about a tool is answered with nothing.

        Raises:
            HandrailError: the call is refused as a whole (see :func:`denied`), or the report is.
        """
        if hook.event == BEFORE:
            return await self._before(caller, hand, hook, wait_seconds)
        if hook.event in {AFTER, FAILED}:
            return await self._after(caller, hand, hook)
        return {}

    async def _before(self, caller: Principal, hand: str, hook: Hook, wait_seconds: float) -> dict[str, Any]:
        call = Call(hand, hook.tool, hook.args)
        [judged] = await self.calls.judge(caller, hook.context_id, [call], wait_seconds=wait_seconds)
        if judged.go:
            return _decision("allow", "Handrail let this call go.")
        return _decision("deny", told(judged, self.public_url))

    async def _after(self, caller: Principal, hand: str, hook: Hook) -> dict[str, Any]:
        found = await self.calls.collecting.unreported(caller, hook.context_id, Call(hand, hook.tool, hook.args))
        if found is None:
            return {"systemMessage": f"Handrail did not let a call of {hook.tool} go that was made."}
        result = HandResult(({"type": "text", "text": _text(hook.response)},), None, hook.event == FAILED)
        await self.reports.report(caller, found.plan_id, found.step_id, result)
        return {}


def denied(error: HandrailError) -> dict[str, Any]:
    """The answer where nothing was judged: the tool does not run."""
    return denied_because(f"{error.reason}: {error.text}")


def denied_because(why: str) -> dict[str, Any]:
    """The same in other words."""
    return _decision("deny", f"{why} This call was not made.")


def _decision(decision: str, why: str) -> dict[str, Any]:
    return {
        "hookSpecificOutput": {
            "hookEventName": BEFORE,
            "permissionDecision": decision,
            "permissionDecisionReason": why,
        }
    }


def _text(response: Any) -> str:
    """What a tool answered, as the text that a model could have read: it is searched and remembered as such."""
    return response if isinstance(response, str) else orjson.dumps(response).decode()
