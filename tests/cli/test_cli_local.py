"""Commands that work on this machine alone, and the command as a process."""

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.app import build
from gateway.cli import jail as jail_commands
from gateway.cli import saving
from gateway.cli.config import example_text
from gateway.cli.connect import home
from gateway.cli.exits import Stop
from gateway.cli.main import app
from gateway.cli.nouns import NOUNS
from gateway.settings import (
    ActionSettings,
    BrainSettings,
    HandSettings,
    IdentitySettings,
    JailSettings,
    ManagedAgentsSettings,
    RemoteSettings,
    Settings,
    WebhookSettings,
    load,
)
from hand_adapters.jail import Jail
from hand_adapters.jail import doctor as jail_doctor
from hand_adapters.jail.doctor import Finding as JailFinding
from tests.client.stand_in import HOSTILE, TOKEN, StandIn

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from gateway.cli.main import run; run()"]
INPUT = {
    "v": 1,
    "tenant": "default",
    "environment": "production",
    "now": "2026-01-01T00:00:00Z",
    "principal": {"id": "ada", "roles": ["agent"]},
    "plan": {"id": "p", "context_id": "c", "issuer": "i", "purpose": None},
    "steps": [
        {
            "id": "s1",
            "hand": "git",
            "action": "git_status",
            "args": {},
            "args_sha256": "00" * 32,
            "data_subjects": [],
            "provenance": {},
        }
    ],
    "hands": {
        "git": {
            "region": None,
            "trust": "untrusted",
            "labels": [],
            "manifest_digest": "00" * 32,
            "actions": {"git_status": {"side_effects": "none", "idempotent": False, "args": {}}},
        }
    },
    "context": {"data_region": None, "taint": [], "principal_taint": [], "spent": {}, "history": []},
}


