"""Every command: JSON that parses, hostile text, unreachable gateways, refusals."""

import json
import os
import re
import stat
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from starlette.responses import Response
from typer.core import TyperGroup
from typer.testing import Result

from gateway.cli.exits import Code
from gateway.cli.hints import HINTS
from gateway.cli.main import NOUNS, app
from gateway.reasons import Reason
from tests.cli.conftest import Run, actions, jws
from tests.client.stand_in import HOSTILE, StandIn, problem, running

PLAN_ID = "aa" * 32

# --- every command ---------------------------------------------------------------------------------------------------

SPECIAL = {
    "serve", "init", "demo", "jail run", "audit fsck", "policy eval", "policy check", "policy build", "db upgrade",
    "audit export", "audit verify-bundle"
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
    "policy remote show": [],
    "policy remote pull": [],
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
    error = _error(run(*name.split(), *CASES[name], "--json", HANDRAIL_URL=url), 3)
    assert error["code"] == "cli.unreachable"
    assert "no answer" in error["detail"]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", GATEWAY_CASES)
def test_a_wrong_key_is_wrong_use(run: Run, name: str) -> None:
    result = run(*name.split(), *CASES[name], HANDRAIL_API_KEY="hr_wrong")
    assert result.exit_code == 2
    assert "auth.invalid" in result.output
    result = run(*name.split(), *CASES[name], "--json", HANDRAIL_API_KEY="hr_wrong")
    assert _error(result, 2)["code"] == "auth.invalid"


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", GATEWAY_CASES)
def test_what_the_gateway_cannot_read_is_wrong_use(run: Run, gateway: StandIn, name: str) -> None:
    gateway.always = lambda _: problem("request.malformed", 400, pointer="/a/b", problem="int_type")
    error = _error(run(*name.split(), *CASES[name], "--json"), 2)
    assert error["code"] == "request.malformed"
    assert (error["pointer"], error["problem"], error["request_id"]) == ("/a/b", "int_type", "req-1")
    result = run(*name.split(), *CASES[name])
    assert result.exit_code == 2
    assert "pointer=/a/b" in result.stderr


def _error(result: Result, code: int) -> dict[str, Any]:
    """The one document of an error, which every command and every error has in one shape."""
    assert result.exit_code == code, result.output
    document = json.loads(result.stdout)
    assert document.keys() == {"error"}
    error: dict[str, Any] = document["error"]
    for name in ("code", "detail", "hint"):
        assert isinstance(error[name], str)
        assert error[name], error
    assert "text" not in error
    return error


@pytest.mark.parametrize("name", sorted({*CASES, *SPECIAL}))
def test_wrong_use_is_one_json_document_too(run: Run, name: str) -> None:
    # What 'jail run' does not know belongs to the program that it runs.
    wrong = ["--deadline", "soon"] if name == "jail run" else ["--no-such-option"]
    error = _error(run(*name.split(), "--json", *wrong), 2)
    assert error["code"] == "cli.usage"
    assert wrong[0] in error["detail"]
    assert f"handrail {name} --help" in error["hint"]
    words = run(*name.split(), *wrong)
    assert words.exit_code == 2
    assert "Usage:" in words.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--json"],
        ["nope", "--json"],
        ["keys", "--json"],
        ["keys", "rotat", "--json"],
        ["keys", "rotate", "nothing", "--json"],
        ["plan", "show", "--json"],
        ["audit", "query", "--limit", "0", "--json"],
        ["audit", "query", "--limit", "many", "--json"],
        ["verify", "a", "--json"],
    ],
)
def test_whatever_is_wrong_with_the_words_is_said_in_json(run: Run, args: list[str]) -> None:
    assert _error(run(*args), 2)["code"] == "cli.usage"


def test_json_behind_the_dashes_is_another_programs(run: Run) -> None:
    result = run("jail", "run", "--deadline", "no", "--", "echo", "--json")
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_every_reason_has_a_next_step() -> None:
    assert set(HINTS) == set(Reason)
    assert all(
        hint.endswith((".", "ID", "FILE", "plan.json", "PLAN.json")) and len(hint) < 120 for hint in HINTS.values()
    )


