"""What is told a session of a tool use: by what became of its step, and no more than its principal would be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from gateway.errors import HandrailError
from gateway.ingress import telling
from gateway.managed_agents.events import Kind, ToolUse
from gateway.managed_agents.mapping import Mapped, Way
from gateway.model import StepStatus

TEXT_MAX_CHARACTERS: Final = 100_000
"""Of a result; the rest is left out, and it is said so."""
IMAGES_MAX: Final = 64
NO_OUTPUT: Final = "(no output)"


class Verdict(StrEnum):
    """What a tool use is answered with."""

    ALLOW = "allow"
    DENY = "deny"
    RESULT = "result"
    """The result of a hand that ran it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as events to send in one request.

    Attributes:
        reason: why it is a denial; empty where it is none.
    """

    verdict: Verdict
    events: tuple[Mapping[str, Any], ...]
    reason: str = ""


def of_step(use: ToolUse, mapped: Mapped, view: Mapping[str, Any]) -> Answer | None:
    """The answer to a tool use; ``None`` as long as its step has not ended.

    Args:
        view: the step as its plan's view has it.
    """
    status = StepStatus(view["status"])
    if not status.final:
        return None
    if mapped.way is Way.RELEASED and status is StepStatus.RELEASED:
        return Answer(Verdict.ALLOW, ({"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"},))
    if mapped.way is Way.RUN and status is StepStatus.SUCCEEDED:
        return _result(use, view)
    lines = telling.outcome(view) or ["The call did not run."]
    if mapped.way is Way.RUN and status is StepStatus.FAILED and view.get("result"):
        return _result(use, view, lines)
    return denial(use, mapped, "\n".join(lines), _code(view))


def of_refusal(use: ToolUse, mapped: Mapped, error: HandrailError) -> Answer:
    """The answer where nothing became a step."""
    return denial(use, mapped, "\n".join(telling.refusal(error)), str(error.reason))


def denial(use: ToolUse, mapped: Mapped, text: str, reason: str) -> Answer:
    """A denial in the form that the tool use takes."""
    if use.kind is Kind.CUSTOM:
        sent = {"type": "user.custom_tool_result", "custom_tool_use_id": use.id, "is_error": True}
        return Answer(Verdict.DENY, ({**sent, "content": [{"type": "text", "text": text}]},), reason)
    if mapped.way is Way.RUN and use.permission != "ask":
        # The service asks nobody, and does not run it either: who runs it says that it did not.
        sent = {"type": "user.tool_result", "tool_use_id": use.id, "is_error": True}
        return Answer(Verdict.DENY, ({**sent, "content": [{"type": "text", "text": text}]},), reason)
    denied = {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "deny", "deny_message": text}
    return Answer(Verdict.DENY, (denied,), reason)


def _result(use: ToolUse, view: Mapping[str, Any], why: Sequence[str] = ()) -> Answer:
    """The result of a hand that ran it; with ``why`` it failed, and this is its own account."""
    rest, images = _parted(view)
    said = telling.framed(rest, TEXT_MAX_CHARACTERS) or ("" if why or images else NO_OUTPUT)
    text = "\n".join([*why, *([said] if said else [])])
    content = [*([{"type": "text", "text": text}] if text else []), *images]
    is_error = bool(why)
    if use.kind is Kind.CUSTOM:
        sent = {"type": "user.custom_tool_result", "custom_tool_use_id": use.id}
        return Answer(Verdict.RESULT, ({**sent, "is_error": is_error, "content": content},))
    ran = {"type": "user.tool_result", "tool_use_id": use.id, "is_error": is_error, "content": content}
    allowed = {"type": "user.tool_confirmation", "tool_use_id": use.id, "result": "allow"}
    return Answer(Verdict.RESULT, (allowed, ran) if use.permission == "ask" else (ran,))


def _parted(view: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """The step without the images of its result, each word of trust still beside its block; and those images, in the
    form that a session takes."""
    result = view.get("result") or {}
    marks = view.get("result_marks") or {}
    trust = marks.get("trust") or {}
    words = trust.get("content") or ()
    images: list[dict[str, Any]] = []
    kept, kept_words = [], []
    for number, block in enumerate(result.get("content") or ()):
        image = _image(block)
        if image is not None and len(images) < IMAGES_MAX:
            images.append(image)
        else:
            kept.append(block)
            kept_words.append(words[number] if number < len(words) else "untrusted")
    rest = {**view, "result": {**result, "content": kept}}
    rest["result_marks"] = {**marks, "trust": {**trust, "content": kept_words}}
    return rest, images


def _image(block: Mapping[str, Any]) -> dict[str, Any] | None:
    if block.get("type") != "image" or not isinstance(block.get("data"), str):
        return None
    if not isinstance(block.get("mimeType"), str):
        return None
    return {"type": "image", "source": {"type": "base64", "media_type": block["mimeType"], "data": block["data"]}}


def _code(view: Mapping[str, Any]) -> str:
    error = view.get("error")
    if error:
        return str(error["code"])
    reasons = (view.get("decision") or {}).get("reasons") or []
    return str(reasons[0]["code"]) if reasons else str(view["status"])