def invoke(*args: object, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", **environment})


def process(*args: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run([*COMMAND, *args], input=stdin, env=variables, capture_output=True, text=True, check=False)


# --- the process -----------------------------------------------------------------------------------------------------


def test_help_lists_every_noun_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom gateway.cli.main import run\nsys.argv = ['handrail', '--help']\n"
        "try:\n    run()\nfinally:\n"
        "    heavy = {'uvicorn', 'sqlalchemy', 'mcp', 'anthropic', 'httpx2', 'pydantic', 'starlette', 'cryptography'}\n"
        "    loaded = sorted(heavy & set(sys.modules))\n"
        "    if loaded: raise RuntimeError(loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for noun in set(NOUNS) - {"demo"}:
        assert f"  {noun} " in done.stdout


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["nonsense"], 2),
        (["plan"], 2),
        (["plan", "nonsense"], 2),
        (["plan", "show"], 2),
        (["plan", "show", "x", "--nonsense"], 2),
        (["verify", "x"], 2),
        (["keys", "rotate", "nonsense"], 2),
        (["policy", "check", "/nonexistent"], 2),
        (["audit", "query", "--type", "FOO"], 2),
        (["plan", "submit", "-", "--wait", "1e9"], 2),
        (["config", "example"], 0),
        (["plan", "show", "x", "--url", "http://127.0.0.1:9"], 3),
        (["plan", "show", "x", "--url", "not a url"], 2),
    ],
)
def test_the_exit_code_of_the_process(args: list[str], code: int, tmp_path: Path) -> None:
    done = process(*args, HANDRAIL_HOME=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_verdicts_reach_the_shell(gateway: StandIn, key_file: Path, plan_file: Path) -> None:
    where = {"HANDRAIL_URL": gateway.url, "HANDRAIL_API_KEY": TOKEN}
    signed = process("plan", "sign", "--key", str(key_file), "--issuer", "agent", str(plan_file), **where)
    assert process("plan", "submit", "-", stdin=signed.stdout, **where).returncode == 0
    gateway.text = HOSTILE
    shown = process("plan", "show", "aa" * 32, **where)
    assert "\x1b" not in shown.stdout + shown.stderr


def test_a_pipe_that_closes_early_is_no_traceback(gateway: StandIn) -> None:
    where = {**os.environ, "HANDRAIL_URL": gateway.url, "HANDRAIL_API_KEY": TOKEN}
    gateway.text = "x" * 200_000
    with subprocess.Popen(
        [*COMMAND, "hands", "list", "--json"], env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert b"Traceback" not in child.stderr.read()


# --- config ----------------------------------------------------------------------------------------------------------


def test_the_example_parses_and_says_exactly_the_defaults() -> None:
    assert Settings(**tomllib.loads(example_text())) == Settings()


def test_the_example_names_and_explains_every_setting() -> None:
    text = " ".join(example_text().replace("\n#", " ").split())
    models: list[Any] = [Settings, HandSettings, ActionSettings, IdentitySettings, WebhookSettings, RemoteSettings]
    models += [
        field.annotation for field in Settings.model_fields.values() if hasattr(field.annotation, "model_fields")
    ]
    tables = {"hands", "actions", "identity", "webhooks", "remote", "secrets", "pkcs11", "transit", "aws_kms", "tls"}
    tables |= {"brains", "connections", "database", "login", "mail", "managed_agents", "mcp", "model", "output_files"}
    tables |= {"pagination", "python", "slo", "wasm"}
    for model in models:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                continue
            if name not in tables:
                assert f"{name} =" in text, name
                assert field.description is not None
                assert " ".join(field.description.split()) in text, name


def test_the_example_shows_what_a_brain_and_a_workspace_of_managed_agents_may_say() -> None:
    for table, model in (("brains.NAME", BrainSettings), ("managed_agents.NAME", ManagedAgentsSettings)):
        said = example_text().split(f"# [{table}]\n")[1].split("\n\n")[0]
        for name in model.model_fields:
            assert f"# {name} =" in said or f"# [{table}.{name}]" in said, name


def test_the_example_shows_no_bound_that_there_is_not() -> None:
    assert "None)" not in example_text()


def test_the_examples_hand_tables_are_toml_once_uncommented(tmp_path: Path) -> None:
    """Take the comment signs off the lines that set something and give the required ones a value."""
    lines = example_text().split("All a hand may say:")[1].splitlines()
    settings = [line.removeprefix("# ") for line in lines if line.startswith(("# [", "# adapter")) or " = " in line]
    toml = (
        "\n".join(line for line in settings if not line.endswith("=")).replace("NAME", "name").replace("adapter =", "")
    )
    tables = tomllib.loads(toml)
    assert "side_effects" in tables["hands"]["name"]["actions"]["name"]


def _believed(said: str, name: str = "x") -> str:
    return f'[identity.{name}]\naudiences = ["a"]\nalgorithm = "RS256"\n{said}\n'


def _declared(schemas: str) -> str:
    hand = '[hands.x]\nadapter = "http"\nbase_url = "https://tool.example"\n'
    return f'{hand}[hands.x.actions.a]\nmethod = "GET"\npath = "/"\n{schemas}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[server]\nprot = 1", "server.prot"),
        ("[server]\nport = 99999", "server.port"),
        ("[nonsense]", "nonsense"),
        ("[server", "handrail.toml"),
        ('[hands.git]\nadapter = "mcp"', "command"),
        ('[hands.x]\nadapter = "nonsense"', "hands.x.adapter"),
        (_believed('issuer = "http://a.example"'), "private_network"),
        (_believed('issuer = "https://a.example"\nca_file = "/nonexistent"'), "identity.x.ca_file"),
        (_believed('issuer = "https://a.example"\n') + _believed('issuer = "https://a.example"', "y"), "one issuer"),
        ('[webhooks.x]\nurl = "https://a.example"', "secret_file"),
        ('[webhooks.x]\nurl = "https://a.example"\nsecret_file = "/nonexistent"', "webhooks.x.secret_file"),
        ('[webhooks.x]\nurl = "http://a.example"\nformat = "slack"', "private_network"),
        ('[hands.x]\nadapter = "nonsense"\nenabled = false', "hands.x.adapter"),
        ('[hands.x]\nadapter = "http"\nbase_url = "http://127.0.0.1:1"', "private_network"),
        (_declared('args_schema = { type = "nonsense" }'), "hands.x.actions.a"),
        (_declared('args_schema = { type = "object" }\nresult_schema = { type = 1 }'), "hands.x.actions.a"),
    ],
)
def test_a_wrong_configuration_is_named_and_is_wrong_use(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "handrail.toml"
    file.write_text(content)
    result = invoke("config", "check", file)
    assert result.exit_code == 2
    assert words in result.output


def test_a_configuration_without_a_fault_is_told_in_a_few_lines(tmp_path: Path) -> None:
    file = tmp_path / "handrail.toml"
    model = '[hands.claude]\nadapter = "anthropic"\nbase_url = "https://model.example"\n'
    brain = '[brains.house]\nhand = "claude"\nmodel = "m"\n'
    file.write_text(_declared('args_schema = { type = "object" }') + f"\n{model}{brain}")
    home = str(tmp_path / "home")
    told, whole, document = (
        invoke("config", "check", file, *extra, HANDRAIL_HOME=home) for extra in ([], ["--all"], ["--json"])
    )
    assert told.exit_code == 0, told.output
    rows = dict(line.split(maxsplit=1) for line in told.stdout.splitlines()[1:])
    assert set(rows) == {"home", "address", "log", "database", "policies", "hands", "brains"}
    assert (rows["home"], rows["hands"], rows["brains"]) == (home, "claude, x", "house")
    assert json.loads(whole.stdout) == json.loads(document.stdout)


def test_a_database_password_is_not_printed(tmp_path: Path) -> None:
    file = tmp_path / "handrail.toml"
    file.write_text('[database]\nurl = "postgresql+psycopg://user:hunter2@db/handrail"')
    for extra in ([], ["--all"], ["--json"]):
        result = invoke("config", "check", file, *extra)
        assert result.exit_code == 0
        assert "hunter2" not in result.output
        assert "user" in result.output


# --- doctor, db, audit fsck, serve -----------------------------------------------------------------------------------


def test_doctor_names_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    empty = tmp_path / "empty"
    empty.mkdir()
    result = invoke("doctor", "--json", HANDRAIL_HOME=str(home), PATH=str(empty))
    findings = {item["name"]: item for item in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 1
    assert findings["home"]["state"] == "missing"
    assert "chmod 700" in findings["home"]["remedy"]
    assert findings["git"]["state"] == "absent"
    assert "apt-get install git" in findings["git"]["remedy"]
    assert findings["jail: trial jail"]["state"] == "absent", "no hand needs it"


def test_doctor_shows_every_layer_of_the_jail_and_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [
        JailFinding("python", ok=True, detail="3"),
        JailFinding("bubblewrap", ok=True, detail="bubblewrap 0.8.0"),
        JailFinding("user namespaces", ok=False, detail="max_user_namespaces is 0", remedy="sysctl -w it=15000"),
        JailFinding("cgroups", ok=True, detail="none", remedy="Set Delegate=yes."),
        JailFinding("trial jail", ok=False, detail="it failed", remedy="See the findings above."),
    ]
    monkeypatch.setattr(jail_doctor, "diagnose", lambda settings: layers)
    file = tmp_path / "handrail.toml"
    file.write_text('[hands.x]\nadapter = "mcp"\ncommand = ["x"]\n')
    result = invoke("doctor", "--json", "--config", file, HANDRAIL_HOME=str(tmp_path / "home"))
    shown = [item for item in json.loads(result.stdout)["findings"] if item["name"].startswith("jail")]
    assert [(item["name"], item["state"], item["detail"], item["remedy"]) for item in shown] == [
        ("jail: bubblewrap", "ok", "bubblewrap 0.8.0", ""),
        ("jail: user namespaces", "missing", "max_user_namespaces is 0", "sysctl -w it=15000"),
        ("jail: cgroups", "ok", "none", "Set Delegate=yes."),
        ("jail: trial jail", "missing", "it failed", "See the findings above."),
    ]
    assert result.exit_code == 1
    table = invoke("doctor", "--config", file, HANDRAIL_HOME=str(tmp_path / "home"), COLUMNS="200").stdout
    found, to_do = table.split("to do:")
    for item in shown:
        [row] = [line for line in found.splitlines() if line.startswith(f"{item['name']} ")]
        assert all(item[member] in row for member in ("state", "detail"))
        rows = [line.split("  ")[-1].strip() for line in to_do.splitlines() if line.startswith(f"{item['name']} ")]
        assert rows == ([item["remedy"]] if item["remedy"] else [])
    assert max(map(len, table.splitlines())) <= 80 + len(str(tmp_path))


def test_an_empty_home_is_the_default_one_to_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDRAIL_HOME", "")
    assert load(None).home.absolute() == home(os.environ).absolute() == tmp_path / ".handrail"


@pytest.mark.parametrize(
    "hand",
    [
        'adapter = "mcp"\ncommand = ["x"]',
        'adapter = "process"\nactions.a = { argv = ["true"], args_schema = { type = "object" } }',
    ],
)
def test_doctor_needs_a_jail_where_a_hand_does(tmp_path: Path, hand: str) -> None:
    file = tmp_path / "handrail.toml"
    file.write_text(f'[hands.x]\n{hand}\n[jail]\nbwrap = "/nonexistent/bwrap"')
    result = invoke("doctor", "--json", "--config", file, HANDRAIL_HOME=str(tmp_path / "home"))
    assert result.exit_code == 1
    findings = {item["name"]: item for item in json.loads(result.stdout)["findings"]}
    assert findings["jail: bubblewrap"]["state"] == findings["jail: trial jail"]["state"] == "missing"
    assert "apt-get install bubblewrap" in findings["jail: bubblewrap"]["remedy"]


def test_doctor_reports_a_broken_configuration_instead_of_failing(tmp_path: Path) -> None:
    file = tmp_path / "handrail.toml"
    file.write_text("nonsense = 1")
    result = invoke("doctor", "--config", file)
    assert result.exit_code == 1
    assert "nonsense" in result.output


def test_doctor_names_a_declaration_that_no_gateway_starts_with(tmp_path: Path) -> None:
    file = tmp_path / "handrail.toml"
    file.write_text('[hands.crm]\nadapter = "http"\nbase_url = "http://127.0.0.1:1"\n')
    result = invoke("doctor", "--json", "--config", file, HANDRAIL_HOME=str(tmp_path / "home"))
    found = {one["name"]: one for one in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 1
    assert found["configuration"]["state"] == "missing"
    assert found["configuration"]["detail"].startswith("hands.crm.base_url: plain http")
    assert found["policy engine"]["state"] == "ok", "the rest is looked at all the same"


def test_doctor_lacks_nothing_in_a_home_whose_first_start_ended_before_its_database(tmp_path: Path) -> None:
    home = tmp_path / "home"
    file = tmp_path / "handrail.toml"
    file.write_text('[hands.crm]\nadapter = "http"\nbase_url = "http://127.0.0.1:1"\n')
    assert invoke("init", "--config", file, HANDRAIL_HOME=str(home)).exit_code == 2
    file.write_text("")
    result = invoke("doctor", "--json", "--config", file, HANDRAIL_HOME=str(home))
    found = {one["name"]: one["detail"] for one in json.loads(result.stdout)["findings"] if one["state"] == "missing"}
    assert "dual control" not in found


def test_the_schema_is_made_once_and_an_empty_log_is_sound(tmp_path: Path) -> None:
    home = {"HANDRAIL_HOME": str(tmp_path / "home")}
    first, second = (json.loads(invoke("db", "upgrade", "--json", **home).stdout) for _ in range(2))
    assert first["before"] is None
    assert first["after"] == second["before"] == second["after"]
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    result = invoke("audit", "fsck", **home)
    assert result.exit_code == 0, result.output


def test_fsck_does_not_make_the_log_that_it_should_check(tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = invoke("audit", "fsck", "--payloads", HANDRAIL_HOME=str(home))
    assert result.exit_code == 2
    assert not home.exists()


@pytest.mark.parametrize("made", [False, True])
def test_fsck_says_that_there_is_no_log_and_makes_none(tmp_path: Path, *, made: bool) -> None:
    file = tmp_path / "other.db"
    if made:
        file.touch()
    result = invoke("audit", "fsck", HANDRAIL_DATABASE__URL=f"sqlite:///{file}")
    assert result.exit_code == 2
    assert "there is no log there" in result.output
    assert "other.db" in result.output
    assert (file.stat().st_size == 0) if made else not file.exists()


def test_fsck_makes_no_master_key(tmp_path: Path) -> None:
    home = {"HANDRAIL_HOME": str(tmp_path / "home")}
    invoke("db", "upgrade", **home)
    assert invoke("audit", "fsck", "--payloads", **home).exit_code == 2
    assert not (tmp_path / "home" / "master.key").exists()


def test_a_database_that_is_not_there_is_unreachable_and_its_password_is_not_printed() -> None:
    url = "postgresql+psycopg://user:hunter2@127.0.0.1:9/handrail"
    for arguments in (("db", "upgrade"), ("audit", "fsck")):
        result = invoke(*arguments, HANDRAIL_DATABASE__URL=url)
        assert result.exit_code == 3, result.output
        assert "hunter2" not in result.output


def test_a_port_that_is_taken_is_said(gateway: StandIn, tmp_path: Path) -> None:
    port = gateway.url.rsplit(":", 1)[1]
    done = process("serve", HANDRAIL_HOME=str(tmp_path / "home"), HANDRAIL_SERVER__PORT=port)
    assert done.returncode == 1, done.stderr
    assert f"127.0.0.1:{port}" in done.stderr
    assert "[server] port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("fault", ["stray key", "bundle", "adapter", "database"])
def test_a_failed_start_says_why_in_one_line(tmp_path: Path, fault: str) -> None:
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True, mode=0o700)
    (home / "keys").chmod(0o700)
    where = {"HANDRAIL_HOME": str(home), "HANDRAIL_SERVER__PORT": "0"}
    config = tmp_path / "handrail.toml"
    config.write_text("")
    if fault == "stray key":
        (home / "keys" / "stray").touch()
        words = "stray: not a key file"
    elif fault == "bundle":
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "rule.rego").write_text("nonsense")
        where["HANDRAIL_POLICY__BUNDLE"] = str(tmp_path / "bundle")
        words = "rule.rego:1:1"
    elif fault == "adapter":
        config.write_text('[hands.x]\nadapter = "nonsense"')
        words = "no adapter is called nonsense"
    else:
        where["HANDRAIL_DATABASE__URL"] = f"sqlite:///{tmp_path}/none/handrail.db"
        words = "unable to open database file"
    done = process("serve", "--config", str(config), **where)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert words in line
    assert "Traceback" not in done.stderr
    assert "running there already" not in done.stderr


@pytest.mark.parametrize("command", [["serve"], ["demo", "--exit"], ["db", "upgrade"]])
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "file").touch()
    done = process(*command, HANDRAIL_HOME=str(tmp_path / "file" / "home"), HANDRAIL_SERVER__PORT="0")
    assert done.returncode == 2, done.stderr
    assert f"error: {tmp_path}/file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_stops_the_gateway_before_it_starts(tmp_path: Path) -> None:
    done = process("serve", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "none.toml" in done.stderr


def test_listening_beyond_loopback_in_clear_is_refused(tmp_path: Path) -> None:
    done = process("serve", HANDRAIL_HOME=str(tmp_path / "home"), HANDRAIL_SERVER__HOST="0.0.0.0")
    assert done.returncode == 2
    assert "0.0.0.0 is beyond loopback" in done.stderr
    assert "trusted_proxies" in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_gateway_without_its_certificate_does_not_start_and_says_why(tmp_path: Path) -> None:
    pair = {"HANDRAIL_SERVER__TLS__CERTIFICATE": str(tmp_path / "a"), "HANDRAIL_SERVER__TLS__KEY": str(tmp_path / "b")}
    for command, code in (("serve", 1), ("doctor", 1)):
        done = process(command, HANDRAIL_HOME=str(tmp_path / "home"), HANDRAIL_SERVER__PORT="0", COLUMNS="300", **pair)
        assert done.returncode == code
        assert f"{tmp_path}/a: No such file" in (done.stderr + done.stdout)
        assert "Traceback" not in done.stderr


HANGING = """
import os, signal, sys
if "serve" in sys.orig_argv:
    print(os.getpid(), file=sys.stderr, flush=True)
    while True:
        signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demonstration_ended_before_it_serves_leaves_no_gateway(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.mkfifo(home / "gateway.log")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HANGING)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / "client")])
    environment = {**os.environ, "HANDRAIL_HOME": str(home), "PYTHONPATH": path}
    # What runs the tests may ignore the signal (nohup does), and a child inherits that.
    command = ["env", f"--default-signal={number.name}", *COMMAND, "demo", "--exit", "--port", "9"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL) as demonstration:
        with (home / "gateway.log").open() as log:
            gateway = int(log.readline())
        try:
            demonstration.send_signal(number)
            assert demonstration.wait(30) != 0
            with pytest.raises(ProcessLookupError):
                os.kill(gateway, 0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(gateway, signal.SIGKILL)


def test_the_program_is_named_as_a_shell_can_call_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.cli.demo.ground import program

    monkeypatch.chdir(tmp_path)
    for called, shown in (
        (".venv/bin/handrail", ".venv/bin/handrail"),
        (str(tmp_path / ".venv/bin/handrail"), ".venv/bin/handrail"),
        ("/opt/my tools/handrail", "'/opt/my tools/handrail'"),
        ("/x/gateway/cli/__main__.py", f"{sys.executable} -m gateway.cli"),
    ):
        monkeypatch.setattr(sys, "argv", [called])
        assert program() == shown


def test_init_makes_a_home_and_its_first_principal_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = json.loads(invoke("init", "--json", HANDRAIL_HOME=str(home)).stdout)
    stored = (home / "cli.json").read_text()
    assert json.loads(stored)["principals"]["admin"]["api_key"] == first["token"]
    assert first["token"].startswith("hr_")
    assert (home / "cli.json").stat().st_mode & 0o777 == 0o600
    again = invoke("init", HANDRAIL_HOME=str(home))
    assert again.exit_code == 0, again.output
    assert "nothing was changed" in again.output
    assert "hr_" not in again.output
    assert (home / "cli.json").read_text() == stored


@pytest.mark.parametrize("json_", [True, False], ids=["for a program", "for people"])
def test_a_first_key_that_cannot_be_kept_is_shown_and_opens_the_gateway(tmp_path: Path, *, json_: bool) -> None:
    """A link that leads nowhere has the name. The next run finds all there, and changes nothing."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "cli.json").symlink_to(tmp_path / "nowhere" / "cli.json")
    first = invoke("init", *(["--json"] if json_ else []), HANDRAIL_HOME=str(home))
    assert first.exit_code == 2
    assert "cli.json" in first.stderr
    assert "The API key above is kept nowhere" in first.stderr
    shown = json.loads(first.stdout)["token"] if json_ else re.findall(r"hr_\S+", first.stdout)[0]
    assert json_ is False or json.loads(first.stdout)["cli_json"] is None

    async def who() -> str:
        gateway = build(Settings(home=home))
        try:
            await gateway.prepare()
            return (await gateway.directory.authenticate(shown, time.time())).id
        finally:
            await gateway.close()

    assert asyncio.run(who()) == "admin"
    again = invoke("init", HANDRAIL_HOME=str(home))
    assert again.exit_code == 0, again.output
    assert "nothing was changed" in again.output


# --- policy ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(require_service: Callable[[object, str, str], None]) -> None:
    remedy = "Install celine-regorus (Linux x86-64 and macOS)."
    require_service(importlib.util.find_spec("regorus"), "the embedded policy engine", remedy)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    directory = tmp_path / "bundle"
    directory.mkdir()
    (directory / "rule.rego").write_text(
        """package handrail

decisions contains decision if {
	some step in input.steps
	effect := {"git_status": "allow", "git_commit": "ask"}[step.action]
	decision := {"step": step.id, "effect": effect, "reasons": [{"code": "test.rule", "message": input.tenant}]}
}

decisions contains decision if {
	some step in input.steps
	step.action == "git_push"
	decision := {"step": step.id, "effect": "deny", "reasons": [{"code": "test.other", "message": "no"}]}
}
"""
    )
    return directory


@pytest.mark.parametrize(("action", "code"), [("git_status", 0), ("git_commit", 4), ("git_push", 1)])
@pytest.mark.usefixtures("embedded")
def test_a_bundle_decides_an_input(bundle: Path, tmp_path: Path, action: str, code: int) -> None:
    asked = json.loads(json.dumps(INPUT))
    asked["steps"][0]["action"] = action
    asked["tenant"] = HOSTILE
    (tmp_path / "input.json").write_text(json.dumps(asked))
    for extra in ([], ["--json"]):
        result = invoke("policy", "eval", "--input", tmp_path / "input.json", "--bundle", bundle, *extra)
        assert result.exit_code == code, result.output
        assert "\x1b" not in result.output
    [decision] = json.loads(result.stdout)["decisions"]
    assert decision["reasons"][0]["code"] == ("test.other" if code == 1 else "test.rule")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1, "a": 2}'])
def test_an_input_that_is_not_strict_json_is_wrong_use(bundle: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "input.json").write_text(content)
    assert invoke("policy", "eval", "--input", tmp_path / "input.json", "--bundle", bundle).exit_code == 2
    assert invoke("policy", "eval", "--input", tmp_path / "none.json", "--bundle", bundle).exit_code == 2


@pytest.mark.usefixtures("embedded")
def test_the_shipped_bundle_can_be_used() -> None:
    root = Path(__file__).resolve().parents[2]
    result = invoke("policy", "check", root / "policies")
    assert result.exit_code == 0, result.output
    assert "can be used" in result.output


@pytest.mark.usefixtures("embedded")
def test_a_bundle_with_a_forbidden_builtin_is_named_with_file_and_line(bundle: Path) -> None:
    (bundle / "bad.rego").write_text('package handrail.bad\n\nx := http.send({"url": "http://x"})\n')
    for arguments in (["policy", "check", bundle, "--json"],):
        result = invoke(*arguments)
        assert result.exit_code == 1
        [problem] = json.loads(result.stdout)["problems"]
        assert (problem["file"], problem["line"], problem["builtin"]) == ("bad.rego", 3, "http.send")


# --- jail ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def jail(tmp_path: Path, require_service: Callable[[object, str, str], None]) -> dict[str, str]:
    missing = Jail(JailSettings(), tmp_path).missing()
    require_service(not missing, "a jail", "; ".join(missing))
    return {"HANDRAIL_HOME": str(tmp_path / "home")}


@pytest.mark.jail
def test_a_program_in_a_jail_gives_its_output_and_verdict(jail: dict[str, str]) -> None:
    good = process(
        "jail", "run", "--json", "--", "/bin/sh", "-c", "cat; id -u; echo no >&2", stdin="from stdin ", **jail
    )
    document = json.loads(good.stdout)
    assert good.returncode == 0, good.stderr
    assert document["stdout"].startswith("from stdin ")
    assert document["stdout"].split()[-1] != "0", "never root"
    assert document["stderr"] == "no\n"
    assert process("jail", "run", "--", "/bin/sh", "-c", "exit 7", **jail).returncode == 1
    assert "SECRET" not in process("jail", "run", "--", "/usr/bin/env", SECRET="SECRET", **jail).stdout


@pytest.mark.jail
def test_a_program_sees_what_the_jail_of_a_hand_shows(tmp_path: Path, jail: dict[str, str]) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "a.txt").write_text("of the hand\n")
    shown.chmod(0o755)
    hands = (
        f'[hands.cat]\nadapter = "process"\njail_profile = "strict"\nenv = {{ WORD = "its own" }}\n'
        f'binds = [{{ source = "{shown}", target = "/shown" }}]\n'
        '[hands.cat.actions.show]\nargv = ["/bin/cat", "/shown/a.txt"]\nargs_schema = { type = "object" }\n'
        '[hands.far]\nadapter = "mcp"\nurl = "https://mcp.example/mcp"\n'
    )
    (tmp_path / "handrail.toml").write_text(hands)
    where = ["--config", str(tmp_path / "handrail.toml")]
    command = ["--", "/bin/sh", "-c", "cat /shown/a.txt; echo $WORD"]
    good = process("jail", "run", "--hand", "cat", *where, *command, **jail)
    assert (good.returncode, good.stdout) == (0, "of the hand\nits own\n"), good.stderr
    assert "of the hand" not in process("jail", "run", *where, *command, **jail).stdout
    for other, said in (("far", "runs in no jail here"), ("nope", "There are: cat, far.")):
        refused = process("jail", "run", "--hand", other, *where, *command, **jail)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr


