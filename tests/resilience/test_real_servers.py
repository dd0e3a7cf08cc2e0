"""Retries against real servers that fail: what arrives there, how often, and with what."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import HandCall, HandResult, Injections
from gateway.ports import HandFailure
from gateway.reach import SecretUse
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.http_answer import retry_after
from tests.resilience.servers import Calls, http, registry, serving


class Failing:
    """A server that fails the first requests in one way and answers the others."""

    def __init__(self, times: int, how: str) -> None:
        self.times = times
        self.how = how
        self.credentials: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.credentials.append(request.headers["Authorization"])
        if len(self.credentials) > self.times:
            return web.json_response({"done": True})
        if self.how == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=int(self.how), headers={"Retry-After": "0"})


@pytest.mark.parametrize("how", ["429", "502", "503", "504", "cut"])
async def test_a_server_that_fails_for_a_moment_is_asked_again_with_other_credentials(how: str) -> None:
    server = Failing(2, how)
    async with serving(server) as port, registry(api=http(port)) as hands:
        result = await hands.run(Calls(hands).call("api"))
    assert (result.structured, result.attempts) == ({"done": True}, 3)
    assert server.credentials == ["DPoP secret-step-credential", "DPoP renewed-1", "DPoP renewed-2"]


@pytest.mark.parametrize("how", ["429", "502", "503", "504", "cut"])
async def test_what_is_not_idempotent_arrives_once_however_the_server_fails(how: str) -> None:
    server = Failing(1, how)
    async with serving(server) as port, registry(api=http(port)) as hands:
        calls = Calls(hands)
        if how in {"429", "503"}:
            result = await hands.run(calls.call("api", "post"))
            assert (result.is_error, result.structured, result.attempts) == (True, {"status": int(how)}, 1)
        else:
            with pytest.raises(HandError) as lost:
                await hands.run(calls.call("api", "post"))
            assert (lost.value.reason, lost.value.failure) == (Reason.HAND_LOST_REPLY, HandFailure.UNKNOWN)
    assert len(server.credentials) == 1


@pytest.mark.parametrize("status", ["400", "401", "404", "409", "500"])
async def test_an_answer_is_an_answer(status: str) -> None:
    server = Failing(9, status)
    async with serving(server) as port, registry(api=http(port)) as hands:
        assert (await hands.run(Calls(hands).call("api"))).is_error
    assert len(server.credentials) == 1


async def test_a_server_that_starts_meanwhile_gets_the_one_request_of_an_action_that_is_not_idempotent() -> None:
    server = Failing(0, "")
    async with serving(server) as port:
        pass
    async with registry(api=http(port)) as hands:
        calls = Calls(hands)
        started = serving(server, port)

        async def start(_: float) -> None:
            await started.__aenter__()

        hands.guards["api"]._sleep = start
        result = await hands.run(calls.call("api", "post"))
        await started.__aexit__(None, None, None)
    assert (result.structured, result.attempts, len(server.credentials)) == ({"done": True}, 2, 1)


class Rotating:
    """``gateway.ports.Secrets`` whose value is another one each time; one call of a step at a time, as it is."""

    def __init__(self) -> None:
        self.given = 0
        self.under_way = 0

    @asynccontextmanager
    async def serving(self, call: HandCall, uses: Sequence[SecretUse]) -> AsyncIterator["Rotating"]:
        assert self.under_way == 0
        self.under_way += 1
        try:
            yield self
        finally:
            self.under_way -= 1

    async def inject(self, *target: Any) -> Injections:
        self.given += 1
        return Injections({"Authorization": f"Key {self.given}"})

    def clean(self, text: str) -> str:
        return text

    async def search(self, text: str) -> str:
        return text

    async def answer(self, result: HandResult) -> HandResult:
        return replace(result, content=())


async def test_secrets_are_asked_for_anew_for_each_attempt() -> None:
    """One that was rotated or taken away between two attempts is not sent again."""
    server = Failing(2, "503")
    async with serving(server) as port:
        key = {"store": "sealed", "place": "header", "parameter": "Authorization"}
        declared = http(port, secrets={"key": {**key, "targets": [f"http://127.0.0.1:{port}"]}})
        async with registry(Rotating(), api=declared) as hands:
            result = await hands.run(Calls(hands).call("api"))
    assert (result.structured, result.attempts) == ({"done": True}, 3)
    assert server.credentials == ["Key 1", "Key 2", "Key 3"]


async def test_a_storm_of_calls_to_a_server_that_is_down_ends_at_the_circuit() -> None:
    server = Failing(10**6, "502")
    async with serving(server) as port, registry(api=http(port)) as hands:
        calls = Calls(hands)
        reasons = []
        for number in range(200):
            with pytest.raises(HandError) as ended:
                await hands.run(calls.call("api", principal=f"user-{number}"))
            reasons.append(ended.value.reason)
        [shown] = hands.describe("default")
    assert len(server.credentials) == 5
    assert reasons[-1] is Reason.HAND_CIRCUIT_OPEN
    assert shown["load"] == {"circuit": "open", "running": 0, "waiting": 0}


async def test_a_hand_that_is_not_usable_is_neither_tried_again_nor_counted() -> None:
    async with registry(api=http(1)) as hands:
        calls = Calls(hands)
        for _ in range(20):
            one = calls.call("api", digest="0" * 64)
            with pytest.raises(HandError) as refused:
                await hands.run(one)
            assert refused.value.reason is Reason.HAND_DRIFTED
            assert one.progress.attempts == 0
        assert hands.guards["api"].circuit("default") == "closed"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-1", 0.0),
        ("1e9", 0.0),
        ("٣", 0.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:16:50", 0.0),
        ("soon", 0.0),
    ],
)
def test_when_to_ask_again_is_read_as_the_rfc_writes_it(said: str, seconds: float) -> None:
    assert retry_after(said, 1000.0) == seconds


@given(st.text(max_size=60))
def test_no_header_of_a_server_breaks_the_reading(said: str) -> None:
    assert 0.0 <= retry_after(said, 1000.0) <= 1e12
