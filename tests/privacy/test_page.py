"""The page for data protection officers: every command that it shows, given as it stands against a real gateway."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import real
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
CONFIG = real.CONFIG.replace(
    "[hands.git.actions.git_status]\n", '[hands.git.actions.git_status]\ndata_subjects = ["/q"]\n'
)
ANN = "ann@example.com"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    people = {"ada": "agent", "dana": "privacy_officer"}
    with real.gateway(tmp_path_factory.mktemp("page"), CONFIG, people, signer="ada", issuer="ada") as home:
        yield home


def call(home: Path, command: str, *more: str) -> str:
    words = shlex.split(command)
    assert words[0] == "handrail"
    done = real.invoke(home, *words[1:], "--as", "dana", *more)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_command_of_the_page_does_what_it_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = {
        "context_id": "c",
        "actions": [{"id": "a", "hand": "git", "action": "git_status", "args": {"q": ANN}, "depends_on": []}],
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    signed = real.invoke(
        home, "plan", "sign", "--key", str(home / "ada.jwk"), "--issuer", "ada", "plan.json", "--as", "ada"
    )
    assert signed.exit_code == 0, signed.output
    (tmp_path / "plan.jws").write_text(signed.stdout)
    sent = real.invoke(home, "plan", "submit", "plan.jws", "--wait", "20", "--as", "ada", "--json")
    assert json.loads(sent.stdout)["steps"][0]["id"] == "a"
    given = []
    hold = ""
    for command in [*COMMANDS[2:], *COMMANDS[:2], COMMANDS[2]]:
        if " erase " in command and not hold:
            continue  # last: it ends what the others show
        line = command.replace(" ID", f" {hold}")
        if " hold set " in command:
            hold = json.loads(call(home, line, "--json"))["hold_id"]
        elif " hold list" in command:
            assert hold in call(home, line)
            refused = real.invoke(home, "privacy", "erase", ANN, "--yes", "--as", "dana", "--json")
            assert refused.exit_code == 1
            assert json.loads(refused.stdout)["error"]["code"] == "privacy.held"
        else:
            said = call(home, line)
            if " erase " in command:
                assert "done" in said
        given.append(command)
    assert sorted(given) == sorted(COMMANDS)
    assert json.loads((tmp_path / "ann.json").read_text())["about"]["person"] == ANN
    page = (tmp_path / "ann.md").read_text()
    assert page.startswith(f"# What is held about `{ANN}`")
    assert "End of the export" in page
    gone = real.invoke(home, "privacy", "access", ANN, "--as", "dana", "--json")
    assert json.loads(gone.stdout)["error"]["code"] == "request.not_found"


def test_without_a_word_nothing_is_erased(home: Path) -> None:
    done = real.invoke(home, "privacy", "erase", "ada", "--as", "dana", "--json")
    assert json.loads(done.stdout)["error"]["hint"] == "Give --yes."
    assert real.invoke(home, "privacy", "erase", "nobody", "--yes", "--as", "dana").exit_code == 1
    kept = real.invoke(home, "privacy", "access", "ada", "--as", "dana", "--json")
    assert json.loads(kept.stdout)["about"]["person"] == "ada"
    assert real.invoke(home, "privacy", "hold", "set", "x", "--code", "legal_claim", "--until", "soon").exit_code == 2
    over = real.invoke(home, "privacy", "hold", "set", "x", "--code", "legal_claim", "--until", "2020-12-31",
                       "--as", "dana", "--json")  # fmt: skip
    assert over.exit_code == 2, "a hold that is over keeps nothing, and nobody may think that it does"
    assert json.loads(over.stdout)["error"]["pointer"] == "/until"