def test_what_holds_files_is_built_where_one_says(
    tmp_path: Path, require_service: Callable[[object, str, str], None]
) -> None:
    require_service(shutil.which("cc"), "a C compiler", "Install it: apt-get install gcc.")
    document = json.loads(invoke("jail", "build", "--output", tmp_path / "made", "--json").stdout)
    assert document["path"] == str(tmp_path / "made")
    assert document["sha256"] == hashlib.sha256((tmp_path / "made").read_bytes()).hexdigest()
    assert invoke("jail", "build", "--output", tmp_path / "made").exit_code == 0, "its own is built anew"


def test_what_stands_at_its_own_place_is_built_anew_whatever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_service: Callable[[object, str, str], None]
) -> None:
    """For this is what everybody is told to do about it."""
    require_service(shutil.which("cc"), "a C compiler", "Install it: apt-get install gcc.")
    own = tmp_path / "landlock-exec"
    own.write_bytes(b"")
    monkeypatch.setattr(jail_commands, "BUILT", own)
    assert invoke("jail", "build", "--output", own).exit_code == 0
    assert own.read_bytes().startswith(b"\x7fELF")


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_is_not_replaced_and_force_is_not_what_is_hinted(tmp_path: Path, *, force: bool) -> None:
    with pytest.raises(Stop) as stopped:
        saving.refuse_existing(tmp_path, force=force)
    assert (stopped.value.code, stopped.value.hint) == ("cli.exists", "Name a file.")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    saving.refuse_existing(link, force=True)
    with pytest.raises(Stop, match="exists already"):
        saving.refuse_existing(link, force=False)


