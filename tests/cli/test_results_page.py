"""The page on results: its declaration behind a real gateway, its rule in the engine, and its program."""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.personal_data import KINDS, UNSEARCHED
from tests.cli import real
from tests.cli.real import CONFIG
from tests.meta.tree import ROOT
from tests.policy.support import SHIPPED, ask, embedded, step

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
[DECLARATION] = [text for language, text in BLOCKS if language == "toml"]
[RULE] = [text for language, text in BLOCKS if language == "rego"]
[PROGRAM] = [text for language, text in BLOCKS if language == "python"]
[MARKS] = [json.loads(text) for language, text in BLOCKS if language == "json"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The view of the plan that the page speaks of. The tool says which path it was asked for."""
    work = tmp_path_factory.mktemp("crm")
    declared = DECLARATION.replace("{", "{{").replace("}", "}}")
    declared = declared.replace('"https://crm.example"', '"{url}"\nprivate_network = true')
    with real.gateway(work, CONFIG + declared, {"ada": "agent"}, signer="ada", issuer="ada-laptop") as home:
        done = real.invoke(home, "hands", "pin", "crm", "--yes", "--as", "admin", "--json")
        assert done.exit_code == 0, done.output
        action = {"id": "s", "hand": "crm", "action": "find", "args": {"name": "jo@example.org EMP-4711"}}
        (home / "plan.json").write_text(json.dumps({"context_id": "c", "actions": [action]}))
        token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
        sent = real.invoke(home, "plan", "submit", "-", "--wait", "30", "--as", "ada", "--json", stdin=token)
        yield json.loads(sent.stdout)


def test_what_the_page_takes_out_is_taken_out(found: dict[str, Any]) -> None:
    [shown] = found["steps"]
    assert shown["status"] == "succeeded", shown
    text = json.dumps(shown["result"])
    assert "[redacted:email] [redacted:staff]" in text
    assert "jo@example.org" not in text
    taken = shown["result_marks"]["personal_data_redacted"]
    assert taken.keys() == MARKS["personal_data_redacted"].keys()
    assert shown["result_marks"]["trust"] == MARKS["trust"]


def test_the_program_of_the_page_frames_it(found: dict[str, Any]) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PROGRAM, {"view": found})
    first = printed.getvalue().splitlines()[0]
    promised = re.search(r"^<handrail-data .*$", PAGE, re.MULTILINE)
    assert promised is not None
    assert re.sub(r"[0-9a-f]{16}", "CODE", first) == re.sub(r"[0-9a-f]{16}", "CODE", promised[0])


async def test_the_rule_of_the_page_decides_as_it_says(tmp_path: Path) -> None:
    bundle = tmp_path / "policies"
    shutil.copytree(SHIPPED, bundle)
    (bundle / "handrail" / "cards").mkdir()
    (bundle / "handrail" / "cards" / "cards.rego").write_text(RULE)
    entry = bundle / "handrail" / "decisions.rego"
    entry.write_text(entry.read_text() + "\ndecisions contains one if some one in data.handrail.cards.decisions\n")
    engine = await embedded(bundle)
    try:
        sent = {"hand": "git", "action": "git_push", "repo_path": "/repo"}
        asked = ask(step("s", **sent))
        decided = (await engine.decide(asked))["s"]
        assert "cards.leaving" not in {reason.code for reason in decided.reasons}
        for kinds in (["card", "email"], ["unsearched"]):
            asked["context"] = {**asked["context"], "personal_data": kinds}
            decided = (await engine.decide(asked))["s"]
            assert str(decided.effect) == "deny"
            assert "cards.leaving" in {reason.code for reason in decided.reasons}
        crm = {**asked["hands"]["git"], "actions": {"find": {"side_effects": "none", "idempotent": False, "args": {}}}}
        decided = (await engine.decide({**ask(step("s", "crm", "find")), "hands": {"crm": crm}}))["s"]
        assert decided.obligations.redact_personal == ("email",)
    finally:
        await engine.close()


def test_the_page_lists_every_kind() -> None:
    table = PAGE.partition("| kind | is found by |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted({*KINDS, UNSEARCHED})