def test_the_page_has_every_code_of_the_command_line() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(cli\.\w+)` \|", page, re.MULTILINE) == list(Code)


# --- help -------------------------------------------------------------------------------------------------------------


def _parameters(name: str) -> list[Any]:
    found: Any = typer.main.get_command(app)
    context = found.make_context("handrail", [], resilient_parsing=True)
    for word in name.split():
        found = found.get_command(context, word) if isinstance(found, TyperGroup) else found
    return [item for item in found.params if item.name != "help"]


EVERY = sorted({*CASES, *SPECIAL})


@pytest.mark.parametrize("name", EVERY)
def test_help_says_what_it_does_gives_an_example_and_the_exit_codes(run: Run, name: str) -> None:
    result = run(*name.split(), "--help", COLUMNS="100")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    usage, about, *_ = re.split(r"\n\n", result.stdout)
    assert usage.startswith(f"Usage: handrail {name}")
    assert re.fullmatch(r"[^.]*(?:\.\w[^.]*)*\.", " ".join(about.split())), "one sentence"
    example = re.search(r"^ +Example:\n +handrail ([^\n]+)$", result.stdout, re.MULTILINE)
    assert example is not None
    assert example[1].startswith(name)
    codes = dict(re.findall(r"^ +([0-4])  (\S.*)$", result.stdout.split("Exit codes:")[1], re.MULTILINE))
    assert "2" in codes
    assert codes.keys() & {"0", "4"}


@pytest.mark.parametrize("name", EVERY)
def test_every_argument_and_option_is_described(name: str) -> None:
    for parameter in _parameters(name):
        assert parameter.help, f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", sorted({name.rsplit(" ", 1)[0] for name in EVERY if " " in name} | {""}))
def test_help_of_a_noun_lists_its_commands(run: Run, name: str) -> None:
    result = run(*name.split(), "--help", COLUMNS="100")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    listed = set(re.findall(r"^  (\w+)  +\S", result.stdout.split("Commands:")[1], re.MULTILINE))
    prefix = f"{name} " if name else ""
    assert listed >= {other.removeprefix(prefix).split()[0] for other in EVERY if other.startswith(prefix)}


# --- files ------------------------------------------------------------------------------------------------------------

WRITING = sorted(name for name in EVERY if "--out" in {opt for item in _parameters(name) for opt in item.opts})
PRIVATE = {"approvals answers", "keys new", "plan receipts", "policy inputs"}
TARGETS = {"plan receipts": "jti-1.json"}
"""Where what ``--out`` names is a directory: the file in it that is written."""
ELSEWHERE = {"policy build", "policy suggest", "policy show"}
"""They need a repository or a whole bundle: tests of their own hold the same."""


def test_every_command_that_writes_a_file_can_be_forced() -> None:
    assert {name for name in EVERY if any("--force" in item.opts for item in _parameters(name))} == set(WRITING)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", sorted(set(WRITING) - ELSEWHERE))
def test_a_file_that_is_there_stays_unless_forced(
    run: Run, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    given = [item for item in CASES[name] if item != "--out" and item != dict(pairwise(CASES[name])).get("--out")]
    out = tmp_path / "written"
    file = out / TARGETS[name] if name in TARGETS else out
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    command = [*name.split(), *given, "--out", str(out)]
    before = os.umask(0o027)
    request.addfinalizer(lambda: os.umask(before))
    assert _error(run(*command, "--json"), 2)["code"] == "cli.exists"
    assert "--force" in run(*command).stderr
    assert file.read_text() == "mine"
    result = run(*command, "--force")
    assert result.exit_code == 0, result.output
    assert file.read_text() != "mine"
    assert stat.S_IMODE(file.stat().st_mode) == (0o600 if name in PRIVATE else 0o640)
    assert [left.name for left in file.parent.iterdir() if left.name.startswith(".written")] == []


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (lambda _: problem("auth.missing", 401), 2, "HANDRAIL_API_KEY"),
        (lambda _: problem("auth.forbidden", 403), 1, "--as NAME"),
        (lambda _: problem("request.not_found", 404), 1, "req-1"),
        (lambda _: problem("request.conflict", 409), 1, "exists already"),
        (lambda _: problem("verify.expired", 400), 1, "Sign it again"),
        (lambda _: problem("proposal.self", 403), 1, "second person"),
        (lambda _: problem("verify.malformed", 400, problem="trailing_white_space"), 1, "printf"),
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
