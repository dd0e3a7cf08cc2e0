"""``handrail hands check``: what it prints, what it writes for pipelines, its exit codes, and what it leaves alone."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import toml_text
from gateway.cli.main import app
from tests.hands.conformance.honest import SETTINGS

ROOT = Path(__file__).parents[2]
KINDS = {"shelf": "honest:Shelf", "clumsy": "liars:RaisesWhatItLikes", "endless": "liars:NeverEnds"}
SECRET = "of-a-test-account-7f3a"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration, and the distribution of a third party that brings the adapters."""
    package = tmp_path / "acme_hands-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-hands\nVersion: 1\n")
    points = "".join(f"{name} = tests.hands.conformance.{place}\n" for name, place in KINDS.items())
    (package / "entry_points.txt").write_text(f"[handrail.adapters]\n{points}")
    declared = [f"home = {toml_text.value(str(tmp_path / 'home'))}\n"]
    for kind in KINDS:
        hand = {**SETTINGS, "adapter": kind}
        declared += [f"hands.{kind}.{name} = {toml_text.value(value)}\n" for name, value in hand.items()]
    (tmp_path / "handrail.toml").write_text("".join(declared))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*words: str) -> Result:
    return CliRunner().invoke(app, ["hands", "check", *words, "--examples", "6"])


def test_what_is_whole_passes(work: Path) -> None:
    done = check("shelf", "--action", "echo", "--action", "read")
    assert done.exit_code == 0, done.output
    assert "No promise was broken. 2 actions were called." in done.output
    assert not (work / "home").exists(), "no home, no database, no log, no secret store"


def test_what_may_change_something_is_not_called_unless_it_is_named(work: Path) -> None:
    done = check("shelf", "--json")
    assert done.exit_code == 4, done.output
    said = json.loads(done.stdout)
    assert said["verdict"] == "incomplete"
    assert said["called"] == ["echo", "read"]
    assert list(said["left_out"]) == ["burn", "put"]
    done = check("shelf", "--action", "burn", "--allow-effects", "burn")
    assert done.exit_code == 0, done.output
    assert "it does not claim to be: it was not called twice" in done.output


def test_a_broken_promise_is_told_to_people_programs_and_pipelines_and_shown_again(work: Path) -> None:
    done = check("clumsy", "--action", "echo", "--seed", "7", "--junit", "found.xml", "--config", "handrail.toml")
    assert done.exit_code == 1, done.output
    assert "1 promise broken." in done.output
    [again] = [line.removeprefix("again: handrail ") for line in done.output.splitlines() if "again:" in line][:1]
    suite = ET.parse(work / "found.xml").getroot()
    [failed] = [case for case in suite if case.find("failure") is not None]
    assert (failed.get("classname"), failed.get("name")) == ("handrail.hands.clumsy.echo", "errors")
    assert f"again: handrail {again}" in failed.findtext("failure", "")
    assert int(suite.get("tests", "")) == len(suite.findall("testcase")) > 10
    repeated = CliRunner().invoke(app, [*shlex.split(again), "--json"])
    assert repeated.exit_code == 1
    findings = [one for one in json.loads(repeated.stdout)["verdicts"] if one["status"] == "broken"]
    assert [one["args"]["text"].isascii() for one in findings] == [False] * len(findings)
    assert "UnicodeEncodeError" in findings[0]["seen"]


def test_a_manifest_that_is_not_the_reviewed_one_breaks_a_promise(work: Path) -> None:
    done = check("shelf", "--action", "read", "--digest", "0" * 64)
    assert done.exit_code == 1, done.output
    assert "was reviewed" in done.output
    [again] = [line.removeprefix("again: handrail ") for line in done.output.splitlines() if "again:" in line]
    repeated = CliRunner().invoke(app, [*shlex.split(again), "--json"])
    assert repeated.exit_code == 1, "the same finding"
    [finding] = [one for one in json.loads(repeated.stdout)["verdicts"] if one["status"] == "broken"]
    assert "was reviewed" in finding["seen"]
    assert finding["again"] == again


def test_inputs_of_ones_own_are_tried_first(work: Path) -> None:
    (work / "inputs.json").write_text('{"echo": [{"text": "as-given"}]}')
    done = check("shelf", "--action", "echo", "--inputs", "inputs.json", "--junit", "found.xml", "--json")
    assert done.exit_code == 0, done.output
    assert (work / "found.xml").read_text().startswith("<?xml")


def test_a_secret_of_a_test_account_is_used_and_never_shown(work: Path) -> None:
    (work / "token").write_text(SECRET + "\n")
    done = check("shelf", "--action", "echo", "--secret", "token=token", "--junit", "found.xml")
    assert done.exit_code == 0, done.output
    assert SECRET not in done.output + (work / "found.xml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "There are: clumsy, endless, shelf."),
        (["shelf", "--action", "ecoh"], "offers no ecoh; it offers burn, echo, put, read"),
        (["shelf", "--allow-effects", "prut"], "offers no prut"),
        (["shelf", "--secret", "token"], "not NAME=FILE"),
        (["shelf", "--secret", "tokn=short"], "names no secret tokn"),
        (["shelf", "--secret", "token=no-such-file"], "No such file"),
        (["shelf", "--secret", "token=list.json"], "not a value that can be sent"),
        (["shelf", "--inputs", "/dev/zero"], "larger than"),
        (["shelf", "--inputs", "list.json"], "not an object of lists of objects"),
        (["shelf", "--inputs", "twice.json"], "no strict JSON"),
        (["shelf", "--inputs", "no-such-file"], "No such file"),
    ],
)
def test_what_is_mistyped_checks_nothing(work: Path, words: list[str], said: str) -> None:
    (work / "short").write_text("long-enough")
    (work / "list.json").write_text('{"echo":\n {"text": "a"}}')
    (work / "twice.json").write_text('{"echo": [], "echo": []}')
    done = check(*words)
    assert done.exit_code == 2, done.output
    assert said in done.output


def test_one_that_cannot_be_asked_is_unreachable(work: Path) -> None:
    (work / "handrail.toml").write_text(
        "[hands.db]\nadapter = 'sql'\ndatabase = { dialect = 'sqlite', path = '/nonexistent/a.db' }\n"
        "actions = { tables = { side_effects = 'none' } }\n"
    )
    done = check("db")
    assert done.exit_code == 3, done.output
    assert "cannot be asked what it offers" in done.output


def test_one_that_never_ends_is_left_behind_with_the_process(work: Path) -> None:
    words = ["hands", "check", "endless", "--action", "read", "--examples", "1", "--deadline", "0.1", "--json"]
    code = (
        "from hand_adapters.conformance import options as o, suite; import sys, functools;"
        "from gateway.cli import hands_check as c;"
        "c.Options = functools.partial(o.Options, grace_seconds=0.1);"
        f"sys.argv = ['handrail', *{words!r}]; from gateway.cli.main import run; run()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT), str(ROOT / "client")])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert json.loads(done.stdout)["verdict"] == "broken"
