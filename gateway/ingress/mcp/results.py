"""A plan's view as the answer to ``tools/call``: what succeeded as it is, everything else as a text that a model can
act on and that says no more than the plan API would.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import pydantic
from mcp import types

from gateway.errors import HandrailError
from gateway.ingress import telling
from gateway.model import StepStatus
from gateway.reasons import TEXTS, Reason

PLAN: Final = "handrail/plan_id"
"""``_meta`` member of a result: the plan that the call became."""
MARKS: Final = "handrail/result_marks"
"""``_meta`` member of a result: what is to be known of it and its own text cannot say (``docs/results.md``)."""

_AGAIN: Final = (
    "Make the same call again to wait for it: that asks nobody anew and runs nothing twice, and gives the outcome."
)
_BLOCKS: Final[pydantic.TypeAdapter[list[types.ContentBlock]]] = pydantic.TypeAdapter(list[types.ContentBlock])


def refused(error: HandrailError) -> types.CallToolResult:
    """The whole plan was refused; nothing ran."""
    return _failure(telling.refusal(error))


def answered(view: Mapping[str, Any], public_url: str, *, object_only: bool) -> types.CallToolResult:
    """The answer for a one-step plan.

    Args:
        view: the plan's view (PlanView).
        public_url: base URL for the links in texts.
        object_only: whether the client's protocol version takes only objects as structured content (before 2026-07-28).
    """
    step = view["steps"][0]
    status = StepStatus(step["status"])
    if status is StepStatus.SUCCEEDED and "result" not in step:
        result = _failure(["The call succeeded. What the tool answered was erased since."])
    elif status is StepStatus.SUCCEEDED:
        result = _success(step["result"] or {}, _cut(step), object_only=object_only)
    else:
        shown = step.get("result") if status is StepStatus.FAILED else None
        result = _failure([*told(view, public_url), *_cut(step)], (shown or {}).get("content") or [])
    result.meta = {PLAN: view["plan_id"]}
    if "result_marks" in step:
        result.meta[MARKS] = step["result_marks"]
    return result


def _cut(step: Mapping[str, Any]) -> list[str]:
    """That the result's text is not all of it, in a block of the gateway's own: the text may say anything."""
    truncated = step.get("result_marks", {}).get("truncated")
    if truncated is None:
        return []
    left_out = truncated["left_out_bytes"]
    how_much = "the rest was not read" if left_out is None else f"{left_out} bytes are left out"
    return [f"The tool's answer was longer than allowed and is cut: {how_much}."]


def told(view: Mapping[str, Any], public_url: str, *, repeatable: bool = True) -> list[str]:
    """What is said of a one-step plan that did not succeed, as lines; see :func:`answered`.

    Args:
        repeatable: whether the same call, made again, waits with this one.
    """
    step = view["steps"][0]
    status = StepStatus(step["status"])
    if status is StepStatus.HELD:
        return _held(step, view["plan_id"], public_url, repeatable=repeatable)
    lines = telling.outcome(step)
    if not status.final or status is StepStatus.AMBIGUOUS:
        lines.append(f"Its state is at {telling.state_at(public_url, view['plan_id'])}")
    return lines


def _held(step: Mapping[str, Any], plan_id: str, public_url: str, *, repeatable: bool) -> list[str]:
    approval = step["approval_id"]
    lines = [f"Waiting for approval {approval}: a person must approve this exact call before it runs."]
    lines += telling.reasons(step)
    page = telling.page(public_url, approval)
    lines.append(f"A person answers at {page} (or: handrail approvals approve {approval}).")
    if repeatable:
        lines.append(_AGAIN)
    lines.append(f"Once approved it runs by itself; its outcome is also at {telling.state_at(public_url, plan_id)}")
    return lines


def _success(result: Mapping[str, Any], notes: list[str], *, object_only: bool) -> types.CallToolResult:
    structured = result.get("structured")
    blocks = _content(result.get("content") or [])
    if blocks is None:
        return _failure([f"{Reason.HAND_PROTOCOL}: {TEXTS[Reason.HAND_PROTOCOL]}"])
    if not blocks and structured is not None:
        blocks = [types.TextContent(text=orjson.dumps(structured).decode())]
    if object_only and not isinstance(structured, dict):
        structured = None
    blocks = [*(types.TextContent(text=text) for text in notes), *blocks]
    return types.CallToolResult(content=blocks, structured_content=structured)


def _failure(lines: list[str], content: list[Any] | None = None) -> types.CallToolResult:
    """An error as text; ``content`` is the hand's own governed account of its failure."""
    told = _content(content or []) or []
    return types.CallToolResult(content=[types.TextContent(text="\n".join(lines)), *told], is_error=True)


def _content(content: list[Any]) -> list[types.ContentBlock] | None:
    """Content blocks of MCP, or ``None`` where they are not any."""
    try:
        return _BLOCKS.validate_python(content, by_alias=True)
    except pydantic.ValidationError:
        return None
