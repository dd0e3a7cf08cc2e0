"""A report that is watched while it is made: what the client tells of it, and what it takes for one."""

from collections.abc import Callable, Iterator

import pytest
from handrail import Client, ClientError, HandrailProblem, UnexpectedReply, Unreachable
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.client.stand_in import TOKEN, StandIn, problem, running

PATH = "/v1/controls/report"


@pytest.fixture(scope="module")
def gateway() -> Iterator[StandIn]:
    with running() as stand_in:
        yield stand_in


@pytest.fixture
def client(gateway: StandIn) -> Iterator[Client]:
    with Client(gateway.url, TOKEN) as client:
        yield client


def events(*lines: str) -> Callable[[Request], Response]:
    async def stream():  # type: ignore[no-untyped-def]
        for line in lines:
            yield f"{line}\n\n"

    return lambda _request: StreamingResponse(stream(), media_type="text/event-stream")


def test_progress_is_told_and_the_report_returned(gateway: StandIn, client: Client) -> None:
    gateway.next("GET", PATH, events("retry: 2000", ": heartbeat", 'id: 1\nevent: progress\ndata: {"done":0,"total":4}',
                                     'id: 2\nevent: progress\ndata: {"done":3,"total":4}',
                                     'id: 3\nevent: report\ndata: {"v":1}'))  # fmt: skip
    seen: list[tuple[int, int]] = []
    found = client.controls_report_watched("gdpr", lambda done, total: seen.append((done, total)), to="2026-01-01")
    assert (found, seen) == ({"v": 1}, [(0, 4), (3, 4)])
    assert gateway.seen[-1][1] == f"{PATH}?framework=gdpr&to=2026-01-01"


def test_a_gateway_that_answers_at_once_is_understood(gateway: StandIn, client: Client) -> None:
    gateway.next("GET", "/v1/controls/processing-record", lambda _request: JSONResponse({"v": 1}))
    assert client.processing_record_watched(lambda _done, _total: None) == {"v": 1}


def test_whoever_watches_may_end_it(gateway: StandIn, client: Client) -> None:
    gateway.next("GET", PATH, events('event: progress\ndata: {"done":0,"total":4}', "event: report\ndata: {}"))

    def enough(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.controls_report_watched("gdpr", enough)
    assert client.me()["id"], "the connection it used is not left half read"


def test_a_refusal_is_one(gateway: StandIn, client: Client) -> None:
    gateway.next("GET", PATH, lambda _request: problem("limit.reports", 429))
    with pytest.raises(HandrailProblem) as refused:
        client.controls_report_watched("gdpr", lambda _done, _total: None)
    assert (refused.value.code, refused.value.status) == ("limit.reports", 429)


def test_an_error_on_the_way_is_a_refusal(gateway: StandIn, client: Client) -> None:
    said = '{"code":"log.unavailable","detail":"The log is away.","request_id":"r"}'
    gateway.next("GET", PATH, events('event: progress\ndata: {"done":0,"total":4}', f"event: error\ndata: {said}"))
    with pytest.raises(HandrailProblem) as refused:
        client.controls_report_watched("gdpr", lambda _done, _total: None)
    assert (refused.value.code, refused.value.request_id) == ("log.unavailable", "r")


@pytest.mark.parametrize(
    "lines",
    [
        [], ['event: progress\ndata: {"done":0,"total":4}'], ["event: report\ndata: []"], ["event: report\ndata: {"],
        ['event: progress\ndata: {"done":"0","total":4}'], ["event: progress\ndata: {}"], ["event: other\ndata: {}"],
        ['event: error\ndata: {"code":1}'],
    ],
)  # fmt: skip
def test_nothing_else_is_taken_for_a_report(gateway: StandIn, client: Client, lines: list[str]) -> None:
    gateway.next("GET", PATH, events(*lines))
    with pytest.raises(UnexpectedReply):
        client.controls_report_watched("gdpr", lambda _done, _total: None)


def test_a_connection_that_breaks_is_no_report(gateway: StandIn, client: Client) -> None:
    async def breaks():  # type: ignore[no-untyped-def]
        yield 'event: progress\ndata: {"done":0,"total":4}\n\n'
        raise RuntimeError("the gateway is gone")

    gateway.next("GET", PATH, lambda _request: StreamingResponse(breaks(), media_type="text/event-stream"))
    with pytest.raises((Unreachable, UnexpectedReply)) as failed:
        client.controls_report_watched("gdpr", lambda _done, _total: None)
    assert isinstance(failed.value, ClientError)
