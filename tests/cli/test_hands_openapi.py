"""``handrail hands openapi``: what it prints is a declaration that the gateway takes, whatever the document says."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.manifest import SideEffects
from gateway.pointers import pointer
from gateway.settings import Settings
from hand_adapters.http import HttpAdapter
from tests.client.stand_in import HOSTILE
from tests.hands.openapi.documents import answers, body, operation, parameter, root

PAYMENT = {
    "type": "object",
    "properties": {
        "payeeEmail": {"type": "string", "format": "email"},
        "amount": {"type": "number"},
        "callback": {"type": "string", "format": "uri"},
        "cc": {"type": "array", "items": {"type": "string"}},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "integer"}}}},
        "note": {"type": ["string", "null"]},
    },
}
PATHS = {
    "/payments": {
        "get": operation(operationId="list payments", tags=["read"], responses=answers({"type": "array"})),
        "post": operation(operationId="pay", requestBody=body(PAYMENT)),
    },
    "/payments/{id}": {"delete": operation(operationId="drop", parameters=[parameter("id", "path")])},
    "/files": {"put": operation(operationId="put", requestBody=body({}, "image/png"))},
}
KEY = {
    "components": {"securitySchemes": {"API Key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}},
    "security": [{"API Key": []}],
    "servers": [{"url": "https://evil.example"}],
}


def give(*args: str) -> Result:
    return CliRunner().invoke(app, ["hands", "openapi", *args], env={"COLUMNS": "200"})


def write(tmp_path: Path, document: Any) -> str:
    file = tmp_path / "api.json"
    file.write_text(json.dumps(document))
    return str(file)


def test_what_is_printed_is_a_declaration_in_which_the_worst_counts_until_somebody_decides(tmp_path: Path) -> None:
    result = give(write(tmp_path, root(PATHS, **KEY)), "--id", "bank", "--base-url", "https://bank.example/v1")
    assert result.exit_code == 0, result.output
    hand = Settings(**tomllib.loads(result.stdout)).hands["bank"]
    HttpAdapter.validate("bank", hand)
    assert {name: action.side_effects for name, action in hand.actions.items()} == dict.fromkeys(
        ("list_payments", "pay", "drop"), SideEffects.EXTERNAL
    )
    assert not hand.secrets
    assert "put is left out: /paths/~1files/put/requestBody/content: image/png" in result.stderr

    said = [
        line for line in result.stdout.splitlines() if not line.startswith(("# The", "# GET", "# POST", "# DELETE"))
    ]
    reviewed = "\n".join(line.removeprefix("# ") for line in said)
    hand = Settings(**tomllib.loads(reviewed)).hands["bank"]
    HttpAdapter.validate("bank", hand)
    assert HttpAdapter("bank", hand, None).notes == ()
    assert {name: str(action.side_effects) for name, action in hand.actions.items()} == {
        "list_payments": "none", "pay": "external", "drop": "irreversible",
    }  # fmt: skip
    assert {at: str(role) for at, role in hand.actions["pay"].args.items()} == {
        "/body/payeeEmail": "recipient",
        "/body/amount": "amount",
        "/body/callback": "url",
        "/body/cc/*": "recipient",
        "/body/lines/*/price": "amount",
    }
    assert hand.secrets["api-key"].parameter == "X-Api-Key"


def test_no_server_of_a_document_becomes_a_base_url(tmp_path: Path) -> None:
    result = give(write(tmp_path, root(PATHS, **KEY)), "--id", "bank", "--operations", "tag:read")
    assert "base_url" not in tomllib.loads(result.stdout)["hands"]["bank"]
    assert '# base_url = "https://evil.example"' in result.stdout


def test_json_says_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, root(PATHS, **KEY))
    plain = give(file, "--id", "bank").stdout
    found = json.loads(give(file, "--id", "bank", "--json").stdout)
    assert found["toml"] == plain
    assert [one["name"] for one in found["operations"]] == ["list_payments", "pay", "drop"]
    assert found["operations"][1]["args"]["/body/amount"] == "amount"
    told = [(one["side_effects"], one["idempotent"]) for one in found["operations"]]
    assert told == [("none", True), ("external", False), ("irreversible", True)]
    assert found["operations"][0]["security"] == [["API Key"]]
    assert [one["name"] for one in found["left_out"]] == ["put"]


def test_text_of_a_document_reaches_neither_the_terminal_nor_the_toml(tmp_path: Path) -> None:
    evil = f'{HOSTILE}"\n[policy]\nsource = "x"\n\U0001f600'
    paths = {
        f"/{evil}": {"get": operation(operationId=evil, summary=evil, description=evil, tags=[evil])},
        "/x": {
            "get": operation(
                operationId="x",
                parameters=[parameter(f"url{evil}"), parameter("url"), parameter(evil, "cookie")],
                requestBody=body({}, evil),
            )
        },
        "/y": {"post": operation(operationId="y", requestBody=body({}, evil))},
        "/z": {"get": operation(operationId="z", parameters=[parameter(f"url{evil}")])},
    }
    scheme = {"securitySchemes": {evil: {"type": "apiKey", "in": "query", "name": evil}}}
    made = root(paths, components=scheme, security=[{evil: []}], servers=[{"url": evil}])
    file = write(tmp_path, made)
    result = give(file, "--id", "a")
    assert result.exit_code == 0, result.output
    for shown in (result.stdout, result.stderr):
        assert [line for line in shown.splitlines() if not line.isprintable()] == []
    assert set(tomllib.loads(result.stdout)) == {"hands"}
    reviewed = "\n".join(line.removeprefix("# ") if "args =" in line else line for line in result.stdout.splitlines())
    assert tomllib.loads(reviewed)["hands"]["a"]["actions"]["z"]["args"] == {pointer(["query", f"url{evil}"]): "url"}
    assert give(file, "--id", "a", "--json").stdout.isascii()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--id", "Bank"], 2, "no id of a hand"),
        (["--id", "bank", "--operations", "nothing"], 2, "no operation is 'nothing'"),
        (["--id", "bank", "--operations", "put"], 1, "put is left out"),
        ([], 2, "--id"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, args: list[str], code: int, said: str) -> None:
    result = give(write(tmp_path, root(PATHS)), *args)
    assert result.exit_code == code, result.output
    assert said in result.output


def test_a_document_that_cannot_be_used_is_named_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"
    file.write_text("openapi: 3.1.0\npaths: {}\npaths: {}\n")
    result = give(str(file), "--id", "bank", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "cli.file"
    assert "api.yaml: line 3: an object has two members 'paths'" in error["detail"]
    assert "No such file" in give(str(tmp_path / "none.yaml"), "--id", "bank").output
