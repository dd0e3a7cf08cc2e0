"""The lock, the container files and the commands agree with each other and with what the README promises."""

import ast
import json
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from hand_adapters.jail.syscalls import FILES, MEMORY, PROCESS, SERVER
from tests.meta.tree import CODE, ROOT, python_files, syntax, text

PINNED = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
OWN = {"handrail", "handrail-client"}
OWN_PACKAGES = {"gateway", "hand_adapters", "audit", "keys", "migrations", "handrail"}
LOCKS = ("requirements.lock", "deploy/requirements.lock")


def _project(path: str = "pyproject.toml") -> dict[str, Any]:
    return tomllib.loads(text(ROOT / path))["project"]


def _requirements(*extras: str) -> list[Requirement]:
    listed = []
    for path in ("pyproject.toml", "client/pyproject.toml"):
        project = _project(path)
        listed += project["dependencies"]
        for extra in extras:
            listed += project.get("optional-dependencies", {}).get(extra, [])
    return [found for line in listed if canonicalize_name((found := Requirement(line)).name) not in OWN]


def _pins(lock: str) -> dict[str, Version]:
    return {canonicalize_name(name): Version(version) for name, version in PINNED.findall(text(ROOT / lock))}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_address_and_hashes_every_pin(lock: str) -> None:
    content = text(ROOT / lock)
    assert "://" not in content
    assert "--index" not in content
    for block in re.split(r"\n(?=[a-z0-9])", content.split("\n\n", 1)[1]):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_lock_holds_every_requirement_at_or_above_its_floor() -> None:
    pins = _pins("requirements.lock")
    for requirement in _requirements("otlp", "demo", "dev"):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)], prereleases=True), requirement
    assert {"setuptools", "wheel"} <= pins.keys()
    assert not OWN & pins.keys()


def test_container_runs_the_locked_versions_and_no_developers_tools() -> None:
    everything, runtime = (_pins(lock) for lock in LOCKS)
    assert runtime.items() <= everything.items()
    assert not {"pytest", "mypy", "ruff", "uv"} & runtime.keys()
    for requirement in _requirements("otlp"):
        assert canonicalize_name(requirement.name) in runtime


