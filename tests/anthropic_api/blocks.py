"""Messages of a model, built from the SDK's types, and the events in which the API streams them."""

import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from anthropic.types import (
    InputJSONDelta,
    Message,
    MessageDeltaUsage,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawContentBlockStopEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
    SignatureDelta,
    StopReason,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
    Usage,
)
from anthropic.types.raw_message_delta_event import Delta

MODEL: Final = "claude-opus-4-6"
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
_PART: Final = 7
"""Characters that one delta carries: short, so that a reader has to join them."""

Block: TypeAlias = TextBlock | ThinkingBlock | ToolUseBlock
_Event: TypeAlias = (
    RawMessageStartEvent
    | RawContentBlockStartEvent
    | RawContentBlockDeltaEvent
    | RawContentBlockStopEvent
    | RawMessageDeltaEvent
    | RawMessageStopEvent
)


def text(words: str) -> TextBlock:
    """A block of text."""
    return TextBlock(type="text", text=words)


def thinking(words: str, signature: str = "c2lnbmVk") -> ThinkingBlock:
    """A block of thinking."""
    return ThinkingBlock(type="thinking", thinking=words, signature=signature)


def tool_use(name: str, arguments: Mapping[str, Any], use_id: str | None = None) -> ToolUseBlock:
    """A call of a tool that the client runs."""
    return ToolUseBlock(type="tool_use", id=use_id or f"toolu_{_unique()}", name=name, input=dict(arguments))


def message(
    *blocks: Block | str,
    stop_reason: StopReason | None = None,
    model: str = MODEL,
    input_tokens: int = 11,
    output_tokens: int = 6,
) -> Message:
    """What the model says in one turn; a string is a block of text.

    Args:
        stop_reason: unless given, ``tool_use`` if there is such a block, else ``end_turn``.
    """
    content = [text(block) if isinstance(block, str) else block for block in blocks]
    stopped = stop_reason or ("tool_use" if any(block.type == "tool_use" for block in content) else "end_turn")
    return Message(
        id=f"msg_{_unique()}",
        type="message",
        role="assistant",
        model=model,
        content=list(content),
        stop_reason=stopped,
        stop_sequence=None,
        stop_details=None,
        usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens),
    )


def body(whole: Message) -> bytes:
    """The message as the API gives it to who does not stream."""
    return whole.to_json(indent=None).encode()


def streamed(whole: Message, pings: bool = True) -> Sequence[bytes]:
    """The message as events of ``text/event-stream``, one a string of bytes.

    Args:
        pings: whether one comes after the first block has begun, as the API does it.
    """
    return list(_with_pings(map(_wire, _events(whole)), pings))


def _events(whole: Message) -> Iterator[_Event]:
    begun = whole.model_copy(update={"content": [], "stop_reason": None})
    yield RawMessageStartEvent(type="message_start", message=begun)
    for index, block in enumerate(whole.content):
        yield RawContentBlockStartEvent(type="content_block_start", index=index, content_block=_empty(block))
        for delta in _deltas(block):
            yield RawContentBlockDeltaEvent(type="content_block_delta", index=index, delta=delta)
        yield RawContentBlockStopEvent(type="content_block_stop", index=index)
    yield RawMessageDeltaEvent(
        type="message_delta",
        delta=Delta(stop_reason=whole.stop_reason, stop_sequence=whole.stop_sequence, stop_details=None),
        usage=MessageDeltaUsage(output_tokens=whole.usage.output_tokens),
    )
    yield RawMessageStopEvent(type="message_stop")


def _empty(block: Any) -> Any:
    match block:
        case TextBlock():
            return block.model_copy(update={"text": ""})
        case ThinkingBlock():
            return block.model_copy(update={"thinking": "", "signature": ""})
        case ToolUseBlock():
            return block.model_copy(update={"input": {}})
    raise TypeError(f"a {block.type} block is not streamed here; write its events")


def _deltas(block: Any) -> Iterable[Any]:
    match block:
        case TextBlock():
            return [TextDelta(type="text_delta", text=part) for part in _parts(block.text)]
        case ThinkingBlock():
            return [
                *(ThinkingDelta(type="thinking_delta", thinking=part) for part in _parts(block.thinking)),
                SignatureDelta(type="signature_delta", signature=block.signature),
            ]
        case _:
            # The API begins the input of a tool with an empty part.
            whole = ["", *_parts(json.dumps(block.input, ensure_ascii=False))]
            return [InputJSONDelta(type="input_json_delta", partial_json=part) for part in whole]


def _parts(words: str) -> Sequence[str]:
    return [words[start : start + _PART] for start in range(0, len(words), _PART)]


def _wire(event: _Event) -> bytes:
    return f"event: {event.type}\ndata: {event.to_json(indent=None)}\n\n".encode()


def _with_pings(events: Iterable[bytes], pings: bool) -> Iterator[bytes]:
    events = iter(events)
    yield from itertools.islice(events, 2)
    if pings:
        yield PING
    yield from events


def _unique() -> str:
    return uuid.uuid4().hex[:24]
