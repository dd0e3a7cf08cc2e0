"""Following a plan."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from gateway.errors import HandrailError, Refused
from gateway.model import Role
from gateway.plans.followers import Event
from gateway.reasons import Reason
from gateway.telemetry import Metrics
from gateway.web import sse
from gateway.web.access import ResponseAborted
from gateway.web.metrics import WebMetrics
from gateway.web.sse import EventStream, Streams
from tests.web.fake import PLAN_ID, testing_only_Gateway, token

EVENTS = f"/v1/plans/{PLAN_ID}/events"


async def test_events_come_with_ids_and_end(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    gateway.pipeline.script = [
        (4, "step", {"id": "a"}),
        (9, "plan", {"status": "done"}),
        (9, "done", {"status": "done"}),
    ]
    answer = await client.get(EVENTS, headers=token(Role.AGENT))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.text == (
        'retry: 2000\n\nid: 4\nevent: step\ndata: {"id":"a"}\n\n'
        'id: 9\nevent: plan\ndata: {"status":"done"}\n\nid: 9\nevent: done\ndata: {"status":"done"}\n\n'
    )
    assert gateway.pipeline.following == 0


async def test_a_line_break_in_data_does_not_become_an_event(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.pipeline.script = [(1, "step", {"text": "a\n\nevent: done\rdata: {}\u2028"})]
    answer = await client.get(EVENTS, headers=token(Role.AGENT))
    assert answer.content.count(b"event: ") == 2
    assert b"\nevent: done" not in answer.content
    assert b"\r" not in answer.content


async def test_a_follower_resumes_after_its_last_event(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.pipeline.script = [(4, "step", {}), (7, "step", {})]
    answer = await client.get(EVENTS, headers=token(Role.AGENT) | {"last-event-id": "4"})
    assert "id: 7" in answer.text
    assert "id: 4" not in answer.text


@pytest.mark.parametrize("last", ["-1", "x", "1e3", "9" * 16, "1 " * 2, "\u0661".encode()])
async def test_an_event_id_that_was_never_sent_is_refused(client: httpx2.AsyncClient, last: str | bytes) -> None:
    answer = await client.get(EVENTS, headers=token(Role.AGENT) | {"last-event-id": last})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["parameter"]) == (400, "Last-Event-ID")


async def test_somebody_elses_plan_is_a_problem_document_and_not_a_stream(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/plans/other/events", headers=token(Role.AGENT))
    assert (answer.status_code, answer.json()["code"]) == (404, "request.not_found")


async def test_a_head_request_gets_no_events(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    gateway.pipeline.script = [(1, "step", {})]
    gateway.pipeline.holds = True
    answer = await client.head(EVENTS, headers=token(Role.AGENT))
    assert (answer.status_code, answer.text) == (200, "")


async def test_one_principal_cannot_take_every_stream(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, app: Any
) -> None:
    for _ in range(sse.STREAMS_PER_PRINCIPAL_MAX):
        app.state.streams.enter("default/agent")
    answer = await client.get(EVENTS, headers=token(Role.AGENT))
    assert (answer.status_code, answer.json()["code"]) == (503, "gateway.overloaded")
    assert (await client.get(EVENTS, headers=token(Role.AUDITOR))).status_code == 200


class Client:
    """The far end of one stream: what it got, and when it leaves."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.left = asyncio.Event()
        self.heard = asyncio.Event()
        self.stalled = False

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.stalled:
            await asyncio.Event().wait()
        self.got.append(message.get("body", b""))
        self.heard.set()

    @property
    def text(self) -> bytes:
        return b"".join(self.got)


async def silence() -> AsyncIterator[Event]:
    await asyncio.Event().wait()
    yield (1, "step", {})


def stream(events: AsyncIterator[Event], permitted: Any = None, **options: Any) -> tuple[EventStream, Streams]:
    async def always() -> None:
        return None

    streams = Streams(WebMetrics(Metrics()))
    return EventStream(events, streams, "default/agent", permitted or always, **options), streams


SCOPE = {"method": "GET", "handrail.request_id": "r"}


async def test_silence_is_filled_with_heartbeats_until_the_client_leaves() -> None:
    client = Client()
    answer, streams = stream(silence(), heartbeat_seconds=0.001)
    serving = asyncio.create_task(answer(SCOPE, client.receive, client.send))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while client.text.count(b": heartbeat\n\n") < 3:
            client.heard.clear()
            await client.heard.wait()
    client.left.set()
    await serving
    assert streams.total == 0


async def test_a_key_revoked_while_its_stream_is_open_ends_the_stream() -> None:
    async def revoked() -> None:
        raise Refused(Reason.AUTH_INVALID, "private")

    client = Client()
    answer, streams = stream(silence(), revoked, heartbeat_seconds=0.001)
    async with asyncio.timeout(10):
        await answer(SCOPE, client.receive, client.send)  # type: ignore[arg-type]
    assert b'event: error\ndata: {"code":"auth.invalid"' in client.text
    assert b"private" not in client.text
    assert streams.total == 0


async def test_a_failure_in_mid_stream_is_an_event_with_its_code_alone() -> None:
    async def failing() -> AsyncIterator[Event]:
        yield (1, "step", {})
        raise HandrailError(Reason.LOG_UNAVAILABLE, "private")

    client = Client()
    answer, _ = stream(failing())
    await answer(SCOPE, client.receive, client.send)  # type: ignore[arg-type]
    assert client.text.endswith(b'"request_id":"r"}\n\n')
    assert b"log.unavailable" in client.text
    assert b"private" not in client.text


async def test_a_client_that_takes_nothing_is_given_up_on() -> None:
    async def one() -> AsyncIterator[Event]:
        yield (1, "step", {})

    client = Client()
    client.stalled = True
    answer, streams = stream(one(), send_timeout_seconds=0.001)
    with pytest.raises(ResponseAborted):
        await answer(SCOPE, client.receive, client.send)  # type: ignore[arg-type]
    assert streams.total == 0


async def test_a_busy_stream_stops_for_a_revoked_key() -> None:
    """Events that never pause leave no room for a heartbeat; the key is asked about all the same."""
    clock, asked = [0.0], []

    async def busy() -> AsyncIterator[sse.Event]:
        for number in range(1, 1000):
            clock[0] += 4.0
            yield (number, "step", {})

    async def revoked_later() -> None:
        asked.append(clock[0])
        if len(asked) == 2:
            raise Refused(Reason.AUTH_INVALID, "private")

    client = Client()
    answer, streams = stream(busy(), revoked_later, heartbeat_seconds=10.0, clock=lambda: clock[0])
    async with asyncio.timeout(10):
        await answer(SCOPE, client.receive, client.send)  # type: ignore[arg-type]
    assert asked == [12.0, 24.0], "once a heartbeat, however busy"
    assert client.text.count(b"event: step") == 5
    assert b"id: 6\n" not in client.text, "what came with the refusal is not sent"
    assert b'event: error\ndata: {"code":"auth.invalid"' in client.text
    assert streams.total == 0
