"""Every command: JSON that parses, hostile text, unreachable gateways, refusals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from starlette.responses import Response
from typer.core import TyperGroup

from gateway.cli.main import NOUNS, app
from tests.cli.conftest import Run, actions, jws
from tests.client.stand_in import HOSTILE, StandIn, problem, running

PLAN_ID = "aa" * 32

# --- every command ---------------------------------------------------------------------------------------------------

SPECIAL = {
    "serve", "init", "demo", "jail run", "audit fsck", "policy eval", "policy check", "policy build", "db upgrade"
}  # fmt: skip
"""Commands with tests of their own (test_cli_local.py): they need more than a gateway."""
CASES: dict[str, list[str]] = {
    "plan sign": ["--key", "key.jwk", "--issuer", "agent", "plan.json"],
    "plan submit": ["token.jws"],
    "plan show": [PLAN_ID],
    "plan receipts": [PLAN_ID, "--out", "out"],
    "why": [f"{PLAN_ID}/s1"],
    "approvals list": [],
    "approvals show": ["ap-1"],
    "approvals answers": ["ap-1", "--out", "answers.json"],
    "approvals watch": ["--for", "0"],
    "approvals approve": ["ap-1", "--key", "key.jwk", "--yes"],
    "approvals refuse": ["ap-1", "--yes"],
    "verify": ["receipt.json", "--trust", "trust.json"],
    "audit query": [],
    "proposals list": [],
    "proposals show": ["0" * 32],
    "proposals activate": ["0" * 32, "--yes"],
    "proposals withdraw": ["0" * 32],
    "policy bring": ["policy.bundle"],
    "policy propose": ["policy.bundle"],
    "policy activate": ["0" * 32, "--yes"],
    "policy rollback": ["--yes"],
    "policy list": [],
    "policy show": [],
    "policy observe propose": ["git", "--for", "1d"],
    "policy observe status": [],
    "policy observe stop": ["git"],
    "policy shadow start": ["ab" * 32, "--for", "1d"],
    "policy shadow show": [],
    "policy shadow stop": [],
    "policy canary propose": ["ab" * 32, "--percent", "5"],
    "policy canary show": [],
    "policy canary stop": [],
    "policy suggest": [],
    "policy inputs": ["--out", "inputs.ndjson"],
    "policy replay": ["--workers", "1"],
    "principals add": ["p1", "--role", "agent"],
    "principals list": [],
    "principals revoke": ["p1"],
    "principals enrol": ["p1"],
    "principals keys": ["p1"],
    "principals unenrol": ["p1", "k"],
    "issuers add": ["i1", "--key", "key.jwk"],
    "issuers list": [],
    "issuers revoke": ["i1"],
    "keys list": [],
    "keys rotate": ["receipt"],
    "keys revoke": ["k1"],
    "keys new": ["--out", "new.jwk"],
    "keys trust": [],
    "hands list": [],
    "hands pin": ["git", "--yes"],
    "doctor": [],
    "config example": [],
    "config check": [],
}


def commands() -> Iterator[str]:
    root = typer.main.get_command(app)
    context = root.make_context("handrail", [], resilient_parsing=True)
    for name in NOUNS:
        if name != "demo":
            yield from _below(name, root.get_command(context, name), context)


def _below(name: str, found: Any, context: Any) -> Iterator[str]:
    if isinstance(found, TyperGroup):
        for sub in found.list_commands(context):
            yield from _below(f"{name} {sub}", found.get_command(context, sub), context)
    elif found is not None:
        yield name


def test_every_command_has_a_case_here() -> None:
    assert set(commands()) == set(CASES) | (SPECIAL - {"demo"})


@pytest.fixture
def files(run: Run, gateway: StandIn, key_file: Path, plan_file: Path, tmp_path: Path) -> None:
    token = jws(run, key_file, actions("git_status", "hold"))
    (tmp_path / "token.jws").write_text(token)
    run("plan", "submit", "-", stdin=token)
    (tmp_path / "receipt.json").write_bytes(gateway.forge.raw())
    (tmp_path / "policy.bundle").write_text("a.b.c")
    (tmp_path / "trust.json").write_text(json.dumps(gateway.forge.trust()))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", CASES)
def test_json_output_parses_and_hostile_text_is_escaped(run: Run, gateway: StandIn, name: str) -> None:
    gateway.text = HOSTILE
    result = run(*name.split(), *CASES[name], "--json")
    assert result.exit_code in {0, 1, 4}, result.output
    json.loads(result.stdout)
    assert result.stdout.replace("\n", "").isprintable()
    assert result.stdout.isascii()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", sorted(set(CASES) - {"doctor", "config example", "config check"}))
def test_hostile_text_reaches_no_terminal(run: Run, gateway: StandIn, name: str) -> None:
    gateway.text = HOSTILE
    run("plan", "submit", "token.jws")
    result = run(*name.split(), *CASES[name])
    assert result.exit_code in {0, 1, 4}, result.output
    shown = result.output
    for char in ("\x1b", "\x9b", "\u202e", "\u2066", "\u200b", "\r"):
        assert char not in shown
    if name in {"plan submit", "plan show", "why", "approvals list", "approvals show", "approvals watch"}:
        assert "\\u{1b}[2J" in shown
        assert "[bold red]x[/]" in shown
    if name in {"approvals approve", "hands list", "audit query"}:
        assert "\\u{1b}[2J" in shown
        assert "[bold red]x[/]" in shown


GATEWAY_CASES = sorted(set(CASES) - {"verify", "keys new", "doctor", "config example", "config check"})


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", GATEWAY_CASES)
def test_an_unreachable_gateway_is_three_and_says_what_to_do(run: Run, name: str) -> None:
    with running() as gone:
        url = gone.url
    result = run(*name.split(), *CASES[name], HANDRAIL_URL=url)
    assert result.exit_code == 3
    assert "handrail serve" in result.stderr
    error = json.loads(run(*name.split(), *CASES[name], "--json", HANDRAIL_URL=url).stdout)
    assert "no answer" in error["error"]["text"]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", GATEWAY_CASES)
def test_a_wrong_key_is_wrong_use(run: Run, name: str) -> None:
    result = run(*name.split(), *CASES[name], HANDRAIL_API_KEY="hr_wrong")
    assert result.exit_code == 2
    assert "auth.invalid" in result.output


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (lambda _: problem("auth.missing", 401), 2, "HANDRAIL_API_KEY"),
        (lambda _: problem("auth.forbidden", 403), 1, "--as NAME"),
        (lambda _: problem("request.not_found", 404), 1, "req-1"),
        (lambda _: problem("verify.replayed", 409, pointer="/jti"), 1, "pointer=/jti"),
        (lambda _: problem("log.unavailable", 503), 3, "log.unavailable"),
        (lambda _: Response("<html>", 502), 3, "--url"),
        (lambda _: Response("hello"), 3, "--url"),
        (lambda _: problem("x.y", 400, hint=HOSTILE), 1, "\\u{1b}"),
    ],
)
def test_refusals_become_words_and_exit_codes(run: Run, gateway: StandIn, answer: Any, code: int, words: str) -> None:
    for extra in ([], ["--json"]):
        gateway.next("GET", "/v1/keys", answer)
        result = run("keys", "list", *extra)
        assert result.exit_code == code
        assert words in result.output or extra
        assert "\x1b" not in result.output
