"""The page for auditors, done as it says and in its order, against a real gateway with real steps in its log; then
what an auditor meets beside the page: exports that break off, evidence that is wrong, callers who are no auditors."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.export.lines import FORMATS, Format
from tests.audit.export.house import taken_apart
from tests.cli import real
from tests.cli.real import CONFIG
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
SETTINGS = CONFIG + "[policy]\nworkers = 1\ndeadline_milliseconds = 2000\n"
PEOPLE = {"ada": "agent", "bea": "approver", "eve": "auditor", "oli": "operator"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, _clean_session: None) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("gateway")
    with real.gateway(place, SETTINGS, PEOPLE, signer="ada", issuer="brain") as made:
        work(made)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("auditor"))
            yield made


def work(home: Path) -> None:
    """One step that is let go, one that is not, and one each that a person lets go and does not."""
    for action, args, answer in (
        ("git_status", {"q": "hush-hush"}, ""),
        ("git_unheard_of", {"q": "hush-hush"}, ""),
        ("git_commit", {"message": "hush-hush"}, "approve"),
        ("git_commit", {"message": "hush-hush"}, "refuse"),
    ):
        plan = {"context_id": "c", "actions": [{"id": "s", "hand": "git", "action": action, "args": args}]}
        (home / "plan.json").write_text(json.dumps(plan))
        token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
        real.invoke(home, "plan", "submit", "-", "--wait", "20", "--as", "ada", stdin=token)
        if answer:
            waiting = json.loads(real.invoke(home, "approvals", "list", "--as", "bea", "--json").stdout)["approvals"]
            answered = real.invoke(home, "approvals", answer, waiting[0]["id"], "--yes", "--as", "bea")
            assert answered.exit_code == 0, answered.output


def give(home: Path, command: str) -> str:
    """The output of a command of the page, which must succeed."""
    if "SIZE" in command:
        command = command.replace("SIZE", Path("kept.txt").read_text(encoding="utf-8").splitlines()[1])
    if command.startswith("handrail "):
        result = real.invoke(home, *command.split()[1:], *([] if "verify-bundle" in command else ["--as", "eve"]))
        assert result.exit_code == 0, f"{command}\n{result.output}"
        return result.stdout
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_whole_page_is_done_in_order(home: Path) -> None:
    said = {command: give(home, command) for command in COMMANDS}
    assert len(said) > 10
    checked = [text for command, text in said.items() if "verify-bundle" in command or "audit.verifier" in command]
    assert len(checked) == 4
    assert all("VERDICT: the bundle holds." in text for text in checked)
    again = next(text for command, text in said.items() if "--redecide" in command)
    assert "are what the enclosed policies decide on the same input" in again
    kept = next(text for command, text in said.items() if "--kept kept.txt" in command)
    assert "it only grew" in kept
    assert b"hush-hush" not in Path("evidence.tar").read_bytes()
    for name in ("entries.csv", "entries.ndjson", "ocsf.ndjson", "events.ndjson"):
        assert "hush-hush" not in Path(name).read_text(encoding="utf-8")


def test_exports_are_on_record_and_name_what_left(home: Path) -> None:
    real.invoke(home, "audit", "export", "--format", "csv", "--hand", "git", "--out", "one.csv", "--as", "eve")
    result = real.invoke(home, "audit", "query", "--type", "EXPMAD", "--limit", "1000", "--as", "eve", "--json")
    facts = json.loads(result.stdout)["entries"][-1]["entry"]["facts"]
    assert (facts["format"], facts["filters"], facts["payloads"], facts["resumed"]) == ("csv", "hand", 0, 0)
    assert facts["count"] == len(Path("one.csv").read_text(encoding="utf-8").splitlines()) - 1


@pytest.mark.parametrize("who", ["ada", "oli"])
def test_nobody_but_an_auditor_takes_the_log_out(home: Path, who: str) -> None:
    result = real.invoke(home, "audit", "export", "--out", f"{who}.tar", "--as", who, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "auth.forbidden"
    assert not Path(f"{who}.tar").exists()


@pytest.mark.parametrize("kind", Format)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.97, 0.999])
def test_an_export_that_broke_off_goes_on_without_a_gap_or_a_double(home: Path, kind: Format, share: float) -> None:
    """What came of it is cut anywhere; the log has grown meanwhile."""
    name = f"{kind}-{share}"
    options = ("--format", str(kind), "--as", "eve")
    real.invoke(home, "audit", "export", *options, "--out", f"{name}.whole")
    whole = Path(f"{name}.whole").read_bytes()
    result = real.invoke(home, "audit", "query", "--type", "EXPMAD", "--limit", "1000", "--as", "eve", "--json")
    size = json.loads(result.stdout)["entries"][-1]["entry"]["facts"]["tree_size"]
    _broken_off(home, f"{name}.out", kind, size, whole[: int(len(whole) * share)])
    resumed = real.invoke(home, "audit", "export", *options, "--out", f"{name}.out", "--resume")
    assert resumed.exit_code == 0, resumed.output
    found = Path(f"{name}.out").read_bytes()
    if kind is Format.BUNDLE:
        checked = real.invoke(home, "audit", "verify-bundle", f"{name}.out", "--trust", str(home / "trust.json"))
        assert checked.exit_code == 0, checked.output
        before_the_manifest = whole.index(b"manifest.json")
        assert found[:before_the_manifest] == whole[:before_the_manifest]
    else:
        assert found == whole
    assert not list(Path().glob(f"{name}.out.partial*"))


def _broken_off(home: Path, name: str, kind: Format, size: int, content: bytes) -> None:
    """What an export of that size of the log leaves where the gateway dies."""
    url = json.loads((home / "cli.json").read_text())["url"]
    request = dict.fromkeys(
        ("since", "until", "first", "end", "type", "effect", "context", "plan", "hand", "action", "principal", "reason",
         "payloads", "kept")
    ) | {"url": url, "format": str(kind)}  # fmt: skip
    moments = {"since": None, "until": None}
    Path(f"{name}.partial").write_bytes(content)
    Path(f"{name}.partial.json").write_text(json.dumps({**request, "moments": moments, "tree_size": size}))


def test_an_export_is_gone_on_with_by_its_own_request_alone(home: Path) -> None:
    _broken_off(home, "mine.out", Format.CSV, 5, b"")
    other = real.invoke(home, "audit", "export", "--format", "csv", "--hand", "git", "--out", "mine.out", "--resume",
                        "--as", "eve")  # fmt: skip
    assert other.exit_code == 2
    assert "begun by another request" in other.output
    anew = real.invoke(home, "audit", "export", "--format", "csv", "--out", "mine.out", "--as", "eve")
    assert anew.exit_code == 2
    assert "--resume" in anew.output
    nothing = real.invoke(home, "audit", "export", "--out", "nothing.tar", "--resume", "--as", "eve")
    assert "no unfinished one" in nothing.output


def test_a_bundle_whose_beginning_was_changed_is_not_gone_on_with(home: Path) -> None:
    real.invoke(home, "audit", "export", "--out", "first.tar", "--as", "eve")
    whole = bytearray(Path("first.tar").read_bytes())
    size = json.loads(taken_apart(bytes(whole))[0][1])["tree_size"]
    whole[600] ^= 1
    _broken_off(home, "second.tar", Format.BUNDLE, size, bytes(whole[:4096]))
    result = real.invoke(home, "audit", "export", "--out", "second.tar", "--resume", "--as", "eve")
    assert (result.exit_code, Path("second.tar").exists()) == (1, False)
    assert "Start anew" in result.output


def test_a_bundle_that_was_begun_before_a_key_changed_is_not_gone_on_with_and_says_why(home: Path) -> None:
    real.invoke(home, "audit", "export", "--out", "before.tar", "--as", "eve")
    whole = Path("before.tar").read_bytes()
    size = json.loads(taken_apart(whole)[0][1])["tree_size"]
    assert real.invoke(home, "keys", "create", "step", "--as", "admin").exit_code == 0
    _broken_off(home, "after.tar", Format.BUNDLE, size, whole[: len(whole) // 2])
    result = real.invoke(home, "audit", "export", "--out", "after.tar", "--resume", "--as", "eve", "--json")
    assert (result.exit_code, Path("after.tar").exists()) == (1, False)
    error = json.loads(result.stdout)["error"]
    assert error["problem"] == "export.keys"
    assert "Start anew" in error["hint"]


def test_wrong_evidence_is_named_and_exits_with_one(home: Path) -> None:
    real.invoke(home, "audit", "export", "--out", "right.tar", "--as", "eve")
    raw = bytearray(Path("right.tar").read_bytes())
    at = raw.index(b'"type":"STPEXE"')
    raw[at + 8] ^= 1
    Path("wrong.tar").write_bytes(raw)
    result = real.invoke(home, "audit", "verify-bundle", "wrong.tar", "--trust", str(home / "trust.json"))
    assert result.exit_code == 1
    assert "do not give the root that was signed" in result.stdout
    assert "does NOT hold" in result.stdout
    unkeyed = real.invoke(home, "audit", "verify-bundle", "right.tar")
    assert unkeyed.exit_code == 2
    absent = real.invoke(home, "audit", "verify-bundle", "absent.tar", "--trust", str(home / "trust.json"))
    assert absent.exit_code == 2
    second = real.invoke(
        home, "audit", "verify-bundle", "right.tar", "--trust", str(home / "trust.json"), "--post-quantum", "--json"
    )
    assert second.exit_code == 2, "the trust document names no second key"
    assert "no ML-DSA-44 key" in json.loads(second.stdout)["error"]["detail"]
    without = real.invoke(
        home, "audit", "verify-bundle", "right.tar", "--trust", str(home / "trust.json"), "--redecide"
    )
    assert without.exit_code == 4
    assert "--with-payloads" in without.stdout


def test_what_an_export_leaves_is_its_readers_alone(home: Path) -> None:
    real.invoke(home, "audit", "export", "--out", "private.tar", "--as", "eve")
    assert Path("private.tar").stat().st_mode & 0o777 == 0o600
    assert set(FORMATS) | {Format.BUNDLE} == set(Format)
    assert shutil.which("tar")
