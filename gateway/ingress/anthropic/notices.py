"""What the gateway says itself in the forms of the Messages API: errors, and messages in place of an answer. Pure.

A denial says what the plan API would say of it, and no more.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.errors import HandrailError
from gateway.ingress import telling
from gateway.ingress.anthropic.holding import event_bytes
from gateway.messages_api.blocks import TEXT
from gateway.model import StepStatus
from gateway.reasons import TEXTS, Reason

TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Status -> type of an error (the API's documentation, errors)."""


class Unsuccessful(HandrailError):
    """The request's step did not succeed: its reason, what may be said of it, and when to ask again, where the step
    knows."""

    def __init__(self, reason: Reason, said: str, retry_after_seconds: int | None = None) -> None:
        later = {} if retry_after_seconds is None else {"retry_after_seconds": retry_after_seconds}
        super().__init__(reason, "the step did not succeed", **later)
        self.said = said


def error_type(status: int) -> str:
    """The API's type of an error with this status."""
    return TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


def error_document(kind: str, message: str, request_id: str) -> dict[str, Any]:
    """An error as the API has it."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def refused_event(error: HandrailError, status: int) -> bytes:
    """The event that ends a stream that broke off: what :func:`error_body` says where none has begun."""
    return event_bytes({"type": "error", "error": {"type": error_type(status), "message": said_of(error)}})


def said_of(error: HandrailError) -> str:
    """What a client is told of an error: its reason, and on lines of their own where it is and what would be right."""
    if isinstance(error, Unsuccessful):
        return error.said
    lines = [f"{error.reason}: {TEXTS[error.reason]}"]
    if error.reason is Reason.AUTH_MISSING:
        lines.append("Here the key may be in 'x-api-key' or 'x-handrail-key' as well.")
    if "expected" in error.facts:
        lines.append(f"{_place(error.facts)}expected {error.facts['expected']}")
    if "body_max_bytes" in error.facts:
        lines.append(f"It accepts {error.facts['body_max_bytes']} bytes.")
    return "\n".join(lines)


def _place(facts: Mapping[str, str | int]) -> str:
    """Where something else was expected; empty where nobody can say."""
    if "line" in facts:
        return f"at line {facts['line']}, column {facts['column']}: "
    named = next((facts[name] for name in ("pointer", "parameter", "member") if name in facts), None)
    return "" if named is None else f"at {orjson.dumps(str(named)).decode()}: "


def error_body(error: HandrailError, status: int, request_id: str) -> bytes:
    """An error in the API's form."""
    return orjson.dumps(error_document(error_type(status), said_of(error), request_id))


def why(plan_id: str, step: Mapping[str, Any], public_url: str) -> str:
    """What is said of a step that did not succeed."""
    status = StepStatus(step["status"])
    known = status.final and status is not StepStatus.AMBIGUOUS
    at = [] if known else [f"Its state is at {telling.state_at(public_url, plan_id)}"]
    return "\n".join([*telling.outcome(step), *at])


def withheld(name: str, plan_id: str, step: Mapping[str, Any], public_url: str) -> str:
    """What stands in place of a call that the client is not given."""
    if step["status"] == StepStatus.HELD:
        return f"[Handrail held the call of {name}. {approval(step, public_url)}]"
    if step["status"] == StepStatus.RELEASED:
        return f"[Handrail did not let the call of {name} through. Its approval was used before, or holds no more.]"
    return f"[Handrail did not let the call of {name} through.\n{why(plan_id, step, public_url)}]"


def unreadable(name: str) -> str:
    """The same for a call that cannot be judged, for it is no one call."""
    reason = Reason.SCHEMA_JSON
    return f"[Handrail did not let the call of {name} through.\n{reason}: {TEXTS[reason]}]"


def ill_formed(name: str, refused: HandrailError) -> str:
    """The same for calls of which one is none that its hand takes."""
    return f"[Handrail did not let the call of {name} through.\n{refused.reason}: {refused.text}]"


def approval(step: Mapping[str, Any], public_url: str) -> str:
    """Where a person answers, and what happens then."""
    said = "; ".join(telling.reasons(step))
    page = telling.page(public_url, step["approval_id"])
    return (
        f"A person must approve exactly this call first, at {page}"
        + (f" ({said})" if said else "")
        + ". Once that is done, the same call passes, once."
    )


def held_message(view: Mapping[str, Any], step: Mapping[str, Any], model: str, public_url: str) -> dict[str, Any]:
    """The answer to a request that waits for a person, or is being asked since one approved it."""
    if step["status"] == StepStatus.RUNNING:
        text = "Handrail asks this request: a person approved it. For its answer, ask exactly the same again."
    else:
        text = f"Handrail held this request. {approval(step, public_url)}"
    return message(view["plan_id"], model, f"[{text}]")


def message(seed: str, model: str, text: str) -> dict[str, Any]:
    """A message of the gateway's own."""
    return {
        "id": f"msg_handrail_{hashlib.sha256(seed.encode()).hexdigest()[:24]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": TEXT, "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def whole(said: Mapping[str, Any]) -> bytes:
    """A message in one piece."""
    return orjson.dumps(said)


def streamed(said: Mapping[str, Any]) -> Iterator[bytes]:
    """A whole message as the events of a stream."""
    usage = said.get("usage") or {}
    begun = {**said, "content": [], "stop_reason": None, "stop_sequence": None}
    yield event_bytes({"type": "message_start", "message": begun})
    for index, block in enumerate(said["content"]):
        yield from _block(index, block)
    delta = {"stop_reason": said.get("stop_reason"), "stop_sequence": said.get("stop_sequence")}
    yield event_bytes({"type": "message_delta", "delta": delta, "usage": usage})
    yield event_bytes({"type": "message_stop"})


def _block(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    begun, deltas = _taken_apart(block)
    yield event_bytes({"type": "content_block_start", "index": index, "content_block": begun})
    for delta in deltas:
        yield event_bytes({"type": "content_block_delta", "index": index, "delta": delta})
    yield event_bytes({"type": "content_block_stop", "index": index})


def _taken_apart(block: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    """A block as it begins, and what is added to it."""
    match block["type"]:
        case "text":
            cited = ({"type": "citations_delta", "citation": one} for one in block.get("citations") or ())
            begun = {**block, "text": ""}
            if block.get("citations"):
                begun["citations"] = []
            return begun, _some({"type": "text_delta", "text": block["text"]}, *cited)
        case "thinking":
            signature = {"type": "signature_delta", "signature": block.get("signature", "")}
            thought = {"type": "thinking_delta", "thinking": block["thinking"]}
            return {**block, "thinking": "", "signature": ""}, _some(thought, signature)
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            written = orjson.dumps(block["input"]).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": written}]
    return block, ()


def _some(*deltas: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [delta for delta in deltas if delta["type"] == "citations_delta" or any(list(delta.values())[1:])]


def without(said: Mapping[str, Any], denied: Mapping[int, str], stop_reason: Any) -> dict[str, Any]:
    """A whole message with texts in place of the calls that are not let go."""
    content: Iterable[Any] = (
        {"type": TEXT, "text": denied[index]} if index in denied else block
        for index, block in enumerate(said["content"])
    )
    return {**said, "content": list(content), "stop_reason": stop_reason}
