"""The scan on real homes and databases: each fault is found, named with its controls, and fails the scan."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, make_url
from typer.testing import CliRunner

import migrations
from audit.assurance.catalogue import Framework, catalogues
from audit.database import make_engine
from gateway import setup
from gateway.cli.main import app
from gateway.posture.model import Finding, State
from gateway.posture.scan import CHECKS, scan
from gateway.settings import Settings
from migrations.defences import WITHHELD
from tests.authority import Authority
from tests.meta.tree import ROOT
from tests.postgres import Server

DAY = 86_400.0
SCRIPT = ROOT / "deploy" / "postgres" / "application-role.sql"

WITNESS = "witness.example+00000000+AAAA"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as ``handrail init`` makes it."""
    home = tmp_path_factory.mktemp("posture") / "home"
    setup.run(Settings(home=home))
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    import shutil

    copy = tmp_path / "home"
    shutil.copytree(made, copy)
    copy.chmod(0o700)
    return copy


def found(settings: Settings, now: float | None = None) -> dict[str, Finding]:
    return {one.check: one for one in scan(settings, list(Framework), now)}


def dsn(url: URL) -> str:
    return f"host={url.query['host']} user={url.username} dbname={url.database}"


def looked(home: Path, **settings: Any) -> dict[str, Finding]:
    return found(Settings(home=home, **settings))


def test_every_check_is_made_and_named_with_its_controls(home: Path) -> None:
    findings = looked(home)
    assert list(findings) == [check.id for check in CHECKS]
    assert not [one for one in findings.values() if one.state is State.UNKNOWN]
    for one in findings.values():
        assert one.controls
        assert one.state in {State.PASS, State.NOT_APPLICABLE} or one.remedy, one
    assert findings["log-append-only"].state is State.PASS
    assert findings["directory-agrees"].state is State.PASS
    assert "32(1)(a)" in findings["keys-rotated"].controls["gdpr"]


@pytest.mark.parametrize(
    ("check", "settings"),
    [
        ("listener-tls", {"server": {"host": "0.0.0.0"}}),
        ("listener-tls", {"server": {"host": "192.0.2.1", "public_url": "https://gateway.example"}}),
        ("listener-tls", {"server": {"host": "192.0.2.1", "trusted_proxies": ["192.0.2.2"]}}),
        ("listener-certificate", {"server": {"tls": {"certificate": "none.pem", "key": "none.key"}}}),
        ("outbound-tls", {"policy": {"engine": "opa", "opa_url": "http://opa.example:8181"}}),
        ("outbound-tls", {"telemetry": {"traces": "otlp", "otlp_endpoint": "http://traces.example"}}),
        ("outbound-tls", {"hands": {"sky": {"adapter": "http", "base_url": "http://sky.example"}}}),
        ("outbound-tls", {"hands": {"sky": {"adapter": "mcp", "url": "http://sky.example/mcp"}}}),
        ("outbound-tls", {"webhooks": {"chat": {"url": "http://chat.example", "format": "slack"}}}),
        ("outbound-tls", {"archive": {"bucket": "log", "endpoint_url": "http://archive.example"}}),
        (
            "outbound-tls",
            {"log": {"witnesses": {"w": {"key": WITNESS, "url": "http://witness.example", "private_network": True}}}},
        ),
        ("sessions", {"console": {"session_seconds": 43_200}}),
        (
            "sandbox-landlock",
            {"hands": {"git": {"adapter": "mcp", "command": ["git"]}}, "jail": {"landlock_exec": "/nonexistent"}},
        ),
        ("hand-regions", {"hands": {"sky": {"adapter": "http", "base_url": "https://sky.example"}}}),
        ("hands-pinned", {"hands": {"sky": {"adapter": "http", "base_url": "https://sky.example"}}}),
        ("processing-declared", {"controller": {"name": "Example"}}),
        ("two-person", {}),
        ("dual-control", {}),
        ("approvers-enrolled", {}),
        ("duties-apart", {}),
        ("master-key-apart", {}),
        ("log-verified", {}),
        ("backup-recent", {}),
        ("two-person", {"policy": {"source": "signed"}}),
        ("policy-engine", {"policy": {"source": "signed"}}),
        ("policy-engine", {"policy": {"bundle": "docs"}}),
    ],
)
def test_a_fault_is_found(home: Path, check: str, settings: dict[str, Any]) -> None:
    finding = looked(home, **settings)[check]
    assert finding.state is State.FAIL or (check == "policy-engine" and finding.state is State.UNKNOWN)
    assert finding.remedy
    assert finding.controls


