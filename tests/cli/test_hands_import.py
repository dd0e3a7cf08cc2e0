"""``handrail hands import``, with real servers in the real jail."""

import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import toml_text
from gateway.cli.main import app
from gateway.settings import JailSettings, Settings
from hand_adapters.jail import Jail
from tests import services
from tests.hands import mcp_http
from tests.meta.tree import ROOT

NPM = ROOT / ".tools" / "mcp-servers"
SERVERS = "@modelcontextprotocol/server-"


def run(directory: Path, servers: dict[str, Any], *words: str) -> Result:
    path = directory / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return CliRunner().invoke(app, ["hands", "import", str(path), *words])


@pytest.mark.parametrize("text", ["/a\U0001f600", 'x" = 1\ny', "\x00\x7f\u202e", "back\\slash", "a]\n[hands.evil]"])
def test_no_name_of_a_file_ends_its_place_in_toml(text: str) -> None:
    written = f"a = {toml_text.value({text: text, 'list': [text]})}\n[{toml_text.key(text)}]\n"
    assert tomllib.loads(written) == {"a": {text: text, "list": [text]}, text: {}}
    assert len(written.splitlines()) == 2


def uncommented(toml: str) -> dict[str, Any]:
    """What a person has who agrees to each suggestion."""
    lines = [
        line.removeprefix("# ") if line.startswith(("# [", "# side", "# idem", "# args")) else line
        for line in toml.split("\n")
    ]
    return tomllib.loads("\n".join(lines))


@pytest.fixture
def http_server() -> Iterator[str]:
    with mcp_http.threaded(mcp_http.Server().handle) as url:
        yield url


@pytest.fixture
def jail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problems = Jail(JailSettings(), tmp_path).missing()
    services.require(not problems, "a working jail", " ".join(problems) or "-")


def test_what_is_printed_is_a_configuration(tmp_path: Path) -> None:
    servers = {
        "Time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"A": 'q"\u202e\x1b\n'}},
        "far": {"url": "https://mcp.example/sse", "type": "sse"},
        "near": {"url": "http://localhost:1/mcp", "headers": {"X-Api-Key": "s3cr3t-value"}},
    }
    done = run(tmp_path, servers)
    assert done.exit_code == 1, done.output
    assert "far: not a hand. It speaks sse" in done.output
    assert "s3cr3t-value" not in done.output
    assert "\x1b" not in done.output
    assert "\u202e" not in done.output
    settings = Settings.model_validate(tomllib.loads(done.stdout))
    assert settings.hands["time"].command == ("mcp-server-time",)
    near = settings.hands["near"]
    assert (near.url, near.private_network, str(near.listing)) == ("http://localhost:1/mcp", True, "near-tools.json")
    assert near.secrets["near-x-api-key"].parameter == "X-Api-Key"
    assert settings.hands["time"].env == {"A": 'q"\u202e\x1b\n'}


def test_keys_of_one_name_are_secrets_of_their_own_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer s3cr3t-value", "Token": "s3cr3t-value", "Host": "a", "a\n[b]": "c"}
    done = run(tmp_path, {"far": {"url": "https://mcp.example/mcp?token=s3cr3t-value", "headers": headers}})
    assert "s3cr3t-value" not in done.output
    secrets = Settings.model_validate(tomllib.loads(done.stdout)).hands["far"].secrets
    assert "far-token" in secrets
    assert sorted(secret.place for secret in secrets.values()) == ["bearer", "header", "query"]
    assert "Host is left out: no secret can be sent there." in done.stdout
    assert "A header or a parameter of its query is left out" in done.stdout


def test_a_server_with_a_url_is_asked_there(tmp_path: Path, jail: None, http_server: str) -> None:
    done = run(tmp_path, {"near": {"url": http_server}}, "--ask")
    assert done.exit_code == 0, done.output
    assert "# [hands.near.actions.echo]" in done.stdout


def test_names_cannot_write_toml(tmp_path: Path) -> None:
    """A file from a repository that somebody cloned is not to be trusted with the gateway's configuration."""
    name = 'x"]\n[hands.evil]\nadapter = "mcp"\ncommand = ["sh"]\n#'
    done = run(tmp_path, {name: {"command": "serve", "args": [name], "env": {"A": name}}})
    assert set(tomllib.loads(done.stdout)["hands"]) == {"x-hands-evil-adapter-mcp-command-sh"}


