"""slowhttptest against the real program: while it holds as many connections as it can, somebody else is answered.

The attacker has an API key of its own, and an address of its own among those of this machine. The program has fewer
places than the attack asks for, so that without a limit for each address nobody else would get in.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.limits.place import Place, place

CONNECTIONS, PLACES, PLACES_OF_ONE = 600, 512, 256
SECONDS = 12
ATTACKS = {
    "slow headers": ("/v1/plans", ["-H", "-i", "2"]),
    "slow body": ("/v1/plans", ["-B", "-i", "2", "-s", "8192", "-f", "application/jose"]),
    "slow read": ("/openapi.json", ["-X", "-w", "10", "-y", "20", "-n", "2", "-z", "32", "-k", "3"]),
    "range": ("/openapi.json", ["-R", "-a", "5", "-b", "500"]),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("slow"), attacker="agent") as running:
        assert running.process is not None
        running.process.terminate()
        running.stopped()
        running.start(
            limits__connections_max=str(PLACES),
            limits__connections_max_per_address=str(PLACES_OF_ONE),
            telemetry__log_level="warning",
        )
        yield running


@pytest.mark.parametrize("attack", ATTACKS)
async def test_somebody_else_is_answered_all_the_time(gateway: Place, attack: str, tmp_path: Path) -> None:
    program = shutil.which("slowhttptest")
    services.require(program, "slowhttptest", "apt-get install slowhttptest")
    path, flags = ATTACKS[attack]
    key = f"a=b\r\nAuthorization: {gateway.headers('attacker')['authorization']}"
    flags += ["-c", str(CONNECTIONS), "-r", "300", "-l", str(SECONDS), "-p", "3", "-j", key, "-u", gateway.url + path]
    command = [str(program), *flags, "-g", "-o", str(tmp_path / "said")]
    answered = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as attacking:
        async with gateway.client(address="127.0.0.2") as http:
            headers = {"content-type": "application/jose"}
            while attacking.poll() is None:
                plan = gateway.plan(f"{attack} {answered}")
                answer = await http.post("/v1/plans?wait=20", content=plan, headers=headers)
                assert answer.status_code == 200, answer.text
                [step] = answer.json()["steps"]
                assert step["status"] == "succeeded"
                async with gateway.client(address="127.0.0.3") as new:
                    assert (await new.get("/v1/me")).status_code == 200, "new connections are taken"
                answered += 1
        said = attacking.stdout.read() if attacking.stdout is not None else ""
    assert "Exit status" in said, said
    assert answered >= 5
    tried = [[int(number) for number in row.split(",")[:4]] for row in _rows(tmp_path / "said.csv")]
    assert max(closed + connected for _, closed, _, connected in tried) > PLACES_OF_ONE, "it did what it is for"


def _rows(report: Path) -> list[str]:
    rows = report.read_text(encoding="utf-8").splitlines()
    return [row for row in rows if re.match(r"[0-9]", row)]