@pytest.mark.parametrize(
    ("output", "compiler", "said", "code"),
    [
        ("b", "no-such-cc", "no-such-cc: No such file or directory", "cli.usage"),
        ("b", "/usr/bin/false", "/usr/bin/false failed: exit status 1", "cli.usage"),
        ("b", "/usr/bin/true", "what /usr/bin/true made is no program", "cli.usage"),
        ("no/directory", "cc", "{0}: No such file or directory", "cli.file"),
        ("there", "cc", "{0} is a directory", "cli.file"),
    ],
)
def test_what_stopped_a_build_is_said_and_a_compiler_only_where_one_lacks(
    tmp_path: Path, output: str, compiler: str, said: str, code: str
) -> None:
    (tmp_path / "there").mkdir()
    command = ["jail", "build", "--output", tmp_path / output, "--compiler", compiler, "--json"]
    result = invoke(*command)
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert said.format(tmp_path / output) in error["detail"]
    assert error["code"] == code
    assert ("apt-get install gcc" in error["hint"]) == (code == "cli.usage")
    assert ("--output FILE" in error["hint"]) == (code == "cli.file")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_file_that_no_build_made_is_not_built_over(
    tmp_path: Path, require_service: Callable[[object, str, str], None]
) -> None:
    require_service(shutil.which("cc"), "a C compiler", "Install it: apt-get install gcc.")
    target = tmp_path / "mine"
    target.write_text(f"source {'0' * 64}\0")
    link = tmp_path / "link"
    link.symlink_to(target)
    for there in (target, link):
        result = invoke("jail", "build", "--output", there, "--json")
        assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (2, "cli.exists")
    assert target.read_text().startswith("source ")
    assert link.is_symlink()
    assert invoke("jail", "build", "--output", target, "--force").exit_code == 0
    assert target.read_bytes().startswith(b"\x7fELF")


