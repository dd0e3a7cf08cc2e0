"""A stand-in gateway on a socket, and a way to run commands against it."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from handrail import SigningKey
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.policy import signed
from gateway.policy.git import Revision
from gateway.ports import Typ
from keys import jws as keys_jws
from tests.client.stand_in import TOKEN, StandIn, running

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def listening() -> Iterator[StandIn]:
    with running() as stand_in:
        yield stand_in


@pytest.fixture
def gateway(listening: StandIn) -> StandIn:
    listening.reset()
    return listening


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key.jwk"
    SigningKey(b"\x01" * 32).save(file)
    return file


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    file = tmp_path / "plan.json"
    file.write_text('{"context_id": "c1", "actions": [{"hand": "git", "action": "git_status"}]}')
    return file


@pytest.fixture
def run(gateway: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty directory, as a principal of the stand-in."""
    monkeypatch.chdir(tmp_path)

    def invoke(*args: object, stdin: str | None = None, **environment: str) -> Result:
        env = {"HANDRAIL_URL": gateway.url, "HANDRAIL_API_KEY": TOKEN, "COLUMNS": "200", **environment}
        # Columns are fixed so that a table never folds a word that a test looks for.
        return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, env=env, prog_name="handrail")

    return invoke


def bundle_file(file: Path) -> Path:
    """A signed bundle of one rule, as ``handrail policy build`` writes it."""
    found = Revision("a" * 40, {"handrail/main.rego": b"package handrail\n"}, {})
    checks = {"opa": None, "tests": None, "coverage": None}
    payload = signed.payload(found, "policies", built_at=1, signer="ann", checks=checks)
    key = SigningKey(b"\x01" * 32)
    file.write_text(keys_jws.sign(key.sign, keys_jws.protected(key.kid, Typ.BUNDLE), payload))
    return file


@pytest.fixture
def files(run: Run, gateway: StandIn, key_file: Path, plan_file: Path, tmp_path: Path) -> None:
    token = jws(run, key_file, actions("git_status", "hold"))
    (tmp_path / "token.jws").write_text(token)
    run("plan", "submit", "-", stdin=token)
    (tmp_path / "receipt.json").write_bytes(gateway.forge.raw())
    bundle_file(tmp_path / "policy.bundle")
    (tmp_path / "value.txt").write_text("the-value-of-a-secret\n")
    (tmp_path / "trust.json").write_text(json.dumps(gateway.forge.trust()))


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def jws(run: Run, key_file: Path, plan: str) -> str:
    result = run("plan", "sign", "--key", key_file, "--issuer", "agent", "-", stdin=plan)
    assert result.exit_code == 0, result.output
    return result.stdout


def actions(*names: str) -> str:
    return json.dumps({"context_id": "c1", "actions": [{"hand": "git", "action": name} for name in names]})
