"""A hand of each kind that Handrail brings keeps its promises: real servers, the real jail. Databases are in
``tests/sql``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.calls import HandCall, HandResult
from gateway.settings import HandSettings, JailSettings
from hand_adapters.conformance import Options, Promise, Report, Status, check_adapter
from hand_adapters.http import HttpAdapter
from hand_adapters.jail import Jail, JailSpec
from hand_adapters.kinds import kind_of
from hand_adapters.process import ProcessAdapter
from tests import services
from tests.client.stand_in import serving
from tests.hands import mcp_http
from tests.hands.hands_support import HOSTILE
from tests.hands.openapi.documents import answers, body, parameter, root
from tests.jail.adapters.modules import ECHO

NONE = {"side_effects": "none", "idempotent": True}
TEXT = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 1500}}, "required": ["text"]}
NOTE = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "text": {"type": "string", "maxLength": 1500}},
    "required": ["text"],
}
NOTES = {
    "/notes": {
        "get": {
            "operationId": "find",
            "parameters": [parameter("text", schema={"type": "string", "maxLength": 1500}, required=True)],
            "responses": answers(NOTE),
        }
    },
    "/notes/{id}": {
        "put": {
            "operationId": "write",
            "parameters": [parameter("id", "path", schema={"type": "integer", "minimum": 1, "maximum": 9})],
            "requestBody": body(NOTE),
            "responses": answers(NOTE),
        }
    },
}
REACHING = """
import urllib.parse, urllib.request

def find(text: str) -> str:
    with urllib.request.urlopen("URL?" + urllib.parse.urlencode({"text": text}), timeout=10) as answer:
        return answer.read().decode()
