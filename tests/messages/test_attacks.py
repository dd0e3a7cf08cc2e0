"""Who lies to the Messages ingress, on either side of it, and what fails under it."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson
import pytest

from gateway.client_steps.collecting import Collecting, Found
from gateway.entries import EntryType
from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.web import anthropic_answers
from tests.anthropic_api.answers import Answer, Cut, failure, of_message, stream
from tests.anthropic_api.blocks import message, tool_use
from tests.anthropic_api.server import KEY, StandIn
from tests.limits import raw as sockets
from tests.messages.parts import block, call, end, ev, part, start, stop
from tests.messages.world import World, asking, world
from tests.until import until

OWN = "sk-ant-api03-of-the-client-itself"
MESSAGES = "/anthropic/v1/messages"
READ = {"type": "tool_use", "name": "Read"}


@pytest.fixture
async def ready(tmp_path: Path, anthropic_api: StandIn) -> AsyncIterator[World]:
    async with world(tmp_path, anthropic_api) as built:
        yield built


async def raw(ready: World, headers: list[tuple[str, str]], body: bytes | None = None, path: str = MESSAGES) -> Any:
    content = orjson.dumps(asking()) if body is None else body
    named = [("content-type", "application/json"), *headers]
    return await ready.http.post(path, content=content, headers=named)


def refused(answer: httpx2.Response, status: int, kind: str) -> str:
    shown = answer.json()
    assert (answer.status_code, shown["type"], shown["error"]["type"]) == (status, "error", kind), answer.text
    assert set(shown) == {"type", "error", "request_id"}
    assert answer.headers["request-id"] == shown["request_id"]
    return str(shown["error"]["message"])


# --- credentials -----------------------------------------------------------------------------------------------------


async def test_a_key_is_taken_where_clients_of_the_api_put_theirs(ready: World) -> None:
    key = ready.keys["bot"]
    for name, value in (("x-api-key", key), ("authorization", f"Bearer {key}"), ("x-handrail-key", key)):
        ready.api.script(message("yes"))
        assert (await raw(ready, [(name, value)])).status_code == 200


@pytest.mark.parametrize("who", ["op", "pat", "eve", "admin"])
async def test_a_key_of_another_role_asks_no_model(ready: World, who: str) -> None:
    refused(await ready.post(asking(), who), 403, "permission_error")
    assert ready.api.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-api-key", "hr_wrong")],
        [("x-api-key", KEY)],
        [("x-api-key", "{bot}"), ("authorization", "Bearer {bot}")],
        [("x-api-key", "{bot}"), ("x-api-key", "{rival}")],
        [("x-handrail-key", "{bot}"), ("x-handrail-key", "{rival}")],
        [("x-handrail-key", "hr_wrong"), ("x-api-key", "{bot}")],
        [("authorization", "Basic {bot}")],
    ],
)
async def test_no_key_and_two_keys_are_none(ready: World, headers: list[tuple[str, str]]) -> None:
    sent = [(name, value.format(**ready.keys)) for name, value in headers]
    refused(await raw(ready, sent), 401, "authentication_error")
    assert ready.api.requests == []


@pytest.mark.parametrize("streaming", [True, False])
async def test_no_credential_of_a_client_is_forwarded(ready: World, *, streaming: bool) -> None:
    forwarded = 0
    for own in ([("x-api-key", OWN)], [("authorization", f"Bearer {OWN}")], [("cookie", OWN), ("x-goog-api-key", OWN)]):
        ready.api.script(message("yes"))
        headers = [("x-handrail-key", ready.keys["bot"]), *own]
        answer = await raw(ready, headers, orjson.dumps(asking(stream=streaming)))
        assert answer.status_code == 200
        sent = str(ready.api.asked[-1].headers)
        forwarded += (OWN in sent) + (ready.keys["bot"] in sent) + ("x-handrail" in sent.lower())
    assert forwarded == 0
    assert {request.headers["x-api-key"] for request in ready.api.asked} == {KEY}


async def test_the_clients_own_credential_goes_on_where_the_operator_allows_it(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    settings = {"anthropic": {"pass_credentials": True}}
    async with world(tmp_path, anthropic_api, settings=settings, model={"secrets": {}}) as ready:
        ready.api.script(message("yes"))
        answer = await raw(ready, [("x-handrail-key", ready.keys["bot"]), ("x-api-key", KEY)])
        assert answer.status_code == 200, answer.text
        # Without a header of its own the key is Handrail's, and no credential is left to pass on.
        answer = await raw(ready, [("x-api-key", ready.keys["bot"])])
        assert answer.status_code == 401
        assert [request.headers.get("x-api-key") for request in ready.api.requests] == [KEY, None]
        assert ready.keys["bot"] not in str([request.headers for request in ready.api.requests])


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/anthropic",
        "/anthropic/",
        "/anthropic/v1/messages/",
        "/anthropic/v1/..%2fv1/messages",
        "/anthropic/v1/%2e%2e/v1/messages",
        "/anthropic//v1/messages",
        "/anthropic/v1/files",
        "/anthropic/v1/organizations/api_keys",
        "/anthropic/v1/messages/batches/a/b/c",
        "/anthropic/v1/complete",
        "/anthropic/v1/../v1/messages",
        "/anthropic/./v1/messages",
        "/anthropic/v1/messages/../messages",
        "/anthropic/v1/messages/.",
        "/anthropic/v1/messages%2f..",
        "/anthropic/v1/%2e%2e/%2e%2e/anthropic/v1/messages",
        "/anthropic/v1/messages%00",
        "/anthropic/v1\\messages",
        "/anthropic/v1/messages;a=b",
        "/anthropic/v1/messages%3fbeta=true",
        "/Anthropic/v1/messages",
        "//anthropic/v1/messages",
    ],
)
async def test_what_is_not_listed_is_not_there(ready: World, path: str) -> None:
    """By the bytes of the path: a client would tidy them up before it sends them."""
    body = orjson.dumps(asking())
    head = [
        f"POST {path} HTTP/1.1",
        "host: gateway",
        "content-type: application/json",
        f"authorization: Bearer {ready.keys['bot']}",
        f"content-length: {len(body)}",
    ]
    async with sockets.connection(urlsplit(ready.url).port or 0) as (reader, writer):
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        told = await sockets.answer(reader)
    assert told.status in {400, 404, 405}, told
    assert ready.api.requests == []


@pytest.mark.parametrize("batch_id", ["..", ".", "%2e%2e", "a%2Fb", "a%3Fbeta=true", "msgbatch_1"])
async def test_an_id_is_no_path(ready: World, batch_id: str) -> None:
    url = f"{ready.url}/anthropic/v1/messages/batches/{batch_id}/results"
    answer = await ready.http.get(url, headers={"x-api-key": ready.keys["bot"]})
    assert answer.status_code in {400, 404, 405, 422}
    assert ready.api.requests == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("content-encoding", "gzip")], 415),
        ([("content-type", "text/plain")], 415),
        ([("anthropic-version", "2023-06-01\x00")], 400),
        ([("anthropic-version", "tomorrow")], 400),
        ([("anthropic-beta", "a b")], 400),
        ([("anthropic-beta", ",".join(f"b{number}" for number in range(100)))], 400),
        ([("x-handrail-context", "a b")], 400),
    ],
)
async def test_headers_that_could_mean_two_things_are_refused(
    ready: World, headers: list[tuple[str, str]], status: int
) -> None:
    key = ("x-api-key", ready.keys["bot"])
    body = gzip.compress(orjson.dumps(asking()))
    try:
        answer = await raw(ready, [key, *headers], body if headers[0][0] == "content-encoding" else None)
    except httpx2.LocalProtocolError:
        return
    assert answer.status_code in {status, 422}, answer.text
    assert ready.api.requests == []


@pytest.mark.parametrize("name", ["x-handrail-context", "x-handrail-purpose", "x-claude-code-session-id"])
@pytest.mark.parametrize("second", ["a", "b"], ids=["the same", "another"])
async def test_a_context_or_a_purpose_that_is_said_twice_is_refused_and_named(
    ready: World, name: str, second: str
) -> None:
    """Left out, the request would be in a context of its own, which has read nothing."""
    answer = await raw(ready, [("x-api-key", ready.keys["bot"]), (name, "a"), (name, second)])
    said = refused(answer, 400, "invalid_request_error")
    assert said.startswith("request.malformed")
    assert said.splitlines()[1:] == [f'at "{name}": expected one of it']
    assert ready.api.requests == []


async def test_headers_of_a_proxy_or_another_host_do_not_go_on(ready: World) -> None:
    ready.api.script(message("yes"))
    sent = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-real-host", "evil"), ("origin", "x")]
    assert (await raw(ready, [("x-api-key", ready.keys["bot"]), *sent])).status_code == 200
    names = {name.lower() for name in ready.api.asked[-1].headers}
    assert not names & {"x-forwarded-for", "forwarded", "x-real-host", "origin"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"model": "m", "model": "n", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}',
        orjson.dumps(asking(messages=[])),
        orjson.dumps(asking(messages=[{"role": "root", "content": "x"}])),
        orjson.dumps(asking(messages=[{"role": "user", "content": [{"type": "mind_control"}]}])),
        orjson.dumps(
            asking(messages=[{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "x"}]}]}])
        ),
        orjson.dumps(asking(system=[{"type": "mind_control"}])),
        orjson.dumps(asking(betas=["x"])),
        orjson.dumps(asking(stream="yes")),
        orjson.dumps(asking(tools=[{"type": "web_search_20260318", "name": "web_search"}])),
        orjson.dumps(asking(mcp_servers=[{"type": "url", "url": "https://mcp.example", "name": "m"}])),
        orjson.dumps(
            asking(mcp_servers=[{"type": "url", "url": "https://m.example", "name": "m", "authorization_token": OWN}])
        ),
    ],
)
async def test_a_request_that_is_not_understood_asks_nobody(ready: World, body: bytes) -> None:
    answer = await raw(ready, [("x-api-key", ready.keys["bot"])], body)
    message_of = refused(answer, answer.status_code, "invalid_request_error")
    assert 400 <= answer.status_code < 500
    assert OWN not in message_of
    assert ready.api.requests == []


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with world(tmp_path, anthropic_api, settings={"anthropic": {"body_max_bytes": 2048}}) as ready:
        assert "2048 bytes" in refused(await ready.post(asking("x" * 4096)), 413, "request_too_large")
        assert ready.api.requests == []


async def test_a_long_conversation_passes_by_the_limit_of_this_ingress_alone(ready: World) -> None:
    ready.api.script(message("read"))
    answer = await ready.post(asking("x" * 700_000))
    assert answer.status_code == 200, answer.text
    assert ready.api.asked[-1].json == asking("x" * 700_000)


async def test_a_refusal_says_where_the_request_is_wrong_and_where_a_key_may_be(ready: World) -> None:
    said = refused(await raw(ready, [("x-api-key", ready.keys["bot"])], b"[]"), 400, "invalid_request_error")
    assert said.splitlines()[1:] == ['at "": expected an object']
    body = orjson.dumps({**asking(), "stream": "yes"})
    said = refused(await raw(ready, [("x-api-key", ready.keys["bot"])], body), 400, "invalid_request_error")
    assert said.splitlines()[1:] == ['at "/stream": expected true or false']
    said = refused(await raw(ready, [("x-api-key", ready.keys["bot"])], b'{"model"'), 400, "invalid_request_error")
    assert said.splitlines()[1:] == ["at line 1, column 9: expected JSON (RFC 8259)"]
    gzipped = await raw(ready, [("x-api-key", ready.keys["bot"]), ("content-encoding", "gzip")], gzip.compress(b"{}"))
    said = refused(gzipped, 415, "invalid_request_error")
    assert said.splitlines()[1:] == ["expected a body without content-encoding"]
    assert "x-api-key" in refused(await raw(ready, []), 401, "authentication_error")


@pytest.mark.parametrize("route", ["messages", "messages/count_tokens"])
async def test_a_purpose_that_is_too_long_is_named_with_its_limit(ready: World, route: str) -> None:
    headers = {"x-api-key": ready.keys["bot"], "x-handrail-purpose": "x" * 257}
    answer = await ready.http.post(f"{ready.url}/anthropic/v1/{route}", json=asking(), headers=headers)
    said = refused(answer, 400, "invalid_request_error")
    assert said.startswith("request.malformed")
    assert said.splitlines()[1:] == ['at "x-handrail-purpose": expected at most 256 characters']
    assert ready.api.requests == []


async def test_another_callers_context_is_nobody_elses(ready: World) -> None:
    ready.api.script(message("yes"))
    assert (await ready.post(asking(), x_handrail_context="mine")).status_code == 200
    answer = await ready.post(asking(), "rival", x_handrail_context="mine")
    assert (answer.status_code, answer.json()["type"]) == (403, "error")
    assert len(ready.api.requests) == 1


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        [start(content=[{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]), *end(), ev("message_stop")],
        [start(), block(0, type="computer_call", id="x"), stop(0), *end(), ev("message_stop")],
        [start(), *call(0, id="t"), ev("message_stop")],
        [start(), b'event: ping\ndata: {"type": "content_block_start"}\n\n'],
        [start(), b"event: message_stop\n", Cut.BREAK],
        [b"event: ping\ndata: " + b"x" * 5_000_000],
    ],
    ids=["content in the start", "unknown block", "no reason", "two types", "half an event", "no end of an event"],
)
async def test_a_stream_that_is_none_ends_with_an_error_and_lets_no_call_through(
    ready: World, pieces: list[Any]
) -> None:
    ready.api.script(stream(*pieces))
    answer = await ready.post(asking(stream=True))
    assert b"event: error\ndata: " in answer.content
    assert b"tool_use" not in answer.content
    assert b"message_stop" not in answer.content
    assert await ready.entries(EntryType.STEP_RELEASED) == []


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "computer_call", "id": "x"}],
        [{"type": "tool_use", "id": "t"}],
        ["tool_use"],
        {"type": "tool_use"},
    ],
)
async def test_a_whole_message_that_is_none_is_not_told(ready: World, content: Any) -> None:
    whole = message("x").to_dict(mode="json") | {"content": content}
    ready.api.script(Answer([orjson.dumps(whole)]))
    answer = await ready.post(asking())
    assert answer.status_code == 502
    assert b"computer_call" not in answer.content


@pytest.mark.parametrize("status", [301, 307, 200])
async def test_a_redirect_and_a_coded_answer_are_followed_by_nobody(ready: World, status: int) -> None:
    headers = {"location": "http://127.0.0.1:1/"} if status != 200 else {"content-encoding": "gzip"}
    ready.api.script(Answer([gzip.compress(b"x" * 10_000)], status, headers))
    answer = await ready.post(asking())
    assert answer.status_code == 502
    assert "location" not in answer.headers
    assert len(ready.api.requests) == 1


async def test_a_denial_says_no_more_than_the_plan_api_would(ready: World) -> None:
    ready.api.script(message(tool_use("Launch", {"secret": "s3cret-argument"}, "toolu_1")))
    answer = await ready.post(asking())
    assert b"s3cret-argument" not in answer.content
    assert b"digest" not in answer.content
    assert b".rego" not in answer.content


async def test_calls_that_share_an_id_are_not_let_go(ready: World) -> None:
    ready.api.script(message(tool_use("Read", {"file": "a"}, "toolu_1"), tool_use("Read", {"file": "b"}, "toolu_1")))
    shown = (await ready.post(asking())).json()
    assert [one["type"] for one in shown["content"]] == ["text", "text"]
    assert shown["stop_reason"] == "end_turn"


async def test_a_client_that_takes_nothing_is_let_go_and_the_provider_too(
    ready: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anthropic_answers.AnswerStream.__init__, "__defaults__", (0.2,))
    text = part(0, type="text_delta", text="x" * 60_000)
    ready.api.script(stream(start(), block(0, type="text", text=""), *([text] * 60), Cut.HANG))
    small = socket.socket(proto=socket.IPPROTO_TCP)
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", int(ready.url.rsplit(":", 1)[1])))
    reader, writer = await asyncio.open_connection(sock=small, limit=1024)
    body = orjson.dumps(asking(stream=True))
    head = (
        f"POST {MESSAGES} HTTP/1.1\r\nhost: x\r\nx-api-key: {ready.keys['bot']}\r\ncontent-type: application/json\r\n"
    )
    writer.write(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
    await reader.read(10)
    await until(lambda: ready.entries(EntryType.STEP_FAILED))
    await ready.api.asked[0].abandoned.wait()
    writer.close()


# --- what fails under it ---------------------------------------------------------------------------------------------


async def test_an_outcome_that_cannot_be_recorded_leaves_no_whole_message(
    ready: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = type(ready.gateway.pipeline.recorder)

    async def full(*_: Any) -> None:
        raise Unavailable(Reason.LOG_UNAVAILABLE)

    monkeypatch.setattr(recorder, "outcome", full)
    ready.api.script(message("It is sunny."), message("It is sunny."))
    streaming = await ready.post(asking(stream=True))
    assert b"message_stop" not in streaming.content
    assert b"event: error" in streaming.content
    whole = await ready.post(asking())
    assert whole.status_code == 503
    assert b"sunny" not in whole.content


async def test_a_call_whose_release_cannot_be_recorded_is_not_let_go(
    ready: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = type(ready.gateway.pipeline.recorder)
    intent = recorder.intent

    async def full(self: Any, plan: Any, *rest: Any) -> None:
        if "toolu_1" in plan.steps:
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        await intent(self, plan, *rest)

    monkeypatch.setattr(recorder, "intent", full)
    ready.api.script(*([message("I look.", tool_use("Read", {"file": "a"}, "toolu_1"))] * 2))
    streaming = await ready.post(asking(stream=True))
    assert b"tool_use" not in streaming.content
    assert b"event: error" in streaming.content
    assert (await ready.post(asking())).status_code == 503


async def test_a_provider_that_is_not_there_is_an_error_of_this_api(tmp_path: Path, anthropic_api: StandIn) -> None:
    gone = StandIn()
    gone.url = "http://127.0.0.1:9"
    async with world(tmp_path, gone) as ready:
        answer = await ready.post(asking(stream=True))
        said = refused(answer, 503, "api_error")
        assert said.startswith("hand.unavailable")
        assert "retry-after" in answer.headers


async def test_the_providers_error_is_told_where_something_is_taken_out_of_answers(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    word = {"actions": {"model.messages": {"results": {"personal_data": "redact"}}}}
    async with world(tmp_path, anthropic_api, model=word) as ready:
        ready.api.script(*([message("Write to mia@example.org.")] * 2), *([failure(429)] * 9))
        whole = await ready.post(asking())
        streaming = await ready.post(asking(stream=True))
        for answer in (whole, streaming):
            assert answer.status_code == 200
            assert b"mia@example.org" not in answer.content
            assert b"Write to" in answer.content
        assert b"message_stop" in streaming.content
        refused(await ready.post(asking()), 429, "rate_limit_error")


async def test_secrets_and_personal_data_are_gone_before_anything_leaves(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    settings = {"anthropic": {"redact_secrets": True, "redact_personal": ["email"]}}
    token = "ghp_" + "a" * 36
    conversation = [
        {"role": "user", "content": f"My token is {token}, I am mia@example.org."},
        {"role": "assistant", "content": [{**READ, "id": "t", "input": {"to": "mia@example.org"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": f"key={token}"}]},
    ]
    async with world(tmp_path, anthropic_api, settings=settings) as ready:
        ready.api.script(message("yes"))
        assert (await ready.post(asking(messages=conversation, system=f"use {token}"))).status_code == 200
        [request] = ready.api.asked
        assert token.encode() not in request.body
        assert b"mia@example.org" not in request.body
        assert request.body.count(b"[redacted:secret]") == 3
        assert list(orjson.loads(request.body)) == list(asking(system=""))


async def test_a_report_is_heard_after_a_restart(tmp_path: Path, anthropic_api: StandIn) -> None:
    async with world(tmp_path, anthropic_api) as ready:
        ready.api.script(message(tool_use("Read", {"file": "a"}, "toolu_1")))
        await ready.post(asking())
        keys = ready.keys
    async with world(tmp_path, anthropic_api, keys=keys) as ready:
        ready.api.script(message("done"))
        conversation = [
            {"role": "user", "content": "look"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file": "a"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}]},
        ]
        assert (await ready.post(asking(messages=conversation))).status_code == 200
        assert len(await ready.entries(EntryType.STEP_REPORTED)) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_nobody_is_asked_again_about_a_request_that_waits_or_is_asked_since_it_was_approved(
    tmp_path: Path, anthropic_api: StandIn, *, streaming: bool
) -> None:
    word = {"actions": {"model.messages": {"side_effects": "reversible"}}}
    async with world(tmp_path, anthropic_api, model=word, granted={"claude": ["model.messages"]}) as ready:
        answered = asyncio.Event()
        # Without a client that reads along, the model is asked for a whole answer.
        ready.api.script(Answer([answered, *of_message(message("It is sunny."), as_stream=False).pieces]))
        body = asking(stream=streaming)
        first = await ready.post(body)
        again = await ready.post(body)
        assert link(again.text) == link(first.text)
        await ready.approve(first.text)
        await until(lambda: bool(ready.api.requests))
        assert "ask exactly the same again" in (await ready.post(body)).text
        answered.set()
        await until(lambda: ready.entries(EntryType.STEP_EXECUTED))
        assert "sunny" in (await ready.post(body)).text
        assert len(ready.api.requests) == 1
        assert len(await ready.entries(EntryType.APPROVAL_REQUESTED)) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_request_that_a_person_refuses_is_told_the_same_in_a_stream(
    tmp_path: Path, anthropic_api: StandIn, *, streaming: bool
) -> None:
    """Clients ask again after an ``api_error``, and not after a ``permission_error``."""
    word = {"actions": {"model.messages": {"side_effects": "reversible"}}}
    waits = {"anthropic": {"ask_hold_seconds": 60}}
    granted = {"claude": ["model.messages"]}
    async with world(tmp_path, anthropic_api, model=word, granted=granted, settings=waits) as ready:
        asked = asyncio.create_task(ready.post(asking(stream=streaming)))
        [request] = await until(lambda: ready.entries(EntryType.APPROVAL_REQUESTED))
        plan = await ready.json("GET", f"/v1/plans/{request['plan_id']}", "bot")
        refusal = {"answer": "refuse"}
        await ready.json("POST", f"/v1/approvals/{plan['steps'][0]['approval_id']}", "pat", refusal)
        answer = await asked
        said = orjson.loads(answer.content.rpartition(b"data: ")[2]) if streaming else answer.json()
        assert said["error"]["type"] == "permission_error", said
        assert said["error"]["message"].startswith("approval.refused"), said
        assert ready.api.requests == []


async def test_an_approval_that_is_given_while_it_is_looked_for_is_told_once(
    tmp_path: Path, anthropic_api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step still waits when it is found, and has gone by the time that it is told of."""
    word = {"actions": {"model.messages": {"side_effects": "reversible"}}}
    async with world(tmp_path, anthropic_api, model=word, granted={"claude": ["model.messages"]}) as ready:
        held = await ready.post(asking())
        ready.api.script(message("It is sunny."))

        async def slowly(self: Collecting, *asked: Any) -> Found:
            found = await self.find(*asked)
            assert found is not None
            await ready.approve(held.text)
            await until(lambda: ready.entries(EntryType.STEP_EXECUTED))
            return Found(found, collected=False)

        with monkeypatch.context() as patched:
            patched.setattr(Collecting, "standing", slowly)
            first = await ready.post(asking())
        assert "sunny" in first.text
        assert link((await ready.post(asking())).text) != link(held.text)
        assert len(ready.api.requests) == 1


def link(text: str) -> str:
    return text.split("/approvals/", 1)[1][:32]


async def test_a_request_that_a_person_is_asked_about_is_answered_from_the_record_once_approved(
    tmp_path: Path, anthropic_api: StandIn
) -> None:
    word = {"actions": {"model.messages": {"side_effects": "reversible"}}}
    async with world(tmp_path, anthropic_api, model=word, granted={"claude": ["model.messages"]}) as ready:
        first = (await ready.post(asking())).json()
        assert first["stop_reason"] == "end_turn"
        assert ready.api.requests == []
        ready.api.script(message("It is sunny."))
        await ready.approve(first["content"][0]["text"])
        await until(lambda: ready.entries(EntryType.STEP_EXECUTED))
        again = await ready.post(asking(stream=True))
        assert b"sunny" not in again.content  # another request: it streams
        again = await ready.post(asking())
        assert again.json()["content"][0]["text"] == "It is sunny."
        assert len(ready.api.requests) == 1
        assert "Handrail held" in (await ready.post(asking())).json()["content"][0]["text"]