def test_one_server_is_chosen_by_its_name(tmp_path: Path) -> None:
    servers = {"a": {"command": "python"}, "b": {"command": "python"}}
    assert set(tomllib.loads(run(tmp_path, servers, "--only", "b").stdout)["hands"]) == {"b"}
    wrong = run(tmp_path, servers, "--only", "c")
    assert wrong.exit_code == 2
    assert "There are: a, b." in wrong.output


def test_what_is_no_such_file_is_not_answered_with_the_settings_of_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    done = CliRunner().invoke(app, ["hands", "import", str(tmp_path / "x.json")])
    assert done.exit_code == 2
    assert "Give the file in which an MCP client keeps its servers." in done.output
    assert "config example" not in done.output


@pytest.mark.jail
def test_a_server_of_python_is_asked_and_its_answers_are_suggestions(tmp_path: Path, jail: None) -> None:
    servers = {
        "time": {"command": "uvx", "args": ["mcp-server-time"]},
        "gone": {"command": "python", "args": ["-c", ""]},
    }
    done = run(tmp_path, servers, "--ask")
    assert done.exit_code == 1
    declared = tomllib.loads(done.stdout)["hands"]
    assert "actions" not in declared["time"]
    assert "# It could not be asked what it offers:" in done.stdout
    assert "ExceptionGroup" not in done.stdout
    agreed = uncommented(done.stdout)["hands"]["time"]["actions"]
    assert agreed["convert_time"] == {"side_effects": "none", "idempotent": True}
    document = json.loads(run(tmp_path, servers, "--ask", "--json").stdout)
    assert [item["id"] for item in document["hands"]] == ["time", "gone"]
    assert document["hands"][0]["actions"][0] == {
        "name": "convert_time", "side_effects": "none", "idempotent": True, "args": {},
    }  # fmt: skip
    assert document["hands"][1]["problem"]


@pytest.mark.jail
def test_the_reference_servers_of_npm_become_hands(tmp_path: Path, jail: None) -> None:
    services.require((NPM / "node_modules").is_dir(), "npm's reference MCP servers", "make tools")
    services.require(shutil.which("node"), "Node", "Install Node 20.")
    data = tmp_path / "data"
    data.mkdir()
    servers = {
        "files": {"command": "npx", "args": ["-y", f"{SERVERS}filesystem", str(data)]},
        "memory": {"command": "npx", "args": ["-y", f"{SERVERS}memory"], "env": {"MEMORY_FILE_PATH": "/tmp/m.json"}},
        "every": {"command": "npx", "args": ["-y", f"{SERVERS}everything", "stdio"]},
    }
    done = run(tmp_path, servers, "--ask", "--packages", str(NPM))
    assert done.exit_code == 0, done.output
    hands = Settings.model_validate(uncommented(done.stdout)).hands
    assert {str(bind.source) for bind in hands["files"].binds} == {str(NPM / "node_modules"), str(data)}
    assert not any(bind.writable for bind in hands["files"].binds)
    assert str(hands["files"].actions["write_file"].args["/path"]) == "path"
    assert str(hands["memory"].actions["delete_entities"].side_effects) == "irreversible"
    assert "echo" in hands["every"].actions


def test_the_tools_of_a_client_are_printed_as_a_hand() -> None:
    done = CliRunner().invoke(app, ["hands", "import", "--client", "claude-code"])
    assert done.exit_code == 0, done.output
    hand = tomllib.loads(done.stdout)["hands"]["claude-code"]
    assert (hand["adapter"], hand["actions"]["Bash"]["side_effects"]) == ("client", "external")
    assert hand["actions"]["Read"]["args"] == {"/file_path": "path"}
    shown = CliRunner().invoke(app, ["hands", "import", "--client", "claude-code", "--json"])
    [document] = json.loads(shown.stdout)["hands"]
    assert document["declaration"] == hand


@pytest.mark.parametrize(
    "words", [[], ["x.json", "--client", "claude-code"], ["--client", "other"], ["--client", "claude-code", "--ask"]]
)
def test_a_file_or_a_client_and_not_both(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["hands", "import", *words]).exit_code == 2
