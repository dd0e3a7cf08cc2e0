"""``handrail hands listing``, against a server over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.settings import HandSettings
from hand_adapters.mcp import McpHttpAdapter
from tests.hands import mcp_http
from tests.hands.mcp_http import ECHO, Server, answer

TOKEN = "t0ken-of-a-person-4711"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["hands", "listing", *words])


async def only_friends(server: Server, request: web.Request, message: Any) -> web.Response:
    """A server that tells strangers nothing."""
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return web.Response(status=401)
    return server.welcome(message)


async def echoing(server: Server, request: web.Request, message: Any) -> web.Response:
    """A server that repeats what it was sent."""
    return answer(message, {"tools": [{**ECHO, "description": f"for {request.headers['Authorization']}"}]})


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token.txt"
    file.write_text(f"{TOKEN}\n")
    return file


def test_what_a_server_offers_is_kept_and_can_be_named_by_a_hand(tmp_path: Path, token: Path) -> None:
    file = tmp_path / "tools.json"
    with mcp_http.threaded(Server(initialized=only_friends).handle) as url:
        done = run(url, "--private-network", "--bearer", str(token), "--out", str(file))
    assert done.exit_code == 0, done.output
    assert "has 1 tool." in done.output
    assert json.loads(file.read_text()) == {"tools": [ECHO], "instructions": "Call echo."}
    McpHttpAdapter.validate("h", HandSettings(adapter="mcp", url="https://a.example/mcp", listing=file))


def test_a_server_that_wants_to_know_who_asks(tmp_path: Path) -> None:
    with mcp_http.threaded(Server(initialized=only_friends).handle) as url:
        done = run(url, "--private-network", "--out", str(tmp_path / "tools.json"))
    assert done.exit_code == 1
    assert "status 401" in done.output
    assert "--bearer FILE" in done.output
    assert not (tmp_path / "tools.json").exists()


def test_a_token_that_a_server_repeats_is_not_written_down(tmp_path: Path, token: Path) -> None:
    file = tmp_path / "tools.json"
    with mcp_http.threaded(Server(listed=echoing).handle) as url:
        header = run(url, "--private-network", "--header", f"Authorization={token}", "--out", str(file))
        assert header.exit_code == 0, header.output
        there = run(url, "--private-network", "--bearer", str(token), "--out", str(file), "--json")
        assert (there.exit_code, "cli.exists" in there.output) == (2, True)
        again = run(url, "--private-network", "--bearer", str(token), "--out", str(file), "--force")
    assert again.exit_code == 0, again.output
    assert TOKEN not in file.read_text()
    assert "[secret]" in file.read_text()


async def only_with_the_key(server: Server, request: web.Request, message: Any) -> web.Response:
    """A server that looks for its key in the query, and repeats it."""
    if request.query.get("api_key") != TOKEN:
        return web.Response(status=401)
    return answer(message, {"tools": [{**ECHO, "description": str(request.url)}]})


def test_a_key_that_belongs_into_the_query_is_read_from_a_file(tmp_path: Path, token: Path) -> None:
    file = tmp_path / "tools.json"
    with mcp_http.threaded(Server(listed=only_with_the_key).handle) as url:
        without = run(url, "--private-network", "--out", str(file))
        done = run(url, "--private-network", "--query", f"api_key={token}", "--out", str(file))
        none = run(
            "http://127.0.0.1:1/mcp", "--private-network", "--query", f"k={token}", "--out", str(file), "--force"
        )
    assert (without.exit_code, "--query NAME=FILE" in without.output) == (1, True), without.output
    assert done.exit_code == 0, done.output
    assert "[secret]" in file.read_text()
    assert TOKEN not in file.read_text() + none.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["http://a.example/mcp"], 2, "plain http"),
        (["http://a.example/mcp"], 2, "give --private-network"),
        (["https://127.0.0.1/mcp"], 2, "does not dial"),
        (["ftp://a.example"], 2, "not the URL"),
        (["https://a.example/mcp?key=x"], 2, "give --query NAME=FILE"),
        (["https://a.example/mcp", "--query", "key"], 2, "--query key: not NAME=FILE"),
        (["https://a.example/mcp", "--header", "X-Key"], 2, "not NAME=FILE"),
        (["https://a.example/mcp", "--header", "X Key=f"], 2, "not NAME=FILE"),
        (["https://a.example/mcp", "--bearer", "/nonexistent"], 2, "No such file"),
    ],
)
def test_what_cannot_be_asked_so(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    done = run(*words, "--out", str(tmp_path / "tools.json"))
    assert (done.exit_code, said in done.output) == (code, True), done.output
