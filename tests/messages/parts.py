"""Events of a stream, written by hand."""

from typing import Any

from gateway.ingress.anthropic.holding import event_bytes


def ev(kind: str, **members: Any) -> bytes:
    return event_bytes({"type": kind, **members})


def start(**changes: Any) -> bytes:
    return ev("message_start", message={"id": "m", "type": "message", "role": "assistant", "content": [], **changes})


def block(index: Any, **content: Any) -> bytes:
    return ev("content_block_start", index=index, content_block=content)


def part(index: Any, **delta: Any) -> bytes:
    return ev("content_block_delta", index=index, delta=delta)


def stop(index: Any) -> bytes:
    return ev("content_block_stop", index=index)


def end(reason: str | None = "tool_use") -> list[bytes]:
    return [ev("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 1})]


END = [*end(), ev("message_stop")]


def call(index: int, written: str = '{"a": 1}', **changes: Any) -> list[bytes]:
    begun = {"type": "tool_use", "id": f"toolu_{index}", "name": "Read", "input": {}, **changes}
    return [block(index, **begun), part(index, type="input_json_delta", partial_json=written), stop(index)]