@pytest.mark.parametrize(
    ("check", "settings"),
    [
        (
            "listener-tls",
            {"server": {"host": "0.0.0.0", "public_url": "https://g.example", "trusted_proxies": ["192.0.2.2"]}},
        ),
        ("listener-tls", {"server": {"host": "::1"}}),
        ("outbound-tls", {"policy": {"engine": "opa", "opa_url": "http://127.0.0.1:8181"}}),
        ("outbound-tls", {"hands": {"sky": {"adapter": "http", "base_url": "http://sky.example", "enabled": False}}}),
        ("policy-engine", {}),
        ("hands-observed", {}),
        ("metrics-closed", {}),
        ("secret-files", {}),
        ("keys-rotated", {}),
    ],
)
def test_what_is_well_passes(home: Path, check: str, settings: dict[str, Any]) -> None:
    assert looked(home, **settings)[check].state is State.PASS


@pytest.mark.parametrize(("days", "state"), [(13, State.FAIL), (15, State.PASS)])
def test_a_certificate_that_ends_soon_is_found(home: Path, tmp_path: Path, days: int, state: State) -> None:
    certificate, key = Authority(tmp_path / "ca").issue("server", days=(-1, days))
    findings = looked(home, server={"host": "0.0.0.0", "tls": {"certificate": certificate, "key": key}})
    assert findings["listener-certificate"].state is state
    assert findings["listener-tls"].state is State.PASS


@pytest.mark.parametrize("name", [".", "master.key", "keys", "epochs", "gateway-token"])
def test_a_secret_that_others_can_read_is_found(home: Path, name: str) -> None:
    file = home / name
    (home / "epochs").mkdir(exist_ok=True, mode=0o700)
    if name == "gateway-token":
        file.write_text("x")
    file.chmod(0o755)
    settings = {"policy": {"opa_token_file": home / "gateway-token"}} if name == "gateway-token" else {}
    finding = looked(home, **settings)["secret-files"]
    assert finding.state is State.FAIL
    assert str(file.resolve().name) in finding.detail