@pytest.mark.jail
def test_what_a_jailed_program_writes_steers_no_terminal_and_fills_no_disk(jail: dict[str, str]) -> None:
    """A terminal is shown escapes in words; a pipe gets the bytes; a full disk is said, not a traceback."""
    hostile = ["handrail", "jail", "run", "--", "/usr/bin/printf", r"\033]0;x\007\377"]
    ours, theirs = os.openpty()
    environment = {**os.environ, **jail}
    command = [sys.executable, "-c", "from gateway.cli.main import run; run()", *hostile[1:]]
    shown = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, check=True, env=environment)
    os.close(theirs)
    assert os.read(ours, 4096) == rb"\u{1b}]0;x\u{7}\xff"
    os.close(ours)
    assert shown.stderr == b""
    piped = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, env=environment)
    assert piped.stdout == b"\033]0;x\007\377"
    with Path("/dev/full").open("wb") as full:
        kept = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False, env=environment
        )
    assert kept.returncode == 2
    assert kept.stderr.startswith(b"error: what it wrote cannot be written: No space left on device\n")
    assert b"Traceback" not in kept.stderr
    assert b"ignored" not in kept.stderr


@pytest.mark.jail
def test_an_endless_input_is_no_input_of_a_jailed_program(jail: dict[str, str]) -> None:
    command = [sys.executable, "-c", "from gateway.cli.main import run; run()", "jail", "run", "--", "/usr/bin/true"]
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run(command, stdin=endless, capture_output=True, check=False, env={**os.environ, **jail})
    assert done.returncode == 2
    assert b"standard input has more than 16 MiB" in done.stderr


