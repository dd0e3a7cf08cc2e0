"""Events of a stream: exact bytes, however they are cut, and nothing that two readers could take for two things."""

import pytest

from gateway.errors import Refused
from gateway.messages_api.events import EventReader, read_event
from tests.anthropic_api.blocks import message, streamed, thinking, tool_use

WHOLE = b"".join(streamed(message(thinking("Hm."), "It is 7° and\u2028sunny.", tool_use("Read", {"file": "a b"}))))


def read(chunks: list[bytes], **options: int) -> list[bytes]:
    reader = EventReader(**options)
    events = [event.raw for chunk in chunks for event in reader.feed(chunk)]
    return [*events, *(event.raw for event in reader.end())]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(WHOLE)])
@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"])
def test_no_byte_is_lost_however_the_stream_is_cut(size: int, line_break: bytes) -> None:
    whole = WHOLE.replace(b"\n", line_break)
    if line_break == b"\r":
        whole += b": end\r"  # whether a lone carriage return ends a line shows with what follows
    events = read([whole[start : start + size] for start in range(0, len(whole), size)] + [b"\n\n"])
    assert b"".join(events).startswith(WHOLE.replace(b"\n", line_break))


def test_every_cut_in_two_gives_the_same_events() -> None:
    expected = read([WHOLE])
    assert len(expected) == len(
        streamed(message(thinking("Hm."), "It is 7° and\u2028sunny.", tool_use("Read", {"file": "a b"})))
    )
    for at in range(len(WHOLE)):
        assert read([WHOLE[:at], WHOLE[at:]]) == expected


def test_comments_and_empty_lines_pass_as_no_event() -> None:
    reader = EventReader()
    events = list(reader.feed(b": alive\n\n\n: again\n\n"))
    assert [event.name for event in events] == [None, None, None]
    assert b"".join(event.raw for event in events) == b": alive\n\n\n: again\n\n"


def test_data_in_several_lines_is_one_value() -> None:
    [event] = EventReader().feed(b'event: ping\ndata: {"type":\ndata:  "ping"}\nid: 7\nretry: 3\n\n')
    assert (event.name, event.data) == ("ping", {"type": "ping"})


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"type": "ping"}\n\n',
        b"event: ping\n\n",
        b'event: message_stop\ndata: {"type": "content_block_start"}\n\n',
        b'event: ping\nevent: message_stop\ndata: {"type": "ping"}\n\n',
        b'event: ping\ndata: {"type": "ping", "type": "message_stop"}\n\n',
        b'event: ping\ndata: ["ping"]\n\n',
        b"event: ping\ndata: ping\n\n",
        b'event: ping\ndata: {"type": "ping", "a": NaN}\n\n',
        b'event: ping\ndata: {"type": "ping", "a": "\\ud800"}\n\n',
        b'\xef\xbb\xbfevent: ping\ndata: {"type": "ping"}\n\n',
        b' event: ping\ndata: {"type": "ping"}\n\n',
        b'Event: ping\ndata: {"type": "ping"}\n\n',
        b'event: ping\ndata: {"type": "ping", "a": "\xff"}\n\n',
    ],
)
def test_what_two_readers_could_take_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        read_event(raw)


def test_an_event_that_never_ends_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(Refused):
        read([b"data: x"] * 1000, event_max_bytes=1000)


def test_an_event_that_is_too_long_in_one_chunk_is_refused() -> None:
    with pytest.raises(Refused):
        read([b"event: ping\ndata: " + b" " * 1000 + b'{"type": "ping"}\n\n'], event_max_bytes=1000)


def test_a_stream_that_ends_within_an_event_is_refused() -> None:
    with pytest.raises(Refused):
        read([WHOLE[:-3]])


def test_a_stream_that_ends_without_an_empty_line_has_all_its_events() -> None:
    assert b"".join(read([WHOLE[:-2]])) == WHOLE[:-2]
    assert len(read([WHOLE[:-2]])) == len(read([WHOLE]))
