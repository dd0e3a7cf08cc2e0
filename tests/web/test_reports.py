"""Reports in the making over the API: how far they are, one at a time for each caller, and ended with who asked."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import orjson
import pytest

from audit.errors import LogUnavailable
from gateway.model import Role
from gateway.web.asgi import create_app
from gateway.web.reports import Progress, Reports
from tests.until import until
from tests.web.conftest import serving
from tests.web.fake import testing_only_Gateway, token

REPORT = "/v1/controls/report?framework=gdpr"
RECORD = "/v1/controls/processing-record"
AUDITOR = token(Role.AUDITOR)
EVENTS = {**AUDITOR, "accept": "text/event-stream"}


class Making:
    """The making of a report that goes on, step by step, as a test says."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.total = 3

    def __call__(self, progress: Progress) -> None:
        try:
            for done in range(self.total):
                progress(done, self.total)
                self.begun.set()
                self.steps.acquire()
        finally:
            self.ended.set()

    def finish(self) -> None:
        self.steps.release(self.total)


@pytest.fixture
def making(gateway: testing_only_Gateway) -> Iterator[Making]:
    making = Making()
    gateway.log.making = making
    yield making
    making.finish()


@pytest.fixture
async def http(gateway: testing_only_Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a real server, which sees connections end."""
    app = create_app(gateway)  # type: ignore[arg-type]
    async with (
        serving(app, gateway.settings) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield client


def events_of(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.partition(": ")[::2] for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], orjson.loads(lines["data"])))
    return found


async def test_a_report_says_how_far_it_is(http: httpx2.AsyncClient, making: Making) -> None:
    text = ""
    async with http.stream("GET", REPORT, headers=EVENTS) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        async for piece in response.aiter_text():
            text += piece
            if events_of(text):
                making.steps.release()
    *progress, (last, document) = events_of(text)
    assert progress[0] == ("progress", {"done": 0, "total": 3})
    assert {name for name, _ in progress} == {"progress"}
    dones = [data["done"] for _, data in progress]
    assert dones == sorted(set(dones))
    making.finish()
    assert (last, document) == ("report", (await http.get(REPORT, headers=AUDITOR)).json())


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/*", "text/event-streams", "application/json, x/y"])
async def test_who_does_not_ask_for_events_gets_the_document(client: httpx2.AsyncClient, accept: str) -> None:
    answer = await client.get(REPORT, headers={**AUDITOR, "accept": accept})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json;q=0.5, Text/Event-Stream;q=1"])
@pytest.mark.parametrize("path", [REPORT, RECORD])
async def test_who_asks_for_events_gets_them(client: httpx2.AsyncClient, path: str, accept: str) -> None:
    answer = await client.get(path, headers={**AUDITOR, "accept": accept})
    [(name, document)] = events_of(answer.text)
    assert (name, document["v"]) == ("report", 1)


async def test_one_at_a_time_for_each_caller(http: httpx2.AsyncClient, making: Making) -> None:
    first = asyncio.create_task(http.get(REPORT, headers=AUDITOR))
    await asyncio.to_thread(making.begun.wait)
    for path, headers in ((REPORT, AUDITOR), (REPORT, EVENTS), (RECORD, AUDITOR)):
        refused = await http.get(path, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (429, "limit.reports")
        assert refused.headers["content-type"] == "application/problem+json"
    assert (await http.get("/v1/controls/access-review", headers=AUDITOR)).status_code == 200
    other = asyncio.create_task(http.get(REPORT, headers=token("foreign-auditor")))
    making.steps.release(2 * making.total)
    assert (await first).status_code == (await other).status_code == 200
    assert (await http.get(RECORD, headers=AUDITOR)).status_code == 200


@pytest.mark.parametrize("headers", [AUDITOR, EVENTS], ids=["document", "events"])
async def test_whoever_goes_away_ends_the_report(
    http: httpx2.AsyncClient, making: Making, headers: dict[str, str]
) -> None:
    asked = asyncio.create_task(http.get(REPORT, headers=headers))
    await asyncio.to_thread(making.begun.wait)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)

    async def free() -> bool:
        making.steps.release()
        return (await http.get(RECORD, headers=AUDITOR)).status_code == 200

    await until(free)
    assert making.ended.is_set()


async def test_a_caller_is_busy_until_the_thread_has_stopped() -> None:
    making, reports = Making(), Reports()

    async def make(progress: Progress) -> dict[str, Any]:
        await asyncio.to_thread(making, progress)
        return {}

    events = reports.events("a", make)
    assert await anext(events) == (1, "progress", {"done": 0, "total": 3})
    closing = asyncio.create_task(events.aclose())
    await asyncio.sleep(0)
    assert "a" in reports._callers, "starting and leaving again and again must not pile up threads"
    making.steps.release()
    await closing
    assert making.ended.is_set()
    assert reports._callers == set()


async def test_what_fails_in_the_middle_is_said_so(http: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    going_on = threading.Event()

    def fail(progress: Progress) -> None:
        progress(1, 2)
        going_on.wait()
        raise LogUnavailable("gone")

    gateway.log.making = fail
    text = ""
    async with http.stream("GET", REPORT, headers=EVENTS) as response:
        async for piece in response.aiter_text():
            text += piece
            if events_of(text):
                going_on.set()
    assert [name for name, _ in events_of(text)] == ["progress", "error"]
    assert events_of(text)[-1][1]["code"] == "log.unavailable"
    gateway.log.making = None
    assert (await http.get(REPORT, headers=AUDITOR)).status_code == 200, "the caller is free again"


async def test_a_refusal_is_an_ordinary_one(client: httpx2.AsyncClient, gateway: testing_only_Gateway) -> None:
    bound = {**token("scoped-auditor"), "accept": "text/event-stream"}
    answer = await client.get(REPORT, headers=bound)
    assert (answer.status_code, answer.json()["code"]) == (403, "auth.bound")
    gateway.log.broken = LogUnavailable("full")
    answer = await client.get(REPORT, headers=EVENTS)
    assert (answer.status_code, answer.json()["code"]) == (503, "log.unavailable")
