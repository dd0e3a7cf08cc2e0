"""A real gateway whose keys sign in OpenBao and whose root is wrapped there, by the commands that people give."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.cli import real
from tests.keys.stores.openbao import Engine, engine, openbao
from tests.until import until

__all__ = ["engine", "openbao"]


def tables(engine: Engine, *, root: str = "") -> str:
    """The part of a configuration that names the engine."""
    return f"""
[keys.transit]
url = "{engine.bao.url}"
ca_file = "{engine.bao.ca_file}"
mount = "{engine.mount}"
credential_file = "{engine.token_file}"
timeout_seconds = 10
purposes = ["checkpoint", "approval", "policy"]
{root}
"""


def local(directory: Path, *words: str, code: int = 0, **environment: str) -> Any:
    """A command that asks no gateway; what it says as JSON."""
    known = {"HANDRAIL_MASTER_KEY": None, "HANDRAIL_MASTER_KEY_PREVIOUS": None, "COLUMNS": "200"}
    names = {"HANDRAIL_HOME": str(directory / "home"), "HANDRAIL_CONFIG": str(directory / "handrail.toml")}
    result = CliRunner().invoke(app, [*words, "--json"], env={**known, **names, **environment})
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def keys_in(document: Any) -> str:
    """What the doctor says of keys."""
    return next(str(one["detail"]) for one in document["findings"] if one["name"] == "keys")


@pytest.fixture
def home(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    config = real.CONFIG + tables(engine, root='root_key = "data-root"')
    with real.gateway(tmp_path, config, {"ada": "agent"}, signer="ada", issuer="brain") as home:
        yield home


def give(home: Path, *words: str, code: int = 0) -> Any:
    result = real.invoke(home, *words, "--as", "admin", "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def active(home: Path, purpose: str) -> str:
    return next(
        key["kid"]
        for key in give(home, "keys", "list")["keys"]
        if (key["purpose"], key["state"]) == (purpose, "active")
    )


def covered(home: Path) -> int:
    """How many entries the newest checkpoint is of; 0 where none can be signed."""
    url = json.loads((home / "cli.json").read_text())["url"]
    try:
        with request.urlopen(f"{url}/log/checkpoint", timeout=30) as answer:
            return int(answer.read().decode().split("\n")[1])
    except HTTPError as exc:
        exc.close()
        if exc.code == 503:
            return 0
        raise


def signing_there(engine: Engine) -> list[str]:
    return [name for name in engine.names() if name != "data-root"]


async def test_keys_are_listed_made_rotated_and_revoked_where_they_lie(home: Path, engine: Engine) -> None:
    assert not (home / "master.key").exists()
    assert len(signing_there(engine)) == 6  # an active key and a next one for each of three purposes
    before = active(home, "approval")
    give(home, "keys", "create", "approval")
    assert len(signing_there(engine)) == 7
    give(home, "keys", "rotate", "approval")
    assert active(home, "approval") != before
    bad = active(home, "approval")
    give(home, "keys", "revoke", bad)
    assert active(home, "approval") not in {before, bad}
    gone = [key["kid"] for key in give(home, "keys", "list")["keys"] if key["state"] == "revoked"]
    assert gone == [bad]
    assert covered(home) > 0


async def test_a_gateway_serves_through_an_outage_and_signs_again_after_it(home: Path, engine: Engine) -> None:
    before = covered(home)
    engine.bao.seal()
    try:
        refused = give(home, "keys", "create", "approval", code=3)
        assert refused["error"]["code"] == "key.unavailable"
        give(home, "keys", "list")
        plan = {"context_id": "c1", "actions": [{"id": "a", "hand": "git", "action": "git_status", "args": {}}]}
        (home / "plan.json").write_text(json.dumps(plan))
        signed = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
        done = real.invoke(home, "plan", "submit", "-", "--wait", "30", "--as", "ada", "--json", stdin=signed)
        assert done.exit_code == 0, done.output
        assert covered(home) in {before, 0}, "what was recorded meanwhile waits for a checkpoint"
    finally:
        engine.bao.unseal()

    await until(lambda: covered(home) > before)
    give(home, "keys", "create", "approval")


def test_a_root_goes_from_the_master_key_to_transit_and_back(tmp_path: Path, engine: Engine) -> None:
    """As a team does that takes a service into use, and one that leaves it: the home is the same at each step."""
    config, home = tmp_path / "handrail.toml", tmp_path / "home"
    config.write_text("")
    local(tmp_path, "init")
    (home / "master.key").rename(tmp_path / "old")
    config.write_text(tables(engine, root='root_key = "data-root"').replace("purposes", "# purposes"))
    assert "wrapped by master" in local(tmp_path, "init", code=2)["error"]["detail"]
    both = {"HANDRAIL_KEYS__MASTER_KEY_PREVIOUS_FILE": str(tmp_path / "old")}
    assert "from before" in keys_in(local(tmp_path, "doctor", **both))
    there = local(tmp_path, "keys", "rewrap", **both)
    assert (there["rewrapped"], there["by"], there["generation"]) == (True, "transit", 2)
    assert "wraps the root by data-root" in keys_in(local(tmp_path, "doctor"))
    local(tmp_path, "audit", "fsck")
    engine.bao.call("POST", f"{engine.mount}/keys/data-root/rotate")
    assert local(tmp_path, "keys", "rewrap")["generation"] == 3
    config.write_text(tables(engine, root='root_key_previous = "data-root"').replace("purposes", "# purposes"))
    back = local(tmp_path, "keys", "rewrap")
    assert (back["rewrapped"], back["by"], back["generation"]) == (True, "master", 4)
    config.write_text("")
    local(tmp_path, "audit", "fsck")


def test_the_doctor_names_each_right_that_the_login_lacks(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "handrail.toml").write_text(tables(engine, root='root_key = "data-root"'))
    assert "Transit at" in keys_in(local(tmp_path, "doctor"))
    engine.write_token(engine.token(engine.policy('path "MOUNT/sign/handrail-*" { capabilities = ["update"] }')))
    said = keys_in(local(tmp_path, "doctor", code=1))
    assert f"delete {engine.mount}/keys/handrail-any" in said
    assert f"update {engine.mount}/decrypt/data-root" in said
    assert "sign" not in said.partition("the login may not")[2]
    engine.bao.seal()
    try:
        assert "503" in keys_in(local(tmp_path, "doctor", code=1))
        assert "503" in local(tmp_path, "init", code=3)["error"]["detail"], "an outage, which passes"
    finally:
        engine.bao.unseal()
