"""The page on HTTP APIs, from an OpenAPI file to a governed hand: file, declaration and commands in their order, with a
real gateway and a real API."""

import json
import re
import textwrap
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.settings import ActionSettings, PaginationSettings
from tests.cli import real
from tests.cli.real import CONFIG
from tests.client.stand_in import serving
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
[STORY] = re.findall(r"^## From an OpenAPI file.*?(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
BLOCKS = [
    (language, textwrap.dedent(text))
    for language, text in re.findall(r"^ *```(\w+)\n(.*?)^ *```$", STORY, re.DOTALL | re.MULTILINE)
]
[DOCUMENT] = [text for language, text in BLOCKS if language == "yaml"]
[DECLARATION] = [text for language, text in BLOCKS if language == "toml"]
COMMANDS = [
    line.removeprefix("$ handrail ").split()
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
]
KEY = "petstore-key-of-a-test"


async def pets(request: Request) -> JSONResponse:
    """A petstore that lets in who has the key."""
    if request.headers.get("x-api-key") != KEY:
        return JSONResponse({"error": "who?"}, 401)
    if request.method == "POST":
        return JSONResponse({"id": 2, **await request.json()}, 201)
    return JSONResponse([{"id": 1, "name": "Rex"}][: int(request.query_params.get("limit", "100"))])


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "petstore.yaml").write_text(DOCUMENT)
    (tmp_path / "petstore-key.txt").write_text(KEY)
    with serving(Starlette(routes=[Route("/v1/pets", pets, methods=["GET", "POST"])])) as url:
        local = DECLARATION.replace("https://petstore.example", url)
        local = local.replace('adapter = "http"\n', 'adapter = "http"\nprivate_network = true\n')
        config = CONFIG + local.replace("{", "{{").replace("}", "}}")
        with real.gateway(tmp_path, config, {"ada": "agent"}, signer="ada", issuer="ada-laptop") as home:
            yield home


def ask(home: Path, action: str, args: dict[str, Any]) -> Any:
    """The one step of a plan that asks the hand."""
    step = {"id": "s", "hand": "petstore", "action": action, "args": args}
    (home / "plan.json").write_text(json.dumps({"context_id": "c", "actions": [step]}))
    token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
    sent = real.invoke(home, "plan", "submit", "-", "--wait", "30", "--as", "ada", "--json", stdin=token)
    return json.loads(sent.stdout)


def test_the_commands_of_the_page_make_a_governed_hand(work: Path) -> None:
    printed = ""
    for words in COMMANDS:
        named = [] if words[0] == "config" or words[1] == "openapi" else ["--as", "admin"]
        result = real.invoke(work, *words, *named, *(["--yes"] if words[1] == "pin" else []))
        assert result.exit_code == 0, f"{words}\n{result.output}"
        printed += result.stdout
    suggested = "\n".join(line.removeprefix("# ") for line in printed.splitlines())
    for line in DECLARATION.splitlines():
        if line.startswith(("[", "args", "place", "parameter", "base_url", "openapi")) and "secrets" not in line:
            assert line in suggested, line
    [step] = ask(work, "listPets", {"query": {"limit": 1}})["steps"]
    assert (step["status"], step["result"]["structured"]) == ("succeeded", [{"id": 1, "name": "Rex"}])
    refused = ask(work, "addPet", {"body": {"id": 7, "name": "Rex"}})
    assert "schema.args" in json.dumps(refused), "what is read-only is no argument"


def test_the_page_s_pagination_is_a_setting_and_every_way_of_it_is_told() -> None:
    [shown] = re.findall(r"^## Answers in pages.*?^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    declared = tomllib.loads(shown)["hands"]["petstore"]["actions"]["listPets"]
    assert ActionSettings(**declared).pagination == PaginationSettings(by="link", pages_max=5)
    ways = typing.get_args(PaginationSettings.model_fields["by"].annotation)
    assert [way for way in ways if f"| `{way}` |" not in PAGE] == []
