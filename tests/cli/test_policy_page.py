"""The page for policy authors, done as it says and in its order: the rule that it writes and every command that it
gives, with real Git, OPA and Regal, against a real gateway that decides by signed bundles, and with two people."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.policy.signed import read_unverified
from tests import services
from tests.cli import real
from tests.cli.real import CONFIG
from tests.lifecycle.repository import Repository
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = FENCED.findall(PAGE)
PROGRAMS = {"opa", "regal", "git", "handrail"}
SIGNED = CONFIG + '[policy]\nsource = "signed"\nworkers = 1\ndeadline_milliseconds = 2000\n'
PEOPLE = {"ada": "agent", "ann": "author", "oli": "operator"}


class Expected(NamedTuple):
    """What a command of the page does.

    Attributes:
        code: its exit code.
        who: who gives it, where no key in it says so.
        shown: what stands in its output.
    """

    code: int = 0
    who: str = "ann"
    shown: str = ""


EXPECTED: dict[str, Expected] = {
    "handrail why": Expected(),
    "handrail policy check": Expected(shown="can be used"),
    "handrail policy eval": Expected(4, shown="side_effects.approval"),
    "handrail policy replay": Expected(1, shown="freeze.frozen"),
    "handrail policy inputs": Expected(),
    "handrail policy build": Expected(shown="ann"),
    "handrail policy bring": Expected(),
    "handrail policy shadow": Expected(),
    "handrail policy canary propose": Expected(4),
    "handrail policy canary": Expected(who="oli"),
    "handrail policy propose": Expected(4, shown="handrail policy activate"),
    "handrail policy activate": Expected(),
    "handrail policy show": Expected(),
    "handrail policy list": Expected(shown="activate"),
    "handrail policy rollback": Expected(),
    "handrail policy remote": Expected(shown="refs/heads/main"),
    "handrail policy observe propose": Expected(4),
    "handrail policy observe": Expected(who="oli"),
    "handrail proposals activate": Expected(who="oli"),
    "handrail policy suggest": Expected(),
}
"""The longest beginning that fits counts."""
ASKS = ("handrail policy activate", "handrail policy rollback", "handrail proposals activate")
"""At a terminal a person types a word; here there is nobody."""


def commands() -> list[str]:
    """Every command of the page, in its order, without what is said behind it."""
    found = []
    for language, text in BLOCKS:
        lines = [re.sub(r"\s+# .*", "", line) for line in text.splitlines() if line]
        if not language and lines and all(line.split()[0] in PROGRAMS for line in lines):
            found += [command for line in lines for command in line.split(" && ")]
    return found


def write_the_rule(work: Path) -> None:
    """What the page has an author write."""
    for _, text in BLOCKS:
        named = re.match(r"# (policies/\S+\.rego)\n", text)
        if named is not None:
            file = work / named[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(text.partition("\n")[2], encoding="utf-8")
    [(path, data)] = re.findall(r"with `(policies/\S+/data\.json)` `(\{.*?\})`", PAGE)
    (work / path).write_text(json.dumps(json.loads(data)), encoding="utf-8")
    [line] = [text for _, text in BLOCKS if text.startswith("decisions contains decision if some decision in")]
    root = work / "policies" / "handrail" / "decisions.rego"
    root.write_text(f"{root.read_text(encoding='utf-8')}\n{line}", encoding="utf-8")


class Author:
    """Gives the page's commands in a checkout; what stands for a value in them is what the commands before gave."""

    def __init__(self, home: Path, repository: Repository) -> None:
        self.home = home
        self.repository = repository
        self.step = ""

    def give(self, command: str) -> str:
        """The command's output; ``AssertionError`` where its exit code or output is not the expected one."""
        if not command.startswith("handrail "):
            return self._shell(command)
        beginnings = [beginning for beginning in EXPECTED if f"{command} ".startswith(f"{beginning} ")]
        assert beginnings, f"nobody said what this command of the page does: {command}"
        expected = EXPECTED[max(beginnings, key=len)]
        command, _, file = self._filled(command).partition(" > ")
        words = command.split()[1:]
        if command.startswith(ASKS):
            words.append("--yes")
        signer = re.search(r"--key (\w+)\.jwk", command)
        result = real.invoke(self.home, *words, "--as", signer[1] if signer else expected.who)
        assert result.exit_code == expected.code, f"{command}\n{result.output}"
        assert expected.shown in result.stdout, f"{command}\n{result.output}"
        if file:
            Path(file).write_text(result.stdout, encoding="utf-8")
        return result.stdout

    def _filled(self, command: str) -> str:
        if re.search(r"\bDIGEST\b", command):
            digest = read_unverified(Path("new.bundle").read_bytes()).bundle.digest
            command = command.replace("DIGEST", digest)
        if re.search(r"activate ID\b", command):
            command = command.replace("ID", self.waiting())
        return command.replace("PLAN_ID/STEP_ID", self.step)

    def publish(self) -> None:
        """Commit the signed file where the gateway pulls from."""
        published = Repository(self.home.parent / "published")
        shutil.copy("new.bundle", published.path / "policy.bundle")
        published.commit(message="Publish")

    def waiting(self) -> str:
        """The one proposal that waits for a second person."""
        listed = real.invoke(self.home, "proposals", "list", "--as", "oli", "--json")
        [proposal] = json.loads(listed.stdout)["proposals"]
        return str(proposal["id"])

    def _shell(self, command: str) -> str:
        path = os.pathsep.join((str(Path(sys.executable).parent), str(ROOT / ".tools" / "bin"), os.environ["PATH"]))
        environment = {"PATH": path, "HOME": str(self.repository.path)}
        environment |= {f"GIT_{who}_{what}": f"ann{at}" for who in ("AUTHOR", "COMMITTER")
                        for what, at in (("NAME", ""), ("EMAIL", "@example.org"))}  # fmt: skip
        done = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def change(self, action: str = "git_commit") -> tuple[str, list[str]]:
        """Have the agent change something: the step, and the reasons of its decision."""
        plan = {"context_id": "c", "actions": [{"id": "s", "hand": "git", "action": action, "args": {}}]}
        (self.home / "plan.json").write_text(json.dumps(plan))
        token = real.invoke(self.home, "plan", "sign", "--as", "ada", str(self.home / "plan.json")).stdout
        sent = real.invoke(self.home, "plan", "submit", "-", "--wait", "20", "--as", "ada", "--json", stdin=token)
        assert sent.exit_code in {1, 4}, sent.output
        step = f"{json.loads(sent.stdout)['plan_id']}/s"
        why = json.loads(real.invoke(self.home, "why", step, "--as", "ann", "--json").stdout)
        return step, [reason["code"] for reason in why["reasons"]]

    def quorum_of_two(self) -> None:
        """The change that the page has a reader make, and undo."""
        file = Path("policies/handrail/side_effects/data.json")
        before = file.read_text(encoding="utf-8")
        first = self.give("handrail policy eval --input input.json --bundle policies")
        file.write_text(before.replace('"quorum": 1', '"quorum": 2', 1), encoding="utf-8")
        second = self.give("handrail policy eval --input input.json --bundle policies")
        file.write_text(before, encoding="utf-8")
        assert first.split()[1] != second.split()[1], "the digest has changed"


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory, opa_program: Path, _clean_session: None) -> Iterator[Author]:
    """A gateway that decides by the shipped policies, built from a checkout, and one step that waits for a person."""
    work = tmp_path_factory.mktemp("author")
    shutil.copytree(ROOT / "policies", work / "policies")
    repository = Repository(work)
    repository.commit(message="Take the shipped policies")
    place = tmp_path_factory.mktemp("gateway")
    config = f'{SIGNED}[policy.remote]\nurl = "file://{place / "published"}"\ninterval_seconds = 86400\n'
    with real.gateway(place, config, PEOPLE, signer="ada", issuer="brain") as home:
        for name in ("ann", "oli"):
            shutil.copy(home / f"{name}.jwk", work)
        made = Author(home, repository)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(work)
            for command in (
                "handrail policy build --rev main --key ann.jwk --out old.bundle",
                "handrail policy propose old.bundle --key ann.jwk",
                "handrail policy activate ID --key oli.jwk",
            ):
                made.give(command)
            made.step, reasons = made.change()
            assert "side_effects.approval" in reasons
            yield made