@pytest.mark.jail
def test_the_deadline_kills_a_jailed_program(jail: dict[str, str]) -> None:
    done = process("jail", "run", "--json", "--deadline", "0.3", "--", "/bin/sleep", "600", **jail)
    assert done.returncode == 1
    assert json.loads(done.stdout)["timed_out"] is True


@pytest.mark.jail
def test_a_program_or_profile_that_does_not_exist_is_said(jail: dict[str, str]) -> None:
    mistyped = process("jail", "run", "--profil", "strict", "--", "id", **jail)
    assert mistyped.returncode == 2
    assert "--profil: no such option" in mistyped.stderr
    for arguments in (["--", "/nonexistent"], ["--profile", "nonsense", "--", "/bin/true"]):
        done = process("jail", "run", *arguments, **jail)
        assert done.returncode in {1, 2}
        assert "Traceback" not in done.stderr
        assert "error:" in done.stderr


def test_where_no_jail_can_start_the_program_does_not_run(tmp_path: Path) -> None:
    file = tmp_path / "handrail.toml"
    file.write_text('[jail]\nbwrap = "/nonexistent/bwrap"')
    marker = tmp_path / "ran"
    result = invoke("jail", "run", "--config", file, "--", "/bin/touch", marker)
    assert result.exit_code == 2
    assert "handrail doctor" in result.output
    assert not marker.exists()