"""
PYTHON = "def echo(text: str) -> dict[str, str]:\n    return {'text': text * 4}\n"


def kept(report: Report) -> set[Promise]:
    return {one.promise for one in report.verdicts if one.status is Status.KEPT}


async def check(settings: dict[str, Any], **changes: Any) -> Report:
    options = Options(**{"examples": 8, "seed": 3, **changes})
    declared = HandSettings.model_validate(settings)
    return await check_adapter(kind_of(declared), declared, options=options)


@pytest.fixture
def api() -> Iterator[str]:
    """An API that keeps notes, and knows who may."""
    kept: dict[str, Any] = {}

    async def find(request: Request) -> Response:
        if not request.headers["authorization"].startswith("Bearer "):
            return Response(status_code=401)
        return JSONResponse({"text": request.query_params["text"]})

    async def write(request: Request) -> Response:
        kept[request.path_params["id"]] = await request.json()
        return JSONResponse(kept[request.path_params["id"]])

    routes = [Route("/v1/notes", find), Route("/v1/notes/{id}", write, methods=["PUT"])]
    with serving(Starlette(routes=routes)) as url:
        yield f"{url}/v1"


async def test_an_api_with_a_document(api: str, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text(json.dumps(root(NOTES)))
    settings = {
        "adapter": "http",
        "base_url": api,
        "private_network": True,
        "openapi": tmp_path / "notes.json",
        "operations": ["* /**"],
        "secrets": {"token": {"place": "bearer"}},
        "actions": {"find": NONE, "write": {"side_effects": "reversible", "idempotent": True}},
    }
    report = await check(settings, allow_effects=frozenset({"write"}))
    assert not report.broken, report.text()
    assert report.complete
    assert kept(report) >= {Promise.RESULT, Promise.SECRETS, Promise.IDEMPOTENT, Promise.CONCURRENCY}


async def test_an_api_that_echoes_what_it_is_sent_is_found_out(tmp_path: Path) -> None:
    """The gateway takes it out of the answer; the API is nothing to send a secret to, all the same."""

    async def echo(request: Request) -> Response:
        return JSONResponse(dict(request.headers))

    word = {"method": "GET", "path": "/echo", "args_schema": TEXT, "side_effects": "none"}
    with serving(Starlette(routes=[Route("/echo", echo)])) as url:
        settings = {"adapter": "http", "base_url": url, "private_network": True, "actions": {"echo": word}}
        report = await check(settings)
    assert {one.promise for one in report.broken} == {Promise.SECRETS}


async def test_an_api_that_is_not_there_is_incomplete_and_nothing_is_broken() -> None:
    word = {"method": "GET", "path": "/echo", "args_schema": TEXT, "side_effects": "none"}
    settings = {"adapter": "http", "base_url": "http://127.0.0.1:9", "private_network": True, "actions": {"echo": word}}
    report = await check_adapter(HttpAdapter, settings, options=Options(examples=2))
    assert not report.broken, report.text()
    assert "hand.unavailable" in next(one.seen for one in report.verdicts if one.promise is Promise.RESULT)
    assert not report.complete


async def test_a_server_elsewhere() -> None:
    with mcp_http.threaded(mcp_http.Server().handle) as url:
        report = await check({"adapter": "mcp", "url": url, "private_network": True, "actions": {"echo": NONE}})
    assert not report.broken, report.text()
    assert report.complete
    assert kept(report) >= {Promise.MANIFEST, Promise.DRIFT, Promise.CONCURRENCY, Promise.RESTART, Promise.CLOSE}


async def test_a_remote_hand_is_not_called() -> None:
    settings = {"adapter": "remote", "actions": {"echo": {"args_schema": TEXT, **NONE}}}
    report = await check(settings)
    assert not report.broken, report.text()
    assert (report.called, list(report.left_out)) == ((), ["echo"])
    assert kept(report) >= {Promise.MANIFEST, Promise.SCHEMAS, Promise.ARGUMENTS}


def server(mode: str) -> dict[str, Any]:
    return {
        "adapter": "mcp",
        "command": ["python", "/servers/hostile.py", mode],
        "binds": [{"source": HOSTILE.parent, "target": "/servers"}],
        "actions": {"echo": NONE},
    }


class TellsTheJail(ProcessAdapter):
    """Has a program of its own do something with the step credential."""

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        super().__init__(hand_id, settings, jail)
        self.jail = jail

    async def run(self, call: HandCall) -> HandResult:
        await self.jail.run(JailSpec(("true", f"--token={call.credential}"), env={"TOKEN": call.credential}))
        return await super().run(call)


@pytest.fixture
def jailed(tmp_path: Path) -> None:
    problems = Jail(JailSettings(), tmp_path).missing()
    services.require(not problems, "a working jail", " ".join(problems) or "-")


@pytest.mark.jail
@pytest.mark.usefixtures("jailed")
class TestInTheJail:
    async def test_a_server(self) -> None:
        report = await check(server("good"))
        assert not report.broken, report.text()
        assert report.complete
        assert kept(report) >= {*Promise} - {
            Promise.ANALYSIS, Promise.ERRORS, Promise.SIDE_EFFECTS, Promise.DEADLINE, Promise.CANCELLATION,
            Promise.RESULT,
        }  # fmt: skip
        [restarted] = [one for one in report.verdicts if one.promise is Promise.RESTART]
        assert restarted.seen == "killed and closed, it worked again"

    async def test_a_server_that_tells_all_that_it_sees_has_no_secret_to_tell(self) -> None:
        report = await check(server("who"), examples=4)
        assert not report.broken, report.text()
        assert Promise.SECRETS in kept(report)

    @pytest.mark.parametrize(("mode", "reason"), [("crash", "hand.crashed"), ("hang", "hand.timeout")])
    async def test_a_server_that_never_answers_breaks_no_promise_and_shows_nothing(
        self, mode: str, reason: str
    ) -> None:
        """The adapter made a typed error of it, in time, and left no process."""
        report = await check(server(mode), examples=3, call_seconds=0.5)
        assert not report.broken, report.text()
        assert Promise.ERRORS in kept(report)
        assert reason in next(one.seen for one in report.verdicts if one.promise is Promise.RESULT)
        assert list(report.left_out) == ["echo"]

    async def test_a_command_line(self) -> None:
        word = {"argv": ["cat"], "stdin": "text", "args_schema": TEXT, **NONE}
        report = await check({"adapter": "process", "actions": {"echo": word}})
        assert not report.broken, report.text()
        assert report.complete
        assert kept(report) >= {Promise.RESULT_SIZE, Promise.CONCURRENCY, Promise.DEADLINE, Promise.CANCELLATION}

    async def test_a_command_that_leaves_a_daemon_is_ended_with_it(self) -> None:
        word = {"argv": ["sh", "-c", "setsid sleep 600 & cat"], "stdin": "text", "args_schema": TEXT, **NONE}
        report = await check({"adapter": "process", "actions": {"echo": word}}, examples=3)
        assert not report.broken, report.text()

    async def test_a_function(self, tmp_path: Path) -> None:
        (tmp_path / "echoes.py").write_text(PYTHON)
        settings = {"adapter": "python", "python": {"source": tmp_path / "echoes.py"}, "actions": {"echo": NONE}}
        report = await check(settings, examples=4)
        assert not report.broken, report.text()
        assert report.complete
        assert kept(report) >= {Promise.RESULT, Promise.RESULT_SIZE, Promise.CONCURRENCY, Promise.DEADLINE}

    async def test_a_function_that_reaches_an_api_through_the_way_out_of_its_jail(
        self, api: str, tmp_path: Path
    ) -> None:
        """The API lets in who has the secret, which the function never sees."""
        (tmp_path / "notes.py").write_text(REACHING.replace("URL", f"{api}/notes"))
        host, port = api.removeprefix("http://").removesuffix("/v1").split(":")
        rule = {"host": host, "scheme": "http", "port": int(port), "paths": ["/v1/notes"], "private_network": True}
        settings = {
            "adapter": "python",
            "python": {"source": tmp_path / "notes.py"},
            "egress": [rule],
            "secrets": {"token": {"place": "bearer", "targets": [f"http://{host}:{port}"]}},
            "actions": {"find": NONE},
        }
        report = await check(settings, examples=3)
        assert not report.broken, report.text()
        assert report.complete
        assert Promise.SECRETS in kept(report), "it was asked for, and seen nowhere"

    async def test_a_module(self, tmp_path: Path) -> None:
        wasmtime = pytest.importorskip("wasmtime")
        (tmp_path / "echo.wasm").write_bytes(wasmtime.wat2wasm(ECHO))
        word = {"args_schema": TEXT, "result_schema": TEXT, **NONE}
        settings = {"adapter": "wasm", "wasm": {"module": tmp_path / "echo.wasm"}, "actions": {"echo": word}}
        report = await check(settings)
        assert not report.broken, report.text()
        assert report.complete
        assert kept(report) >= {Promise.RESULT, Promise.RESULT_SIZE, Promise.CONCURRENCY}

    async def test_an_adapter_that_lets_the_credential_into_the_jail_is_found_out(self) -> None:
        word = {"argv": ["cat"], "stdin": "text", "args_schema": TEXT, **NONE}
        settings = {"adapter": "process", "actions": {"echo": word}}
        report = await check_adapter(TellsTheJail, settings, options=Options(examples=1, seed=3))
        assert {(one.promise, one.seen) for one in report.broken} == {
            (Promise.SECRETS, "the step credential was in the environment of a jail"),
            (Promise.SECRETS, "the step credential was in the command line of a jail"),
        }
