"""Steps that ended in doubt, or did not reach their hand, and what people do with them."""

import json
from typing import cast

from handrail.exchange import Operation, Request, get, path_of, post
from handrail.views import Json, PlanView


def dead_letters(*, status: str = "open", after: int | None = None, limit: int | None = None) -> Operation[Json]:
    """A page of dead letters: ``{dead_letters, next}``, newest first.

    Args:
        status: ``"open"``, ``"retried"`` or ``"discarded"``.
        after: ``next`` of the page before.
        limit: dead letters on the page; the gateway's own choice where ``None``.
    """
    asked = {"status": status, "after": after, "limit": limit}
    reply = yield get("dead-letters", query={name: value for name, value in asked.items() if value is not None})
    return reply.document


def retry_step(
    plan_id: str, step_id: str, *, why: str, not_executed: bool = False, wait: float | None = None
) -> Operation[PlanView]:
    """Have a dead letter tried again, once, as a new plan; returns that plan.

    Args:
        not_executed: you say that the step did not happen; it is on record that you did.
        wait: seconds to wait for the new plan to be done.
    """
    body = json.dumps({"why": why, "not_executed": not_executed}).encode()
    query = {} if wait is None else {"wait": f"{wait:g}"}
    path = path_of("plans", plan_id, "steps", step_id, "retry")
    reply = yield Request("POST", path, query, body, "application/json", wait_seconds=wait or 0.0)
    return cast("PlanView", reply.document)


def discard_step(plan_id: str, step_id: str, *, why: str) -> Operation[Json]:
    """Say that nothing more is to be done about a dead letter."""
    return (yield post({"why": why}, "plans", plan_id, "steps", step_id, "discard")).document