def test_every_command_of_the_page_is_one_that_this_test_can_give() -> None:
    found = [command for command in commands() if command.startswith("handrail ")]
    assert [command for command in found if not any(f"{command} ".startswith(f"{one} ") for one in EXPECTED)] == []
    assert {command.split()[0] for command in commands()} == PROGRAMS


@pytest.mark.opa
def test_the_whole_page_is_done_in_order(author: Author) -> None:
    services.require((ROOT / ".tools" / "bin" / "regal").exists() or shutil.which("regal"), "regal",
                     "'make tools' builds it into .tools/bin.")  # fmt: skip
    written = False

    def went_back() -> None:
        _decides(author, "side_effects.approval")
        assert author.change("git_tag")[1] == ["grants.missing"], "what the drafts are made of"
        author.publish()

    after: dict[str, Callable[[], None]] = {
        "handrail policy eval": author.quorum_of_two,
        "handrail policy activate": lambda: _decides(author, "freeze.frozen"),
        "handrail policy rollback": went_back,
    }
    for command in commands():
        if command.startswith("opa ") and not written:
            write_the_rule(author.repository.path)
            written = True
        author.give(command)
        for beginning, act in after.items():
            if command.startswith(beginning):
                act()
    assert written
    assert (author.repository.path / "lists" / "handrail" / "hosts" / "data.json").exists()


def _decides(author: Author, code: str) -> None:
    assert code in author.change()[1]
