"""What of a stream passes at once, what waits, and what becomes of it."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.ingress.anthropic import holding
from gateway.ingress.anthropic.holding import Holder
from gateway.ingress.anthropic.notices import streamed as told
from gateway.messages_api.assembling import Assembly
from gateway.messages_api.events import EventReader, StreamEvent, read_event
from tests.anthropic_api.blocks import PING, message, streamed, thinking, tool_use
from tests.messages.parts import END, block, call, end, ev, part, start


def play(holder: Holder, parts: Iterable[bytes]) -> list[bytes]:
    return [out for raw in parts for out in holder.take(read_event(raw))]


def judge(parts: Sequence[bytes], *denied: int) -> tuple[list[bytes], Holder]:
    holder = Holder()
    out = play(holder, parts[:-1])
    if holder.waiting:
        out += holder.judged({index: f"no {index}" for index in denied})
    out += play(holder, parts[-1:])
    return out, holder


def put_together(parts: Iterable[bytes]) -> dict[str, Any]:
    assembly = Assembly()
    for raw in parts:
        assembly.take(read_event(raw))
    return assembly.message


def test_without_a_call_everything_but_the_end_passes_at_once() -> None:
    parts = streamed(message(thinking("Hm."), "It is sunny."))
    holder = Holder()
    for raw in parts[:-1]:
        assert holder.take(read_event(raw)) == [raw]
    assert holder.take(read_event(parts[-1])) == []
    assert (holder.last, holder.waiting) == (parts[-1], ())


def test_text_before_a_call_passes_and_from_the_call_on_everything_waits() -> None:
    parts = streamed(message("I look.", tool_use("Read", {"file": "a"}, "toolu_1"), "And then."), pings=False)
    holder = Holder()
    first = next(number for number, raw in enumerate(parts) if b"tool_use" in raw)
    assert play(holder, parts[:first]) == list(parts[:first])
    assert play(holder, parts[first:-1]) == []
    [waiting] = holder.waiting
    assert (waiting.index, waiting.id, waiting.name, waiting.args) == (1, "toolu_1", "Read", {"file": "a"})
    assert holder.judged({}) == list(parts[first:-1])


def test_a_ping_passes_while_something_waits() -> None:
    holder = Holder()
    play(holder, [start(), *call(0)])
    assert holder.take(read_event(PING)) == [PING]


@pytest.mark.parametrize("denied", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_what_is_left_is_a_message_with_every_index_in_its_place(denied: tuple[int, ...]) -> None:
    parts = [start(), *call(0), *call(1), *call(2), *END]
    out, holder = judge(parts, *denied)
    whole = put_together(out)
    kinds = [one["type"] for one in whole["content"]]
    assert kinds == ["text" if index in denied else "tool_use" for index in range(3)]
    assert [one["text"] for one in whole["content"] if one["type"] == "text"] == [f"no {index}" for index in denied]
    assert whole["stop_reason"] == ("end_turn" if len(denied) == 3 else "tool_use")
    assert holder.last == parts[-1]
    indices = [json.loads(raw.split(b"data: ")[1])["index"] for raw in out if b"content_block_start" in raw]
    assert indices == [0, 1, 2]


@pytest.mark.parametrize(
    "reason", ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded"]
)
def test_another_reason_to_stop_stays_what_it_is(reason: str) -> None:
    out, _ = judge([start(), *call(0), *end(reason), ev("message_stop")], 0)
    assert put_together(out)["stop_reason"] == reason


@pytest.mark.parametrize(
    "written",
    [
        "",
        '{"a": 1',
        '{"a": 1, "a": 2}',
        '{"a": 1}{"b": 2}',
        '{"a": NaN}',
        '{"a": 9007199254740993}',
        '{"a": "\\ud800"}',
        "[1]",
        "null",
        '"text"',
    ],
)
def test_an_input_that_is_no_one_object_to_every_reader_is_no_input(written: str) -> None:
    holder = Holder()
    changes = {} if written else {"input": None}
    play(holder, [start(), *call(0, written, **changes), *end()])
    assert [one.args for one in holder.waiting] == [None]


def test_an_input_in_two_places_is_none() -> None:
    holder = Holder()
    play(holder, [start(), *call(0, '{"safe": true}', input={"danger": True}), *end()])
    assert [one.args for one in holder.waiting] == [None]


@pytest.mark.parametrize(("began", "args"), [({"a": 1}, None), ({}, {}), (None, None), ([], None), (0, None)])
def test_an_input_that_came_with_the_start_alone_is_one_to_some_clients_only(began: Any, args: Any) -> None:
    holder = Holder()
    play(holder, [start(), *call(0, "", input=began), *end()])
    assert [one.args for one in holder.waiting] == [args]


def test_two_calls_with_one_id_have_no_input() -> None:
    holder = Holder()
    play(holder, [start(), *call(0), *call(1, id="toolu_0"), *call(2), *end()])
    assert [one.args for one in holder.waiting] == [None, None, {"a": 1}]


@pytest.mark.parametrize(
    "parts",
    [
        [start(content=[{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}])],
        [start(), start()],
        [block(0, type="text", text="")],
        [start(), block(0, type="computer_call", id="x")],
        [start(), block(1, type="text", text="")],
        [start(), block(True, type="text", text="")],
        [start(), block(0.0, type="text", text="")],
        [start(), block(0, type="text", text=""), block(1, type="text", text="")],
        [start(), part(0, type="text_delta", text="x")],
        [start(), block(0, type="text", text=""), part(1, type="text_delta", text="x")],
        [start(), block(0, type="text", text=""), part(0, type="input_json_delta", partial_json="{}")],
        [start(), block(0, type="tool_use", id="t", name="n", input={}), part(0, type="text_delta", text="x")],
        [start(), block(0, type="text", text=""), part(0, type="new_delta")],
        [start(), block(0, type="text", text=""), *end()],
        [start(), block(0, type="text", text=""), ev("message_stop")],
        [start(), *call(0), ev("message_stop")],
        [start(), *call(0), *end(), block(1, type="tool_use", id="t", name="n", input={})],
        [start(), *call(0, id=""), *end()],
        [start(), *call(0, name=7), *end()],
        [start(), *end(), ev("message_stop"), block(0, type="tool_use", id="t", name="n", input={})],
        [start(), ev("error", error={}), ev("message_stop")],
        [ev("message_delta", delta={})],
        [start(), ev("message_delta", delta=None)],
        [start(), ev("content_block_replaced", index=0)],
    ],
)
def test_what_is_no_message_as_it_is_documented_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(Refused):
        play(Holder(), parts)


def test_a_second_end_cannot_bring_back_a_reason_that_was_turned() -> None:
    holder = Holder()
    play(holder, [start(), *call(0), *end()])
    out = holder.judged({0: "no"})
    out += play(holder, end())
    assert all(b'"tool_use"' not in raw for raw in out)


def test_a_first_end_without_a_reason_lets_nothing_go() -> None:
    holder = Holder()
    assert play(holder, [start(), *call(0), *end(None)])[1:] == []
    assert holder.waiting == ()
    play(holder, end())
    assert len(holder.waiting) == 1


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HELD_MAX_BYTES", 1000)
    with pytest.raises(Refused):
        play(Holder(), [start(), *call(0, json.dumps({"a": "x" * 2000}))])
    with pytest.raises(Refused):
        play(Holder(), [start(), *(raw for index in range(200) for raw in call(index))])


def test_a_message_told_from_the_record_reads_back_as_itself() -> None:
    whole = message(thinking("Hm."), "It is sunny.", tool_use("Read", {"file": "a"})).to_dict(mode="json")
    reader = EventReader()
    events: list[StreamEvent] = list(reader.feed(b"".join(told(whole))))
    assembly = Assembly()
    for event in events:
        assembly.take(event)
    assert assembly.ended
    assert {**assembly.message, "stop_details": None} == {**whole, "stop_details": None}
