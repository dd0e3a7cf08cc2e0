"""Plans, and receipts of their steps."""

from typing import cast

from handrail.exchange import Operation, Request, get
from handrail.views import Json, PlanView, ReceiptFile


def submit(jws: str, *, wait: float | None = None) -> Operation[PlanView]:
    """Submit a signed plan; wait up to ``wait`` seconds for it to be done.

    Sent once: a connection that breaks is never retried here, because the gateway may have the plan already.
    """
    query = {} if wait is None else {"wait": f"{wait:g}"}
    reply = yield Request("POST", "/v1/plans", query, jws.encode(), "application/jose", wait_seconds=wait or 0.0)
    return cast("PlanView", reply.document)


def plan(plan_id: str) -> Operation[PlanView]:
    """A plan and its steps as they stand."""
    return cast("PlanView", (yield get("plans", plan_id)).document)


def why(plan_id: str, step_id: str) -> Operation[Json]:
    """Each rule that spoke on a step, with file and line, and the input it saw."""
    return (yield get("plans", plan_id, "steps", step_id, "why")).document


def receipt(receipt_id: str) -> Operation[ReceiptFile]:
    """A receipt with its proof: one file that verifies offline."""
    bundle = (yield get("receipts", receipt_id)).document
    bundle["proof"] = (yield get("receipts", receipt_id, "proof")).text
    return cast("ReceiptFile", bundle)


def receipts(plan_id: str) -> Operation[list[ReceiptFile]]:
    """The receipts of every step of a plan that has one."""
    view = yield from plan(plan_id)
    found = []
    for step in view["steps"]:
        receipt_id = step.get("receipt_id")
        if receipt_id is not None:
            found.append((yield from receipt(receipt_id)))
    return found
