"""A plan's view as the answer to ``tools/call``: what succeeded as it is, everything else as a text that a model can
act on and that says no more than the plan API would.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import pydantic
from mcp import types

from gateway.errors import HandrailError
from gateway.ingress.mcp.asking import page
from gateway.model import StepStatus
from gateway.reasons import TEXTS, Reason

PROBLEMS_SHOWN_MAX: Final = 8
POINTER_SHOWN_MAX_CHARACTERS: Final = 256
"""A pointer into args of a recursive schema can be as long as the args are."""
WHY_SHOWN_MAX_CHARACTERS: Final = 512
PLAN: Final = "handrail/plan_id"
"""``_meta`` member of a result: the plan that the call became."""
MARKS: Final = "handrail/result_marks"
"""``_meta`` member of a result: what is to be known of it and its own text cannot say (``docs/results.md``)."""

_BLOCKS: Final[pydantic.TypeAdapter[list[types.ContentBlock]]] = pydantic.TypeAdapter(list[types.ContentBlock])
_AFTERMATH: Final = {
    StepStatus.DEFERRED: "The call has not finished.",
    StepStatus.RUNNING: "The call has not finished.",
    StepStatus.AMBIGUOUS: "The tool may or may not have acted, and nobody can tell. Check before calling again.",
    StepStatus.EXPIRED: "Nobody approved the call in time; it did not run.",
    StepStatus.SKIPPED: "The call did not run.",
    StepStatus.CANCELLED: "The call was cancelled; it did not run.",
    StepStatus.RELEASED: "The call was released to the client.",
}


def refused(error: HandrailError) -> types.CallToolResult:
    """The whole plan was refused; nothing ran."""
    return _failure(refusal_lines(error))


def refusal_lines(error: HandrailError) -> list[str]:
    """What is said of a plan that was refused as a whole."""
    return [f"{error.reason}: {error.text}", "Nothing was run."]


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


def told(view: Mapping[str, Any], public_url: str, *, task: bool = False) -> list[str]:
    """What is said of a one-step plan that did not succeed, as lines; see :func:`answered`.

    Args:
        task: it is a task's, whose client comes back for it by its id.
    """
    step = view["steps"][0]
    status = StepStatus(step["status"])
    if status is StepStatus.HELD:
        return _held(step, view["plan_id"], public_url, task=task)
    lines: list[str] = []
    error = step.get("error")
    if error:
        lines.append(f"{error['code']}: {error['text']}")
        lines += _problems(error.get("problems") or [])
        lines += _why(error)
        if "page" in error:
            lines.append(f"The person whom this is for connects it at {error['page']}; then ask again.")
    if status is StepStatus.DENIED:
        lines += _messages(step.get("decision"))
    if status in _AFTERMATH:
        lines.append(_AFTERMATH[status])
    if not status.final or status is StepStatus.AMBIGUOUS:
        lines.append(f"Its state is at {public_url}/v1/plans/{view['plan_id']}")
    return lines


def _held(step: Mapping[str, Any], plan_id: str, public_url: str, *, task: bool) -> list[str]:
    approval = step["approval_id"]
    lines = [f"Waiting for approval {approval}: a person must approve this exact call before it runs."]
    lines += _messages(step.get("decision"))
    lines.append(f"A person answers at {page(public_url, approval)} (or: handrail approvals approve {approval}).")
    if task:
        return [*lines, "Once approved it runs by itself; the task then tells its outcome."]
    lines.append(
        "Make the same call again to wait for it: that asks nobody anew and runs nothing twice, and gives the outcome."
    )
    lines.append(f"Once approved it runs by itself; its outcome is also at {public_url}/v1/plans/{plan_id}")
    return lines


def _problems(problems: Sequence[Mapping[str, str]]) -> list[str]:
    """Where the args are off schema and by which keyword, one a line; never what stood there.

    A pointer names members that the schema declares, so a tool server chose their letters: as JSON strings they cannot
    begin a line of their own.
    """
    lines = [f"{_at(problem['pointer'])}{problem['keyword']}" for problem in problems[:PROBLEMS_SHOWN_MAX]]
    if len(problems) > PROBLEMS_SHOWN_MAX:
        lines.append("There are more.")
    return lines


def _why(error: Mapping[str, Any]) -> list[str]:
    """What an adapter found wrong with the args, and where, as one line; an adapter may be anybody's."""
    said = ": ".join(str(error[name]) for name in ("problem", "why") if error.get(name))
    if not said:
        return []
    place = _at(error["pointer"]) if "pointer" in error else ""
    return [place + _shortened(" ".join(said.split()), WHY_SHOWN_MAX_CHARACTERS)]


def _at(pointer: str) -> str:
    return f"at {orjson.dumps(_shortened(pointer, POINTER_SHOWN_MAX_CHARACTERS)).decode()}: "


def _shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}..."


def _messages(decision: Mapping[str, Any] | None) -> list[str]:
    """The policy's reasons, one a line."""
    return [
        f"{reason['code']}: {reason['message']}".removesuffix(": ") for reason in (decision or {}).get("reasons", [])
    ]


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