def test_shipped_code_imports_only_what_is_declared() -> None:
    extras = ("aws", "claude-agent", "langchain-agents", "mariadb", "otlp", "pkcs11", "s3", "wasm")
    declared = {canonicalize_name(requirement.name) for requirement in _requirements(*extras)}
    owners = packages_distributions()
    found = set()
    for path in python_files(*CODE):
        for node in ast.walk(syntax(path)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if top in sys.stdlib_module_names or top in OWN_PACKAGES:
                    continue
                distributions = {canonicalize_name(item) for item in owners.get(top, [top])}
                if not distributions & declared:
                    found.add(f"{path.relative_to(ROOT)}: {name}")
    assert not found


def _compose() -> dict[str, Any]:
    return yaml.safe_load(text(ROOT / "docker-compose.yml"))


@pytest.mark.parametrize("name", ["gateway", "opa", "postgres"])
def test_compose_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = _compose()["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert not service.get("privileged")
    assert service["read_only"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    assert "seccomp=unconfined" not in service["security_opt"]
    assert int(service["user"].split(":")[0]) > 0
    assert service["healthcheck"]["test"]
    assert not {"network_mode", "pid", "ipc", "userns_mode"} & service.keys()
    for volume in service.get("volumes", []):
        assert "docker.sock" not in volume


def test_compose_publishes_on_loopback_alone_and_keeps_the_back_closed() -> None:
    compose = _compose()
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
    assert compose["networks"]["back"]["internal"] is True
    for name in ("opa", "postgres"):
        assert compose["services"][name]["networks"] == ["back"]
        assert "ports" not in compose["services"][name]


def test_compose_pins_images_and_holds_no_secret() -> None:
    compose = _compose()
    for service in compose["services"].values():
        _, _, tag = service["image"].rpartition(":")
        assert tag
        assert tag != "latest"
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|KEY|DATABASE__URL", variable) and not variable.endswith("_FILE"):
                assert ":?" in value, f"{variable} must be required from outside"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A folder with deploy/prepare, as a checkout has it, that any user may enter."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "prepare", tmp_path / "deploy" / "prepare")
    return tmp_path


def _prepare(checkout: Path) -> None:
    subprocess.run(["bash", checkout / "deploy" / "prepare"], check=True, capture_output=True, umask=0o022)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_prepare_lets_no_other_user_of_the_machine_reach_a_secret(prepared: Path) -> None:
    _prepare(prepared)
    assert _mode(prepared / ".env") == 0o600
    assert _mode(prepared / "deploy" / "secrets") == 0o700
    token = (prepared / "deploy" / "secrets" / "opa_token").read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert f"HANDRAIL_OPA_TOKEN={token}\n" in (prepared / ".env").read_text()


def test_prepare_leaves_the_token_readable_for_the_container_behind_the_closed_folder(prepared: Path) -> None:
    _prepare(prepared)
    source = prepared / _compose()["secrets"]["opa_token"]["file"]
    assert _mode(source) == 0o644  # mounted by itself, read by uid 10001
    assert _mode(source.parent) & 0o077 == 0


def test_prepare_closes_what_an_older_version_left_open_and_keeps_the_secrets(prepared: Path) -> None:
    _prepare(prepared)
    secrets = prepared / "deploy" / "secrets"
    before = (prepared / ".env").read_text(), (secrets / "opa_token").read_text()
    secrets.chmod(0o711)
    (prepared / ".env").chmod(0o644)
    _prepare(prepared)
    assert (_mode(secrets), _mode(prepared / ".env")) == (0o700, 0o600)
    assert before == ((prepared / ".env").read_text(), (secrets / "opa_token").read_text())


def test_compose_runs_the_opa_that_the_policies_are_tested_against() -> None:
    version = re.search(r"open-policy-agent/opa v([0-9.]+)", text(ROOT / "tests/tools/opa/go.mod"))
    assert version is not None
    assert _compose()["services"]["opa"]["image"] == f"openpolicyagent/opa:{version[1]}"
    assert _compose()["services"]["gateway"]["environment"]["HANDRAIL_POLICY__ENGINE"] == "opa"


def test_compose_environment_is_settings_the_gateway_knows() -> None:
    from gateway.settings import Settings

    for variable in _compose()["services"]["gateway"]["environment"]:
        section, key = variable.removeprefix("HANDRAIL_").lower().split("__")
        assert key in Settings.model_fields[section].annotation.model_fields


def test_container_profile_allows_what_jails_and_bubblewrap_call_and_no_more() -> None:
    profile = json.loads(text(ROOT / "deploy" / "seccomp.json"))
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert {"unshare", "mount", "umount2", "pivot_root", "setns", "clone"} <= allowed
    assert {*FILES, *MEMORY, *PROCESS, *SERVER} - {"pidfd_getfd"} <= allowed
    assert {"fsopen", "fsconfig", "fsmount", "move_mount", "openat2", "landlock_restrict_self"} <= allowed, "launcher"
    assert not {"ptrace", "bpf", "io_uring_setup", "keyctl", "perf_event_open", "kexec_load", "init_module"} & allowed
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    gateway = _compose()["services"]["gateway"]["security_opt"]
    assert "seccomp=deploy/seccomp.json" in gateway


def test_dockerfile_runs_as_nobody_from_the_lock() -> None:
    dockerfile = text(ROOT / "Dockerfile")
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile
    assert "bubblewrap" in dockerfile
    assert "--privileged" not in dockerfile
    for image in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE):
        assert ":" in image
        assert not image.endswith(":latest")
    ignored = text(ROOT / ".dockerignore").splitlines()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE):
        assert source == "." or f"!{source}" in ignored


def test_readme_promises_exactly_the_two_commands_that_the_makefile_has() -> None:
    promised = set(re.findall(r"^make ([a-z]+)", text(ROOT / "README.md"), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    assert promised == {"run", "test"}
    assert promised <= targets


def test_ci_ends_with_the_readmes_test_command() -> None:
    lines = [line for line in text(ROOT / ".ci" / "run").splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "make test"
    assert "export HANDRAIL_CI=1" in lines


def test_makefile_targets_that_the_documents_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("**/*.md")]:
        named = set(re.findall(r"`make ([a-z-]+)", text(page)))
        assert named <= targets, page.name
