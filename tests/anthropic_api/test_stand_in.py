"""The stand-in against the SDK whose service it stands in for: what the SDK parses is what was scripted."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from anthropic import (
    APIConnectionError,
    APIStatusError,
    AsyncAnthropic,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    OverloadedError,
)
from anthropic.types import MessageParam

from tests.anthropic_api.answers import ERROR_TYPES, Cut, error_event, failure, stream
from tests.anthropic_api.blocks import MODEL, PING, message, streamed, text, thinking, tool_use
from tests.anthropic_api.recorded import FOLDER, NAMES, events, recorded
from tests.anthropic_api.server import StandIn
from tests.until import until

HELLO: list[MessageParam] = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
async def client(anthropic_api: StandIn) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=anthropic_api.url, api_key=anthropic_api.key, max_retries=0) as client:
        yield client


async def test_a_scripted_message_is_what_the_sdk_parses(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    whole = message(thinking("hm"), "Hello", tool_use("read", {"path": "a\N{BULLET}"}))
    anthropic_api.script(whole)
    assert await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO) == whole
    assert anthropic_api.asked[0].json["messages"] == HELLO
    assert anthropic_api.asked[0].headers["authorization"] == f"Bearer {anthropic_api.key}"


async def test_the_same_message_streams(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    whole = message(thinking("I think"), "Hello, all of you", tool_use("read", {"path": "\N{BULLET}", "n": [1, None]}))
    anthropic_api.script(whole)
    async with client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO) as streaming:
        final = await streaming.get_final_message()
    assert final.to_dict() == whole.to_dict()


async def test_a_bearer_token_is_a_key_too(anthropic_api: StandIn) -> None:
    anthropic_api.script(message("yes"))
    async with AsyncAnthropic(base_url=anthropic_api.url, auth_token=anthropic_api.key) as client:
        assert (await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO)).content == [text("yes")]


async def test_a_wrong_key_is_refused(anthropic_api: StandIn) -> None:
    async with AsyncAnthropic(base_url=anthropic_api.url, api_key="another") as client:
        with pytest.raises(AuthenticationError):
            await client.models.list()


async def test_what_nobody_scripted_fails_and_is_not_retried(anthropic_api: StandIn) -> None:
    async with AsyncAnthropic(base_url=anthropic_api.url, api_key=anthropic_api.key, max_retries=3) as client:
        with pytest.raises(InternalServerError, match="scripted"):
            await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO)
    assert len(anthropic_api.asked) == 1


async def test_who_decides_goes_before_the_queue(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script(message("queued"))
    anthropic_api.decide = lambda asked: message("decided") if asked["max_tokens"] == 1 else None
    for tokens, words in ((1, "decided"), (2, "queued")):
        made = await client.messages.create(model=MODEL, max_tokens=tokens, messages=HELLO)
        assert made.content == [text(words)]


@pytest.mark.parametrize("status", sorted(ERROR_TYPES))
async def test_every_error_status(anthropic_api: StandIn, client: AsyncAnthropic, status: int) -> None:
    anthropic_api.script(failure(status, "no", retry_after="7"))
    with pytest.raises(APIStatusError) as caught:
        await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO)
    error = caught.value
    assert (error.status_code, error.type) == (status, ERROR_TYPES[status])
    assert error.response.headers["retry-after"] == "7"
    assert (error.request_id or "").startswith("req_")


async def test_pieces_come_when_the_test_lets_them(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    whole = streamed(message("Hello"))
    gate = asyncio.Event()
    anthropic_api.script(stream(*whole[:4], PING, gate, *whole[4:]))
    async with await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True) as streaming:
        kinds = []
        async for event in streaming:
            kinds.append(event.type)
            if len(kinds) == 3:
                assert kinds == ["message_start", "content_block_start", "content_block_delta"]
                gate.set()
    assert kinds[-2:] == ["message_delta", "message_stop"]


async def test_a_connection_breaks(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script(stream(*streamed(message("Hello"))[:3], Cut.BREAK))
    async with await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True) as streaming:
        with pytest.raises(Exception, match=r"peer closed connection|reset|disconnected|incomplete"):
            _ = [event async for event in streaming]


async def test_a_connection_breaks_before_the_answer(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script(stream(Cut.BREAK))
    with pytest.raises(APIConnectionError):
        await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True)


async def test_an_error_comes_inside_of_a_stream(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script(stream(*streamed(message("Hello"))[:3], error_event()))
    async with await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True) as streaming:
        with pytest.raises(APIStatusError) as caught:
            _ = [event async for event in streaming]
    assert caught.value.type == "overloaded_error"


async def test_who_leaves_is_noticed(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script(stream(*streamed(message("Hello"))[:3], Cut.HANG))
    async with await client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True) as streaming:
        assert (await anext(streaming)).type == "message_start"
    await until(anthropic_api.asked[0].abandoned.is_set)


async def test_tokens_are_counted(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    assert (await client.messages.count_tokens(model=MODEL, messages=HELLO)).input_tokens > 1


async def test_models_are_listed_in_pages(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    assert [model.id async for model in client.models.list(limit=1)] == [model.id for model in anthropic_api.models]
    first, second = anthropic_api.models
    before = await client.models.list(before_id=second.id)
    assert [model.id for model in before.data] == [first.id]
    assert await client.models.retrieve(second.id) == second
    with pytest.raises(NotFoundError):
        await client.models.retrieve("nobody")


async def test_a_batch_lives(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script(message("one"), failure(529, "busy"))
    params = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
    made = await client.messages.batches.create(
        requests=[{"custom_id": name, "params": params} for name in ("a", "b")]  # type: ignore[typeddict-item]
    )
    assert (await client.messages.batches.retrieve(made.id)).processing_status == "in_progress"
    with pytest.raises(BadRequestError):
        await client.messages.batches.delete(made.id)
    await anthropic_api.end_batches()
    results = [line async for line in await client.messages.batches.results(made.id)]
    assert [(line.custom_id, line.result.type) for line in results] == [("a", "succeeded"), ("b", "errored")]
    assert [batch.id async for batch in client.messages.batches.list()] == [made.id]
    assert (await client.messages.batches.delete(made.id)).id == made.id


async def test_a_batch_is_canceled(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    params = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
    made = await client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])  # type: ignore[typeddict-item]
    assert (await client.messages.batches.cancel(made.id)).processing_status == "canceling"
    await anthropic_api.end_batches()
    results = [line async for line in await client.messages.batches.results(made.id)]
    assert [line.result.type for line in results] == ["canceled"]


async def test_other_routes_are_scripted_too(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script_other("GET", "/v1/models", failure(529, "busy"))
    with pytest.raises(OverloadedError):
        await client.models.list()
    assert len((await client.models.list()).data) == 2


async def test_compressed_answers(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.compress = True
    anthropic_api.script(message("Hello " * 200))
    answer = await client.messages.with_raw_response.create(model=MODEL, max_tokens=9, messages=HELLO)
    assert answer.headers["content-encoding"] in {"gzip", "deflate"}
    assert (await answer.parse()).content == [text("Hello " * 200)]


USE = {"type": "tool_use", "id": "t1", "name": "read", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}


@pytest.mark.parametrize(
    "broken",
    {
        "no messages": [],
        "a call without its result": [*HELLO, {"role": "assistant", "content": [USE]}, *HELLO],
        "a call at the end": [*HELLO, {"role": "assistant", "content": [USE]}],
        "two turns after a call": [*HELLO, *[{"role": "assistant", "content": [USE]}] * 2],
        "a result without its call": [{"role": "user", "content": [RESULT]}],
        "one id twice": [*HELLO, {"role": "assistant", "content": [USE, USE]}, {"role": "user", "content": [RESULT]}],
        "an empty text": [{"role": "user", "content": [{"type": "text", "text": ""}]}],
        "an unknown role": [{"role": "tool", "content": "x"}],
        "content that is none": [{"role": "user", "content": 1}],
        "a block without a type": [{"role": "user", "content": [{"text": "x"}]}],
    }.items(),
    ids=lambda case: case[0].replace(" ", "-"),
)
async def test_a_conversation_that_the_api_would_refuse(
    anthropic_api: StandIn, client: AsyncAnthropic, broken: tuple[str, list[MessageParam]]
) -> None:
    anthropic_api.script(message("never"))
    with pytest.raises(BadRequestError):
        await client.messages.create(model=MODEL, max_tokens=9, messages=broken[1])
    assert len(anthropic_api.queue) == 1


async def test_a_round_trip_of_a_tool(anthropic_api: StandIn, client: AsyncAnthropic) -> None:
    anthropic_api.script(message("done"))
    asked = [*HELLO, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]
    made = await client.messages.create(model=MODEL, max_tokens=9, messages=asked)  # type: ignore[arg-type]
    assert made.stop_reason == "end_turn"


def test_the_recorded_streams_are_those_that_are_named() -> None:
    assert recorded("basic_response").startswith(b"event: message_start")
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.txt"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_recorded_stream_comes_as_it_was_recorded(
    anthropic_api: StandIn, client: AsyncAnthropic, name: str
) -> None:
    whole = recorded(name)
    anthropic_api.script(stream(*events(whole)))
    answer = await client.messages.with_raw_response.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True)
    assert await answer.http_response.aread() == whole
