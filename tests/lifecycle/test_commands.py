"""The whole way at the command line, against a real gateway: build, propose, activate by another, roll back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.cli import real
from tests.lifecycle.repository import GOOD, RULES, Repository
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
[policy.remote]
url = "file://REMOTE"
interval_seconds = 86400
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("commands")
    people = {"ann": "author", "oli": "operator", "rob": "agent"}
    config = CONFIG.replace("REMOTE", str(directory / "published"))
    with real.gateway(directory, config, people, signer="rob", issuer="rob") as made:
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


def test_from_a_remote_to_a_proposal_by_digest(home: Path, tmp_path: Path) -> None:
    away = call(home, "policy", "remote", "pull", "--as", "ann", code=1)
    assert (away["problem"]["code"], away["commit"]) == ("policy.source", None)
    source, published = Repository(tmp_path / "source"), Repository(home.parent / "published")
    source.commit({**GOOD, "policies/handrail/main.rego": f"{GOOD['policies/handrail/main.rego']}\n# pulled\n"})
    bundle = ("--repo", source.path, "--rev", "main", "--out", published.path / "policy.bundle")
    built = call(home, "policy", "build", *bundle, "--key", home / "ann.jwk", "--as", "ann")
    commit = published.commit()
    pulled = call(home, "policy", "remote", "pull", "--as", "ann")
    assert (pulled["digest"], pulled["commit"], pulled["problem"]) == (built["digest"], commit, None)
    assert call(home, "policy", "remote", "show", "--as", "oli") == pulled
    made = call(home, "policy", "propose", pulled["digest"], "--as", "ann", code=4)
    assert call(home, "policy", "activate", made["id"], "--yes", "--as", "oli")["status"] == "activated"
    refused = call(home, "policy", "remote", "pull", "--as", "rob", code=1)
    assert refused["error"]["code"] == "auth.forbidden"
    published.git("commit", "-q", "--amend", "-m", "Rewritten")
    call(home, "policy", "remote", "pull", "--as", "ann")
    shown = real.invoke(home, "policy", "remote", "show", "--as", "ann")
    assert shown.exit_code == 0, shown.output
    assert "rewritten to another history" in " ".join(shown.output.split())
    assert f"handrail policy propose {pulled['digest']}" in " ".join(shown.output.split())


def test_a_bundle_is_tried_out_as_a_directory_as_a_file_and_as_a_digest(home: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit({**GOOD, "policies/handrail/main.rego": "# Not tried before.\n" + RULES})
    file = tmp_path / "new.bundle"
    source = ("--repo", repository.path, "--rev", "main", "--out", file)
    built = call(home, "policy", "build", *source, "--key", home / "ann.jwk", "--as", "ann")
    call(home, "policy", "propose", file, "--as", "ann", code=4)
    asked = tmp_path / "input.json"
    asked.write_text(json.dumps({"plan": {"id": "p"}, "steps": [{"id": "s", "hand": "known"}]}))
    recording = tmp_path / "inputs.ndjson"
    recording.write_text('{"handrail": "evaluations", "v": 1}\n')
    for bundle in (repository.path / "policies", file, built["digest"]):
        assert call(home, "policy", "check", bundle, "--as", "ann") == {"problems": []}
        decided = call(home, "policy", "eval", "--input", asked, "--bundle", bundle, "--as", "ann")
        assert (decided["digest"], decided["decisions"][0]["effect"]) == (built["digest"], "allow")
        replay = ("policy", "replay", "--bundle", bundle, "--inputs", recording, "--at-least", "0")
        assert call(home, *replay, "--as", "ann")["candidate"] == built["digest"]


@pytest.mark.parametrize("text", ["", "a.b.c", "not ascii \u00e9.x.y", "one line\n"])
def test_a_file_that_is_no_bundle_is_wrong_use(home: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.bundle"
    file.write_text(text, encoding="utf-8")
    for asked in (["check", file], ["replay", "--bundle", file], ["check", tmp_path / "none"]):
        result = real.invoke(home, "policy", *map(str, asked), "--as", "ann")
        assert result.exit_code == 2, result.output


def test_a_digest_that_the_gateway_does_not_keep_is_not_found(home: Path) -> None:
    result = real.invoke(home, "policy", "check", "0" * 64, "--as", "ann")
    assert result.exit_code == 1, result.output
    assert "not_found" in result.output


def build(home: Path, repository: Repository, effect: str) -> tuple[str, Path]:
    """A signed bundle of another commit: its digest and its file."""
    test = GOOD["policies/handrail/main_test.rego"].replace('"allow"', f'"{effect}"')
    rules = OPEN.replace("EFFECT", effect) + "\n# on trial\n"
    repository.commit({"policies/handrail/main.rego": rules, "policies/handrail/main_test.rego": test})
    file = repository.path.parent / f"trial-{effect}.bundle"
    source = ("--repo", repository.path, "--rev", "main", "--out", file)
    made = call(home, "policy", "build", *source, "--key", home / "ann.jwk", "--as", "ann")
    return made["digest"], file


def test_only_the_enrolled_key_of_somebody_who_may_propose_signs_a_bundle(home: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit(GOOD)
    file = tmp_path / "x.bundle"
    source = ("policy", "build", "--repo", repository.path, "--rev", "main", "--out", file)
    foreign = call(home, *source, "--key", home / "oli.jwk", "--as", "ann", code=2)["error"]
    assert "is not the enrolled key of ann" in foreign["detail"]
    assert "--key FILE" in foreign["hint"]
    agent = call(home, *source, "--key", home / "ann.jwk", "--as", "rob", code=2)["error"]
    assert "rob" in agent["detail"]
    assert not file.exists()


def test_a_bundle_looks_on_and_then_decides_for_some(home: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    active, file = build(home, repository, "allow")
    made = call(home, "policy", "propose", file, "--as", "ann", code=4)
    call(home, "policy", "activate", made["id"], "--yes", "--as", "oli")
    candidate, file = build(home, repository, "ask")
    assert call(home, "policy", "bring", file, "--as", "ann")["digest"] == candidate
    begun = call(home, "policy", "shadow", "start", candidate, "--for", "1d", "--as", "ann")
    assert (begun["shadow"]["in_force"], begun["shadow"]["problem"]) == (True, None)
    for same in (candidate, file):
        assert call(home, "policy", "shadow", "start", same, "--as", "oli")["shadow"] == begun["shadow"]
    refused = call(home, "policy", "shadow", "start", active, "--as", "oli", code=1)["error"]
    assert (refused["problem"], refused["detail"]) == ("policy.decides", "This bundle decides already.")
    shown = real.invoke(home, "policy", "shadow", "show", "--as", "oli")
    assert candidate in shown.output
    assert call(home, "policy", "shadow", "stop", "--as", "oli")["shadow"]["in_force"] is False
    made = call(home, "policy", "canary", "propose", candidate, "--percent", "10", "--as", "ann", code=4)
    assert made["document"] == {"digest": candidate, "active": active, "percent": 10, "lasts_seconds": 86_400}
    call(home, "proposals", "activate", made["id"], "--yes", "--as", "oli")
    found = call(home, "policy", "canary", "show", "--as", "ann")["canary"]
    assert (found["digest"], found["in_force"], found["stopped"], found["problem"]) == (candidate, True, None, None)
    refused = call(home, "policy", "canary", "stop", "--as", "ann", code=1)
    assert refused["error"]["code"] == "auth.forbidden"
    call(home, "policy", "canary", "stop", "--as", "oli")
    assert call(home, "policy", "canary", "show", "--as", "oli")["canary"]["in_force"] is False
