"""Which gateway a command speaks to, and as whom."""

import contextlib
import hashlib
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.connect import resolve
from tests.authority import Authority
from tests.cli.conftest import Run, claims_of
from tests.client.stand_in import TOKEN, StandIn, running

# --- who and where ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, gateway: StandIn, key_file: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    file = home / "cli.json"
    file.write_text(
        json.dumps(
            {
                "url": gateway.url,
                "default": "agent",
                "principals": {
                    "agent": {"api_key": TOKEN, "jwk_file": str(key_file), "issuer": "agent"},
                    "admin": {"api_key": "hr_0000000000000001_admin"},
                },
            }
        )
    )
    file.chmod(0o600)
    return home


def stored_run(run: Run, home: Path, *args: object, **environment: str) -> Any:
    variables = {"HANDRAIL_URL": "", "HANDRAIL_API_KEY": "", "HANDRAIL_HOME": str(home), **environment}
    return run(*args, **variables)


def test_the_stored_principal_signs_and_calls(run: Run, stored: Path, gateway: StandIn, plan_file: Path) -> None:
    result = stored_run(run, stored, "plan", "sign", plan_file)
    assert result.exit_code == 0, result.output
    assert claims_of(result.stdout)["iss"] == "agent"
    assert stored_run(run, stored, "approvals", "approve", "ap-1", "--yes").exit_code == 0
    assert gateway.answers[0]["approver"] == "alice", "signed with the stored key"


def test_as_chooses_the_principal_even_over_the_environment(run: Run, stored: Path, gateway: StandIn) -> None:
    assert stored_run(run, stored, "keys", "list", "--as", "admin", HANDRAIL_API_KEY=TOKEN).exit_code == 0
    assert gateway.seen[-1][2]["authorization"].endswith("_admin")
    result = stored_run(run, stored, "keys", "list", "--as", "nobody")
    assert result.exit_code == 2
    assert "admin, agent" in result.output


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_of_keys_that_others_can_read_is_refused(run: Run, stored: Path, gateway: StandIn, mode: int) -> None:
    (stored / "cli.json").chmod(mode)
    result = stored_run(run, stored, "keys", "list")
    assert result.exit_code == 2
    assert "chmod 600" in result.output
    assert gateway.seen == []


def test_a_stored_key_is_not_sent_to_another_gateway(run: Run, stored: Path) -> None:
    with running() as other:
        for how in (("--url", other.url), ()):
            environment = {} if how else {"HANDRAIL_URL": other.url}
            result = stored_run(run, stored, "keys", "list", *how, **environment)
            assert result.exit_code == 2
            assert "not sent to" in result.output
        assert other.seen == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1}', '{"url": "http://x", "default": "a"}',
                                     '{"url": "http://x", "default": "a", "principals": {"a": {}}}'])  # fmt: skip
def test_a_broken_file_of_keys_is_wrong_use(run: Run, stored: Path, content: str) -> None:
    (stored / "cli.json").write_text(content)
    assert stored_run(run, stored, "keys", "list").exit_code == 2


def test_a_key_in_place_of_an_entry_is_not_said_to_be_an_absent_principal(run: Run, stored: Path) -> None:
    document = {"url": "http://x", "default": "a", "principals": {"a": TOKEN}}
    (stored / "cli.json").write_text(json.dumps(document))
    result = stored_run(run, stored, "keys", "list")
    assert result.exit_code == 2
    assert "a has no api_key" in result.output
    assert TOKEN not in result.output


def test_a_principal_without_a_key_is_not_said_to_be_absent(run: Run, stored: Path) -> None:
    document = {"url": "http://x", "default": "a", "principals": {"a": {"api_key": {"token": TOKEN}}}}
    (stored / "cli.json").write_text(json.dumps(document))
    result = stored_run(run, stored, "keys", "list")
    assert result.exit_code == 2
    assert "a has no api_key" in result.output
    assert TOKEN not in result.output


def test_no_key_anywhere_is_said_by_the_gateway(run: Run, tmp_path: Path, gateway: StandIn) -> None:
    result = stored_run(run, tmp_path / "nowhere", "keys", "list", "--url", gateway.url)
    assert result.exit_code == 2
    assert "auth.missing" in result.output
    assert stored_run(run, tmp_path / "nowhere", "keys", "list", "--as", "x").exit_code == 2


def test_two_ways_to_say_who_exclude_each_other(run: Run, stored: Path) -> None:
    assert stored_run(run, stored, "keys", "list", "--as", "admin", "--api-key", TOKEN).exit_code == 2


def test_an_api_key_is_never_printed(run: Run, gateway: StandIn) -> None:
    with running() as gone:
        url = gone.url
    for environment in ({}, {"HANDRAIL_URL": url}, {"HANDRAIL_API_KEY": TOKEN + "\n"}):
        assert TOKEN not in run("keys", "list", **environment).output
    assert hashlib.sha256(TOKEN.encode()).hexdigest() not in run("keys", "list").output


def test_files_of_tls_come_from_options_then_variables_then_the_stored_file(tmp_path: Path) -> None:
    stored = {"url": "https://h", "ca_file": "ca.pem", "default": "a", "principals": {"a": {"api_key": TOKEN}}}
    (tmp_path / "cli.json").write_text(json.dumps(stored))
    (tmp_path / "cli.json").chmod(0o600)
    home = {"HANDRAIL_HOME": str(tmp_path)}
    assert resolve(None, None, None, {}, home).tls == {"ca_file": tmp_path / "ca.pem"}
    variables = {**home, "HANDRAIL_CA_FILE": "v.pem", "HANDRAIL_CLIENT_CERT": "c.pem", "HANDRAIL_CLIENT_KEY": "k.pem"}
    by_variable = resolve(None, None, None, {}, variables)
    assert by_variable.tls == {"ca_file": Path("v.pem"), "client_cert": Path("c.pem"), "client_key": Path("k.pem")}
    assert (by_variable.url, by_variable.api_key) == ("https://h", None), "a certificate stands for the API key"
    assert resolve(None, None, "a", {}, variables).api_key == TOKEN
    assert resolve(None, None, None, {"ca_file": Path("o.pem")}, variables).tls["ca_file"] == Path("o.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_clients_key_that_others_can_read_is_refused(run: Run, tmp_path: Path, mode: int) -> None:
    key = tmp_path / "k.pem"
    key.write_text("")
    key.chmod(mode)
    result = run("keys", "list", HANDRAIL_CLIENT_KEY=str(key))
    assert result.exit_code == 2
    assert "chmod 600" in result.output


def test_nothing_turns_verification_off(run: Run) -> None:
    for option in ("--insecure", "--no-verify", "-k"):
        assert run("keys", "list", option).exit_code == 2


def test_a_gateway_whose_certificate_does_not_verify_is_told_apart_from_one_that_is_away(
    run: Run, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            with listening.accept()[0] as raw, contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True):
                pass

        served = pool.submit(answer)
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        result = run("hands", "list", "--json", HANDRAIL_URL=url)
        served.result(10)
    assert result.exit_code == 3
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "cli.unreachable"
    assert "its certificate does not verify" in error["detail"]
    assert "--ca-file" in error["hint"]
