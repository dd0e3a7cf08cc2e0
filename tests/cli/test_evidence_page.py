"""The page for those who verify us with other people's tools, done as it says and in its order: a real gateway, a real
witness, OpenSSL, curl and Tessera's fsck.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.cosignature import WitnessKey
from audit.witness import Fault
from gateway.settings import Settings
from gateway.times import parse_time
from tests.audit.interop.litewitness import LiteWitness, litewitness
from tests.cli import real
from tests.cli.real import CONFIG
from tests.meta.tree import ROOT
from tests.until import until

PAGE = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
WITNESSED = (
    CONFIG
    + """
[policy]
deadline_milliseconds = 2000
workers = 1
[log.witnesses.one]
key = "{key}"
url = "{at}"
private_network = true
"""
)
LOG = 'origin = "handrail.test/replay"\n'
PEOPLE = {"ada": "agent", "ida": "auditor"}


@dataclass
class Place:
    """A home with a running gateway that a running witness cosigns."""

    home: Path
    witness: LiteWitness
    plan_id: str

    def run(self, *args: str, code: int = 0) -> str:
        """What a command prints."""
        result = real.invoke(self.home, *args)
        assert result.exit_code == code, result.output
        return str(result.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    where = tmp_path_factory.mktemp("evidence")
    with litewitness("witness.example/w1") as witness:
        config = WITNESSED.replace("{key}", witness.vkey).replace("{at}", witness.url)
        config = config.replace(LOG, f"{LOG}witness_quorum = 1\nwitness_interval_seconds = 0.2\n")
        with real.gateway(where, config, PEOPLE, signer="ada", issuer="brain") as home:
            trust = json.loads((home / "trust.json").read_text())
            witness.trust(trust["origin"], *trust["log"])
            plan = {"context_id": "c1", "actions": [{"id": "a", "hand": "git", "action": "git_status", "args": {}}]}
            (where / "plan.json").write_text(json.dumps(plan))
            signed = real.invoke(home, "plan", "sign", str(where / "plan.json"), "--as", "ada")
            assert signed.exit_code == 0, signed.output
            submitted = real.invoke(
                home, "plan", "submit", "-", "--wait", "30", "--as", "ada", "--json", stdin=signed.stdout
            )
            assert submitted.exit_code == 0, submitted.output
            document = json.loads(submitted.stdout)
            found = Place(home, witness, document["plan_id"])
            covered = max(step["log_index"] for step in document["steps"]) + 1
            asyncio.run(until(lambda: witness.state(trust["origin"]) >= covered))
            yield found


@pytest.fixture
def shell(place: Place, tmp_path: Path) -> dict[str, str]:
    stored = json.loads((place.home / "cli.json").read_text())
    programs = (
        str(Path(sys.executable).parent),
        *(str(ROOT / ".tools" / one) for one in ("tessera", "bin")),
        os.environ["PATH"],
    )
    return {
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
        "HANDRAIL_URL": stored["url"],
        "HANDRAIL_API_KEY": stored["principals"]["ida"]["api_key"],
        "WITNESS": place.witness.vkey,
        "PLAN_ID": place.plan_id,
    }


def test_every_command_of_the_page_does_what_it_says(place: Place, shell: dict[str, str], tmp_path: Path) -> None:
    assert len(SHOWN) == 7
    said = []
    for commands in SHOWN:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", commands],
            cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert "Signature Verified Successfully" in said[1]
    assert "Successfully fsck'd log" in said[2]
    assert "nothing of it was changed" in said[4]
    assert "witness.example/w1" in said[5]
    assert "1 of 1 witnesses (witness.example/w1)" in said[6]
    assert (tmp_path / "0.tlog-proof").read_text().startswith("c2sp.org/tlog-proof@v1\nindex 0\n")


def test_every_fault_and_setting_of_witnesses_is_on_the_page() -> None:
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)) == {*Fault, "fault"}
    assert Settings().log.witness_interval_seconds == 10
    assert Settings().log.witness_heartbeat_seconds == 300


def test_a_receipt_that_too_few_of_the_verifier_s_witnesses_cosigned_does_not_hold(
    place: Place, tmp_path: Path
) -> None:
    place.run("plan", "receipts", place.plan_id, "--out", str(tmp_path / "r"), "--as", "ada")
    [receipt] = [str(file) for file in (tmp_path / "r").glob("*.json")]
    trust = str(place.home / "trust.json")
    with litewitness("stranger.example/w") as stranger:
        known = ("--witness", place.witness.vkey, "--witness", stranger.vkey)
    given = ("verify", receipt, "--trust", trust)
    assert "1 of 1" in place.run(*given, "--witness", place.witness.vkey, "--steps")
    assert "1 of 2" in place.run(*given, *known, "--quorum", "1", "--steps")
    failed = json.loads(place.run(*given, *known, "--json", code=1))["receipts"][0]["failed_step"]
    assert failed == {
        "number": 4, "title": "checkpoint signature",
        "reason": "1 of 2 witnesses cosigned it; 2 are needed",
    }  # fmt: skip
    for wrong in (("--quorum", "1"), ("--witness", "x"), (*known, "--quorum", "3"), (*known[:2], *known[:2])):
        place.run(*given, *wrong, code=2)


def test_a_kept_checkpoint_of_another_history_is_found_out(place: Place, tmp_path: Path) -> None:
    trust, kept = str(place.home / "trust.json"), tmp_path / "kept.txt"
    note = place.run("log", "checkpoint", "--as", "ida")
    kept.write_text(note)
    good = json.loads(place.run("log", "consistency", str(kept), "--trust", trust, "--json", "--as", "ida"))
    assert good["consistent"] is True
    kept.write_text(note.replace("\n\n", "\nextension\n\n", 1))
    bad = json.loads(place.run("log", "consistency", str(kept), "--trust", trust, "--json", "--as", "ida", code=1))
    assert (bad["consistent"], "does not verify" in bad["reason"]) == (False, True)
    place.run("log", "consistency", str(tmp_path / "absent"), "--trust", trust, "--as", "ida", code=2)
    place.run("log", "proof", "1000000", "--as", "ida", code=2)


def test_what_the_witness_says_is_shown_with_its_age(place: Place) -> None:
    document = json.loads(place.run("log", "witnesses", "--json", "--as", "ada"))
    [one] = document["witnesses"]
    assert (document["quorum"], document["problem"], one["fault"]) == (1, None, None)
    assert one["key"] == WitnessKey.parse(place.witness.vkey).name
    assert abs(parse_time(one["cosigned_at"]) - time.time()) < 3600
    assert "last gave their word" in place.run("log", "witnesses", "--as", "ada")
