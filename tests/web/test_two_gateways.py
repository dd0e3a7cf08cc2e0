"""Two gateway processes share a database that holds the keys: what one revokes, the other refuses in five seconds."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from handrail import Plan, Signer, SigningKey

from audit.database import make_engine
from gateway import service, setup
from gateway.keyring import stores as key_stores
from gateway.model import DEFAULT_TENANT
from gateway.ports import Purpose
from gateway.settings import Settings
from tests.until import until

WITHIN_SECONDS = 5.0
COMMAND = [sys.executable, "-c", "from gateway.cli.main import run; run()", "serve", "--json"]


def _start(home: Path, **settings: str) -> "subprocess.Popen[str]":
    shared = {f"HANDRAIL_{name.upper()}": value for name, value in settings.items()}
    environment = {**os.environ, "HANDRAIL_HOME": str(home), "HANDRAIL_SERVER__PORT": "0", **shared}
    return subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, text=True)


def _url(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("}"):
            return str(json.loads("".join(lines))["listening"][0])
    raise RuntimeError(f"the gateway did not start: {lines}")


@pytest.fixture
def two(tmp_path: Path, postgres_url: str) -> Iterator[tuple[str, str, str, Settings]]:
    """URLs of two gateways, an admin's API key, and the first one's settings."""
    first, second = tmp_path / "first", tmp_path / "second"
    settings = Settings(home=first, database={"url": postgres_url}, keys={"store": "database"})
    token = str(setup.run(settings).token)
    common = {
        "database__url": postgres_url,
        "keys__store": "database",
        "keys__master_key_file": str(first / "master.key"),
        "keys__root_file": str(first / "root.key"),
        "privacy__epochs": str(first / "epochs"),
    }
    with ExitStack() as stack:
        processes = [stack.enter_context(_start(home, **common)) for home in (first, second)]
        try:
            yield _url(processes[0]), _url(processes[1]), token, settings
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


@dataclass(frozen=True)
class Thief:
    """The use of a private key, as one who read key store, root and master key has it."""

    kid: str
    sign: Callable[[bytes], bytes]

    @classmethod
    def of(cls, settings: Settings, purpose: Purpose) -> "Thief":
        engine = make_engine(settings.database_url)
        stored = key_stores.open_store(settings, key_stores.open_root(settings), lambda: engine).load()
        [(kid, sign)] = [
            (key.record.kid, key.sign)
            for key in stored
            if (key.record.purpose, key.record.state) == (purpose, "active")
        ]
        engine.dispose()
        assert sign is not None
        return cls(kid, sign)


@pytest.mark.postgres
async def test_a_revocation_is_everywhere_within_five_seconds(two: tuple[str, str, str, Settings]) -> None:
    assert service.KEYS_SECONDS * 2 < WITHIN_SECONDS, "each process looks twice in that time"
    here, there, token, settings = two
    thief = Thief.of(settings, Purpose.CONNECTOR)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(timeout=30, headers=headers) as http:
        person = {"id": "bot", "roles": ["agent"]}
        bot = (await http.post(f"{here}/v1/principals", json=person)).json()["api_key"]["token"]
        origin = (await http.get(f"{here}/v1/trust")).json()["origin"]

        async def forged() -> Any:
            """A plan in the name of an ingress, signed with the stolen key, at the other gateway."""
            plan = Plan()
            plan.step("nowhere", "look", {})
            signed = Signer("connector:mcp", cast("SigningKey", thief), origin, DEFAULT_TENANT, "bot").sign(plan)
            known = {"authorization": f"Bearer {bot}", "content-type": "application/jose"}
            return await http.post(f"{there}/v1/plans?wait=5", content=signed, headers=known)

        async def refused() -> bool:
            return (await forged()).json().get("code") == "verify.revoked_key"

        await until(lambda: _accepted(forged))  # the other gateway knows the new principal
        answer = await http.post(f"{here}/v1/keys/{thief.kid}/revoke", json={"compromised_at": "1970-01-01T00:00:01Z"})
        assert answer.status_code == 200, answer.text
        await until(refused, WITHIN_SECONDS)
        published = (await http.get(f"{there}/.well-known/jwks.json")).json()["keys"]
        assert thief.kid not in {key["kid"] for key in published}
        trusted = (await http.get(f"{there}/v1/trust")).json()["jwks"]["keys"]
        [known] = [key for key in trusted if key["kid"] == thief.kid]
        assert (known["state"], known["compromised_at"], known["covered_size"]) == ("revoked", 1, 0)


async def _accepted(forged: Any) -> bool:
    answer = await forged()
    assert "verify" not in str(answer.json().get("code", "")), answer.text
    return bool(answer.status_code in {200, 202})
