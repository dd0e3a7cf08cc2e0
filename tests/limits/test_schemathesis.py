"""Schemathesis over the description that the real program gives of itself: no 500, and no answer that is not described.

What it asks is made from the description and the seed alone, so a failure comes back. In one run ids are made too, and
so name nothing; in the others they are of things that are there.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.limits.place import Place, place
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


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path, auditor="auditor", privacy="privacy_officer") as running:
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
    async with gateway.client("admin") as http:
        kid = (await http.get("/v1/keys")).json()["keys"][0]["kid"]
    [step] = done["steps"]
    return {
        "plan_id": done["plan_id"],
        "step_id": step["id"],
        "receipt_id": step["receipt_id"],
        "hand_id": "git",
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
