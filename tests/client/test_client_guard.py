"""The guard: nothing is called that was not let go, whatever the gateway answers; the key goes to the gateway alone."""

import asyncio
import functools
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from handrail import ClientError, Denied, Guard
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.client.stand_in import TOKEN, problem, serving

STEP = {"id": "c0", "hand": "office", "action": "send", "status": "released", "decision": None}


class Gateway:
    """Lets every call go, unless it has another answer."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Response | None = None
        self.taken: Response | None = None
        self.judged: list[Any] = []
        self.reported: list[Any] = []
        self.tokens: set[str] = set()

    async def calls(self, request: Request) -> Response:
        self.tokens.add(request.headers["authorization"])
        self.judged.append(json.loads(await request.body()))
        return self.answer or JSONResponse({"calls": [{"go": True, "text": "", "plan_id": "p", "step": STEP}]})

    async def report(self, request: Request) -> Response:
        self.reported.append(json.loads(await request.body()))
        return self.taken or JSONResponse({})


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    routes = [
        Route("/v1/calls", made.calls, methods=["POST"]),
        Route("/v1/plans/p/steps/c0/report", made.report, methods=["POST"]),
    ]
    with serving(Starlette(routes=routes)) as made.url:
        yield made


class Office:
    """Tools that say whether they were called."""

    def __init__(self, guard: Guard) -> None:
        self.called: list[tuple[Any, ...]] = []

        @guard.tool
        def send(to: str, text: str = "Hello") -> str:
            """Send a letter."""
            self.called.append((to, text))
            if to == "nobody":
                raise LookupError("an address in the text of an exception")
            return f"Sent to {to}."

        @guard.tool
        async def find(name: str) -> dict[str, Any]:
            self.called.append((name,))
            if name == "nobody":
                raise LookupError
            return {"name": name}

        self.send, self.find = send, find


def guard_of(gateway: Gateway) -> Guard:
    return Guard(gateway.url, TOKEN, hand="office", context_id="ticket-7")


async def test_a_call_is_judged_with_its_defaults_and_reported(gateway: Gateway) -> None:
    office = Office(guard_of(gateway))
    assert office.send("Ann") == "Sent to Ann."
    assert await office.find(name="Ann") == {"name": "Ann"}
    assert [one["calls"] for one in gateway.judged] == [
        [{"hand": "office", "action": "send", "args": {"to": "Ann", "text": "Hello"}}],
        [{"hand": "office", "action": "find", "args": {"name": "Ann"}}],
    ]
    assert {one["context_id"] for one in gateway.judged} == {"ticket-7"}
    assert [one["content"][0]["text"] for one in gateway.reported] == ["Sent to Ann.", '{"name": "Ann"}']
    assert gateway.tokens == {f"Bearer {TOKEN}"}
    assert office.send.__name__ == "send"
    assert office.send.__doc__ == "Send a letter."


DENIED = JSONResponse({"calls": [{"go": False, "text": "policy.denied: No.", "plan_id": "p", "step": STEP}]})


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (DENIED, "policy.denied: No."),
        (problem("log.unavailable", 503), "log.unavailable"),
        (problem("verify.context", 403), "verify.context"),
        (JSONResponse({"calls": []}), "no answer"),
        (JSONResponse({"calls": [{"text": "go on"}]}), "go on"),
        (JSONResponse({"calls": [{"go": "yes", "plan_id": "p", "step": STEP}]}), "not made"),
        (JSONResponse({"calls": [{"go": True}, {"go": True}]}), "no answer"),
        (JSONResponse({}), "no answer"),
        (JSONResponse({"calls": [None]}), "no answer"),
        (JSONResponse({"calls": [{"go": True}]}), "no answer"),
        (PlainTextResponse("go"), "no answer"),
        (RedirectResponse("http://127.0.0.1:9/v1/calls", 307), "no answer"),
    ],
    ids=["denied", "log", "context", "none", "no go", "yes", "two", "empty", "null", "no step", "text", "elsewhere"],
)
async def test_nothing_is_called_that_was_not_let_go(gateway: Gateway, answer: Response, why: str) -> None:
    office = Office(guard_of(gateway))
    gateway.answer = answer
    for said in (office.send("Ann"), await office.find("Ann")):
        assert why in str(said)
    assert (office.called, gateway.reported) == ([], [])


async def test_arguments_that_are_no_json_are_judged_by_nobody_and_called_by_nobody(gateway: Gateway) -> None:
    office = Office(guard_of(gateway))
    for argument in (object(), float("nan"), b"bytes"):
        assert "This call was not made." in office.send(argument)  # type: ignore[arg-type]
    assert (office.called, gateway.judged) == ([], [])


async def test_a_tool_that_fails_is_reported_as_failed_by_the_name_of_its_error_alone(gateway: Gateway) -> None:
    office = Office(guard_of(gateway))
    with pytest.raises(LookupError):
        office.send("nobody")
    with pytest.raises(LookupError):
        await office.find("nobody")
    assert gateway.reported == [{"content": [{"type": "text", "text": "LookupError"}], "is_error": True}] * 2


async def test_a_report_that_is_not_taken_is_warned_of_and_the_result_stands(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.taken = problem("log.unavailable", 503)
    assert Office(guard_of(gateway)).send("Ann") == "Sent to Ann."
    [record] = caplog.records
    assert (record.name, record.levelname) == ("handrail.guard", "WARNING")
    assert TOKEN not in record.getMessage()


async def test_what_is_to_be_awaited_is_reported_once_it_was(gateway: Gateway) -> None:
    """Whether or not the function itself says so: another decorator may hide it."""
    office = Office(guard := guard_of(gateway))
    find = office.find.__wrapped__  # type: ignore[attr-defined]

    def find_later(name: str) -> Any:
        return find(name)

    def find_soon(name: str) -> Any:
        return asyncio.ensure_future(find(name))

    later, future = guard.tool(find_later), guard.tool(find_soon)
    for number, tool in enumerate((later, future)):
        coming = tool("Ann")
        assert len(gateway.judged) == number + 1
        assert len(gateway.reported) == number, "nothing came of it yet"
        assert await coming == {"name": "Ann"}
        assert gateway.reported[-1]["content"][0]["text"] == '{"name": "Ann"}'
    with pytest.raises(LookupError):
        await later("nobody")
    assert gateway.reported[-1] == {"content": [{"type": "text", "text": "LookupError"}], "is_error": True}
    gateway.answer = DENIED
    calls = len(office.called)
    assert "policy.denied" in later("Ann")
    assert len(office.called) == calls


def one_by_one(name: str) -> Iterator[str]:
    yield name


async def one_by_one_async(name: str) -> AsyncIterator[str]:
    yield name


def one_by_one_hidden(name: str) -> Any:
    return one_by_one(name)


def mapped(name: str) -> Any:
    return map(str.upper, name)


def one_by_one_async_hidden(name: str) -> Any:
    return one_by_one_async(name)


async def one_by_one_later(name: str) -> Any:
    return one_by_one(name)


async def twice_awaited(name: str) -> Any:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("function", [one_by_one, one_by_one_async, functools.partial(one_by_one)])
def test_a_tool_that_yields_is_refused_where_it_is_decorated(gateway: Gateway, function: Any) -> None:
    """Its call would be reported as done before its body began."""
    if isinstance(function, functools.partial):
        functools.update_wrapper(function, one_by_one)
    with pytest.raises(ClientError, match=r"yields\. A call is reported when it is over: return all of it"):
        guard_of(gateway).tool(function)


@pytest.mark.parametrize("function", [one_by_one_hidden, mapped, one_by_one_async_hidden, one_by_one_later])
async def test_a_call_whose_result_is_yet_to_come_is_reported_as_failed(gateway: Gateway, function: Any) -> None:
    with pytest.raises(ClientError, match=r"returned a .* return all of it"):
        await guard_of(gateway).tool(function)("Ann")
    assert [one["is_error"] for one in gateway.reported] == [True]


async def test_what_is_to_be_awaited_twice_is_reported_as_failed(gateway: Gateway) -> None:
    with pytest.raises(ClientError, match="returned a Future"):
        await guard_of(gateway).tool(twice_awaited)("Ann")
    assert [one["is_error"] for one in gateway.reported] == [True]


def test_a_tool_without_a_name_is_refused_where_it_is_decorated(gateway: Gateway) -> None:
    with pytest.raises(ClientError, match="partial has none"):
        guard_of(gateway).tool(functools.partial(mapped))


def test_what_a_framework_fills_itself_is_no_argument(gateway: Gateway) -> None:
    guard = guard_of(gateway)

    def send(ctx: object, to: str) -> str:
        return f"Sent to {to}."

    assert guard.tool(send, leave_out={"ctx"})(object(), "Ann") == "Sent to Ann."
    assert gateway.judged[0]["calls"][0]["args"] == {"to": "Ann"}


async def test_many_threads_and_tasks_use_one_guard(gateway: Gateway) -> None:
    office = Office(guard_of(gateway))
    threads = [threading.Thread(target=office.send, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    found = await asyncio.gather(*(office.find(f"f{number}") for number in range(8)))
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert [one["name"] for one in found] == [f"f{number}" for number in range(8)]
    assert len(gateway.reported) == len(office.called) == 16


def test_what_is_wrong_with_the_connection_is_wrong_at_once() -> None:
    for url, key in (("ftp://h", TOKEN), ("http://127.0.0.1:1", "a b")):
        with pytest.raises(ClientError):
            Guard(url, key, hand="office", context_id="c")


def test_whoever_decides_without_the_decorator_is_told_by_an_exception(gateway: Gateway) -> None:
    gateway.answer = DENIED
    with pytest.raises(Denied, match=r"policy\.denied: No\."):
        guard_of(gateway).decide("send", {"to": "Ann"})
