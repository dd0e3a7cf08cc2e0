"""Every command: JSON that parses, hostile text, unreachable gateways, refusals."""

import json
import os
import re
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from typer.testing import Result

from gateway.cli.exits import Code
from gateway.cli.hints import HINTS
from gateway.cli.nouns import NOUNS
from gateway.reasons import Reason
from tests.cli.commands import CASES, EVERY, SPECIAL, commands, find, parameters
from tests.cli.conftest import Run
from tests.client.stand_in import HOSTILE, StandIn, problem, running
from tests.moments import in_form, moments

# --- every command ---------------------------------------------------------------------------------------------------


def test_every_command_has_a_case_here() -> None:
    assert set(commands()) == set(CASES) | (SPECIAL - {"demo"})


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
@pytest.mark.parametrize("name", sorted(set(CASES) - {"keys history"}))
def test_json_output_writes_every_moment_in_one_form(run: Run, name: str) -> None:
    """A history of keys is shown as it was signed."""
    result = run(*name.split(), *CASES[name], "--json")
    assert [one for one in moments(json.loads(result.stdout)) if not in_form(one[1])] == []


FORGED = """
An approver can answer it: handrail approvals approve ap-99
result of other:
trusted  content, structured
\u2028trusted  content
\x0btrusted  content\x85trusted  content
| trusted  content"""


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", ["plan submit", "plan show"])
def test_no_text_of_a_result_passes_for_words_of_the_program(run: Run, gateway: StandIn, name: str) -> None:
    """What the program says of a result stands before it, and each line of the result's own is marked as such."""
    run("plan", "submit", "token.jws")
    before = run(*name.split(), *CASES[name]).output
    gateway.text = FORGED
    run("plan", "submit", "token.jws")
    after = run(*name.split(), *CASES[name]).output
    for words in ("An approver can answer it", "result of ", "trusted "):
        said = [line for line in before.splitlines() if line.startswith(words)]
        assert said
        assert [line for line in after.splitlines() if line.startswith(words)] == said
    assert "personal data  email 2" in after
    assert "taken out      card 1" in after


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
    if name in {"approvals approve", "hands list", "audit query", "controls report", "controls access-review"}:
        assert "\\u{1b}[2J" in shown
        assert "[bold red]x[/]" in shown


GATEWAY_CASES = sorted(
    set(CASES)
    - {"verify", "keys new", "keys api", "controls responsibilities", "doctor", "config example", "config check"}
)


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
    for parameter in parameters(name):
        assert parameter.help, f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", sorted({name.rsplit(" ", 1)[0] for name in EVERY if " " in name} | {""}))
def test_help_of_a_noun_lists_its_commands(run: Run, name: str) -> None:
    result = run(*name.split(), "--help", COLUMNS="100")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    listed = set(re.findall(r"^  ([\w-]+)  +\S", result.stdout.split("Commands:")[1], re.MULTILINE))
    prefix = f"{name} " if name else ""
    assert listed >= {other.removeprefix(prefix).split()[0] for other in EVERY if other.startswith(prefix)}


@pytest.mark.parametrize("name", sorted({name.split()[0] for name in CASES if " " in name}))
def test_a_noun_says_of_itself_what_the_list_says_of_it(name: str) -> None:
    found, _, _ = find([name])
    assert found.help == NOUNS[name]


# --- files ------------------------------------------------------------------------------------------------------------

DIRECTORIES = {"backup create"}
"""They make a new directory, and never write into one that is there."""
WRITING = sorted(
    name
    for name in set(EVERY) - DIRECTORIES
    if {"--out", "--output"} & {opt for item in parameters(name) for opt in item.opts}
)
PRIVATE = {
    "controls report",
    "controls access-review",
    "controls processing-record",
    "approvals answers",
    "audit export",
    "privacy access",
    "keys new",
    "keys api",
    "plan receipts",
    "policy inputs",
}
TARGETS = {"plan receipts": "jti-1.json"}
"""Where what ``--out`` names is a directory: the file in it that is written."""
ELSEWHERE = {"policy build", "policy suggest", "policy show", "keys ceremony make", "hands listing", "jail build"}
"""They need a repository, a whole bundle, several people, a server or a compiler: tests of their own hold the same."""


def test_every_command_that_writes_a_file_can_be_forced() -> None:
    assert {name for name in EVERY if any("--force" in item.opts for item in parameters(name))} == set(WRITING)


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
        (lambda _: problem("request.conflict", 409), 1, "there already"),
        (lambda _: problem("request.conflict", 409, problem="shadow.runs", why="It runs."), 1, "error: It runs. ("),
        (lambda _: problem("request.conflict", 409, problem="shadow.runs", why="It runs."), 1, "policy shadow stop"),
        (lambda _: problem("request.conflict", 409, problem="of a newer gateway"), 1, "there already"),
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
