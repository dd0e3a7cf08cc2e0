"""Schemathesis over the description that the real program gives of itself: no 500, and no answer that is not described.

What it asks is made from the description and the seed alone, so a failure comes back. In one run ids are made too, and
so name nothing; in the others they are of things that are there.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.anthropic_api.blocks import message
from tests.anthropic_api.server import KEY
from tests.anthropic_api.server import StandIn as ModelStandIn
from tests.cli import real
from tests.limits.place import Place, place
from tests.managed_agents.stand_in import ASK, StandIn, toolset
from tests.managed_agents.stand_in import KEY as CLOUD_KEY
from tests.managed_agents.stand_in import running as sessions
from tests.services import require

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".tools" / "schemathesis" / "bin" / "st"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SEED, EXAMPLES = "20261127", "3"
CASES_LEAST = 1500
UNLIMITED = {
    f"limits__{name}": "1000000"
    for name in ("requests_per_second", "requests_burst", "anonymous_per_second", "anonymous_burst")
}


CONFIG = """
[hands.claude]
adapter = "anthropic"
base_url = "{api}"
private_network = true
[hands.claude.secrets.claude-key]
place = "header"
parameter = "x-api-key"
[brains.claude]
model = "claude-opus-4-6"
[hands.claude-tools]
adapter = "client"
[hands.claude-tools.actions.bash]
args_schema = {{ type = "object" }}
[managed_agents.claude]
url = "{cloud}"
private_network = true
on_behalf_of = "agent"
api_key = "anthropic-key"
agents = ["agent_1"]
toolset_hand = "claude-tools"
"""
"""A model, who asks it, and a workspace of Claude Managed Agents."""


@pytest.fixture
async def cloud() -> AsyncIterator[StandIn]:
    async with sessions() as service:
        service.agent("agent_1", toolset(ASK))
        service.session("agent_1", "sesn_1")
        yield service


@pytest.fixture
def gateway(tmp_path: Path, anthropic_api: ModelStandIn, cloud: StandIn) -> Iterator[Place]:
    anthropic_api.decide = lambda _: message("Hello there.")
    more = CONFIG.format(api=anthropic_api.url, cloud=cloud.url)
    with place(tmp_path, more, auditor="auditor", privacy="privacy_officer") as running:
        home = tmp_path / "home"
        for secret, value in (("claude-key", KEY), ("anthropic-key", CLOUD_KEY)):
            (tmp_path / secret).write_text(value)
            done = real.invoke(
                tmp_path / "home", "secrets", "set", secret, "--file", str(tmp_path / secret), "--as", "admin"
            )
            assert done.exit_code == 0, done.output
        for hand in ("claude", "claude-tools"):
            done = real.invoke(home, "hands", "pin", hand, "--yes", "--as", "admin")
            assert done.exit_code == 0, done.output
        assert running.process is not None
        running.process.terminate()
        running.stopped()
        running.start(**UNLIMITED, telemetry__log_level="error")
        yield running


async def _known(gateway: Place) -> dict[str, str]:
    """Ids of things that are there."""
    async with gateway.client() as http:
        headers = {"content-type": "application/jose"}
        done = (await http.post("/v1/plans?wait=20", content=gateway.plan("a"), headers=headers)).json()
        run = await http.post("/v1/runs", json={"prompt": "Look.", "hands": ["git"]})
        asked = {"model": "claude-opus-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello?"}]}
        answer = await http.post("/anthropic/v1/messages", json=asked)
        assert (run.status_code, answer.status_code) == (202, 200), run.text + answer.text
    async with gateway.client("admin") as http:
        kid = (await http.get("/v1/keys")).json()["keys"][0]["kid"]
    [step] = done["steps"]
    return {
        "plan_id": done["plan_id"],
        "step_id": step["id"],
        "receipt_id": step["receipt_id"],
        "hand_id": "git",
        "run_id": run.json()["run_id"],
        "connector": "claude",
        "session_id": "sesn_1",
        "agent_id": "agent_1",
        "model_id": "claude-opus-4-6",
        "principal_id": "privacy",
        "issuer_id": "agent",
        "kid": kid,
        "purpose": "step",
        "level": "0",
        "tile_path": "000.p/1",
    }


@pytest.mark.parametrize(
    ("who", "ids"),
    [("admin", "made"), ("admin", "known"), ("agent", "known"), ("auditor", "known")],
)
async def test_no_500_and_nothing_undescribed(gateway: Place, who: str, ids: str, tmp_path: Path) -> None:
    require(PROGRAM.exists(), "Schemathesis", "Run .ci/schemathesis.")
    lines = [f"{name} = {value!r}" for name, value in (await _known(gateway)).items()] if ids == "known" else []
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    command = [
        str(PROGRAM), "run", f"{gateway.url}/openapi.json",
        "--header", f"Authorization: {gateway.headers(who)['authorization']}",
        "--checks", CHECKS, "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED,
        "--continue-on-failure", "--no-shrink", "--max-redirects", "0", "--request-timeout", "60", "--warnings", "off",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {
        "PYTHONPATH": str(ROOT / "tests" / "limits" / "schemathesis"),
        "SCHEMATHESIS_HOOKS": "hooks",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    generated = re.search(r"([0-9]+) generated, ([0-9]+) passed", done.stdout)
    assert generated is not None, done.stdout
    assert int(generated[1]) >= CASES_LEAST
