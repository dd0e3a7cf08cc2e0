"""Calls that a program makes itself: judged before, reported after."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from handrail.exchange import Operation, Request, path_of
from handrail.views import Json, JudgedCall


def judge(
    context_id: str, calls: Sequence[Mapping[str, Any]], *, wait: float | None = None
) -> Operation[list[JudgedCall]]:
    """Have calls judged that are about to be made.

    Args:
        context_id: the journey that they belong to.
        calls: ``{hand, action, args}`` each; those that come together are one plan.
        wait: seconds to wait for people where they are asked.

    Returns:
        Of each, in their order: whether it may be made now, this once, and what a model may be told where not.
    """
    body = json.dumps({"context_id": context_id, "calls": [dict(call) for call in calls]}, allow_nan=False).encode()
    query = {} if wait is None else {"wait": f"{wait:g}"}
    reply = yield Request("POST", "/v1/calls", query, body, "application/json", wait_seconds=wait or 0.0)
    return cast("list[JudgedCall]", reply.document["calls"])


def report(plan_id: str, step_id: str, text: str, *, failed: bool = False) -> Operation[Json]:
    """Report what came of a step that was released to this program. The same again changes nothing."""
    content = [{"type": "text", "text": text}]
    body = json.dumps({"content": content, "is_error": failed}).encode()
    path = path_of("plans", plan_id, "steps", step_id, "report")
    return (yield Request("POST", path, {}, body, "application/json")).document
