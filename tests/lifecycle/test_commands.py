"""The whole way at the command line, against a real gateway: build, propose, activate by another, roll back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.cli import real
from tests.lifecycle.repository import GOOD, Repository
from tests.policy.support import OPEN

CONFIG = """[server]
port = 0
[policy]
source = "signed"
workers = 1
deadline_milliseconds = 2000
[hands.git]
adapter = "http"
base_url = "{url}"
private_network = true
[hands.git.actions.status]
method = "GET"
path = "/status"
args_schema = {{ type = "object" }}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("commands")
    people = {"ann": "author", "oli": "operator", "rob": "agent"}
    with real.gateway(directory, CONFIG, people, signer="rob", issuer="rob") as made:
        yield made


def call(home: Path, *arguments: object, code: int = 0) -> Any:
    result: Result = real.invoke(home, *map(str, arguments), "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_from_a_commit_to_a_decision_and_back(home: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit(GOOD)
    digests = []
    for effect in ("allow", "ask"):
        rules = OPEN.replace("EFFECT", effect)
        test = GOOD["policies/handrail/main_test.rego"].replace('"allow"', f'"{effect}"')
        repository.commit({"policies/handrail/main.rego": rules, "policies/handrail/main_test.rego": test})
        bundle = tmp_path / f"{effect}.bundle"
        source = ("--repo", repository.path, "--rev", "main", "--out", bundle)
        built = call(home, "policy", "build", *source, "--key", home / "ann.jwk", "--as", "ann")
        assert built["signer"] == "ann"
        made = call(home, "policy", "propose", bundle, "--as", "ann", code=4)
        assert made["subject"] == built["digest"]
        refused = call(home, "policy", "activate", made["id"], "--yes", "--as", "ann", code=1)
        assert refused["error"]["code"] == "auth.forbidden"
        assert call(home, "proposals", "list", "--as", "oli")["proposals"][0]["id"] == made["id"]
        done = call(home, "policy", "activate", made["id"], "--yes", "--as", "oli")
        assert (done["status"], done["decided_by"]) == ("activated", "oli")
        assert call(home, "policy", "show", "--as", "oli")["digest"] == built["digest"]
        digests.append(built["digest"])
    shown = real.invoke(home, "policy", "show", digests[0], "--diff", "--as", "ann")
    assert shown.exit_code == 0, shown.output
    assert '-\teffect := object.get({"known": "ask"}' in shown.output.replace("\\u{9}", "\t")
    back = call(home, "policy", "rollback", "--yes", "--as", "oli")
    assert (back["way"], back["digest"]) == ("rollback", digests[0])
    assert call(home, "policy", "show", "--as", "oli")["digest"] == digests[0]
    listed = call(home, "policy", "list", "--as", "ann")
    assert [(one["way"], one["by"]) for one in listed["activations"]] == [
        ("rollback", "oli"),
        ("activate", "oli"),
        ("activate", "oli"),
    ]
    refused = call(home, "policy", "rollback", digests[1], "--yes", "--as", "ann", code=1)
    assert refused["error"]["code"] == "auth.forbidden"
    assert "error" in call(home, "policy", "rollback", "--yes", "--as", "oli", code=1), "there is nothing before it"
