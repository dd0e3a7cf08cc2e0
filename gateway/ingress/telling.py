"""What a model is told of a step: what its hand returned, framed as data, and of a call that did not succeed, lines
that it can act on and that say no more than the plan API.

Every way in says it so, and puts around it what only its own clients can do.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from handrail import frame

from gateway.errors import HandrailError
from gateway.model import StepStatus

PROBLEMS_SHOWN_MAX: Final = 8
POINTER_SHOWN_MAX_CHARACTERS: Final = 256
"""A pointer into args of a recursive schema can be as long as the args are."""
WHY_SHOWN_MAX_CHARACTERS: Final = 512
_AFTERMATH: Final = {
    StepStatus.DEFERRED: "The call has not finished.",
    StepStatus.RUNNING: "The call has not finished.",
    StepStatus.AMBIGUOUS: "The tool may or may not have acted, and nobody can tell. Check before calling again.",
    StepStatus.EXPIRED: "Nobody approved the call in time; it did not run.",
    StepStatus.SKIPPED: "The call did not run.",
    StepStatus.CANCELLED: "The call was cancelled; it did not run.",
    StepStatus.RELEASED: "The call was released to the client.",
}


def refusal(error: HandrailError) -> list[str]:
    """Of a plan that was refused as a whole."""
    return [f"{error.reason}: {error.text}", "Nothing was run."]


def outcome(step: Mapping[str, Any]) -> list[str]:
    """Of a step (of a plan's view) that neither succeeded nor waits for a person: why, and what that means."""
    return [*causes(step), *aftermath(step)]


def causes(step: Mapping[str, Any]) -> list[str]:
    """The reason with its text, what is wrong with the args and where, and of a denial what policy said."""
    lines: list[str] = []
    error = step.get("error")
    if error:
        lines.append(f"{error['code']}: {error['text']}")
        lines += _problems(error.get("problems") or [])
        lines += _why(error)
        if "page" in error:
            lines.append(f"The person whom this is for connects it at {error['page']}; then ask again.")
    if StepStatus(step["status"]) is StepStatus.DENIED:
        lines += [reason for reason in reasons(step) if reason not in lines]
    return lines


def aftermath(step: Mapping[str, Any]) -> list[str]:
    """What the step's status means for whoever called, where the causes do not say it."""
    return [_AFTERMATH[status]] if (status := StepStatus(step["status"])) in _AFTERMATH else []


def reasons(step: Mapping[str, Any]) -> list[str]:
    """The policy's reasons, one a line."""
    said = (step.get("decision") or {}).get("reasons", [])
    return [f"{reason['code']}: {reason['message']}".removesuffix(": ") for reason in said]


def state_at(public_url: str, plan_id: str) -> str:
    """Where a plan is read."""
    return f"{public_url}/v1/plans/{plan_id}"


def page(public_url: str, approval_id: str) -> str:
    """Where a person answers a request."""
    return f"{public_url}/approvals/{approval_id}"


def framed(step: Mapping[str, Any], characters_max: int) -> str:
    """What a hand returned, framed as data (``handrail.frame``), at most so many characters of it; empty where it is
    nothing."""
    return frame(_fitted(step, characters_max))


def _fitted(step: Mapping[str, Any], characters_max: int) -> dict[str, Any]:
    """A step of which no more is shown than that many characters. Tools repeat their structure as text: where there is
    text, the structure is left out."""
    result = step.get("result") or {}
    marks = dict(step.get("result_marks") or {})
    room, left_out, blocks = characters_max, 0, []
    for block in result.get("content") or []:
        if block.get("type") != "text" or not isinstance(block.get("text"), str):
            blocks.append(block)
            continue
        text = block["text"]
        left_out += len(text[room:].encode("utf-8", "surrogatepass"))
        blocks.append({**block, "text": text[:room]})
        room -= len(text[:room])
    structured = result.get("structured")
    if any(block.get("type") == "text" for block in blocks):
        structured = None
    elif structured is not None and len(shown := orjson.dumps(structured).decode()) > characters_max:
        blocks.append({"type": "text", "text": shown[:characters_max]})
        left_out, structured = len(shown[characters_max:].encode()), None
        words = ["untrusted"] * (len(blocks) - 1)
        marks["trust"] = {"content": [*words, marks.get("trust", {}).get("structured", "untrusted")]}
    if left_out:
        before = (marks.get("truncated") or {}).get("left_out_bytes") if marks.get("truncated") is not None else 0
        marks["truncated"] = {"left_out_bytes": None if before is None else before + left_out}
    return {**step, "result": {"content": blocks, "structured": structured}, "result_marks": marks}


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
