"""The page about dead letters, done as it says: a hand that is not there, a retry once it is, and a discard."""

import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from handrail.remote import RemoteHand

from tests.cli import real
from tests.cli.real import CONFIG
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "dead-letters.md").read_text(encoding="utf-8")
LIST, RETRIED, RETRY, DISCARD = (
    shlex.split(line)[2:]
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
)
DECLARATION = """
[hands.notes]
adapter = "remote"
claim_seconds = 3
[hands.notes.actions.find]
side_effects = "none"
args_schema = {{ type = "object", required = ["text"], properties = {{ text = {{ type = "string" }} }} }}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    work = tmp_path_factory.mktemp("letters")
    people = {"ada": "agent", "op": "operator"}
    with real.gateway(work, CONFIG + DECLARATION, people, signer="ada", issuer="ada-laptop") as home:
        pinned = real.invoke(home, "hands", "pin", "notes", "--yes", "--as", "admin")
        assert pinned.exit_code == 0, pinned.output
        yield home


def submit(home: Path, text: str) -> str:
    """A plan whose one step nobody comes for: the step."""
    action = {"id": "s", "hand": "notes", "action": "find", "args": {"text": text}}
    (home / "plan.json").write_text(json.dumps({"context_id": "c", "actions": [action]}))
    token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
    sent = real.invoke(home, "plan", "submit", "-", "--wait", "30", "--as", "ada", "--json", stdin=token)
    view = json.loads(sent.stdout)
    assert view["steps"][0]["error"]["code"] == "claim.expired"
    return f"{view['plan_id']}/s"


def test_the_page_lists_retries_and_discards(home: Path) -> None:
    lost, booked = submit(home, "chairs"), submit(home, "tables")
    shown = real.invoke(home, *LIST, "--as", "op")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.index(booked) < shown.stdout.index(lost), "the newest comes first"
    assert "failed: claim.expired" in shown.stdout
    made = real.invoke(home, "principals", "add", "notes-hand", "--role", "hand", "--hand", "notes", "--as", "admin",
                       "--json")  # fmt: skip
    key = json.loads(made.stdout)["api_key"]["token"]
    url = json.loads((home / "cli.json").read_text())["url"]
    stop = threading.Event()
    with RemoteHand(url, key, "notes", {"find": lambda args, step: dict(args)}, issuer="handrail.test/replay") as hand:
        serving = threading.Thread(target=hand.serve, args=(stop,))
        serving.start()
        try:
            again = real.invoke(home, *(word.replace("PLAN_ID/STEP_ID", lost) for word in RETRY), "--as", "op")
        finally:
            stop.set()
            serving.join()
    assert again.exit_code == 0, again.output
    assert "succeeded" in again.stdout
    done = real.invoke(home, *(word.replace("PLAN_ID/STEP_ID", booked) for word in DISCARD), "--as", "op")
    assert (done.exit_code, done.stdout.strip()) == (0, f"{booked}: discarded")
    assert "No step waits for anybody." in real.invoke(home, *LIST, "--as", "op").stdout
    listed = json.loads(real.invoke(home, *RETRIED, "--as", "op", "--json").stdout)
    [letter] = listed["dead_letters"]
    assert f"{letter['plan_id']}/{letter['step_id']}" == lost
    owners = real.invoke(home, "plan", "show", lost.split("/")[0], "--as", "ada", "--json")
    assert json.loads(owners.stdout)["steps"][0]["settled"]["retry_plan"] == letter["settled"]["retry_plan"]


def test_a_second_retry_says_what_became_of_the_first_and_the_owner_may_not(home: Path) -> None:
    step = submit(home, "sofas")
    assert real.invoke(home, "steps", "discard", step, "--why", "w", "--as", "op").exit_code == 0
    again = real.invoke(home, "steps", "retry", step, "--why", "w", "--as", "op")
    assert (again.exit_code, "letter.settled" in again.output) == (1, True), again.output
    assert "auth.forbidden" in real.invoke(home, "steps", "list", "--as", "ada").output
    assert "which step?" in real.invoke(home, "steps", "retry", "s", "--why", "w", "--as", "op").output