@pytest.mark.parametrize(
    "keys",
    [
        {"master_key_previous_file": "secret"},
        {"pkcs11": {"module": "/usr/lib/none.so", "token": "handrail", "pin_file": "secret", "purposes": []}},
        {"transit": {"url": "https://openbao.example", "credential_file": "secret"}},
    ],
    ids=["master_key_previous_file", "pin_file", "credential_file"],
)
def test_a_secret_of_keys_that_lies_elsewhere_is_looked_at(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("3141592653")
    secret.chmod(0o600)
    assert "secret" not in looked(home, keys=keys)["secret-files"].detail.split()
    secret.chmod(0o644)
    finding = looked(home, keys=keys)["secret-files"]
    assert finding.state is State.FAIL
    assert finding.detail.endswith("secret")


def test_a_link_to_a_secret_is_judged_by_the_file_at_its_end(home: Path, tmp_path: Path) -> None:
    """As Kubernetes mounts them; the mode of a link itself says nothing."""
    end = tmp_path / "mounted"
    (home / "root.key").rename(end)
    (home / "root.key").symlink_to(end)
    assert looked(home)["secret-files"].state is State.PASS
    end.chmod(0o644)
    assert looked(home)["secret-files"].state is State.FAIL


def test_a_master_key_in_a_service_lies_apart(home: Path) -> None:
    keys = {"transit": {"url": "https://openbao.example", "credential_file": "/token", "root_key": "data-root"}}
    assert looked(home, keys=keys)["master-key-apart"].state is State.PASS


def test_keys_grow_old(home: Path) -> None:
    late = found(Settings(home=home), time.time() + 93 * DAY)["keys-rotated"]
    assert late.state is State.FAIL
    assert "93 days, at most 92" in late.detail
    assert "checkpoint" not in late.detail, "rotated by hand"
    by_hand = found(Settings(home=home), time.time() + 367 * DAY)["keys-rotated"]
    assert "checkpoint (367 days, at most 366)" in by_hand.detail


def test_a_trigger_that_is_gone_or_changed_is_found(home: Path) -> None:
    with closing(sqlite3.connect(home / "handrail.db")) as database:
        database.execute("DROP TRIGGER entries_no_update")
        database.execute("CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries BEGIN SELECT 1; END")
        database.commit()
    finding = looked(home)["log-append-only"]
    assert finding.state is State.FAIL
    assert "entries_no_update" in finding.detail


@pytest.mark.parametrize("attack", ["UPDATE principals SET roles = '[\"approver\"]'", "DELETE FROM principals"])
def test_a_directory_that_says_other_than_the_log_is_found(home: Path, attack: str) -> None:
    with closing(sqlite3.connect(home / "handrail.db")) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(attack)
        database.commit()
    finding = looked(home)["directory-agrees"]
    assert finding.state is State.FAIL
    assert "p-" in finding.detail


def test_without_a_database_or_a_key_nothing_is_made_and_the_checks_count_as_failed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    findings = looked(home)
    assert not home.exists()
    unknown = {name for name, one in findings.items() if one.state is State.UNKNOWN}
    assert {"keys-rotated", "log-append-only", "database-role", "duties-apart", "hands-observed"} <= unknown


def run(home: Path, *arguments: str) -> Any:
    environment = {"HANDRAIL_HOME": str(home), "COLUMNS": "200"}
    return CliRunner().invoke(app, ["controls", "scan", *arguments], env=environment)


def test_the_exit_code_says_how_bad_it_is(home: Path) -> None:
    result = run(home, "--json")
    assert result.exit_code == 1
    findings = json.loads(result.stdout)["findings"]
    assert {one["severity"] for one in findings if one["state"] == "fail"} == {"low", "medium", "high"}
    assert run(home, "--fail-on", "high").exit_code == 1
    assert run(home, "--fail-on", "none").exit_code == 0
    assert "two-person" in run(home).stdout
    narrowed = json.loads(run(home, "--json", "--framework", "ccpa").stdout)["findings"]
    named = {check for control in catalogues()[Framework.CCPA].controls for check in control.posture}
    assert {one["check"] for one in narrowed} == named
    assert all(set(one["controls"]) == {"ccpa"} for one in narrowed)


def test_a_broken_configuration_is_wrong_use(home: Path) -> None:
    file = home / "handrail.toml"
    file.write_text("nonsense = 1")
    assert run(home, "--config", str(file)).exit_code == 2


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_a_role_that_could_change_the_log_is_found(postgres_server: Server, tmp_path: Path) -> None:
    owner = make_url(postgres_server.create_database())
    engine = make_engine(owner.render_as_string(hide_password=False))
    migrations.upgrade(engine)
    engine.dispose()

    def state(user: str) -> Finding:
        url = owner.set(username=user).render_as_string(hide_password=False)
        return looked(tmp_path / "home", database={"url": url})["database-role"]

    assert "superuser" in state("handrail").detail
    with psycopg.connect(dsn(owner), autocommit=True) as connection:
        connection.execute(SCRIPT.read_bytes())
        assert state("handrail_app").state is State.PASS
        connection.execute("GRANT UPDATE ON entries TO handrail_app")
        assert "may UPDATE on entries" in state("handrail_app").detail
        connection.execute("REVOKE UPDATE ON entries FROM handrail_app")
        connection.execute("GRANT TRUNCATE ON checkpoints TO handrail_app")
        assert state("handrail_app").state is State.FAIL
        connection.execute("REVOKE TRUNCATE ON checkpoints FROM handrail_app")
        for table, rights in WITHHELD.items():
            for right in sorted(rights):
                connection.execute(f"GRANT {right} ON {table} TO handrail_app".encode())
                assert f"may {right} on {table}" in state("handrail_app").detail
                connection.execute(f"REVOKE {right} ON {table} FROM handrail_app".encode())
        url = owner.render_as_string(hide_password=False)
        assert looked(tmp_path, database={"url": url})["log-append-only"].state is State.PASS
        # What session_replication_role = replica would skip guards nothing.
        connection.execute("ALTER TABLE entries ENABLE TRIGGER entries_no_change")
        finding = looked(tmp_path, database={"url": url})["log-append-only"]
        assert finding.state is State.FAIL
        assert "entries_no_change" in finding.detail


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("postgresql+psycopg://u@db.example/handrail", State.FAIL),
        ("postgresql+psycopg://u@db.example/handrail?sslmode=require", State.FAIL),
        ("postgresql+psycopg://u@db.example/handrail?sslmode=verify-full", State.PASS),
        ("postgresql+psycopg://u@/handrail?host=/run/postgresql", State.PASS),
        ("postgresql+psycopg://u@127.0.0.1/handrail", State.PASS),
    ],
)
def test_a_database_over_a_network_needs_verified_tls(url: str, state: State, tmp_path: Path) -> None:
    from gateway.posture.network import CHECKS as NETWORK
    from gateway.posture.scene import Scene

    scene = Scene(Settings(home=tmp_path, database={"url": url}), 0)
    [check] = [check for check in NETWORK if check.id == "database-tls"]
    assert check.look(scene).state is state
    assert list(tmp_path.iterdir()) == []
