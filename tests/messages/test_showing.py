"""What of a request to a model policies are shown."""

import base64
from typing import Any

import pytest

from gateway.messages_api.showing import LEFT_OUT_MIN_BYTES, shown

DATA = base64.b64encode(bytes(range(256)) * 8).decode()
LEFT_OUT = {"left_out_bytes": len(DATA)}


def asking(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": list(blocks)}]}


def image(data: Any = DATA, kind: str = "base64", of: Any = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": {"type": kind, "media_type": of, "data": data}}


@pytest.mark.parametrize(
    ("block", "member"),
    [
        ({"type": "thinking", "thinking": "I look.", "signature": DATA}, "signature"),
        ({"type": "redacted_thinking", "data": DATA}, "data"),
        ({"type": "web_search_result", "url": "https://x", "encrypted_content": DATA}, "encrypted_content"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_rule_can_read_is_left_out_wherever_it_stands(block: dict[str, Any], member: str) -> None:
    batch = {"requests": [{"custom_id": "a", "params": asking(block)}]}
    fetched = asking({"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "content": block}})
    for place in (
        asking(block),
        asking({"type": "tool_result", "content": [block]}),
        {"system": [block]},
        batch,
        fetched,
    ):
        before = repr(place)
        assert repr(shown(place)) == before.replace(repr(DATA), repr(LEFT_OUT))
        assert repr(place) == before
    assert shown(asking(block))["messages"][0]["content"][0] == {**block, member: LEFT_OUT}


@pytest.mark.parametrize("of", ["image/png", "image/svg+xml", "application/pdf"])
def test_images_and_documents_are_left_out(of: str) -> None:
    for block in (image(of=of), {"type": "document", "source": {"type": "content", "content": [image(of=of)]}}):
        assert repr(shown(asking(block))) == repr(asking(block)).replace(repr(DATA), repr(LEFT_OUT))


@pytest.mark.parametrize(
    "args",
    [
        asking({"type": "text", "text": DATA}),
        asking(image(kind="text")),
        asking(image(f"{DATA} sk-ant-api03-a-key-in-the-clear")),
        asking(image(DATA[: LEFT_OUT_MIN_BYTES - 4])),
        asking(image([DATA])),
        asking({"type": "tool_use", "id": "t", "name": "n", "input": {"type": "base64", "data": DATA}}),
        asking({"type": ["base64"], "data": DATA}),
        asking(image(of="text/plain")),
        asking(image(of=["image/png"])),
        asking({"type": "base64", "media_type": "image/png", "data": DATA}),
        {"tools": [{"name": "n", "description": DATA}]},
        {"tools": [{"name": "n", "input_schema": {"default": image()["source"]}}]},
        {"metadata": {"type": "thinking", "signature": DATA}},
        {"type": "thinking", "signature": DATA, "messages": [{"role": "user", "type": "thinking", "signature": DATA}]},
        {"messages": {"role": "user", "content": [image()]}},
        {"requests": [{"custom_id": "a", "type": "thinking", "signature": DATA}, None, {"params": [image()]}]},
    ],
    ids=[
        *("text", "a text in a source", "not base64 alone", "short", "no text", "input", "no type"),
        *("a text's type", "no media type", "no source", "tool", "a tool's schema", "metadata", "a message"),
        *("no list of messages", "beside a request of a batch"),
    ],
)
def test_everything_else_is_shown_as_it_is(args: dict[str, Any]) -> None:
    assert shown(args) is args
