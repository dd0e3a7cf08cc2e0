"""The curl examples of docs/api.md, run as they stand: the page's own blocks, one shell, real curl, a real gateway."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from handrail import Trust, verify_receipt

from tests import services
from tests.cli import real

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = FENCED.findall(PAGE)
TOPICS = ("Submit", "Wait", "Show", "Approvals", "Events", "Receipt and proof", "Checkpoint")

# The demonstration's git hand, spoken to over HTTP: the examples name its actions.
CONFIG = """
[server]
port = 0
[log]
origin = "handrail.test/examples"
[hands.git]
adapter = "http"
base_url = "{url}"
private_network = true
labels = ["root:/repo"]
[hands.git.actions.git_status]
method = "GET"
path = "/status"
side_effects = "none"
args = {{ "/repo_path" = "path" }}
args_schema = {{ type = "object", properties = {{ repo_path = {{ type = "string" }} }} }}
[hands.git.actions.git_log]
method = "GET"
path = "/log"
side_effects = "none"
args = {{ "/repo_path" = "path" }}
args_schema.type = "object"
args_schema.properties = {{ repo_path = {{ type = "string" }}, max_count = {{ type = "integer" }} }}
[hands.git.actions.git_create_branch]
method = "POST"
path = "/branch"
side_effects = "reversible"
args = {{ "/repo_path" = "path" }}
args_schema.type = "object"
args_schema.properties = {{ repo_path = {{ type = "string" }}, branch_name = {{ type = "string" }} }}
"""


class Ran:
    """What the examples printed, block by block, and the files that they left."""

    def __init__(self, folder: Path, printed: list[str]) -> None:
        self.folder = folder
        self._printed = printed

    def printed(self, topic: str) -> str:
        """The output of the block that follows ``**topic**``."""
        [number] = [at for at, text in enumerate(_leads()) if re.search(rf"^\*\*{topic}\*\*", text, re.MULTILINE)]
        return self._printed[number]

    def file(self, name: str) -> str:
        """The content of a file that the examples wrote."""
        return (self.folder / name).read_text(encoding="utf-8")


def _leads() -> list[str]:
    """What stands between each block and the one before."""
    return FENCED.split(PAGE)[0::3][:-1]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, _clean_session: None) -> Iterator[Ran]:
    services.require(shutil.which("curl"), "curl", "Install it: apt-get install curl")
    people = {"demo-agent": "agent", "robin": "approver"}
    directory = tmp_path_factory.mktemp("examples")
    with real.gateway(directory, CONFIG, people, signer="demo-agent", issuer="demo-agent") as home:
        folder = directory / "here"
        folder.mkdir()
        mark = "=== next block ==="
        script = f"printf '\\n%s\\n' '{mark}'\n".join(block for _, block in BLOCKS)
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        url = json.loads((home / "cli.json").read_bytes())["url"]
        environment = {"PATH": path, "HOME": str(folder), "HANDRAIL_HOME": str(home), "HANDRAIL_URL": url}
        done = subprocess.run(
            ["sh", "-eu"],
            input=script,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert done.stderr.strip() == ""
        yield Ran(folder, done.stdout.split(f"\n{mark}\n"))


def test_every_example_of_the_page_is_a_shell_block_and_each_topic_has_one_with_curl() -> None:
    assert {language for language, _ in BLOCKS} == {"sh"}
    assert "curl" not in FENCED.sub("", PAGE).replace("## With curl", "").replace("by-curl", "")
    for topic in TOPICS:
        [at] = [at for at, lead in enumerate(_leads()) if re.search(rf"^\*\*{topic}\*\*", lead, re.MULTILINE)]
        assert "curl " in BLOCKS[at][1], topic


def test_a_plan_is_submitted_and_another_waited_for(ran: Ran) -> None:
    submitted, waited = json.loads(ran.file("view.json")), json.loads(ran.file("look.view"))
    assert submitted["acceptance"]
    assert submitted["status"] in {"running", "waiting"}
    assert (waited["status"], waited["steps"][0]["status"]) == ("done", "succeeded")
    assert ran.printed("Wait").strip() == "done"
    assert json.loads(ran.printed("Show"))["plan_id"] == submitted["plan_id"]


def test_the_held_step_is_listed_shown_and_approved(ran: Ran) -> None:
    [listed] = json.loads(ran.file("approvals.json"))["approvals"]
    shown, status = ran.printed("Approvals").rsplit("}", 1)
    assert json.loads(shown + "}")["args"] == {"repo_path": "/repo", "branch_name": "by-curl"}
    assert listed["status"] == "open"
    assert status.strip() == "granted"


def test_the_events_lead_to_the_end_and_can_be_resumed(ran: Ran) -> None:
    first, second = ran.printed("Events").split("retry: ")[1:]
    for stream in (first, second):
        assert stream.rstrip().endswith('event: done\ndata: {"status":"done"}')
    for step in ("look", "branch"):
        assert f'data: {{"id":"{step}"' in first
    seen = first.split("id: ")[1].splitlines()[0]
    assert f"id: {seen}\n" not in second
    assert 'data: {"id":"branch"' in second


def test_receipt_and_proof_verify_offline(ran: Ran) -> None:
    assert ran.file("proof.txt").startswith("c2sp.org/tlog-proof@v1\n")
    report = verify_receipt(ran.file("look.receipt.json").encode(), Trust.load(ran.folder / "trust.json"))
    assert (report.action, report.status) == ("git_log", "succeeded")


def test_the_checkpoint_is_the_logs(ran: Ran) -> None:
    origin, size = ran.file("checkpoint.txt").splitlines()[:2]
    assert origin == "handrail.test/examples"
    assert int(size) > 10


def test_no_key_is_where_others_could_read_it(ran: Ran) -> None:
    assert "hr_" not in "".join(block for _, block in BLOCKS)
    for name in ("agent.header", "approver.header"):
        assert (ran.folder / name).stat().st_mode & 0o077 == 0
